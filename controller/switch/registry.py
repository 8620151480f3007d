"""All switches by datapath id: who may come, what each shall hold, how each is doing.

    engine ── target(dpid, program) ──► Target ──► Worker ──► Session     one worker and one session a switch
    engine ◄── connected, changed ───── Herald ◄──────┘                   one thread tells the observer

Sessions come and go; targets and statuses stay.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from controller.pipeline.flow import Program
from controller.switch.herald import Herald
from controller.switch.repeats import Repeats
from controller.switch.session import Session
from controller.switch.status import Observer, State, SwitchStatus, unseen
from controller.switch.sync import Worker
from controller.switch.target import Target

LOG = logging.getLogger(__name__)

_OFPP_MAX = 0xFFFFFF00  # Ports from here on are reserved, among them the bridge's own, LOCAL.

# Two switches with one datapath id throw each other out in turn. Whoever comes within this time of such a change is the second.
_CLASH_S = 30.0


class _Switch:
    """What is known of one datapath id."""

    def __init__(self, dpid: int) -> None:
        self.target = Target()
        self.status = unseen(dpid, time.monotonic())
        self.session: Session | None = None
        self.taken_over = -_CLASH_S  # When a living session was last replaced by another.

    def current_status(self) -> SwitchStatus:
        """Return the status; a program that the worker has not looked at yet means that the switch is not in sync."""
        if self.status.state is State.IN_SYNC and not self.target.is_reached:
            return replace(self.status, state=State.SYNCING)
        return self.status


class Switches:
    """The switches of the fabric. All methods may be called from any thread; none waits for a switch.

    Args:
        observer: Who is told of connections, ports and states, from one thread.
        host_of: The name of the host that a datapath id belongs to, None for one that may not connect.
        table_name: What a table of a datapath is called, for error texts.
    """

    def __init__(
        self, observer: Observer, host_of: Callable[[int], str | None], table_name: Callable[[int, int], str]
    ) -> None:
        self._host_of = host_of
        self._table_name = table_name
        self._lock = threading.Lock()
        self._switches: dict[int, _Switch] = {}
        self._sessions: set[Session] = set()
        self._is_closed = False
        self._repeats = Repeats()
        self._herald = Herald(observer)

    # What the engine calls.

    def target(self, dpid: int, program: Program) -> None:
        """Make the switch hold this program, now or when it connects; the latest wins. It must not be changed afterwards."""
        with self._lock:
            switch = self._switch(dpid)
            if switch.session is None:
                switch.status = replace(switch.status, flows_desired=len(program.flows))
        switch.target.set(program)

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
            switch.target.wake()
        self._herald.close(max(0.0, deadline - time.monotonic()))

    # What the app calls, as os-ken's events come in.

    def opened(self, session: Session) -> None:
        """Take a session in whose handshake is done, or end it."""
        with self._lock:
            refusal = self._refusal(session)
            if refusal is None:
                switch = self._switch(session.id)
                earlier, switch.session = switch.session, session
                self._sessions.add(session)
                if earlier is not None:
                    switch.taken_over = time.monotonic()
                    earlier.end(f"the same switch connected again from {session.peer}")
                status = replace(switch.status, state=State.CONNECTED, peer=session.peer, since=time.monotonic())
                switch.status = status
        if refusal is not None:
            if self._repeats.is_news((session.id, refusal)):
                LOG.warning("refused %016x at %s: %s", session.id, session.peer, refusal)
            session.end(refusal)
            return
        LOG.info("%016x connected from %s", session.id, session.peer)
        self._herald.changed(status)
        self._herald.connected(session.id, real_ports(session))
        worker = Worker(session, switch.target, status, self._publish, self._table_name)
        threading.Thread(target=worker.run, name=f"sync {session.id:016x}", daemon=True).start()

    def ports_changed(self, session: Session) -> None:
        """Tell the observer of a switch's ports as they are now."""
        if self._is_current(session):
            self._herald.connected(session.id, real_ports(session))

    def closed(self, session: Session) -> None:
        """Note that a session has ended."""
        with self._lock:
            self._sessions.discard(session)
            switch = self._switches.get(session.id) if session.id is not None else None
            if switch is None:
                return
            switch.target.wake()
            if switch.session is not session:
                return
            switch.session = None
            switch.status = status = replace(switch.status, state=State.DOWN, peer="", since=time.monotonic())
        LOG.warning("%016x at %s is gone: %s", session.id, session.peer, session.reason)
        self._herald.changed(status)
        self._herald.disconnected(session.id)

    def _switch(self, dpid: int) -> _Switch:
        return self._switches.setdefault(dpid, _Switch(dpid))

    def _is_current(self, session: Session) -> bool:
        with self._lock:
            switch = self._switches.get(session.id)
            return switch is not None and switch.session is session

    def _refusal(self, session: Session) -> str | None:
        """Return why a session may not stay; the lock is held."""
        if self._is_closed:
            return "the controller leaves"
        host = self._host_of(session.id)
        if host is None:
            return "no host of the topology has this datapath id"
        if session.certificate_names is not None and host not in session.certificate_names:
            shown = ", ".join(sorted(session.certificate_names)) or "nobody"
            return f"this datapath id belongs to {host}, but its certificate names {shown}"
        switch = self._switches.get(session.id)
        if switch is None or switch.session is None or switch.session.is_over:
            return None
        if time.monotonic() - switch.taken_over >= _CLASH_S:
            return None
        clash = f"two switches claim this datapath id: {switch.session.peer} and {session.peer.rsplit(':', 1)[0]}"
        switch.status = replace(switch.status, last_error=clash)
        return clash

    def _publish(self, session: Session, status: SwitchStatus) -> None:
        """Keep what a worker reports, unless its session is no longer the switch's."""
        with self._lock:
            switch = self._switches[session.id]
            if switch.session is not session:
                return
            switch.status = status
        self._herald.changed(status)


def real_ports(session: Session) -> dict[str, int]:
    """Return the session's ports that carry packets, interface name -> number."""
    # os-ken's handler changes the mapping in the reader thread; copying it is one step.
    ports = session.ports.copy()
    return {port.name.decode(errors="replace"): number for number, port in ports.items() if number < _OFPP_MAX}
