"""Router advertisements (RFC 4861, RFC 4862, RFC 8106): who the router is, and how a host of the network comes by its addresses."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from controller.answers import datagram
from controller.answers.asked import Answerer, Asked, PacketOut
from controller.answers.intended import dns_6, labels, speaker
from controller.model.address import is_multicast_mac
from controller.model.entities import Ipv6Mode, Network, Router
from controller.pipeline.fields import PROTO_ICMPV6
from controller.pipeline.questions import Question

_SOLICITATION, _ADVERTISEMENT = 133, 134
_ALL_HOPS = 255  # What comes from a neighbour has lost none.
_HOPS = 64  # For hosts to begin with.
_MANAGED, _OTHER = 0x80, 0x40
_ON_LINK, _AUTONOMOUS = 0x80, 0x40
_ALL_NODES, _ALL_NODES_MAC = IPv6Address("ff02::1"), 0x333300000001

# The longest that there is (RFC 8319), 18 hours: hosts keep the router, name servers and domains while the controller is away.
LIFETIME_S: Final = 0xFFFF
_VALID_S, _PREFERRED_S = 30 * 86400, 7 * 86400  # Of prefixes; what RFC 4861 has hosts take by default.

_HEAD = struct.Struct(">BBHII")  # Hops, flags, lifetime; how neighbours are asked is left to hosts.
_LINK_LAYER, _PREFIX, _MTU, _DNS, _DOMAINS = 1, 3, 5, 25, 31


def is_due(network: Network, router: Router | None) -> bool:
    """Return whether a network's ports are told of routers: it has IPv6, and a router or DHCP."""
    return (network.dhcp or router is not None) and any(prefix.version == 6 for prefix in network.cidrs)


def frame(
    network: Network,
    router: Router | None,
    mac: int = _ALL_NODES_MAC,
    target: IPv6Address = _ALL_NODES,
    former: Sequence[Network] = (),
) -> bytes:
    """Return the frame of an advertisement, for all nodes or for one.

    Who has no router is told so by a lifetime of 0, and still which addresses are its neighbours'. So is what the network has told as it
    was formerly, and does not tell any more.
    """
    own, source = speaker(network)
    lifetime = LIFETIME_S if router is not None else 0
    rest = _HEAD.pack(_HOPS, _flags(network), lifetime, 0, 0) + b"".join(_options(network, router, own, former))
    message = datagram.icmp(source, target, _ADVERTISEMENT, 0, rest)
    whole = datagram.datagram(source, target, PROTO_ICMPV6, message, hops=_ALL_HOPS)
    return datagram.framed(mac, own, whole)


def _flags(network: Network) -> int:
    if not network.dhcp or network.ipv6 is Ipv6Mode.SLAAC:
        return 0
    return _OTHER if network.ipv6.is_from_mac else _MANAGED | _OTHER


def _options(network: Network, router: Router | None, own: int, former: Sequence[Network]) -> Iterator[bytes]:
    yield bytes((_LINK_LAYER, 1)) + own.to_bytes(6, "big")
    yield struct.pack(">BBHI", _MTU, 1, 0, network.mtu)
    prefixes, made = _prefixes(network), _made_of_macs(network)
    for prefix in prefixes:
        yield _prefix(prefix, _ON_LINK | (_AUTONOMOUS if prefix in made else 0), _VALID_S, _PREFERRED_S)
    for prefix in dict.fromkeys(prefix for each in former for prefix in _prefixes(each)):
        # An address is used for nothing new from now on; for how long it stays is the host's matter (RFC 4862, section 5.5.3).
        lost = 0 if prefix in prefixes else _ON_LINK
        if prefix not in made and any(prefix in _made_of_macs(each) for each in former):
            lost |= _AUTONOMOUS
        if lost:
            yield _prefix(prefix, lost, 0, 0)
    tells = is_due(network, router)
    servers, domains = (dns_6(network), {network.domain}) if tells else ([], set())
    if servers:
        yield _long(_DNS, b"".join(each.packed for each in servers))
    gone = dict.fromkeys(server for each in former for server in dns_6(each) if server not in servers)
    if gone:
        yield _long(_DNS, b"".join(each.packed for each in gone), 0)
    if tells and network.domain:
        yield _long(_DOMAINS, labels(network.domain))
    for domain in dict.fromkeys(each.domain for each in former if each.domain and each.domain not in domains):
        yield _long(_DOMAINS, labels(domain), 0)


def _prefixes(network: Network) -> list[IPv6Network]:
    return [each for each in network.cidrs if isinstance(each, IPv6Network)]


def _made_of_macs(network: Network) -> list[IPv6Network]:
    """Return the prefixes of which hosts make addresses themselves."""
    return _prefixes(network) if network.dhcp and network.ipv6.is_from_mac else []


def _prefix(prefix: IPv6Network, flags: int, valid: int, preferred: int) -> bytes:
    lives = flags, valid, preferred, 0, prefix.network_address.packed
    return struct.pack(">BBBBIII16s", _PREFIX, 4, prefix.prefixlen, *lives)


def _long(option: int, data: bytes, lifetime: int = LIFETIME_S) -> bytes:
    """Return an option with a lifetime, in units of 8 bytes."""
    padded = data + bytes(-len(data) % 8)
    return struct.pack(">BBHI", option, 1 + len(padded) // 8, 0, lifetime) + padded


def answer(asked: Asked) -> Iterator[PacketOut]:
    """Answer a router solicitation, to who sent it, or to all nodes if it has no address yet."""
    network, port, packet = asked.network, asked.port, datagram.read(asked.packet)
    if network is None or port is None or packet is None or not is_due(network, asked.router):
        return
    is_solicitation = packet.protocol == PROTO_ICMPV6 and packet.body[:2] == bytes((_SOLICITATION, 0))
    if (
        not is_solicitation
        or packet.hops != _ALL_HOPS
        or len(packet.body) < 8
        or not isinstance(packet.source, IPv6Address)
    ):
        return
    if is_multicast_mac(packet.source_mac):
        return
    if int(packet.source):
        yield asked.back(frame(network, asked.router, packet.source_mac, packet.source))
    else:
        yield asked.back(frame(network, asked.router))


ANSWERS: Mapping[Question, Answerer] = {Question.ROUTER: answer}
