from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.ids import Exhausted, allocate, integration_dpid, key, physical_dpid, tunnel_dpid

NAMES = st.sets(st.text("abcdefgh", min_size=1, max_size=4), max_size=40)


@given(NAMES)
def test_every_name_gets_a_number_of_its_own(names: set[str]) -> None:
    numbers = allocate(names, 64, kind="tag")
    assert numbers.keys() == names
    assert len(set(numbers.values())) == len(names)


@given(NAMES, NAMES)
def test_a_number_stays_while_its_owner_lives(before: set[str], after: set[str]) -> None:
    first = allocate(before, 64, kind="tag")
    second = allocate(after, 64, kind="tag", kept=first)
    assert {name: second[name] for name in before & after} == {name: first[name] for name in before & after}


@given(NAMES)
def test_a_restart_finds_the_numbers_that_were_given_at_once(names: set[str]) -> None:
    assert allocate(names, 64, kind="tag") == allocate(sorted(names, reverse=True), 64, kind="tag")


def test_more_names_than_numbers_is_said() -> None:
    with pytest.raises(Exhausted, match="all 2 are taken"):
        allocate(["a", "b", "c"], 2, kind="tag")


def test_numbers_in_use_elsewhere_are_passed_over() -> None:
    assert allocate(["a"], 4, kind="tag", is_free=lambda number: number == 3) == {"a": 3}


def test_a_key_is_never_zero_and_depends_on_its_kind() -> None:
    assert 0 < key("network", "red/web") < 1 << 32
    assert key("network", "red/web") != key("port", "red/web")


def test_the_bridges_of_a_host_have_different_datapath_ids() -> None:
    ids = [integration_dpid(7), tunnel_dpid(7), physical_dpid(7, "physnet1"), physical_dpid(7, "physnet2")]
    assert len(set(ids)) == len(ids)
    assert all(dpid >> 48 and dpid & 0xFFFFFFFFFFFF == 7 for dpid in ids)
