"""Which packets come to which table, and as what: so that a lie is looked for among those for whom it changes what is found there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random

from controller.pipeline.flow import Flow, Program
from tests.proof.lookup import CONJ_ID, Lookup, conjunctions, holds
from tests.proof.mutants import Mutant
from tests.proof.passage import Passage, Tracer
from tests.proof.states import LookUp, State

Place = tuple[str, str, int]  # host, bridge, table


@dataclass(slots=True)
class Met:
    """Packets that are alike to a table: what it finds for them, and the conversations that they belong to."""

    state: State  # As far as the table looks.
    found: Flow | None
    conversations: list[int] = field(default_factory=list)


class Meetings:
    """All look-ups of all conversations, by table."""

    def __init__(self, tracer: Tracer, programs: Iterable[Program]) -> None:
        self._tracer = tracer
        self.tables: dict[Place, Lookup] = {}
        by_place: dict[Place, list[Flow]] = {}
        for program in programs:
            for flow in program.flows.values():
                by_place.setdefault((program.host, program.bridge, flow.table), []).append(flow)
        for place, flows in by_place.items():
            self.tables[place] = Lookup(flows)
        self._at: dict[Place, dict[tuple[int, ...], Met]] = {place: {} for place in by_place}
        self._met: set[int] = set()
        # Many packets go the same way for a while; ways are kept by their hashes, as they are many.
        self._ways: dict[int, list[Met]] = {}

    def note(self, passage: Passage, number: int) -> None:
        """Note every look-up of a passage of a conversation."""
        for host, tunnel, line, found in self._tracer.passes(passage):
            way = hash((host, tunnel, line, tuple([id(each.flow) for each in found])))
            there = self._ways.get(way)
            if there is None:
                there = self._ways[way] = [
                    self._meeting(host, each) for each in self._tracer.look_ups(host, tunnel, line, found)
                ]
            for met in there:
                if not met.conversations or met.conversations[-1] != number:
                    met.conversations.append(number)

    def _meeting(self, host: str, at: LookUp) -> Met:
        """Return what a look-up is to its table."""
        place = host, at.bridge, at.table
        fields = self.tables[place].fields
        known = tuple([at.state.get(index, 0) for index in fields])
        there = self._at[place]
        met = there.get(known)
        if met is None:
            met = there[known] = Met(dict(zip(fields, known, strict=True)), at.flow)
            self._met.add(id(at.flow))
        # Which of two flows of one priority is found is Open vSwitch's choice.
        assert does_the_same(met.found, at.flow), f"packets that are alike to {place} find {met.found} and {at.flow}"
        return met

    def has_met(self, flow: Flow) -> bool:
        """Return whether any packet met the flow."""
        return id(flow) in self._met

    def at(self, place: Place) -> Iterable[Met]:
        """Return what came to a table."""
        return self._at[place].values()

    def differing(self, lie: Mutant) -> Iterator[tuple[Met, Flow | None]]:
        """Yield the packets for which a lie changes what is done, with what is found for them then."""
        after = self.tables[lie.place].other(lie.gone, lie.told)
        numbers = {each.id for flow in (*lie.gone, *lie.told) for each in conjunctions(flow)}
        gone = set(map(id, lie.gone))
        changed = (*lie.told, *lie.gone) if numbers else lie.told
        for met in self.at(lie.place):
            found = met.found
            is_joined = found is not None and bool(numbers) and _conjunction(found) in numbers
            if not (id(found) in gone or is_joined or any(_may_be_found(flow, met) for flow in changed)):
                continue
            then = after.find({index: value for index, value in met.state.items() if index != CONJ_ID})
            if then is not found and not does_the_same(found, then):
                yield met, then

    def reached(self, lie: Mutant, random: Random, shape: Callable[[int], Hashable]) -> Iterator[int]:
        """Yield the conversations that a lie reaches, each once; those take turns that differ at the table, or in shape."""
        unlike: dict[Hashable, list[int]] = {}
        for place, (met, _) in enumerate(self.differing(lie)):
            for number in met.conversations:
                unlike.setdefault((place, shape(number)), []).append(number)
        waiting = list(unlike.values())
        for numbers in waiting:
            random.shuffle(numbers)
        random.shuffle(waiting)
        told: set[int] = set()
        while waiting:
            for numbers in waiting:
                number = numbers.pop()
                if number not in told:
                    told.add(number)
                    yield number
            waiting = [numbers for numbers in waiting if numbers]


def does_the_same(one: Flow | None, other: Flow | None) -> bool:
    """Return whether two flows do the same to a packet; finding nothing is doing nothing."""
    return _effect(one) == _effect(other)


def does_something(flow: Flow) -> bool:
    """Return whether anything becomes of packets that meet the flow."""
    return _effect(flow) is not None


def _effect(flow: Flow | None) -> object:
    return None if flow is None or not (flow.actions or flow.goto is not None) else (flow.actions, flow.goto)


def _may_be_found(flow: Flow, met: Met) -> bool:
    return (met.found is None or met.found.priority <= flow.priority) and holds(flow.match, met.state)


def _conjunction(flow: Flow) -> int | None:
    return next((value for index, value, _ in flow.match if index == CONJ_ID), None)
