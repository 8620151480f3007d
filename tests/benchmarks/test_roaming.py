"""What a move costs is measured on real switches, with real packets, for every kind of peer."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.figure import by_key
from benchmarks.goals import GOALS
from benchmarks.roaming import AWAY, BY_FAR, BY_ITSELF, BY_NEAR, ROAMING, beyond_name, measure_roaming, roaming
from benchmarks.topology import write_topology
from controller import config


def test_who_moves_is_pinned_nowhere_and_its_peers_are_near_and_far(tmp_path: Path) -> None:
    document, players = roaming()
    write_topology(document, tmp_path)
    topology = config.load(tmp_path).topology
    assert topology is not None
    assert topology.ports[f"t0000/{players.mover['name']}"].host is None
    assert players.near["host"] in players.places
    assert players.far["host"] not in players.places
    assert players.mover["groups"] == players.near["groups"] == players.far["groups"]


@pytest.mark.lab
def test_a_move_is_measured_with_every_kind_of_peer(tmp_path: Path) -> None:
    figures = by_key(measure_roaming(tmp_path, moves=1))
    assert figures[ROAMING, AWAY].value > 0
    assert {(ROAMING, beyond_name(by)) for by in (BY_FAR, BY_NEAR, BY_ITSELF)} == figures.keys() - {(ROAMING, AWAY)}
    assert {goal.name for goal in GOALS if goal.workload == ROAMING} < {name for _, name in figures}
