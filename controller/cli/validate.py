"""`weft validate`: everything that is wrong with a topology at once, and whether the tenants' own tests hold.

It needs no switch and no controller: what it says of tests follows from the files alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.output import Exit, folder_argument, output_option, print_json

if TYPE_CHECKING:
    from controller.config import Loaded, Problem
    from controller.proof.policy import Result


@click.command(short_help="Check a topology and name every problem with its place.")
@folder_argument
@output_option
def command(folder: Path, output: str) -> None:
    """Check the topology in DIR: report every problem with its place, then evaluate the files' tests.

    Exits with 0 if all is fine, 1 if a test fails, 2 if the files are refused.
    """
    from controller.config import load

    start = time.perf_counter()
    loaded = load(folder)
    results = _run_tests(loaded)
    costly = _costly_groups(loaded)
    milliseconds = round((time.perf_counter() - start) * 1000)
    failed = [result for result in results if not result.passed]
    if output == "json":
        print_json(_as_json(loaded, results, costly, milliseconds))
    else:
        _print(loaded, failed, costly, milliseconds)
    if loaded.topology is None:
        raise SystemExit(Exit.BAD_INPUT)
    raise SystemExit(Exit.DIFFERENT if failed else Exit.FINE)


def _run_tests(loaded: Loaded) -> list[Result]:
    if loaded.topology is None or not loaded.topology.tests:
        return []
    from controller.proof.policy import run_tests

    return run_tests(loaded.topology)


def _costly_groups(loaded: Loaded) -> list[Problem]:
    """Return a warning for each class of ports whose rules may cost more masks than a port should, at its first group."""
    if loaded.topology is None:
        return []
    from controller.config.problem import Problem
    from controller.pipeline.costs import MOST_OF_A_PORT, bounds

    found = []
    for groups, masks in bounds(loaded.topology).items():
        if masks > MOST_OF_A_PORT:
            names = ", ".join(group.name for group in groups)
            message = f"rules of ports in {names} may cost {masks} masks, and a port should not cost more than {MOST_OF_A_PORT}"
            hint = "fewer lengths of prefixes and ranges; or an address group in place of prefixes"
            found.append(Problem("W006", message, groups[0].place, 1, "", hint, is_warning=True))
    return found


def _print(loaded: Loaded, failed: list[Result], costly: list[Problem], milliseconds: int) -> None:
    from controller.config import render
    from controller.config.expectations import tell_failure

    for problem in (*loaded.problems, *costly):
        click.echo(render(problem))
    if loaded.left_out:
        click.echo(f"and {loaded.left_out} more")
    for result in failed:
        click.echo(tell_failure(result.test, result.explanation))
    topology = loaded.topology
    if topology is None or loaded.problems or failed:
        click.echo(f"{_summary(loaded, failed)} in {_count(len(loaded.files), 'file')} ({milliseconds} ms)")
        return
    counts = [
        _count(len(entries), word)
        for entries, word in (
            (topology.tenants, "tenant"),
            (topology.hosts, "host"),
            (topology.networks, "network"),
            (topology.ports, "port"),
        )
    ]
    tests = f"; {_count(len(topology.tests), 'test')} passed" if topology.tests else ""
    click.echo(f"fine: {', '.join(counts)}{tests} ({milliseconds} ms)")


def _summary(loaded: Loaded, failed: list[Result]) -> str:
    """Return how many problems of each kind there are."""
    errors = len(loaded.errors)
    warnings = len(loaded.problems) - errors
    parts = [
        _count(errors, "error") if errors else "",
        _count(warnings, "warning") if warnings else "",
        _count(len(failed), "failed test") if failed else "",
        f"{loaded.left_out} more not shown" if loaded.left_out else "",
    ]
    return ", ".join(part for part in parts if part)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _as_json(loaded: Loaded, results: list[Result], costly: list[Problem], milliseconds: int) -> dict[str, Any]:
    from controller.config.expectations import describe

    return {
        "fine": loaded.topology is not None and all(result.passed for result in results),
        "problems": [_problem(problem) for problem in (*loaded.problems, *costly)],
        "left_out": loaded.left_out,
        "tests": [
            {
                "test": describe(result.test),
                "passed": result.passed,
                "explanation": result.explanation,
                "file": result.test.place.file,
                "line": result.test.place.line,
                "column": result.test.place.column,
            }
            for result in results
        ],
        "files": list(loaded.files),
        "milliseconds": milliseconds,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "severity": "warning" if problem.is_warning else "error",
        "message": problem.message,
        "file": problem.place.file,
        "line": problem.place.line,
        "column": problem.place.column,
        "length": problem.length,
        "hint": problem.hint,
    }
