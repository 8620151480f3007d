"""From nothing to in sync, and from a killed controller to the next one: what an operator waits for.

A clock starts before the files are written, or the controller is started, and stops when the controller says that every
bridge is in sync. It must then hold as many flows as the same files, compiled apart, ask for; what the switches say they hold
is compared with that as well.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Figure, Unit, median
from benchmarks.measure import Timing
from benchmarks.offline import load
from benchmarks.packets import Pings
from benchmarks.process import Held, Late, held
from benchmarks.site import Site
from benchmarks.topology import tenant_files, write_topology
from benchmarks.workload import Document
from controller.pipeline.compile import compile_fabric

COLD = "cold: files saved until every switch in sync"
RESTART = "restart: controller killed and started until in sync"


@dataclass(frozen=True, slots=True)
class Cold:
    """All switches from empty to in sync; CPU seconds are the best run's, memory is the greatest."""

    files: Timing
    controller_cpu_s: float
    switches_cpu_s: float
    controller_peak_mib: float
    switch_peak_mib: float

    def figures(self, workload: str, limit: Timing) -> Iterator[Figure]:
        """Yield the figures; `limit` is what prepared bytes need into all switches."""
        yield median(workload, COLD, self.files, limit)
        yield Figure(workload, "cold: CPU of the controller", self.controller_cpu_s, Unit.SECONDS)
        yield Figure(workload, "cold: CPU of all ovs-vswitchd", self.switches_cpu_s, Unit.SECONDS)
        yield Figure(workload, "cold: peak memory of the controller", self.controller_peak_mib, Unit.MEBIBYTES)
        yield Figure(workload, "cold: peak memory of one ovs-vswitchd", self.switch_peak_mib, Unit.MEBIBYTES)


@dataclass(frozen=True, slots=True)
class Start:
    """A controller started on files that are there, with empty switches that look for it."""

    in_sync: Timing
    answers: Timing
    cpu_s: float
    peak_mib: float

    def figures(self, workload: str) -> Iterator[Figure]:
        """Yield the figures."""
        yield median(workload, "start: controller started until every switch in sync", self.in_sync)
        yield median(workload, "start: until it answers", self.answers)
        yield Figure(workload, "start: CPU of the controller", self.cpu_s, Unit.SECONDS)
        yield Figure(workload, "start: peak memory of the controller", self.peak_mib, Unit.MEBIBYTES)


@dataclass(frozen=True, slots=True)
class Restart:
    """The controller killed and started again while two hosts ping each other."""

    in_sync: Timing
    flow_mods: int
    pings_sent: int
    pings_lost: int

    def figures(self, workload: str) -> Iterator[Figure]:
        """Yield the figures."""
        yield median(workload, RESTART, self.in_sync)
        yield Figure(workload, "restart: flow-mods", self.flow_mods, Unit.COUNT)
        yield Figure(workload, "restart: pings sent, 100 a second", self.pings_sent, Unit.COUNT)
        yield Figure(workload, "restart: pings lost", self.pings_lost, Unit.COUNT)


def warm_up(site: Site, document: Document) -> None:
    """Let every switch meet a controller once."""
    _connect_without_tenants(site, document)
    site.touch_switches()
    site.controller.stop()


def measure_cold(site: Site, document: Document, runs: int) -> Cold:
    """Measure from saved files with the controller waiting. Afterwards it runs no more, and the files are there."""
    files, controller_cpu, switches_cpu, peaks = [], [], [], []
    texts, goal = tenant_files(document), wanted(document)
    for _ in range(runs):
        _connect_without_tenants(site, document)
        before, switches_before = site.controller.usage(), _switches_cpu_s(site)
        files.append(site.controller.confirm(lambda: site.write_tenants(texts)))
        confirmed = site.controller.change
        site.controller.wait_in_sync(goal)
        if site.controller.change != confirmed:
            raise Late(f"the files were taken in more than one change, {confirmed} to {site.controller.change}")
        after = site.controller.usage()
        controller_cpu.append(after.cpu_s - before.cpu_s)
        switches_cpu.append(_switches_cpu_s(site) - switches_before)
        peaks.append(after.peak_mib)
        site.check_counts()
        site.controller.stop()
    switch_peak = max(each.peak_mib for each in site.switches_usage())
    return Cold(Timing.of(files), round(min(controller_cpu), 2), round(min(switches_cpu), 2), max(peaks), switch_peak)


def measure_start(site: Site, runs: int, goal: Held | None = None) -> Start:
    """Measure from starting the controller on the files that are there. Afterwards it runs, and all is in sync."""
    in_sync, answers, cpu, peaks = [], [], [], []
    for _ in range(runs):
        site.controller.stop()
        site.empty_switches()
        start = time.perf_counter()
        site.controller.start()
        answers.append(site.controller.wait_answering() - start)
        in_sync.append(site.controller.wait_in_sync(goal) - start)
        used = site.controller.usage()
        cpu.append(used.cpu_s)
        peaks.append(used.peak_mib)
    site.check_counts()
    return Start(Timing.of(in_sync), Timing.of(answers), round(min(cpu), 2), max(peaks))


def measure_restart(site: Site, document: Document, runs: int) -> Restart:
    """Kill the controller and start it again on switches that hold everything; nothing may be written."""
    seconds, written, sent, lost = [], 0, 0, 0
    goal = wanted(document)
    for _ in range(runs):
        began = time.monotonic()
        with Pings(site.lab, document) as pings:
            site.controller.kill()
            start = time.perf_counter()
            site.controller.start()
            seconds.append(site.controller.wait_in_sync(goal) - start)
        told, elapsed = site.controller.flow_mods(), time.monotonic() - began
        age = site.youngest_flow_s()
        if told == 0 and age < elapsed:
            raise Late(f"a flow is {age:.3f} s old, though the controller says that it wrote none")
        written += told
        sent, lost = sent + pings.sent, lost + pings.lost
    return Restart(Timing.of(seconds), written, sent, lost)


def wanted(document: Document) -> Held:
    """Return how many flows each bridge shall hold for a workload whose ports are all plugged in."""
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        write_topology(document, Path(folder))
        return held(compile_fabric(load(Path(folder))))


def _connect_without_tenants(site: Site, document: Document) -> None:
    site.empty_switches()
    site.write_fabric(document)
    site.controller.start()
    site.controller.wait_in_sync()


def _switches_cpu_s(site: Site) -> float:
    return sum(each.cpu_s for each in site.switches_usage())
