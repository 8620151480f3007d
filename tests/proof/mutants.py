"""Small lies in compiled programs, each of which a comparison with the oracle has to notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from controller.pipeline.fields import BY_NAME, FIELDS
from controller.pipeline.flow import (
    Action,
    Conntrack,
    Flow,
    Move,
    Output,
    OutputField,
    PopVlan,
    Program,
    Resubmit,
    SetField,
)
from controller.pipeline.plan import pipeline

# Other conditions need these (ovs-fields(7), prerequisites), as popping a tag needs the tag: no switch takes the flow without.
_PREREQUISITES = {"eth_type", "ip_proto", "icmpv6_type", "icmpv6_code"}
_KEYS = tuple(
    BY_NAME[name].index for name in ("tun_id", "vlan_tci", "tun_dst", *(f"reg{number}" for number in range(13)))
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One program with one flow changed; `flow` None means that it is missing."""

    lie: str
    program: Program
    original: Flow
    flow: Flow | None

    def __str__(self) -> str:
        at = f"{self.program.bridge}@{self.program.host} table {self.original.table} priority {self.original.priority}"
        return f"{self.lie}: {self.original.feature}, {self.original.origin}, {at}"


def mutants(program: Program, flow: Flow) -> Iterator[Mutant]:
    """Yield every lie about one flow."""
    yield Mutant("missing", program, flow, None)
    if flow.actions or flow.goto is not None:
        yield Mutant("drops", program, flow, replace(flow, actions=(), goto=None))
    for place, (index, value, mask) in enumerate(flow.match):
        name = FIELDS[index].name
        pops = name == "vlan_tci" and any(isinstance(action, PopVlan) for action in flow.actions)
        if name not in _PREREQUISITES and not pops:
            others = flow.match[:place] + flow.match[place + 1 :]
            # One higher than its like, so that it is certain which of them a packet meets.
            yield Mutant(f"without {name}", program, flow, replace(flow, match=others, priority=flow.priority + 1))
            lowest = 1 if mask is None else mask & -mask
            changed = (index, value ^ lowest, mask)
            conditions = (*flow.match[:place], changed, *flow.match[place + 1 :])
            yield Mutant(f"another {name}", program, flow, replace(flow, match=conditions))
    for place, action in enumerate(flow.actions):
        for lie, other in _lies(action):
            actions = (*flow.actions[:place], *other, *flow.actions[place + 1 :])
            yield Mutant(lie, program, flow, replace(flow, actions=actions))


def _lies(action: Action) -> Iterator[tuple[str, tuple[Action, ...]]]:
    match action:
        case Conntrack(commit=True, actions=inside):
            yield "no commit", ()
            for place, each in enumerate(inside):
                written = each.target if isinstance(each, Move) else each.field
                kept = (*inside[:place], *inside[place + 1 :])
                yield f"keeps no {FIELDS[written].name} ({place})", (replace(action, actions=kept),)
        case Conntrack(zone_field=zone) if zone is not None:
            yield "another zone", (replace(action, zone_field=None, zone=1),)
        case SetField(field, value, mask) if field in _KEYS:
            lowest = 1 if mask is None else mask & -mask
            yield f"sets another {FIELDS[field].name}", (SetField(field, value ^ lowest, mask),)
        case Move(target=target):
            yield f"does not move to {FIELDS[target].name}", ()
        case Resubmit():
            yield "does not look there", ()
        case Output() | OutputField():
            yield "no output", ()
        case _:
            pass


# Where a packet that the flow is missed by goes the same way, or where the story has no packet for it: feature, kind, reason.
EXPLAINED = (
    ("forward", "remote port", "an unknown MAC leaves the host as well, and no port here listens for those"),
    ("forward", "unknown MAC, out", "the story has few packets to MACs that nobody has"),
    ("tunnels", "remote port", "nobody sends to this port from that host"),
    ("source_guard", "DHCP client", "a client's question has another way past the guard, or is not among the packets"),
    ("egress_policy", "DHCP client", "rules allow the question as well"),
    ("ingress_policy", "free of policy", "no packet for a port without guard comes to this host"),
)


def is_loss(mutant: Mutant) -> bool:
    """Return whether a flow that lets packets by does so no more: whoever passes by it must miss it."""
    features = {feature.name: feature for feature in pipeline().features}
    feature = features.get(mutant.original.feature)
    if feature is None or mutant.lie not in ("missing", "drops", "no output"):
        return False
    return mutant.original.kind in feature.allows | feature.sends | feature.leaves


def explanation(mutant: Mutant) -> str | None:
    """Return why nobody may notice the lie, None if somebody should."""
    flow = mutant.original
    if not flow.actions and flow.goto is None and mutant.lie == "missing":
        return "what meets no flow is dropped as well; the flow counts it"
    if not is_loss(mutant):
        return None
    return next((why for feature, kind, why in EXPLAINED if (feature, kind) == (flow.feature, flow.kind)), None)


def all_mutants(programs: list[Program]) -> Iterator[Mutant]:
    """Yield all lies about all flows, but for those that would replace another flow."""
    for program in programs:
        for flow in program.flows.values():
            for mutant in mutants(program, flow):
                if mutant.flow is None or mutant.flow.key == flow.key or mutant.flow.key not in program.flows:
                    yield mutant
