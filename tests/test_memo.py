"""Values that remember what they were computed from: stories of small computations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest

from controller.memo import Input, Memo, OutOfOrder, Query, emitting, query

calls: Counter[str] = Counter()
number: Input[int | None] = Input("number")


@query
def early(memo: Memo, name: str) -> int:
    return number(memo, name) or 0


@query
def sign(memo: Memo, name: str) -> int:
    calls[f"sign {name}"] += 1
    found = number(memo, name) or 0
    return (found > 0) - (found < 0)


@query
def word(memo: Memo, name: str) -> str:
    calls[f"word {name}"] += 1
    return {1: "more", 0: "nothing", -1: "less"}[sign(memo, name)]


@query
def inverse(memo: Memo, name: str) -> float:
    calls[f"inverse {name}"] += 1
    return 1 / early(memo, name)


@query
def owner(memo: Memo, name: str) -> None:
    calls[f"owner {name}"] += 1
    for place in range(early(memo, name)):
        memo.require(owned, name, place)


@emitting
def owned(memo: Memo, name: str, place: int) -> str:
    calls[f"owned {name} {place}"] += 1
    return f"{word(memo, f'{name}{place}')} of {name}"


@query
def backwards(memo: Memo, name: str) -> int:
    return late(memo, name)


@query
def late(memo: Memo, name: str) -> int:
    return early(memo, name)


@pytest.fixture
def memo() -> Memo:
    calls.clear()
    return Memo()


def settled(memo: Memo, wanted: Query[..., Any], *key: Hashable) -> Any:
    memo.keep(wanted, *key)
    memo.settle()
    return memo.peek(wanted, *key)


def test_what_follows_from_an_input_follows_it(memo: Memo) -> None:
    memo.set(number, ("a",), 5)
    assert settled(memo, word, "a") == "more"
    memo.set(number, ("a",), -5)
    assert settled(memo, word, "a") == "less"


def test_a_value_that_comes_out_as_before_makes_nobody_look_again(memo: Memo) -> None:
    memo.set(number, ("a",), 5)
    settled(memo, word, "a")
    memo.set(number, ("a",), 6)
    settled(memo, word, "a")
    assert calls == {"sign a": 2, "word a": 1}


def test_an_input_that_is_set_to_its_value_changes_nothing(memo: Memo) -> None:
    memo.set(number, ("a",), 5)
    settled(memo, word, "a")
    memo.set(number, ("a",), 5)
    settled(memo, word, "a")
    assert calls == {"sign a": 1, "word a": 1}


def test_an_input_costs_those_that_read_it_alone(memo: Memo) -> None:
    names = [f"n{place}" for place in range(100)]
    for name in names:
        memo.set(number, (name,), 1)
        settled(memo, word, name)
    calls.clear()
    memo.set(number, ("n7",), -1)
    memo.settle()
    assert calls == {"sign n7": 1, "word n7": 1}


def test_what_is_required_lives_and_does_not_make_its_owner_look_again(memo: Memo) -> None:
    memo.set(number, ("a",), 2)
    settled(memo, owner, "a")
    memo.set(number, ("a1",), 9)
    memo.settle()
    assert calls["owner a"] == 1
    assert [memo.peek(owned, "a", place) for place in range(2)] == ["nothing of a", "more of a"]


def test_what_is_not_required_any_more_is_dropped_with_all_that_only_it_had_used(memo: Memo) -> None:
    memo.set(number, ("a",), 1)
    settled(memo, owner, "a")
    before = len(memo)
    memo.set(number, ("a",), 50)
    memo.settle()
    memo.set(number, ("a",), 1)
    memo.settle()
    assert len(memo) == before
    memo.set(number, ("a",), None)
    memo.release(owner, "a")
    memo.settle()
    assert len(memo) == 0


def test_what_is_dropped_before_its_turn_is_not_computed(memo: Memo) -> None:
    memo.set(number, ("a",), 3)
    settled(memo, owner, "a")
    calls.clear()
    memo.set(number, ("a",), 2)
    memo.set(number, ("a2",), -1)
    memo.settle()
    assert calls["owned a 2"] == 0


def test_emissions_tell_what_came_changed_and_went_once(memo: Memo) -> None:
    memo.set(number, ("a",), 2)
    settled(memo, owner, "a")
    assert sorted(memo.emissions()) == [(("a", 0), None, "nothing of a"), (("a", 1), None, "nothing of a")]
    memo.set(number, ("a",), 1)
    memo.set(number, ("a0",), 1)
    memo.settle()
    assert sorted(memo.emissions()) == [(("a", 0), "nothing of a", "more of a"), (("a", 1), "nothing of a", None)]
    assert list(memo.emissions()) == []


def test_what_came_and_went_between_two_looks_is_not_told(memo: Memo) -> None:
    for wanted in (1, 0):
        memo.set(number, ("a",), wanted)
        settled(memo, owner, "a")
    assert list(memo.emissions()) == []


def test_a_query_that_fails_keeps_what_it_had_and_the_others_are_fresh(memo: Memo) -> None:
    for name in ("a", "b"):
        memo.set(number, (name,), 2)
        memo.keep(inverse, name)
    memo.settle()
    memo.set(number, ("a",), 0)
    memo.set(number, ("b",), 4)
    with pytest.raises(ZeroDivisionError):
        memo.settle()
    assert (memo.peek(inverse, "a"), memo.peek(inverse, "b")) == (0.5, 0.25)


def test_a_query_that_has_failed_is_tried_again_until_it_does_not(memo: Memo) -> None:
    memo.set(number, ("a",), 0)
    memo.keep(inverse, "a")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            memo.settle()
    memo.set(number, ("a",), 8)
    assert settled(memo, inverse, "a") == 0.125


def test_a_query_that_fails_about_what_has_gone_is_no_matter(memo: Memo) -> None:
    @query
    def reader(memo: Memo, name: str) -> float | None:
        return inverse(memo, name) if early(memo, "wants") else None

    memo.set(number, ("a",), 2)
    memo.set(number, ("wants",), 1)
    assert settled(memo, reader, "a") == 0.5
    memo.set(number, ("a",), 0)
    memo.set(number, ("wants",), 0)
    assert settled(memo, reader, "a") is None
    memo.settle()


def test_a_query_may_not_read_one_that_is_declared_after_it(memo: Memo) -> None:
    memo.keep(backwards, "a")
    with pytest.raises(OutOfOrder, match=r"backwards reads .*late"):
        memo.settle()


def test_a_query_knows_what_it_said_before(memo: Memo) -> None:
    @query
    def highest(memo: Memo, name: str) -> int:
        return max(memo.previous() or 0, early(memo, name))

    for given, expected in ((3, 3), (7, 7), (5, 7)):
        memo.set(number, ("a",), given)
        assert settled(memo, highest, "a") == expected
