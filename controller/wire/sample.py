"""Packets that a switch has sent a sample of: which flow sent it, what the pipeline knew of the packet, and its first bytes.

The message is OpenFlow 1.4's packet-in (section 7.4.1). Its cookie is the flow's, also of a flow that a resubmit led to; its match holds
in_port, the registers and what the connection tracker said, as Open vSwitch has them where the sample is taken.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from controller.pipeline.fields import (
    ETH_IPV4,
    ETH_IPV6,
    ETH_VLAN,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
)
from controller.wire.oxm import read_known

# buffer, length of the whole packet, reason, table, cookie, type and length of the match.
_HEAD = struct.Struct(">IHBB8sHH")
_AT = 8  # Where it stands, behind OpenFlow's header.
_MATCH_AT = _AT + 16
_PAD = 2

_TAGS = (ETH_VLAN, 0x88A8)
_OPTIONS, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60  # IPv6 extension headers.
_OFFSET = 0x1FFF  # Of a fragment in IPv4.
_WITH_PORTS = (PROTO_TCP, PROTO_UDP, PROTO_SCTP)
_ICMP = (PROTO_ICMP, PROTO_ICMPV6)


class NoSample(ValueError):
    """A message is not the sample of a packet that its header says it is."""


class Sample(NamedTuple):
    """A sample: the cookie and the table of the flow that sent it, fields by index, and the start of the packet."""

    cookie: bytes
    table: int
    fields: Mapping[int, int]
    packet: bytes


@dataclass(slots=True)
class Headers:
    """What a packet says of itself; None for what it does not, or not in the bytes that are there.

    `first` and `second` are the ports, or ICMP's type and code.
    """

    ethertype: int
    source: IPv4Address | IPv6Address | None = None
    target: IPv4Address | IPv6Address | None = None
    protocol: int | None = None
    first: int | None = None
    second: int | None = None

    @property
    def has_ports(self) -> bool:
        """Whether the protocol has ports."""
        return self.protocol in _WITH_PORTS

    @property
    def is_icmp(self) -> bool:
        """Whether the protocol has types and codes."""
        return self.protocol in _ICMP


def read_sample(frame: bytes) -> Sample:
    """Return the sample in a packet-in; raise NoSample if it is cut off."""
    try:
        _, _, _, table, cookie, kind, length = _HEAD.unpack_from(frame, _AT)
    except struct.error as problem:
        raise NoSample(f"a packet-in is cut off: {problem}") from None
    end = _MATCH_AT + length
    packet_at = _MATCH_AT + (length + 7 & ~7) + _PAD
    if kind != 1 or length < 4 or packet_at > len(frame):
        raise NoSample("the match of a packet-in is not what its header says")
    return Sample(cookie, table, read_known(frame[_MATCH_AT:end]), frame[packet_at:])


def read_headers(packet: bytes) -> Headers:
    """Return what an Ethernet frame, or as much of one as there is, says in its headers."""
    at = 12
    while int.from_bytes(packet[at : at + 2], "big") in _TAGS:
        at += 4
    found = Headers(int.from_bytes(packet[at : at + 2], "big"))
    at += 2
    if found.ethertype == ETH_IPV4 and len(packet) >= at + 20:
        found.source, found.target = IPv4Address(packet[at + 12 : at + 16]), IPv4Address(packet[at + 16 : at + 20])
        found.protocol = packet[at + 9]
        is_first = not int.from_bytes(packet[at + 6 : at + 8], "big") & _OFFSET
        _read_upper(found, packet[at + 4 * (packet[at] & 15) :] if is_first else b"")
    elif found.ethertype == ETH_IPV6 and len(packet) >= at + 40:
        found.source, found.target = IPv6Address(packet[at + 8 : at + 24]), IPv6Address(packet[at + 24 : at + 40])
        _read_extensions(found, packet[at + 6], packet[at + 40 :])
    return found


def _read_extensions(found: Headers, kind: int, rest: bytes) -> None:
    """Go through the extension headers of IPv6 to the protocol (RFC 8200, section 4)."""
    is_first = True
    while kind in (_OPTIONS, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION):
        if len(rest) < 8:
            return
        size = 8 * (rest[1] + 1)
        if kind == _FRAGMENT:
            size, is_first = 8, not int.from_bytes(rest[2:4], "big") >> 3
        elif kind == _AUTHENTICATION:
            size = 4 * (rest[1] + 2)
        kind, rest = rest[0], rest[size:]
        if not is_first:
            break
    found.protocol = kind
    _read_upper(found, rest if is_first else b"")


def _read_upper(found: Headers, rest: bytes) -> None:
    if found.has_ports and len(rest) >= 4:
        found.first, found.second = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
    elif found.is_icmp and len(rest) >= 2:
        found.first, found.second = rest[0], rest[1]
