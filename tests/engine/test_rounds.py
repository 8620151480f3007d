"""What is announced when: several times, some time apart, and never too much at once."""

from __future__ import annotations

from controller.engine.rounds import BURST, INTERVAL_S, PAUSE_S, TIMES, Rounds


def said(rounds: Rounds[int], until: float, step: float = 0.01) -> list[tuple[float, int]]:
    """Return what is said up to then, and when, by somebody who asks at the deadlines alone."""
    found: list[tuple[float, int]] = []
    now = 0.0
    while now <= until:
        found += [(now, item) for item in rounds.due(now)]
        ends = rounds.deadlines()
        if not ends:
            break
        assert ends[0] > now, "who waits until then must not spin"
        now = max(now + step, ends[0])
    return found


def test_an_item_is_said_at_once_and_again_twice() -> None:
    rounds: Rounds[int] = Rounds()
    rounds.begin(7, 0.0)
    assert said(rounds, 60.0) == [(number * INTERVAL_S, 7) for number in range(TIMES)]
    assert rounds.deadlines() == []


def test_ten_thousand_items_are_paced_and_all_are_said_once_before_any_is_said_again() -> None:
    rounds: Rounds[int] = Rounds()
    for item in range(10_000):
        rounds.begin(item, 0.0)
    times = said(rounds, 600.0)
    assert [item for _, item in times[:10_000]] == list(range(10_000))
    assert sorted(item for _, item in times) == sorted(list(range(10_000)) * TIMES)
    for (first, _), (last, _) in zip(times, times[2 * BURST :], strict=False):
        assert last - first >= 2 * PAUSE_S - 1e-9, "no more than the pace allows"
    assert times[9_999][0] < 15.0


def test_what_begins_anew_is_said_so_often_from_then_on_and_what_is_dropped_no_more() -> None:
    rounds: Rounds[int] = Rounds()
    rounds.begin(1, 0.0)
    rounds.begin(2, 0.0, 1)
    assert rounds.due(0.0) == [1, 2]
    rounds.begin(1, 0.5)
    assert rounds.due(0.5) == [1]
    rounds.begin(3, 0.6)
    rounds.drop(3)
    assert [item for _, item in said(rounds, 60.0)] == [1, 1]
