"""Who has to go when too many wait at the door."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from controller.switch.admission import Admission

Knock = Callable[[], tuple[socket.socket, socket.socket]]


@pytest.fixture
def knock() -> Iterator[Knock]:
    """Return what makes a connection: our end and theirs."""
    made: list[socket.socket] = []

    def pair() -> tuple[socket.socket, socket.socket]:
        ends = socket.socketpair()
        for end in ends:
            end.settimeout(0)
        made.extend(ends)
        return ends

    yield pair
    for end in made:
        end.close()


def is_over(theirs: socket.socket) -> bool:
    try:
        return theirs.recv(1) == b""
    except BlockingIOError:
        return False


def test_of_one_source_the_oldest_goes_and_others_stay(knock: Knock) -> None:
    door = Admission()
    door.per_source = 2
    ours = [knock() for _ in range(5)]
    sources = ["a", "b", "a", "a", "b"]
    crowded = [door.enter(near, source) for (near, _), source in zip(ours, sources, strict=True)]
    assert crowded == [False, False, False, True, False]
    assert [is_over(far) for _, far in ours] == [True, False, False, False, False]


def test_in_total_the_oldest_of_all_goes(knock: Knock) -> None:
    door = Admission()
    door.in_total = 3
    ours = [knock() for _ in range(4)]
    crowded = [door.enter(near, str(number)) for number, (near, _) in enumerate(ours)]
    assert crowded == [False, False, False, True]
    assert [is_over(far) for _, far in ours] == [True, False, False, False]
    assert len(door) == 3


def test_who_is_through_makes_room_and_is_never_sent_away(knock: Knock) -> None:
    door = Admission()
    door.per_source = 1
    first, second, third = knock(), knock(), knock()
    door.enter(first[0], "a")
    door.leave(first[0])
    door.leave(first[0])
    assert not door.enter(second[0], "a")
    assert door.enter(third[0], "a")
    assert [is_over(far) for _, far in (first, second, third)] == [False, True, False]
    assert len(door) == 1


def test_who_has_left_by_himself_is_in_nobody_s_way(knock: Knock) -> None:
    door = Admission()
    door.per_source = 1
    (gone, _), (near, far) = knock(), knock()
    door.enter(gone, "a")
    gone.close()
    assert door.enter(near, "a")
    assert not is_over(far)
