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
    delivered = 0
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings))
        for _ in range(PER_FABRIC):
            packet = samples.beyond_packet(random, topology)
            found = disagreement(oracle, twin, packet)
            assert found is None, f"seed {beyond_seed}\n{found}"
            source = topology.ports[packet.source]
            delivered += any(
                decision.allowed and samples.is_beyond(topology, source, topology.ports[name])
                for name, decision in oracle.receivers(packet).items()
            )
    # Where hosts hand over at all, some of it arrives.
    assert delivered > 0
