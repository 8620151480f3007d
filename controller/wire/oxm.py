"""The numbers of packet fields on the wire: the OXM and NXM headers of each field, and the order Open vSwitch writes them in.

A header is class (16 bits), field (7), has-mask (1), length (8). Most fields of an earlier time have two: the OXM one, which
matches and set-field carry, and the Nicira one, which Open vSwitch keeps using inside its own actions.
"""

from __future__ import annotations

import struct

from controller.pipeline.fields import BY_NAME, FIELDS, VLAN_MASK, Field

_NXM_0, _NXM_1, _ERIC, _BASIC = 0x0000, 0x0001, 0x1000, 0x8000

_Number = tuple[int, int]  # class, field

# Name -> its number in matches and set-field, and its number inside Nicira actions where that is another one.
_NUMBERS: dict[str, tuple[_Number, _Number | None]] = {
    "in_port": ((_BASIC, 0), None),
    "tun_id": ((_BASIC, 38), (_NXM_1, 16)),
    "tun_src": ((_NXM_1, 31), None),
    "tun_dst": ((_NXM_1, 32), None),
    "tun_ipv6_src": ((_NXM_1, 109), None),
    "tun_ipv6_dst": ((_NXM_1, 110), None),
    "metadata": ((_BASIC, 2), None),
    **{f"reg{number}": ((_NXM_1, number), None) for number in range(16)},
    "ct_state": ((_NXM_1, 105), None),
    "ct_zone": ((_NXM_1, 106), None),
    "ct_mark": ((_NXM_1, 107), None),
    "ct_label": ((_NXM_1, 108), None),
    "ct_nw_proto": ((_NXM_1, 119), None),
    "ct_nw_src": ((_NXM_1, 120), None),
    "ct_nw_dst": ((_NXM_1, 121), None),
    "ct_ipv6_src": ((_NXM_1, 122), None),
    "ct_ipv6_dst": ((_NXM_1, 123), None),
    "ct_tp_src": ((_NXM_1, 124), None),
    "ct_tp_dst": ((_NXM_1, 125), None),
    "conj_id": ((_NXM_1, 37), None),
    "eth_dst": ((_BASIC, 3), (_NXM_0, 1)),
    "eth_src": ((_BASIC, 4), (_NXM_0, 2)),
    "eth_type": ((_BASIC, 5), (_NXM_0, 3)),
    "vlan_tci": ((_BASIC, 6), None),  # OXM_OF_VLAN_VID: the tag and the bit that says there is one
    "ip_proto": ((_BASIC, 10), (_NXM_0, 6)),
    "nw_ttl": ((_NXM_1, 29), None),
    "ip_frag": ((_NXM_1, 26), None),
    "ip_src": ((_BASIC, 11), (_NXM_0, 7)),
    "ip_dst": ((_BASIC, 12), (_NXM_0, 8)),
    "ipv6_src": ((_BASIC, 26), (_NXM_1, 19)),
    "ipv6_dst": ((_BASIC, 27), (_NXM_1, 20)),
    "tcp_src": ((_BASIC, 13), (_NXM_0, 9)),
    "tcp_dst": ((_BASIC, 14), (_NXM_0, 10)),
    "udp_src": ((_BASIC, 15), (_NXM_0, 11)),
    "udp_dst": ((_BASIC, 16), (_NXM_0, 12)),
    "sctp_src": ((_BASIC, 17), None),
    "sctp_dst": ((_BASIC, 18), None),
    "icmp_type": ((_BASIC, 19), (_NXM_0, 13)),
    "icmp_code": ((_BASIC, 20), (_NXM_0, 14)),
    "arp_op": ((_BASIC, 21), (_NXM_0, 15)),
    "arp_spa": ((_BASIC, 22), (_NXM_0, 16)),
    "arp_tpa": ((_BASIC, 23), (_NXM_0, 17)),
    "arp_sha": ((_BASIC, 24), (_NXM_1, 17)),
    "arp_tha": ((_BASIC, 25), (_NXM_1, 18)),
    "icmpv6_type": ((_BASIC, 29), (_NXM_1, 21)),
    "icmpv6_code": ((_BASIC, 30), (_NXM_1, 22)),
    "nd_target": ((_BASIC, 31), (_NXM_1, 23)),
    "nd_sll": ((_BASIC, 32), (_NXM_1, 24)),
    "nd_tll": ((_BASIC, 33), (_NXM_1, 25)),
    "nd_reserved": ((_ERIC, 1), None),
    "nd_options_type": ((_ERIC, 2), None),
}

# The order in which Open vSwitch reports a match. Ours is the same, so that a flow of ours comes back from
# the switch as the very bytes it went out with, and comparing them is comparing flows.
_ORDER = (
    *("conj_id", "in_port", "eth_src", "eth_dst", "eth_type", "vlan_tci"),
    *("ip_src", "ip_dst", "ipv6_src", "ipv6_dst", "ip_frag", "nw_ttl", "ip_proto"),
    *("tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst", "icmp_type", "icmp_code"),
    *("icmpv6_type", "icmpv6_code", "nd_reserved", "nd_target", "nd_options_type", "nd_sll", "nd_tll"),
    *("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"),
    *("tun_id", "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst"),
    *(f"reg{number}" for number in range(16)),
    *("ct_state", "ct_zone", "ct_mark", "ct_label"),
    *("ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst", "ct_nw_proto", "ct_tp_src", "ct_tp_dst", "metadata"),
)

# Bits that exist on the wire, where they are fewer than the field has in the flow language.
_SIGNIFICANT = {"vlan_tci": VLAN_MASK, "ip_frag": 0x03}


def _header(number: _Number, length: int, *, masked: bool = False) -> bytes:
    oxm_class, field = number
    return struct.pack(">HBB", oxm_class, field << 1 | masked, length * 2 if masked else length)


def _inner(field: Field, *, masked: bool = False) -> bytes:
    standard, nicira = _NUMBERS[field.name]
    return _header(nicira or standard, field.bits // 8, masked=masked)


# All by the field's index.
SIZES: tuple[int, ...] = tuple(field.bits // 8 for field in FIELDS)
EXACT: tuple[bytes, ...] = tuple(_header(_NUMBERS[field.name][0], field.bits // 8) for field in FIELDS)
MASKED: tuple[bytes, ...] = tuple(_header(_NUMBERS[field.name][0], field.bits // 8, masked=True) for field in FIELDS)
INNER: tuple[bytes, ...] = tuple(_inner(field) for field in FIELDS)
INNER_MASKED: tuple[bytes, ...] = tuple(_inner(field, masked=True) for field in FIELDS)
SIGNIFICANT: tuple[int, ...] = tuple(_SIGNIFICANT.get(field.name, field.ones) for field in FIELDS)
RANK: tuple[int, ...] = tuple(_ORDER.index(field.name) for field in FIELDS)

VLAN = BY_NAME["vlan_tci"].index

# What matches are read by: the header of a condition -> the field's index, and whether a mask follows the value.
_READ = {
    **{header: (index, False) for index, header in enumerate(EXACT)},
    **{header: (index, True) for index, header in enumerate(MASKED)},
}


def read_match(packed: bytes) -> tuple[tuple[int, int, int | None], ...] | None:
    """Return the conditions of a match in OpenFlow's bytes with its header; None if Weft does not know one of its fields."""
    found: list[tuple[int, int, int | None]] = []
    at = 4
    while at < len(packed):
        index, is_masked = _READ.get(packed[at : at + 4], (-1, False))
        size = SIZES[index]
        end = at + 4 + size * (1 + is_masked)
        if index < 0 or end > len(packed):
            return None
        value = int.from_bytes(packed[at + 4 : at + 4 + size], "big")
        found.append((index, value, int.from_bytes(packed[at + 4 + size : end], "big") if is_masked else None))
        at = end
    return tuple(sorted(found, key=lambda condition: condition[0]))


def read_known(packed: bytes) -> dict[int, int]:
    """Return the values of the fields that Weft knows, by index, in OpenFlow's bytes of a match with its header; others are passed over."""
    found: dict[int, int] = {}
    at = 4
    while at + 4 <= len(packed):
        index, _ = _READ.get(packed[at : at + 4], (-1, False))
        end = at + 4 + packed[at + 3]
        if index >= 0:
            found[index] = int.from_bytes(packed[at + 4 : min(end, at + 4 + SIZES[index])], "big")
        at = end
    return found
