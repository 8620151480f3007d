"""Oracle against Open vSwitch with random ways out: in whose name ports speak to the world, whom it reaches, and what is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.pipeline.compile import compile_fabric
from controller.proof.oracle import Oracle
from tests.ovs.fabric import FabricTwin
from tests.proof import outward, samples
from tests.proof.compare import disagreement
from tests.proof.outside import wrong_inside, wrong_outside

pytestmark = pytest.mark.ovs

PER_FABRIC = 120


def test_switches_lead_out_and_in_as_the_oracle_says(
    tmp_path: Path, outer_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "ROUTED", 1.0)
    topology = outward.with_ways_out(samples.dice(outer_seed + 2_000_000), samples.topology(samples.dice(outer_seed)))
    oracle = Oracle(topology, heard={(each.network, each.address): each.mac for each in outward.HEARD})
    random = samples.dice(outer_seed + 3_000_000)
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings, heard=outward.HEARD))
        for _ in range(PER_FABRIC):
            packet = outward.packet(random, topology)
            found = disagreement(oracle, twin, packet) or wrong_outside(oracle, twin, packet)
            assert found is None, f"seed {outer_seed}\n{found}"
            asked = outward.from_outside(random, topology)
            found = None if asked is None else wrong_inside(oracle, twin, *asked)
            assert found is None, f"seed {outer_seed}\n{found}"
