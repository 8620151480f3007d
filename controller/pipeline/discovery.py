"""Answers to ARP requests and neighbour solicitations, made of the question by a switch alone."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from controller.model.entities import Address
from controller.pipeline.fields import ETH_ARP, ETH_IPV6, PROTO_ICMPV6
from controller.pipeline.flow import Action, Match, Wanted, match, move, set_field

ARP_REQUEST, ARP_REPLY = 1, 2
_ADVERTISEMENT = 136
_TARGET_LINK_LAYER_OPTION = 2
_SOLICITED, _OVERRIDE, _ROUTER = 0x40000000, 0x20000000, 0x80000000
_ALL_NODES, _ALL_NODES_MAC = 0xFF02 << 112 | 1, 0x333300000001
SOLICITATION: dict[str, Wanted] = {"eth_type": ETH_IPV6, "ip_proto": PROTO_ICMPV6, "icmpv6_type": 135, "icmpv6_code": 0}
ADVERTISEMENT: dict[str, Wanted] = SOLICITATION | {"icmpv6_type": _ADVERTISEMENT}

MATCHES = ("eth_type", "arp_op", "arp_tpa", "ip_proto", "icmpv6_type", "icmpv6_code", "nd_target")
WRITES = (
    *("eth_src", "eth_dst", "arp_op", "arp_sha", "arp_tha", "arp_spa", "arp_tpa"),
    *("ipv6_src", "ipv6_dst", "nd_options_type", "nd_reserved", "icmpv6_type"),
)


def question(address: Address) -> dict[str, Wanted]:
    """Return the condition that somebody asks for an address."""
    if isinstance(address, IPv4Address):
        return {"eth_type": ETH_ARP, "arp_op": ARP_REQUEST, "arp_tpa": int(address)}
    return SOLICITATION | {"nd_target": int(address)}


def detection(address: IPv6Address) -> dict[str, Wanted]:
    """Return the condition that somebody is about to take an address, and asks whether another has it."""
    return question(address) | {"ipv6_src": 0}


def contradict(address: IPv6Address, mac: int) -> list[Action]:
    """Return the actions that tell everybody that a router has the address that somebody is about to take (RFC 4861, section 7.2.4).

    Such a question has no option, so nor has the answer: who hears it needs none.
    """
    return [
        set_field("eth_dst", _ALL_NODES_MAC),
        set_field("eth_src", mac),
        set_field("ipv6_dst", _ALL_NODES),
        set_field("ipv6_src", int(address)),
        set_field("nd_reserved", _OVERRIDE | _ROUTER),
        set_field("icmpv6_type", _ADVERTISEMENT),
    ]


def answer(address: Address, mac: int, *, is_router: bool = False) -> list[Action]:
    """Return the actions that make the answer of the question; that of IPv6 lacks its option, which `advertise` adds."""
    turned: list[Action] = [move("eth_src", "eth_dst"), set_field("eth_src", mac)]
    if isinstance(address, IPv4Address):
        return [
            *turned,
            set_field("arp_op", ARP_REPLY),
            move("arp_sha", "arp_tha"),
            move("arp_spa", "arp_tpa"),
            set_field("arp_sha", mac),
            set_field("arp_spa", int(address)),
        ]
    return [
        *turned,
        move("ipv6_src", "ipv6_dst"),
        set_field("ipv6_src", int(address)),
        set_field("nd_options_type", _TARGET_LINK_LAYER_OPTION),
        set_field("nd_reserved", _SOLICITED | _OVERRIDE | (_ROUTER if is_router else 0)),
        set_field("icmpv6_type", _ADVERTISEMENT),
    ]


def advertise() -> tuple[Match, Action]:
    """Return which packets the second half of an answer is for, and the action: nd_tll can be written only where type 136 was matched."""
    return match(**ADVERTISEMENT), move("eth_src", "nd_tll")
