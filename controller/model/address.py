"""MAC addresses as 48-bit integers, and what follows from them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from ipaddress import IPv6Address

BROADCAST_MAC = 0xFFFFFFFFFFFF
_MULTICAST_BIT = 1 << 40
_LOCAL_BIT = 1 << 41


def parse_mac(text: str) -> int:
    """Return the 48-bit integer of `aa:bb:cc:dd:ee:ff`; raise ValueError for anything else.

    >>> hex(parse_mac("02:00:00:00:00:0a"))
    '0x2000000000a'
    """
    parts = text.split(":")
    if len(parts) != 6 or any(len(part) != 2 for part in parts):
        raise ValueError(f"not a MAC address: {text!r}")
    return int("".join(parts), 16)


def format_mac(mac: int) -> str:
    """Return `aa:bb:cc:dd:ee:ff`.

    >>> format_mac(10)
    '00:00:00:00:00:0a'
    """
    return ":".join(f"{mac >> shift & 255:02x}" for shift in range(40, -1, -8))


def is_multicast_mac(mac: int) -> bool:
    """Whether the group bit is set (IEEE 802, broadcast included)."""
    return bool(mac & _MULTICAST_BIT)


def derived_mac(port: str) -> int:
    """Return the locally administered unicast MAC of a port whose file gives none (`fa:16:3e`-like, but hashed whole)."""
    digest = hashlib.blake2b(f"mac\0{port}".encode(), digest_size=6).digest()
    return (int.from_bytes(digest, "big") | _LOCAL_BIT) & ~_MULTICAST_BIT


def link_local(mac: int) -> IPv6Address:
    """Return the EUI-64 link-local address of an interface (RFC 4291, appendix A).

    >>> link_local(0x020000000001)
    IPv6Address('fe80::ff:fe00:1')
    """
    high, low = mac >> 24, mac & 0xFFFFFF
    return IPv6Address((0xFE80 << 112) | ((high ^ 0x020000) << 40) | (0xFFFE << 24) | low)


def router_mac(network: str) -> int:
    """Return the MAC that the router of a network has on it, the same on every host."""
    return derived_mac(f"router {network}")


@lru_cache(maxsize=1 << 16)  # Whose a MAC is, is asked of all that have one.
def outer_mac(name: str) -> int:
    """Return the MAC that a router (`TENANT/ROUTER`) or a floating IP (`TENANT/ADDRESS`) has on its external network."""
    return derived_mac(f"external {name}")


def loop_mac(name: str) -> int:
    """Return the MAC that stands for `outer_mac` between the bridges of the very host that has it; never on a wire."""
    return derived_mac(f"loop {name}")


def wire_mac(network: str, host: str) -> int:
    """Return the MAC from which a host sends what is routed into a network of a physical network.

    Were it the router's, the switches of the wire would see one MAC at many hosts.
    """
    return derived_mac(f"router {network} {host}")
