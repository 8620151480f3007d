"""What flows and meters have counted, asked for and read.

A switch is asked for a whole table, or for one flow by its cookie, which Open vSwitch looks up in an index. The answers are read
without a step for what nobody wants but its length: a dump of everything may be read for a few flows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from controller.pipeline.flow import Flow
from controller.wire import message
from controller.wire.dump import NO_SETTINGS, Malformed
from controller.wire.message import MessageType, Multipart
from controller.wire.pack import MATCH_AT

METER_STATISTICS = 9  # OFPMP_METER
_BODY = 16  # Where the body of a multipart reply starts.
_HEAD = 48  # Of a flow in it.
_ANY = 0xFFFFFFFF
_WHOLE = 0xFFFFFFFFFFFFFFFF
_EMPTY_MATCH = struct.pack(">HH4x", 1, 4)
_ALL_METERS = struct.pack(">I4x", _ANY)

_MULTIPART = struct.Struct(">HH4x").pack
_REQUEST = struct.Struct(">B3xII4x8sQ").pack
# length, table, seconds, priority, settings, cookie, packets, bytes of a flow.
_FLOW = struct.Struct(">HBxI4xH8s2x8sQQ").unpack_from
_LENGTH_AND_COOKIE = struct.Struct(">H22x8s").unpack_from
# id, length of a meter; packets and bytes of one of its bands.
_METER = struct.Struct(">IH").unpack_from
_METER_HEAD = 40
_BAND = struct.Struct(">QQ")


class Counted(NamedTuple):
    """A flow or meter, and what it has counted in the seconds since it was added."""

    packets: int
    bytes: int
    seconds: int


def ask_table(xid: int, table: int) -> bytes:
    """Return the request for all flows of a table."""
    return _ask(xid, _REQUEST(table, _ANY, _ANY, bytes(8), 0))


def ask_flow(xid: int, table: int, cookie: bytes) -> bytes:
    """Return the request for the flows of a table with this very cookie."""
    return _ask(xid, _REQUEST(table, _ANY, _ANY, cookie, _WHOLE))


def _ask(xid: int, request: bytes) -> bytes:
    return message.frame(MessageType.MULTIPART_REQUEST, xid, _MULTIPART(Multipart.FLOW, 0) + request + _EMPTY_MATCH)


def ask_meters(xid: int) -> bytes:
    """Return the request for what all meters have dropped."""
    return message.frame(MessageType.MULTIPART_REQUEST, xid, _MULTIPART(METER_STATISTICS, 0) + _ALL_METERS)


def flows(frame: bytes, wanted: Mapping[bytes, Flow]) -> Iterator[tuple[Flow, Counted]]:
    """Yield what those of the packed flows in `wanted`, by cookie, have counted that a reply holds exactly."""
    at, end = _BODY, len(frame)
    try:
        while at < end:
            length, cookie = _LENGTH_AND_COOKIE(frame, at)
            if length < _HEAD or at + length > end:
                raise Malformed("a flow in a reply is longer than the reply")
            flow = wanted.get(cookie)
            if flow is not None and flow.packed is not None:
                _, table, seconds, priority, settings, _, packets, octets = _FLOW(frame, at)
                if (table, priority, settings) == (flow.table, flow.priority, NO_SETTINGS) and frame[
                    at + _HEAD : at + length
                ] == flow.packed[MATCH_AT:]:
                    yield flow, Counted(packets, octets, seconds)
            at += length
    except struct.error as problem:
        raise Malformed(f"a flow in a reply is cut off: {problem}") from problem


def meters(frame: bytes) -> Iterator[tuple[int, Counted]]:
    """Yield the id of each meter in a reply, and what its bands have dropped."""
    at, end = _BODY, len(frame)
    try:
        while at < end:
            number, length = _METER(frame, at)
            if length < _METER_HEAD or at + length > end:
                raise Malformed("a meter in a reply is longer than the reply")
            seconds = int.from_bytes(frame[at + 32 : at + 36], "big")
            bands = [_BAND.unpack_from(frame, place) for place in range(at + _METER_HEAD, at + length, _BAND.size)]
            yield number, Counted(sum(packets for packets, _ in bands), sum(octets for _, octets in bands), seconds)
            at += length
    except struct.error as problem:
        raise Malformed(f"a meter in a reply is cut off: {problem}") from problem
