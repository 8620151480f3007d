"""Hostile senders at the ways out: sources that are not theirs, and MACs that are not for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller.model.address import outer_mac, router_mac, wire_mac
from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from controller.pipeline.heard import Neighbour
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.builders import (
    allow,
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
from tests.ovs.fabric import FabricTwin
from tests.ovs.frames import frame, unreachable
from tests.scenarios.frames import arp, tagged

pytestmark = pytest.mark.ovs

UPSTREAM, CLIENT = 0x020000FF0001, "198.51.100.9"
RED, FLOAT, BLUE = "203.0.113.10", "203.0.113.21", "203.0.113.11"
VLAN, LAN = 100, 110
ALLOWED = "192.0.2.7"  # Of a port of red, beyond its network.
HEARD = [Neighbour("public", ip_address("203.0.113.1"), UPSTREAM)]


def topology() -> Topology:
    """Red masks and lets in members of a group alone; blue, which does not mask, has chosen the very same addresses."""
    return fabric(
        replace(host("hv1"), gateway=True),
        host("hv2"),
        physical_network("physnet1", "hv1", "hv2"),
        external_network("public", "203.0.113.0/24", physical="physnet1", vlan=VLAN),
        network("red/web", "10.0.1.0/24"),
        network("red/db", "10.0.2.0/24"),
        network("red/lan", "10.0.3.0/24", kind="vlan", segment=LAN, physical="physnet1"),
        router(
            *("red/main", "red/web", "red/db", "red/lan"),
            external="public",
            address=RED,
            routes=[("10.8.0.0/16", "10.0.1.12"), ("10.8.9.0/24", "203.0.113.1")],
        ),
        network("blue/web", "10.0.1.0/24"),
        router("blue/main", "blue/web", external="public", address=BLUE, snat=False),
        group("red/all", ingress=[allow()]),
        group("blue/all", ingress=[allow(tenant="blue")]),
        group("red/friends", ingress=[allow("udp", 80, far="red/all")]),
        port("red/web1", "red/web", "10.0.1.11", host="hv1", groups=["red/all"]),
        port(
            "red/web2",
            "red/web",
            "10.0.1.12",
            host="hv2",
            groups=["red/all"],
            allowed=[(ALLOWED, None), ("10.8.0.0/15", None)],
        ),
        port("red/db1", "red/db", "10.0.2.11", host="hv1", groups=["red/friends"]),
        port("red/lan2", "red/lan", "10.0.3.12", host="hv2", groups=["red/all"]),
        port("blue/web1", "blue/web", "10.0.1.11", host="hv1", groups=["blue/all"]),
        port("blue/open", "blue/web", "10.0.1.13", host="hv1", secure=False),
        port("blue/vip", "blue/web", "10.0.1.14", host="hv1", allowed=[("192.0.2.0/24", None), ("203.0.113.77", None)]),
        floating_ip(FLOAT, "red/db1", "10.0.2.11", router="red/main", external="public"),
    )


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricTwin]:
    with FabricTwin(tmp_path_factory.mktemp("hostile"), topology()) as running:
        running.load(compile_fabric(running.topology, bindings=running.bindings, heard=HEARD))
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(net: FabricTwin) -> None:
    net.forget()


def datagram(eth_src: int, eth_dst: int, src: str, dst: str, *, ttl: int = 64) -> bytes:
    sent = Packet("x", eth_src, eth_dst, wire.IPV4, ip_address(src), ip_address(dst), wire.UDP, 1000, 80, ttl=ttl)
    return frame(sent)


def test_the_outside_is_no_member_of_a_group_by_a_source_of_the_inside(net: FabricTwin) -> None:
    """A floating IP's port lets its group in, inside: who forges a member's address outside is not let in by that."""
    web1 = net.topology.ports["red/web1"]
    assert net.send("red/web1", datagram(web1.mac, router_mac("red/web"), "10.0.1.11", "10.0.2.11"))
    net.forget()
    for source in ("10.0.1.11", "10.0.1.12"):
        sent = tagged(datagram(UPSTREAM, outer_mac(f"red/{FLOAT}"), source, FLOAT), VLAN)
        assert not net.receive_wire("hv1", "physnet1", sent)


@pytest.mark.parametrize("source", [ALLOWED, "10.8.1.1", "10.9.1.1"])
def test_nor_by_one_that_a_member_may_use_or_that_is_behind_it(net: FabricTwin, source: str) -> None:
    sent = tagged(datagram(UPSTREAM, outer_mac(f"red/{FLOAT}"), source, FLOAT), VLAN)
    assert not net.receive_wire("hv1", "physnet1", sent)


def test_what_is_asked_answers_whoever_else_may_use_its_address(net: FabricTwin) -> None:
    """Nothing leads to an allowed address inside, so it is looked for outside; its answer is no stranger's."""
    web1 = net.topology.ports["red/web1"]
    net.send("red/web1", datagram(web1.mac, router_mac("red/web"), "10.0.1.11", ALLOWED))
    [(_, sent)] = net.wires
    left = sent[:12] + sent[16:]
    src, dst = ip_address(ALLOWED), ip_address(RED)
    back = Packet("x", UPSTREAM, outer_mac("red/main"), wire.IPV4, src, dst, wire.UDP, 80, 1000)
    assert list(net.receive_wire("hv1", "physnet1", tagged(frame(back), VLAN))) == ["red/web1"]
    error = unreachable(replace(back, eth_src=back.eth_dst, eth_dst=back.eth_src, src=dst, dst=src), left)
    assert list(net.receive_wire("hv1", "physnet1", tagged(error, VLAN))) == ["red/web1"]


def test_another_tenant_with_the_same_addresses_is_no_member_either(net: FabricTwin) -> None:
    blue = net.topology.ports["blue/web1"]
    assert not net.send("blue/web1", datagram(blue.mac, router_mac("blue/web"), "10.0.1.11", FLOAT))


def test_who_does_not_mask_takes_no_address_of_the_outside(net: FabricTwin) -> None:
    """A port without port security says what it likes: on the external network it is nobody's floating IP, and no upstream."""
    mine = net.topology.ports["blue/open"]
    assert not net.send("blue/open", datagram(mine.mac, router_mac("blue/web"), "10.0.1.13", CLIENT))
    assert len(net.wires) == 1
    for source in (FLOAT, RED, "203.0.113.1"):
        net.send("blue/open", datagram(mine.mac, router_mac("blue/web"), source, CLIENT))
        assert not net.wires


def test_who_does_not_mask_lets_out_its_own_addresses_alone(net: FabricTwin) -> None:
    """What ports may use is its own as well, if it is not the external network's."""
    mine, vip = net.topology.ports["blue/open"], net.topology.ports["blue/vip"]
    for source in ("10.0.2.11", "192.0.3.7", "8.8.8.8"):
        net.send("blue/open", datagram(mine.mac, router_mac("blue/web"), source, CLIENT))
        assert not net.wires, source
    for source, leaves in (("192.0.2.7", True), ("203.0.113.77", False)):
        net.send("blue/vip", datagram(vip.mac, router_mac("blue/web"), source, CLIENT))
        assert len(net.wires) == leaves, source


def test_a_machine_on_a_wire_speaks_for_no_other_network(net: FabricTwin) -> None:
    """The gateway's own MAC on a tenant's wire is for hosts; what comes there bears an address of that network."""
    stranger = 0x020000EE0001
    at_gateway = wire_mac("red/lan", "hv1")
    for source, target in (("10.0.1.12", "10.0.2.11"), ("10.0.2.11", CLIENT), ("10.0.1.12", CLIENT), (FLOAT, CLIENT)):
        found = net.receive_wire("hv1", "physnet1", tagged(datagram(stranger, at_gateway, source, target), LAN))
        assert not found
        assert not net.wires


def test_a_machine_on_a_wire_may_speak_for_its_own(net: FabricTwin) -> None:
    """As a port there does whose host is not the gateway: nobody could tell them apart."""
    at_gateway = wire_mac("red/lan", "hv1")
    sent = tagged(datagram(0x020000EE0001, at_gateway, "10.0.3.99", "10.0.2.11"), LAN)
    assert not net.receive_wire("hv1", "physnet1", sent), "it is in no group"
    lan2 = net.topology.ports["red/lan2"]
    assert not net.send("red/lan2", datagram(lan2.mac, router_mac("red/lan"), "10.0.3.12", CLIENT))
    assert ip_address(RED).packed in [sent[30:34] for _, sent in net.wires]


def test_answers_find_back_to_a_wire_that_the_outside_is_on_as_well(net: FabricTwin) -> None:
    lan2 = net.topology.ports["red/lan2"]
    net.send("red/lan2", datagram(lan2.mac, router_mac("red/lan"), "10.0.3.12", CLIENT))
    src, dst = ip_address(CLIENT), ip_address(RED)
    back = Packet("x", UPSTREAM, outer_mac("red/main"), wire.IPV4, src, dst, wire.UDP, 80, 1000)
    assert list(net.receive_wire("hv1", "physnet1", tagged(frame(back), VLAN))) == ["red/lan2"]


def test_who_floods_a_gateway_with_questions_leaves_it_its_neighbours(net: FabricTwin) -> None:
    """What is heard outside has a meter of its own: it passes while packets whose time to live ends have used up the other one."""
    twin, lan2 = net.hosts["hv1"], net.topology.ports["red/lan2"]
    dying = tagged(datagram(lan2.mac, wire_mac("red/lan", "hv1"), "10.0.3.12", CLIENT, ttl=1), LAN)
    told = arp(2, (UPSTREAM, "203.0.113.1"), (0, "203.0.113.10"), eth_dst=wire_mac("public", "hv1"))
    meters = []
    for sent in (dying, tagged(told, VLAN)):
        traced = twin.trace("br-physnet1", "in_port=900", sent.hex())
        meters += [int(found) for found in re.findall(r"meter_id=(\d+)", traced)]
    assert len(set(meters)) == 2, meters
