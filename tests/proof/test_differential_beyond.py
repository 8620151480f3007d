"""Oracle against Open vSwitch where hosts without a wire have something for networks there: others route in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.pipeline.compile import compile_fabric
from controller.proof.oracle import Oracle
from tests.ovs.fabric import FabricTwin
from tests.proof import samples
from tests.proof.compare import disagreement

pytestmark = pytest.mark.ovs

PER_FABRIC = 250


def test_what_is_handed_over_goes_where_the_oracle_says(tmp_path: Path, beyond_seed: int) -> None:
    topology = samples.beyond(samples.dice(beyond_seed))
    oracle, random = Oracle(topology), samples.dice(beyond_seed + 2_000_000)
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings))
        for _ in range(PER_FABRIC):
            found = disagreement(oracle, twin, samples.beyond_packet(random, topology))
            assert found is None, f"seed {beyond_seed}\n{found}"


def test_much_of_what_is_handed_over_is_meant_to_arrive() -> None:
    arrives = 0
    for seed in range(4):
        topology = samples.beyond(samples.dice(seed))
        oracle, random = Oracle(topology), samples.dice(seed + 2_000_000)
        for packet in (samples.beyond_packet(random, topology) for _ in range(PER_FABRIC)):
            source = topology.ports[packet.source]
            arrives += any(
                decision.allowed and samples.is_beyond(topology, source, topology.ports[name])
                for name, decision in oracle.receivers(packet).items()
            )
    assert arrives > 4 * PER_FABRIC // 10
