"""What a switch shall hold, how far it is, and who waits for it: the engine on one side, the session's worker on the other.

    set(program) ──────────────┐                       ┌──► Order: dump and compare     after set, refuse, a new session
    change(delta) ─► version ──┴─► one pending delta ──┤──► Order: this delta           else
    ask_audit() ─► ticket ─────────────────────────────┴──► Order: audit                when nothing else is to be done
                                                               │
    wait(version), report(ticket) ◄── confirm, refuse, audited ┘

A version is a number of this target alone; each set and change makes the next. It is confirmed once the switch has committed it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from controller.pipeline.flow import Delta, Program
from controller.switch.mirror import merge, what_matters
from controller.switch.status import AuditReport


class Work(Enum):
    """What a worker is told to do."""

    SYNC = auto()  # Ask the switch what it holds, and send what is missing.
    CHANGE = auto()  # Send a delta.
    AUDIT = auto()  # Ask the switch whether it holds what it was sent.


@dataclass(frozen=True, slots=True)
class Order:
    """A piece of work: the version that is reached by a change, and the ticket that an audit answers."""

    work: Work
    program: Program
    version: int
    delta: Delta
    ticket: int


@dataclass(frozen=True, slots=True)
class Retry:
    """When a switch that has refused is tried again, in monotonic time: `at`, and from `new_at` if there is something new."""

    at: float
    new_at: float


class Target:
    """One switch's goal. It outlives sessions: a switch that comes back is brought to the latest.

    A session is any object: what one reports after it was replaced by another is not heard.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._to_do = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)
        self._session: object | None = None
        self._program: Program | None = None
        self._is_due = False  # Whether the program was given since the session began.
        self._pending = Delta()
        self._version = 0  # The latest,
        self._tried = 0  # the latest that a worker took up,
        self._confirmed = 0  # the latest that the switch committed,
        self._refused = 0  # and the latest that it refused.
        self._is_tracked = False  # Whether `_pending` leads from what the worker took up last to the latest.
        self._is_held = False  # Whether what the worker took up last was committed.
        self._asked = self._answered = 0
        self._report: AuditReport | None = None

    # The engine's side.

    @property
    def program(self) -> Program | None:
        """The program, None before the first."""
        return self._program

    @property
    def is_connected(self) -> bool:
        """Whether a session serves this target."""
        return self._session is not None

    @property
    def is_reached(self) -> bool:
        """Whether the switch has committed the latest version."""
        return self._confirmed == self._version

    @property
    def is_held(self) -> bool:
        """Whether a switch is connected that holds the program, up to deltas under way."""
        return self._session is not None and self._is_held

    def set(self, program: Program) -> None:
        """Give the switch another program, or the same one anew; what it holds will be asked."""
        with self._lock:
            self._program = program
            self._is_due = True
            self._version += 1
            self._forget()
            self._to_do.notify_all()

    def change(self, delta: Delta) -> int:
        """Take what has just been done to the program. Return the version; raise LookupError if there is no program."""
        mine = what_matters(delta)
        with self._lock:
            if self._program is None:
                raise LookupError("a delta needs a program")
            self._version += 1
            if not self._is_tracked:
                # The next sync takes the program as it is then.
                self._to_do.notify_all()
            elif mine or not self._is_held or self._confirmed != self._version - 1:
                merge(self._pending, mine)
                self._to_do.notify_all()
            else:
                # There is nothing to send and nothing under way.
                self._confirmed = self._tried = self._version
            return self._version

    def wait(self, version: int, timeout_s: float) -> bool:
        """Wait until a version is confirmed; return whether it is. One that is refused, or whose switch is away, is not waited for."""
        with self._lock:
            self._news.wait_for(
                lambda: max(self._confirmed, self._refused) >= version or self._session is None, timeout_s
            )
            return self._confirmed >= version

    def ask_audit(self) -> int:
        """Ask for an audit; return its ticket."""
        with self._lock:
            self._asked += 1
            self._to_do.notify_all()
            return self._asked

    def report(self, ticket: int, timeout_s: float) -> AuditReport | None:
        """Wait for the audit of a ticket; return None if the time is over or the switch is away."""
        with self._lock:
            self._news.wait_for(lambda: self._answered >= ticket or self._session is None, timeout_s)
            return self._report if self._answered >= ticket else None

    # The session's side.

    def begin(self, session: object) -> None:
        """Note that a session serves this target from now on. Its worker waits until a program is set.

        What was set before knows the ports of the former connection: numbers may have changed since.
        """
        with self._lock:
            self._session = session
            self._is_due = False
            self._forget()
            self._to_do.notify_all()

    def end(self, session: object) -> None:
        """Note that a session is over; let its worker and whoever waits for it go."""
        with self._lock:
            if self._session is session:
                self._session = None
                self._forget()
                self._news.notify_all()
            self._to_do.notify_all()

    def next(self, session: object, retry: Retry | None, audit_at: float | None) -> Order | None:
        """Wait for work; return None once the session is over.

        `retry` is when to try again after a refusal, `audit_at` the monotonic time of the next audit that nobody has to ask
        for, None for never.
        """
        with self._lock:
            while self._session is session:
                now = time.monotonic()
                order = self._order(now, retry, audit_at)
                if order is not None:
                    return order
                wake_at = audit_at if self._is_tracked else self._retry_at(retry)
                self._to_do.wait(max(0.0, wake_at - now) if self._is_due and wake_at is not None else None)
            return None

    def await_program(self, session: object, until: float) -> bool:
        """Wait until a monotonic time for the program to be set; return whether it is."""
        with self._lock:
            self._to_do.wait_for(lambda: self._is_due or self._session is not session, until - time.monotonic())
            return self._is_due

    def take_up(self, session: object) -> tuple[Program, int]:
        """Return the program and its version; deltas are pending from here on. Raise LookupError if there is no program."""
        with self._lock:
            if self._program is None:
                raise LookupError("nothing is to be held")
            if self._session is session:
                self._is_tracked, self._is_held = True, False
                self._pending = Delta()
                self._tried = self._version
            return self._program, self._version

    def confirm(self, session: object, version: int) -> None:
        """Note that the switch has committed a version."""

        def note() -> None:
            self._confirmed = version
            self._is_held = self._is_tracked

        self._note(session, note)

    def refuse(self, session: object) -> None:
        """Note that the switch has refused what was taken up last; what it holds will be asked."""

        def note() -> None:
            self._refused = self._tried
            self._forget()

        self._note(session, note)

    def audited(self, session: object, ticket: int, report: AuditReport) -> None:
        """Note the outcome of an audit."""

        def note() -> None:
            self._answered, self._report = ticket, report

        self._note(session, note)

    def _note(self, session: object, note: Callable[[], None]) -> None:
        with self._lock:
            if self._session is session:
                note()
                self._news.notify_all()

    def _forget(self) -> None:
        self._is_tracked = self._is_held = False
        self._pending = Delta()

    def _retry_at(self, retry: Retry | None) -> float | None:
        if retry is None or self._asked > self._answered:
            return None
        return retry.new_at if self._version > self._tried else retry.at

    def _order(self, now: float, retry: Retry | None, audit_at: float | None) -> Order | None:
        if self._program is None or not self._is_due:
            return None
        if not self._is_tracked:
            due_at = self._retry_at(retry)
            is_due = due_at is None or now >= due_at
            return Order(Work.SYNC, self._program, self._version, Delta(), self._asked) if is_due else None
        if self._version > self._tried:
            self._tried = self._version
            delta, self._pending = self._pending, Delta()
            return Order(Work.CHANGE, self._program, self._version, delta, self._asked)
        if self._asked > self._answered or (audit_at is not None and now >= audit_at):
            return Order(Work.AUDIT, self._program, self._version, Delta(), self._asked)
        return None
