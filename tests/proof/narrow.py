"""Whether some packets can come to a table, asked again from the beginning: with the headers that they must have borne all along.

Sets of packets cannot say what packets are not, in more than a bit: what goes by all flows for known MACs or types may be of one of
them, as far as they tell. So the flows are followed once more with nothing but such packets.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.pipeline.flow import (
    Action,
    Conntrack,
    Flow,
    Move,
    Output,
    OutputField,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    ToGroup,
)
from tests.proof.cubes import ONES, Cube, Key, key, meet
from tests.proof.reach import NARROWED, TRANSLATED, VLAN, Reach

_MOST = 40  # So many times at the most: each is as long as the first.
_Place = tuple[str, int]  # Bridge and table.


class Narrow:
    """The reach of one host, asked about single packets."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._next: dict[_Place, set[_Place]] = {place: set() for place in reach.tables}
        for (bridge, table), flows in reach.tables.items():
            for flow, _ in flows:
                self._next[bridge, table] |= self._after(bridge, flow)
                for asked in _asked(flow.actions):
                    # What is looked at there goes on with what its asker does.
                    for inner in reach.chain(bridge, asked):
                        self._next.setdefault((bridge, inner), set()).add((bridge, table))
        self._unwritten: dict[_Place, frozenset[int]] = {}
        self._found: dict[tuple[_Place, Key], list[Cube]] = {}

    def can_come(self, bridge: str, table: int, cube: Cube) -> bool:
        """Return whether some of these packets can come to a table; True also where that is not asked."""
        place = bridge, table
        if place not in self._unwritten:
            self._unwritten[place] = NARROWED - self._written_before(place)
        told = {
            index: held for index, held in cube.items() if index in self._unwritten[place] and held[1] == ONES[index]
        }
        asked = place, key(told)
        if asked not in self._found:
            if not told or len(self._found) >= _MOST:
                return True
            self._found[asked] = list(self._reach.narrowed(told).at(bridge, table))
        return any(meet(each, cube) is not None for each in self._found[asked])

    def _after(self, bridge: str, flow: Flow) -> set[_Place]:
        """Return where packets may go from a flow."""
        found = {(bridge, asked) for asked in _asked(flow.actions)}
        found |= {
            (bridge, each.table) for each in flow.actions if isinstance(each, Conntrack) and each.table is not None
        }
        if flow.goto is not None:
            found.add((bridge, flow.goto))
        if any(isinstance(each, Output | OutputField | ToGroup) for each in flow.actions):
            found |= {(there, 0) for (here, _), (there, _) in self._reach.peers.items() if here == bridge}
            # Buckets look at tables as well.
            groups = (
                self._reach.groups[bridge].values() if any(isinstance(each, ToGroup) for each in flow.actions) else ()
            )
            found |= {(bridge, asked) for group in groups for bucket in group.buckets for asked in _asked(bucket)}
        return found

    def _written_before(self, place: _Place) -> set[int]:
        """Return the fields that flows write from which packets may go on to a table."""
        leading, more = {place}, True
        while more:
            found = {each for each, beyond in self._next.items() if beyond & leading}
            more = not found <= leading
            leading |= found
        written: set[int] = set()
        for (bridge, table), flows in self._reach.tables.items():
            returns = {each for each in self._next[bridge, table] if each in leading}
            for flow, _ in flows:
                is_asked = bool(returns - self._after(bridge, flow)) and self._reach.is_asked(bridge, table)
                if is_asked or self._after(bridge, flow) & leading:
                    written |= _written(flow.actions)
        for groups in self._reach.groups.values():
            written |= {index for group in groups.values() for bucket in group.buckets for index in _written(bucket)}
        return written


def _asked(actions: Iterable[Action]) -> set[int]:
    return {action.table for action in actions if isinstance(action, Resubmit)}


def _written(actions: Iterable[Action]) -> set[int]:
    found: set[int] = set()
    for action in actions:
        match action:
            case SetField(field=index) | Move(target=index):
                found.add(index)
            case PopVlan() | PushVlan():
                found.add(VLAN)
            case Conntrack(nat=nat) if nat is not None:
                found |= TRANSLATED
            case _:
                pass
    return found
