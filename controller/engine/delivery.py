"""Brings switches what changed, phase by phase, and keeps a record of each change set.

    deltas ─► phases (receivers before senders, tightening before loosening) ─► change all ─► wait ─► next phase ... ─► done

A phase is waited for before the next begins, but no switch is waited for longer than its share takes on a slow machine: one
that does not answer is late, gets the rest when it comes back, and delays nobody until then.

The rules of classes that ports have left end when no datapath remembers any more who had them, and nobody waits for that
(`controller.pipeline.left`). The connections of addresses that ports have given up end when datapaths have followed, and who is given one
of these addresses waits for that (`controller.pipeline.resting`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from controller.model.ids import host_of_dpid
from controller.pipeline.flow import Delta, Flow, Program
from controller.pipeline.left import come_back, part
from controller.pipeline.plan import pipeline
from controller.pipeline.resting import gives_away, hands_over, rest, silenced
from controller.pipeline.rollout import phases, roles
from controller.switch.status import AuditReport, Reading, State, SwitchStatus

LOG = logging.getLogger(__name__)

_PATIENCE_S = 0.25  # For the answer of a switch, and this much more
_SLOWEST_FLOWS_PER_S = 15_000.0  # for what it has to do.
# A switch that has confirmed a bundle may send by the old flows until its datapath has been looked through, and what is outside takes a
# moment to learn. Measured: some 10 ms with few flows in the datapath.
HANDOVER_S = 0.25
# Addresses that nobody has any more rest as long as Open vSwitch may take to look its flows through: its default `max-revalidator`.
RESTING_S = 0.5
# Classes that nobody has any more keep their rules as long as a datapath may keep a flow that nobody follows: the default `max-idle` of
# 10 s, and some time to look it through.
LEFT_S = 12.0
_KEPT = 20  # Change sets that `weft status` may tell of.


class Switches(Protocol):
    """What is needed of the switches (`controller.switch.registry`)."""

    def target(self, dpid: int, program: Program) -> None:
        """Make the switch hold this program; what it holds is found out by a dump."""

    def change(self, dpid: int, delta: Delta) -> int:
        """Send what has been done to the program; return the version that the switch will confirm."""

    def wait(self, versions: Mapping[int, int], deadline_s: float) -> set[int]:
        """Wait until the switches have confirmed these versions; return those that have not."""

    def is_in_sync(self, dpid: int) -> bool:
        """Return whether the switch holds its program, up to what is under way."""

    def send(self, dpid: int, message: bytes) -> bool:
        """Queue an OpenFlow message."""

    def audit(self, dpids: Any, deadline_s: float) -> list[AuditReport]:
        """Ask switches whether they hold their programs, and repair what is not so."""

    def count(
        self, dpids: Any, wanted: Callable[[Flow], bool], deadline_s: float, *, meters: bool = False
    ) -> Mapping[int, Reading]:
        """Ask switches what those of their flows have counted that are wanted."""

    def statuses(self) -> Mapping[int, SwitchStatus]:
        """Return what is known of every switch that has been seen."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What one event changed. `state` is "under way", "done", "late" (some switch has not answered) or "refused".

    `flows` counts what was added, changed and deleted, `seconds` run from the event to the last confirmation, and `troubles`
    name the switches that are behind, with the reason where they gave one.
    """

    number: int
    cause: str
    state: str
    switches: int
    flows: int
    phases: int
    phase: int
    seconds: float
    troubles: tuple[str, ...] = ()


@dataclass(slots=True)
class Record:
    """The last change sets; any thread may read them and wait for the next."""

    _sets: deque[ChangeSet] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def last(self) -> int:
        """The number of the last change set, 0 before the first."""
        with self._changed:
            return self._sets[-1].number if self._sets else 0

    def put(self, change: ChangeSet) -> None:
        """Note a change set, or how one goes on."""
        with self._changed:
            if self._sets and self._sets[-1].number == change.number:
                self._sets[-1] = change
            else:
                self._sets.append(change)
            self._changed.notify_all()

    def wait(self, after: int, deadline_s: float) -> ChangeSet | None:
        """Wait until a change set with a number above `after` is over, and return the first such; None after the deadline."""
        with self._changed:
            self._changed.wait_for(lambda: self._over(after) is not None, deadline_s)
            return self._over(after)

    def _over(self, after: int) -> ChangeSet | None:
        return next((each for each in self._sets if each.number > after and each.state != "under way"), None)

    def tell(self) -> dict[str, Any]:
        """Return what `weft status` shows."""
        with self._changed:
            told = [asdict(each) for each in self._sets]
        return {"last": told[-1]["number"] if told else 0, "recent": told}


@dataclass(frozen=True, slots=True)
class _End:
    """What is still to end at a monotonic time, by datapath id; until it has, the change is not over if `is_resting`."""

    due: float
    is_resting: bool
    shares: Mapping[int, Delta]


class Delivery:
    """Gives change sets to the switches, one after another, in the caller's thread."""

    def __init__(self, switches: Switches, name: Callable[[int], str]) -> None:
        self._switches = switches
        self._name = name
        self._role = roles(pipeline())
        self._late: dict[int, int] = {}  # Switches that have not confirmed a version in time.
        self._ends: tuple[_End, ...] = ()  # By time; other threads may look at it.
        self.record = Record()

    def deliver(
        self,
        deltas: Mapping[int, Delta],
        cause: str,
        since: float,
        before_last: Callable[[], bool] = lambda: False,
    ) -> ChangeSet:
        """Send deltas and return when all switches have them that answer in time.

        Args:
            deltas: What changes, by datapath id.
            cause: What has happened, in words.
            since: The monotonic time of the event.
            before_last: Is called when all but the last of several phases are done: what takes over is ready, what ends is still there.
                Returns whether the outside has been told of something that has been handed over.
        """
        self._let_rest(deltas)
        deltas = {dpid: self._with_left(dpid, delta) for dpid, delta in deltas.items()}
        steps, left = part(phases(deltas, self._role), self._role)
        silent = silenced(deltas.values())
        steps, resting = rest(steps, silent)
        flows = sum(map(len, deltas.values()))
        change = ChangeSet(self.record.last + 1, cause, "under way", len(deltas), flows, len(steps), 0, 0.0)
        self.record.put(change)
        behind: set[int] = set()
        for number, step in enumerate(steps, 1):
            if 1 < number == len(steps) and before_last():
                time.sleep(HANDOVER_S)
            if number > 1 and hands_over(step, silent):
                time.sleep(RESTING_S)
            self.record.put(replace(change, phase=number, seconds=time.monotonic() - since))
            behind |= self._send(step)
        now = time.monotonic()
        self._expect(_End(now + RESTING_S, True, resting), _End(now + LEFT_S, False, left))
        troubles = self.troubles(behind)
        state = "done" if not behind else "refused" if self.refused(behind) else "late"
        seconds = time.monotonic() - since
        change = replace(change, state=state, phase=len(steps), seconds=seconds, troubles=troubles)
        self.record.put(change)
        counts = change.number, cause, flows, len(deltas), seconds * 1000, state
        LOG.log(
            logging.INFO if state == "done" else logging.WARNING,
            "change %d (%s): %d flows and groups on %d bridges in %.0f ms: %s%s",
            *counts,
            "".join(f"\n    {trouble}" for trouble in troubles),
        )
        return change

    def deadlines(self) -> list[float]:
        """Return when `end` has something to do."""
        return [end.due for end in self._ends[:1]]

    def end(self) -> None:
        """End what changes have left, where datapaths have had the time to follow them."""
        while self._ends and self._ends[0].due <= time.monotonic():
            end, self._ends = self._ends[0], self._ends[1:]
            self._send(end.shares)

    def resting(self) -> set[int]:
        """Return the switches whose last change is over when connections end; any thread may ask."""
        return {dpid for end in self._ends if end.is_resting for dpid in end.shares}

    def ending(self) -> Counter[int]:
        """Return how many flows switches hold that are still to end; any thread may ask."""
        held: Counter[int] = Counter()
        for end in self._ends:
            for dpid, delta in end.shares.items():
                held[dpid] += len(delta.deletes)
        return held

    def forget(self, dpid: int) -> None:
        """Leave the end of what a switch holds to its sync: it is told anew what to hold."""
        self._keep(dpid, [Delta() for _ in self._ends])

    def _let_rest(self, deltas: Mapping[int, Delta]) -> None:
        """Wait until what is still to end has ended of addresses that a change gives to somebody else."""
        for end in self._ends:
            if end.is_resting and any(
                gives_away(end.shares[dpid], deltas[dpid]) for dpid in end.shares.keys() & deltas.keys()
            ):
                time.sleep(max(0.0, end.due - time.monotonic()))
        self.end()

    def _with_left(self, dpid: int, delta: Delta) -> Delta:
        """Return a bridge's change along with what was still to end there and comes back by it."""
        kept = []
        for end in self._ends:
            left = end.shares.get(dpid, Delta())
            if left:
                left, delta = come_back(left, delta)
            kept.append(left)
        self._keep(dpid, kept)
        return delta

    def _keep(self, dpid: int, shares: Iterable[Delta]) -> None:
        """Put these in the place of what is still to end on a switch."""
        found = [
            replace(end, shares={each: share for each, share in {**end.shares, dpid: mine}.items() if share})
            for end, mine in zip(self._ends, shares, strict=True)
        ]
        self._ends = tuple(end for end in found if end.shares)

    def _expect(self, *ends: _End) -> None:
        """Note what is still to end."""
        self._ends = tuple(sorted((*self._ends, *(end for end in ends if end.shares)), key=lambda end: end.due))

    def behind(self) -> set[int]:
        """Return the switches that have not confirmed what they were sent last; any thread may ask."""
        late = dict(self._late)
        return self._switches.wait(late, 0.0) if late else set()

    def refused(self, dpids: Iterable[int]) -> list[int]:
        """Return those of these switches that did not take what they were sent."""
        statuses = self._switches.statuses()
        return [dpid for dpid in dpids if dpid in statuses and statuses[dpid].state is State.DEGRADED]

    def absent(self, dpids: Iterable[int]) -> list[int]:
        """Return those of these switches that are not connected."""
        statuses = self._switches.statuses()
        return [dpid for dpid in dpids if dpid not in statuses or statuses[dpid].state is State.DOWN]

    def troubles(self, dpids: Iterable[int]) -> tuple[str, ...]:
        """Return, in words, why each of these switches is behind."""
        return tuple(self._trouble(dpid) for dpid in sorted(dpids, key=self._name))

    def _send(self, step: Mapping[int, Delta]) -> set[int]:
        """Send one phase; return the switches that should have confirmed it and have not."""
        self._late = {dpid: self._late[dpid] for dpid in self.behind()}
        versions: dict[int, int] = {}
        most = 0
        for dpid, delta in _in_order(step):
            is_awaited = dpid not in self._late and self._switches.is_in_sync(dpid)
            version = self._switches.change(dpid, delta)
            if is_awaited:
                versions[dpid] = version
                most = max(most, len(delta))
            else:
                self._late[dpid] = version
        behind = self._switches.wait(versions, _PATIENCE_S + most / _SLOWEST_FLOWS_PER_S) if versions else set()
        self._late.update((dpid, versions[dpid]) for dpid in behind)
        return step.keys() & self._late.keys()

    def _trouble(self, dpid: int) -> str:
        status = self._switches.statuses().get(dpid)
        if status is not None and status.last_error:
            return f"{self._name(dpid)}: {status.last_error}"
        is_there = status is not None and status.state is not State.DOWN
        return f"{self._name(dpid)}: {'it has not answered yet' if is_there else 'it is not connected'}"


def _in_order(step: Mapping[int, Delta]) -> list[tuple[int, Delta]]:
    """Return the shares of a phase in the order in which they are sent: the host with most to do first, each host's bridges together.

    Open vSwitch makes its picture of all ports anew after each turn of its main loop in which flows changed. That takes it longer than
    the flows do, so bridges that change in one turn cost half.
    """
    load: Counter[int] = Counter()
    for dpid, delta in step.items():
        load[host_of_dpid(dpid)] += len(delta)
    return sorted(step.items(), key=lambda share: (-load[host_of_dpid(share[0])], host_of_dpid(share[0]), share[0]))
