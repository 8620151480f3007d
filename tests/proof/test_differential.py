"""Oracle against Open vSwitch: the compiled flows of whole fabrics do exactly what the model says, packet by packet.

`--packets N` judges about N packets in all (3,000 unless given) from consecutive seeds; a soak is the same test with a larger number.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.model.address import router_mac
from controller.pipeline.compile import compile_fabric
from controller.proof.oracle import Oracle
from controller.proof.packet import TCP
from tests.builders import address_group, allow, fabric, group, host, network, port, router
from tests.ovs.fabric import FabricTwin
from tests.proof import samples
from tests.proof.borders import hello
from tests.proof.compare import disagreement

pytestmark = pytest.mark.ovs

PER_FABRIC = 250


def test_switches_do_what_the_oracle_says(tmp_path: Path, seed: int) -> None:
    topology = samples.topology(samples.dice(seed))
    oracle = Oracle(topology)
    random = samples.dice(seed + 1_000_000)
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings))
        for _ in range(PER_FABRIC):
            found = disagreement(oracle, twin, samples.packet(random, topology))
            assert found is None, f"seed {seed}\n{found}"


def test_a_local_networks_shared_address_on_another_host_is_out_of_reach(tmp_path: Path) -> None:
    shared = [("10.0.0.200/32", "02:00:00:00:ff:01")]
    topology = fabric(
        *(host("hv1"), host("hv2"), network("red/n", "10.0.1.0/24"), network("red/here", "10.0.0.0/24", kind="local")),
        router("red/r", "red/n", "red/here"),
        port("red/a", "red/n", "10.0.1.3", host="hv1", secure=False),
        port("red/far", "red/here", "10.0.0.3", host="hv2", allowed=shared),
        port("red/near", "red/here", "10.0.0.2", host="hv1", secure=False),
    )
    asked = hello(topology.ports["red/a"], topology.ports["red/far"], 4)
    packet = replace(asked, eth_dst=router_mac("red/n"), dst=ip_address("10.0.0.200"), protocol=TCP, dport=22)
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings))
        assert disagreement(Oracle(topology), twin, packet) is None


def test_a_lent_group_takes_its_address_groups_along(tmp_path: Path) -> None:
    lent = replace(group("red/g", egress=[allow("tcp", far="red/g", addresses=["red/a"])]), share=("blue",))
    one = port("blue/one", "blue/n", "10.0.0.1", host="hv1", groups=["red/g"])
    other = port("blue/other", "blue/n", "10.0.0.2", host="hv1", secure=False)
    topology = fabric(
        *(host("hv1"), network("blue/n", "10.0.0.0/24"), network("red/n"), one, other),
        *(address_group("red/a", "10.0.0.2"), lent),
    )
    packet = replace(hello(one, other, 4), protocol=TCP, sport=40000, dport=22)
    found = Oracle(topology).receivers(packet)["blue/other"]
    assert found.allowed, found.reason
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings))
        assert disagreement(Oracle(topology), twin, packet) is None
