"""Routers as the oracle judges them: which packets they pass on, to whom, and what they answer by themselves."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller.model.address import BROADCAST_MAC, link_local, parse_mac, router_mac, wire_mac
from controller.model.entities import Topology
from controller.proof.oracle import Decision, Oracle
from controller.proof.packet import ARP, ICMP, ICMPV6, IPV4, IPV6, TCP, UDP, Packet
from controller.proof.policy import run_tests
from tests.builders import Entity, allow, expect, fabric, group, host, network, physical_network, port, router

WEB, DB, FIREWALL, VRRP = (parse_mac(f"02:00:00:00:00:{last}") for last in ("0a", "0b", "0c", "0f"))
TO_WEB, TO_DB = router_mac("red/web"), router_mac("red/db")


def shop(*more: Entity) -> Topology:
    """Web servers in one network, databases in another, a firewall VM before 192.0.2.0/24, a lonely network with equal addresses."""
    return fabric(
        *(host("hv1"), host("hv2"), host("hv3"), host("rack9", vtep=True), physical_network("physnet1", "hv1", "hv2")),
        network("red/web", "10.0.1.0/24", "fd00:1::/64"),
        network("red/db", "10.0.2.0/24", "fd00:2::/64"),
        network("red/wire", "10.0.3.0/24", kind="vlan", physical="physnet1"),
        network("red/here", "10.0.4.0/24", kind="local"),
        network("red/lone", "10.0.2.0/24"),
        router("red/main", "red/web", "red/db", "red/wire", "red/here", routes=[("192.0.2.0/24", "10.0.2.9")]),
        group("red/web", egress=[allow("tcp", far="red/db"), allow("udp"), allow("icmp", far="10.0.0.0/8")]),
        group("red/db", ingress=[allow("tcp", 3306, far="red/web"), allow("udp", 9)]),
        group("red/open", ingress=[allow()]),
        port("red/web1", "red/web", "10.0.1.11", "fd00:1::11", host="hv1", groups=["red/web"], mac="02:00:00:00:00:0a"),
        port("red/web2", "red/web", "10.0.1.12", host="hv2", groups=["red/open"]),
        port("red/db1", "red/db", "10.0.2.11", "fd00:2::11", host="hv2", groups=["red/db"], mac="02:00:00:00:00:0b"),
        port(
            "red/fw",
            "red/db",
            "10.0.2.9",
            host="hv3",
            groups=["red/open"],
            mac="02:00:00:00:00:0c",
            allowed=[("192.0.2.0/24", None)],
        ),
        port("red/w1", "red/wire", "10.0.3.11", host="hv1", groups=["red/open"]),
        port("red/h1", "red/here", "10.0.4.11", host="hv1", groups=["red/open"]),
        port("red/h2", "red/here", "10.0.4.12", host="hv2", groups=["red/open"]),
        port("red/bare", "red/db", "10.0.2.99", host="rack9"),
        port("red/stray", "red/lone", "10.0.2.11", host="hv1", groups=["red/open", "red/db"]),
        *more,
    )


HELLO = Packet("red/web1", WEB, TO_WEB, IPV4, ip_address("10.0.1.11"), ip_address("10.0.2.11"), UDP, 1000, 9)
HELLO6 = replace(HELLO, eth_type=IPV6, src=ip_address("fd00:1::11"), dst=ip_address("fd00:2::11"))
PING = replace(HELLO, protocol=ICMP, icmp_type=8, sport=7, dport=0)


def gets(packet: Packet, topology: Topology | None = None) -> set[str]:
    """Return the ports of red that get the packet."""
    found = Oracle(topology or shop()).receivers(packet)
    return {name.removeprefix("red/") for name, decision in found.items() if decision.allowed}


def to(address: str, packet: Packet = HELLO) -> Packet:
    return replace(packet, dst=ip_address(address))


def why(packet: Packet, topology: Topology | None = None) -> str:
    decision = Oracle(topology or shop()).decide(packet)
    assert not decision.allowed
    return decision.reason


@pytest.mark.parametrize(
    ("packet", "who"),
    [
        (HELLO, {"db1"}),
        (HELLO6, {"db1"}),
        (replace(HELLO, dport=10), set()),  # The receiver's rules.
        (replace(HELLO, protocol=TCP, dport=3306), {"db1"}),  # A group of another network of the router.
        (replace(HELLO, protocol=TCP, dport=3307), set()),
        (replace(to("10.0.1.12"), protocol=TCP), set()),  # The sender's rules.
        (to("10.0.1.12"), {"web2"}),  # Back into the network that it came from.
        (to("10.0.1.11"), set()),  # To itself.
        (to("10.0.2.77"), set()),  # Nobody has it.
        (to("192.0.2.200"), {"fw"}),  # By a static route.
        (to("198.51.100.1"), set()),  # By no route.
        (to("10.0.3.11"), {"w1"}),
        (to("10.0.4.11"), {"h1"}),
        (to("10.0.4.12"), set()),  # A local network ends at the host that routes.
        (to("10.0.2.99"), {"bare"}),  # Nothing is enforced there.
        (replace(HELLO, eth_dst=TO_DB), set()),  # The router has that MAC in the other network.
        (replace(HELLO, ttl=1), set()),
        (replace(HELLO, ttl=2), {"db1"}),
        (replace(HELLO, src=ip_address("10.0.1.12")), set()),  # The guard.
        (to("255.255.255.255"), set()),
        (to("224.0.0.1"), set()),
        (to("127.0.0.1"), set()),
        (to("fe80::1", HELLO6), set()),
        (replace(HELLO6, src=link_local(WEB)), set()),  # Link-local addresses stay on their link.
        (replace(HELLO6, protocol=ICMPV6, icmp_type=135, target=ip_address("fd00:2::11"), hardware=WEB), set()),
        (replace(HELLO, eth_type=0x88CC, src=None, dst=None, protocol=None), set()),
        (to("10.0.2.1"), set()),  # The router's own address.
    ],
)
def test_what_a_router_passes_on(packet: Packet, who: set[str]) -> None:
    assert gets(packet) == who


def test_a_routed_packet_has_the_macs_of_its_last_link_and_less_to_live() -> None:
    oracle = Oracle(shop())
    arrived = replace(HELLO, eth_src=TO_DB, eth_dst=DB, ttl=63)
    assert oracle.received(HELLO, "red/db1") == arrived
    seen = oracle.received(to("10.0.3.11"), "red/w1")
    assert seen.eth_src == wire_mac("red/wire", "hv1"), "on a wire each host has a MAC of its own"
    bridged = replace(HELLO, eth_dst=oracle.topology.ports["red/web2"].mac, dst=ip_address("10.0.1.12"))
    assert oracle.received(bridged, "red/web2") is bridged


def test_the_reason_names_the_router_and_what_is_missing() -> None:
    assert why(to("10.0.2.77")) == "10.0.2.77 is unreachable, no port of red/db has 10.0.2.77"
    assert why(to("198.51.100.1")) == "198.51.100.1 is unreachable, router red/main leads nowhere to it"
    assert why(replace(HELLO, ttl=1)) == "router red/main passes on nothing whose time to live ends"
    assert why(to("10.0.2.1")) == "router red/main answers nothing but pings at its own address 10.0.2.1"
    assert why(to("10.0.1.11")) == "red/web1 does not reach itself"


@pytest.mark.parametrize(
    ("address", "answers"),
    [
        ("10.0.1.1", True),
        ("10.0.2.1", True),  # The far side of the router.
        ("10.0.2.2", False),
        ("fd00:1::1", False),  # The sender's rules let no ICMPv6 out.
    ],
)
def test_a_router_answers_pings_of_its_addresses(address: str, answers: bool) -> None:
    version = ip_address(address).version
    ping = PING if version == 4 else replace(PING, eth_type=IPV6, src=HELLO6.src, protocol=ICMPV6, icmp_type=128)
    ping = to(address, replace(ping, ttl=1))
    answer = replace(ping, eth_src=TO_WEB, eth_dst=WEB, src=ping.dst, dst=ping.src, icmp_type=0, ttl=64)
    assert Oracle(shop()).echoed(ping) == (answer if answers else None)
    assert gets(ping) == set()


def test_a_router_answers_pings_of_its_link_local_address_on_the_link() -> None:
    topology = shop(port("red/web3", "red/web", "fd00:1::13", host="hv1", mac="02:00:00:00:00:0d"))
    mac = parse_mac("02:00:00:00:00:0d")
    ping = Packet("red/web3", mac, TO_WEB, IPV6, link_local(mac), link_local(TO_WEB), ICMPV6, icmp_type=128)
    assert Oracle(topology).echoed(ping) is not None
    assert Oracle(topology).echoed(replace(ping, dst=link_local(mac))) is None
    assert Oracle(topology).echoed(replace(ping, eth_dst=BROADCAST_MAC)) is None
    assert Oracle(topology).echoed(replace(ping, icmp_code=1)) is None


def asking(address: str, source: str = "red/web1") -> Packet:
    """Return the ARP request or neighbour solicitation of web1 for an address."""
    wanted = ip_address(address)
    ask = replace(HELLO, source=source, eth_dst=BROADCAST_MAC, protocol=None, sport=0, dport=0, hardware=WEB)
    if wanted.version == 4:
        return replace(ask, eth_type=ARP, dst=wanted, arp_op=1)
    return replace(
        ask, eth_type=IPV6, src=HELLO6.src, dst=ip_address("ff02::1"), protocol=ICMPV6, icmp_type=135, target=wanted
    )


@pytest.mark.parametrize("address", ["10.0.1.1", "fd00:1::1", str(link_local(TO_WEB))])
def test_who_asks_for_the_router_is_answered_at_once(address: str) -> None:
    found = Oracle(shop()).answerer(asking(address))
    assert found is not None
    assert (found.name, found.mac, found.is_router) == ("red/main", TO_WEB, True)
    assert gets(asking(address)) == set()


@pytest.mark.parametrize("address", ["10.0.2.1", "10.0.2.11", "fd00:2::1", str(link_local(TO_DB))])
def test_nobody_answers_for_other_links(address: str) -> None:
    assert Oracle(shop()).answerer(asking(address)) is None


def test_a_link_without_ipv6_has_no_router_there() -> None:
    local = shop().ports["red/h1"]
    ask = replace(asking(str(link_local(router_mac("red/here")))), source=local.name, eth_src=local.mac)
    ask = replace(ask, src=link_local(local.mac), hardware=local.mac)
    assert Oracle(shop()).answerer(ask) is None


def test_routes_with_one_prefix_share_what_is_sent() -> None:
    second = router(
        "red/main", "red/web", "red/db", "red/wire", routes=[("192.0.2.0/24", "10.0.2.9"), ("192.0.2.0/24", "10.0.2.11")]
    )  # fmt: skip
    topology = shop(second)
    oracle, packet = Oracle(topology), to("192.0.2.200")
    assert oracle.is_split(packet)
    assert not oracle.is_split(HELLO)
    assert gets(packet, topology) == {"fw", "db1"}
    assert not oracle.allows("red/web1", "192.0.2.200", protocol=UDP, port=10).allowed, "the share of db1 is refused"
    assert oracle.allows("red/web1", "192.0.2.200", protocol=UDP, port=9).allowed


def test_the_longest_prefix_counts() -> None:
    routes = [("0.0.0.0/0", "10.0.2.11"), ("192.0.0.0/16", "10.0.2.9"), ("192.0.2.0/24", "10.0.2.77")]
    topology = shop(router("red/main", "red/web", "red/db", routes=routes))
    assert gets(to("198.51.100.1"), topology) == {"db1"}
    assert gets(to("192.0.9.1"), topology) == {"fw"}
    assert gets(to("192.0.2.1"), topology) == set(), "nobody has the next hop"
    assert why(to("192.0.2.1"), topology) == "192.0.2.1 is unreachable, no port of red/db has 10.0.2.77"


def test_a_shared_address_is_reached_by_the_one_mac_that_all_name() -> None:
    shared = [("10.0.2.100/32", "02:00:00:00:00:0f")]
    own = [("10.0.2.101/32", None)]
    topology = shop(
        port("red/a", "red/db", "10.0.2.21", host="hv1", groups=["red/open"], allowed=[*shared, *own]),
        port("red/b", "red/db", "10.0.2.22", host="hv2", groups=["red/open"], allowed=[*shared, *own]),
    )
    assert gets(to("10.0.2.100"), topology) == {"a", "b"}
    assert Oracle(topology).received(to("10.0.2.100"), "red/b").eth_dst == VRRP
    assert gets(to("10.0.2.101"), topology) == set(), "each has a MAC of its own for it"
    heard = {("red/db", ip_address("10.0.2.101")): topology.ports["red/b"].mac}
    assert set(Oracle(topology, heard=heard).receivers(to("10.0.2.101"))) == {"red/b"}
    assert Oracle(topology).allows("red/web2", "10.0.2.101").allowed, "one of them will answer"


def test_within_a_prefix_that_a_port_may_use_the_network_is_asked() -> None:
    topology = shop(port("red/vm", "red/db", "10.0.2.41", host="hv1", allowed=[("10.0.2.0/28", None)]))
    assert gets(to("10.0.2.11"), topology) == set()
    heard = {("red/db", ip_address("10.0.2.11")): DB}
    assert set(Oracle(topology, heard=heard).receivers(to("10.0.2.11"))) == {"red/db1"}
    assert Oracle(topology).allows("red/web1", "red/db1", protocol=UDP, port=9).allowed


@pytest.mark.parametrize(
    ("source", "target", "protocol", "number", "passes"),
    [
        ("red/web1", "red/db1", TCP, 3306, True),
        ("red/web2", "red/db1", TCP, 3306, False),
        ("red/web1", "10.0.2.11", TCP, 3306, True),
        ("10.0.1.11", "red/db1", TCP, 3306, True),
        ("10.0.1.77", "red/db1", TCP, 3306, False),  # Nobody has it.
        ("red/web1", "10.0.2.77", UDP, 9, False),
        ("red/web2", "10.0.3.77", TCP, 80, True),  # A machine on the wire.
        ("10.0.3.77", "red/web2", TCP, 80, True),
        ("10.0.3.77", "red/db1", TCP, 80, False),
        ("red/web2", "192.0.2.7", TCP, 80, True),
        ("192.0.2.7", "red/web2", TCP, 80, True),  # The firewall may speak for it.
        ("red/web2", "198.51.100.1", TCP, 80, False),
        ("red/web2", "10.0.2.1", ICMP, None, True),
        ("red/web2", "10.0.2.1", TCP, 80, False),
        ("10.0.2.1", "red/web2", TCP, 80, False),
        ("red/web2", "red/stray", TCP, 80, False),
        ("red/web2", "red/h2", TCP, 80, True),
        ("red/web2", "red/h1", TCP, 80, False),
    ],
)
def test_ways_of_a_router(source: str, target: str, protocol: int, number: int | None, passes: bool) -> None:
    kind = 8 if protocol == ICMP else None
    decision = Oracle(shop()).allows(source, target, protocol=protocol, port=number, icmp_type=kind)
    assert decision.allowed is passes, decision.reason


def test_a_way_that_answers_do_not_find_back_is_none_for_tests() -> None:
    one_way = [("red/h1", "red/db1", "its network ends at its host"), ("red/web2", "red/bare", "no router is there")]
    for source, target, because in one_way:
        tests = [expect("allow", source, target, "udp", 9, reply=reply) for reply in (False, True)]
        first, both = run_tests(shop(*tests))
        assert first.passed, because
        assert not both.passed, because
        assert both.explanation.startswith("no answer: ")


def test_tests_of_tenants_speak_of_routed_ports_and_of_routers() -> None:
    tests = [
        expect("allow", "red/web1", "red/db1", "tcp", 3306),
        expect("deny", "red/web1", "red/db1", "tcp", 22),
        expect("allow", "red/web1", "10.0.2.1", "icmp"),
        expect("deny", "red/web1", "10.0.2.1", "tcp"),
        expect("deny", "red/web1", "red/stray"),
    ]
    results = run_tests(shop(*tests))
    assert [result.explanation for result in results if not result.passed] == []
    words = "ingress of red/db1: group red/db ingress tcp 3306 from group red/web (tenants/red.yaml:1:1)"
    assert results[0].explanation == words
    assert results[3].explanation == "router red/main answers nothing but pings at its own address 10.0.2.1"
    assert results[4].explanation.startswith("no path: red/web1 is in network red/web, red/stray in red/lone, and no")


def test_answers_of_stateless_ports_are_judged_where_they_are_routed() -> None:
    topology = shop(
        group("red/still", ingress=[allow("udp", 9)], egress=[allow("udp", far="red/web")], stateless=True),
        group("red/mute", ingress=[allow("udp", 9)], egress=[], stateless=True),
        port("red/s1", "red/db", "10.0.2.31", host="hv2", groups=["red/still"]),
        port("red/s2", "red/db", "10.0.2.32", host="hv2", groups=["red/mute"]),
    )
    oracle = Oracle(topology)
    assert gets(to("10.0.2.31"), topology) == {"s1"}
    assert oracle.reply_allowed(to("10.0.2.31"), "red/s1").allowed
    assert gets(to("10.0.2.32"), topology) == {"s2"}
    assert not oracle.reply_allowed(to("10.0.2.32"), "red/s2").allowed


def test_a_host_that_is_not_ours_routes_nothing() -> None:
    topology = shop()
    bare = topology.ports["red/bare"]
    packet = Packet(bare.name, bare.mac, TO_DB, IPV4, bare.ips[0], ip_address("10.0.1.12"), UDP, 1, 9)
    assert gets(packet, topology) == set()
    decision: Decision = Oracle(topology).allows("red/bare", "red/web2", protocol=UDP, port=9)
    assert decision.reason == "no path: Weft does not program rack9, so no router serves red/bare there"


def test_a_subport_is_where_its_parent_is() -> None:
    parent = port("red/vm", "red/web", "10.0.1.50", groups=["red/open"])
    subport = replace(port("red/vm:7", "red/here", "10.0.4.50", groups=["red/open"]), parent="red/vm", vlan=7)
    topology = shop(parent, subport)
    for where, passes in (("hv1", True), ("hv2", False)):
        oracle = Oracle(topology, {"red/vm": where})
        assert oracle.allows("red/h1", "red/vm:7", protocol=TCP, port=80).allowed is passes
