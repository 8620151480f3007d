"""The flows that the example topologies compile to come back from Open vSwitch byte for byte.

What does not, a reconnect would send again and again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller import config
from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Program
from controller.wire import dump, pack
from controller.wire.message import MessageType
from tests.ovs.twin import Twin
from tests.wire.test_against_ovs import EVERYTHING, Wire, held

pytestmark = pytest.mark.ovs

TOPOLOGIES = sorted(path.parent for path in Path(__file__).parents[2].glob("topologies/*/fabric.yaml"))
EVERY_GROUP = (MessageType.GROUP_MOD, pack.group_mod(pack.GroupCommand.DELETE, 0xFFFFFFFC))


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with Twin(tmp_path_factory.mktemp("ovs")) as twin:
        twin.add_bridge("br0")
        connection = Wire(twin.directory / "br0.mgmt")
        yield connection
        connection.close()


def programs(folder: Path) -> list[Program]:
    loaded = config.load(folder)
    assert loaded.topology is not None
    return compile_fabric(loaded.topology)


@pytest.mark.parametrize("folder", TOPOLOGIES, ids=lambda folder: folder.name)
def test_compiled_programs_come_back_as_they_went(wire: Wire, folder: Path) -> None:
    for program in programs(folder):
        groups = program.groups.values()
        additions = [
            (MessageType.GROUP_MOD, pack.group_mod(pack.GroupCommand.ADD, group.id, pack.bucket_bytes(group), kind))
            for group, kind in zip(groups, map(pack.group_type, groups), strict=True)
        ]
        additions += [(MessageType.FLOW_MOD, pack.flow_add(flow)) for flow in program.flows.values()]
        assert wire.bundle(EVERYTHING, EVERY_GROUP, *additions) == []
        assert sorted(wire.flows()) == sorted(map(held, program.flows.values()))
        wanted = [dump.HeldGroup(group.id, pack.group_type(group), pack.bucket_bytes(group)) for group in groups]
        assert sorted(wire.groups()) == sorted(wanted)
