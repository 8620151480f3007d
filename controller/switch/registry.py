"""All switches by datapath id: who may come, what each shall hold, how each is doing.

    engine ── target, change ─────────► Target ──► Worker ──► Session     one worker and one session a switch
    engine ◄── wait, audit ──────────── Target ◄──────┤
    engine ◄── connected, changed ───── Herald ◄──────┘                   one thread tells the observer

Sessions come and go; targets and statuses stay.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from controller.pipeline.flow import Delta, Flow, Origin, Program
from controller.pipeline.plan import pipeline
from controller.switch import counters
from controller.switch.growth import Watches
from controller.switch.herald import Herald
from controller.switch.repeats import Repeats
from controller.switch.session import NoAnswer, Session, SessionOver
from controller.switch.status import AuditReport, Observer, Reading, State, SwitchStatus, unseen
from controller.switch.sync import Manner, Worker
from controller.switch.target import Target
from controller.switch.words import Words
from controller.wire import dump
from controller.wire.dump import Malformed
from controller.wire.pack import Unpackable, flow_add

LOG = logging.getLogger(__name__)

_OFPPS_LIVE = 1 << 2
_OFPP_MAX = 0xFFFFFF00  # Ports from here on are reserved, among them the bridge's own, LOCAL.

# A connection may have ended without a word to us. When a switch comes that seems to be here already, the one that is here has so
# long to show that it lives; then there are two of them, and the one that works keeps its place.
_SIGN_OF_LIFE_S = 2.0

_READERS = 8  # Switches whose counters are read at the same time.

# No packet reaches it: its flows' notes say which numbers are whose, and what was observed.
_LEDGER_TABLE = pipeline().tables["ledger"].number


class _Switch:
    """What is known of one datapath id."""

    def __init__(self, dpid: int) -> None:
        self.target = Target()
        self.watches = Watches()
        self.status = unseen(dpid, time.monotonic())
        self.session: Session | None = None
        self.introduced: Session | None = None  # The session whose ports the observer is told.

    def current_status(self) -> SwitchStatus:
        """Return the status; a program that the worker has not looked at yet means that the switch is not in sync."""
        if self.status.state is State.IN_SYNC and not self.target.is_reached:
            return replace(self.status, state=State.SYNCING)
        return self.status


class Switches:
    """The switches of the fabric. All methods may be called from any thread; only `wait`, `audit` and `count` wait for switches.

    Args:
        observer: Who is told of connections, ports and states, from one thread.
        host_of: The name of the host that a datapath id belongs to, None for one that may not connect.
        table_name: What a table of a datapath is called, for texts.
        locate: Where an origin stands in the files by now, for texts; lines move while flows stay.
        audit_s: The time between two audits of a switch in seconds, 0 for none but those that are asked for.
        ledger_table: The table whose notes the observer is told.
        on_packet: Is told each packet that a switch sends, by datapath id, in the thread that reads from it: it must not block.
    """

    def __init__(
        self,
        observer: Observer,
        host_of: Callable[[int], str | None],
        table_name: Callable[[int, int], str],
        *,
        locate: Callable[[Origin], Origin] = lambda origin: origin,
        audit_s: float = 60.0,
        ledger_table: int = _LEDGER_TABLE,
        on_packet: Callable[[int, bytes], None] = lambda _dpid, _frame: None,
    ) -> None:
        self._host_of = host_of
        self._table_name = table_name
        self._locate = locate
        self._on_packet = on_packet
        self._manner = Manner(self._publish, self._introduce, self._count, ledger_table, audit_s)
        self._lock = threading.Lock()
        self._switches: dict[int, _Switch] = {}
        self._sessions: set[Session] = set()
        self._is_closed = False
        self._repeats = Repeats()
        self._herald = Herald(observer)

    # What the engine calls.

    def target(self, dpid: int, program: Program) -> None:
        """Make the switch hold this program, now or when it connects; what it holds is found out by a dump.

        The program stays the caller's, who may change it in place and tells each change by `change`.
        """
        with self._lock:
            switch = self._switch(dpid)
            session = switch.session
            if session is None:
                switch.status = replace(switch.status, flows_desired=len(program.flows))
        if session is not None and (complaint := self._impostor(session)) is not None:
            # The files give the datapath id to another host than when it connected.
            session.end(complaint)
        switch.target.set(program)

    def change(self, dpid: int, delta: Delta) -> int:
        """Send what has just been done to the switch's program, in one bundle with other deltas that wait. Return the version.

        Raises LookupError if the switch was never given a program.
        """
        # Once the first switch is at work there are others beside us on the processor: what is to be packed is packed before.
        for flow in delta.puts.values():
            with contextlib.suppress(Unpackable):  # Its worker says so.
                flow_add(flow)
        with self._lock:
            switch = self._switch(dpid)
        return switch.target.change(delta)

    def wait(self, versions: Mapping[int, int], deadline_s: float) -> set[int]:
        """Wait until switches have committed these versions, by datapath id, for so many seconds; return those that have not.

        Those that have refused (their status says what) and those that are not connected are not waited for.
        """
        until = time.monotonic() + deadline_s
        with self._lock:
            targets = {dpid: self._switch(dpid).target for dpid in versions}
        return {
            dpid
            for dpid, target in targets.items()
            if not target.wait(versions[dpid], max(0.0, until - time.monotonic()))
        }

    def is_in_sync(self, dpid: int) -> bool:
        """Return whether a switch is connected and holds its program, up to deltas under way."""
        with self._lock:
            switch = self._switches.get(dpid)
        return switch is not None and switch.target.is_held

    def send(self, dpid: int, message: bytes) -> bool:
        """Queue an OpenFlow message, say a packet-out, for a switch; its xid becomes 0. Return False if it is not connected."""
        with self._lock:
            switch = self._switches.get(dpid)
            session = None if switch is None else switch.session
        # An error that answers it must find no request of ours.
        return session is not None and session.send(message[:4] + bytes(4) + message[8:])

    def audit(self, dpids: Collection[int] | None, deadline_s: float) -> list[AuditReport]:
        """Ask these switches, or all that have a program, whether they hold it, and repair what is not so.

        Return a report each; `error` says so if a switch is not connected or has not answered within so many seconds.
        """
        until = time.monotonic() + deadline_s
        with self._lock:
            asked = self._switches.keys() if dpids is None else dpids
            targets = {dpid: self._switch(dpid).target for dpid in sorted(asked)}
        tickets = {
            dpid: target.ask_audit()
            for dpid, target in targets.items()
            if target.program is not None or dpids is not None
        }
        reports = []
        for dpid, ticket in tickets.items():
            report = targets[dpid].report(ticket, max(0.0, until - time.monotonic()))
            if report is None:
                is_there = targets[dpid].is_connected
                error = f"no answer within {deadline_s:.0f} s" if is_there else "it is not connected"
                report = AuditReport(dpid, time.monotonic(), error=error)
            reports.append(report)
        return reports

    def count(
        self, dpids: Collection[int], wanted: Callable[[Flow], bool], deadline_s: float, *, meters: bool = False
    ) -> dict[int, Reading]:
        """Ask these switches what those of their flows have counted that are wanted, and their meters if `meters` says so.

        Some are asked at the same time. Who has not answered within so many seconds is told as such, and holds up few others.
        """
        until = time.monotonic() + deadline_s
        with self._lock:
            known = {dpid: self._switch(dpid) for dpid in sorted(dpids)}
        read = partial(_reading, wanted=wanted, until=until, meters=meters)
        with ThreadPoolExecutor(_READERS, "counters") as readers:
            return dict(zip(known, readers.map(read, known.values()), strict=True))

    def statuses(self) -> Mapping[int, SwitchStatus]:
        """Return how each switch is doing that has connected or been given a program."""
        with self._lock:
            return {dpid: switch.current_status() for dpid, switch in self._switches.items()}

    def close(self, deadline_s: float) -> None:
        """End all sessions; what the switches hold stays. Return once they have ended, at the deadline at the latest."""
        deadline = time.monotonic() + deadline_s
        with self._lock:
            self._is_closed = True
            sessions, switches = set(self._sessions), list(self._switches.values())
        for session in sessions:
            session.end("the controller leaves")
        for switch in switches:
            switch.target.end(switch.session)
        self._herald.close(max(0.0, deadline - time.monotonic()))

    # What the app calls, as os-ken's events come in.

    def opened(self, session: Session) -> None:
        """Take a session in whose handshake is done, or end it; never blocks."""
        with self._lock:
            refusal = self._refusal(session)
            status, earlier = (None, None) if refusal else self._admit(session)
        if refusal is not None:
            self._turn_away(session, refusal)
        elif earlier is not None:
            name = f"doubt {session.id:016x}"
            threading.Thread(target=self._challenge, args=(session, earlier), name=name, daemon=True).start()
        elif status is not None:
            self._serve(session, status)

    def _admit(self, session: Session) -> tuple[SwitchStatus | None, Session | None]:
        """Give a session the place of its switch; return the status, or who has the place already. The lock is held."""
        switch = self._switch(session.id)
        if switch.session is not None and not switch.session.is_over:
            return None, switch.session
        switch.session = session
        self._sessions.add(session)
        switch.target.begin(session)
        session.on_error = self._complain
        session.on_packet = self._hand_on
        switch.status = replace(switch.status, state=State.CONNECTED, peer=session.peer, since=time.monotonic())
        return switch.status, None

    def _challenge(self, session: Session, earlier: Session) -> None:
        """Find out whether a switch has come back or a second one claims its datapath id, and end one of the two sessions."""
        if not earlier.is_alive_within(_SIGN_OF_LIFE_S):
            earlier.end(f"the same switch connected again from {session.peer}")
            self.opened(session)
            return
        clash = f"two switches claim this datapath id: {earlier.peer} and {session.peer.rsplit(':', 1)[0]}"
        with self._lock:
            switch = self._switches[session.id]
            if switch.session is earlier:
                switch.status = replace(switch.status, last_error=clash)
        self._turn_away(session, clash)

    def _turn_away(self, session: Session, refusal: str) -> None:
        if self._repeats.is_news((session.id, refusal)):
            LOG.warning("refused %016x at %s: %s", session.id, session.peer, refusal)
        session.end(refusal)

    def _serve(self, session: Session, status: SwitchStatus) -> None:
        LOG.info("%016x connected from %s", session.id, session.peer)
        self._herald.changed(status)
        target = self._switches[session.id].target
        words = Words(session, self._table_name, self._locate)
        worker = Worker(session, target, status, words, self._manner)
        threading.Thread(target=worker.run, name=f"sync {session.id:016x}", daemon=True).start()

    def ports_changed(self, session: Session) -> None:
        """Tell the observer of a switch's ports as they are now."""
        with self._lock:
            switch = self._switches.get(session.id)
            is_due = switch is not None and switch.introduced is session
        if is_due:
            self._tell_ports(session)

    def _tell_ports(self, session: Session) -> None:
        self._herald.connected(session.id, lambda: real_ports(session))
        self._herald.silent(session.id, lambda: silent_ports(session))

    def closed(self, session: Session) -> None:
        """Note that a session has ended."""
        with self._lock:
            self._sessions.discard(session)
            switch = self._switches.get(session.id) if session.id is not None else None
            if switch is None:
                return
            switch.target.end(session)
            if switch.session is not session:
                return
            switch.session = switch.introduced = None
            switch.status = status = replace(switch.status, state=State.DOWN, peer="", since=time.monotonic())
        LOG.warning("%016x at %s is gone: %s", session.id, session.peer, session.reason)
        self._herald.changed(status)
        self._herald.disconnected(session.id)

    def _switch(self, dpid: int) -> _Switch:
        found = self._switches.get(dpid)
        if found is None:
            found = self._switches[dpid] = _Switch(dpid)
        return found

    def _refusal(self, session: Session) -> str | None:
        """Return why a session may not stay; the lock is held."""
        if self._is_closed:
            return "the controller leaves"
        if self._host_of(session.id) is None:
            return "no host of the topology has this datapath id"
        return self._impostor(session)

    def _impostor(self, session: Session) -> str | None:
        """Return what is wrong with a session whose certificate is not that of the datapath id's host."""
        host, names = self._host_of(session.id), session.certificate_names
        if host is None or names is None or host in names:
            return None
        return f"this datapath id belongs to {host}, but its certificate names {', '.join(sorted(names)) or 'nobody'}"

    def _publish(self, session: Session, status: SwitchStatus, is_news: bool) -> None:
        """Keep what a worker reports, unless its session is no longer the switch's."""
        with self._lock:
            switch = self._switches[session.id]
            if switch.session is not session:
                return
            switch.status = status
        if is_news:
            self._herald.changed(status)

    def _count(self, session: Session, frames: Sequence[bytes], flows: Sequence[Flow]) -> None:
        """Note what an audit's dump says of the flows that drop."""
        with self._lock:
            switch = self._switches[session.id]
        counters.note_dump(frames, flows, switch.watches)

    def _introduce(self, session: Session, notes: Sequence[str]) -> None:
        """Tell the observer of a switch that has said what it holds."""
        with self._lock:
            switch = self._switches[session.id]
            if switch.session is not session:
                return
            switch.introduced = session
            self._herald.held(session.id, notes)
            self._tell_ports(session)

    def _hand_on(self, session: Session, frame: bytes) -> None:
        self._on_packet(session.id, frame)

    def _complain(self, session: Session, frame: bytes) -> None:
        """Log an error that answers no request which somebody waits for."""
        error = dump.error(frame)
        if not self._repeats.is_news((session.id, error.type, error.code, error.data)):
            return
        with self._lock:
            switch = self._switches[session.id]
        program = switch.target.program
        flows = program.snapshot()[0] if program else []
        name = f"{program.bridge}@{program.host}" if program else f"{session.id:016x}"
        told = Words(session, self._table_name, self._locate).complaint(error, flows)
        LOG.error("%s refused something: %s", name, told)


def _reading(switch: _Switch, wanted: Callable[[Flow], bool], until: float, *, meters: bool) -> Reading:
    session, program = switch.session, switch.target.program
    if session is None or program is None:
        return Reading(error="it is not connected")
    flows = program.snapshot()[0]
    chosen = [flow for flow in flows if wanted(flow)]
    try:
        return counters.read(session, flows, chosen, switch.watches, meters=meters, until=until)
    except SessionOver:
        return Reading(error="it is not connected")
    except (NoAnswer, Malformed) as problem:
        return Reading(error=str(problem))


def real_ports(session: Session) -> dict[str, int]:
    """Return the session's ports that carry packets, interface name -> number."""
    # os-ken's handler changes the mapping in the reader thread; copying it is one step.
    ports = session.ports.copy()
    return {port.name.decode(errors="replace"): number for number, port in ports.items() if number < _OFPP_MAX}


def silent_ports(session: Session) -> frozenset[str]:
    """Return the names of the session's ports that are not alive: no group of fast failover uses them (OpenFlow 1.4, section 7.2.1)."""
    ports = session.ports.copy()
    dead = (port for number, port in ports.items() if number < _OFPP_MAX and not port.state & _OFPPS_LIVE)
    return frozenset(port.name.decode(errors="replace") for port in dead)
