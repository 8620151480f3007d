"""What the controller does before a switch is asked: read the files, compile, pack.

`python -m benchmarks.offline DIR` does it once, from nothing, on one core, and prints `{"seconds": ..., "peak_mib": ..., ...}`.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Figure, Unit, median
from benchmarks.measure import Timing, timed, usage
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

    def figures(self, workload: str) -> Iterator[Figure]:
        """Yield the figures."""
        yield median(workload, "read the files", self.load)
        yield median(workload, "compile", self.compile)
        yield median(workload, "pack", self.pack)
        yield Figure(workload, "flows a host, at most", self.flows_per_host, Unit.COUNT)
        yield Figure(workload, "groups a host, at most", self.groups_per_host, Unit.COUNT)
        yield Figure(workload, "bytes to all switches", self.bundle_bytes / 2**20, Unit.MEBIBYTES)

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


def alone(folder: Path) -> dict[str, float]:
    """Return what it takes a process that does nothing else to load, compile and pack a folder, once, on one core."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.offline", str(folder)], stdout=subprocess.PIPE, text=True, check=True
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def measure_alone(workload: str, folder: Path) -> Iterator[Figure]:
    """Yield what `alone` tells of a folder."""
    told = alone(folder)
    yield Figure(workload, "load, compile and pack, one core", told["seconds"], Unit.SECONDS)
    yield Figure(workload, "load, compile and pack: peak memory", told["peak_mib"], Unit.MEBIBYTES)
    yield Figure(workload, "read the files", told["load"], Unit.SECONDS)
    yield Figure(workload, "compile", told["compile"], Unit.SECONDS)
    yield Figure(workload, "pack", told["pack"], Unit.SECONDS)
    yield Figure(workload, "flows of the fabric", told["flows"], Unit.COUNT)
    yield Figure(workload, "flows a host, at most", told["flows_per_host"], Unit.COUNT)


def _alone(folder: Path) -> dict[str, float]:
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    collect_seldom()
    start = time.perf_counter()
    topology = load(folder)
    loaded, cpu_before = time.perf_counter(), time.process_time()
    programs = compile_fabric(topology)
    compiled, cpu_after = time.perf_counter(), time.process_time()
    for program in programs:
        for flow in program.flows.values():
            flow_add(flow)
        for group in program.groups.values():
            bucket_bytes(group)
    packed = time.perf_counter()
    hosts: dict[str, int] = {}
    for program in programs:
        hosts[program.host] = hosts.get(program.host, 0) + len(program.flows)
    return {
        "seconds": packed - start,
        "load": loaded - start,
        "compile": compiled - loaded,
        "compile_cpu": cpu_after - cpu_before,
        "pack": packed - compiled,
        "peak_mib": usage(os.getpid()).peak_mib,
        "flows": sum(hosts.values()),
        "flows_per_host": max(hosts.values()),
    }


def collect_seldom() -> None:
    """Look for garbage cycles as seldom as the controller does (`controller.manager`)."""
    gc.set_threshold(100_000, 50, 10)


if __name__ == "__main__":
    print(json.dumps(_alone(Path(sys.argv[1]))))
