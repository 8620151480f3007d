"""What is known of a switch, as values: its state, its numbers, its last error. No os-ken, so that every room may read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from controller.pipeline.flow import Flow


class State(StrEnum):
    """How far a switch is from its program.

    DOWN ──► CONNECTED ──► SYNCING ──► IN_SYNC
                              ▲  ▼        │ a new program
                           DEGRADED ◄──► SYNCING
    """

    DOWN = "down"
    CONNECTED = "connected"
    SYNCING = "syncing"
    IN_SYNC = "in sync"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class SwitchStatus:
    """One switch at one moment. `added`, `modified`, `deleted` and `sync_seconds` are the last sync's.

    `since` is the monotonic time of the last change of state, `last_error` what went wrong in the words of the files. Of the
    audits, `repaired` counts those that found differences and undid them; `last_audit` is the monotonic time of the last.
    """

    dpid: int
    state: State
    peer: str
    flows_desired: int
    flows_installed: int
    added: int
    modified: int
    deleted: int
    groups: int
    last_error: str | None
    since: float
    sync_seconds: float | None
    audits: int = 0
    repaired: int = 0
    last_audit: float | None = None


def unseen(dpid: int, since: float) -> SwitchStatus:
    """Return the status of a switch that has never connected."""
    return SwitchStatus(dpid, State.DOWN, "", 0, 0, 0, 0, 0, 0, None, since, None)


@dataclass(frozen=True, slots=True)
class Findings:
    """What an audit found of flows, of groups or of meters, each in words with its origin; of very many only the first are told.

    `missing` should be there, `altered` is not as it should be, `foreign` is nobody's. `count` is of all, told or not.
    """

    missing: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    count: int = 0

    def lines(self) -> list[str]:
        """Return a line for each that is told.

        >>> Findings(missing=("flow a",), foreign=("flow b",), count=2).lines()
        ['missing: flow a', 'foreign: flow b']
        """
        sorts = {"missing": self.missing, "altered": self.altered, "foreign": self.foreign}
        return [f"{sort}: {text}" for sort, texts in sorts.items() for text in texts]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Whether a switch held what it was sent, at the monotonic time `when`.

    `repaired` says that there were differences and that they are undone; `error` why there was no audit or no repair.
    """

    dpid: int
    when: float
    flows: Findings = Findings()
    groups: Findings = Findings()
    meters: Findings = Findings()
    repaired: bool = False
    error: str | None = None

    @property
    def is_clean(self) -> bool:
        """Whether the switch was asked and held exactly what it should."""
        return self.error is None and not self.flows.count and not self.groups.count and not self.meters.count

    def to_json(self, now: float) -> dict[str, Any]:
        """Return the report as JSON has it, with its age in seconds at the monotonic time `now`."""
        told = asdict(self)
        told["age_s"] = max(0.0, now - told.pop("when"))
        return told


class Growth(NamedTuple):
    """When a counter last grew: after one monotonic time and before another, which are those of two readings."""

    after: float
    before: float


class Count(NamedTuple):
    """What a flow or a meter has counted, and when it last grew; None if it never has, or nobody keeps watch of it."""

    packets: int
    bytes: int
    grew: Growth | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a switch's counters; `error` says why there is less than was asked for.

    `drops` is by OpenFlow number of a port: the new connections over its rate.
    """

    flows: tuple[tuple[Flow, Count], ...] = ()
    drops: Mapping[int, Count] = field(default_factory=dict)
    error: str | None = None


class Observer(Protocol):
    """Who wants to know of switches. All calls come from one thread, one at a time."""

    def held(self, dpid: int, notes: Sequence[str]) -> None:
        """A switch has said what it holds: these texts in its ledger. Once a connection, before its first `connected`."""

    def connected(self, dpid: int, ports: Mapping[str, int]) -> None:
        """A switch is there, with these ports by interface name; called again whenever its ports change."""

    def silent(self, dpid: int, interfaces: frozenset[str]) -> None:
        """Of a switch's ports those of this set are not alive, say because nobody answers at the other end of a tunnel."""

    def disconnected(self, dpid: int) -> None:
        """A switch is gone."""

    def changed(self, status: SwitchStatus) -> None:
        """A switch changed its state."""
