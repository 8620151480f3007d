"""Sets of packets of which some bits are known, as matches are: enough to say what can come to a table, and what cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.pipeline.fields import FIELDS
from controller.pipeline.flow import Match

Cube = dict[
    int, tuple[int, int]
]  # Field index -> value and mask of what is known; a field of which nothing is known is not there.
Key = tuple[tuple[int, tuple[int, int]], ...]
ONES = tuple(field.ones for field in FIELDS)


def of_match(match: Match) -> Cube:
    """Return the packets that a match asks for."""
    return {index: (value, ONES[index] if mask is None else mask) for index, value, mask in match}


def key(cube: Cube) -> Key:
    """Return what tells cubes apart."""
    return tuple(sorted(cube.items()))


def meet(cube: Cube, other: Cube) -> Cube | None:
    """Return the packets that are in both, None if none is."""
    found = None
    for index, (value, mask) in other.items():
        held = cube.get(index)
        if held is None:
            found = found or dict(cube)
            found[index] = value, mask
            continue
        mine, known = held
        if (mine ^ value) & known & mask:
            return None
        if mask & ~known:
            found = found or dict(cube)
            found[index] = mine | value, known | mask
    return cube if found is None else found


def less(cube: Cube, other: Cube) -> Cube | None:
    """Return the packets that are in the first alone, or some more; None if none is. The two must meet.

    It is exact where the other asks for one bit more than is known; where it asks for several, nothing is taken away.
    """
    missing = [(index, value, mask & ~cube.get(index, (0, 0))[1]) for index, (value, mask) in other.items()]
    missing = [each for each in missing if each[2]]
    if not missing:
        return None
    index, value, bits = missing[0]
    if len(missing) > 1 or bits & bits - 1:
        return cube
    mine, known = cube.get(index, (0, 0))
    return cube | {index: (mine | bits & ~value, known | bits)}


def without(cubes: Iterable[Cube], other: Cube) -> list[Cube]:
    """Return what is left of cubes, or some more."""
    return [
        left for cube in cubes if (left := less(cube, other) if meet(cube, other) is not None else cube) is not None
    ]


def only(cube: Cube, kept: Mapping[int, int]) -> Cube:
    """Return a cube with what is known of some bits alone."""
    found = {}
    for index, (value, mask) in cube.items():
        bits = mask & kept.get(index, 0)
        if bits:
            found[index] = value & bits, bits
    return found


def covers(cube: Cube, other: Cube) -> bool:
    """Return whether all packets of the other are in the first."""
    for index, (value, mask) in cube.items():
        mine, known = other.get(index, (0, 0))
        if mask & ~known or (mine ^ value) & mask:
            return False
    return True


def agrees(cube: Cube, known: Mapping[int, int]) -> bool:
    """Return whether a packet, as far as it is known, may be one of a set."""
    return all((known[index] ^ value) & mask == 0 for index, (value, mask) in cube.items() if index in known)
