"""Oracle against Open vSwitch: the compiled flows of whole fabrics do exactly what the model says, packet by packet.

`--packets N` judges about N packets in all (3,000 unless given) from consecutive seeds; a soak is the same test with a larger number.
"""

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


def test_switches_do_what_the_oracle_says(tmp_path: Path, seed: int) -> None:
    topology = samples.topology(samples.dice(seed))
    oracle = Oracle(topology)
    random = samples.dice(seed + 1_000_000)
    with FabricTwin(tmp_path, topology) as twin:
        twin.load(compile_fabric(topology, bindings=twin.bindings))
        for _ in range(PER_FABRIC):
            found = disagreement(oracle, twin, samples.packet(random, topology))
            assert found is None, f"seed {seed}\n{found}"
