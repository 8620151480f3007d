"""A mapping of tenants' parts is the mapping of all that they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.mapping import ByTenant

NAMES = st.sampled_from(["a", "b", "c"])
PARTS = st.dictionaries(st.sampled_from(["red", "blue", "green"]), st.dictionaries(NAMES, st.integers(0, 2)))


def qualified(parts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {tenant: {f"{tenant}/{name}": value for name, value in part.items()} for tenant, part in parts.items()}


def plain(parts: dict[str, dict[str, int]]) -> dict[str, int]:
    return {name: value for part in parts.values() for name, value in part.items()}


@given(PARTS.map(qualified), PARTS.map(qualified))
def test_it_is_read_and_compared_like_a_dictionary(
    parts: dict[str, dict[str, int]], others: dict[str, dict[str, int]]
) -> None:
    mapping, expected = ByTenant(parts), plain(parts)
    assert (list(mapping), len(mapping)) == (list(expected), len(expected))
    assert (list(mapping.items()), list(mapping.values())) == (list(expected.items()), list(expected.values()))
    assert all(mapping[name] == value and name in mapping for name, value in expected.items())
    assert (mapping == ByTenant(others)) == (expected == plain(others))
    assert (mapping == plain(others)) == (expected == plain(others)) == (plain(others) == mapping)


@pytest.mark.parametrize("name", ["red/z", "pink/a", "red", "", "red/"])
def test_a_name_that_nothing_carries_is_missing(name: str) -> None:
    mapping = ByTenant({"red": {"red/a": 1}})
    assert (name in mapping, mapping.get(name)) == (False, None)
    with pytest.raises(KeyError, match=f"^'{name}'$"):
        mapping[name]


def test_tenants_differ_whose_parts_are_not_the_same_object() -> None:
    red, blue = {"red/a": 1}, {"blue/a": 1}
    before = ByTenant({"red": red, "blue": blue, "gone": {}})
    assert ByTenant({"red": red, "blue": dict(blue), "new": {}}).differing(before) == {"blue", "gone", "new"}
    assert (before.part("red") is red, before.part("stranger")) == (True, {})
