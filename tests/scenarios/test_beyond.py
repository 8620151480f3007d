"""Networks of a router on a wire that the sender's host does not have: one host routes in its place, frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from controller.graph import queries
from controller.model.address import parse_mac, router_mac, wire_mac
from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from controller.pipeline.heard import Neighbour
from controller.proof import packet as wire
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from tests.builders import allow, external_network, fabric, group, host, network, physical_network, port, router
from tests.ovs.fabric import Deliveries, FabricTwin
from tests.ovs.frames import frame
from tests.scenarios.frames import udp

pytestmark = pytest.mark.ovs

WEB, LAN = "red/web", "red/lan"
MACHINE = Neighbour(LAN, ip_address("10.0.3.77"), parse_mac("02:00:00:00:77:77"))
SHARED = [("10.0.3.200/32", "02:00:00:00:ff:01")]


def topology() -> Topology:
    """The network with the wire is on hv2 and hv3, the port that asks on hv1; a static route is shared by next hops here and there."""
    return fabric(
        *(host(f"hv{number}") for number in (1, 2, 3, 4)),
        physical_network("physnet1", "hv2", "hv3", "hv4"),
        network(WEB, "10.0.1.0/24", "fd00:1::/64"),
        network(LAN, "10.0.3.0/24", "fd00:3::/64", kind="vlan", segment=110, physical="physnet1"),
        router(
            *("red/main", WEB, LAN),
            routes=[
                *(("192.168.0.0/16", hop) for hop in ("10.0.3.12", "10.0.1.13", "10.0.3.13")),
                ("172.16.0.0/12", "10.0.3.13"),
                ("172.30.0.0/16", "10.0.3.77"),
            ],
        ),
        group("red/all", ingress=[allow()]),
        port("red/web1", WEB, "10.0.1.11", "fd00:1::11", host="hv1", groups=["red/all"]),
        port("red/web3", WEB, "10.0.1.13", host="hv3", groups=["red/all"]),
        port("red/lan2", LAN, "10.0.3.12", "fd00:3::12", host="hv2", groups=["red/all"]),
        port("red/lan3", LAN, "10.0.3.13", host="hv3", groups=["red/all"]),
        port("red/one", LAN, "10.0.3.21", host="hv2", groups=["red/all"], allowed=SHARED),
        port("red/other", LAN, "10.0.3.22", host="hv3", groups=["red/all"], allowed=SHARED),
    )


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricTwin]:
    with FabricTwin(tmp_path_factory.mktemp("beyond"), topology()) as running:
        running.load(compile_fabric(running.topology, bindings=running.bindings, heard=[MACHINE]))
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(net: FabricTwin) -> None:
    net.forget()


def proxy(net: FabricTwin) -> str:
    """Return the host that has what is for addresses that are no port's."""
    return queries.proxies(net.graph.memo, LAN, WEB)[0]


def macs(sent: bytes) -> tuple[int, int]:
    """Return a frame's destination and source."""
    return int.from_bytes(sent[:6], "big"), int.from_bytes(sent[6:12], "big")


def to(net: FabricTwin, target: str, version: int = 4) -> Deliveries:
    """Send a datagram by way of the router to a port."""
    return net.send("red/web1", udp(net.topology, "red/web1", target, version=version, eth_dst=router_mac(WEB)))


def sent_to(net: FabricTwin, address: str, sport: int = 4000) -> Deliveries:
    """Send a datagram by way of the router to an address."""
    asker = net.topology.ports["red/web1"]
    packet = Packet("red/web1", asker.mac, router_mac(WEB), wire.IPV4, asker.ips[0], ip_address(address))
    return net.send("red/web1", frame(replace(packet, protocol=wire.UDP, sport=sport, dport=9)))


@pytest.mark.parametrize(("target", "where"), [("red/lan2", "hv2"), ("red/lan3", "hv3")])
def test_the_host_of_the_port_routes(net: FabricTwin, target: str, where: str) -> None:
    [got] = to(net, target)[target]
    assert macs(got) == (net.topology.ports[target].mac, wire_mac(LAN, where))
    assert got[22] == 63, "one router has had it"
    [tunnelled] = net.underlay
    assert tunnelled.key == net.topology.networks[WEB].segment
    assert macs(tunnelled.frame) == (wire_mac(WEB, where), net.topology.ports["red/web1"].mac)
    assert not net.wires


def test_ipv6_is_handed_over_as_well(net: FabricTwin) -> None:
    [got] = to(net, "red/lan2", 6)["red/lan2"]
    assert macs(got) == (net.topology.ports["red/lan2"].mac, wire_mac(LAN, "hv2"))
    assert got[21] == 63


def test_answers_are_routed_where_they_are_sent(net: FabricTwin) -> None:
    assert to(net, "red/lan2")
    back = udp(net.topology, "red/lan2", "red/web1", eth_dst=router_mac(LAN))
    [got] = net.send("red/lan2", back)["red/web1"]
    assert got[22] == 63
    assert macs(got) == (net.topology.ports["red/web1"].mac, router_mac(WEB))


def test_an_address_that_moves_between_hosts_is_reached_by_a_proxy(net: FabricTwin) -> None:
    found = sent_to(net, "10.0.3.200")
    assert sorted(found) == ["red/one", "red/other"]
    assert {macs(got)[1] for [got] in found.values()} == {wire_mac(LAN, proxy(net))}


@pytest.mark.parametrize("address", ["10.0.3.77", "172.30.0.9"], ids=["itself", "behind it"])
def test_a_machine_on_the_wire_gets_what_a_proxy_puts_there(net: FabricTwin, address: str) -> None:
    assert not sent_to(net, address)
    [(physical, got)] = net.wires
    assert physical == "physnet1"
    assert macs(got) == (MACHINE.mac, wire_mac(LAN, proxy(net)))
    assert got[12:16] == bytes.fromhex("8100006e")
    assert got[26] == 63


def test_a_static_route_leads_by_the_host_of_its_next_hop(net: FabricTwin) -> None:
    [got] = sent_to(net, "172.16.0.9")["red/lan3"]
    assert macs(got) == (net.topology.ports["red/lan3"].mac, wire_mac(LAN, "hv3"))
    assert got[22] == 63


def test_both_hosts_choose_the_same_of_equal_next_hops(net: FabricTwin) -> None:
    """Nothing is lost and nothing goes round, whichever of the three it is."""
    chosen: Counter[str] = Counter()
    for number in range(4000, 4060):
        [(name, [got])] = sent_to(net, "192.168.0.9", number).items()
        assert got[22] == 63
        chosen[name] += 1
    assert set(chosen) == {"red/lan2", "red/web3", "red/lan3"}
    assert min(chosen.values()) >= 6


def test_what_does_not_come_from_the_networks_own_ports_is_not_routed_for_them(net: FabricTwin) -> None:
    """On the wire nobody is meant by a MAC that stands for the router in the tunnel's network."""
    asker = net.topology.ports["red/web1"]
    forged = Packet(
        "red/lan2", MACHINE.mac, wire_mac(WEB, "hv2"), wire.IPV4, asker.ips[0], ip_address("10.0.3.13"), wire.UDP, 1, 9
    )
    sent = frame(forged)
    assert not net.receive_wire("hv2", "physnet1", sent[:12] + bytes.fromhex("8100006e") + sent[12:])


def test_the_second_proxy_has_what_is_for_the_wire_while_the_first_is_dead(tmp_path: Path) -> None:
    """Everybody watches gateways; nobody else is needed for that, and no controller."""
    base = topology()
    public = external_network("public", "203.0.113.0/24", physical="physnet1", vlan=199)
    hosts = {name: replace(each, gateway=name in ("hv2", "hv4")) for name, each in base.hosts.items()}
    watched = replace(base, hosts=hosts, external_networks={public.name: public})
    with FabricTwin(tmp_path, watched) as net:
        net.load(compile_fabric(watched, bindings=net.bindings, heard=[MACHINE]))
        first, second = queries.proxies(net.graph.memo, LAN, WEB)
        assert {first, second} == {"hv2", "hv4"}
        for is_dead, wanted in ((False, first), (True, second), (False, first)):
            net.kill(first, is_dead=is_dead)
            assert not sent_to(net, "10.0.3.77")
            [(_, got)] = net.wires
            assert macs(got) == (MACHINE.mac, wire_mac(LAN, wanted))


def test_the_oracle_and_who_may_reach_whom_say_the_same() -> None:
    oracle = Oracle(topology())
    assert oracle.allows("red/web1", "red/lan2", protocol=wire.TCP, port=80).allowed
    assert oracle.allows("red/lan2", "red/web1", protocol=wire.TCP, port=80).allowed
    assert oracle.allows("red/web1", "10.0.3.77", protocol=wire.TCP, port=80).allowed


def test_a_network_that_gets_to_no_wired_host_is_cut_off() -> None:
    base = topology()
    near = network(WEB, "10.0.1.0/24", kind="local")
    oracle = Oracle(replace(base, networks={**base.networks, WEB: near}))
    found = oracle.allows("red/web1", "red/lan2", protocol=wire.TCP, port=80, version=4)
    assert not found.allowed
    assert "reaches no host that is" in found.reason
    assert ip_network("10.0.3.0/24") in base.networks[LAN].cidrs
