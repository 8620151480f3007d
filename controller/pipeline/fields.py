"""Packet fields that flows match and set, as data: name, width and prerequisites, once.

The names are those of ovs-fields(7); the numbers on the wire are `controller.wire.oxm`'s. A field's `index` is its place in
this list, and a match keeps its fields in that order, so that equal matches are equal tuples.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a value is written in text."""

    DECIMAL = "decimal"
    HEXADECIMAL = "hexadecimal"
    PORT = "port"
    MAC = "mac"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    CT_STATE = "ct_state"
    VLAN = "vlan"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name in ovs-ofctl, its width in bits, its text form, its place in `FIELDS`."""

    name: str
    bits: int
    kind: Kind
    index: int

    @property
    def ones(self) -> int:
        """The mask that matches the whole field."""
        return (1 << self.bits) - 1


_DECLARED: tuple[tuple[str, int, Kind], ...] = (
    ("in_port", 32, Kind.PORT),
    ("tun_id", 64, Kind.HEXADECIMAL),
    ("tun_src", 32, Kind.IPV4),
    ("tun_dst", 32, Kind.IPV4),
    ("tun_ipv6_src", 128, Kind.IPV6),
    ("tun_ipv6_dst", 128, Kind.IPV6),
    ("metadata", 64, Kind.HEXADECIMAL),
    *((f"reg{number}", 32, Kind.HEXADECIMAL) for number in range(16)),
    ("ct_state", 32, Kind.CT_STATE),
    ("ct_zone", 16, Kind.DECIMAL),
    ("ct_mark", 32, Kind.HEXADECIMAL),
    ("ct_label", 128, Kind.HEXADECIMAL),
    # The connection's opening packet, whichever way the present one goes (ovs-fields(7), "Conntrack Fields").
    ("ct_nw_proto", 8, Kind.DECIMAL),
    ("ct_nw_src", 32, Kind.IPV4),
    ("ct_nw_dst", 32, Kind.IPV4),
    ("ct_ipv6_src", 128, Kind.IPV6),
    ("ct_ipv6_dst", 128, Kind.IPV6),
    ("ct_tp_src", 16, Kind.DECIMAL),
    ("ct_tp_dst", 16, Kind.DECIMAL),
    ("conj_id", 32, Kind.DECIMAL),
    ("eth_dst", 48, Kind.MAC),
    ("eth_src", 48, Kind.MAC),
    ("eth_type", 16, Kind.HEXADECIMAL),
    ("vlan_tci", 16, Kind.VLAN),
    ("ip_proto", 8, Kind.DECIMAL),
    ("nw_ttl", 8, Kind.DECIMAL),
    ("ip_frag", 8, Kind.HEXADECIMAL),
    ("ip_src", 32, Kind.IPV4),
    ("ip_dst", 32, Kind.IPV4),
    ("ipv6_src", 128, Kind.IPV6),
    ("ipv6_dst", 128, Kind.IPV6),
    ("tcp_src", 16, Kind.DECIMAL),
    ("tcp_dst", 16, Kind.DECIMAL),
    ("udp_src", 16, Kind.DECIMAL),
    ("udp_dst", 16, Kind.DECIMAL),
    ("sctp_src", 16, Kind.DECIMAL),
    ("sctp_dst", 16, Kind.DECIMAL),
    ("icmp_type", 8, Kind.DECIMAL),
    ("icmp_code", 8, Kind.DECIMAL),
    ("arp_op", 16, Kind.DECIMAL),
    ("arp_spa", 32, Kind.IPV4),
    ("arp_tpa", 32, Kind.IPV4),
    ("arp_sha", 48, Kind.MAC),
    ("arp_tha", 48, Kind.MAC),
    ("icmpv6_type", 8, Kind.DECIMAL),
    ("icmpv6_code", 8, Kind.DECIMAL),
    ("nd_target", 128, Kind.IPV6),
    ("nd_sll", 48, Kind.MAC),
    ("nd_tll", 48, Kind.MAC),
    ("nd_reserved", 32, Kind.HEXADECIMAL),
    ("nd_options_type", 8, Kind.DECIMAL),
)

FIELDS: tuple[Field, ...] = tuple(Field(name, bits, kind, place) for place, (name, bits, kind) in enumerate(_DECLARED))
BY_NAME: dict[str, Field] = {field.name: field for field in FIELDS}

# The bits of ct_state (ovs-fields(7)).
CT_NEW, CT_ESTABLISHED, CT_RELATED, CT_REPLY, CT_INVALID, CT_TRACKED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
CT_SOURCE_TRANSLATED, CT_TARGET_TRANSLATED = 0x40, 0x80

# vlan_tci holds the tag in its low 12 bits and says with this bit that there is one (OpenFlow's OFPVID_PRESENT).
VLAN_PRESENT = 0x1000
VLAN_MASK = 0x1FFF

ETH_IPV4, ETH_ARP, ETH_IPV6, ETH_VLAN, ETH_QINQ = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8
PROTO_ICMP, PROTO_TCP, PROTO_UDP, PROTO_ICMPV6, PROTO_SCTP = 1, 6, 17, 58, 132
