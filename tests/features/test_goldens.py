"""Each feature's flows, as a reviewer reads them: ovs-ofctl's words, tables and ports by name.

`cases/FEATURE/` is a topology; `cases/FEATURE/flows.txt` holds what the feature of that name writes for its hosts, and
`cases/FEATURE/heard.txt`, where there is one, the neighbours that were heard, one a line as switches note them; `drained.txt` the hosts
that are drained. `make goldens` writes the flows anew: the difference in them is the change in network behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller import config
from controller.graph.fabric import Fabric
from controller.model.entities import Topology
from controller.pipeline.compile import assumed_bindings, compile_fabric, pipeline
from controller.pipeline.flow import Program
from controller.pipeline.heard import Neighbour, read_neighbours
from controller.pipeline.tables import Bridge
from controller.pipeline.text import flow_text, group_text, meter_text

CASES = Path(__file__).parent / "cases"


def bridge_kind(topology: Topology, program: Program) -> Bridge:
    host = topology.hosts[program.host]
    kinds = {host.integration_bridge: Bridge.INTEGRATION, host.tunnel_bridge: Bridge.TUNNEL}
    return kinds.get(program.bridge, Bridge.PHYSICAL)


def heard_in(case: str) -> list[Neighbour]:
    """Return the neighbours that a case has besides its files."""
    told = CASES / case / "heard.txt"
    return list(read_neighbours(told.read_text().splitlines())) if told.exists() else []


def drained_in(case: str) -> list[str]:
    """Return the hosts of a case that are drained."""
    told = CASES / case / "drained.txt"
    return told.read_text().split() if told.exists() else []


def written_by(feature: str, topology: Topology) -> Iterator[str]:
    """Yield a feature's flows, groups and meters, bridge by bridge."""
    # A port without `host:` has shown up on the first host.
    location = {port.name: next(iter(topology.hosts)) for port in topology.ports.values() if port.host is None}
    fabric = Fabric(topology, location)
    for program in compile_fabric(topology, location, heard=heard_in(feature), drained=drained_in(feature)):
        ports = assumed_bindings(fabric, topology.hosts[program.host]).ports[program.bridge]
        names = {number: name for name, number in ports.items()}
        kind = bridge_kind(topology, program)

        def table_name(number: int, kind: Bridge = kind) -> str:
            return pipeline().table_name(kind, number)

        flows = [
            (flow.table, -flow.priority, flow_text(flow, table_name=table_name, port_name=names.get), flow)
            for flow in program.flows.values()
            if flow.feature == feature
        ]
        groups = [group for group in program.groups.values() if group.feature == feature]
        meters = [meter for meter in program.meters.values() if meter.feature == feature]
        if not flows and not groups and not meters:
            continue
        yield f"# {program.bridge}@{program.host}\n"
        for meter in sorted(meters, key=lambda meter: meter.id):
            yield f"{meter_text(meter)}\n"
        for group in sorted(groups, key=lambda group: group.id):
            yield f"{group_text(group, table_name=table_name, port_name=names.get)}\n"
        for _, _, text, flow in sorted(flows, key=lambda row: row[:3]):
            yield f"{text}  # {flow.kind}: {flow.origin.what}\n"


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_a_feature_writes_its_golden_flows(case: str, request: pytest.FixtureRequest) -> None:
    loaded = config.load(CASES / case)
    assert loaded.topology is not None, [config.render(problem) for problem in loaded.problems]
    text = "".join(written_by(case, loaded.topology))
    golden = CASES / case / "flows.txt"
    if request.config.getoption("--update-goldens"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_feature_has_a_golden_case() -> None:
    assert {feature.name for feature in pipeline().features} == {path.name for path in CASES.iterdir()}


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_every_kind_of_flow_stands_in_its_golden(case: str) -> None:
    feature = next(feature for feature in pipeline().features if feature.name == case)
    text = (CASES / case / "flows.txt").read_text()
    assert [kind for kind in feature.kinds if f"# {kind}: " not in text] == []
