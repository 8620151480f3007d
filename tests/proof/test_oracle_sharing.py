"""Address groups, groups of several tenants, and further ethertypes, as the oracle reads them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from controller.model.address import BROADCAST_MAC, parse_mac
from controller.model.entities import Port, Topology
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from controller.proof.rules import Prefixes
from tests.builders import address_group, allow, fabric, group, host, network, physical_network, port

TCP = 6
A, B = parse_mac("02:00:00:00:00:0a"), parse_mac("02:00:00:00:00:0b")
LLDP, PTP = 0x88CC, 0x88F7


def guarded_by(*prefixes: str) -> Oracle:
    """Port red/b on a wire, which lets in tcp 80 from an address group and from one prefix."""
    return Oracle(
        fabric(
            host("hv1"),
            physical_network("physnet1", "hv1"),
            network("red/n", "10.0.0.0/24", "fd00::/64", kind="flat", physical="physnet1"),
            address_group("ops/corp", *prefixes),
            group("red/g", ingress=[allow("tcp", 80, far="203.0.113.0/24", addresses=["ops/corp"])]),
            port("red/b", "red/n", "10.0.0.2", "fd00::2", host="hv1", groups=["red/g"]),
        )
    )


@pytest.mark.parametrize(
    ("source", "is_let_in"),
    [
        ("10.0.0.9", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("198.51.100.0", True),
        ("198.51.101.255", True),
        ("198.51.102.0", False),
        ("203.0.113.1", True),  # The rule's own prefix.
        ("2001:db8::1", True),
        ("2001:db9::1", False),
    ],
)
def test_an_address_group_is_a_far_side(source: str, is_let_in: bool) -> None:
    oracle = guarded_by("192.0.2.7", "198.51.100.0/23", "2001:db8::/32")
    assert oracle.allows(source, "red/b", protocol=TCP, port=80).allowed is is_let_in


def test_an_empty_address_group_is_nobody() -> None:
    assert not guarded_by().allows("192.0.2.7", "red/b", protocol=TCP, port=80).allowed
    assert guarded_by().allows("203.0.113.7", "red/b", protocol=TCP, port=80).allowed


def test_everybody_may_be_listed() -> None:
    everybody = Prefixes([ip_network("0.0.0.0/0")])
    assert ip_address("255.1.2.3") in everybody
    assert ip_address("::1") not in everybody


def test_the_reason_names_the_address_group() -> None:
    reason = guarded_by("192.0.2.7").allows("192.0.2.7", "red/b", protocol=TCP, port=80).reason
    assert "group red/g ingress tcp 80 from 203.0.113.0/24, address group ops/corp" in reason


def members() -> Topology:
    """A group of the operator's that two tenants' ports joined, on a network that they share and on one that they do not."""
    return fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        network("blue/n", "10.0.0.0/24"),
        group("ops/trusted"),
        group("red/g", ingress=[allow("tcp", 22, far="ops/trusted")]),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/g"]),
        port("red/in", "red/n", "10.0.0.3", host="hv1", groups=["ops/trusted"]),
        port("blue/in", "red/n", "10.0.0.4", host="hv1", groups=["ops/trusted"]),
        port("blue/out", "red/n", "10.0.0.5", host="hv1"),
        port("blue/else", "blue/n", "10.0.0.5", host="hv1", groups=["ops/trusted"]),
    )


@pytest.mark.parametrize(
    ("source", "is_let_in"), [("red/in", True), ("blue/in", True), ("blue/out", False), ("blue/else", False)]
)
def test_members_of_a_shared_group_are_anybodys_ports_in_the_same_network(source: str, is_let_in: bool) -> None:
    assert Oracle(members()).allows(source, "red/b", protocol=TCP, port=22).allowed is is_let_in


def talkers(a: Port, b: Port) -> Topology:
    return fabric(host("hv1"), network("red/n", "10.0.0.0/24"), group("red/g", ingress=[allow()]), a, b)


def talker(name: str, mac: str, *ethertypes: int, secure: bool = True) -> Port:
    return port(name, "red/n", host="hv1", mac=mac, groups=["red/g"], ethertypes=ethertypes, secure=secure)


@pytest.mark.parametrize(
    ("sender", "receiver", "passes"),
    [
        ((), (), False),
        ((LLDP,), (), False),
        ((), (LLDP,), False),
        ((LLDP, PTP), (LLDP,), True),
        ((PTP,), (LLDP,), False),
    ],
)
@pytest.mark.parametrize("to", [B, BROADCAST_MAC], ids=["unicast", "broadcast"])
def test_another_ethertype_takes_both_ends(
    sender: tuple[int, ...], receiver: tuple[int, ...], passes: bool, to: int
) -> None:
    topology = talkers(talker("red/a", "02:00:00:00:00:0a", *sender), talker("red/b", "02:00:00:00:00:0b", *receiver))
    assert Oracle(topology).receivers(Packet("red/a", A, to, LLDP))["red/b"].allowed is passes


def test_a_named_ethertype_needs_the_ports_mac_and_no_tag() -> None:
    topology = talkers(talker("red/a", "02:00:00:00:00:0a", LLDP), talker("red/b", "02:00:00:00:00:0b", LLDP))
    frame = Packet("red/a", A, B, LLDP)
    for forged in (replace(frame, eth_src=B + 1), replace(frame, tagged=True)):
        assert not Oracle(topology).decide(forged).allowed


@pytest.mark.parametrize(
    ("a_is_secure", "b_is_secure", "passes"), [(False, True, False), (True, False, False), (False, False, True)]
)
def test_a_port_without_security_takes_and_sends_any(a_is_secure: bool, b_is_secure: bool, passes: bool) -> None:
    topology = talkers(
        talker("red/a", "02:00:00:00:00:0a", secure=a_is_secure),
        talker("red/b", "02:00:00:00:00:0b", secure=b_is_secure),
    )
    assert Oracle(topology).receivers(Packet("red/a", A, B, PTP))["red/b"].allowed is passes
