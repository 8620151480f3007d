"""UDP (RFC 768) over either version of IP."""

from __future__ import annotations

import struct
from typing import NamedTuple

from controller.answers import datagram
from controller.model.entities import Address
from controller.pipeline.fields import PROTO_UDP

_HEAD = struct.Struct(">HHHH")
_ONES = 0xFFFF


class Message(NamedTuple):
    """What a UDP datagram carries, from which port to which."""

    source: int
    target: int
    data: bytes


def read(body: bytes) -> Message | None:
    """Return the message in what IP carries, None if it is not there whole.

    Its checksum is not looked at: what has not left the machine it was sent on may not have one yet.
    """
    if len(body) < _HEAD.size:
        return None
    source, target, length, _ = _HEAD.unpack_from(body)
    if not _HEAD.size <= length <= len(body):
        return None
    return Message(source, target, body[_HEAD.size : length])


def packet(source: Address, target: Address, message: Message) -> bytes:
    """Return the IP datagram that carries a message."""
    length = _HEAD.size + len(message.data)
    blank = _HEAD.pack(message.source, message.target, length, 0) + message.data
    # A checksum that is 0 would say that there is none.
    total = datagram.checksum_over(source, target, PROTO_UDP, blank) or _ONES
    body = _HEAD.pack(message.source, message.target, length, total) + message.data
    return datagram.datagram(source, target, PROTO_UDP, body)
