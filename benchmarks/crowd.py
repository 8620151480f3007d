"""Five hundred switches on one controller: what they cost while nothing happens, and one change to all of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figure import Figure, Unit, median
from benchmarks.measure import Timing
from benchmarks.offline import load
from benchmarks.process import Controller, Late
from benchmarks.simulation import Simulation, described
from benchmarks.topology import write_topology
from benchmarks.variants import places, texts, with_spares
from benchmarks.workload import Size, generate

_SETTLE_S = 2.0


def measure_crowd(size: Size, directory: Path, edits: int, idle_s: float = 20.0) -> Iterator[Figure]:
    """Measure a workload all of whose switches are simulated; every port is every host's business there."""
    document = generate(size)
    hosts = [host["name"] for host in document["hosts"]]
    (place,) = places(document, hosts)
    folder = directory / "topology"
    write_topology(with_spares(document, [place]), folder)
    switches = described(load(folder), hosts)
    write_topology(document, folder)
    listen = f"127.0.0.1:{free_port()}"
    controller = Controller(folder, listen, directory)
    with Simulation(listen, switches) as simulation:
        try:
            start = time.perf_counter()
            controller.start()
            yield Figure("crowd", "switches", len(simulation), Unit.COUNT)
            yield Figure("crowd", "started until all in sync", controller.wait_in_sync() - start, Unit.SECONDS)
            time.sleep(_SETTLE_S)
            first, rest = _percent(controller, idle_s), _percent(controller, 2 * idle_s)
            yield Figure("crowd", "idle, of a core", first, Unit.PERCENT)
            yield Figure("crowd", "idle three times as long, of a core", (first + 2 * rest) / 3, Unit.PERCENT)
            state = texts(document, place)
            path = folder / "tenants" / f"{place.tenant}.yaml"
            seconds = []
            for number in range(edits):
                text = state.base if number % 2 else state.one_on_each
                before = simulation.commits()
                seconds.append(controller.confirm(lambda text=text: _replace(path, text)))  # type: ignore[misc]
                behind = sum(count <= before[dpid] for dpid, count in simulation.commits().items())
                if behind:
                    raise Late(f"{behind} of {len(simulation)} switches were not told of a change that concerns all")
            yield median("crowd", "one change to all switches", Timing.of(seconds))
            used = controller.usage()
            yield Figure("crowd", "peak memory of the controller", used.peak_mib, Unit.MEBIBYTES)
        finally:
            controller.close()


def _percent(controller: Controller, seconds: float) -> float:
    before, start = controller.usage().cpu_s, time.perf_counter()
    time.sleep(seconds)
    return 100 * (controller.usage().cpu_s - before) / (time.perf_counter() - start)


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def free_port() -> int:
    """Return a TCP port of this machine that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
