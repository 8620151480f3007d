"""Small lies in compiled programs, each of which a comparison with the oracle has to notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from controller.pipeline.fields import BY_NAME, FIELDS
from controller.pipeline.flow import Action, Conntrack, Flow, Output, PopVlan, Program, SetField
from controller.pipeline.text import match_text

# Other conditions need these (ovs-fields(7), prerequisites), as popping a tag needs the tag: no switch takes the flow without.
_PREREQUISITES = {"eth_type", "ip_proto", "icmpv6_type", "icmpv6_code"}
_KEYS = tuple(
    BY_NAME[name].index for name in ("tun_id", "vlan_tci", "reg0", "reg1", "reg2", "reg3", "reg4", "reg5", "tun_dst")
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
        case Conntrack(commit=True):
            yield "no commit", ()
        case SetField(field, value, mask) if field in _KEYS:
            lowest = 1 if mask is None else mask & -mask
            yield f"sets another {FIELDS[field].name}", (SetField(field, value ^ lowest, mask),)
        case Output():
            yield "no output", ()
        case _:
            pass


# What no packet can tell from the truth: a lie (all, if empty), a feature, and conditions of the flow.
EQUIVALENT = (
    ("without in_port", "physical", ""),  # From the wire a frame meets NORMAL as well.
    ("", "physical", "in_port=1 drop"),  # br-int sends no strange tags.
    (
        "without arp_op",
        "neighbours",
        "arp_spa=0.0.0.0",
    ),  # An answer from address 0 passes no guard, and is no question.
    ("without ct_state", "forward", ""),  # To commit a connection again changes nothing.
    ("without ct_state", "deliver", ""),
    ("without ct_state", "egress_policy", "ct_state=+trk"),  # All that comes there has been looked up.
    ("without reg6", "forward", ""),  # A frame is never sent back through the patch port that it came from.
    ("missing", "ingress_policy", "ct_state=+inv+trk"),  # It is neither new nor established, so nothing wants it.
    *(
        ("without ipv6_src", "source_guard", f"ipv6_src=:: icmp_type={kind}") for kind in (131, 132, 133, 143)
    ),  # Other sources have been judged before.
    ("missing", "egress_policy", "icmp_type=134"),  # Only ports without guard send these, and they meet no rules.
    ("missing", "egress_policy", "icmp_type=137"),
)


def is_equivalent(mutant: Mutant) -> bool:
    """Return whether the lie is known to make no difference."""
    flow = mutant.original
    words = set(match_text(flow.match).split(",")) | ({"drop"} if not flow.actions and flow.goto is None else set())
    return any(
        lie in ("", mutant.lie) and feature == flow.feature and words.issuperset(conditions.split())
        for lie, feature, conditions in EQUIVALENT
    )


def sample(programs: list[Program]) -> list[Mutant]:
    """Return all lies about one flow of each shape: flows that differ in values only stand for each other."""
    shapes: dict[object, tuple[Program, Flow]] = {}
    for program in programs:
        for flow in program.flows.values():
            fields = tuple((index, mask) for index, _, mask in flow.match)
            shape = program.bridge, flow.table, flow.priority, fields, _never_again(flow)
            shapes.setdefault(shape, (program, flow))
    return [
        mutant
        for program, flow in shapes.values()
        for mutant in mutants(program, flow)
        if not is_equivalent(mutant)
        and (mutant.flow is None or mutant.flow.key == flow.key or mutant.flow.key not in program.flows)
    ]


def _never_again(flow: Flow) -> object:
    """Return what makes a flow of Weft's own unlike any other: each has a purpose of its own."""
    return flow.match if flow.origin.place is None else None
