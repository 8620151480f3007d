"""Frames as the oracle judges them: forged, asked, flooded; one row of its truth tables at a time."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller.model.address import BROADCAST_MAC, link_local, parse_mac
from controller.model.entities import Topology
from controller.proof.oracle import Oracle
from controller.proof.packet import ARP, ICMPV6, IPV4, IPV6, UDP, Packet
from tests.builders import allow, fabric, group, host, network, physical_network, port

A, B, OPEN, VRRP, STRANGE = (parse_mac(f"02:00:00:00:00:{last}") for last in ("0a", "0b", "0c", "0f", "99"))
FREE = parse_mac("02:00:00:00:00:0d")


def quiet() -> Topology:
    """Two guarded ports that share a VRRP address, one that is free of policy, one without security."""
    return fabric(
        host("hv1"),
        host("hv2"),
        network("red/n", "10.0.0.0/24", "fd00::/64"),
        group("red/g", ingress=[allow("udp", 9)]),
        port(
            "red/a",
            "red/n",
            "10.0.0.1",
            "fd00::1",
            host="hv1",
            groups=["red/g"],
            mac="02:00:00:00:00:0a",
            allowed=[("10.0.0.100/32", "02:00:00:00:00:0f"), ("10.0.0.96/28", None)],
        ),
        port(
            "red/b",
            "red/n",
            "10.0.0.2",
            "fd00::2",
            host="hv2",
            groups=["red/g"],
            mac="02:00:00:00:00:0b",
            allowed=[("10.0.0.100/32", "02:00:00:00:00:0f")],
        ),
        port("red/open", "red/n", "10.0.0.3", host="hv1", secure=False, mac="02:00:00:00:00:0c"),
        port("red/v4", "red/n", "10.0.0.4", host="hv1", mac="02:00:00:00:00:0d"),
    )


HELLO = Packet("red/a", A, B, IPV4, ip_address("10.0.0.1"), ip_address("10.0.0.2"), UDP, 1000, 9)
HELLO6 = replace(HELLO, eth_type=IPV6, src=ip_address("fd00::1"), dst=ip_address("fd00::2"))
ASK = Packet("red/a", A, BROADCAST_MAC, ARP, ip_address("10.0.0.1"), ip_address("10.0.0.2"), arp_op=1, hardware=A)
SOLICIT = replace(
    HELLO6, protocol=ICMPV6, icmp_type=135, sport=0, dport=0, target=ip_address("fd00::2"), hardware=A,
    eth_dst=parse_mac("33:33:ff:00:00:02"), dst=ip_address("ff02::1:ff00:2"),
)  # fmt: skip
ADVERTISE = replace(SOLICIT, icmp_type=136, eth_dst=B, dst=ip_address("fd00::2"), target=ip_address("fd00::1"))


def gets(packet: Packet, topology: Topology | None = None) -> set[str]:
    receivers = Oracle(topology or quiet()).receivers(packet)
    return {name.removeprefix("red/") for name, decision in receivers.items() if decision.allowed}


@pytest.mark.parametrize(
    ("packet", "who"),
    [
        (HELLO, {"b"}),
        (HELLO6, {"b"}),
        (replace(HELLO, dport=10), set()),
        (replace(HELLO, tagged=True), set()),
        (replace(HELLO, eth_src=STRANGE), set()),
        (replace(HELLO, eth_src=B, src=ip_address("10.0.0.2")), set()),
        (replace(HELLO, src=ip_address("10.0.0.2")), set()),
        (replace(HELLO, src=ip_address("10.0.0.99")), {"b"}),  # Allowed with the own MAC.
        (replace(HELLO, src=ip_address("10.0.0.100"), eth_src=VRRP), {"b"}),
        (replace(HELLO, src=ip_address("10.0.0.99"), eth_src=VRRP), set()),
        (replace(HELLO, eth_src=VRRP), set()),
        (replace(HELLO6, src=link_local(A)), {"b"}),
        (replace(HELLO6, src=link_local(B)), set()),
        (replace(HELLO, eth_type=0x88CC, src=None, dst=None, protocol=None), set()),
        (replace(HELLO, sport=67, dport=68), set()),  # A DHCP server.
        (replace(HELLO6, sport=547, dport=546), set()),
        (replace(SOLICIT, icmp_type=134), set()),  # A router.
        (replace(SOLICIT, icmp_type=137), set()),
        (replace(HELLO6, src=ip_address("::")), set()),
        (replace(HELLO, eth_dst=A), set()),  # To itself.
    ],
)  # fmt: skip
def test_what_a_guarded_port_may_send(packet: Packet, who: set[str]) -> None:
    assert gets(packet) == who


def test_a_port_without_security_may_forge_but_others_rules_hold() -> None:
    forged = replace(HELLO, source="red/open", eth_src=STRANGE, src=ip_address("192.0.2.1"))
    assert gets(forged) == {"b"}
    assert gets(replace(forged, dport=10)) == set()
    assert gets(replace(forged, eth_type=0x88CC, src=None, dst=None, protocol=None)) == set()
    assert gets(replace(forged, eth_src=BROADCAST_MAC)) == set()
    assert gets(replace(forged, tagged=True)) == set()


def test_a_group_address_reaches_every_member_that_lets_it_in() -> None:
    everyone = replace(HELLO, eth_dst=BROADCAST_MAC, dst=ip_address("255.255.255.255"))
    assert gets(everyone) == {"b", "open"}, "v4 has no groups: nothing in"
    assert gets(replace(everyone, dport=10)) == {"open"}


def test_an_unknown_mac_reaches_the_ports_that_may_have_any() -> None:
    assert gets(replace(HELLO, eth_dst=STRANGE)) == {"open"}
    assert gets(replace(HELLO, source="red/open", eth_dst=STRANGE)) == set()


def test_a_shared_mac_reaches_all_who_may_use_it() -> None:
    to_vrrp = replace(HELLO, source="red/open", eth_dst=VRRP)
    assert gets(to_vrrp) == {"a", "b"}
    assert gets(replace(HELLO, eth_dst=VRRP)) == {"b"}


def test_arp_for_a_known_address_is_answered_and_goes_nowhere() -> None:
    owner = Oracle(quiet()).answerer(ASK)
    assert owner is not None
    assert owner.name == "red/b"
    assert gets(ASK) == set()


@pytest.mark.parametrize(
    "packet",
    [
        replace(ASK, dst=ip_address("10.0.0.77")),  # Nobody's.
        replace(ASK, dst=ip_address("10.0.0.1")),  # Its own: an announcement.
        replace(ASK, dst=ip_address("10.0.0.2"), src=ip_address("0.0.0.0")),  # noqa: S104 - a probe (RFC 5227)
        replace(ASK, dst=ip_address("10.0.0.100")),  # Moves between two ports.
        replace(ASK, dst=ip_address("10.0.0.3")),  # Its owner may have any MAC.
        replace(ASK, arp_op=2),
    ],
)
def test_other_arp_reaches_everyone(packet: Packet) -> None:
    assert Oracle(quiet()).answerer(packet) is None
    assert gets(packet) == {"b", "open", "v4"}


@pytest.mark.parametrize(
    "packet",
    [replace(ASK, hardware=B), replace(ASK, src=ip_address("10.0.0.2")), replace(ASK, eth_src=B, hardware=B)],
)
def test_forged_arp_is_neither_answered_nor_heard(packet: Packet) -> None:
    assert Oracle(quiet()).answerer(packet) is None
    assert gets(packet) == set()


def test_neighbour_discovery_like_arp() -> None:
    oracle = Oracle(quiet())
    owner = oracle.answerer(SOLICIT)
    assert owner is not None
    assert (owner.name, owner.mac, owner.is_router) == ("red/b", B, False)
    assert gets(SOLICIT) == set()
    assert gets(replace(SOLICIT, target=ip_address("fd00::77"))) == {"b", "open", "v4"}
    assert gets(replace(SOLICIT, hardware=B)) == set()
    assert gets(ADVERTISE) == {"b"}
    assert gets(replace(ADVERTISE, target=ip_address("fd00::2"))) == set()
    detection = replace(SOLICIT, src=ip_address("::"), target=ip_address("fd00::1"), hardware=None)
    assert gets(detection) == {"b", "open", "v4"}
    assert gets(replace(detection, target=ip_address("fd00::2"))) == set()
    assert gets(replace(SOLICIT, source="red/v4", eth_src=FREE, src=link_local(FREE))) == set(), "it has no IPv6"


def test_a_dhcp_client_asks_whatever_its_egress_rules_are() -> None:
    topology = fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        group("red/mute", egress=[]),
        group("red/all", ingress=[allow()]),
        port("red/a", "red/n", "10.0.0.1", host="hv1", groups=["red/mute"], mac="02:00:00:00:00:0a"),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/all"]),
    )
    discover = Packet("red/a", A, BROADCAST_MAC, IPV4, ip_address(0), ip_address("255.255.255.255"), UDP, 68, 67)
    assert gets(discover, topology) == {"b"}
    assert gets(replace(discover, dport=69), topology) == set()
    assert gets(replace(discover, src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.2")), topology) == {"b"}


def test_frames_stay_in_their_network_and_on_wired_hosts() -> None:
    topology = fabric(
        *(host(name) for name in ("hv1", "hv2")),
        physical_network("physnet1", "hv1", "hv2"),
        network("red/l", kind="local"),
        network("red/v", kind="vlan", physical="physnet1"),
        group("red/all", ingress=[allow()]),
        *(port(f"red/l{i}", "red/l", host=f"hv{i}", groups=["red/all"]) for i in (1, 2)),
        *(port(f"red/v{i}", "red/v", host=f"hv{i}", groups=["red/all"]) for i in (1, 2)),
    )
    ports = topology.ports
    hello = Packet("red/l1", ports["red/l1"].mac, BROADCAST_MAC, IPV4, ip_address(1), ip_address(2), 47)
    assert gets(hello, topology) == set()
    assert gets(replace(hello, source="red/v1", eth_src=ports["red/v1"].mac), topology) == {"v2"}
    assert gets(replace(hello, eth_dst=ports["red/l2"].mac), topology) == set()
