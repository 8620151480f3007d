"""When each change of a policy's flows is due: before anything is opened elsewhere, or with what opens it.

What a bridge lets through goes first from the old set to what old and new have in common, then to the new set. So
nobody gets through whom neither lets through, and nobody is refused whom both let through: a rule that gives way to a wider
one goes when that comes, and one that is narrower than what goes comes when that goes. Where the flows do not show it, because
two rules overlap and neither covers the other, the old one goes first and the new one comes later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum

from controller.pipeline.covering import Cover, Rule, conjunction_of
from controller.pipeline.flow import Conjunction, Flow, FlowKey, Match


class Phase(IntEnum):
    """The phases of a change, in their order."""

    TIGHTEN = 0
    RECEIVE = 1
    SEND = 2
    LEAVE = 3
    STOP = 4
    BREAK = 5
    RELEASE = 6


@dataclass(slots=True, eq=False)
class _Unit:
    """A rule that comes or goes, and the flows that do it; `is_part` says that it is a part of a conjunction that stays."""

    rule: Rule
    keys: set[FlowKey]
    phase: Phase = Phase.RECEIVE
    is_part: bool = False


@dataclass(slots=True)
class _Side:
    """What comes, or what goes: whole rules, and parts of conjunctions that stay as such."""

    plain: list[Flow] = field(default_factory=list)
    accepting: dict[int, Flow] = field(default_factory=dict)
    parts: defaultdict[int, list[tuple[Conjunction, Flow]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, flow: Flow) -> None:
        """Add a flow that is there on this side alone."""
        number = conjunction_of(flow.match)
        parts = _conjunctions(flow)
        if parts:
            self.add_parts(flow, parts)
        elif number is None:
            self.plain.append(flow)
        else:
            self.accepting[number] = flow

    def add_parts(self, flow: Flow, parts: Iterable[Conjunction]) -> None:
        """Add parts of conjunctions that a flow has on this side alone."""
        for part in parts:
            self.parts[part.id].append((part, flow))

    def units(self) -> list[_Unit]:
        """Return the rules."""
        found = [_Unit(_rule(flow, ((flow.match,),)), {flow.key}) for flow in self.plain]
        for number, parts in self.parts.items():
            accepting = self.accepting.get(number)
            if accepting is None:
                # The rule stays: a part more lets more through, a part less lets less through.
                found += [
                    _Unit(Rule(part, flow.table, ((flow.match,),)), {flow.key}, is_part=True) for part, flow in parts
                ]
            else:
                keys = {accepting.key, *(flow.key for _, flow in parts)}
                found.append(_Unit(_rule(accepting, _clauses(parts)), keys))
        found += [
            _Unit(_rule(flow, ()), {flow.key}) for number, flow in self.accepting.items() if number not in self.parts
        ]
        return found


def order(
    puts: Mapping[FlowKey, Flow],
    replaced: Mapping[FlowKey, Flow],
    deletes: Mapping[FlowKey, Flow],
    stale: AbstractSet[tuple[int, int]],
    searches: int,
    *,
    at_once: bool = False,
) -> dict[FlowKey, Phase]:
    """Return the phase of each of a bridge's changes of flows that let connections pass.

    `stale` holds the (field, value) pairs that no packet bears any longer once receivers and senders have changed. Rules that
    ask for them have lost their subject and are not taken away from anybody: they go last. `searches` bounds the look-ups of rules by
    what they cover; what is left without an answer is put in the strict order. With `at_once` old and new change places in one
    bundle, whatever they cover.
    """
    if not deletes and replaced.keys().isdisjoint(puts):
        return dict.fromkeys(puts, Phase.RECEIVE)
    coming, going = _Side(), _Side()
    for key, flow in puts.items():
        former = replaced.get(key)
        if former is None:
            coming.add(flow)
        else:
            now, before = _conjunctions(flow), _conjunctions(former)
            coming.add_parts(flow, now - before)
            going.add_parts(former, before - now)
    for flow in deletes.values():
        going.add(flow)
    came, gone = coming.units(), going.units()
    _settle(came, gone, stale, 0 if at_once else searches)
    if at_once:
        for unit in gone:
            unit.phase = max(unit.phase, Phase.RECEIVE)
        for unit in came:
            unit.phase = Phase.RECEIVE
    needed, lost = _by_key(came), _by_key(gone)
    found = {key: _phase_of_put(needed.get(key, ()), lost.get(key, ())) for key in puts}
    # What goes stays until the last rule that needs it has gone.
    found.update((key, max(unit.phase for unit in lost[key])) for key in deletes)
    return found


def _by_key(units: Iterable[_Unit]) -> dict[FlowKey, list[_Unit]]:
    found: dict[FlowKey, list[_Unit]] = {}
    for unit in units:
        for key in unit.keys:
            found.setdefault(key, []).append(unit)
    return found


def _phase_of_put(came: Iterable[_Unit], gone: Iterable[_Unit]) -> Phase:
    """Return when a flow comes, or changes the conjunctions that it is part of.

    A whole conjunction comes and goes with the flow that asks for its number: its parts may be there before and after.
    """
    exactly = [unit.phase for unit in (*came, *gone) if unit.is_part]
    if exactly:
        return max(exactly)
    return min((unit.phase for unit in came), default=max((unit.phase for unit in gone), default=Phase.RECEIVE))


def _settle(came: list[_Unit], gone: list[_Unit], stale: AbstractSet[tuple[int, int]], searches: int) -> None:
    """Give each rule its phase."""
    leaving = []
    for unit in gone:
        if stale and _asks_for(unit, stale):
            unit.phase = Phase.BREAK
        else:
            leaving.append(unit)
    if not leaving:
        return
    by_rule = {unit.rule: unit for unit in (*came, *leaving)}
    old = Cover((unit.rule for unit in leaving), searches // 2)
    new = Cover((unit.rule for unit in came), searches // 2)
    wider = {unit: [by_rule[rule] for rule in old.of(unit.rule)] for unit in came}
    for unit in leaving:
        opened = any(not wider[by_rule[rule]] for rule in new.of(unit.rule))
        unit.phase = Phase.RECEIVE if opened else Phase.TIGHTEN
    for unit, covering in wider.items():
        if any(former.phase is Phase.TIGHTEN for former in covering):
            unit.phase = Phase.TIGHTEN


def _rule(flow: Flow, clauses: tuple[tuple[Match, ...], ...]) -> Rule:
    # What lets pass does so whatever register says it, and whether or not that is counted as something that would be refused.
    return Rule((flow.feature, flow.goto), flow.table, clauses)


def _clauses(parts: list[tuple[Conjunction, Flow]]) -> tuple[tuple[Match, ...], ...]:
    """Return the clauses of a conjunction, none if some are not known."""
    by_clause: defaultdict[int, list[Match]] = defaultdict(list)
    for part, flow in parts:
        by_clause[part.clause].append(flow.match)
    return tuple(map(tuple, by_clause.values())) if len(by_clause) == parts[0][0].clauses else ()


def _conjunctions(flow: Flow) -> set[Conjunction]:
    return {action for action in flow.actions if isinstance(action, Conjunction)}


def _asks_for(unit: _Unit, stale: AbstractSet[tuple[int, int]]) -> bool:
    """Return whether the rule cannot hold without one of these values."""
    return any(
        all(any(mask is None and (index, value) in stale for index, value, mask in match) for match in clause)
        for clause in unit.rule.clauses
    )
