"""Messages around flows, groups and meters: headers, bundles, barriers, dumps and settings, OpenFlow 1.4.

A bundle travels as one stream: open, every message wrapped in an add, commit. Each wrapped message has its own xid, by which
an error finds the flow it is about.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from controller.wire.pack import Unpackable

VERSION = 5
LONGEST = 0xFFFF
HEADER = struct.Struct(">BBHI")

# Applied as a whole or not at all, and in the order sent.
_ATOMIC_ORDERED = 0x0001 | 0x0002
_ALL_TABLES = 0xFF
_ANY = 0xFFFFFFFF
_FIRST_FRAGMENTS_MATCH = 3  # OFPC_FRAG_NX_MATCH

_BUNDLE_ADD = struct.Struct(">BBHIIHHBBHI").pack
WRAPPED = 16 + HEADER.size  # Where the body of a message stands that is wrapped for a bundle.
_BUNDLE_CONTROL = struct.Struct(">IHH").pack
_MULTIPART = struct.Struct(">HH4x").pack
_FLOW_REQUEST = struct.Struct(">B3xII4xQQHH4x").pack
_METER_REQUEST = struct.Struct(">I4x").pack
_ASYNC_PROPERTY = struct.Struct(">HHI").pack


class MessageType(IntEnum):
    """The messages we send or read (`ofp_type`)."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    EXPERIMENTER = 4
    FEATURES_REQUEST = 5
    FEATURES_REPLY = 6
    SET_CONFIG = 9
    PACKET_IN = 10
    PORT_STATUS = 12
    PACKET_OUT = 13
    FLOW_MOD = 14
    GROUP_MOD = 15
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BARRIER_REQUEST = 20
    BARRIER_REPLY = 21
    SET_ASYNC = 28
    METER_MOD = 29
    BUNDLE_CONTROL = 33
    BUNDLE_ADD_MESSAGE = 34


class Multipart(IntEnum):
    """The kinds of multipart message we use (`ofp_multipart_type`)."""

    FLOW = 1
    GROUP_DESC = 7
    METER_CONFIG = 10
    PORT_DESC = 13


class BundleControl(IntEnum):
    """The steps of a bundle (`ofp_bundle_ctrl_type`); each one's reply is the next number."""

    OPEN = 0
    COMMIT = 4
    DISCARD = 6


def frame(kind: MessageType, xid: int, body: bytes = b"") -> bytes:
    """Return a message with its header."""
    return HEADER.pack(VERSION, kind, HEADER.size + len(body), xid) + body


def in_bundle(bundle: int, xid: int, kind: MessageType, body: bytes) -> bytes:
    """Return a message (its body given) wrapped for a bundle; raise Unpackable if it does not fit."""
    length = len(body)
    if length > LONGEST - WRAPPED:
        raise Unpackable(f"a message of {WRAPPED + length:,} bytes exceeds OpenFlow's {LONGEST:,}")
    return (
        _BUNDLE_ADD(
            *(VERSION, MessageType.BUNDLE_ADD_MESSAGE, WRAPPED + length, xid),
            *(bundle, 0, _ATOMIC_ORDERED),
            *(VERSION, kind, HEADER.size + length, xid),
        )
        + body
    )


def bundle_control(step: BundleControl, bundle: int, xid: int) -> bytes:
    """Return the message that opens, commits or discards a bundle."""
    return frame(MessageType.BUNDLE_CONTROL, xid, _BUNDLE_CONTROL(bundle, step, _ATOMIC_ORDERED))


def barrier(xid: int) -> bytes:
    """Return a barrier request."""
    return frame(MessageType.BARRIER_REQUEST, xid)


def dump_flows(xid: int, table: int = _ALL_TABLES) -> bytes:
    """Return the request for all flows of all tables, or of one."""
    everything = _FLOW_REQUEST(table, _ANY, _ANY, 0, 0, 1, 4)
    return frame(MessageType.MULTIPART_REQUEST, xid, _MULTIPART(Multipart.FLOW, 0) + everything)


def dump_groups(xid: int) -> bytes:
    """Return the request for the descriptions of all groups."""
    return frame(MessageType.MULTIPART_REQUEST, xid, _MULTIPART(Multipart.GROUP_DESC, 0))


def dump_meters(xid: int) -> bytes:
    """Return the request for the configurations of all meters."""
    return frame(MessageType.MULTIPART_REQUEST, xid, _MULTIPART(Multipart.METER_CONFIG, 0) + _METER_REQUEST(_ANY))


def config(xid: int) -> bytes:
    """Return the setting that the ports of a first fragment can be matched and misses send no bytes to us.

    By OpenFlow's own ways a switch takes the ports of all fragments for 0; Open vSwitch has one more, OFPC_FRAG_NX_MATCH.
    """
    return frame(MessageType.SET_CONFIG, xid, struct.pack(">HH", _FIRST_FRAGMENTS_MATCH, 0))


def only_news(xid: int) -> bytes:
    """Return the setting that a switch tells us of its own accord of ports, and of packets that a flow sends us a sample of.

    Each property (OpenFlow 1.4, section 7.3.10) is a mask of reasons, even types for a slave, odd ones for
    master and equal: packets (0, 1), ports (2, 3), removed flows (4, 5).
    """
    every_reason, by_action = 0b111, 0b10
    masks = (0, by_action, every_reason, every_reason, 0, 0)
    properties = (_ASYNC_PROPERTY(number, 8, mask) for number, mask in enumerate(masks))
    return frame(MessageType.SET_ASYNC, xid, b"".join(properties))
