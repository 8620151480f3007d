"""Groups and meters that several parts claim are there as long as one of them does, and a delta tells of them once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.memo import Memo
from controller.pipeline.claims import Claims, of_meters
from controller.pipeline.flow import Delta, DuplicateFlow, Meter, Origin, Program
from controller.pipeline.plan import pipeline
from controller.pipeline.program import NOTHING, Builder, Part, join

HERE = Origin("a test", None)


def meter(number: int, rate: int = 100) -> Meter:
    return Meter(number, rate, 50, HERE, "deliver")


def built(*meters: Meter, before: Part | None = None) -> Part:
    builder = Builder(pipeline(), Memo())
    builder.feature = pipeline().features[0]
    for each in meters:
        builder.meter(each.id, each.rate, each.burst, origin=each.origin)
    return builder.part(before)


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=20), st.integers(0, 20))
def test_what_is_claimed_is_held_and_the_delta_leads_there(edits: list[tuple[int, bool]], start: int) -> None:
    claims: Claims[Meter] = Claims()
    held: dict[int, Meter] = {}
    open_claims: list[Meter] = []
    before: dict[int, Meter] = {}
    delta = Delta()
    for place, (number, comes) in enumerate(edits):
        if place == start:
            before, delta = dict(held), Delta()
        mine = [each for each in open_claims if each.id == number]
        if comes:
            open_claims.append(meter(number))
            claims.add(open_claims[-1], held, of_meters(delta))
        elif mine:
            open_claims.remove(mine[0])
            claims.remove(mine[0], held, of_meters(delta))
    assert held.keys() == {each.id for each in open_claims}
    if start < len(edits):
        after = {**{n: m for n, m in before.items() if n not in delta.meter_deletes}, **delta.meter_puts}
        assert after.keys() == held.keys()


def test_claims_that_differ_are_a_clash() -> None:
    claims: Claims[Meter] = Claims()
    held: dict[int, Meter] = {}
    for each in (meter(1), meter(1), meter(1, 200)):
        claims.add(each, held, None)
    assert list(claims.clashes(held, "meter")) == ["a test and a test share meter 1"]


def test_a_program_holds_a_meter_of_a_number_once() -> None:
    program = Program("hv1", "br-int", 1)
    program.add_meter(meter(1))
    program.add_meter(meter(1))
    with pytest.raises(DuplicateFlow, match="share meter 1"):
        program.add_meter(meter(1, 200))


def test_a_part_of_meters_alone_is_a_part() -> None:
    first = built(meter(1), meter(2))
    assert [each.id for each in join([first, built(meter(3)), NOTHING]).meters] == [1, 2, 3]
    assert built() is NOTHING


def test_meters_that_are_made_again_are_the_same_objects() -> None:
    first = built(meter(1), meter(2))
    assert built(meter(1), meter(2), before=first) is first
    again = built(meter(1), meter(2, 7), before=first)
    assert (again.meters[0] is first.meters[0], again.meters[1].rate) == (True, 7)


def test_features_that_claim_one_meter_for_one_thing_keep_a_claim_each() -> None:
    """When the thing is looked at again, each claim is the one that it was: else one would be given back twice."""

    def by_two(before: Part | None) -> Part:
        builder = Builder(pipeline(), Memo())
        for builder.feature in pipeline().features[:2]:
            builder.meter(1, 100, 50, origin=HERE)
        return builder.part(before)

    first = by_two(None)
    assert len(set(map(id, first.meters))) == 2
    assert by_two(first) is first
