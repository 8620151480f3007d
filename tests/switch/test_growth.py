"""When a counter last grew, as far as readings say: between the last that did not know it and the first that did."""

from __future__ import annotations

from controller.switch.growth import Watch
from controller.switch.status import Count, Growth
from controller.wire.counts import Counted

DROPS = b"cookie 1"


def read(watch: Watch[bytes], packets: int, at: float, age: int = 1000) -> Count:
    return watch.note({DROPS: Counted(packets, 60 * packets, age)}, at)[DROPS]


def test_what_never_counted_never_grew() -> None:
    assert read(Watch(), 0, 100.0) == Count(0, 0, None)


def test_the_first_reading_knows_the_flow_s_age_alone() -> None:
    assert read(Watch(), 5, 5000.0, age=50).grew == Growth(4949.0, 5000.0)


def test_two_readings_that_differ_have_the_growth_between_them() -> None:
    watch: Watch[bytes] = Watch()
    read(watch, 5, 5000.0)
    assert read(watch, 7, 5010.0) == Count(7, 420, Growth(4999.0, 5010.0))
    assert read(watch, 7, 5060.0).grew == Growth(4999.0, 5010.0), "nothing came since"


def test_a_reading_that_says_the_same_moves_the_earliest_moment_of_the_next_growth() -> None:
    watch: Watch[bytes] = Watch()
    for at in (5000.0, 5030.0):
        read(watch, 5, at)
    assert read(watch, 6, 5040.0).grew == Growth(5029.0, 5040.0)


def test_a_reading_of_all_says_of_the_others_that_they_were_nothing() -> None:
    watch: Watch[bytes] = Watch()
    watch.note({}, 5000.0, is_all=True)
    assert read(watch, 3, 5060.0).grew == Growth(4999.0, 5060.0)


def test_a_counter_that_starts_again_has_grown_since_its_flow_is_there() -> None:
    watch: Watch[bytes] = Watch()
    read(watch, 500, 5000.0)
    assert read(watch, 2, 5060.0, age=20).grew == Growth(5039.0, 5060.0)


def test_a_flow_that_is_gone_is_forgotten() -> None:
    watch: Watch[bytes] = Watch()
    read(watch, 5, 5000.0)
    watch.note({}, 5030.0, is_all=True)
    assert read(watch, 5, 5040.0).grew == Growth(5029.0, 5040.0)
