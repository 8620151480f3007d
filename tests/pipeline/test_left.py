"""Rules of classes that ports leave or come back to, apart from the change that they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hypothesis import given
from hypothesis import strategies as st

from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Delta, Flow, Program, SetField, match
from controller.pipeline.left import come_back, part
from controller.pipeline.registers import JUDGED, SOURCE_CLASS
from controller.pipeline.rollout import phases
from tests.pipeline.changes import amounts, changed, content, difference, differences, flow, program, role

CLASS = BY_NAME[SOURCE_CLASS.field].index
A, B = 11, 12


def gives(number: int, port: int = 1) -> Flow:
    """The flow that gives a port its class."""
    return flow("receive", match(in_port=port), [SetField(CLASS, number)], goto=3)


def policy(number: int, *ports: int, stamp: int = 1) -> list[Flow]:
    """The rules of a class and its good stamp."""
    rules = [
        flow("allow", match(**{JUDGED.field: number}, ip_proto=6, tcp_dst=each), goto=9, table=3) for each in ports
    ]
    return [*rules, flow("recall", match(**{JUDGED.field: number}, ct_mark=stamp), goto=9, table=4)]


def steps(before: Iterable[Program], after: Iterable[Program]) -> list[dict[int, Delta]]:
    return phases(differences(before, after), role)


def test_rules_of_a_class_that_its_port_has_left_wait_and_all_else_is_done() -> None:
    before = [program(1, gives(A), *policy(A, 80)), program(2)]
    after = [program(1, gives(B), *policy(B, 80)), program(2, flow("send"))]
    now, later = part(steps(before, after), role)
    assert amounts(now) == [{1: (3, 0)}, {2: (1, 0)}]
    assert amounts([later]) == [{1: (0, 2)}]


def test_one_bridge_that_changes_alone_waits_as_well() -> None:
    now, later = part(steps([program(1, gives(A), *policy(A, 80))], [program(1, gives(B), *policy(B, 80))]), role)
    assert (amounts(now), amounts([later])) == ([{1: (3, 0)}], [{1: (0, 2)}])


def test_a_rule_goes_at_once_as_long_as_somebody_has_its_class() -> None:
    before = [program(1, gives(A), gives(A, port=2), *policy(A, 80, 443)), program(2)]
    after = [program(1, gives(B), gives(A, port=2), *policy(A, 80, stamp=2), *policy(B, 80)), program(2)]
    assert part(steps(before, after), role)[1] == {}


def test_rules_of_a_port_that_goes_for_good_go_with_it() -> None:
    assert part(steps([program(1, gives(A), *policy(A, 80)), program(2)], [program(1), program(2)]), role)[1] == {}


def test_a_class_that_comes_back_finds_the_rules_that_are_still_there_and_loses_those_that_are_no_longer_good() -> None:
    later = Delta(deletes={each.key: each for each in policy(A, 80, 443)})
    other = Delta(deletes={each.key: each for each in policy(B, 80)})
    left = Delta(deletes=later.deletes | other.deletes)
    change = difference(program(1, gives(B)), program(1, gives(A), *policy(A, 80, stamp=2)))
    rest, whole = come_back(left, change)
    assert rest == other
    kept, gone, stamp = policy(A, 80, 443)
    assert set(whole.deletes) == {gone.key, stamp.key}
    assert whole.replaced[kept.key] is later.deletes[kept.key]


def test_a_change_that_brings_nothing_back_leaves_what_is_to_end_as_it_is() -> None:
    left = Delta(deletes={each.key: each for each in policy(A, 80)})
    change = difference(program(1), program(1, flow("send")))
    assert come_back(left, change) == (left, change)


FLOWS = st.sampled_from(
    [gives(A), gives(B), gives(A, 2), gives(B, 2), flow("send"), *policy(A, 80), *policy(B, 80, 443)]
)


@st.composite
def fabrics(draw: st.DrawFn) -> list[Program]:
    found = [program(dpid) for dpid in (1, 2)]
    for each in found:
        each.flows |= {one.key: one for one in draw(st.lists(FLOWS, max_size=8))}
    return found


@given(fabrics(), fabrics())
def test_whatever_is_put_apart_all_of_it_together_is_the_change(before: list[Program], after: list[Program]) -> None:
    now, later = part(steps(before, after), role)
    done: list[Mapping[int, Delta]] = [*now, later]
    for old, new in zip(before, after, strict=True):
        held = old
        for step in done:
            held = changed(held, step.get(old.dpid, Delta()))
        assert content(held) == content(new)
