"""Ways out and in, oracle against Open vSwitch: who is reached by which address, in whose name, and what comes back."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.model.address import router_mac
from controller.pipeline.compile import compile_fabric
from controller.proof.oracle import ECHO, Oracle
from controller.proof.packet import IPV4, IPV6, TCP, UDP, Packet
from tests.ovs.fabric import FabricTwin
from tests.proof.compare import disagreement
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
