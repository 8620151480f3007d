"""Every packet at a border of what is allowed is judged right, and a lie in the flows does not go unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Program
from controller.pipeline.text import raw_text
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from tests.ovs.fabric import FabricTwin
from tests.ovs.twin import Twin
from tests.proof import samples
from tests.proof.compare import disagreement
from tests.proof.mutants import Mutant, sample
from tests.proof.stories import border_packets, story

pytestmark = pytest.mark.ovs


class Stage(NamedTuple):
    """A running story."""

    oracle: Oracle
    twin: FabricTwin
    programs: list[Program]
    packets: list[Packet]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    topology = story()
    with TemporaryDirectory() as directory, FabricTwin(Path(directory), topology) as twin:
        programs = compile_fabric(topology, bindings=twin.bindings)
        twin.load(programs)
        yield Stage(Oracle(topology), twin, programs, list(border_packets(topology)))


def test_every_packet_at_a_border(stage: Stage) -> None:
    for packet in stage.packets:
        assert disagreement(stage.oracle, stage.twin, packet) is None


def test_a_lie_does_not_go_unnoticed(stage: Stage, request: pytest.FixtureRequest) -> None:
    lies = sample(stage.programs)
    samples.dice(0).shuffle(lies)
    unnoticed = [str(lie) for lie in lies[: request.config.getoption("--mutants")] if not _is_noticed(stage, lie)]
    assert not unnoticed, "\n".join(unnoticed)


def _is_noticed(stage: Stage, lie: Mutant) -> bool:
    """Tell the lie, send packets until one goes wrong, those of the flow's own port and network first, and take it back."""
    words = lie.original.origin.what.split()
    ports = stage.oracle.topology.ports
    packets = sorted(
        stage.packets, key=lambda packet: (packet.source not in words, ports[packet.source].network not in words)
    )
    twin = stage.twin.hosts[lie.program.host]
    _tell(twin, lie)
    try:
        return any(_goes_wrong(stage, packet) for packet in packets)
    finally:
        _take_back(twin, lie)


def _goes_wrong(stage: Stage, packet: Packet) -> bool:
    try:
        return disagreement(stage.oracle, stage.twin, packet) is not None
    except (AssertionError, KeyError, ValueError):  # A loop between hosts, a VTEP that nobody has.
        return True


def _tell(twin: Twin, lie: Mutant) -> None:
    lines = [f"flow delete_strict {_identity(raw_text(lie.original))}"]
    if lie.flow is not None:
        lines.append(f"flow add {raw_text(lie.flow)}")
    twin.install(lie.program.bridge, lines)


def _take_back(twin: Twin, lie: Mutant) -> None:
    lines = [] if lie.flow is None else [f"flow delete_strict {_identity(raw_text(lie.flow))}"]
    twin.install(lie.program.bridge, [*lines, f"flow add {raw_text(lie.original)}"])


def _identity(text: str) -> str:
    return text.partition(",actions=")[0]
