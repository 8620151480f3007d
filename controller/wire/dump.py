"""What a switch answers, read without an object per field: flows, groups, meters, notes, errors.

A dump of 100,000 flows is read in a fraction of the time the switch needs to send it. Matches and instructions stay bytes: ours
are packed in the same order, so equal flows are equal bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from controller.pipeline.flow import Flow
from controller.wire import message
from controller.wire.errors import SwitchError, is_experimenter
from controller.wire.pack import MATCH_AT, NICIRA, NOTE

_HEADER = message.HEADER.size
_BODY = 16  # Where the body of a multipart reply starts.
_MORE = 0x0001
_FLOW_HEAD = 48
# length, table, priority, settings, cookie of a flow.
_FLOW = struct.Struct(">HBx8xH8s2x8s").unpack_from
_FLOW_TABLE = struct.Struct(">HB").unpack_from
_LENGTH = struct.Struct(">H").unpack_from
_GROUP = struct.Struct(">HBxI").unpack_from
_METER = struct.Struct(">H2sI").unpack_from
_ERROR = struct.Struct(">HH").unpack_from
_TYPE_AND_LENGTH = struct.Struct(">HH").unpack_from
_EXTENSION = struct.Struct(">HHIH").unpack_from

# Neither timeouts nor flags nor importance: no flow of ours has any.
NO_SETTINGS = bytes(8)

_APPLY_ACTIONS, _ACTIONS_AT = 4, 8
_EXPERIMENTER_ACTION, _NOTE_AT = 0xFFFF, 10


class HeldFlow(NamedTuple):
    """A flow that a switch holds: its match with its header and without padding, its settings (`NO_SETTINGS`), its instructions."""

    table: int
    priority: int
    settings: bytes
    cookie: bytes
    match: bytes
    instructions: bytes


class HeldGroup(NamedTuple):
    """A group that a switch holds, its buckets as bytes."""

    id: int
    type: int
    buckets: bytes


class HeldMeter(NamedTuple):
    """A meter that a switch holds, its flags and bands as bytes."""

    id: int
    config: bytes


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


def is_empty(frame: bytes) -> bool:
    """Tell whether a multipart reply has nothing in it."""
    return len(frame) <= _BODY


def flows(frame: bytes, known: dict[bytes, Flow] | None = None) -> list[HeldFlow]:
    """Return the flows in a reply to `message.dump_flows`, but for those of `known` that are there exactly.

    `known` holds packed flows by cookie; those that are found are taken out. A cookie tells where to look and every byte is
    compared: an altered flow may have kept its cookie.
    """
    unseen = {} if known is None else known
    look_up = unseen.get
    others: list[HeldFlow] = []
    at, end = _BODY, len(frame)
    try:
        while at < end:
            length, table, priority, settings, cookie = _FLOW(frame, at)
            onward = at + length
            if length < _FLOW_HEAD or onward > end:
                raise Malformed("a flow in a reply is longer than the reply")
            flow = look_up(cookie)
            if (
                flow is not None
                and (packed := flow.packed) is not None
                and frame[at + _FLOW_HEAD : onward] == packed[MATCH_AT:]
                and table == flow.table
                and priority == flow.priority
                and settings == NO_SETTINGS
            ):
                del unseen[cookie]
            else:
                match, instructions = _contents(frame, at + _FLOW_HEAD, onward)
                others.append(HeldFlow(table, priority, settings, cookie, match, instructions))
            at = onward
    except struct.error as problem:
        raise Malformed(f"a flow in a reply is cut off: {problem}") from problem
    return others


def _contents(frame: bytes, at: int, end: int) -> tuple[bytes, bytes]:
    (length,) = _LENGTH(frame, at + 2)
    instructions_at = at + (length + 7 & ~7)
    if instructions_at > end:
        raise Malformed("a match in a reply is longer than its flow")
    return frame[at : at + length], frame[instructions_at:end]


def notes(frame: bytes, table: int) -> list[str]:
    """Return the texts of the notes that the flows of one table carry, in a reply to `message.dump_flows`."""
    found: list[str] = []
    at, end = _BODY, len(frame)
    try:
        while at < end:
            length, its_table = _FLOW_TABLE(frame, at)
            if length < _FLOW_HEAD:
                raise Malformed("a flow in a reply is shorter than its head")
            if its_table == table:
                _, instructions = _contents(frame, at + _FLOW_HEAD, at + length)
                found += notes_in(instructions)
            at += length
    except struct.error as problem:
        raise Malformed(f"a flow in a reply is cut off: {problem}") from problem
    return found


def notes_in(instructions: bytes) -> Iterator[str]:
    """Yield the texts of the notes in a flow's instructions; raise Malformed or struct.error if these are cut off."""
    for kind, instruction in _parts(instructions):
        for action_kind, action in _parts(instruction[_ACTIONS_AT:]) if kind == _APPLY_ACTIONS else ():
            if action_kind == _EXPERIMENTER_ACTION and _EXTENSION(action, 0)[2:] == (NICIRA, NOTE):
                # A note is padded with zeros, and does not say how long it was.
                yield action[_NOTE_AT:].rstrip(b"\0").decode("ascii", errors="replace")


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the bytes of instructions or actions."""
    at = 0
    while at < len(data):
        kind, length = _TYPE_AND_LENGTH(data, at)
        if length < 8:
            raise Malformed("an instruction or action is shorter than its head")
        yield kind, data[at : at + length]
        at += length


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


def meters(frame: bytes) -> list[HeldMeter]:
    """Return the meters in a reply to `message.dump_meters`."""
    found: list[HeldMeter] = []
    at, end = _BODY, len(frame)
    try:
        while at < end:
            length, flags, number = _METER(frame, at)
            if length < 8 or at + length > end:
                raise Malformed("a meter in a reply is longer than the reply")
            found.append(HeldMeter(number, flags + frame[at + 8 : at + length]))
            at += length
    except struct.error as problem:
        raise Malformed(f"a meter in a reply is cut off: {problem}") from problem
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
