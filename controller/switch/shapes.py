"""What a switch is known to take: the shapes of flows and groups that it has committed before.

A switch refuses a message while it is added to a bundle for what the message is made of: fields without their prerequisites,
actions or tables that it does not have. Numbers that only say which port, MAC or class is meant do not come into it. So what
has the shape of something that was committed needs no round trip of its own between the adds and the commit.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import (
    Action,
    Conjunction,
    Conntrack,
    Flow,
    Group,
    Metered,
    Note,
    Output,
    Resubmit,
    SetField,
    ToController,
    ToGroup,
)
from controller.switch.changes import Changes

_MOST = 4096  # Shapes of one switch; there are some hundred. Of larger differences none is learnt: they are rare and take long anyway.
_RESERVED = 0xFF00  # Ports from here on have meanings of their own.

# Other fields and actions may need these to have certain values.
_TELLING = frozenset(
    BY_NAME[name].index
    for name in (
        "eth_type",
        "ip_proto",
        "icmp_type",
        "icmp_code",
        "icmpv6_type",
        "icmpv6_code",
        "arp_op",
        "ip_frag",
        "ct_state",
    )
)
_VLAN = BY_NAME["vlan_tci"].index
_PRESENT = 0x1000


class Shapes:
    """The shapes that one switch has committed."""

    def __init__(self) -> None:
        self._known: set[object] = set()

    def cover(self, changes: Changes) -> bool:
        """Return whether everything that is put has a known shape. What is deleted cannot be refused before the commit."""
        return all(shape in self._known for shape in _shapes(changes))

    def learn(self, changes: Changes) -> None:
        """Note that a switch has committed these changes."""
        if len(changes) + len(self._known) <= _MOST:
            self._known.update(_shapes(changes))


def _shapes(changes: Changes) -> Iterator[object]:
    for flows in (changes.new, changes.altered):
        for flow in flows:
            yield _of_flow(flow)
    for groups in (changes.new_groups, changes.altered_groups):
        for group in groups:
            yield _of_group(group)


def _of_flow(flow: Flow) -> object:
    return flow.table, tuple(map(_condition, flow.match)), tuple(map(_action, flow.actions)), flow.goto


def _of_group(group: Group) -> object:
    # How many buckets there are does not matter, as long as each is like one that was taken.
    return Group, frozenset(tuple(map(_action, bucket)) for bucket in group.buckets)


def _condition(condition: tuple[int, int, int | None]) -> object:
    index, value, mask = condition
    if index in _TELLING:
        return condition
    return index, mask, value & _PRESENT if index == _VLAN else None


def _action(action: Action) -> object:
    match action:
        case Output(port):
            return Output, port if port >= _RESERVED else None
        case SetField(field, value, mask):
            return SetField, field, mask, value if field in _TELLING else value & _PRESENT if field == _VLAN else None
        case ToGroup():
            return ToGroup
        case Resubmit():
            return action
        case Conntrack(zone_field=None):
            return Conntrack, action.commit, action.table, tuple(map(_action, action.actions))
        case Conjunction(_, clause, clauses):
            return Conjunction, clause, clauses
        case Note():
            return Note
        case Metered():
            return Metered
        case ToController(_, _, meter):
            return ToController, meter is None
        case _:
            return action
