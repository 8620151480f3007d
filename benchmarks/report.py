"""A run's figures as people read them in a terminal, and all of it as JSON for whoever looks closer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figure import Figure, Figures, said
from benchmarks.goals import GOALS, Goal, Outcome
from benchmarks.history import Run

_STYLES = {Outcome.REACHED: "green", Outcome.MISSED: "bold red", Outcome.NOT_MEASURED: "dim"}


def print_run(run: Run) -> None:
    """Print the goals with what became of them, every other figure, and where the figures come from."""
    console = Console(width=None if Console().is_terminal else 140, highlight=False)
    console.print(_goals(run.figures))
    console.print()
    console.print(_others(run.figures))
    console.print(machine_text(run), soft_wrap=True)


def goal_rows(figures: Figures) -> Iterable[tuple[str, str, str, str, str, str, Outcome]]:
    """Yield for each goal: workload, work, figure, its limit, ratio to that, the bound, and what became of it."""
    for goal in GOALS:
        figure = figures.get((goal.workload, goal.name))
        value = said(figure.value, figure.unit) if figure else "-"
        limit = limit_text(figure) if figure else "-"
        yield goal.workload, goal.name, value, limit, _ratio(goal, figures), goal.text(), goal.judge(figures)


def limit_text(figure: Figure) -> str:
    """Return a figure's limit in words."""
    return said(figure.limit, figure.unit) if figure.limit is not None else "-"


def ratio_text(figure: Figure) -> str:
    """Return a figure's ratio to its limit in words."""
    return f"{figure.ratio:.2f}" if figure.ratio is not None else "-"


def _ratio(goal: Goal, figures: Figures) -> str:
    if goal.times is not None:
        measured = goal.measured(figures)
        return "-" if measured is None else f"{measured:.2f} × {goal.times[0]}"  # noqa: RUF001 - The sign for "times".
    figure = figures.get((goal.workload, goal.name))
    return ratio_text(figure) if figure else "-"


def machine_text(run: Run) -> str:
    """Return in one line where the figures of a run come from."""
    facts = run.machine
    where = f"{facts['processor']}, {facts['cores']} cores, {facts['system']}, Linux {facts['kernel']}"
    versions = f"Open vSwitch {facts['open_vswitch']}, Python {facts['python']}, os-ken {facts['os_ken']}"
    return f"{where}; {versions}; load average at the start {facts['load']}; {run.date}, commit {run.commit}"


def _goals(figures: Figures) -> Table:
    table = Table(title="figures to reach", title_justify="left", show_edge=False)
    for column in ("", "work"):
        table.add_column(column)
    for column in ("figure", "limit", "ratio", "to reach", ""):
        table.add_column(column, justify="right")
    for *texts, outcome in goal_rows(figures):
        table.add_row(*texts, f"[{_STYLES[outcome]}]{outcome}[/]")
    return table


def _others(figures: Figures) -> Table:
    judged = {(goal.workload, goal.name) for goal in GOALS}
    table = Table(title="the other figures (of times, the median)", title_justify="left", show_edge=False)
    for column in ("", "work"):
        table.add_column(column)
    for column in ("figure", "limit", "ratio"):
        table.add_column(column, justify="right")
    for key, figure in figures.items():
        if key not in judged:
            table.add_row(*key, said(figure.value, figure.unit), limit_text(figure), ratio_text(figure))
    return table


def write_json(run: Run, figures: Iterable[Figure], path: Path) -> None:
    """Write all figures, every single run among them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "command": run.command,
        "commit": run.commit,
        "machine": run.machine,
        "figures": [dataclasses.asdict(figure) for figure in figures],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
