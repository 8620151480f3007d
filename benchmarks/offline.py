"""What the controller does before a switch is asked: read the files, compile, pack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Timing, timed
from controller import config
from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Program
from controller.wire.message import MessageType, in_bundle
from controller.wire.pack import GroupCommand, bucket_bytes, flow_add, group_mod

Messages = list[tuple[MessageType, bytes]]


@dataclass(frozen=True, slots=True)
class Bridge:
    """How much one bridge holds."""

    host: str
    bridge: str
    flows: int
    groups: int
    bundle_bytes: int


@dataclass(frozen=True, slots=True)
class Offline:
    """What the pure part costs: everything of the fabric, from nothing."""

    load: Timing
    compile: Timing
    pack: Timing
    bridges: tuple[Bridge, ...]

    @property
    def flows(self) -> int:
        """The flows of the whole fabric."""
        return sum(bridge.flows for bridge in self.bridges)

    @property
    def flows_per_host(self) -> int:
        """The flows of the host that has most, all its bridges together."""
        return max(self._per_host("flows"))

    @property
    def groups_per_host(self) -> int:
        """The groups of the host that has most."""
        return max(self._per_host("groups"))

    @property
    def bundle_bytes(self) -> int:
        """The bytes that make all switches hold their programs."""
        return sum(bridge.bundle_bytes for bridge in self.bridges)

    def _per_host(self, what: str) -> Iterable[int]:
        hosts: dict[str, int] = {}
        for bridge in self.bridges:
            hosts[bridge.host] = hosts.get(bridge.host, 0) + int(getattr(bridge, what))
        return hosts.values()


def load(folder: Path) -> Topology:
    """Return the topology that a folder holds; what the benchmarks write is accepted, or it is a defect."""
    loaded = config.load(folder)
    if loaded.topology is None:
        raise SystemExit("\n".join(config.render(problem) for problem in loaded.problems[:3]))
    return loaded.topology


def messages(program: Program) -> Messages:
    """Return what makes an empty bridge hold the program, in order and each as the body of a message."""
    made = [
        (MessageType.GROUP_MOD, group_mod(GroupCommand.ADD, group.id, bucket_bytes(group)))
        for group in program.groups.values()
    ]
    made += [(MessageType.FLOW_MOD, flow_add(flow)) for flow in program.flows.values()]
    return made


def measure_offline(folder: Path, runs: int) -> Offline:
    """Measure loading, compiling and packing, each from nothing each time."""
    loading, topology = timed(runs, lambda: folder, load)
    compiling, programs = timed(runs, lambda: topology, compile_fabric)
    # Packed bytes stay with their flow, so that each run needs flows that were never packed.
    packing, packed = timed(runs, lambda: compile_fabric(topology), _pack)
    bridges = tuple(
        Bridge(program.host, program.bridge, len(program.flows), len(program.groups), packed[program.dpid])
        for program in programs
    )
    return Offline(loading, compiling, packing, bridges)


def _pack(programs: Iterable[Program]) -> dict[int, int]:
    """Pack all programs; return how many bytes of a bundle each one is."""
    return {
        program.dpid: sum(len(in_bundle(1, 1, kind, body)) for kind, body in messages(program)) for program in programs
    }
