"""Small lies in compiled programs, each of which a comparison with the oracle has to notice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from controller.pipeline.fields import BY_NAME, FIELDS
from controller.pipeline.flow import (
    Action,
    Condition,
    Conntrack,
    Flow,
    Match,
    Move,
    Output,
    OutputField,
    PopVlan,
    Program,
    Resubmit,
    SetField,
)
from controller.pipeline.plan import pipeline
from controller.pipeline.text import match_text

# Other conditions need these (ovs-fields(7), prerequisites), as popping a tag needs the tag: no switch takes the flow without.
_PREREQUISITES = {"eth_type", "ip_proto", "icmpv6_type", "icmpv6_code"}
# These are matched whole or not at all (ovs-fields(7), "not maskable").
_WHOLE = _PREREQUISITES | {
    *("in_port", "vlan_tci", "ct_nw_proto", "ct_zone", "arp_op", "icmp_type", "icmp_code", "conj_id"),
    *("nw_ttl", "nd_options_type", "nd_reserved"),
}
_KEYS = tuple(
    BY_NAME[name].index for name in ("tun_id", "vlan_tci", "tun_dst", *(f"reg{number}" for number in range(13)))
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One program in which some flows are gone and others are told instead; the first that is gone is what the lie is about."""

    lie: str
    program: Program
    gone: tuple[Flow, ...]
    told: tuple[Flow, ...]

    @property
    def original(self) -> Flow:
        """The flow that the lie is about."""
        return self.gone[0]

    @property
    def place(self) -> tuple[str, str, int]:
        """The table that it is told in."""
        return self.program.host, self.program.bridge, self.original.table

    def __str__(self) -> str:
        at = f"{self.program.bridge}@{self.program.host} table {self.original.table} priority {self.original.priority}"
        of = f"{self.original.feature}, {self.original.kind}, {self.original.origin}, {at}"
        return f"{self.lie}: {of}, {match_text(self.original.match)}"


def mutants(program: Program, flow: Flow) -> Iterator[Mutant]:
    """Yield every lie about one flow by itself."""
    yield Mutant("missing", program, (flow,), ())
    if flow.actions or flow.goto is not None:
        yield Mutant("drops", program, (flow,), (replace(flow, actions=(), goto=None),))
    for place, condition in enumerate(flow.match):
        for lie, other in _conditions(flow, condition):
            match = (*flow.match[:place], *other, *flow.match[place + 1 :])
            # One higher than its like, so that it is certain which of them a packet meets.
            yield Mutant(lie, program, (flow,), (replace(flow, match=match, priority=flow.priority + 1),))
    for place, action in enumerate(flow.actions):
        for lie, changed in _lies(action):
            actions = (*flow.actions[:place], *changed, *flow.actions[place + 1 :])
            yield Mutant(lie, program, (flow,), (replace(flow, actions=actions),))


def _conditions(flow: Flow, condition: Condition) -> Iterator[tuple[str, Match]]:
    """Yield what may stand instead of a condition: nothing, another value, and one bit less or more of the mask."""
    index, value, mask = condition
    name, ones = FIELDS[index].name, FIELDS[index].ones
    pops = name == "vlan_tci" and any(isinstance(action, PopVlan) for action in flow.actions)
    if name in _PREREQUISITES or pops:
        return
    held = ones if mask is None else mask
    lowest = held & -held
    yield f"without {name}", ()
    yield f"another {name}", ((index, value ^ lowest, mask),)
    if name in _WHOLE:
        return
    if held != lowest:
        yield f"looser {name}", ((index, value & ~lowest, held & ~lowest),)
    if held != ones and FIELDS[index].kind != "ct_state":
        more = ~held & ones
        bit = 1 << more.bit_length() - 1
        yield f"tighter {name}", ((index, value, None if held | bit == ones else held | bit),)


def swaps(program: Program, flow: Flow, others: Iterable[Flow]) -> Iterator[Mutant]:
    """Yield the lie that the flow and the next lower one that it goes before have changed places."""
    table = list(others)
    lower = [
        other
        for other in table
        if other.priority < flow.priority and not _is_like(flow, other) and _overlap(flow.match, other.match)
    ]
    for other in sorted(lower, key=lambda each: -each.priority):
        told = replace(flow, priority=other.priority), replace(other, priority=flow.priority)
        rest = [each for each in table if each is not flow and each is not other]
        # Which of two flows of one priority a packet meets is not defined (OpenFlow 1.4, section 6.4).
        if not any(
            each.priority == mine.priority and not _is_like(each, mine) and _overlap(each.match, mine.match)
            for each in rest
            for mine in told
        ):
            yield Mutant("below the next", program, (flow, other), told)
            return


def _is_like(one: Flow, other: Flow) -> bool:
    return (one.actions, one.goto) == (other.actions, other.goto)


def _overlap(one: Match, other: Match) -> bool:
    """Return whether a packet can be what both matches ask for."""
    held = {index: (value, mask) for index, value, mask in one}
    for index, value, mask in other:
        if index in held:
            mine, my_mask = held[index]
            both = (-1 if mask is None else mask) & (-1 if my_mask is None else my_mask)
            if (value ^ mine) & both:
                return False
    return True


def _lies(action: Action) -> Iterator[tuple[str, tuple[Action, ...]]]:
    match action:
        case Conntrack(commit=True, actions=inside):
            yield "no commit", ()
            for place, each in enumerate(inside):
                written = each.target if isinstance(each, Move) else each.field
                kept = (*inside[:place], *inside[place + 1 :])
                yield f"keeps no {FIELDS[written].name} ({place})", (replace(action, actions=kept),)
            yield "another zone", (replace(action, zone_field=None, zone=1),)
        case Conntrack():
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


def is_loss(mutant: Mutant) -> bool:
    """Return whether a flow that lets packets by does so no more: whoever passes by it must miss it."""
    features = {feature.name: feature for feature in pipeline().features}
    feature = features.get(mutant.original.feature)
    if feature is None or mutant.lie not in ("missing", "drops", "no output"):
        return False
    return mutant.original.kind in feature.allows | feature.sends | feature.leaves


def _defined(mutant: Mutant, table: Iterable[Flow]) -> Mutant:
    """Return a lie of which it is certain which flow a packet meets: it is told one lower where there is one as high already."""
    if not mutant.told or mutant.told[0].priority != mutant.original.priority + 1:
        return mutant
    [lie], original = mutant.told, mutant.original
    rest = [
        flow for flow in table if flow is not original and not _is_like(flow, lie) and _overlap(flow.match, lie.match)
    ]
    if {flow.priority for flow in rest} & {lie.priority, original.priority} == {lie.priority}:
        return replace(mutant, told=(replace(lie, priority=original.priority),))
    return mutant


def all_mutants(programs: Iterable[Program]) -> Iterator[Mutant]:
    """Yield all lies about all flows, but for those that would replace another flow."""
    for program in programs:
        tables: dict[int, list[Flow]] = {}
        for flow in program.flows.values():
            tables.setdefault(flow.table, []).append(flow)
        for flow in program.flows.values():
            for told in (*mutants(program, flow), *swaps(program, flow, tables[flow.table])):
                mutant = _defined(told, tables[flow.table])
                leaving = {gone.key for gone in mutant.gone}
                if all(each.key in leaving or each.key not in program.flows for each in mutant.told):
                    yield mutant
