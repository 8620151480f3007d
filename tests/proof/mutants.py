"""Small lies in compiled programs, each of which a comparison with the oracle has to notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from controller.pipeline.fields import BY_NAME, FIELDS
from controller.pipeline.flow import Action, Conntrack, Flow, Output, OutputField, PopVlan, Program, SetField
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
        case Output() | OutputField():
            yield "no output", ()
        case _:
            pass


FAST = ("missing", "another reg5", "another ct_state", "another ct_mark", "without ct_state")

# What no packet can tell from the truth: a lie (all, if empty), a feature, and conditions of the flow.
EQUIVALENT = (
    ("without in_port", "physical", ""),  # From the wire a frame meets NORMAL as well.
    ("", "physical", "in_port=1 drop"),  # br-int sends no strange tags.
    ("without vlan_tci", "physical", ""),
    (
        "without eth_dst",
        "tunnels",
        "01:00:00:00:00:00/01:00:00:00:00:00",
    ),  # Unknown MACs end at the other host as well.
    ("without in_port", "tunnels", "tun_id=0x1389"),  # There is one type of tunnel in the story.
    ("without arp_op", "neighbours", "arp_spa=0.0.0.0"),  # An answer is no question, so it goes on anyway.
    ("without arp_op", "neighbours", "arp_tpa=10.0.0.1 arp_op=1"),
    ("another reg0", "forward", "reg6=0x0/0x30000"),  # One host of the story listens for unknown MACs.
    ("without reg0", "forward", "reg0=0x45a3dd04"),  # No other network brings this host frames for unknown MACs.
    ("without ct_state", "forward", ""),  # To commit a connection again changes nothing.
    ("without ct_state", "deliver", ""),
    ("without ct_state", "egress_policy", "ct_state=+trk"),  # All that comes there has been looked up.
    *((lie, "ingress_policy", "est-rpl ct_mark=") for lie in FAST),  # What the short way misses, the rules let pass.
    ("without ct_state", "ingress_policy", "ct_state=+trk"),  # All IP that comes there has been looked up.
    ("without reg5", "ingress_policy", "reg5=0x11556a60"),  # Its host has no port of another class.
    ("", "ingress_policy", "reg5=0x1fed3915"),  # Nobody opens a connection to a port without groups.
    ("without ct_state", "ingress_policy", "ct_state=+new+trk"),  # What is neither new nor established is dropped.
    ("missing", "miss", ""),  # A table without a flow for all drops as well.
    ("without reg6", "forward", ""),  # A frame is never sent back through the patch port that it came from.
    ("missing", "ingress_policy", "ct_state=+inv+trk"),  # It is neither new nor established, so nothing wants it.
    *(
        ("without ipv6_src", "source_guard", f"ipv6_src=:: icmp_type={kind}") for kind in (131, 132, 133, 135, 143)
    ),  # Other sources have been judged before.
    *(("without reg3", "egress_policy", f"dst={far}") for far in ("10.0.0.5", "10.0.0.6", "fd00::5", "fd00::6")),
    ("without reg3", "ingress_policy", "nw_src=10.0.0.5"),  # At the other tenant nobody with groups has the address.
    ("without reg3", "ingress_policy", "ipv6_src=fd00::5"),
    ("without reg3", "ingress_policy", "nw_src=10.0.0.6"),
    ("without reg3", "ingress_policy", "ipv6_src=fd00::6"),
    ("missing", "egress_policy", "icmp_type=134"),  # Only ports without guard send these, and they meet no rules.
    ("missing", "egress_policy", "icmp_type=137"),
)

# What the story sends no packets for, though others would tell: fragments, and strangers on the underlay, who are in
# `tests.ovs.test_fabric`.
BEYOND = (
    ("", "egress_policy", "nw_frag=later"),
    ("", "ingress_policy", "nw_frag=later"),
    ("another nd_target", "source_guard", "icmp_type=136 nd_target=::"),  # An advertisement of no address.
    ("", "ingress_policy", "+rel-rpl"),  # Errors that the opener itself sends.
    ("", "egress_policy", "ct_mark=0x0"),
    ("without reg5", "deliver", "reg5=0x0"),
    ("", "deliver", "ct_mark=0"),  # Connections opened before a class was known.
    ("without tun_id", "tunnels", ""),
    ("without tun_src", "tunnels", ""),
    ("without vlan_tci", "tunnels", ""),
)


def is_equivalent(mutant: Mutant) -> bool:
    """Return whether the lie is known to make no difference to the story's packets."""
    flow = mutant.original
    text = match_text(flow.match) + (",drop" if not flow.actions and flow.goto is None else "")
    return any(
        lie in ("", mutant.lie) and feature == flow.feature and all(part in text for part in conditions.split())
        for lie, feature, conditions in (*EQUIVALENT, *BEYOND)
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
