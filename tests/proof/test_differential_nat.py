"""Ways out and in, oracle against Open vSwitch: who is reached by which address, in whose name, and what comes back."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.model.address import router_mac
from controller.pipeline.compile import compile_fabric
from controller.pipeline.heard import Neighbour
from controller.proof.oracle import ECHO, Oracle
from controller.proof.packet import IPV4, IPV6, TCP, UDP, Packet
from tests.builders import external_network, fabric, floating_ip, host, network, physical_network, port, router
from tests.ovs.fabric import FabricTwin
from tests.proof.compare import disagreement
from tests.proof.outside import wrong_outside
from tests.proof.test_oracle_nat import FLOAT_A, FLOAT_B, FLOAT_G, OUTSIDE, OWN, cloud

pytestmark = pytest.mark.ovs

TARGETS = (FLOAT_A, FLOAT_B, FLOAT_G, OWN, "203.0.113.11", "203.0.113.99", OUTSIDE, "2001:db8:9::1")
INSIDE = ("10.0.1.1", "10.0.1.11", "10.0.2.11", "10.0.2.12")
KINDS = ((TCP, 80), (TCP, 443), (UDP, 9), (UDP, 10), (None, 0))


@pytest.mark.parametrize("snat", [True, False])
def test_switches_translate_as_the_oracle_says(tmp_path: Path, *, snat: bool) -> None:
    topology = cloud(snat=snat)
    oracle, reached = Oracle(topology), set()
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings))
        for source in topology.ports.values():
            for dst in map(ip_address, (*TARGETS, *INSIDE)):
                for src in (ip for ip in source.ips if ip.version == dst.version):
                    for protocol, number in KINDS:
                        asked, kind = ECHO[dst.version] if protocol is None else (protocol, 0)
                        ethertype, to = IPV4 if dst.version == 4 else IPV6, router_mac(source.network)
                        plain = Packet(source.name, source.mac, to, ethertype, src, dst, asked)
                        packet = replace(plain, sport=1000 + number, dport=number, icmp_type=kind)
                        found = disagreement(oracle, twin, packet)
                        assert found is None, found
                        reached |= {(source.name, name) for name in oracle.receivers(packet)}
    assert {("red/a", "red/b"), ("red/a", "red/a"), ("red/c", "red/a"), ("green/g", "red/b")} <= reached


def test_a_default_route_inside_leaves_the_way_out_alone_and_a_floating_ip_needs_no_gateway(tmp_path: Path) -> None:
    routes = [("0.0.0.0/0", "10.0.1.12"), ("198.18.0.0/15", "203.0.113.99")]
    topology = fabric(
        *(host("hv1"), host("hv2"), physical_network("wire", "hv1")),
        external_network("public", "203.0.113.0/24", physical="wire", vlan=100),
        network("red/web", "10.0.1.0/24"),
        router("red/main", "red/web", external="public", address=OWN, routes=routes),
        port("red/a", "red/web", "10.0.1.11", host="hv1", secure=False),
        port("red/b", "red/web", "10.0.1.12", host="hv2", secure=False),
        floating_ip(FLOAT_A, "red/a", "10.0.1.11", router="red/main", external="public"),
    )
    neighbour = Neighbour("public", ip_address("203.0.113.99"), 0x02AA00000001)
    oracle = Oracle(topology, heard={(neighbour.network, neighbour.address): neighbour.mac})
    source = topology.ports["red/a"]
    plain = Packet("red/a", source.mac, router_mac("red/web"), IPV4, source.ips[0], source.ips[0], UDP, 1000, 9)
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings, heard=[neighbour]))
        for dst, leaves in (("203.0.113.99", True), ("198.18.0.7", True), ("192.0.2.7", False)):
            packet = replace(plain, dst=ip_address(dst))
            assert (oracle.outside(packet) is not None, set(oracle.receivers(packet))) == (
                leaves,
                set() if leaves else {"red/b"},
            )
            found = disagreement(oracle, twin, packet) or wrong_outside(oracle, twin, packet)
            assert found is None, found


def test_what_no_gateway_can_be_sent_stays_where_it_is(tmp_path: Path) -> None:
    """The only gateway has no wire of the network's: a frame for its MAC would be flooded there."""
    topology = fabric(
        *(host("hv1"), host("gw3", gateway=True), physical_network("wire", "hv1"), physical_network("outer", "gw3")),
        external_network("public", "203.0.113.0/24", physical="outer", vlan=100),
        network("red/web", "10.0.1.0/24", kind="vlan", physical="wire"),
        router("red/main", "red/web", external="public", address=OWN),
        port("red/a", "red/web", "10.0.1.11", host="hv1"),
        port("red/b", "red/web", "10.0.1.12", host="hv1", secure=False),
    )
    source = topology.ports["red/a"]
    plain = Packet("red/a", source.mac, router_mac("red/web"), IPV4, source.ips[0], ip_address(OUTSIDE), UDP, 1000, 9)
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings))
        assert disagreement(Oracle(topology), twin, plain) is None
        assert twin.wires == []
