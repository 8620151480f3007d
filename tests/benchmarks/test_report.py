"""Goals are judged, results are kept, and the page follows from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import page
from benchmarks.cold import COLD
from benchmarks.figure import Figure, Unit, by_key
from benchmarks.goals import GOALS, Goal, Outcome
from benchmarks.history import Run, history, keep
from benchmarks.report import print_run, write_json

MACHINE: dict[str, Any] = {
    "processor": "abacus",
    "cores": 2,
    "kernel": "6.1",
    "system": "Debian",
    "open_vswitch": "3.1.0",
    "python": "3.11",
    "os_ken": "4.2",
    "load": 0.0,
    "when": "2026-11-21T10:00:00Z",
}
PUSH = Figure("push", "compiled flows into one switch", 90_000, Unit.FLOWS_PER_S, 100_000, (1.0, 1.1))
ADDED = Figure("1000", "port added", 0.5, Unit.SECONDS, 0.001)
FIGURES = by_key(
    (PUSH, ADDED, Figure("10000", "port added", 0.7, Unit.SECONDS), Figure("1000", COLD, 0.8, Unit.SECONDS))
)
RUN = Run("2026-11-21", "abc1234", "python -m benchmarks", MACHINE, FIGURES)
PAGE = "Words of people.\n\n<!-- goals -->\n<!-- end -->\n\n<!-- runs -->\nformer words\n<!-- end -->\n"


def judged(workload: str, name: str) -> Outcome:
    (goal,) = (goal for goal in GOALS if (goal.workload, goal.name) == (workload, name))
    return goal.judge(FIGURES)


def test_a_rate_is_judged_by_the_limit_of_its_run() -> None:
    assert judged("push", "compiled flows into one switch") is Outcome.REACHED
    slower = by_key([dataclasses.replace(PUSH, limit=200_000)])
    assert Goal(*PUSH.key, 0.8, at_least=True, of_limit=True).judge(slower) is Outcome.MISSED


def test_a_time_is_judged_by_its_bound_and_a_large_fabric_by_the_small_one() -> None:
    assert judged("1000", COLD) is Outcome.REACHED
    assert judged("1000", "port added") is Outcome.MISSED
    assert judged("10000", "port added") is Outcome.REACHED
    assert judged("1000", "rule changed") is Outcome.NOT_MEASURED


def test_a_run_is_kept_and_read_again(tmp_path: Path) -> None:
    path = keep(RUN, tmp_path)
    assert path.name == "2026-11-21-abc1234.json"
    (read,) = history(tmp_path)
    assert read.figures[PUSH.key] == dataclasses.replace(PUSH, runs=())
    assert dataclasses.replace(read, figures=RUN.figures) == RUN


def test_runs_are_told_in_the_order_they_were_made(tmp_path: Path) -> None:
    later = dataclasses.replace(RUN, commit="0000001", machine=MACHINE | {"when": "2026-11-21T12:00:00Z"})
    keep(later, tmp_path)
    keep(RUN, tmp_path)
    assert [run.commit for run in history(tmp_path)] == ["abc1234", "0000001"]


def test_the_terminal_shows_what_was_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_run(RUN)
    lines = [line for line in capsys.readouterr().out.splitlines() if "port added" in line]
    assert "500 ms" in lines[0]
    assert "missed" in lines[0]
    write_json(RUN, RUN.figures.values(), tmp_path / "all.json")
    assert "1.1" in (tmp_path / "all.json").read_text(encoding="utf-8")


def test_the_page_keeps_the_words_and_renews_the_tables() -> None:
    text = page.page(PAGE, [RUN])
    assert text.startswith("Words of people.\n\n<!-- goals -->\n")
    assert "| `1000` | port added | 500 ms | 1 ms | 500.00 | ≤ 20 ms | **missed** |" in text
    assert "former words" not in text
    assert page.page(text, [RUN]) == text


def test_the_drawings_are_wellformed_and_show_every_run(tmp_path: Path) -> None:
    (tmp_path / "benchmarks.md").write_text(PAGE, encoding="utf-8")
    made = page.files([RUN, dataclasses.replace(RUN, commit="def5678")], tmp_path)
    for name in ("benchmarks-history.svg", "benchmarks-peers.svg"):
        ET.fromstring(made[name])  # noqa: S314 - We have just written it.
    assert "def5678" in made["benchmarks-history.svg"]
    assert "OVN 26.03.2" in made["benchmarks-peers.svg"]


def test_the_page_of_the_repository_follows_from_its_results() -> None:
    assert page.main(["--check"]) == 0
