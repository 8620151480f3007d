"""The engine: owns the topology in force, what is observed of the hosts, and the programs that follow from both.

    files ──reload──►┐                      ┌──► switches.target(dpid, program)
                     ├─► one thread, in order┤
    switches ─events►┘                      └──► status

All changes pass through one queue and one thread, so that two edits, or an edit and a reconnect, never meet halfway.
Intent and observation are kept apart: a refused file changes neither. Events that wait together are handled
together: ten switches that connect at once cost one compilation.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from controller import config
from controller.config.expectations import tell_failure
from controller.graph.fabric import Fabric
from controller.model.entities import HostKind, Topology
from controller.model.ids import Exhausted, integration_dpid, physical_dpid, tunnel_dpid
from controller.model.names import physical_bridge
from controller.observed import Observed
from controller.pipeline.compile import assumed_bindings, compile_host, pipeline
from controller.pipeline.flow import Program, Uncompilable
from controller.pipeline.limits import check_keys, check_length
from controller.pipeline.numbers import Numbers, allocate_numbers
from controller.pipeline.tables import Bridge
from controller.pipeline.view import Shared
from controller.proof.policy import run_tests
from controller.switch.status import State, SwitchStatus

LOG = logging.getLogger(__name__)

# A port without a host is wherever its interface shows up. A controller that starts has not seen that yet, and a program
# without the port would cut it off; so programs wait for the hosts to tell, but not for long for one that is down.
GATHER_S = 10.0


class Switches(Protocol):
    """What the engine needs of the switches."""

    def target(self, dpid: int, program: Program) -> None:
        """Make the switch hold this program; never blocks, the latest wins."""

    def statuses(self) -> Mapping[int, SwitchStatus]:
        """Return what is known of every switch that has been seen."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a load: whether it is in force, and every problem as text for people."""

    accepted: bool
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seat:
    """What a datapath id stands for."""

    host: str
    bridge: str
    kind: Bridge


def seats(topology: Topology) -> dict[int, Seat]:
    """Return the datapath ids that a topology knows."""
    found: dict[int, Seat] = {}
    for host in topology.hosts.values():
        if host.kind is HostKind.OVS:
            found[integration_dpid(host.id)] = Seat(host.name, host.integration_bridge, Bridge.INTEGRATION)
            found[tunnel_dpid(host.id)] = Seat(host.name, host.tunnel_bridge, Bridge.TUNNEL)
            for physical in topology.physical_networks.values():
                if host.name in physical.hosts:
                    dpid = physical_dpid(host.id, physical.name)
                    found[dpid] = Seat(host.name, physical_bridge(physical.name), Bridge.PHYSICAL)
    return found


class Engine:
    """Keeps every known switch at the program that the files and the observed interfaces ask for.

    `folder` is the topology's folder. `load` must have accepted it before `start`; `attach` names the switches.
    The methods of an observer (`connected`, `disconnected`, `changed`) may be called from any thread and never block.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cache = config.Cache()
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._switches: Switches | None = None
        self._topology: Topology | None = None
        self._seats: dict[int, Seat] = {}
        self._numbers = Numbers()
        self._observed = Observed()
        self._location: dict[str, str] = {}
        self._shared: Shared | None = None
        self._compiled: dict[str, list[Program]] = {}  # what the last reload compiled and nobody has pushed yet
        self._report = Report(False, ())
        self._gather_until = 0.0
        self._held: set[str] = set()  # hosts whose programs wait until it is known where ports are
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # What others call, from any thread.

    def load(self) -> Report:
        """Read the files for the first time, in the caller's thread, before `start`."""
        self._reload()
        return self._report

    def attach(self, switches: Switches) -> None:
        """Say who talks to the switches."""
        self._switches = switches

    def start(self) -> None:
        """Begin to handle events."""
        self._gather_until = time.monotonic() + GATHER_S
        self._thread.start()

    def close(self, deadline_s: float) -> None:
        """Stop handling events; what the switches hold stays."""
        self._events.put(("stop", None))
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    def reload(self, deadline_s: float = 60.0) -> Report:
        """Read the files again and return what became of it; raise TimeoutError after the deadline."""
        done = threading.Event()
        self._events.put(("reload", done))
        if not done.wait(deadline_s):
            raise TimeoutError(f"the reload took longer than {deadline_s:.0f} s")
        return self._report

    def reload_soon(self) -> None:
        """Read the files again, without waiting for it."""
        self._events.put(("reload", None))

    def is_known(self, dpid: int) -> bool:
        """Return whether the topology has a bridge with this datapath id."""
        return dpid in self._seats

    def host_of(self, dpid: int) -> str | None:
        """Return the name of the host that a datapath id belongs to; None for one that the topology does not know."""
        seat = self._seats.get(dpid)
        return seat.host if seat else None

    def table_name(self, dpid: int, table: int) -> str:
        """Return the name of a table of the bridge with this datapath id."""
        seat = self._seats.get(dpid)
        return pipeline().table_name(seat.kind, table) if seat else str(table)

    def held(self, dpid: int, notes: Sequence[str]) -> None:
        """Hear what stands in a switch's ledger."""

    def connected(self, dpid: int, ports: Mapping[str, int]) -> None:
        """Note that a switch is there with these interfaces."""
        self._events.put(("connected", (dpid, ports)))

    def disconnected(self, dpid: int) -> None:
        """Note that a switch is gone. Its ports stay where they were: the data plane outlives the connection."""

    def changed(self, status: SwitchStatus) -> None:
        """Log a switch's new state."""
        seat = self._seats.get(status.dpid)
        name = f"{seat.bridge}@{seat.host}" if seat else f"{status.dpid:016x}"
        if status.state is State.DEGRADED:
            LOG.error("%s is degraded: %s", name, status.last_error)
        elif status.state is State.IN_SYNC:
            counts = (status.flows_installed, status.added, status.modified, status.deleted)
            LOG.info("%s is in sync: %d flows, +%d ~%d -%d", name, *counts)
        else:
            LOG.info("%s is %s", name, status.state)

    def status(self) -> dict[str, Any]:
        """Return what `weft status` shows."""
        topology, seats_now = self._topology, self._seats
        known = self._switches.statuses() if self._switches else {}
        switches = [self._switch_status(dpid, seat, known.get(dpid)) for dpid, seat in seats_now.items()]
        switches.sort(key=lambda switch: (switch["host"], switch["bridge"]))
        unbound = self._observed.unplugged(topology) if topology else []
        return {
            "topology": topology.name if topology else None,
            "folder": str(self.folder.absolute()),  # Who asks may stand elsewhere.
            "accepted": self._report.accepted,
            "refused": [] if self._report.accepted else list(self._report.problems),
            "in_sync": self._report.accepted and all(switch["state"] == State.IN_SYNC for switch in switches),
            "switches": switches,
            "ports": {
                "bound": len(topology.ports) - len(unbound) if topology else 0,
                "unbound": unbound,
                "refused": self._observed.misplaced(topology) if topology else [],
            },
        }

    @staticmethod
    def _switch_status(dpid: int, seat: Seat, status: SwitchStatus | None) -> dict[str, Any]:
        return {
            "host": seat.host,
            "bridge": seat.bridge,
            "dpid": f"{dpid:016x}",
            "state": status.state.value if status else State.DOWN.value,
            "peer": status.peer if status else "",
            "flows_desired": status.flows_desired if status else 0,
            "flows_installed": status.flows_installed if status else 0,
            "added": status.added if status else 0,
            "modified": status.modified if status else 0,
            "deleted": status.deleted if status else 0,
            "last_error": status.last_error if status else None,
            "sync_seconds": status.sync_seconds if status else None,
        }

    # The engine's own thread.

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if any(what == "stop" for what, _ in batch):
                return
            try:
                self._handle(batch)
            except Exception:
                # A defect of ours must not end the thread that keeps the switches right; what was pushed stays.
                LOG.exception("the engine failed to handle %s", sorted({what for what, _ in batch}))
            for what, detail in batch:
                if what == "reload" and detail is not None:
                    detail.set()

    def _next_batch(self) -> list[tuple[str, Any]]:
        """Wait for events and return all that wait together; none once the time to gather is over."""
        patience = max(0.0, self._gather_until - time.monotonic()) if self._held else None
        try:
            batch = [self._events.get(timeout=patience)]
        except queue.Empty:
            return []
        while not self._events.empty():
            batch.append(self._events.get())
        return batch

    def _handle(self, batch: Iterable[tuple[str, Any]]) -> None:
        stale: set[str] = set()
        reload = False
        for what, detail in batch:
            if what == "reload":
                reload = True
                continue
            dpid, ports = detail
            seat = self._seats.get(dpid)
            if seat is not None:
                self._observed.update(seat.host, seat.bridge, ports, is_integration=seat.kind is Bridge.INTEGRATION)
                self._compiled.pop(seat.host, None)
                stale.add(seat.host)
        before = self._seats
        if reload and self._reload():
            stale.update(seat.host for seat in self._seats.values())
            self._retire(before)
        if self._topology is None:
            return
        location = self._observed.locations(self._topology)
        if location != self._location or self._shared is None:
            self._location = location
            self._shared = Shared(Fabric(self._topology, location))
            self._numbers = allocate_numbers(self._shared.fabric, self._numbers)
            self._compiled.clear()
            stale.update(seat.host for seat in self._seats.values())
        self._held |= stale
        if not self._must_gather(self._topology):
            hosts, self._held = self._held, set()
            self._push(self._shared, hosts)

    def _must_gather(self, topology: Topology) -> bool:
        """Return whether a port may still turn out to be on a host that has not told its interfaces."""
        if time.monotonic() >= self._gather_until:
            return False
        is_sought = any(port.host is None and port.name not in self._location for port in topology.ports.values())
        return is_sought and any(
            seat.kind is Bridge.INTEGRATION and not self._observed.has(seat.host, seat.bridge)
            for seat in self._seats.values()
        )

    def _reload(self) -> bool:
        """Read the files; return whether a new topology is in force."""
        loaded = config.load(self.folder, self._topology, self._cache)
        problems = tuple(config.render(problem) for problem in loaded.problems)
        if loaded.topology is None:
            return self._refuse(problems)
        results = run_tests(loaded.topology)
        failed = tuple(tell_failure(each.test, each.explanation) for each in results if not each.passed)
        if failed:
            return self._refuse(problems + failed)
        if loaded.topology == self._topology:
            # Nothing was meant by it: a file saved as it was, or the watch noticing what a request has loaded.
            self._topology, self._report = loaded.topology, Report(True, problems)
            LOG.info("the files of %s say what is in force already", loaded.topology.name)
            return False
        shared = Shared(Fabric(loaded.topology, self._observed.locations(loaded.topology)))
        try:
            check_keys(shared.fabric)
            numbers = allocate_numbers(shared.fabric, self._numbers)
            compiled = self._compile_ahead(shared, numbers)
        except (Exhausted, Uncompilable) as error:
            return self._refuse((*problems, str(error)))
        self._topology, self._numbers, self._shared = loaded.topology, numbers, shared
        self._location = dict(self._observed.locations(loaded.topology))
        self._seats, self._compiled = seats(loaded.topology), compiled
        self._report = Report(True, problems)
        LOG.info("topology %s is in force: %d ports", loaded.topology.name, len(loaded.topology.ports))
        return True

    def _refuse(self, problems: tuple[str, ...]) -> bool:
        self._report = Report(False, problems)
        if self._topology is not None:  # At the start the caller tells them, and leaves.
            LOG.error("refused, the last good topology stays in force:\n%s", "\n".join(problems))
        return False

    def _compile_ahead(self, shared: Shared, numbers: Numbers) -> dict[str, list[Program]]:
        """Compile every host once, so that nothing that cannot be compiled is ever in force; return what can be pushed."""
        compiled: dict[str, list[Program]] = {}
        for host in filter(shared.fabric.is_programmed, shared.fabric.topology.hosts):
            if self._observed.has(host):
                compiled[host] = compile_host(shared, host, self._observed.bindings(host), numbers)
                check_length(compiled[host])
            else:
                assumed = assumed_bindings(shared.fabric, shared.fabric.topology.hosts[host])
                check_length(compile_host(shared, host, assumed, numbers))
        return compiled

    def _push(self, shared: Shared, hosts: Iterable[str]) -> None:
        for host in sorted(hosts):
            if self._switches is not None and self._observed.has(host):
                try:
                    self._push_host(self._switches, shared, host)
                except Exception:
                    # A defect that one host's ports bring out must not keep the others from their programs.
                    LOG.exception("no program for %s", host)

    def _push_host(self, switches: Switches, shared: Shared, host: str) -> None:
        programs = self._compiled.pop(host, None)
        for program in programs or compile_host(shared, host, self._observed.bindings(host), self._numbers):
            # A bridge that has not told its ports yet may be at work with all of them: what we would compile for it
            # now has none, and would be waiting for it when it connects.
            if self._observed.has(host, program.bridge):
                switches.target(program.dpid, program)

    def _retire(self, before: Mapping[int, Seat]) -> None:
        """Empty the bridges that the topology no longer names: what no file names is closed."""
        for dpid, seat in before.items():
            if dpid not in self._seats and self._switches is not None:
                self._switches.target(dpid, Program(seat.host, seat.bridge, dpid))
