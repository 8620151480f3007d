"""Ways out of the fabric and in as the oracle judges them: whose name a port leaves in, and what floating IPs let in."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller.model.address import outer_mac, parse_mac, router_mac
from controller.model.entities import PolicyTest, Topology
from controller.proof.oracle import Decision, Oracle
from controller.proof.packet import ICMP, IPV4, TCP, UDP, Packet
from controller.proof.policy import run_again, run_tests
from tests.builders import (
    Entity,
    allow,
    expect,
    external_network,
    fabric,
    floating_ip,
    group,
    host,
    network,
    physical_network,
    port,
    router,
)

A, B = parse_mac("02:00:00:00:00:0a"), parse_mac("02:00:00:00:00:0b")
TO_WEB, TO_DB = router_mac("red/web"), router_mac("red/db")
FLOAT_A, FLOAT_B, FLOAT_G, OWN = "203.0.113.20", "203.0.113.21", "203.0.113.30", "203.0.113.10"
OUTSIDE = "198.51.100.7"


def cloud(*more: Entity, snat: bool = True) -> Topology:
    """Red's two networks with two floating IPs, and green's with another; all leave by `public`, and `inner` leads to nowhere else."""
    return fabric(
        *(host("hv1"), host("hv2"), host("gw1", "172.31.0.9", gateway=True), physical_network("wire", "hv1", "gw1")),
        external_network("public", "203.0.113.0/24", "2001:db8::/64", physical="wire", vlan=100),
        external_network("inner", "192.0.2.0/24", physical="wire", vlan=101, gateways=[]),
        network("red/web", "10.0.1.0/24", "fd00:1::/64"),
        network("red/db", "10.0.2.0/24"),
        network("green/net", "10.0.1.0/24"),
        network("blue/net", "10.9.0.0/24"),
        router("red/main", "red/web", "red/db", external="public", address=[OWN, "2001:db8::10"], snat=snat),
        router("green/r", "green/net", external="public", address="203.0.113.11"),
        router("blue/r", "blue/net", external="inner", address="192.0.2.10"),
        group(
            "red/g", ingress=[allow("tcp", 80), allow("udp", 9, far=f"{FLOAT_A}/32"), allow("udp", 10, far=f"{OWN}/32")]
        ),
        group("red/out", egress=[allow(far="203.0.113.0/24")]),
        group("green/g", ingress=[allow("tcp", 443, far=f"{FLOAT_A}/32"), allow("icmp")]),
        port("red/a", "red/web", "10.0.1.11", "fd00:1::11", host="hv1", groups=["red/g"], mac="02:00:00:00:00:0a"),
        port("red/b", "red/db", "10.0.2.11", host="hv2", groups=["red/g"], mac="02:00:00:00:00:0b"),
        port("red/c", "red/db", "10.0.2.12", host="hv2", groups=["red/out"]),
        port("green/g", "green/net", "10.0.1.11", host="hv1", groups=["green/g"]),
        port("blue/b", "blue/net", "10.9.0.11", host="hv1"),
        floating_ip(FLOAT_A, "red/a", "10.0.1.11", router="red/main", external="public"),
        floating_ip(FLOAT_B, "red/b", "10.0.2.11", router="red/main", external="public"),
        floating_ip(FLOAT_G, "green/g", "10.0.1.11", router="green/r", external="public"),
        *more,
    )


def passes(
    source: str, target: str, protocol: int, number: int | None = None, topology: Topology | None = None
) -> bool:
    kind = 8 if protocol == ICMP else None
    oracle = Oracle(topology or cloud())
    return oracle.allows(source, target, protocol=protocol, port=number, icmp_type=kind).allowed


@pytest.mark.parametrize(
    ("source", "target", "protocol", "number", "expected"),
    [
        ("red/a", OUTSIDE, UDP, 53, True),  # By its floating IP.
        ("red/c", "203.0.113.99", UDP, 53, True),  # In the router's name, as far as its rules let it.
        ("red/c", OUTSIDE, UDP, 53, False),
        ("red/a", "2001:db8:9::1", UDP, 53, True),
        ("red/b", "2001:db8:9::1", UDP, 53, False),  # It has no IPv6.
        ("red/a", "224.0.0.1", UDP, 53, False),
        ("blue/b", OUTSIDE, UDP, 53, False),  # Inner leads to nowhere else,
        ("blue/b", "192.0.2.77", UDP, 53, True),  # but to its own neighbours.
        (OUTSIDE, "red/a", TCP, 80, True),
        (OUTSIDE, "red/a", TCP, 81, False),
        (OUTSIDE, "red/c", TCP, 80, False),  # It has no floating IP.
        (OUTSIDE, "green/g", TCP, 443, False),  # That is for one address.
        ("2001:db8:9::1", "red/a", TCP, 80, False),  # It has none of IPv6.
        (OUTSIDE, "blue/b", TCP, 80, False),
        ("red/a", FLOAT_B, UDP, 9, True),  # From its floating IP.
        ("red/a", FLOAT_B, UDP, 10, False),
        ("red/c", FLOAT_B, UDP, 10, True),  # From the router's address.
        ("red/c", FLOAT_B, UDP, 9, False),
        ("red/a", "red/b", UDP, 9, False),  # Inside it is itself.
        ("red/a", FLOAT_A, TCP, 80, True),  # Itself, as others see it.
        ("red/a", FLOAT_G, TCP, 443, True),  # Through two routers.
        ("red/b", FLOAT_G, TCP, 443, False),
        ("green/g", FLOAT_A, TCP, 80, True),
        (FLOAT_A, "green/g", TCP, 443, True),
        (FLOAT_B, "green/g", TCP, 443, False),
        (FLOAT_A, "red/b", UDP, 9, True),
        ("red/a", OWN, ICMP, None, True),
        ("red/a", OWN, TCP, 80, False),
        ("red/a", "203.0.113.11", ICMP, None, True),  # Another's router.
        ("red/a", "203.0.113.11", TCP, 80, False),
        ("blue/b", FLOAT_A, TCP, 80, False),
        ("red/a", "green/g", TCP, 443, False),  # By its own address there is no way.
    ],
)
def test_ways_out_and_in(source: str, target: str, protocol: int, number: int | None, expected: bool) -> None:
    assert passes(source, target, protocol, number) is expected


def test_without_translation_the_world_sees_ports_and_ports_the_world() -> None:
    plain = cloud(port("red/d", "red/db", "10.0.2.13", host="hv2", groups=["red/g"]), snat=False)
    assert passes(OUTSIDE, "red/d", TCP, 80, plain)
    assert passes(OUTSIDE, "red/c", UDP, 9, plain) is False
    assert not passes("red/c", FLOAT_B, UDP, 10, plain), "it is no longer the router"
    assert passes("red/a", FLOAT_B, UDP, 9, plain), "its floating IP is its name all the same"


def test_who_has_a_floating_ip_is_reached_from_outside_by_that_alone() -> None:
    """What it answers leaves in that name, whatever it was asked by."""
    oracle = Oracle(cloud(snat=False))
    ways = oracle.ways(OUTSIDE, "red/b")
    assert not isinstance(ways, Decision)
    assert [str(way.dst) for way in ways] == [FLOAT_B]


def test_what_a_port_may_use_is_not_let_in_from_outside() -> None:
    """Nor is what is behind it; what the router looks for outside is, though a prefix around it is inside."""
    vip = port("red/b", "red/db", "10.0.2.11", host="hv2", groups=["red/g"], allowed=[("192.0.2.0/24", None)])
    routes = [("10.8.0.0/16", "10.0.2.12"), ("10.8.9.0/24", "203.0.113.1")]
    nets = ("red/web", "red/db")
    for snat in (True, False):
        main = router("red/main", *nets, external="public", address=OWN, snat=snat, routes=routes)
        oracle = Oracle(cloud(vip, main))
        for source, comes in (("192.0.2.7", False), ("10.8.1.1", False), ("10.8.9.1", True), (OUTSIDE, True)):
            to_float = Packet(
                "", B, outer_mac(f"red/{FLOAT_A}"), IPV4, ip_address(source), ip_address(FLOAT_A), TCP, 1, 80
            )
            assert list(oracle.inside("public", to_float)) == ["red/a"] * comes, source


def test_what_is_not_masked_leaves_by_own_addresses_alone() -> None:
    open_port = port("red/d", "red/db", "10.0.2.13", host="gw1", secure=False, mac="02:00:00:00:00:0d")
    oracle = Oracle(cloud(open_port, snat=False), heard={("public", ip_address("203.0.113.1")): 1})
    sent = Packet("red/d", 0x02000000000D, TO_DB, IPV4, ip_address("10.0.2.13"), ip_address(OUTSIDE), UDP, 1000, 9)
    for source, leaves in (("10.0.2.13", True), ("10.0.1.77", True), ("10.0.3.1", False), (FLOAT_A, False)):
        assert (oracle.outside(replace(sent, src=ip_address(source))) is not None) is leaves, source


def test_untranslated_neighbours_of_a_floating_ip_do_not_come_in_by_it() -> None:
    test = expect("allow", "red/c", FLOAT_A, "tcp", 80)
    found = run_tests(cloud(test, snat=False))[0]
    assert "red/main has 10.0.2.12 inside, in red/db, and lets nobody in as it" in found.explanation
    assert run_tests(cloud(test))[0].passed, "the router's address is translated back"


def test_what_has_no_gateway_within_reach_stays_inside() -> None:
    topology = cloud(
        host("gw1", "172.31.0.9"),
        network("red/web", "10.0.1.0/24", "fd00:1::/64"),
        port("red/d", "red/db", "10.0.2.13", host="hv1", groups=["red/g"]),
    )
    assert passes("red/a", OUTSIDE, UDP, 53, topology), "its host is wired, and it has a floating IP"
    decision = Oracle(topology).allows("red/d", OUTSIDE, protocol=UDP, port=53)
    assert decision.reason == "no path: no gateway of public is within reach of red/d"
    assert not passes(OUTSIDE, "red/b", TCP, 80, topology), "its host is not wired"


def test_a_local_network_leaves_by_its_own_host_alone() -> None:
    here = network("red/here", "10.0.4.0/24", kind="local")
    joined = router("red/main", "red/web", "red/db", "red/here", external="public", address=OWN)
    ports = [port(f"red/h-{name}", "red/here", f"10.0.4.1{n}", host=name) for n, name in enumerate(("hv1", "gw1"))]
    topology = cloud(here, joined, *ports)
    assert not passes("red/h-hv1", OUTSIDE, UDP, 53, topology)
    assert passes("red/h-gw1", OUTSIDE, UDP, 53, topology)


HELLO = Packet("red/a", A, TO_WEB, IPV4, ip_address("10.0.1.11"), ip_address(FLOAT_B), UDP, 1000, 9)


def test_a_packet_for_a_floating_ip_arrives_from_the_senders_own_name() -> None:
    oracle = Oracle(cloud())
    assert {name for name, decision in oracle.receivers(HELLO).items() if decision.allowed} == {"red/b"}
    arrived = replace(
        HELLO, eth_src=TO_DB, eth_dst=B, src=ip_address(FLOAT_A), dst=ip_address("10.0.2.11"), ttl=HELLO.ttl - 2
    )
    assert oracle.received(HELLO, "red/b") == arrived
    assert not oracle.decide(replace(HELLO, dport=10)).allowed


def test_out_and_in_again_takes_two_from_what_is_left_to_live() -> None:
    oracle = Oracle(cloud())
    packet = replace(HELLO, dst=ip_address(FLOAT_G), protocol=TCP, dport=443)
    assert oracle.received(packet, "green/g").ttl == packet.ttl - 2
    assert oracle.receivers(replace(packet, ttl=2)) == {}
    assert oracle.decide(replace(packet, ttl=2)).reason == "router green/r passes on nothing whose time to live ends"


@pytest.mark.parametrize(("address", "answers"), [(OWN, True), ("203.0.113.11", True), ("203.0.113.12", False)])
def test_a_ping_of_a_routers_address_outside_is_answered_from_there(address: str, answers: bool) -> None:
    oracle = Oracle(cloud())
    ping = replace(HELLO, dst=ip_address(address), protocol=ICMP, icmp_type=8, dport=0)
    back = replace(ping, eth_src=TO_WEB, eth_dst=A, src=ping.dst, dst=ping.src, icmp_type=0, ttl=63)
    assert oracle.echoed(ping) == (back if answers else None)
    assert oracle.echoed(replace(ping, ttl=1)) is None
    assert oracle.echoed(replace(ping, protocol=TCP)) is None


def test_without_a_gateway_no_router_has_an_address_outside() -> None:
    topology = cloud(host("gw1", "172.31.0.9"))
    ping = replace(HELLO, dst=ip_address(OWN), protocol=ICMP, icmp_type=8, dport=0)
    assert Oracle(topology).echoed(ping) is None
    assert not passes("red/a", OWN, ICMP, None, topology)


def test_what_leaves_for_the_world_reaches_nobody_here() -> None:
    packet = replace(HELLO, dst=ip_address(OUTSIDE))
    decision = Oracle(cloud()).decide(packet)
    assert (decision.allowed, decision.reason) == (False, f"it leaves by public as {FLOAT_A}")


def judged(*tests: PolicyTest) -> list[tuple[bool, str]]:
    return [(result.passed, result.explanation) for result in run_tests(cloud(*tests))]


def test_tests_of_tenants_speak_of_the_world() -> None:
    outcomes = judged(
        expect("allow", OUTSIDE, "red/a", "tcp", 80),
        expect("deny", OUTSIDE, "red/a", "tcp", 22),
        expect("deny", OUTSIDE, "red/c"),
        expect("allow", "red/a", OUTSIDE),
        expect("allow", "red/a", FLOAT_B, "udp", 9),
        expect("allow", "red/a", "203.0.113.11", "icmp"),
    )
    assert [words for passed, words in outcomes if not passed] == []
    assert outcomes[0][1] == "ingress of red/a: group red/g ingress tcp 80 (tenants/red.yaml:1:1)"
    assert outcomes[2][1].startswith("no path: router red/main lets in what is for floating IPs, and red/c has none")


def test_who_is_not_to_be_reached_is_not_reached_round_about() -> None:
    [(denied, why), (allowed, _)] = judged(
        expect("deny", "red/a", "green/g", "tcp", 443), expect("allow", "red/a", "green/g", "tcp", 443)
    )
    assert not denied, "its floating IP lets HTTPS of red/a in"
    assert why.startswith("ingress of green/g: group green/g ingress tcp 443 from 203.0.113.20/32")
    assert not allowed, "its own address is in nobody's reach"


def test_stateless_ports_answer_by_rules_to_whom_they_see() -> None:
    far = f"{FLOAT_A}/32"
    for egress, is_answered in (([allow("udp", far=far)], True), ([allow("udp", far="10.0.0.0/8")], False)):
        topology = cloud(
            group("red/still", ingress=[allow("udp", 9)], egress=egress, stateless=True),
            port("red/b", "red/db", "10.0.2.11", host="hv2", groups=["red/still"], mac="02:00:00:00:00:0b"),
            expect("allow", "red/a", FLOAT_B, "udp", 9),
        )
        assert run_tests(topology)[0].passed is is_answered
        assert Oracle(topology).reply_allowed(HELLO, "red/b").allowed is is_answered


NOBODYS = "203.0.113.31"


@pytest.mark.parametrize("test", [expect("allow", "red/a", NOBODYS, "tcp", 443), expect("deny", NOBODYS, "red/a")])
def test_whoever_gets_an_address_that_a_test_names_has_it_run_again(test: PolicyTest) -> None:
    taken = floating_ip(NOBODYS, "green/g", "10.0.1.11", router="green/r", external="public")
    topology, before = cloud(test, taken), run_again(cloud(test))
    after = run_again(topology, before, {"green"})
    assert after.results == run_tests(topology) != before.results
    assert run_again(cloud(test), after, {"green"}).results == before.results


def test_a_test_reads_who_has_the_address_outside_that_it_names() -> None:
    test = expect("allow", "red/a", FLOAT_G, "tcp", 443)
    before = run_again(cloud(test))
    shut = cloud(test, group("green/g", ingress=[]))
    after = run_again(shut, before, {"green"})
    assert [result.passed for result in (*before.results, *after.results)] == [True, False]
