"""Packets that the controller has a switch send: OpenFlow 1.4's packet-out (section 7.3.7)."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from controller.pipeline.flow import Action, PortNumber
from controller.wire.message import HEADER, LONGEST, MessageType, frame
from controller.wire.pack import Unpackable, action_bytes

_NO_BUFFER = 0xFFFFFFFF
_BODY = struct.Struct(">IIH6x").pack


class TooLong(Unpackable):
    """A packet does not fit a message of OpenFlow."""


def packet_out(packet: bytes, actions: Iterable[Action], in_port: int = PortNumber.CONTROLLER, xid: int = 0) -> bytes:
    """Return the message that has a switch do `actions` with a packet; raise TooLong if they do not fit.

    Args:
        packet: The whole frame.
        actions: What is done with it: an output, or registers and a table to go through.
        in_port: The port that it seems to have come from, which it is not sent out of by its number.
        xid: The transaction id; an error would come back with it.
    """
    packed = action_bytes(actions)
    body = _BODY(_NO_BUFFER, in_port, len(packed)) + packed + packet
    if len(body) > LONGEST - HEADER.size:
        raise TooLong(f"a packet of {len(packet):,} bytes does not fit a message of OpenFlow")
    return frame(MessageType.PACKET_OUT, xid, body)
