"""Stateless groups: every packet meets the rules, answers and fragments as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller.model.address import parse_mac
from controller.model.entities import Rule, Topology
from controller.proof.oracle import Oracle
from controller.proof.packet import ICMP, IPV4, TCP, UDP, Packet
from tests.builders import allow, fabric, group, host, network, port

A, B = parse_mac("02:00:00:00:00:0a"), parse_mac("02:00:00:00:00:0b")
GRE = 47
CLIENTS = allow("tcp", (32768, 60999))
HTTP = Packet("red/a", A, B, IPV4, ip_address("10.0.0.1"), ip_address("10.0.0.2"), TCP, 40000, 80)
PING = replace(HTTP, protocol=ICMP, sport=0, dport=0, icmp_type=8)
PONG = replace(PING, icmp_type=0)
UNREACHABLE = replace(PING, icmp_type=3, icmp_code=1)


def pair(sender: bool, receiver: bool, into_a: Sequence[Rule] = (), out_of_b: Sequence[Rule] = ()) -> Topology:
    """Port red/a, which may send anything, and red/b, which lets in tcp 80 and ICMP; each stateless if so said."""
    return fabric(
        host("hv1"),
        host("hv2"),
        network("red/n", "10.0.0.0/24"),
        group("red/asks", ingress=into_a, stateless=sender),
        group("red/serves", ingress=[allow("tcp", 80), allow("icmp")], egress=out_of_b, stateless=receiver),
        port("red/a", "red/n", "10.0.0.1", host="hv1", groups=["red/asks"], mac="02:00:00:00:00:0a"),
        port("red/b", "red/n", "10.0.0.2", host="hv2", groups=["red/serves"], mac="02:00:00:00:00:0b"),
    )


def passes(topology: Topology, packet: Packet) -> bool:
    return Oracle(topology).receivers(packet)["red/b"].allowed


def answered(topology: Topology, packet: Packet) -> bool:
    return Oracle(topology).reply_allowed(packet, "red/b").allowed


@pytest.mark.parametrize(
    ("sender", "receiver", "into_a", "out_of_b", "is_answered"),
    [
        (False, False, [], [], True),
        (True, False, [], [], False),
        (False, True, [], [], False),
        (True, True, [CLIENTS], [CLIENTS], True),
        (True, True, [CLIENTS], [], False),
        (True, True, [], [CLIENTS], False),
        (True, False, [CLIENTS], [], True),  # Where b tracks connections, its rules are not asked.
        (False, True, [], [CLIENTS], True),
        (False, True, [], [allow("udp")], False),
        (False, True, [], [allow("tcp", 80)], False),  # The answer goes to the client's port, not to 80.
    ],
)
def test_an_answer_meets_the_rules_of_stateless_ends(
    sender: bool, receiver: bool, into_a: list[Rule], out_of_b: list[Rule], is_answered: bool
) -> None:
    topology = pair(sender, receiver, into_a, out_of_b)
    assert passes(topology, HTTP)
    assert answered(topology, HTTP) is is_answered


@pytest.mark.parametrize(
    ("out_of_b", "is_answered"),
    [([], False), ([allow("icmp", icmp_type=0)], True), ([allow("icmp", icmp_type=8)], False), ([allow()], True)],
)
def test_the_answer_to_an_echo_is_of_another_type(out_of_b: list[Rule], is_answered: bool) -> None:
    assert answered(pair(False, True, (), out_of_b), PING) is is_answered


def test_nothing_answers_an_error() -> None:
    assert not answered(pair(True, True, [allow()], [allow()]), UNREACHABLE)


def test_a_protocol_without_ports_is_answered_in_kind() -> None:
    tunnelled = replace(HTTP, protocol=GRE, sport=0, dport=0)
    assert answered(pair(True, True, [allow(GRE)], [allow(GRE)]), tunnelled)
    assert not answered(pair(True, True, [allow(GRE)], [allow("tcp")]), tunnelled)


@pytest.mark.parametrize("packet", [PONG, UNREACHABLE], ids=["answer", "error"])
@pytest.mark.parametrize(
    ("sender", "receiver", "is_let_through"),
    [(False, False, False), (True, False, False), (False, True, False), (True, True, True)],
)
def test_what_opens_nothing_passes_where_nobody_tracks(
    packet: Packet, sender: bool, receiver: bool, is_let_through: bool
) -> None:
    assert passes(pair(sender, receiver), packet) is is_let_through


def test_an_answer_is_judged_like_everything_else() -> None:
    answer = replace(HTTP, sport=80, dport=40000)
    assert not passes(pair(True, True), answer)
    assert passes(pair(True, True), replace(answer, dport=80))


FRAGMENT = replace(HTTP, dport=22, later_fragment=True)


@pytest.mark.parametrize(
    ("packet", "receiver", "is_let_through"),
    [
        (FRAGMENT, False, False),  # Its first does not pass.
        (replace(FRAGMENT, dport=80), False, True),
        (FRAGMENT, True, True),  # Nobody can tell that it belongs to port 22.
        (replace(FRAGMENT, protocol=UDP, dport=80), True, False),
        (replace(PING, later_fragment=True), True, True),
    ],
)
def test_a_later_fragment_has_no_ports(packet: Packet, receiver: bool, is_let_through: bool) -> None:
    assert passes(pair(True, receiver), packet) is is_let_through


def test_a_later_fragment_still_comes_from_somewhere() -> None:
    topology = fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        group("red/g", ingress=[allow("tcp", 80, far="10.0.0.9/32")], stateless=True),
        port("red/a", "red/n", "10.0.0.1", host="hv1", mac="02:00:00:00:00:0a"),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/g"], mac="02:00:00:00:00:0b"),
    )
    assert not passes(topology, FRAGMENT)


def test_a_later_fragment_of_a_servers_message_looks_like_any_other() -> None:
    offer = replace(HTTP, protocol=UDP, sport=67, dport=68)
    free = pair(True, True)
    free = replace(
        free, groups=dict(free.groups) | {"red/serves": group("red/serves", ingress=[allow()], stateless=True)}
    )
    assert not passes(free, offer), "ports are no DHCP servers"
    assert passes(free, replace(offer, later_fragment=True))
    tracked = replace(free, groups=dict(free.groups) | {"red/asks": group("red/asks")})
    assert not passes(tracked, replace(offer, later_fragment=True)), "without its first it goes nowhere"


def test_without_port_security_nothing_is_judged() -> None:
    topology = pair(True, True)
    ports = {name: replace(each, port_security=False) for name, each in topology.ports.items()}
    open_ports = replace(topology, ports=ports)
    assert passes(open_ports, replace(HTTP, dport=22))
    assert answered(open_ports, HTTP)


def test_a_stateless_answer_may_pass_by_a_rule_that_is_not_enforced() -> None:
    dry = pair(False, True, (), [replace(CLIENTS, enforce=False)])
    decision = Oracle(dry).reply_allowed(HTTP, "red/b")
    assert (decision.allowed, decision.would_drop) == (True, True)
