"""What a user waits for, against real switches: from saved files to every switch in sync, and from one change to the next.

Each clock starts before the files are written and stops when the controller says that every bridge is in sync and
holds as many flows as the files, compiled apart, ask for. What the switches say they hold is compared with that as well.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from benchmarks.measure import Timing
from benchmarks.offline import Messages, load, messages
from benchmarks.packets import Pings, check_policy
from benchmarks.raw import Raw, measure_raw
from benchmarks.site import Held, Late, Site, held, open_site
from benchmarks.topology import tenant_files, write_topology
from benchmarks.workload import Document
from controller.lab.plan import port_commands
from controller.pipeline.compile import compile_fabric

_QUESTIONS = 20


@dataclass(frozen=True, slots=True)
class Cold:
    """All switches from empty to in sync; CPU seconds and memory are the best run's and the greatest."""

    files: Timing
    files_controller_cpu_s: float
    files_switches_cpu_s: float
    process: Timing
    process_answers: Timing
    process_cpu_s: float
    controller_peak_mib: float
    switch_peak_mib: float


@dataclass(frozen=True, slots=True)
class Edits:
    """One thing changed in the files, or plugged, until every switch is in sync again; `asking` is one status request."""

    port_added: Timing
    port_added_noticed: Timing
    port_deleted: Timing
    port_plugged: Timing
    rule_changed: Timing
    asking: Timing


@dataclass(frozen=True, slots=True)
class Restart:
    """The controller killed and started again while two hosts ping each other."""

    in_sync: Timing
    flow_mods: int
    pings_sent: int
    pings_lost: int


@dataclass(frozen=True, slots=True)
class Online:
    """Everything measured against real switches."""

    lab_s: float
    cold: Cold
    edits: Edits
    restart: Restart
    raw: Raw

    @property
    def cold_to_raw(self) -> float:
        """How often the time that the switches need for prepared bytes fits into the cold start."""
        return self.cold.files.best_s / self.raw.all_hosts.best_s


class Measurement:
    """One workload on its site. The spare port is plugged in from the beginning, and named by the files when it is added."""

    def __init__(self, site: Site, document: Document, runs: int) -> None:
        self.site = site
        self.runs = runs
        self.document = document
        self.with_spare = with_spare_port(document)
        self.spare = self.with_spare["ports"][-1]
        self.tenant = str(self.spare["tenant"])
        self.wanted = wanted(document)

    def warm_up(self) -> None:
        """Let every switch meet a controller once."""
        self._connect_without_tenants()
        self.site.touch_switches()
        self.site.stop_controller()

    def cold(self) -> Cold:
        """Measure from saved files with the controller waiting, and from starting the controller on files that are there."""
        files, controller_cpu, switches_cpu, peaks = [], [], [], []
        texts = tenant_files(self.document)
        for _ in range(self.runs):
            self._connect_without_tenants()
            before, daemons_before = self.site.controller_usage(), self._switches_cpu_s()
            start = time.perf_counter()
            self.site.write_tenants(texts)
            self.site.reload()
            files.append(self.site.wait_in_sync(self.wanted) - start)
            after = self.site.controller_usage()
            controller_cpu.append(after.cpu_s - before.cpu_s)
            switches_cpu.append(self._switches_cpu_s() - daemons_before)
            peaks.append(after.peak_mib)
            self._compare_switches()
            self.site.stop_controller()
        switch_peak = max(each.peak_mib for each in self.site.switches_usage())
        process, answers, cpu = self._from_process()
        return Cold(
            Timing.of(files), round(min(controller_cpu), 2), round(min(switches_cpu), 2),
            process, answers, cpu, max(peaks), switch_peak,
        )  # fmt: skip

    def _from_process(self) -> tuple[Timing, Timing, float]:
        process, answers, cpu = [], [], []
        for _ in range(self.runs):
            self.site.empty_switches()
            start = time.perf_counter()
            self.site.start_controller()
            answers.append(self.site.wait_answering() - start)
            process.append(self.site.wait_in_sync(self.wanted) - start)
            cpu.append(self.site.controller_usage().cpu_s)
            self.site.stop_controller()
        return Timing.of(process), Timing.of(answers), round(min(cpu), 2)

    def _connect_without_tenants(self) -> None:
        self.site.empty_switches()
        self.site.write_fabric(self.document)
        self.site.start_controller()
        self.site.wait_in_sync()
        self.site.settle()

    def restart(self) -> Restart:
        """Kill the controller and start it again on switches that hold everything; nothing may be written."""
        self.site.start_controller()
        self.site.wait_in_sync(self.wanted)
        seconds, written, sent, lost = [], 0, 0, 0
        for _ in range(self.runs):
            began = time.monotonic()
            with Pings(self.site.lab, self.document) as pings:
                self.site.kill_controller()
                start = time.perf_counter()
                self.site.start_controller()
                seconds.append(self.site.wait_in_sync(self.wanted) - start)
            told, elapsed = self.site.flow_mods(), time.monotonic() - began
            age = self.site.youngest_flow_s()
            if told == 0 and age < elapsed:
                raise Late(f"a flow is {age:.3f} s old, though the controller says that it wrote none")
            written += told
            sent, lost = sent + pings.sent, lost + pings.lost
        return Restart(Timing.of(seconds), written, sent, lost)

    def edits(self) -> Edits:
        """Change one thing at a time; the controller runs and is in sync."""
        changed = with_rule(self.document)
        added, deleted, plugged, rules = [], [], [], []
        spare_wanted, rule_wanted = wanted(self.with_spare), wanted(changed)
        for _ in range(self.runs):
            added.append(self._edit(self.with_spare, spare_wanted))
            plugged.append(self._replug(spare_wanted))
            deleted.append(self._edit(self.document, self.wanted))
            rules.append(self._edit(changed, rule_wanted))
            rules.append(self._edit(self.document, self.wanted))
        noticed = []
        for _ in range(self.runs):
            noticed.append(self._edit(self.with_spare, spare_wanted, is_told=False))
            self._edit(self.document, self.wanted)
        times = (added, noticed, deleted, plugged, rules, self._questions())
        return Edits(*(Timing.of(each) for each in times))

    def _edit(self, document: Document, goal: Held, *, is_told: bool = True) -> float:
        start = time.perf_counter()
        self.site.save(document, self.tenant)
        if is_told:
            self.site.reload()
        taken = self.site.wait_in_sync(goal) - start
        self.site.settle()
        return taken

    def _replug(self, goal: Held) -> float:
        """Take the spare port's interface out of its switch, and measure putting it back."""
        planned = self.site.lab.plan.ports[f"{self.tenant}/{self.spare['name']}"]
        switch = self.site.lab.switch(planned.host)
        switch.configure([("del-port", planned.bridge, planned.interface)])
        self.site.wait_unbound([planned.name])
        self.site.settle()
        start = time.perf_counter()
        switch.configure(port_commands(planned))
        return self.site.wait_in_sync(goal) - start

    def _questions(self) -> Iterable[float]:
        for _ in range(_QUESTIONS):
            start = time.perf_counter()
            self.site.status()
            yield time.perf_counter() - start

    def _switches_cpu_s(self) -> float:
        return sum(each.cpu_s for each in self.site.switches_usage())

    def _compare_switches(self) -> None:
        found = self.site.count_flows()
        if found != self.wanted:
            raise Late(f"the controller says that all is in sync, but the switches hold {found}, not {self.wanted}")


def measure_online(document: Document, directory: Path, runs: int) -> Online:
    """Bring the workload up on real switches, measure, and take it down again."""
    folder = directory / "topology"
    write_topology(with_spare_port(document), folder)
    start = time.perf_counter()
    with open_site(load(folder), folder, directory / "lab") as site:
        lab_s = time.perf_counter() - start
        measurement = Measurement(site, document, runs)
        measurement.warm_up()
        cold = measurement.cold()
        check_policy(site.lab, document)
        restart = measurement.restart()
        edits = measurement.edits()
        site.stop_controller()
        raw = measure_raw(site.lab, _messages(folder), runs)
    return Online(round(lab_s, 2), cold, edits, restart, raw)


def _messages(folder: Path) -> dict[str, list[Messages]]:
    found: dict[str, list[Messages]] = {}
    for program in compile_fabric(load(folder)):
        found.setdefault(program.host, []).append(messages(program))
    return found


def wanted(document: Document) -> Held:
    """Return how many flows each bridge shall hold for a workload whose ports are all plugged in."""
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        write_topology(document, Path(folder))
        return held(compile_fabric(load(Path(folder))))


def with_spare_port(document: Document) -> Document:
    """Return the workload with one port more, a `web` port in the first network."""
    network = document["networks"][0]["name"]
    members = [port for port in document["ports"] if port["network"] == network]
    spare = members[0] | {
        "name": "spare",
        "mac": "fa:16:3e:ff:ff:ff",
        "ip": str(ip_address(members[-1]["ip"]) + 1),
    }
    return document | {"ports": [*document["ports"], spare]}


def with_rule(document: Document) -> Document:
    """Return the workload with http of the first tenant's `web` open on three ports, which takes a flow more than one."""
    changed = copy.deepcopy(document)
    changed["groups"][0]["rules"][0]["port_max"] += 2
    return changed
