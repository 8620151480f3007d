"""Reads what `ovs-ofctl dump-flows` prints back into matches, independently of how Weft writes them."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from controller.model.address import parse_mac
from controller.pipeline.fields import BY_NAME, Kind
from controller.pipeline.flow import FlowKey, Match, PortNumber, match

_SHORT = {
    "ip": (0x0800, None),
    "arp": (0x0806, None),
    "ipv6": (0x86DD, None),
    "rarp": (0x8035, None),
    "icmp": (0x0800, 1),
    "tcp": (0x0800, 6),
    "udp": (0x0800, 17),
    "sctp": (0x0800, 132),
    "icmp6": (0x86DD, 58),
    "tcp6": (0x86DD, 6),
    "udp6": (0x86DD, 17),
    "sctp6": (0x86DD, 132),
}
_NAMES = {
    "dl_src": "eth_src",
    "dl_dst": "eth_dst",
    "dl_type": "eth_type",
    "nw_proto": "ip_proto",
    "nw_ttl": "nw_ttl",
    "nw_frag": "ip_frag",
    "nw_src": "ip_src",
    "nw_dst": "ip_dst",
}
_TRANSPORTS = {6: "tcp", 17: "udp", 132: "sctp"}
_FRAGMENTS = {"no": (0, 3), "yes": (1, 1), "first": (1, 3), "later": (3, 3), "not_later": (0, 2)}
_STATES = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")
_IGNORED = {"cookie", "duration", "n_packets", "n_bytes", "idle_age", "hard_age"}


def parse_flow(line: str) -> tuple[FlowKey, str]:
    """Return a dumped flow's identity and its actions."""
    head, actions = line.strip().split("actions=", 1)
    table, priority = 0, 32768
    conditions: dict[str, str] = {}
    for token in re.split(r"[ ,]+", head.strip()):
        name, _, value = token.partition("=")
        if name == "table":
            table = int(value)
        elif name == "priority":
            priority = int(value)
        elif name and name not in _IGNORED:
            conditions[name] = value
    return (table, priority, parse_match(conditions)), actions


def parse_match(conditions: dict[str, str]) -> Match:
    """Return the match of dumped conditions, name -> text (empty for a protocol's short name)."""
    wanted: dict[str, int | tuple[int, int]] = {}
    for name, text in conditions.items():
        if not text:
            ethertype, protocol = _SHORT[name]
            wanted["eth_type"] = ethertype
            if protocol is not None:
                wanted["ip_proto"] = protocol
    for name, text in conditions.items():
        if text:
            _add(wanted, name, text)
    return match(**wanted)


def _add(wanted: dict[str, int | tuple[int, int]], name: str, text: str) -> None:
    protocol = wanted.get("ip_proto")
    if name in ("tp_src", "tp_dst"):
        assert isinstance(protocol, int)
        name = f"{_TRANSPORTS[protocol]}_{name[3:]}"
    elif name in ("icmp_type", "icmp_code") and protocol == 58:
        name = f"icmpv6{name[4:]}"
    if name == "dl_vlan":
        wanted["vlan_tci"] = (0x1000 | int(text), 0x1FFF)
    elif name == "dl_vlan_pcp":
        tag = wanted.get("vlan_tci", (0, 0))
        assert isinstance(tag, tuple)
        wanted["vlan_tci"] = (tag[0] | int(text) << 13, tag[1] | 0xE000)
    elif name == "ct_state":
        wanted[name] = _ct_state(text)
    elif name == "nw_frag":
        wanted["ip_frag"] = _FRAGMENTS[text]
    else:
        wanted[_NAMES.get(name, name)] = _number(_NAMES.get(name, name), text)


def _ct_state(text: str) -> tuple[int, int]:
    if text[0] not in "+-":  # All eight flags are given: those that are set are named.
        return sum(1 << _STATES.index(flag) for flag in text.split("|") if flag != "0"), 0xFF
    value = mask = 0
    for sign, flag in re.findall(r"([+-])(\w+)", text):
        bit = 1 << _STATES.index(flag)
        mask |= bit
        value |= bit if sign == "+" else 0
    return value, mask


def _number(name: str, text: str) -> int | tuple[int, int]:
    if text == "LOCAL":
        return PortNumber.LOCAL
    field = BY_NAME[name]
    value, slash, mask = text.partition("/")
    if field.kind is Kind.MAC:
        return (parse_mac(value), parse_mac(mask)) if slash else parse_mac(value)
    if field.kind in (Kind.IPV4, Kind.IPV6):
        if slash and mask.isdigit():
            return int(ip_address(value)), (1 << field.bits) - (1 << (field.bits - int(mask)))
        address = IPv4Address if field.kind is Kind.IPV4 else IPv6Address
        return (int(address(value)), int(address(mask))) if slash else int(address(value))
    return (int(value, 0), int(mask, 0)) if slash else int(value, 0)
