"""Distributed routing on three hosts: one hop on the sender's host, whatever the networks are, and the router's own addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.model.address import link_local, router_mac, wire_mac
from controller.model.entities import Address, Port, Topology
from controller.pipeline.compile import compile_fabric
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.builders import allow, fabric, group, host, network, physical_network, port, router
from tests.ovs.fabric import Deliveries, FabricTwin
from tests.ovs.frames import checksum, frame
from tests.scenarios.frames import ARP_REPLY, arp, icmpv6_is_sound, large, own, ping, solicitation, udp, who_has

pytestmark = pytest.mark.ovs

SOUND = b"\0\0"  # What is left of a checksum over itself.
WEB, DB, LAN, LOCAL = "red/web", "red/db", "red/lan", "red/near"


def topology() -> Topology:
    """Four networks of four types on one router, a second tenant with the same addresses, and a router VM with a subnet behind it."""
    return fabric(
        *(host(f"hv{number}") for number in (1, 2, 3)),
        physical_network("physnet1", "hv1", "hv2"),
        network(WEB, "10.0.1.0/24", "fd00:1::/64"),
        network(DB, "10.0.2.0/24", "fd00:2::/64", kind="geneve"),
        network(LAN, "10.0.3.0/24", kind="vlan", segment=110, physical="physnet1"),
        network(LOCAL, "10.0.4.0/24", kind="local"),
        network("blue/web", "10.0.1.0/24"),
        network("blue/db", "10.0.2.0/24"),
        router(
            "red/main", WEB, DB, LAN, LOCAL, routes=[("192.168.0.0/16", "10.0.2.13"), ("192.168.7.0/24", "10.0.2.12")]
        ),
        router("blue/main", "blue/web", "blue/db"),
        group("red/all", ingress=[allow()]),
        group("red/http", ingress=[allow("udp", 80, far="red/all"), allow("icmp")]),
        group("blue/all", ingress=[allow(tenant="blue")]),
        *(port(f"red/web{n}", WEB, f"10.0.1.1{n}", f"fd00:1::1{n}", host=f"hv{n}", groups=["red/all"]) for n in (1, 2)),
        *(port(f"red/db{n}", DB, f"10.0.2.1{n}", f"fd00:2::1{n}", host=f"hv{n}", groups=["red/all"]) for n in (1, 2)),
        port("red/vpn", DB, "10.0.2.13", host="hv3", groups=["red/all"], allowed=[("192.168.0.0/16", None)]),
        port("red/pick", DB, "10.0.2.19", host="hv3", groups=["red/http"]),
        *(port(f"red/lan{n}", LAN, f"10.0.3.1{n}", host=f"hv{n}", groups=["red/all"]) for n in (1, 2)),
        port("red/near1", LOCAL, "10.0.4.11", host="hv1", groups=["red/all"]),
        *(
            port(f"blue/{name}1", f"blue/{name}", address, host="hv1", groups=["blue/all"])
            for name, address in (("web", "10.0.1.11"), ("db", "10.0.2.11"))
        ),
    )


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricTwin]:
    with FabricTwin(tmp_path_factory.mktemp("routed"), topology()) as running:
        running.load(compile_fabric(running.topology, bindings=running.bindings))
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(net: FabricTwin) -> None:
    for twin in net.hosts.values():
        twin.flush_conntrack()


def through(net: FabricTwin, source: str, target: str, version: int = 4, number: int = 9) -> Deliveries:
    """Send a datagram by way of the router, and return who received it."""
    gateway = router_mac(net.topology.ports[source].network)
    return net.send(source, udp(net.topology, source, target, version=version, eth_dst=gateway, number=number))


def macs(frame: bytes) -> tuple[int, int]:
    """Return a frame's destination and source."""
    return int.from_bytes(frame[:6], "big"), int.from_bytes(frame[6:12], "big")


@pytest.mark.parametrize("target", ["red/db1", "red/db2", "red/lan1", "red/lan2", "red/near1", "red/web2"])
def test_a_router_joins_networks_of_every_type(net: FabricTwin, target: str) -> None:
    found = through(net, "red/web1", target)
    assert list(found) == [target]
    [frame] = found[target]
    at = net.topology.ports[target]
    source = wire_mac(LAN, "hv1") if at.network == LAN else router_mac(at.network)
    assert macs(frame) == (at.mac, source)
    assert frame[22] == 63
    assert checksum(frame[14:34]) == SOUND


def test_ipv6_is_routed_as_well(net: FabricTwin) -> None:
    for target in ("red/db1", "red/db2"):
        [frame] = through(net, "red/web1", target, version=6)[target]
        assert macs(frame) == (net.topology.ports[target].mac, router_mac(DB))
        assert frame[21] == 63


def test_what_two_networks_of_one_host_say_never_leaves_it(net: FabricTwin) -> None:
    assert through(net, "red/web1", "red/db1")
    assert not net.underlay
    assert not net.wires


def test_a_packet_takes_one_hop_in_the_network_of_its_receiver(net: FabricTwin) -> None:
    through(net, "red/web1", "red/db2")
    [packet] = net.underlay
    assert packet.key == net.topology.networks[DB].segment


def test_answers_take_the_router_of_their_own_host(net: FabricTwin) -> None:
    assert through(net, "red/web1", "red/db2", number=1000)
    found = through(net, "red/db2", "red/web1", number=1000)
    assert list(found) == ["red/web1"]


def test_rules_judge_what_is_routed_as_what_is_bridged(net: FabricTwin) -> None:
    assert list(through(net, "red/web2", "red/pick", number=80)) == ["red/pick"]
    assert not through(net, "red/web2", "red/pick", number=81)
    assert not through(net, "red/pick", "red/pick")


def test_tenants_with_the_same_addresses_never_meet(net: FabricTwin) -> None:
    assert list(through(net, "blue/web1", "blue/db1")) == ["blue/db1"]
    assert list(through(net, "red/web1", "red/db1")) == ["red/db1"]


def test_a_router_answers_who_it_is(net: FabricTwin) -> None:
    mac, asker = router_mac(WEB), net.topology.ports["red/web1"]
    answer = arp(ARP_REPLY, (mac, "10.0.1.1"), (asker.mac, "10.0.1.11"), eth_dst=asker.mac)
    gateway = net.topology.networks[WEB].gateways[0]
    answer = answer.replace(ip_address("10.0.1.1").packed, gateway.packed)
    assert net.send("red/web1", who_has(net.topology, "red/web1", str(gateway))) == {"red/web1": [answer]}
    for address in (net.topology.networks[WEB].gateways[1], link_local(mac)):
        [heard] = net.send("red/web1", solicitation(net.topology, "red/web1", str(address)))["red/web1"]
        assert macs(heard) == (asker.mac, mac)
        assert icmpv6_is_sound(heard)
        assert heard[58] & 0x80, "a router says that it is one"


@pytest.mark.parametrize("address", ["10.0.1.1", "10.0.2.1"])
def test_a_router_answers_pings_of_its_near_and_far_addresses(net: FabricTwin, address: str) -> None:
    asker = net.topology.ports["red/web1"]
    echo = ping(asker.mac, router_mac(WEB), "10.0.1.11", address)
    [answer] = net.send("red/web1", echo)["red/web1"]
    assert macs(answer) == (asker.mac, router_mac(WEB))
    assert answer[22] == 64
    assert (answer[26:30], answer[30:34]) == (ip_address(address).packed, asker.ips[0].packed)
    assert checksum(answer[14:34]) == checksum(answer[34:]) == SOUND
    assert answer[34] == 0


def test_the_longest_prefix_wins(net: FabricTwin) -> None:
    # Who has the next hop gets the packet, and its guard lets in what it routes on.
    for address, hop in (("192.168.1.1", "red/vpn"), ("192.168.7.1", "red/db2")):
        frame = ping(net.topology.ports["red/web1"].mac, router_mac(WEB), "10.0.1.11", address)
        assert list(net.send("red/web1", frame)) == [hop]


def test_what_ends_in_a_router_goes_nowhere(net: FabricTwin) -> None:
    asker = net.topology.ports["red/web1"]
    for address, ttl in (
        ("10.0.2.11", 1),
        ("10.0.2.77", 64),
        ("172.16.0.1", 64),
        ("224.0.0.9", 64),
        ("10.0.2.255", 64),
    ):
        assert not net.send("red/web1", ping(asker.mac, router_mac(WEB), "10.0.1.11", address, ttl=ttl)), address


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("target", ["red/web2", "red/db2"])
def test_what_does_not_fit_a_tunnel_is_not_sent(net: FabricTwin, target: str, version: int) -> None:
    """A port with a larger MTU than its network's is told so, bridged and routed."""
    source, at = net.topology.ports["red/web1"], net.topology.ports[target]
    gateway = at.mac if at.network == WEB else router_mac(WEB)
    for length, arrives in ((1450, True), (1451, False)):
        big = large(datagram(source, gateway, own(source, version), own(at, version)), length)
        assert list(net.send("red/web1", big)) == ([target] if arrives else [])


@pytest.mark.parametrize(
    ("sender", "receiver", "is_measured"),
    [
        ("red/near1", "red/web1", True),
        ("red/lan1", "red/db1", True),
        ("red/lan1", "red/vpn", True),
        ("red/web1", "red/near1", False),
        ("red/near1", "red/lan1", False),
        ("blue/web1", "blue/db1", False),
    ],
)
def test_what_does_not_fit_the_network_that_it_is_routed_into_does_not_get_in(
    net: FabricTwin, sender: str, receiver: str, is_measured: bool
) -> None:
    """Its sender is told, on one host as across hosts. Where no network of a router takes longer packets, nothing is measured."""
    source, behind = net.topology.ports[sender], ip_address("192.168.3.3")
    address = behind if receiver == "red/vpn" else own(net.topology.ports[receiver], 4)
    for length, arrives in ((1450, True), (1451, not is_measured)):
        big = large(datagram(source, router_mac(source.network), own(source, 4), address), length)
        assert list(net.send(sender, big)) == ([receiver] if arrives else []), length


def datagram(source: Port, eth_dst: int, src: Address, dst: Address) -> bytes:
    kind = wire.IPV4 if src.version == 4 else wire.IPV6
    return frame(Packet(source.name, source.mac, eth_dst, kind, src, dst, wire.UDP, 1000, 9))


def test_equal_next_hops_share_the_flows(tmp_path: Path) -> None:
    hops = [port(f"red/hop{n}", DB, f"10.0.2.{n}", host=f"hv{n % 3 + 1}", secure=False) for n in (21, 22, 23)]
    before = topology()
    wide = router("red/main", WEB, DB, routes=[("172.16.0.0/12", f"10.0.2.{n}") for n in (21, 22, 23)])
    ports = {**before.ports, **{each.name: each for each in hops}}
    with FabricTwin(tmp_path, replace(before, routers={"red/main": wide}, ports=ports)) as net:
        net.load(compile_fabric(net.topology, bindings=net.bindings))
        sender = net.topology.ports["red/web1"]
        used = []
        for last in range(1, 41):
            frame = ping(sender.mac, router_mac(WEB), "10.0.1.11", f"172.16.0.{last}")
            [first], [again] = net.send("red/web1", frame), net.send("red/web1", frame)
            assert first == again
            used.append(first)
        assert set(used) == {each.name for each in hops}
