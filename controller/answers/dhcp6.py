"""DHCPv6 (RFC 8415) from the files: a port is given its addresses, and whatever else its network tells.

Nothing is remembered, as with DHCP. All of a port's addresses are in the first association that a client asks for; others are empty.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from ipaddress import IPv6Address
from typing import NamedTuple

from controller.answers import datagram, udp
from controller.answers.intended import addresses_6, dns_6, host_name, labels, speaker
from controller.model.entities import Network, Port

CLIENT_PORT, SERVER_PORT = 546, 547

_HEAD = struct.Struct(">B3s")
_OPTION = struct.Struct(">HH")
_ASSOCIATION = struct.Struct(">III")  # Which, and when it is renewed and rebound.
_ADDRESS = struct.Struct(">16sII")  # For how long it is preferred and valid.
_AT_ONCE = 255  # Of preference: the client need not wait for other servers.
_NO_UPDATES, _OVERRULED, _UPDATE_WANTED = 0x04, 0x02, 0x01  # Flags of a name (RFC 4704, section 4.1).
_DUID_LL, _ETHERNET = 3, 1


class Kind(IntEnum):
    """What a message is (section 7.3)."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8
    DECLINE = 9
    INFORMATION = 11


class Option(IntEnum):
    """Options (section 21, RFC 3646, RFC 4704)."""

    CLIENT = 1
    SERVER = 2
    ADDRESSES = 3
    TEMPORARY = 4
    ADDRESS = 5
    WANTED = 6
    PREFERENCE = 7
    STATUS = 13
    RAPID_COMMIT = 14
    DNS = 23
    DOMAINS = 24
    PREFIXES = 25
    REFRESH = 32
    NAME = 39


class Status(IntEnum):
    """What became of it (section 21.13)."""

    SUCCESS = 0
    NO_ADDRESS = 2
    NOT_ON_LINK = 4
    NO_PREFIX = 6


_NAMES_US = frozenset({Kind.REQUEST, Kind.RENEW, Kind.RELEASE, Kind.DECLINE})
_NAMES_NOBODY = frozenset({Kind.SOLICIT, Kind.CONFIRM, Kind.REBIND})
_KINDS = _NAMES_US | _NAMES_NOBODY | {Kind.INFORMATION}

Options = list[tuple[int, bytes]]


class Question(NamedTuple):
    """What a client says."""

    kind: Kind
    transaction: bytes
    options: Options

    def first(self, option: Option) -> bytes | None:
        """Return what the first option of a code holds."""
        return next((data for code, data in self.options if code == option), None)


def read(data: bytes) -> Question | None:
    """Return the question in a UDP datagram, None if it is none that a client sends."""
    if len(data) < _HEAD.size:
        return None
    kind, transaction = _HEAD.unpack_from(data)
    options = _read_options(data[_HEAD.size :])
    if kind not in _KINDS or options is None:
        return None
    return Question(Kind(kind), transaction, options)


def _read_options(data: bytes) -> Options | None:
    found: Options = []
    at = 0
    while at < len(data):
        if len(data) < at + _OPTION.size:
            return None
        code, length = _OPTION.unpack_from(data, at)
        at += _OPTION.size
        if len(data) < at + length:
            return None
        found.append((code, data[at : at + length]))
        at += length
    return found


def answer(network: Network, port: Port, asker: datagram.Datagram, data: bytes) -> Iterator[bytes]:
    """Yield the frame that answers what a port asks in a UDP datagram."""
    question = read(data)
    if question is None or not isinstance(asker.source, IPv6Address) or not int(asker.source):
        return
    said = _reply(question, network, port) if _is_for_us(question, network) else None
    if said is None:
        return
    kind, options = said
    own = [_option(Option.CLIENT, client) for client in [question.first(Option.CLIENT)] if client is not None]
    parts = (_HEAD.pack(kind, question.transaction), *own, _option(Option.SERVER, identity(network)), *options)
    mac, address = speaker(network)
    message = udp.Message(SERVER_PORT, CLIENT_PORT, b"".join(parts))
    yield datagram.framed(asker.source_mac, mac, udp.packet(address, asker.source, message))


def identity(network: Network) -> bytes:
    """Return what a network's server is known by for ever: its MAC (section 11.4)."""
    return struct.pack(">HH", _DUID_LL, _ETHERNET) + speaker(network)[0].to_bytes(6, "big")


def _is_for_us(question: Question, network: Network) -> bool:
    """Return whether a message is whole and meant for this server (section 16)."""
    client, server = question.first(Option.CLIENT), question.first(Option.SERVER)
    if question.kind is Kind.INFORMATION:
        has_none = all(
            code not in (Option.ADDRESSES, Option.TEMPORARY, Option.PREFIXES) for code, _ in question.options
        )
        return has_none and server in (None, identity(network))
    if client is None:
        return False
    return server == identity(network) if question.kind in _NAMES_US else server is None


def _reply(question: Question, network: Network, port: Port) -> tuple[Kind, list[bytes]] | None:
    """Return the answer's kind and options, None for silence."""
    match question.kind:
        case Kind.SOLICIT if question.first(Option.RAPID_COMMIT) is None:
            given = [*_associations(question, network, port), _option(Option.PREFERENCE, bytes([_AT_ONCE]))]
            return Kind.ADVERTISE, [*given, *_facts(question, network, port)]
        case Kind.SOLICIT:
            given = [*_associations(question, network, port), _option(Option.RAPID_COMMIT, b"")]
            return Kind.REPLY, [*given, *_facts(question, network, port)]
        case Kind.REQUEST | Kind.RENEW | Kind.REBIND:
            return Kind.REPLY, [*_associations(question, network, port), *_facts(question, network, port)]
        case Kind.CONFIRM:
            return _confirmed(question, port)
        case Kind.INFORMATION:
            refresh = _option(Option.REFRESH, network.lease.to_bytes(4, "big"))
            return Kind.REPLY, [*_facts(question, network, port), refresh]
        case _:
            # Released or declined: they are the port's addresses all the same.
            return Kind.REPLY, [_status(Status.SUCCESS, "")]


def _confirmed(question: Question, port: Port) -> tuple[Kind, list[bytes]] | None:
    """Say whether addresses are good still. What is on the link, but another's, the port could not use either."""
    asked = [address for code, data in question.options if code == Option.ADDRESSES for address in _addresses_in(data)]
    if not asked:
        return None
    if set(asked) <= set(addresses_6(port)):
        return Kind.REPLY, [_status(Status.SUCCESS, "these are the port's addresses")]
    return Kind.REPLY, [_status(Status.NOT_ON_LINK, "the port has other addresses")]


def _associations(question: Question, network: Network, port: Port) -> Iterator[bytes]:
    """Yield what becomes of the associations that a client asks for."""
    is_first = True
    for code, data in question.options:
        if code == Option.ADDRESSES and len(data) >= _ASSOCIATION.size:
            yield _association(data, addresses_6(port) if is_first else [], network.lease, question.kind)
            is_first = False
        elif code == Option.TEMPORARY and len(data) >= 4:
            yield _option(Option.TEMPORARY, data[:4] + _status(Status.NO_ADDRESS, "no temporary addresses"))
        elif code == Option.PREFIXES and len(data) >= _ASSOCIATION.size:
            yield _option(Option.PREFIXES, data[:4] + bytes(8) + _status(Status.NO_PREFIX, "no prefixes"))


def _association(data: bytes, given: Sequence[IPv6Address], lease: int, kind: Kind) -> bytes:
    """Return an association with these addresses, and an end for those that the client has and should not."""
    name, _, _ = _ASSOCIATION.unpack_from(data)
    renewal, rebinding = (lease // 2, lease * 4 // 5) if given else (0, 0)
    inner = [_option(Option.ADDRESS, _ADDRESS.pack(each.packed, lease, lease)) for each in given]
    if kind in (Kind.RENEW, Kind.REBIND):
        strange = dict.fromkeys(each for each in _addresses_in(data) if each not in given)
        inner += [_option(Option.ADDRESS, _ADDRESS.pack(each.packed, 0, 0)) for each in strange]
    if not inner:
        inner = [_status(Status.NO_ADDRESS, "the files give the port no address for this")]
    return _option(Option.ADDRESSES, _ASSOCIATION.pack(name, renewal, rebinding) + b"".join(inner))


def _addresses_in(association: bytes) -> Iterator[IPv6Address]:
    for code, data in _read_options(association[_ASSOCIATION.size :]) or ():
        if code == Option.ADDRESS and len(data) >= _ADDRESS.size:
            yield IPv6Address(data[:16])


def _facts(question: Question, network: Network, port: Port) -> Iterator[bytes]:
    servers = dns_6(network)
    if servers:
        yield _option(Option.DNS, b"".join(each.packed for each in servers))
    if network.domain:
        yield _option(Option.DOMAINS, labels(network.domain))
    name = question.first(Option.NAME)
    if name:
        # Nobody here writes DNS: the name is told, and the client is to update nothing in our place.
        flags = _NO_UPDATES | (_OVERRULED if name[0] & _UPDATE_WANTED else 0)
        full = f"{host_name(port)}.{network.domain}" if network.domain else ""
        partial = labels(host_name(port))[:-1]  # Without the end, it is not a full name.
        yield _option(Option.NAME, bytes([flags]) + (labels(full) if full else partial))


def _status(status: Status, text: str) -> bytes:
    return _option(Option.STATUS, status.to_bytes(2, "big") + text.encode())


def _option(option: Option, data: bytes) -> bytes:
    return _OPTION.pack(option, len(data)) + data
