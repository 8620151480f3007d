"""`python -m benchmarks.page`: the tables and drawings of docs/benchmarks.md, from the history; `--check` says what is out of date.

The page's text is written by people; what stands between `<!-- NAME -->` and `<!-- end -->` is made here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from benchmarks.cold import COLD, RESTART
from benchmarks.dhcp import DHCP
from benchmarks.drawing import Bars, Panel, bars, panels
from benchmarks.figure import Figure, Figures, Unit, said
from benchmarks.forwarding import SECURITY
from benchmarks.goals import GOALS
from benchmarks.history import Run, history
from benchmarks.large_router import LARGE_ROUTER
from benchmarks.members import LARGE
from benchmarks.peers import PEERS, WORKS, Span, Work
from benchmarks.report import goal_rows, limit_text, machine_text, ratio_text
from benchmarks.roaming import ROAMING
from benchmarks.routed import ROUTED

DOCS = Path(__file__).resolve().parent.parent / "docs"

_SECTION = re.compile(r"(<!-- ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_OWN = "Weft"

# What the history draws: the figures by which one sees whether Weft has become better or worse.
_DRAWN: tuple[tuple[str, str, str, Unit], ...] = (
    ("1000", COLD, "1000: files until in sync", Unit.SECONDS),
    ("1000", "port added", "1000: port added", Unit.SECONDS),
    ("1000", "port removed", "1000: port removed", Unit.SECONDS),
    ("1000", "port moved", "1000: port moved", Unit.SECONDS),
    ("1000", "rule changed", "1000: rule changed", Unit.SECONDS),
    ("1000", RESTART, "1000: restart until in sync", Unit.SECONDS),
    ("10000", "load, compile and pack, one core", "10000: load, compile, pack", Unit.SECONDS),
    ("10000", "port added", "10000: port added", Unit.SECONDS),
    ("10000", "rule changed", "10000: rule changed", Unit.SECONDS),
    ("push", "compiled flows into one switch", "Flows a second into one switch", Unit.FLOWS_PER_S),
    ("push", "reconnect of a switch that holds all flows", "Reconnect with all flows held", Unit.SECONDS),
    ("crowd", "one change to all switches", "One change to 500 switches", Unit.SECONDS),
)


def page(text: str, runs: Sequence[Run]) -> str:
    """Return the page with its sections made anew from the runs, the oldest first; raise KeyError for a section nobody makes."""
    return _SECTION.sub(lambda found: f"{found[1]}\n{_SECTIONS[found[2]](runs)}\n\n{found[3]}", text)


def files(runs: Sequence[Run], docs: Path = DOCS) -> dict[str, str]:
    """Return what each file shall hold, by its name in the documentation."""
    return {
        "benchmarks.md": page((docs / "benchmarks.md").read_text(encoding="utf-8"), runs),
        "benchmarks-history.svg": _history_drawing(runs),
        "benchmarks-peers.svg": _peers_drawing(runs),
    }


# The sections.


def _goals(runs: Sequence[Run]) -> str:
    head = ("workload", "work", "figure", "limit", "ratio", "to reach", "")
    rows = [
        (f"`{workload}`", *texts, f"**{outcome}**" if outcome == "missed" else str(outcome))
        for workload, *texts, outcome in goal_rows(runs[-1].figures)
    ]
    return _table(head, rows, "llrrrrr")


def _figures(runs: Sequence[Run]) -> str:
    figures = runs[-1].figures
    workloads = [name for name in ("200", "1000", "10000") if any(workload == name for workload, _ in figures)]
    names = list(dict.fromkeys(name for workload, name in figures if workload in workloads))
    rows = [(name, *(_said(figures.get((workload, name))) for workload in workloads)) for name in names]
    return _table(("", *(f"`{name}`" for name in workloads)), rows, "l" + "r" * len(workloads))


def _others(runs: Sequence[Run]) -> str:
    return _with_limits(runs[-1], ("push", "crowd", DHCP), "prepared bytes")


def _large(runs: Sequence[Run]) -> str:
    return _with_limits(runs[-1], (LARGE,), "prepared bytes")


def _security(runs: Sequence[Run]) -> str:
    return _with_limits(runs[-1], (SECURITY,), "bare pipeline")


def _routed(runs: Sequence[Run]) -> str:
    return _with_limits(runs[-1], (ROUTED,), "bridged")


def _roaming(runs: Sequence[Run]) -> str:
    return _with_limits(runs[-1], (ROAMING,), "limit")


def _large_router(runs: Sequence[Run]) -> str:
    return _with_limits(runs[-1], (LARGE_ROUTER,), "prepared bytes")


def _with_limits(run: Run, workloads: Collection[str], limit: str) -> str:
    rows = [
        (f"`{figure.workload}`", figure.name, said(figure.value, figure.unit), limit_text(figure), ratio_text(figure))
        for figure in run.figures.values()
        if figure.workload in workloads
    ]
    return _table(("", "", "figure", limit, "ratio"), rows, "llrrr") if rows else "The last run has not measured it."


def _peers(runs: Sequence[Run]) -> str:
    figures = runs[-1].figures
    rows = [
        (
            f"`{work.workload}`",
            work.words,
            _said(figures.get((work.workload, work.name))),
            *(_span(work.peers.get(peer), work) for peer in PEERS),
        )
        for work in WORKS
    ]
    return _table(("", "", _OWN, *PEERS), rows, "ll" + "r" * (1 + len(PEERS)))


def _machine(runs: Sequence[Run]) -> str:
    return f"`{runs[-1].command}`: {machine_text(runs[-1])}."


def _runs(runs: Sequence[Run]) -> str:
    shown = [(workload, name, title) for workload, name, title, _ in _DRAWN[:2] + _DRAWN[4:7] + _DRAWN[9:11]]
    rows = [
        (
            f"[{run.date}](../benchmarks/results/{run.name}.json)",
            f"`{run.commit}`",
            *(_said(run.figures.get((workload, name))) for workload, name, _ in shown),
        )
        for run in reversed(runs)
    ]
    notes = [f"{run.date}, `{run.commit}`: {run.note}" for run in runs if run.note]
    table = _table(("date", "commit", *(title for *_, title in shown)), rows, "ll" + "r" * len(shown))
    return "\n\n".join([table, *notes])


_SECTIONS: dict[str, Callable[[Sequence[Run]], str]] = {
    "goals": _goals,
    "figures": _figures,
    "others": _others,
    "large": _large,
    "security": _security,
    "routed": _routed,
    "large-router": _large_router,
    "roaming": _roaming,
    "peers": _peers,
    "machine": _machine,
    "runs": _runs,
}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> str:
    rule = ["--:" if side == "r" else "---" for side in sides]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def _said(figure: Figure | None) -> str:
    return "-" if figure is None else said(figure.value, figure.unit)


def _span(span: Span | None, work: Work) -> str:
    if span is None:
        return "-"
    unit = Unit.COUNT if work.is_count else Unit.SECONDS
    words = [said(value, unit) for value in dict.fromkeys(span)]
    return " to ".join(words)


# The drawings.


def _history_drawing(runs: Sequence[Run]) -> str:
    return panels("Every run of the benchmarks (logarithmic scales)", [_panel(*drawn, runs) for drawn in _DRAWN])


def _panel(workload: str, name: str, title: str, unit: Unit, runs: Sequence[Run]) -> Panel:
    points = [(run.commit, _value(run.figures, workload, name)) for run in runs]
    bound, is_better_above = None, False
    for goal in GOALS:
        if (goal.workload, goal.name) == (workload, name):
            bound, is_better_above = goal.value(runs[-1].figures), goal.at_least
    return Panel(title, unit, points, bound, is_better_above)


def _value(figures: Figures, workload: str, name: str) -> float | None:
    figure = figures.get((workload, name))
    return figure.value if figure else None


def _peers_drawing(runs: Sequence[Run]) -> str:
    drawn = []
    for work in WORKS:
        if work.workload != "1000" or work.is_count:
            continue
        own = _value(runs[-1].figures, work.workload, work.name)
        rows = [(_OWN, own, own)] if own else []
        rows += [(peer, *work.peers[peer]) for peer in PEERS if peer in work.peers]
        drawn.append(Bars(work.words, rows))
    return bars("1,000 ports on four hosts: Weft beside its peers (logarithmic scale)", drawn, (_OWN, *PEERS))


def main(arguments: Sequence[str]) -> int:
    """Write what differs; with `--check` only say so and return 1."""
    stale = []
    for name, text in files(history()).items():
        path = DOCS / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(f"docs/{name}")
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
            print(f"docs/{name} written")
    if stale and "--check" in arguments:
        print(f"out of date: {', '.join(stale)}; run make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
