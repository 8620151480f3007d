"""The engine: owns the topology in force, what is observed of the hosts, and the programs that follow from both.

    files ──reload──► ┐                       ┌──► switches.target(dpid, program)     a switch that came
    switches ─events─►┤ one thread, in order ─┤──► switches.change(dpid, delta)       what changed, phase by phase
    databases ─names─►┘                       └──► status

All changes pass through one queue and one thread, so that two edits, or an edit and a reconnect, never meet halfway.
Intent and observation are kept apart: a refused file changes neither. Events that wait together are handled together.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from controller.engine.delivery import ChangeSet, Delivery, Switches
from controller.engine.gathering import Gathering
from controller.engine.intent import Intent, Report
from controller.engine.mailbox import Mailbox
from controller.engine.moves import Moves
from controller.engine.names import Databases, Names
from controller.engine.outward import Outward
from controller.engine.questions import Questions
from controller.engine.request import Drain, Request, together
from controller.engine.resolver import Resolver
from controller.engine.seats import Seat, seats
from controller.engine.status import status
from controller.graph.queries import part
from controller.model.entities import Port, Topology
from controller.model.names import interface_name
from controller.observed import Observed
from controller.pipeline.flow import Origin, Program
from controller.pipeline.numbers import read_notes, read_places
from controller.pipeline.places import locate
from controller.pipeline.plan import pipeline
from controller.pipeline.programs import REASONS, Programs
from controller.pipeline.tables import Bridge
from controller.switch.status import State, SwitchStatus

LOG = logging.getLogger(__name__)


class Engine(Mailbox):
    """Keeps every known switch at the program that the files and the observed interfaces ask for.

    `folder` is the topology's folder. `load` must have accepted it before `start`; `attach` names the switches.
    What it is told and asked by others comes into its mailbox.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.intent = Intent(folder)
        self.observed = Observed()
        self.programs = Programs()
        self.moves = Moves(self.observed)
        self.names = Names()
        self.gathering = Gathering(self.observed, self.names)
        self.questions = Questions(self)
        self.resolver = Resolver(self)
        self.outward = Outward(self.observed, self.programs)
        self.switches: Switches | None = None
        self.delivery: Delivery | None = None
        self.seats: dict[int, Seat] = {}
        self._given: dict[int, Program] = {}  # What each connected switch was told to hold.
        self.is_following = False  # Something has happened, and what follows from it is not with the switches yet.
        self._arriving: set[int] = set()  # Switches that have come and whose ports are not known yet.
        self._compared: set[int] = set()  # Switches of which it is being found out what they hold.
        self._ports: dict[str, str] = {}  # Interface -> port, of all ports of the files.
        self._former: Topology | None = None  # The last topology before this one that all switches took.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # What others call, from any thread.

    def load(self) -> Report:
        """Read the files for the first time, in the caller's thread, before `start`."""
        self._read(None)
        return self.intent.report

    def attach(self, switches: Switches, databases: Databases | None = None) -> None:
        """Say who talks to the switches, and who reads the hosts' databases."""
        self.switches = switches
        self.names.attach(databases, self.intent.topology)
        self.delivery = Delivery(switches, self.name_of)

    def start(self) -> None:
        """Begin to handle events."""
        self.gathering.begin()
        self._thread.start()
        self.resolver.start()
        self.questions.start()

    def close(self, deadline_s: float) -> None:
        """Stop handling events; what the switches hold stays."""
        self.questions.close(deadline_s)
        self.resolver.close(deadline_s)
        self._events.put(("stop", None))
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    def host_of(self, dpid: int) -> str | None:
        """Return the name of the host that a datapath id belongs to; None for one that the topology does not know."""
        seat = self.seats.get(dpid)
        return seat.host if seat else None

    def port_at(self, interface: str) -> str | None:
        """Return the port of the files that an interface, by its canonical name, is."""
        return self._ports.get(interface)

    def name_of(self, dpid: int) -> str:
        """Return the name of the bridge with a datapath id, or the id where the topology does not know it."""
        seat = self.seats.get(dpid)
        return str(seat) if seat else f"{dpid:016x}"

    def table_name(self, dpid: int, table: int) -> str:
        """Return the name of a table of the bridge with this datapath id."""
        seat = self.seats.get(dpid)
        return pipeline().table_name(seat.kind, table) if seat else str(table)

    def locate(self, origin: Origin) -> Origin:
        """Return an origin with the place that it has in the files by now."""
        topology = self.intent.topology
        return origin if topology is None else locate(topology, origin)

    def changed(self, status: SwitchStatus) -> None:
        """Log a switch's new state."""
        name = self.name_of(status.dpid)
        if status.state is State.DEGRADED:
            LOG.error("%s is degraded: %s", name, status.last_error)
        elif status.state is State.IN_SYNC:
            counts = (status.flows_installed, status.added, status.modified, status.deleted)
            LOG.info("%s is in sync: %d flows, +%d ~%d -%d", name, *counts)
            if status.dpid in self._compared:
                self._compared.discard(status.dpid)
                if status.modified or status.deleted:
                    self._events.put(("corrected", status.dpid))
        else:
            LOG.info("%s is %s", name, status.state)

    def status(self) -> dict[str, Any]:
        """Return what `weft status` shows."""
        return status(self)

    # The engine's own thread.

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if any(what == "stop" for what, _ in batch):
                return
            try:
                if self.delivery is not None:
                    self.delivery.end()
                self._handle(batch)
            except Exception:
                # A defect of ours must not end the thread that keeps the switches right; what was pushed stays.
                LOG.exception("the engine failed to handle %s", sorted({what for what, _ in batch}))
            self.is_following = False
            for _, detail in batch:
                if isinstance(detail, Request):
                    detail.done.set()

    def _next_batch(self) -> list[tuple[str, Any]]:
        """Wait for events and return all that wait together; none once the time to gather is over."""
        # Nothing is announced while programs wait for the hosts.
        announced = self.gathering.deadlines() or self.moves.deadlines() + self.outward.deadlines()
        ends = self.names.deadlines() + announced + (self.delivery.deadlines() if self.delivery else [])
        patience = max(0.0, min(ends) - time.monotonic()) if ends else None
        try:
            batch = [self._events.get(timeout=patience)]
        except queue.Empty:
            return []
        while not self._events.empty():
            batch.append(self._events.get())
        return batch

    def _handle(self, batch: Iterable[tuple[str, Any]]) -> None:
        since = time.monotonic()
        saved: list[Request] = []
        regretted: list[Request] = []
        happened: set[str] = set()
        drains = [detail for _, detail in batch if isinstance(detail, Drain)]
        for what, detail in batch:
            if isinstance(detail, Drain):
                happened.add(what)
                self.outward.drain(detail.host, detail.is_drained)
            elif isinstance(detail, Request):
                (saved if what == "files" else regretted).append(detail)
            else:
                happened.add(what)
                self.is_following = True
                self._note(what, detail)
        if happened or not (saved or regretted):
            change = self._advance(" and ".join(sorted(happened)) or "all hosts have told their interfaces", since)
            for drain in drains:
                drain.change = change
        if saved:
            change = self._advance("files", since) if self._read(together(saved)) else None
            for wish in saved:
                wish.report, wish.change = self.intent.report, change
        if regretted:
            change = self._return(since)
            for wish in regretted:
                wish.report, wish.change = self.intent.report, change

    def _read(self, paths: Collection[Path] | None) -> bool:
        """Read files; return whether a new topology is in force."""
        before = self.intent.topology
        loaded = self.intent.read(paths)
        if loaded is None:
            return False
        try:
            self._enter(loaded.topology, loaded.tenants)
            self.programs.settle()
        except Exception as reason:
            if before is not None:
                self._enter(before, loaded.tenants)
                self.programs.settle()
            if not isinstance(reason, REASONS):
                raise
            self.intent.refuse((*loaded.warnings, str(reason)))
            return False
        if self.delivery is None or not self.delivery.behind():
            self._former = before
        self.intent.accept(loaded)
        if loaded.tenants is None:
            self._meet(loaded.topology)
        return True

    def _enter(self, topology: Topology, tenants: Collection[str] | None) -> None:
        """Compute with a topology; only these tenants differ from the one before (None: anything may)."""
        before = self.programs.topology
        self.programs.enter(topology, tenants)
        everyone = {*topology.tenants, *(before.tenants if before else ())}
        for tenant in everyone if tenants is None else tenants:
            here, there = part(topology, "ports", tenant), part(before, "ports", tenant)
            for name in there.keys() - here.keys():
                if there[name].parent is None:
                    self._ports.pop(interface_name(name), None)
                    self.programs.place(name, None)
            for name, port in here.items():
                known = there.get(name)
                # Where a port is follows from its own name and host, if the hosts are the same: it is where it was.
                # A subport is where its parent is.
                if (tenants is None or known is None or known.host != port.host) and port.parent is None:
                    self._ports[interface_name(name)] = name
                    self._place(port, topology)

    def _meet(self, topology: Topology) -> None:
        """Take the hosts of a topology in force. Bridges that it no longer names are emptied: what no file names is closed."""
        known = seats(topology)
        self.names.watch(topology)
        gone = {dpid: seat for dpid, seat in self.seats.items() if dpid not in known}
        self.seats = known
        for dpid, seat in gone.items():
            if self._given.pop(dpid, None) is not None and self.switches is not None:
                self.switches.target(dpid, Program(seat.host, seat.bridge, dpid))
            is_integration = seat.kind is Bridge.INTEGRATION
            lost = self.observed.update(seat.host, seat.bridge, {}, is_integration=is_integration)
            self._rebind(seat.host, seat.bridge, lost)
        for host in {seat.host for seat in gone.values() if seat.kind is Bridge.INTEGRATION}:
            self.observed.forget(host)

    def _place(self, port: Port, topology: Topology) -> None:
        self.programs.place(port.name, None if port.host else self.observed.host_of(interface_name(port.name)))
        self.moves.note(port, topology)
        if port.host is None:
            self.programs.count_moves(port.name, self.moves.count(port.name))

    # What happened to switches and interfaces.

    def _note(self, what: str, detail: Any) -> None:
        match what:
            case "held":
                self._note_held(*detail)
            case "connected":
                self._note_connected(*detail)
            case "disconnected":
                self._note_disconnected(detail)
            case "silent":
                self._note_silent(*detail)
            case "corrected":
                self._note_corrected(detail)
            case "named":
                self._note_named(*detail)
            case "learned":
                self.resolver.note(*detail)

    def _note_held(self, dpid: int, notes: Sequence[str]) -> None:
        seat = self.seats.get(dpid)
        self._arriving.add(dpid)
        if seat is not None and seat.kind is Bridge.INTEGRATION:
            self.programs.remember(seat.host, read_notes(notes))
            places = read_places(notes)
            self.observed.remember(seat.host, {interface_name(port): moved for port, moved in places.items()})
            self.resolver.held(seat.host, notes)
            self.outward.held(seat.host, notes)

    def _note_connected(self, dpid: int, ports: Mapping[str, int]) -> None:
        seat = self.seats.get(dpid)
        if seat is not None:
            is_integration = seat.kind is Bridge.INTEGRATION
            touched = self.observed.update(seat.host, seat.bridge, ports, is_integration=is_integration)
            if dpid in self._arriving:
                # It waits to be told what to hold, now that its ports are known.
                self._arriving.discard(dpid)
                self._given.pop(dpid, None)
            if is_integration:
                self.outward.came(seat.host)
                self.names.came(self.intent.topology, seat.host)
            self._rebind(seat.host, seat.bridge, touched)

    def _note_disconnected(self, dpid: int) -> None:
        seat = self.seats.get(dpid)
        if seat is not None and seat.kind is Bridge.INTEGRATION:
            self.observed.disconnected(seat.host)
            self.outward.left(seat.host)

    def _note_silent(self, dpid: int, interfaces: frozenset[str]) -> None:
        seat = self.seats.get(dpid)
        if seat is not None and seat.kind is Bridge.INTEGRATION:
            self.outward.silent(seat.host, interfaces)

    def _note_corrected(self, dpid: int) -> None:
        seat = self.seats.get(dpid)
        if seat is not None and seat.kind is Bridge.INTEGRATION:
            self.outward.corrected(seat.host)

    def _note_named(self, host: str, names: Mapping[str, str | None]) -> None:
        touched = self.observed.name(host, names)
        self.names.told(host)
        topology = self.intent.topology
        if topology is not None and host in topology.hosts:
            self._rebind(host, topology.hosts[host].integration_bridge, touched)

    def _rebind(self, host: str, bridge: str, interfaces: Iterable[str]) -> None:
        topology = self.intent.topology
        for interface in interfaces:
            self.programs.bind(host, bridge, interface, self.observed.number(host, bridge, interface))
            name = self._ports.get(interface)
            if name is not None and topology is not None:
                self._place(topology.ports[name], topology)

    # What follows for the switches.

    def _advance(self, cause: str, since: float) -> ChangeSet | None:
        """Bring programs and switches up to what is known now."""
        topology, switches, delivery = self.intent.topology, self.switches, self.delivery
        if topology is None or switches is None or delivery is None:
            return None
        self.resolver.meet(topology)
        self.outward.meet(topology)
        if self.gathering.must_wait(topology, self.seats.values()):
            return None
        self.programs.ask_for(host for host in topology.hosts if self.observed.has(host))
        try:
            self.programs.settle()
        except Exception:
            # A defect that one port brings out must not keep the others from their flows.
            LOG.exception("some flows could not be computed")
        deltas = self.programs.take()
        for dpid, program in self.programs.programs.items():
            # A bridge that has not told its ports yet may be at work with all of them: what we would compile for it
            # now has none, and would be waiting for it when it connects.
            if self._given.get(dpid) is program:
                continue
            deltas.pop(dpid, None)
            delivery.forget(dpid)
            if self.observed.has(program.host, program.bridge) and not self.names.awaits(program.host):
                self._compared.add(dpid)
                switches.target(dpid, program)
                self._given[dpid] = program
        # Files that were taken are a change set, even if no switch has to know.
        is_change = bool(deltas) or cause == "files"
        # Who gives an address up does so when the outside knows who has it now.
        tell = partial(self.outward.follow, topology, switches.send)
        change = delivery.deliver(deltas, cause, since, before_last=tell) if is_change else None
        tell()
        self.moves.announce(topology, switches.send)
        self.resolver.follow()
        return change

    def _return(self, since: float) -> ChangeSet | None:
        """Put the former topology in force again, if some switch has not taken the present one."""
        former, delivery = self._former, self.delivery
        if former is None or delivery is None or former is self.intent.topology or not delivery.behind():
            return None
        troubles = delivery.troubles(delivery.behind())
        self._enter(former, None)
        self.intent.return_to(former, ("rolled back, because not every switch took the files as they are:", *troubles))
        self._meet(former)
        return self._advance("rollback", since)
