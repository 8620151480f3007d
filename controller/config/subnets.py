"""Which addresses of a prefix interfaces can have."""

from __future__ import annotations

from ipaddress import IPv6Address

from controller.model.address import link_local
from controller.model.entities import Address, Prefix

IPV6_MIN_MTU = 1280  # RFC 8200, section 5.
EUI64_PREFIX = 64  # The length of a prefix that leaves room for an interface identifier (RFC 4291, section 2.5.1).


def first_host(cidr: Prefix) -> Address:
    """Return the first address that an interface can have in the prefix.

    >>> from ipaddress import ip_network
    >>> str(first_host(ip_network("10.0.1.0/24")))
    '10.0.1.1'
    """
    point_to_point = cidr.max_prefixlen - cidr.prefixlen <= 1
    return cidr.network_address if point_to_point else cidr.network_address + 1


def is_reserved(cidr: Prefix, address: Address) -> bool:
    """Whether the address stands for the subnet itself: the network and broadcast address, IPv6's anycast address."""
    if cidr.max_prefixlen - cidr.prefixlen <= 1:
        return False
    return address == cidr.network_address or (cidr.version == 4 and address == cidr.broadcast_address)


def from_mac(cidr: Prefix, mac: int) -> Address:
    """Return the address that an interface makes for itself in a prefix of 64 bits.

    >>> from ipaddress import ip_network
    >>> str(from_mac(ip_network("2001:db8::/64"), 0x020000000001))
    '2001:db8::ff:fe00:1'
    """
    interface = int(link_local(mac)) & ((1 << (128 - EUI64_PREFIX)) - 1)
    return IPv6Address(int(cidr.network_address) | interface)
