"""Reading what flows count, beside the worker that keeps the switch in sync: in the asker's thread, over the same session.

    wanted flows ─► few, or few of their table? ─ yes ─► one request a flow, by cookie
                                                └ no ──► one request for the table
                                                             └─► replies, by xid ─► counted, flow by flow

So a port's counters cost what the port has, not what the host has, and a change under way waits for no dump of everything.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from controller.pipeline.flow import Flow
from controller.pipeline.reasons import is_drop
from controller.switch.growth import Watches
from controller.switch.session import NoAnswer, Session
from controller.switch.status import Count, Reading
from controller.wire import counts, dump
from controller.wire.counts import Counted
from controller.wire.message import MessageType

_FEW = 4  # A table is read flow by flow if it has more than so many times the flows that are wanted.
_AT_ONCE = 100  # Requests that wait for answers: a change that comes meanwhile waits for no more than these.


@dataclass(slots=True)
class Found:
    """What replies say: flows by cookie, meters by number, and what the switch refused to tell."""

    flows: dict[bytes, tuple[Flow, Counted]] = field(default_factory=dict)
    meters: dict[int, Counted] = field(default_factory=dict)
    refused: str | None = None


def read(
    session: Session, flows: Sequence[Flow], wanted: Sequence[Flow], watches: Watches, *, meters: bool, until: float
) -> Reading:
    """Return what those flows have counted that are wanted, of all that the switch shall hold.

    Args:
        session: The connection.
        flows: All flows of the switch's program.
        wanted: Those whose counters are asked for.
        watches: Who remembers the drops.
        meters: Whether meters are asked for as well.
        until: The monotonic time until which answers are waited for.

    Raises:
        SessionOver: The connection ended.
        NoAnswer: The switch has not told all in time.
    """
    # What has not been packed has not been sent either.
    known = {flow.packed[:8]: flow for flow in wanted if flow.packed is not None}
    found = Found()
    requests = _plan(flows, known, meters=meters)
    for at in range(0, len(requests), _AT_ONCE):
        _ask(session, requests[at : at + _AT_ONCE], known, found, until)
    now = time.monotonic()
    # Only drops are watched for when they grow: a rule that is used often says so by its count.
    drops = {cookie: counted for cookie, (flow, counted) in found.flows.items() if is_drop(flow)}
    grown = watches.flows.note(drops, now)
    told = [
        (flow, grown.get(cookie) or Count(counted.packets, counted.bytes, None))
        for cookie, (flow, counted) in found.flows.items()
    ]
    over = watches.meters.note(found.meters, now, is_all=meters)
    return Reading(tuple(told), over, found.refused)


def note_dump(frames: Iterable[bytes], flows: Iterable[Flow], watches: Watches) -> None:
    """Note the drops that a dump of all flows tells."""
    drops = {flow.packed[:8]: flow for flow in flows if is_drop(flow) and flow.packed is not None}
    found = {cookie: counted for frame in frames for cookie, (_, counted) in _read_flows(frame, drops)}
    watches.flows.note(found, time.monotonic(), is_all=True)


Request = Callable[[int], bytes]  # From an xid to the message.


def _plan(flows: Iterable[Flow], known: Mapping[bytes, Flow], *, meters: bool) -> list[Request]:
    """Return what must be asked so that all of these flows are told."""
    whole: set[int] = set()
    if len(known) > _AT_ONCE:
        wanted = Counter(flow.table for flow in known.values())
        there = Counter(flow.table for flow in flows)
        whole = {table for table, count in wanted.items() if count * _FEW >= there[table]}
    requests: list[Request] = [partial(counts.ask_table, table=table) for table in sorted(whole)]
    requests += [
        partial(counts.ask_flow, table=flow.table, cookie=cookie)
        for cookie, flow in known.items()
        if flow.table not in whole
    ]
    return [*requests, counts.ask_meters] if meters else requests


def _ask(
    session: Session, requests: Sequence[Request], known: Mapping[bytes, Flow], found: Found, until: float
) -> None:
    """Send requests at once and read all answers."""
    with session.claim(len(requests)) as claim:
        session.write(b"".join(request(claim.first + number) for number, request in enumerate(requests)))
        unanswered = len(requests)
        while unanswered:
            left = until - time.monotonic()
            if left <= 0:
                raise NoAnswer("it has not told its counters in time")
            frame = claim.next(left)
            if dump.kind_and_xid(frame)[0] == MessageType.ERROR:
                found.refused = f"it does not tell all counters: {dump.error(frame).name}"
                unanswered -= 1
                continue
            if dump.multipart_kind(frame) == counts.METER_STATISTICS:
                found.meters.update(counts.meters(frame))
            else:
                found.flows.update(_read_flows(frame, known))
            unanswered -= not dump.has_more(frame)


def _read_flows(frame: bytes, known: Mapping[bytes, Flow]) -> Iterator[tuple[bytes, tuple[Flow, Counted]]]:
    for flow, counted in counts.flows(frame, known):
        if flow.packed is not None:
            yield flow.packed[:8], (flow, counted)
