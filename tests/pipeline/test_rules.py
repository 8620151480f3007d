from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.model.entities import Range
from controller.pipeline.rules import masks

PORTS = st.integers(0, 65535)


@given(PORTS, PORTS)
def test_masks_cover_a_range_and_nothing_else(one: int, other: int) -> None:
    ports = Range(min(one, other), max(one, other))
    covered = 0
    for value, mask in masks(ports):
        size = (~mask & 0xFFFF) + 1
        assert value % size == 0
        assert value in ports
        assert value + size - 1 in ports
        covered += size
    assert covered == len(ports)


def test_all_ports_are_one_mask_that_matches_anything() -> None:
    assert list(masks(Range(0, 65535))) == [(0, 0)]


def test_all_ports_but_zero_are_sixteen_masks() -> None:
    assert len(list(masks(Range(1, 65535)))) == 16
