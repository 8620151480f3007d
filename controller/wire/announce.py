"""Announcements of a port that has moved, sent into its switch as if the port itself had spoken.

A gratuitous ARP for every IPv4 address (RFC 5227, section 2.3: a broadcast request whose sender and target address are one) and
an unsolicited neighbour advertisement for every IPv6 address (RFC 4861, section 7.2.6: to all nodes, with override), the
link-local one included. Learning switches behind a physical network and caches of machines that Weft does not program follow by
them. The packets pass the pipeline from its first table on, so they reach exactly whom the port's own would.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from controller.model.address import BROADCAST_MAC, link_local
from controller.model.entities import Address, Port
from controller.pipeline.fields import ETH_ARP, ETH_IPV6, ETH_VLAN, PROTO_ICMPV6
from controller.pipeline.flow import Output
from controller.wire.packet_out import packet_out

# Values of RFC 826 and RFC 4861.
_TO_TABLE = (Output(0xFFFFFFF9),)  # OFPP_TABLE
_ADDRESSES = 12  # Bytes of a frame in front of its tag, if it has one.
_TAG = struct.Struct(">HH").pack
_ETHERNET = struct.Struct(">6s6sH").pack
_ARP = struct.Struct(">HHBBH6s4s6s4s").pack
_IPV6 = struct.Struct(">IHBB16s16s").pack
_ADVERTISEMENT = struct.Struct(">BBHI16sBB6s").pack
_SHORTEST = 60  # Bytes of an Ethernet frame without its checksum.
_NEIGHBOUR_ADVERTISEMENT = 136
_TARGET_LINK_LAYER = 2
_OVERRIDE = 1 << 29
_ALL_NODES = IPv6Address("ff02::1").packed
_ALL_NODES_MAC = 0x333300000001
_ALL_HOPS = 255


def announce(port: Port, number: int, xid: int = 0) -> bytes:
    """Return packet-outs that announce all addresses of a port; nothing for a port without addresses.

    Args:
        port: The port. Further addresses that it is allowed to use are left out, as they may be another's now.
        number: Its OpenFlow number on br-int of the host where it is now; of a subport its parent's.
        xid: The transaction id of all of the messages; an error would come back with it.
    """
    tag = b"" if port.vlan is None else _TAG(ETH_VLAN, port.vlan)
    return b"".join(
        packet_out(packet[:_ADDRESSES] + tag + packet[_ADDRESSES:], _TO_TABLE, number, xid)
        for packet in announcements(port.mac, port.ips)
    )


def announcements(mac: int, addresses: Iterable[Address]) -> Iterator[bytes]:
    """Yield the Ethernet frames that announce these addresses at this MAC."""
    has_ipv6 = False
    for address in addresses:
        if isinstance(address, IPv4Address):
            yield _gratuitous_arp(mac, address)
        else:
            has_ipv6 = True
            yield _unsolicited_advertisement(mac, address)
    if has_ipv6:
        yield _unsolicited_advertisement(mac, link_local(mac))


def _gratuitous_arp(mac: int, address: IPv4Address) -> bytes:
    own = _bytes(mac)
    arp = _ARP(1, 0x0800, 6, 4, 1, own, address.packed, bytes(6), address.packed)
    return (_ETHERNET(_bytes(BROADCAST_MAC), own, ETH_ARP) + arp).ljust(_SHORTEST, b"\0")


def _unsolicited_advertisement(mac: int, address: IPv6Address) -> bytes:
    own, source = _bytes(mac), address.packed
    length = len(_advertisement(0, address, own))
    pseudo_header = source + _ALL_NODES + struct.pack(">II", length, PROTO_ICMPV6)
    checksum = _checksum(pseudo_header + _advertisement(0, address, own))
    ip = _IPV6(6 << 28, length, PROTO_ICMPV6, _ALL_HOPS, source, _ALL_NODES)
    return _ETHERNET(_bytes(_ALL_NODES_MAC), own, ETH_IPV6) + ip + _advertisement(checksum, address, own)


def _advertisement(checksum: int, target: IPv6Address, mac: bytes) -> bytes:
    """Return the ICMPv6 message with its one option, which is one unit of 8 bytes long."""
    return _ADVERTISEMENT(_NEIGHBOUR_ADVERTISEMENT, 0, checksum, _OVERRIDE, target.packed, _TARGET_LINK_LAYER, 1, mac)


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _bytes(mac: int) -> bytes:
    return mac.to_bytes(6, "big")
