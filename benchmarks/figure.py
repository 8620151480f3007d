"""A figure: what was measured of which work, beside what the machine itself needs for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.measure import Timing


class Unit(StrEnum):
    """What a figure counts."""

    SECONDS = "s"
    FLOWS_PER_S = "flows/s"
    PER_S = "1/s"
    MEGABITS = "Mbit/s"
    PASSES = "passes"
    MEBIBYTES = "MiB"
    PERCENT = "%"
    COUNT = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a run of the benchmarks.

    `limit` is what the same needs in the same run when prepared bytes are all there is to it, or, of packets, what they get from the
    barest pipeline; None where that means nothing. `runs` are the single runs that the figure is made of.
    """

    workload: str
    name: str
    value: float
    unit: Unit
    limit: float | None = None
    runs: tuple[float, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What names the figure in every run of the benchmarks."""
        return self.workload, self.name

    @property
    def ratio(self) -> float | None:
        """The figure in parts of its limit."""
        return self.value / self.limit if self.limit else None


Figures = dict[tuple[str, str], Figure]


def by_key(figures: Iterable[Figure]) -> Figures:
    """Return figures by what names them."""
    return {figure.key: figure for figure in figures}


def median(workload: str, name: str, timing: Timing, limit: Timing | None = None) -> Figure:
    """Return what to expect of a work that was timed."""
    expected = limit.median_s if limit else None
    return Figure(workload, name, timing.median_s, Unit.SECONDS, expected, timing.runs_s)


def median_and_p99(workload: str, name: str, timing: Timing, limit: Timing | None = None) -> Iterator[Figure]:
    """Yield what to expect of a work that was timed often, and what one in a hundred exceeds."""
    yield median(workload, name, timing, limit)
    yield Figure(workload, f"{name}, p99", timing.p99_s, Unit.SECONDS, limit.p99_s if limit else None)


def said(value: float, unit: Unit) -> str:
    """Return a value as people read it.

    >>> said(0.0123, Unit.SECONDS), said(0.75, Unit.SECONDS), said(1.8, Unit.SECONDS), said(20, Unit.SECONDS)
    ('12.3 ms', '750 ms', '1.8 s', '20 s')
    >>> said(12627, Unit.COUNT), said(0.44, Unit.PERCENT), said(123456.7, Unit.FLOWS_PER_S)
    ('12,627', '0.44 %', '123,457/s')
    """
    match unit:
        case Unit.SECONDS if round(value, 4) < 1:
            return f"{_short(value * 1000)} ms"
        case Unit.SECONDS | Unit.PERCENT | Unit.PASSES:
            return f"{_short(value)} {unit}"
        case Unit.COUNT:
            return f"{value:,.0f}"
        case Unit.FLOWS_PER_S | Unit.PER_S:
            return f"{value:,.0f}/s"
        case _:
            return f"{value:,.0f} {unit}"


def _short(value: float) -> str:
    """Return a value with three significant digits, fewer where they are zeros."""
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text
