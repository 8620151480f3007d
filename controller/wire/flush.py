"""The end of an address's connections in a conntrack zone: Nicira's message NXT_CT_FLUSH, which Open vSwitch knows since 3.1.

One message names the address as the source of a connection's first packet, another as its destination: together they are all of its
connections. They are looked for among all of the datapath's, which takes the switch 0.1 to 1 ms for a thousand of these.

The switch walks through its connections while they come and go, and what changes its place meanwhile may be passed over: of 26 changes in
which ports traded addresses, with streams that never ceased, 6 left an heir a connection. So an address is told three times: none did.

A zone without an address stands for all of its connections.

Open vSwitch 3.1.0 aborts, all of it, when an ICMPv6 connection is among those that a message with an address ends. So IPv6 is told
by protocol, and ICMPv6 is left out: what is left of it is echoes, which the tracker forgets after half a minute.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from controller.model.entities import Address
from controller.wire.message import MessageType, frame
from controller.wire.pack import NICIRA

# Values of Open vSwitch's nicira-ext.h.
_CT_FLUSH = 32
_FLUSH = struct.Struct(">IIB7x").pack  # vendor, subtype, IP protocol: 0 is any.
_PROPERTY = struct.Struct(">HH").pack
_TUPLE_ORIGINAL, _ZONE = 0, 2
_SOURCE, _DESTINATION = 0, 1
_ANY = 0
_WITHOUT_ICMPV6 = (6, 17, 132)  # TCP, UDP, SCTP.
TIMES = 3
_MAPPED = bytes(10) + b"\xff\xff"  # IPv4 as a part of IPv6 (RFC 4291, section 2.5.5.2).


class Flush(NamedTuple):
    """What shall end: the connections of an address in a zone, or of the whole zone."""

    zone: int
    address: Address | None


def messages(wanted: Flush) -> tuple[bytes, ...]:
    """Return the bodies of the messages that do it."""
    zone = _PROPERTY(_ZONE, 8) + struct.pack(">H2x", wanted.zone)
    if wanted.address is None:
        return (_FLUSH(NICIRA, _CT_FLUSH, _ANY) + zone,)
    packed = _packed(wanted.address)
    return tuple(
        _FLUSH(NICIRA, _CT_FLUSH, protocol) + _tuple(end, packed) + zone
        for protocol in ((_ANY,) if wanted.address.version == 4 else _WITHOUT_ICMPV6)
        for end in (_SOURCE, _DESTINATION)
    )


def flush(wanted: Flush, xid: int) -> bytes:
    """Return the messages that do it, all with this xid; those of an address several times, as the switch may pass over some."""
    times = 1 if wanted.address is None else TIMES
    return times * b"".join(frame(MessageType.EXPERIMENTER, xid, body) for body in messages(wanted))


def _packed(address: IPv4Address | IPv6Address) -> bytes:
    return _MAPPED + address.packed if isinstance(address, IPv4Address) else address.packed


def _tuple(end: int, address: bytes) -> bytes:
    """Return the property of the original tuple with one condition, each padded to eight bytes."""
    condition = _PROPERTY(end, 4 + len(address)) + address
    length = 8 + len(condition)
    return _PROPERTY(_TUPLE_ORIGINAL, length + -length % 8) + bytes(4) + condition + bytes(-length % 8)
