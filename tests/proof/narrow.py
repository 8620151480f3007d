"""Whether some packets can come to a table, asked again: with what they must have borne since the beginning, or since it was written.

Sets of packets cannot say what packets are not, in more than a bit: what goes by all flows for known MACs or types may be of one of
them, as far as they tell. So the flows are followed once more with nothing but such packets, from where they come in, and from the tables
in which they were last given what they bear there.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.pipeline.fields import BY_NAME, FIELDS
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
from controller.pipeline.registers import JUDGED, NETWORK, SOURCE_CLASS, SPACE, TARGET_CLASS
from tests.proof.cubes import ONES, Cube, Key, key, meet
from tests.proof.reach import NARROWED, TRACKING, TRANSLATED, VLAN, Reach

_MOST = 40  # So many times at the most: each is as long as the first.
_NEARER = 400  # These are shorter.
_Place = tuple[str, int]  # Bridge and table.
_ALL = frozenset(range(len(ONES)))
_TYPES = ("eth_type", "ip_proto", "ip_frag")
_HEADERS = NARROWED | {
    field.index for field in FIELDS if field.name in _TYPES or field.name.startswith(("tcp_", "udp_", "sctp_"))
}
_JUDGED = _HEADERS | {
    BY_NAME[register.field].index for register in (NETWORK, SPACE, SOURCE_CLASS, TARGET_CLASS, JUDGED)
}
_HERE = _ALL - _HEADERS - {VLAN}  # What a packet bears in one bridge alone.


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
        self._nearer: dict[tuple[_Place, Key], list[Cube]] = {}
        self._before = self._steps()

    def those(self, bridge: str, table: int, cube: Cube) -> list[Cube]:
        """Return which of these packets can come to a table, or all of them where that is not asked."""
        place = bridge, table
        left = [cube] if self._from_the_beginning(place, cube) else []
        for fields in (_HEADERS, _JUDGED, _ALL):
            left = [
                met for each in left for found in self._from_nearer(place, fields, each) if (met := meet(each, found))
            ]
            left = list({key(each): each for each in left}.values())
        return left

    def _from_nearer(self, place: _Place, fields: frozenset[int], cube: Cube) -> list[Cube]:
        """Return what comes to a table from the tables in which these packets were last given what they bear in some fields."""
        told = {index: held for index, held in cube.items() if index in fields}
        asked = place, key(told)
        if asked not in self._nearer:
            if not told or len(self._nearer) >= _NEARER:
                return [cube]
            self._nearer[asked] = list(self._reach.followed(self._roots(place, frozenset(told)), told).at(*place))
        return self._nearer[asked]

    def _roots(self, place: _Place, fields: frozenset[int]) -> tuple[set[_Place], set[str]]:
        """Return the tables from which on nothing is written of some fields on the way to a table, and bridges that packets enter so."""
        roots: set[_Place] = set()
        entered: set[str] = set()
        seen, waiting = {place}, [place]
        while waiting:
            here = waiting.pop()
            steps = self._before.get(here, [])
            if any(written & fields for _, written in steps):
                roots.add(here)
                continue
            if here[1] == 0:
                entered.add(here[0])
            fresh = {before for before, _ in steps} - seen
            seen |= fresh
            waiting += fresh
        return roots, entered

    def _steps(self) -> dict[_Place, list[tuple[_Place, frozenset[int]]]]:
        """Return for each table from which packets come there, and what is written then."""
        steps: dict[_Place, list[tuple[_Place, frozenset[int]]]] = {}
        for (bridge, table), flows in self._reach.tables.items():
            for flow, _ in flows:
                written = _written(flow.actions)
                for asked in _asked(flow.actions):
                    written |= self._reach.written(bridge, asked)
                if any(isinstance(action, Conntrack) for action in flow.actions):
                    written |= TRACKING
                if any(isinstance(action, ToGroup) for action in flow.actions):
                    buckets = [bucket for group in self._reach.groups[bridge].values() for bucket in group.buckets]
                    written |= {index for bucket in buckets for index in _written(bucket)}
                for after in self._after(bridge, flow):
                    here = written if after[0] == bridge else written | _HERE
                    steps.setdefault(after, []).append(((bridge, table), frozenset(here)))
        return steps

    def _from_the_beginning(self, place: _Place, cube: Cube) -> bool:
        if place not in self._unwritten:
            self._unwritten[place] = NARROWED - self._written_before(place)
        told = {
            index: held for index, held in cube.items() if index in self._unwritten[place] and held[1] == ONES[index]
        }
        asked = place, key(told)
        if asked not in self._found:
            if not told or len(self._found) >= _MOST:
                return True
            self._found[asked] = list(self._reach.narrowed(told).at(*place))
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
