"""The figures to reach, as data, and whether a run has reached them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.dhcp import ANSWERS, DHCP, ONE
from benchmarks.figure import Figures, Unit, said
from benchmarks.forwarding import ACROSS, SAME_HOST, SECURITY, passes_name, stream_name
from benchmarks.large_router import ADDED, LARGE_ROUTER, ROUTE
from benchmarks.large_router import JOINED as NETWORK_JOINED
from benchmarks.members import JOINED, LARGE
from benchmarks.roaming import BY_FAR, BY_ITSELF, BY_NEAR, ROAMING, beyond_name
from benchmarks.routed import BOTH, ROUTED

BARE = "the bare pipeline"
BRIDGED = "a bridged one"
EDITS = ("port added", "port removed", "port moved", "rule changed")


class Outcome(StrEnum):
    """What became of a goal in one run."""

    REACHED = "reached"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for a figure: for the value itself, for its ratio to the limit, or to another figure of the same run.

    `limit` says what the figure's limit is made of.
    """

    workload: str
    name: str
    bound: float
    unit: Unit = Unit.SECONDS
    at_least: bool = False
    of_limit: bool = False
    limit: str = "prepared bytes"
    times: tuple[str, str] | None = None

    def judge(self, figures: Figures) -> Outcome:
        """Return whether a run's figures reach the goal."""
        measured = self.measured(figures)
        if measured is None:
            return Outcome.NOT_MEASURED
        is_reached = measured >= self.bound if self.at_least else measured <= self.bound
        return Outcome.REACHED if is_reached else Outcome.MISSED

    def measured(self, figures: Figures) -> float | None:
        """Return what the bound is for, None if the run has not measured it."""
        figure = figures.get((self.workload, self.name))
        if figure is None:
            return None
        if self.of_limit:
            return figure.ratio
        if self.times is None:
            return figure.value
        other = figures.get(self.times)
        return figure.value / other.value if other and other.value else None

    def value(self, figures: Figures) -> float | None:
        """Return the bound as a value of the figure itself in this run, None if that cannot be known."""
        figure = figures.get((self.workload, self.name))
        if self.of_limit:
            return figure.limit * self.bound if figure and figure.limit else None
        if self.times is None:
            return self.bound
        other = figures.get(self.times)
        return other.value * self.bound if other else None

    def text(self) -> str:
        """Return the bound in words."""
        sign = "≥" if self.at_least else "≤"
        if self.of_limit:
            return f"{sign} {self.bound:g} of {self.limit}"
        if self.times is not None:
            return f"{sign} {self.bound:g} times {self.times[0]}"
        return f"{sign} {said(self.bound, self.unit)}"


def _edits() -> Iterator[Goal]:
    for name in EDITS:
        yield Goal("1000", name, 0.020)
        yield Goal("1000", f"{name}, p99", 0.060)
    for name in EDITS:
        yield Goal("10000", name, 2, times=("1000", name))
        yield Goal("10000", f"{name}, p99", 2, times=("1000", f"{name}, p99"))


GOALS: tuple[Goal, ...] = (
    Goal("push", "compiled flows into one switch", 0.8, at_least=True, of_limit=True),
    Goal("1000", "cold: files saved until every switch in sync", 1.5),
    Goal("1000", "flows a host, at most", 12_000, Unit.COUNT),
    *_edits(),
    Goal("10000", "load, compile and pack, one core", 20),
    Goal("10000", "load, compile and pack: peak memory", 2e9 / 2**20, Unit.MEBIBYTES),
    Goal("push", "reconnect of a switch that holds all flows", 0.6),
    Goal("push", "reconnect: flow-mods", 0, Unit.COUNT),
    Goal("crowd", "idle, of a core", 5, Unit.PERCENT),
    Goal("crowd", "one change to all switches", 2),
    Goal(LARGE, "flows a host, at most", 6_000, Unit.COUNT),
    Goal(LARGE, JOINED, 0.020),
    Goal(LARGE, "port added", 0.020),
    *(
        Goal(SECURITY, stream_name(where), 0.9, at_least=True, of_limit=True, limit=BARE)
        for where in (SAME_HOST, ACROSS)
    ),
    Goal(SECURITY, passes_name(SAME_HOST), 2, Unit.PASSES),
    *(
        Goal(ROUTED, stream_name(where), 0.9, at_least=True, of_limit=True, limit=BRIDGED)
        for where in (SAME_HOST, ACROSS)
    ),
    Goal(ROUTED, passes_name(SAME_HOST), 2, Unit.PASSES),
    # Two at each host, and one that takes the packet out of its tunnel.
    Goal(ROUTED, passes_name(BOTH), 5, Unit.PASSES),
    *(Goal(ROAMING, beyond_name(by), 0.015) for by in (BY_FAR, BY_NEAR, BY_ITSELF)),
    *(Goal(LARGE_ROUTER, name, 0.020) for name in (ROUTE, NETWORK_JOINED, ADDED)),
    Goal(DHCP, ANSWERS, 1_000, Unit.PER_S, at_least=True),
    Goal(DHCP, ONE, 0.010),
)
