"""DHCP (RFC 2131) from the files: every port has its address already, so that an offer is made to one port only, and is always kept.

Nothing is remembered: a lease is a promise that the files make, and its length only says how long a host goes on while nobody answers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from controller.answers import datagram, udp
from controller.answers.asked import Asked
from controller.answers.intended import Interface, dns_4, host_name, interface, leads_on, routes, server, speaker
from controller.model.address import BROADCAST_MAC
from controller.model.entities import Network, Port

CLIENT_PORT, SERVER_PORT = 68, 67

_HEAD = struct.Struct(">BBBBIHHIIII16s64s128s4s")  # RFC 2131, section 2, and the cookie before the options.
_COOKIE = bytes((99, 130, 83, 99))
_ASKS, _ANSWERS = 1, 2
_ETHERNET = 1, 6  # Type and length of hardware addresses.
_BROADCAST = 0x8000
_NOBODY, _EVERYBODY = IPv4Address(0), IPv4Address(0xFFFFFFFF)
_SHORTEST = 300  # Of a message, for clients that know BOOTP's length only.
_ANY_CLIENT = 576  # The datagram that every client takes; with its headers, which are:
_HEADERS = 20 + 8
_LONGEST_OPTION = 255


class Kind(IntEnum):
    """What a message is (RFC 2132, section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(IntEnum):
    """Options (RFC 2132, RFC 3442)."""

    PAD = 0
    MASK = 1
    ROUTER = 3
    DNS = 6
    HOST_NAME = 12
    DOMAIN = 15
    MTU = 26
    BROADCAST = 28
    REQUESTED = 50
    LEASE = 51
    KIND = 53
    SERVER = 54
    LONGEST = 57
    RENEWAL = 58
    REBINDING = 59
    ROUTES = 121
    END = 255


class Question(NamedTuple):
    """What a client says."""

    kind: Kind
    transaction: int
    flags: int
    current: IPv4Address  # The address that it has and answers for.
    mac: int
    options: Mapping[int, bytes]

    def address(self, option: Option) -> IPv4Address | None:
        """Return the address in an option."""
        data = self.options.get(option, b"")
        return IPv4Address(data) if len(data) == 4 else None


def read(data: bytes) -> Question | None:
    """Return the question in a UDP datagram, None if it is none of a client on the link."""
    if len(data) < _HEAD.size:
        return None
    op, kind, length, _, transaction, _, flags, current, _, _, relay, hardware, _, _, cookie = _HEAD.unpack_from(data)
    if op != _ASKS or (kind, length) != _ETHERNET or cookie != _COOKIE or relay:
        return None
    options = _read_options(data[_HEAD.size :])
    said = options.get(Option.KIND, b"")
    if len(said) != 1 or said[0] not in _KINDS:
        return None
    mac = int.from_bytes(hardware[:6], "big")
    return Question(Kind(said[0]), transaction, flags, IPv4Address(current), mac, options)


def _read_options(data: bytes) -> dict[int, bytes]:
    """Return the options by code; what is said in parts is one (RFC 3396)."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != Option.END:
        if data[at] == Option.PAD:
            at += 1
            continue
        end = at + 2 + (data[at + 1] if at + 1 < len(data) else 0)
        if end > len(data):
            break
        found[data[at]] = found.get(data[at], b"") + data[at + 2 : end]
        at = end
    return found


def answer(asked: Asked, network: Network, port: Port, data: bytes) -> Iterator[bytes]:
    """Yield the frame that answers what a port asks in a UDP datagram."""
    question = read(data)
    if question is None or question.mac != port.mac:
        return
    mine = interface(network, port)
    match question.kind:
        case Kind.DISCOVER:
            if mine is not None:
                yield _frame(question, network, mine, _granted(Kind.OFFER, asked, network, port, mine), mine.address)
        case Kind.REQUEST:
            yield from _decided(asked, network, port, question, mine)
        case Kind.INFORM:
            if mine is not None:
                yield _frame(question, network, mine, _informed(asked, network, port, mine), _NOBODY)
        case _:
            # Released or declined: it is the port's address all the same.
            return


def _decided(asked: Asked, network: Network, port: Port, question: Question, mine: Interface | None) -> Iterator[bytes]:
    """Yield the answer to a request: the address that the files give the port is its own, and any other is not."""
    chosen, wanted = question.address(Option.SERVER), question.address(Option.REQUESTED)
    if chosen is not None and chosen != server(network, mine):
        return  # It has taken another server's offer.
    if wanted is None:
        if question.current == _NOBODY:
            return
        wanted = question.current
    if mine is not None and wanted == mine.address:
        yield _frame(question, network, mine, _granted(Kind.ACK, asked, network, port, mine), mine.address)
    else:
        refused = [_kind(Kind.NAK), _option(Option.SERVER, server(network, mine).packed)]
        yield _frame(question, network, mine, refused, _NOBODY, is_refusal=True)


def _granted(kind: Kind, asked: Asked, network: Network, port: Port, mine: Interface) -> list[bytes]:
    lease = network.lease
    times = {Option.LEASE: lease, Option.RENEWAL: lease // 2, Option.REBINDING: lease * 7 // 8}
    return [
        _kind(kind),
        _option(Option.SERVER, server(network, mine).packed),
        *(_option(option, seconds.to_bytes(4, "big")) for option, seconds in times.items()),
        *_facts(asked, network, port, mine),
    ]


def _informed(asked: Asked, network: Network, port: Port, mine: Interface) -> list[bytes]:
    told = _option(Option.SERVER, server(network, mine).packed)
    return [_kind(Kind.ACK), told, *_facts(asked, network, port, mine)]


def _facts(asked: Asked, network: Network, port: Port, mine: Interface) -> Iterator[bytes]:
    """Yield what a host must know, the most important first: what a client has no room for is left out from the end."""
    yield _option(Option.MASK, mine.subnet.netmask.packed)
    if leads_on(network, asked.router) and mine.gateway is not None:
        yield _option(Option.ROUTER, mine.gateway.packed)
    ways = b"".join(_route(to, via) for to, via in routes(network, mine, asked.router))
    if ways:
        # Who reads this one takes no default route from the other (RFC 3442): it is among these.
        yield _option(Option.ROUTES, ways)
    yield _option(Option.MTU, network.mtu.to_bytes(2, "big"))
    servers = dns_4(network)
    if servers:
        yield _option(Option.DNS, b"".join(each.packed for each in servers))
    yield _option(Option.HOST_NAME, host_name(port).encode("ascii"))
    if network.domain:
        yield _option(Option.DOMAIN, network.domain.encode("idna"))
    yield _option(Option.BROADCAST, mine.subnet.broadcast_address.packed)


def _route(to: IPv4Network, via: IPv4Address | None) -> bytes:
    """Return a route as RFC 3442 writes it: as much of the prefix as counts."""
    significant = to.network_address.packed[: (to.prefixlen + 7) // 8]
    return bytes([to.prefixlen]) + significant + (via or _NOBODY).packed


def _kind(kind: Kind) -> bytes:
    return _option(Option.KIND, bytes([kind]))


def _option(option: Option, data: bytes) -> bytes:
    """Return an option, in several parts if it is long (RFC 3396)."""
    parts = [data[at : at + _LONGEST_OPTION] for at in range(0, len(data), _LONGEST_OPTION)]
    return b"".join(bytes((option, len(part))) + part for part in parts)


def _frame(
    question: Question,
    network: Network,
    mine: Interface | None,
    options: Iterable[bytes],
    yours: IPv4Address,
    *,
    is_refusal: bool = False,
) -> bytes:
    """Return the frame of an answer, sent where the client listens (RFC 2131, section 4.1)."""
    source, target, mac = server(network, mine), yours, question.mac
    if is_refusal or (question.current == _NOBODY and (question.flags & _BROADCAST or yours == _NOBODY)):
        target, mac = _EVERYBODY, BROADCAST_MAC
    elif question.current != _NOBODY:
        target = question.current
    head = _HEAD.pack(
        *(_ANSWERS, *_ETHERNET, 0, question.transaction, 0, question.flags),
        *(0 if is_refusal else int(question.current), int(yours), 0, 0),
        *(question.mac.to_bytes(6, "big"), b"", b"", _COOKIE),
    )
    data = _with_options(head, options, _room(question, network))
    message = udp.Message(SERVER_PORT, CLIENT_PORT, data)
    return datagram.framed(mac, speaker(network)[0], udp.packet(source, target, message))


def _room(question: Question, network: Network) -> int:
    """Return how long the client's message may be."""
    said = int.from_bytes(question.options.get(Option.LONGEST, b""), "big")
    return max(_ANY_CLIENT, min(said, network.mtu)) - _HEADERS


def _with_options(head: bytes, options: Iterable[bytes], room: int) -> bytes:
    message = head
    for option in options:
        if len(message) + len(option) < room:
            message += option
    return (message + bytes([Option.END])).ljust(_SHORTEST, b"\0")


_KINDS = frozenset(map(int, Kind))
