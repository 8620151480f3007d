"""Who has this address? Asked for a router, and what is heard of it: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from controller.answers.datagram import checksum_over, datagram, ethernet, framed, icmp, read
from controller.model.address import BROADCAST_MAC, is_multicast_mac, link_local
from controller.model.entities import Address
from controller.pipeline.fields import ETH_ARP, PROTO_ICMPV6

_ARP = struct.Struct(">HHBBH6s4s6s4s")
_ARP_AT = 14  # Behind the Ethernet header.
_ETHERNET_IPV4: Final = (1, 0x0800, 6, 4)
_REQUEST, _REPLY = 1, 2

_SOLICITATION, _ADVERTISEMENT = 135, 136
_FLAGS_AND_TARGET = struct.Struct(">I16s")
_ICMP_HEADER = 4
_ROUTER, _SOLICITED, _OVERRIDE = 1 << 31, 1 << 30, 1 << 29
_SOURCE_LINK_LAYER, _TARGET_LINK_LAYER = 1, 2
_ALL_HOPS = 255
_SOLICITED_NODE = int(IPv6Address("ff02::1:ff00:0"))
_MULTICAST_MAC = 0x333300000000
_ALL_NODES = IPv6Address("ff02::1")
_UNKNOWN = IPv4Address(0)


class Heard(NamedTuple):
    """That an address has a MAC; `is_weak` asks to be believed only where nothing else is known."""

    address: Address
    mac: int
    is_weak: bool = False


def ask(address: Address, mac: int, source: Address | None = None) -> bytes:
    """Return the frame that asks everybody on a network who has an address.

    Args:
        address: What is asked for.
        mac: Whose answer it is to be.
        source: An address of that MAC, which those that hear it may remember. Without one ARP asks as a probe does, which nobody
            learns from, and neighbour discovery by the MAC's link-local address.
    """
    if isinstance(address, IPv4Address):
        sender = source or _UNKNOWN
        arp = _ARP.pack(*_ETHERNET_IPV4, _REQUEST, _bytes(mac), sender.packed, bytes(6), address.packed)
        return ethernet(BROADCAST_MAC, mac, ETH_ARP, arp)
    group = IPv6Address(_SOLICITED_NODE | int(address) & 0xFFFFFF)
    rest = _FLAGS_AND_TARGET.pack(0, address.packed) + _option(_SOURCE_LINK_LAYER, mac)
    return _discovery(mac, source or link_local(mac), group, _SOLICITATION, rest)


def announce(address: Address, mac: int) -> bytes:
    """Return the frame that tells everybody that an address of a router has come to a MAC."""
    if isinstance(address, IPv4Address):
        arp = _ARP.pack(*_ETHERNET_IPV4, _REQUEST, _bytes(mac), address.packed, bytes(6), address.packed)
        return ethernet(BROADCAST_MAC, mac, ETH_ARP, arp)
    # Without the router's flag hosts would take it from their list of routers.
    rest = _FLAGS_AND_TARGET.pack(_ROUTER | _OVERRIDE, address.packed) + _option(_TARGET_LINK_LAYER, mac)
    return _discovery(mac, address, _ALL_NODES, _ADVERTISEMENT, rest)


def heard(frame: bytes) -> Heard | None:
    """Return what a frame tells of its sender, None if that is nothing, or nothing that may be believed."""
    if int.from_bytes(frame[12:_ARP_AT], "big") == ETH_ARP:
        return _heard_arp(frame)
    return _heard_advertisement(frame)


def _heard_arp(frame: bytes) -> Heard | None:
    """Read a reply, or a request, which tells of its sender as well."""
    if len(frame) < _ARP_AT + _ARP.size:
        return None
    *kinds, operation, mac_bytes, address_bytes, _, _ = _ARP.unpack_from(frame, _ARP_AT)
    if tuple(kinds) != _ETHERNET_IPV4 or operation not in (_REQUEST, _REPLY):
        return None
    return _believable(Heard(IPv4Address(address_bytes), int.from_bytes(mac_bytes, "big")))


def _heard_advertisement(frame: bytes) -> Heard | None:
    """Read an advertisement that passes RFC 4861's section 7.1.2."""
    packet = read(frame)
    if packet is None or packet.protocol != PROTO_ICMPV6 or packet.hops != _ALL_HOPS or packet.is_fragment:
        return None
    body = packet.body
    if len(body) < _ICMP_HEADER + _FLAGS_AND_TARGET.size or (body[0], body[1]) != (_ADVERTISEMENT, 0):
        return None
    if packet.is_cut_off or checksum_over(packet.source, packet.target, PROTO_ICMPV6, body):
        return None
    flags, target = _FLAGS_AND_TARGET.unpack_from(body, _ICMP_HEADER)
    if flags & _SOLICITED and packet.target.is_multicast:
        return None
    options = _options(body[_ICMP_HEADER + _FLAGS_AND_TARGET.size :])
    if options is None:
        return None
    # One that answers whoever knew the MAC already may leave it out; its own frame has it.
    mac = options.get(_TARGET_LINK_LAYER, packet.source_mac)
    return _believable(Heard(IPv6Address(target), mac, is_weak=not flags & _OVERRIDE))


def _options(data: bytes) -> dict[int, int] | None:
    """Return the MACs in options by the option's type, None if one has no length or too much."""
    found: dict[int, int] = {}
    while data:
        size = 8 * data[1] if len(data) > 1 else 0
        if not 0 < size <= len(data):
            return None
        if size == 8:
            found.setdefault(data[0], int.from_bytes(data[2:8], "big"))
        data = data[size:]
    return found


def _believable(told: Heard) -> Heard | None:
    address, mac = told.address, told.mac
    is_nobody = address.is_unspecified or address.is_multicast or address.is_loopback or not mac
    return None if is_nobody or is_multicast_mac(mac) else told


def _discovery(mac: int, source: Address, target: IPv6Address, kind: int, rest: bytes) -> bytes:
    whole = datagram(source, target, PROTO_ICMPV6, icmp(source, target, kind, 0, rest), hops=_ALL_HOPS)
    return framed(_MULTICAST_MAC | int(target) & 0xFFFFFFFF, mac, whole)


def _option(kind: int, mac: int) -> bytes:
    return bytes((kind, 1)) + _bytes(mac)


def _bytes(mac: int) -> bytes:
    return mac.to_bytes(6, "big")
