"""Bridges tell their ports one after the other; what one is to hold does not wait for another's, or it would change a moment later."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from controller import config
from controller.graph.fabric import Fabric
from controller.pipeline.compile import assumed_bindings, compile_fabric
from controller.pipeline.flow import Bindings, Program
from tests.features.test_goldens import CASES, drained_in, heard_in


def held(programs: Iterable[Program], bridge: str) -> set[tuple[str, str, object, object]]:
    """Return what the bridges of this name hold, comparable by value."""
    found: set[tuple[str, str, object, object]] = set()
    for program in programs:
        if program.bridge == bridge:
            found.update((program.host, flow.kind, key, flow.effect) for key, flow in program.flows.items())
            found.update((program.host, "group", key, group.effect) for key, group in program.groups.items())
            found.update((program.host, "meter", key, meter.effect) for key, meter in program.meters.items())
    return found


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_what_a_bridge_holds_follows_from_its_own_ports(case: str) -> None:
    topology = config.load(CASES / case).topology
    assert topology is not None
    location = {port.name: next(iter(topology.hosts)) for port in topology.ports.values() if port.host is None}
    fabric, drained, heard = Fabric(topology, location), drained_in(case), heard_in(case)
    ports = {name: assumed_bindings(fabric, host).ports for name, host in topology.hosts.items()}
    whole = compile_fabric(topology, location, heard=heard, drained=drained)
    for bridge in {program.bridge for program in whole}:
        told = {
            host: Bindings({name: its for name, its in mine.items() if name == bridge}) for host, mine in ports.items()
        }
        alone = compile_fabric(topology, location, told, heard=heard, drained=drained)
        assert held(alone, bridge) == held(whole, bridge), bridge
