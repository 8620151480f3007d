"""Brings one switch to its program over one session, and keeps it there.

    connected ─► settings ─► dump ─► (program) ─► difference ─► one bundle ─► in sync ─► delta ─► one bundle ─► in sync ...
                              ▲                                      │ refused               │
                              └────── 1, 2, 4 .. 30 s ◄── degraded, the old flows stay ◄─────┘

A worker belongs to one session and ends with it, so that no job ever meets another connection than its own. What the switch
holds is known from the last commit; after a refusal it is asked again, and an audit asks it now and then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from controller.pipeline.flow import Flow, Program
from controller.switch.audit import findings
from controller.switch.bundle import ANSWER_S, Refused, commit, errors_until
from controller.switch.changes import Changes, Dump, Subject, from_delta, from_dump
from controller.switch.meters import drop_meters, put_meters
from controller.switch.mirror import Mirror
from controller.switch.releases import Releases
from controller.switch.session import NoAnswer, Session, SessionOver
from controller.switch.shapes import Shapes
from controller.switch.status import AuditReport, State, SwitchStatus
from controller.switch.target import Order, Retry, Target, Work
from controller.switch.words import Words
from controller.wire import dump, message
from controller.wire.dump import Malformed
from controller.wire.errors import SwitchError
from controller.wire.flush import Flush
from controller.wire.message import MessageType, Multipart
from controller.wire.pack import Unpackable

LOG = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _DOUBLINGS = 1.0, 30.0, 5
_LOGGED = 20  # Differences that are told in the log.
_QUIET_S = 1.0  # How long after a change an audit begins, if there are not changes all the time.
_FRESH_S = 1.0  # How old a dump may be that a program is compared with.
_GOLDEN = 0.6180339887  # Multiples of it, modulo 1, spread evenly: audits of many switches fall on different moments.


@dataclass(frozen=True, slots=True)
class Manner:
    """What all workers have in common.

    `publish` is told a switch's status, and whether it is news to the observer; `introduce` the notes of the ledger table once the
    first dump is there, `count` what the flows of an audit have counted. `audit_s` is the time between audits in seconds, 0 for none.
    """

    publish: Callable[[Session, SwitchStatus, bool], None]
    introduce: Callable[[Session, Sequence[str]], None]
    count: Callable[[Session, Sequence[bytes], Sequence[Flow]], None]
    ledger_table: int
    audit_s: float


class Worker:
    """The thread body that keeps one switch in sync for as long as its session lasts."""

    def __init__(self, session: Session, target: Target, status: SwitchStatus, words: Words, manner: Manner) -> None:
        self._session = session
        self._target = target
        self._status = status
        self._words = words
        self._manner = manner
        self._mirror = Mirror([], [], [])
        self._releases = Releases()
        self._can_flush = True
        self._shapes = Shapes()
        self._dump: Dump | None = None  # What the next sync may use.

    def run(self) -> None:
        """Work until the session is over."""
        try:
            self._settle()
            self._look()
            self._work()
        except SessionOver:
            LOG.debug("%s is over", self._session.peer)
        except (NoAnswer, Malformed, Refused) as problem:
            self._session.end(str(problem))
        except Exception:
            # A defect of ours ends one connection alone; the next one starts from a dump.
            LOG.exception("sync of %016x failed", self._session.id)
            self._session.end("an internal error, see the log")

    def _settle(self) -> None:
        """Set what OpenFlow leaves to the controller: what fragments can be matched by, and no news but of ports and samples."""
        with self._session.claim(3) as claim:
            first = claim.first
            settings = message.config(first), message.only_news(first + 1)
            self._session.write(b"".join(settings) + message.barrier(first + 2))
            for error in errors_until(claim, MessageType.BARRIER_REPLY, first + 2, ANSWER_S):
                LOG.warning("%016x refused a setting: %s", self._session.id, error.name)

    def _look(self) -> None:
        """Ask what the switch holds before anybody says what it shall hold: the numbers that are in use there come first."""
        table = self._manner.ledger_table
        self._dump = self._ask()
        self._manner.introduce(
            self._session, [note for frame in self._dump.frames for note in dump.notes(frame, table)]
        )
        if not self._target.await_program(self._session, time.monotonic() + _FRESH_S):
            self._dump = None

    def _work(self) -> None:
        retry: Retry | None = None
        refusals = 0
        audit_at = self._next_audit(self._session.id * _GOLDEN % 1)
        while (order := self._target.next(self._session, retry, audit_at)) is not None:
            try:
                if order.work is Work.AUDIT:
                    self._audit(order)
                    audit_at = self._next_audit()
                else:
                    self._bring(order)
                    audit_at = self._after_change(audit_at)
            except (Refused, Unpackable) as refusal:
                error = f"{_name(order.program)}: {refusal}"
                self._report(State.DEGRADED, error)
                self._target.refuse(self._session)
                self._target.audited(self._session, order.ticket, self._audited(error=error))
                retry = _next_try(refusals)
                refusals += 1
            else:
                retry, refusals = None, 0

    def _next_audit(self, part: float = 1.0) -> float | None:
        every = self._manner.audit_s
        return time.monotonic() + every * part if every > 0 else None

    def _after_change(self, audit_at: float | None) -> float | None:
        """Return when to audit now that there was a change: more changes may follow at once, and an audit would delay them."""
        if audit_at is None:
            return None
        last = self._status.last_audit
        latest = audit_at if last is None else last + 2 * self._manner.audit_s
        return max(audit_at, min(time.monotonic() + _QUIET_S, latest))

    def _bring(self, order: Order) -> None:
        started = time.monotonic()
        version, program = order.version, order.program
        if order.work is Work.CHANGE:
            changes = from_delta(order.delta)
            self._send(program, changes, self._releases.of_change(changes, self._mirror.flows))
        else:
            self._status = replace(self._status, flows_desired=len(program.flows))
            self._report(State.SYNCING, self._status.last_error)  # The error holds until a sync succeeds.
            held, self._dump = self._dump or self._ask(), None
            program, version = self._target.take_up(self._session)
            flows, groups, meters = program.snapshot()
            changes = from_dump(held, flows, groups, meters)
            self._send(program, changes, self._releases.of_sync(changes, flows))
            self._mirror = Mirror(flows, groups, meters)
            self._releases.synced(flows)
        self._status = replace(
            self._status,
            flows_desired=len(program.flows),
            flows_installed=len(program.flows),
            groups=len(program.groups),
            added=len(changes.new),
            modified=len(changes.altered),
            deleted=len(changes.deletes),
            sync_seconds=time.monotonic() - started,
        )
        # Of a change who made it tells, once for all its switches.
        is_news = order.work is not Work.CHANGE or self._status.state is not State.IN_SYNC
        self._report(State.IN_SYNC, is_news=is_news)
        self._target.confirm(self._session, version)
        if order.work is Work.CHANGE:
            # Others wait for the confirmation, and nobody for this.
            self._mirror.apply(order.delta)
            self._releases.changed(changes)

    def _audit(self, order: Order) -> None:
        """Compare what the switch holds with what it was sent, and undo the difference."""
        held = self._ask()
        groups, meters = self._mirror.groups(), self._mirror.meters()
        changes = from_dump(held, self._mirror.flows(), groups.values(), meters.values())
        report = self._audited(changes)
        self._manner.count(self._session, held.frames, self._mirror.flows())
        if changes:
            found = (*report.flows.lines(), *report.groups.lines(), *report.meters.lines())[:_LOGGED]
            name = _name(order.program)
            LOG.warning("%s: a third hand made %d differences\n%s", name, len(changes), "\n".join(found))
            self._send(order.program, changes, self._releases.of_sync(changes, self._mirror.flows()))
            report = replace(report, repaired=True)
        self._status = replace(
            self._status,
            audits=self._status.audits + 1,
            repaired=self._status.repaired + report.repaired,
            last_audit=report.when,
        )
        self._report(State.IN_SYNC, is_news=report.repaired)
        self._target.audited(self._session, order.ticket, report)

    def _audited(self, changes: Changes | None = None, error: str | None = None) -> AuditReport:
        return AuditReport(
            self._session.id, time.monotonic(), *findings(changes or Changes(), self._words), error=error
        )

    def _report(self, state: State, error: str | None = None, *, is_news: bool = True) -> None:
        since = self._status.since if state is self._status.state else time.monotonic()
        self._status = replace(self._status, state=state, since=since, last_error=error)
        self._manner.publish(self._session, self._status, is_news)

    def _ask(self) -> Dump:
        held = Dump()
        with self._session.claim(3) as claim:
            first = claim.first
            requests = message.dump_flows(first), message.dump_groups(first + 1), message.dump_meters(first + 2)
            self._session.write(b"".join(requests))
            open_requests = len(requests)
            while open_requests:
                frame = claim.next(ANSWER_S)
                kind, xid = dump.kind_and_xid(frame)
                if kind == MessageType.ERROR and xid == first + 2:
                    # Meters are optional: a switch without any holds none, and refuses those that it is sent.
                    open_requests -= 1
                    continue
                if kind == MessageType.ERROR:
                    raise Refused(f"the switch does not tell what it holds: {dump.error(frame).name}")
                match dump.multipart_kind(frame):
                    case Multipart.FLOW:
                        held.frames.append(frame)
                    case Multipart.METER_CONFIG:
                        held.meters += dump.meters(frame)
                    case _:
                        held.groups += dump.groups(frame)
                open_requests -= not dump.has_more(frame)
        return held

    def _send(self, program: Program, changes: Changes, flushes: Sequence[Flush]) -> None:
        if changes:
            put_meters(self._session, changes, self._words.tell)
            complaints = commit(self._session, changes, self._words.tell, self._shapes, flushes)
            drop_meters(self._session, changes, self._words.tell)
            self._complain(program, complaints)
            if LOG.isEnabledFor(logging.DEBUG):
                self._tell(program, changes, flushes)

    def _complain(self, program: Program, complaints: Sequence[SwitchError]) -> None:
        """Say once that a switch does not end connections: Open vSwitch before 3.1 answers so every time."""
        if complaints and self._can_flush:
            self._can_flush = False
            why = f"{_name(program)} does not end the connections of addresses that change hands: {complaints[0].name}"
            LOG.error("%s; Open vSwitch does since 3.1", why)

    def _tell(self, program: Program, changes: Changes, flushes: Sequence[Flush]) -> None:
        gone: list[Subject] = [*changes.deletes, *changes.group_deletes, *changes.meter_deletes]
        meters = (*changes.new_meters, *changes.altered_meters)
        new: list[Subject] = [*meters, *changes.new_groups, *changes.altered_groups, *changes.new, *changes.altered]
        for sign, subjects in (("-", gone), ("+", new)):
            for subject in subjects:
                LOG.debug("%s %s %s", _name(program), sign, self._words.tell(subject))
        for zone, address in flushes:
            LOG.debug("%s - connections of %s in zone %d", _name(program), address or "everybody", zone)


def _next_try(refusals: int) -> Retry:
    """Return when to try again after a refusal that followed so many others."""
    now, pause = time.monotonic(), min(_FIRST_PAUSE_S * 2 ** min(refusals, _DOUBLINGS), _LONGEST_PAUSE_S)
    # What is new may well be the remedy; once it was not, a stream of changes must not become one of dumps.
    return Retry(now + pause, now + _FIRST_PAUSE_S if refusals else now)


def _name(program: Program) -> str:
    return f"{program.bridge}@{program.host}"
