"""Frames across a fabric of dummy switches: the way there, the way back, and what the wires carry."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest

from controller.model.entities import Network, NetworkType
from controller.pipeline.compile import compile_fabric
from controller.proof.packet import IPV4, UDP, Packet
from tests.builders import allow, fabric, group, host, network, physical_network, port
from tests.ovs.fabric import FabricTwin
from tests.ovs.frames import frame

pytestmark = pytest.mark.ovs


NETWORKS = [
    network("red/n", "10.0.0.0/24", kind="vxlan", segment=0xABCDEF),
    network("red/n", "10.0.0.0/24", kind="gre", segment=0xABCDEF),
    network("red/n", "10.0.0.0/24", kind="geneve", segment=0xABCDEF),
    network("red/n", "10.0.0.0/24", kind="vlan", segment=110, physical="physnet1"),
    network("red/n", "10.0.0.0/24", kind="flat", physical="physnet1"),
]


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.type.value)
def test_a_datagram_and_its_reply_between_two_hosts(tmp_path: Path, kind: Network) -> None:
    topology = fabric(
        host("hv1"),
        host("hv2"),
        physical_network("physnet1", "hv1", "hv2"),
        kind,
        group("red/g", ingress=[allow("udp", 9)]),
        port("red/a", "red/n", "10.0.0.1", host="hv1"),
        port("red/b", "red/n", "10.0.0.2", host="hv2", groups=["red/g"]),
    )
    a, b = topology.ports["red/a"], topology.ports["red/b"]
    request = Packet("red/a", a.mac, b.mac, IPV4, a.ips[0], b.ips[0], UDP, 1000, 9)
    reply = Packet("red/b", b.mac, a.mac, IPV4, b.ips[0], a.ips[0], UDP, 9, 1000)
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings))
        assert twin.send("red/b", frame(reply)) == {}, "a reply to nothing does not pass"
        twin.forget()
        assert twin.send("red/a", frame(request)) == {"red/b": [frame(request)]}
        if kind.type.is_tunnel:
            [outer] = twin.underlay
            assert (outer.kind, outer.key, outer.frame) == (kind.type, 0xABCDEF, frame(request))
            assert (outer.src, outer.dst) == (IPv4Address("172.31.0.1"), IPv4Address("172.31.0.2"))
        assert twin.send("red/b", frame(reply)) == {"red/a": [frame(reply)]}
        assert twin.send("red/a", frame(replace(request, dport=10))) == {}


def test_a_foreign_vtep_is_a_member_and_strangers_are_not(tmp_path: Path) -> None:
    topology = fabric(
        host("hv1"),
        host("rack9", vtep=True),
        host("hv2"),
        network("red/n", "10.0.0.0/24", segment=5001),
        network("red/m", "10.0.0.0/24", segment=5002),
        group("red/g", ingress=[allow("udp", 9)]),
        port("red/a", "red/n", "10.0.0.1", host="hv1", groups=["red/g"]),
        port("red/bare", "red/n", "10.0.0.9", host="rack9"),
        port("red/other", "red/m", "10.0.0.2", host="hv2"),
    )
    a, bare = topology.ports["red/a"], topology.ports["red/bare"]
    inward = frame(Packet("red/bare", bare.mac, a.mac, IPV4, bare.ips[0], a.ips[0], UDP, 1000, 9))
    outward = frame(Packet("red/a", a.mac, bare.mac, IPV4, a.ips[0], bare.ips[0], UDP, 1001, 1))
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings))
        assert twin.send("red/bare", inward) == {"red/a": [inward]}
        [good] = twin.underlay
        assert twin.send("red/a", outward) == {"red/bare": [outward]}
        twin.forget()
        stranger, not_a_member = ip_address("172.31.0.77"), topology.hosts["hv2"].tunnel_ip
        assert isinstance(stranger, IPv4Address)
        assert isinstance(not_a_member, IPv4Address)
        assert twin.receive_tunnelled(replace(good, src=stranger)) == {}
        assert twin.receive_tunnelled(replace(good, src=not_a_member)) == {}
        assert twin.receive_tunnelled(replace(good, key=5002)) == {}
        assert twin.receive_tunnelled(replace(good, kind=NetworkType.VXLAN)) == {"red/a": [inward]}
