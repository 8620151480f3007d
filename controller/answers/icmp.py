"""What a router tells the sender of a packet that it cannot pass on, or that is for itself and for nobody there.

Errors are those of RFC 792 and RFC 4443; when none is sent, and what one says of the packet, is as RFC 1122 (section 3.2.2), RFC 1812
(section 4.3.2) and RFC 4443 (section 2.4) have it. How many are sent is limited where packets are asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final, NamedTuple

from controller.answers.datagram import NOTHING_MORE, Datagram, datagram, framed, icmp, read
from controller.answers.reset import sctp_abort, tcp_reset
from controller.model.address import is_multicast_mac, link_local
from controller.model.entities import Address, Prefix
from controller.pipeline.fields import PROTO_ICMP, PROTO_ICMPV6, PROTO_SCTP, PROTO_TCP, PROTO_UDP
from controller.pipeline.questions import Question

# The longest datagrams that an error may be: what every host takes, and what every link carries.
_LONGEST: Final = {4: 576, 6: 1280}

_IP_HEADER: Final = {4: 20, 6: 40}
_ICMP_HEADER = 8
_PROTOCOL: Final = {4: PROTO_ICMP, 6: PROTO_ICMPV6}
_CONTROL = 0xC0  # Precedence of internetwork control, for IPv4 (RFC 1812, section 4.3.2.5).

# Type and code by question and IP version.
_UNREACHABLE, _EXCEEDED = 3, 11
_UNREACHABLE_V6, _TOO_BIG_V6, _EXCEEDED_V6, _PROBLEM_V6 = 1, 2, 3, 4
_ERRORS: Final = {
    (Question.EXPIRED, 4): (_EXCEEDED, 0),
    (Question.EXPIRED, 6): (_EXCEEDED_V6, 0),
    (Question.NO_ROUTE, 4): (_UNREACHABLE, 0),
    (Question.NO_ROUTE, 6): (_UNREACHABLE_V6, 0),
    (Question.NO_HOST, 4): (_UNREACHABLE, 1),
    (Question.NO_HOST, 6): (_UNREACHABLE_V6, 3),
    (Question.TOO_BIG, 4): (_UNREACHABLE, 4),
    (Question.TOO_BIG, 6): (_TOO_BIG_V6, 0),
}
_BEYOND_SCOPE = (_UNREACHABLE_V6, 2)
_NO_PROTOCOL, _NO_PORT, _NO_PORT_V6, _NO_PROTOCOL_V6 = (
    (_UNREACHABLE, 2),
    (_UNREACHABLE, 3),
    (_UNREACHABLE_V6, 4),
    (_PROBLEM_V6, 1),
)

# What ICMP asks and answers; everything else is an error, or nobody knows whether it is one.
_HARMLESS: Final = frozenset({0, 8, 9, 10, 13, 14, 15, 16, 17, 18})
_FIRST_HARMLESS_V6, _REDIRECT_V6 = 128, 137

# Sources that stand for no single host, besides multicast: this network, loopback, reserved and broadcast.
_NOBODY: Final = (ip_network("0.0.0.0/8"), ip_network("127.0.0.0/8"), ip_network("240.0.0.0/4"))
_NOBODY_V6: Final = (ip_network("::/127"),)


class Own(NamedTuple):
    """A router on the network that a packet came in by: its MAC, its addresses and the prefixes that are there.

    `is_for_others`: packets from its addresses are others', which it has masked, and these may be told.
    """

    mac: int
    addresses: Sequence[Address]
    prefixes: Sequence[Prefix]
    is_for_others: bool = False


def error(question: Question, frame: bytes, own: Own, mtu: int = 0) -> bytes | None:
    """Return the frame that tells a packet's sender what became of the packet, None where it must not be told.

    Args:
        question: Why the packet does not go on.
        frame: The packet, with the MAC of its sender, or of who passed it on, as its source.
        own: The router on the network where that MAC is.
        mtu: What would fit the way on, for `Question.TOO_BIG`.
    """
    packet = read(frame)
    if packet is None or not may_be_told(packet, own):
        return None
    whole = _refusal(packet) if question is Question.NO_SERVICE else _error(question, packet, own, mtu)
    return None if whole is None else framed(packet.source_mac, own.mac, whole)


def may_be_told(packet: Datagram, own: Own) -> bool:
    """Return whether a packet's sender may be sent an error about it."""
    if packet.is_later_fragment or is_multicast_mac(packet.target_mac) or is_multicast_mac(packet.source_mac):
        return False
    mine = () if own.is_for_others else (*own.addresses, link_local(own.mac))
    if packet.target.is_multicast or packet.source.is_multicast or packet.source in mine:
        return False
    if isinstance(packet.source, IPv6Address):
        return not any(packet.source in prefix for prefix in _NOBODY_V6) and not _is_error_v6(packet)
    broadcast = {
        IPv4Address(0xFFFFFFFF),
        *(prefix.broadcast_address for prefix in own.prefixes if prefix.prefixlen < 31),
    }
    if packet.source in broadcast or packet.target in broadcast:
        return False
    return not any(packet.source in prefix for prefix in _NOBODY) and not _is_error(packet)


def _is_error(packet: Datagram) -> bool:
    return packet.protocol == PROTO_ICMP and (not packet.body or packet.body[0] not in _HARMLESS)


def _is_error_v6(packet: Datagram) -> bool:
    if packet.protocol != PROTO_ICMPV6:
        return False
    return not packet.body or packet.body[0] < _FIRST_HARMLESS_V6 or packet.body[0] == _REDIRECT_V6


def _error(question: Question, packet: Datagram, own: Own, mtu: int) -> bytes | None:
    version = packet.source.version
    source = _source(packet.source, own)
    if source is None:
        return None
    if question is Question.TOO_BIG and (not mtu or len(packet.whole) <= mtu):
        return None
    kind, code = _ERRORS[question, version]
    if question in (Question.NO_ROUTE, Question.NO_HOST) and version == 6 and packet.source.is_link_local:
        kind, code = _BEYOND_SCOPE
    return _told(packet, source, kind, code, mtu if question is Question.TOO_BIG else 0)


def _refusal(packet: Datagram) -> bytes | None:
    """Return what an address says that nothing listens at; ICMP itself is always listened to, so what it does not know is nothing."""
    source, target, version = packet.target, packet.source, packet.source.version
    if packet.protocol in (PROTO_TCP, PROTO_SCTP):
        if packet.is_fragment or packet.is_cut_off:
            return None
        body = tcp_reset(packet) if packet.protocol == PROTO_TCP else sctp_abort(packet)
        return None if body is None else datagram(source, target, packet.protocol, body)
    if packet.protocol == PROTO_UDP:
        return _told(packet, source, *(_NO_PORT if version == 4 else _NO_PORT_V6), 0)
    if packet.protocol == _PROTOCOL[version] or (version == 6 and packet.protocol == NOTHING_MORE):
        return None
    if version == 4:
        return _told(packet, source, *_NO_PROTOCOL, 0)
    return _told(packet, source, *_NO_PROTOCOL_V6, packet.protocol_at)


def _told(packet: Datagram, source: Address, kind: int, code: int, word: int) -> bytes:
    """Return an error with as much of the packet as it may hold."""
    version = source.version
    room = _LONGEST[version] - _IP_HEADER[version] - _ICMP_HEADER
    message = icmp(source, packet.source, kind, code, word.to_bytes(4, "big") + packet.whole[:room])
    return datagram(source, packet.source, _PROTOCOL[version], message, traffic=_CONTROL if version == 4 else 0)


def _source(sender: Address, own: Own) -> Address | None:
    """Return the router's address that a sender is told by: of its own prefix, else any that it can have a way to."""
    mine = [address for address in own.addresses if address.version == sender.version]
    if sender.version == 4:
        return _near(sender, mine, own.prefixes) or next(iter(mine), None)
    linked = link_local(own.mac)
    if sender.is_link_local:
        return linked
    return _near(sender, mine, own.prefixes) or next(iter(mine), linked)


def _near(sender: Address, mine: Sequence[Address], prefixes: Sequence[Prefix]) -> Address | None:
    around = [prefix for prefix in prefixes if prefix.version == sender.version and sender in prefix]
    return next((address for address in mine if any(address in prefix for prefix in around)), None)
