"""Brings one switch to its program over one session, and keeps it there: dump, difference, one bundle.

    connected ─► settings ─► dump ─► difference ─► bundle ─► in sync ─► (next program) difference ─► bundle ...
                              ▲                       │ refused
                              └── 1, 2, 4 .. 30 s ◄── degraded, the old flows stay

A worker belongs to one session and ends with it, so that no job ever meets another connection than its own. What the switch
holds is known from the last commit; after a refusal it is asked again.

A bundle is all or nothing only for what the switch finds out at commit. A message refused while it is added is merely left
out, so errors are awaited with a barrier before the commit, and any one discards the bundle.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from controller.pipeline.flow import Flow, Group, Program
from controller.pipeline.text import flow_text
from controller.switch.changes import Changes, ForeignFlow, Step, Subject, between, from_dump
from controller.switch.session import Claim, NoAnswer, Session, SessionOver
from controller.switch.status import State, SwitchStatus
from controller.switch.target import Target
from controller.wire import dump, message
from controller.wire.dump import HeldFlow, HeldGroup, Malformed
from controller.wire.errors import SwitchError
from controller.wire.message import BundleControl, MessageType, Multipart
from controller.wire.pack import Unpackable

LOG = logging.getLogger(__name__)

_ANSWER_S = 30.0
_SLOWEST_FLOWS_PER_S = 2000.0  # A large bundle may take longer to answer, by this measure.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_CHUNK = 512  # Messages that are packed before they are handed to the writer.
_ERRORS_TOLD = 3


class Refused(Exception):
    """The switch did not take a bundle; nothing of it is in force."""


class Worker:
    """The thread body that keeps one switch in sync for as long as its session lasts."""

    def __init__(
        self,
        session: Session,
        target: Target,
        status: SwitchStatus,
        publish: Callable[[Session, SwitchStatus], None],
        table_name: Callable[[int, int], str],
    ) -> None:
        self._session = session
        self._target = target
        self._status = status
        self._publish = publish
        self._table_name = table_name

    def run(self) -> None:
        """Work until the session is over."""
        try:
            self._work()
        except SessionOver:
            LOG.debug("%s is over", self._session.peer)
        except (NoAnswer, Malformed) as problem:
            self._session.end(str(problem))
        except Exception:
            # A defect of ours ends one connection alone; the next one starts from a dump.
            LOG.exception("sync of %016x failed", self._session.id)
            self._session.end("an internal error, see the log")

    def _work(self) -> None:
        self._settle()
        held: Program | None = None
        seen, pause = 0, None
        while (order := self._target.next(seen, pause, lambda: self._session.is_over)) is not None:
            seen, program = order
            try:
                self._bring(program, held)
            except (Refused, Unpackable) as refusal:
                self._report(State.DEGRADED, error=f"{program.bridge}@{program.host}: {refusal}")
                held, pause = None, min(2 * pause, _LONGEST_PAUSE_S) if pause else _FIRST_PAUSE_S
            else:
                held, pause = program, None
                self._target.reach(seen)

    def _settle(self) -> None:
        """Set what OpenFlow leaves to the controller: what fragments can be matched by, and no news but of ports."""
        with self._session.claim(3) as claim:
            first = claim.first
            settings = message.config(first), message.only_port_status(first + 1)
            self._session.write(b"".join(settings) + message.barrier(first + 2))
            for error in _errors_until(claim, MessageType.BARRIER_REPLY, first + 2, _ANSWER_S):
                LOG.warning("%016x refused a setting: %s", self._session.id, error.name)

    def _bring(self, program: Program, held: Program | None) -> None:
        started = time.monotonic()
        self._status = replace(self._status, flows_desired=len(program.flows))
        if held is None:
            self._report(State.SYNCING)
            flows, groups = self._dump()
            self._status = replace(self._status, flows_installed=len(flows), groups=len(groups))
            changes = from_dump(flows, groups, program)
        else:
            changes = between(held, program)
            if not changes:
                return
            self._report(State.SYNCING)
        if changes:
            self._commit(changes)
            self._tell(program, changes)
        self._status = replace(
            self._status,
            flows_installed=len(program.flows),
            groups=len(program.groups),
            added=len(changes.puts) - changes.modified,
            modified=changes.modified,
            deleted=len(changes.deletes),
            sync_seconds=time.monotonic() - started,
        )
        self._report(State.IN_SYNC)

    def _report(self, state: State, error: str | None = None) -> None:
        since = self._status.since if state is self._status.state else time.monotonic()
        if state is State.SYNCING:
            error = self._status.last_error  # It holds until a sync succeeds.
        self._status = replace(self._status, state=state, since=since, last_error=error)
        self._publish(self._session, self._status)

    def _dump(self) -> tuple[list[HeldFlow], list[HeldGroup]]:
        flows: list[HeldFlow] = []
        groups: list[HeldGroup] = []
        with self._session.claim(2) as claim:
            self._session.write(message.dump_flows(claim.first) + message.dump_groups(claim.first + 1))
            open_requests = 2
            while open_requests:
                frame = claim.next(_ANSWER_S)
                if dump.kind_and_xid(frame)[0] == MessageType.ERROR:
                    raise Refused(f"the switch does not tell what it holds: {dump.error(frame).name}")
                if dump.multipart_kind(frame) == Multipart.FLOW:
                    flows += dump.flows(frame)
                else:
                    groups += dump.groups(frame)
                open_requests -= not dump.has_more(frame)
        return flows, groups

    def _commit(self, changes: Changes) -> None:
        count = len(changes)
        patience = _ANSWER_S + count / _SLOWEST_FLOWS_PER_S
        with self._session.claim(count + 4) as claim:
            # The steps' xids follow the opening one's; the last three are the barrier's and the two ways to end.
            opening = bundle = claim.first
            barrier = opening + count + 1
            self._session.write(message.bundle_control(BundleControl.OPEN, bundle, opening))
            for chunk in _chunks(changes.steps(), bundle, opening + 1):
                self._session.write(chunk)
            self._session.write(message.barrier(barrier))
            errors = _errors_until(claim, MessageType.BARRIER_REPLY, barrier, patience)
            if not errors:
                commit = barrier + 1
                self._session.write(message.bundle_control(BundleControl.COMMIT, bundle, commit))
                errors = _errors_until(claim, MessageType.BUNDLE_CONTROL, commit, patience)
            else:
                self._session.write(message.bundle_control(BundleControl.DISCARD, bundle, barrier + 2))
        if errors:
            raise Refused(self._explain(errors, changes, opening + 1))

    def _tell(self, program: Program, changes: Changes) -> None:
        if not LOG.isEnabledFor(logging.DEBUG):
            return
        gone: list[Subject] = [*changes.deletes, *changes.group_deletes]
        new: list[Subject] = [*(group for _, group in changes.group_puts), *changes.puts]
        for sign, subjects in (("-", gone), ("+", new)):
            for subject in subjects:
                LOG.debug("%s@%s %s %s", program.bridge, program.host, sign, self._subject(subject))

    def _explain(self, errors: list[SwitchError], changes: Changes, first: int) -> str:
        """Say what was refused, why, and where in the files it comes from."""
        wanted = {error.xid - first: error.name for error in errors}
        told = [
            f"{wanted[place]}: {self._subject(subject)}"
            for place, (_, _, subject) in enumerate(changes.steps())
            if place in wanted
        ]
        if not told:
            return ", ".join(error.name for error in errors)
        more = f" (and {len(told) - _ERRORS_TOLD} more)" if len(told) > _ERRORS_TOLD else ""
        return "; ".join(told[:_ERRORS_TOLD]) + more

    def _subject(self, subject: Subject) -> str:
        match subject:
            case Flow():
                text = flow_text(subject, table_name=self._table, port_name=self._port_name)
                return f"flow {text}, from {subject.origin}"
            case Group():
                return f"group {subject.id}, from {subject.origin}"
            case ForeignFlow(table, priority):
                return f"an old flow, table={self._table(table)}, priority={priority}"
            case int():
                return f"group {subject}"

    def _table(self, number: int) -> str:
        return self._table_name(self._session.id, number)

    def _port_name(self, number: int) -> str | None:
        port = self._session.ports.get(number)
        return None if port is None else port.name.decode(errors="replace")


def _chunks(steps: Iterable[Step], bundle: int, first: int) -> Iterator[bytes]:
    """Yield the steps as messages of a bundle, joined so that the switch works while the next ones are packed."""
    chunk: list[bytes] = []
    for xid, (kind, body, subject) in enumerate(steps, first):
        try:
            chunk.append(message.in_bundle(bundle, xid, kind, body))
        except Unpackable as problem:
            raise Unpackable(f"{problem}: {subject.origin if isinstance(subject, Flow | Group) else subject}") from None
        if len(chunk) == _CHUNK:
            yield b"".join(chunk)
            chunk.clear()
    yield b"".join(chunk)


def _errors_until(claim: Claim, kind: MessageType, xid: int, patience_s: float) -> list[SwitchError]:
    """Return the errors that arrive before the answer with this type and xid; an error with this xid is an answer, too."""
    errors: list[SwitchError] = []
    while True:
        frame = claim.next(patience_s)
        answer, its_xid = dump.kind_and_xid(frame)
        if answer == MessageType.ERROR:
            errors.append(dump.error(frame))
        if its_xid == xid and answer in (kind, MessageType.ERROR):
            return errors
