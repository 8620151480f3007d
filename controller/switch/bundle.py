"""One difference as one bundle over one session: everything or nothing.

A bundle is all or nothing only for what the switch finds out at commit. A message refused while it is added is merely left
out, so errors are awaited with a barrier before the commit, and any one discards the bundle. What the switch is known to take
(`controller.switch.shapes`) is committed in the same breath: that halves the time of a small change. Should the switch refuse some of it
nevertheless, the rest is in force for as long as it takes to ask what it holds and to put it right.

Connections that end with a difference are flushed in one write with the commit: once the switch holds nothing any more by which
one could tell that they should end, they have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from controller.pipeline.flow import Flow, Group
from controller.switch.changes import Changes, Subject
from controller.switch.session import Claim, Session
from controller.switch.shapes import Shapes
from controller.wire import dump, message
from controller.wire.errors import SwitchError
from controller.wire.flush import Flush, flush
from controller.wire.message import BundleControl, MessageType
from controller.wire.pack import Unpackable

ANSWER_S = 30.0

_SLOWEST_FLOWS_PER_S = 2000.0  # A large bundle may take longer to answer, by this measure.
_FLUSHES = 8  # Addresses that are flushed between two signs of life: each takes a switch with many connections a while.
_CHUNK = 512  # Messages that are packed before they are handed to the writer.
_ERRORS_TOLD = 3


class Refused(Exception):
    """The switch did not take a bundle; nothing of it is in force."""


def commit(
    session: Session,
    changes: Changes,
    tell: Callable[[Subject], str],
    shapes: Shapes,
    flushes: Sequence[Flush] = (),
) -> list[SwitchError]:
    """Make a switch do all of the changes of flows and groups at once, and flush connections right after.

    Return what it says against the flushes; raise Refused or Unpackable if it does none of the changes.
    """
    count = changes.bundled
    if not count:
        return []
    is_known = count < _CHUNK and shapes.cover(changes)
    patience = ANSWER_S + count / _SLOWEST_FLOWS_PER_S
    with session.claim(count + 7) as claim:
        # The steps' xids follow the opening one's; then the barrier's, the two ways to end, and three of the flushes.
        bundle, barrier = claim.first, claim.first + count + 1
        discard = message.bundle_control(BundleControl.DISCARD, bundle, barrier + 2)
        do_it = message.bundle_control(BundleControl.COMMIT, bundle, barrier + 1) + _flush(flushes, barrier + 3)
        try:
            for chunk in _chunks(changes, bundle, barrier):
                session.write(chunk + do_it if is_known else chunk)
        except Unpackable:
            session.write(discard)
            raise
        errors = [] if is_known else errors_until(claim, MessageType.BARRIER_REPLY, barrier, patience)
        if not errors:
            if not is_known:
                session.write(do_it)
            errors = errors_until(claim, MessageType.BUNDLE_CONTROL, barrier + 1, patience)
            complaints = errors_until(claim, MessageType.BARRIER_REPLY, barrier + 5, patience) if flushes else []
        else:
            session.write(discard)
    if errors:
        raise Refused(_explain(errors, changes, bundle + 1, tell))
    if not is_known:
        shapes.learn(changes)
    return complaints


def _flush(flushes: Sequence[Flush], first: int) -> bytes:
    """Return the messages that end connections, with the xid `first`, barriers with the next, and a last one with that after."""
    parts: list[bytes] = []
    for number, each in enumerate(flushes, 1):
        parts.append(flush(each, first))
        if not number % _FLUSHES:
            parts.append(message.barrier(first + 1))
    return b"".join(parts) + message.barrier(first + 2) if parts else b""


def errors_until(claim: Claim, kind: MessageType, xid: int, patience_s: float) -> list[SwitchError]:
    """Return the errors that arrive before the answer with this type and xid; an error with this xid is an answer, too."""
    errors: list[SwitchError] = []
    while True:
        frame = claim.next(patience_s)
        answer, its_xid = dump.kind_and_xid(frame)
        if answer == MessageType.ERROR:
            errors.append(dump.error(frame))
        if its_xid == xid and answer in (kind, MessageType.ERROR):
            return errors


def _chunks(changes: Changes, bundle: int, barrier: int) -> Iterator[bytes]:
    """Yield a bundle up to the barrier, in pieces, so that the switch works while the next ones are packed."""
    chunk = [message.bundle_control(BundleControl.OPEN, bundle, bundle)]
    for xid, (kind, body, subject) in enumerate(changes.steps(), bundle + 1):
        try:
            chunk.append(message.in_bundle(bundle, xid, kind, body))
        except Unpackable as problem:
            raise Unpackable(f"{problem}: {subject.origin if isinstance(subject, Flow | Group) else subject}") from None
        if len(chunk) > _CHUNK:
            yield b"".join(chunk)
            chunk.clear()
    chunk.append(message.barrier(barrier))
    yield b"".join(chunk)


def _explain(errors: list[SwitchError], changes: Changes, first: int, tell: Callable[[Subject], str]) -> str:
    """Say what was refused, why, and where in the files it comes from."""
    wanted = {error.xid - first: error.name for error in errors}
    told = [
        f"{wanted[place]}: {tell(subject)}" for place, (_, _, subject) in enumerate(changes.steps()) if place in wanted
    ]
    if not told:
        return ", ".join(error.name for error in errors)
    return in_short(told)


def in_short(told: Sequence[str]) -> str:
    """Return the first errors of a list, and how many more there are."""
    more = f" (and {len(told) - _ERRORS_TOLD} more)" if len(told) > _ERRORS_TOLD else ""
    return "; ".join(told[:_ERRORS_TOLD]) + more
