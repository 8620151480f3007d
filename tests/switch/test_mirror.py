"""Deltas that wait are merged into one, which does what they would have done one after the other."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from controller.pipeline.flow import Delta, Flow, FlowKey, Group, Meter, Output, match
from controller.switch.mirror import Mirror, merge, what_matters
from tests.switch.harness import WEB1, flow

Held = tuple[dict[FlowKey, Flow], dict[int, Group], dict[int, Meter]]

PLACES = range(4)


def at(place: int, port: int) -> Flow:
    return flow(0, 10, match(in_port=place), Output(port))


def group(number: int, port: int) -> Group:
    return Group(number, ((Output(port),),), WEB1, "deliver")


def meter(number: int, rate: int) -> Meter:
    return Meter(number, rate, 1, WEB1, "deliver")


Edits = dict[tuple[str, int], int | None]  # (sort, place) -> the port, or the rate, from now on, None to delete

edits: st.SearchStrategy[Edits] = st.dictionaries(
    st.tuples(st.sampled_from(["flow", "group", "meter"]), st.sampled_from(PLACES)),
    st.none() | st.integers(1, 3),
    max_size=6,
)


def edit(held: Held, wanted: Edits) -> Delta:
    """Change what is held in place, and return the delta of it."""
    flows, groups, meters = held
    delta = Delta()
    for (sort, place), port in wanted.items():
        if sort == "group":
            former = groups.pop(place, None)
            if port is not None:
                delta.group_puts[place] = groups[place] = group(place, port)
            elif former is not None:
                delta.group_deletes[place] = former
            continue
        if sort == "meter":
            was = meters.pop(place, None)
            if port is not None:
                delta.meter_puts[place] = meters[place] = meter(place, port)
                delta.meter_replaced |= {} if was is None else {place: was}
            elif was is not None:
                delta.meter_deletes[place] = was
            continue
        key = at(place, 1).key
        before = flows.pop(key, None)
        if port is not None:
            delta.puts[key] = flows[key] = at(place, port)
            if before is not None:
                delta.replaced[key] = before
        elif before is not None:
            delta.deletes[key] = before
    return delta


def do(held: Held, delta: Delta) -> None:
    """Do what a switch does with a delta."""
    flows, groups, meters = held
    groups.update(delta.group_puts)
    meters.update(delta.meter_puts)
    for key in delta.deletes:
        flows.pop(key, None)
    flows.update(delta.puts)
    for number in delta.group_deletes:
        groups.pop(number, None)
    for number in delta.meter_deletes:
        meters.pop(number, None)


def told(held: Held) -> object:
    return [{key: each.effect for key, each in things.items()} for things in held]


def copy(held: Held) -> Held:
    flows, groups, meters = held
    return dict(flows), dict(groups), dict(meters)


def merged(deltas: Iterable[Delta]) -> Delta:
    one = Delta()
    for delta in deltas:
        merge(one, what_matters(delta))
    return one


@given(st.lists(edits, max_size=6), edits)
def test_one_delta_does_what_many_do(changes: list[Edits], start: Edits) -> None:
    program: Held = ({}, {}, {})
    edit(program, start)
    switch = copy(program)
    do(switch, merged([edit(program, wanted) for wanted in changes]))
    assert told(switch) == told(program)


@given(st.lists(edits, max_size=6), edits, st.integers(0, 6))
def test_deltas_may_be_done_again_by_a_switch_that_is_ahead_of_them(
    changes: list[Edits], start: Edits, ahead: int
) -> None:
    """A sync takes the program as it is, with changes that are told of only afterwards."""
    program: Held = ({}, {}, {})
    edit(program, start)
    states = [program]
    deltas = []
    for wanted in changes:
        program = copy(program)
        deltas.append(edit(program, wanted))
        states.append(program)
    switch = copy(states[min(ahead, len(changes))])
    do(switch, merged(deltas))
    assert told(switch) == told(program)


@given(st.lists(edits, max_size=6), edits)
def test_a_mirror_shows_what_was_committed(changes: list[Edits], start: Edits) -> None:
    program: Held = ({}, {}, {})
    edit(program, start)
    mirror = Mirror(list(program[0].values()), program[1].values(), program[2].values())
    for wanted in changes:
        mirror.apply(what_matters(edit(program, wanted)))
    held = {each.key: each for each in mirror.flows()}, mirror.groups(), mirror.meters()
    assert told(held) == told(program)
    assert len(mirror.flows()) == len(program[0])


@given(st.lists(edits, min_size=1, max_size=6), edits)
def test_the_oldest_former_flow_is_kept(changes: list[Edits], start: Edits) -> None:
    program: Held = ({}, {}, {})
    edit(program, start)
    before = dict(program[0])
    one = merged([edit(program, wanted) for wanted in changes])
    for gone in (one.replaced, one.deletes):
        assert all(before[key].effect == former.effect for key, former in gone.items() if key in before)
    assert one.puts.keys() & before.keys() <= one.replaced.keys()
    assert not one.puts.keys() & one.deletes.keys()


def test_what_does_the_same_is_not_sent() -> None:
    former, again, other = at(1, 2), at(1, 2), at(1, 3)
    assert not what_matters(Delta(puts={again.key: again}, replaced={former.key: former}))
    assert len(what_matters(Delta(puts={other.key: other}, replaced={former.key: former}))) == 1
