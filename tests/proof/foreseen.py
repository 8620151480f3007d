"""Whether what has come to tables is among what is said that it can come to them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from controller.pipeline.fields import BY_NAME
from tests.proof.cubes import ONES, agrees
from tests.proof.meetings import Met, Place
from tests.proof.reach import named_type
from tests.proof.sweep import Sweep

_TYPE = BY_NAME["eth_type"].index


def unforeseen(sweep: Sweep) -> Iterator[str]:
    """Yield what has come to a table and is not among what can come."""
    for place in sweep.meetings.tables:
        host, bridge, table = place
        cubes = list(sweep.likeness(host).reach.at(bridge, table))
        for met in sweep.meetings.at(place):
            known = _known(sweep, place, met)
            if not any(agrees(cube, known) for cube in cubes):
                yield f"{met.state} at {place}"


def denied(sweep: Sweep, random: Random, count: int) -> Iterator[str]:
    """Yield what has come to a table although, asked again, it is said that it cannot; so much of it is looked at."""
    mets = [(place, met) for place in sweep.meetings.tables for met in sweep.meetings.at(place)]
    for place, met in random.sample(mets, count):
        host, bridge, table = place
        cube = {index: (value, ONES[index]) for index, value in _known(sweep, place, met).items()}
        if not sweep.likeness(host).narrow.those(bridge, table, cube):
            yield f"{met.state} at {place}"


def _known(sweep: Sweep, place: Place, met: Met) -> dict[int, int]:
    known = {index: met.state.get(index, 0) for index in sweep.meetings.tables[place].fields}
    return known | ({_TYPE: named_type(known[_TYPE])} if _TYPE in known else {})
