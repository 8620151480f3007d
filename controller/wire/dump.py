"""What a switch answers, read without an object per field: flows, groups, errors.

A dump of 100,000 flows is read in the time the switch needs to send it. Matches and instructions stay bytes: ours are packed
in the same order, so equal flows are equal bytes.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from controller.wire import message
from controller.wire.errors import SwitchError, is_experimenter

# A flow that a switch holds: table, priority, cookie, match (with its header, without padding), instructions.
HeldFlow = tuple[int, int, bytes, bytes, bytes]

_HEADER = message.HEADER.size
_BODY = 16  # Where the body of a multipart reply starts.
_MORE = 0x0001
_FLOW_HEAD = 48
# length, table, priority, cookie of a flow; type and length of its match.
_FLOW = struct.Struct(">HBx8xH10x8s16x2xH").unpack_from
_GROUP = struct.Struct(">HBxI").unpack_from
_ERROR = struct.Struct(">HH").unpack_from


class HeldGroup(NamedTuple):
    """A group that a switch holds, its buckets as bytes."""

    id: int
    type: int
    buckets: bytes


class Malformed(ValueError):
    """A message is not what its header says."""


def kind_and_xid(frame: bytes) -> tuple[int, int]:
    """Return the type and the xid of a message."""
    return frame[1], int.from_bytes(frame[4:8], "big")


def has_more(frame: bytes) -> bool:
    """Tell whether further parts of this multipart reply follow."""
    return bool(_field(frame, 10) & _MORE)


def multipart_kind(frame: bytes) -> int:
    """Return which dump a multipart reply belongs to."""
    return _field(frame, _HEADER)


def _field(frame: bytes, at: int) -> int:
    if len(frame) < _BODY:
        raise Malformed("a multipart reply is too short")
    return frame[at] << 8 | frame[at + 1]


def flows(frame: bytes) -> list[HeldFlow]:
    """Return the flows in a reply to `message.dump_flows`."""
    found: list[HeldFlow] = []
    at, end = _BODY, len(frame)
    try:
        while at < end:
            length, table, priority, cookie, match_length = _FLOW(frame, at)
            match_at = at + _FLOW_HEAD
            instructions_at = match_at + (match_length + 7 & ~7)
            onward = at + length
            if length < _FLOW_HEAD or onward > end or instructions_at > onward:
                raise Malformed("a flow in a reply is longer than the reply")
            match = frame[match_at : match_at + match_length]
            found.append((table, priority, cookie, match, frame[instructions_at:onward]))
            at = onward
    except struct.error as problem:
        raise Malformed(f"a flow in a reply is cut off: {problem}") from problem
    return found


def groups(frame: bytes) -> list[HeldGroup]:
    """Return the groups in a reply to `message.dump_groups`."""
    found: list[HeldGroup] = []
    at, end = _BODY, len(frame)
    try:
        while at < end:
            length, kind, number = _GROUP(frame, at)
            if length < 8 or at + length > end:
                raise Malformed("a group in a reply is longer than the reply")
            found.append(HeldGroup(number, kind, frame[at + 8 : at + length]))
            at += length
    except struct.error as problem:
        raise Malformed(f"a group in a reply is cut off: {problem}") from problem
    return found


def error(frame: bytes) -> SwitchError:
    """Return what an error message says."""
    try:
        kind, code = _ERROR(frame, _HEADER)
        _, xid = kind_and_xid(frame)
        if is_experimenter(kind):
            (experimenter,) = struct.unpack_from(">I", frame, _HEADER + 4)
            return SwitchError(xid, kind, code, experimenter, frame[_HEADER + 8 :])
    except struct.error as problem:
        raise Malformed(f"an error message is cut off: {problem}") from problem
    return SwitchError(xid, kind, code, None, frame[_HEADER + 4 :])
