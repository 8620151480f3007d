"""The results of earlier runs: one small file each in `benchmarks/results/`, named by date and commit."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, Figures, Unit, by_key
from benchmarks.measure import Machine

RESULTS = Path(__file__).resolve().parent / "results"
_DIGITS = 4  # Significant ones: the machine gives no more.


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmarks, as the history keeps it: without the single runs that its figures are made of."""

    date: str
    commit: str
    command: str
    machine: dict[str, Any]
    figures: Figures
    note: str = ""

    @property
    def name(self) -> str:
        """What the run's file is called, without its ending."""
        return f"{self.date}-{self.commit}"


def keep(run: Run, directory: Path = RESULTS) -> Path:
    """Write a run into the history, in the place of an earlier one of the same day and commit; return the file."""
    document: dict[str, Any] = {
        "date": run.date,
        "commit": run.commit,
        "command": run.command,
        "machine": run.machine,
        **({"note": run.note} if run.note else {}),
        "figures": [_as_json(figure) for figure in run.figures.values()],
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{run.name}.json"
    figures = ",\n    ".join(json.dumps(figure) for figure in document.pop("figures"))
    head = json.dumps(document, indent=2).removesuffix("\n}")
    path.write_text(f'{head},\n  "figures": [\n    {figures}\n  ]\n}}\n', encoding="utf-8")
    return path


def history(directory: Path = RESULTS) -> list[Run]:
    """Return all runs that are kept, the oldest first."""
    runs = [_read(path) for path in directory.glob("*.json")]
    return sorted(runs, key=lambda run: (run.machine.get("when", run.date), run.name))


def this_run(figures: Iterable[Figure], machine: Machine, command: str) -> Run:
    """Return a run that has just ended, with the commit that is checked out."""
    return Run(machine.when[:10], commit(), command, dataclasses.asdict(machine), by_key(figures))


def commit() -> str:
    """Return the short name of the commit that is checked out, with a `+` if tracked files differ from it; `unknown` without git."""
    words = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--exclude=*", "--abbrev=7", "--dirty=+"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown"


def _as_json(figure: Figure) -> dict[str, Any]:
    limit = {} if figure.limit is None else {"limit": _rounded(figure.limit)}
    named = {"workload": figure.workload, "name": figure.name}
    return {**named, "value": _rounded(figure.value), "unit": figure.unit.value, **limit}


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") if abs(value) < 10**_DIGITS else round(value)


def _read(path: Path) -> Run:
    document = json.loads(path.read_text(encoding="utf-8"))
    figures = by_key(
        Figure(each["workload"], each["name"], each["value"], Unit(each["unit"]), each.get("limit"))
        for each in document["figures"]
    )
    return Run(
        document["date"],
        document["commit"],
        document["command"],
        document["machine"],
        figures,
        document.get("note", ""),
    )
