"""`weft ping`: real packets between all ports of a lab, compared with what the files allow."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.lab import complaints, directory_option, name_option, open_lab
from controller.cli.output import Exit, load_or_exit, output_option, print_json, print_table

if TYPE_CHECKING:
    from controller.lab.lab import Lab
    from controller.lab.reach import Finding

_WIDE = 16  # A matrix of more ports fits no screen.


@click.command(short_help="Probe pairs of ports in the lab; compare with what the files allow.")
@click.option("--all", "everything", is_flag=True, help="Show every pair, not only what is not as expected.")
@name_option
@directory_option
@output_option
def command(everything: bool, name: str | None, directory: Path | None, output: str) -> None:
    """Send ICMP, TCP and UDP between every two ports of the lab and compare with what the files allow.

    A probe counts as having reached a port only if that very port saw it and the answer came back, so tenants with the
    same addresses are told apart. Leaves with 1 if anything is not as expected.
    """
    with complaints():
        lab = open_lab(name, directory)
        findings = probe(lab)
    if output == "json":
        print_json([_record(finding) for finding in findings])
    else:
        show(findings, everything=everything)
    raise SystemExit(Exit.FINE if all(finding.is_right for finding in findings) else Exit.DIFFERENT)


def probe(lab: Lab) -> list[Finding]:
    """Probe all plugged ports of a lab, with progress on a terminal, and return what was found."""
    # Places in the files are named as the user would, who is most often above them.
    here = Path.cwd()
    topology = load_or_exit(lab.folder.relative_to(here) if lab.folder.is_relative_to(here) else lab.folder)
    from controller.config.suggest import listed
    from controller.lab.reach import observe, questions
    from controller.lab.roundabout import outside_questions

    location = {port: lab.plan.ports[port].host for port in lab.plugged}
    outside = lab.plan.outside
    asked = [*questions(topology, location, outside), *outside_questions(topology, location, outside)]
    absent = [port for port in topology.ports if port not in location]
    if absent:
        click.echo(f"not plugged, so not probed: {listed(absent)}; `weft lab up {lab.folder}` plugs them", err=True)
    everybody = (*lab.plugged, *lab.plan.outside.names[:1])
    findings = observe(asked, {name: lab.port_namespace(name) for name in everybody}, _progress())
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    return findings


def show(findings: Sequence[Finding], *, everything: bool = False) -> None:
    """Print the matrix, then what is not as expected; with `everything` each pair's probes as well."""
    ports = {finding.question.source for finding in findings}
    around = [finding for finding in findings if finding.question.by]
    if everything or len(ports) <= _WIDE:
        matrix(finding for finding in findings if not finding.question.by)
    if around and (everything or len({finding.question.by for finding in around}) <= _WIDE):
        click.echo("\nto the outside, and from everywhere to floating IPs\n")
        _table(around)
    if everything:
        click.echo()
        for line in _details(findings):
            click.echo(line)
    wrong = [finding for finding in findings if not finding.is_right]
    for line in _surprises(wrong):
        click.echo(line)
    for note in sorted({finding.note for finding in findings if finding.note and finding.is_right}):
        click.echo(f"\nnote: {note}")
    pairs = len({(finding.question.source, finding.question.target) for finding in findings})
    verdict = f"{len(wrong)} NOT as expected" if wrong else "all as expected"
    whom = "pairs, the outside among them" if around else "pairs of ports"
    click.secho(f"\n{len(findings)} probes of {pairs} {whom}: {verdict}", fg="red" if wrong else "green")


def matrix(findings: Iterable[Finding]) -> None:
    """Print for every ordered pair how many probes were expected to get through, and how many did."""
    click.echo(
        "rows to columns: probes expected / observed to get through; . none, ! not as expected, - same address\n"
    )
    _table(findings)


def _table(findings: Iterable[Finding]) -> None:
    """Print a row for each sender and a column for each target, or what is addressed in its place, both in one order."""
    cells: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        question = finding.question
        cells.setdefault((question.source, question.by or question.target), []).append(finding)
    names = list(dict.fromkeys([source for source, _ in cells] + [target for _, target in cells]))
    rows, columns = ([name for name in names if any(pair[end] == name for pair in cells)] for end in (0, 1))
    print_table(("", *columns), [(name, *(_cell(cells.get((name, other))) for other in columns)) for name in rows])


def _cell(findings: Sequence[Finding] | None) -> str:
    if not findings:
        return "-"
    expected = sum(finding.question.expected for finding in findings)
    observed = sum(finding.observed for finding in findings)
    counts = f"{expected}/{observed}" if expected or observed else "."
    return counts if all(finding.is_right for finding in findings) else f"{counts} !"


def _surprises(wrong: Iterable[Finding]) -> Iterator[str]:
    """Yield what is not as expected: one paragraph for each pair of ports, with the rules that say what should be."""
    groups: dict[tuple[str, str, bool, str], list[Finding]] = {}
    for finding in wrong:
        question = finding.question
        target = question.target + (f" by {question.by}" if question.by not in ("", question.target) else "")
        groups.setdefault((question.source, target, question.expected, finding.note), []).append(finding)
    for (source, target, expected, note), group in groups.items():
        observed = _word(not expected) + (f" ({note})" if note else "")
        yield f"\n{source} -> {target}: expected {_word(expected)}, observed {observed}"
        reasons: dict[str, list[str]] = {}
        for finding in group:
            reasons.setdefault(finding.question.reason, []).append(finding.question.what)
        yield from (f"  {', '.join(kinds)}: {reason}" for reason, kinds in reasons.items())


def _details(findings: Sequence[Finding]) -> Iterable[str]:
    pairs: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        question = finding.question
        pairs.setdefault((question.source, question.target, question.probe.address), []).append(finding)
    yes, no, surprise = ("\u2713", "\u00b7", "!") if (sys.stdout.encoding or "").lower().startswith("utf") else "+.!"
    click.echo(f"{yes} got through as expected, {no} silent as expected, {surprise} not as expected")
    for (source, target, address), group in pairs.items():
        marks = (
            f"{finding.question.what} {(yes if finding.observed else no) if finding.is_right else surprise}"
            for finding in group
        )
        yield f"{source} -> {target} ({address})  {', '.join(marks)}"


def _word(reached: bool) -> str:
    return "reachable" if reached else "not reachable"


def _record(finding: Finding) -> dict[str, object]:
    question = finding.question
    return {
        "from": question.source,
        "to": question.target,
        **{key: value for key, value in dataclasses.asdict(question.probe).items() if key != "source"},
        "expected": question.expected,
        "observed": finding.observed,
        "as_expected": finding.is_right,
        "reason": question.reason,
        "note": finding.note,
    }


def _progress() -> Callable[[int, int], None]:
    """Return what shows progress: a line on standard error that writes over itself, nothing where that is not a terminal."""
    shown = -1

    def report(done: int, everything: int) -> None:
        nonlocal shown
        if done != shown and sys.stderr.isatty():
            shown = done
            click.echo(f"\rprobing: {done} of {everything}", nl=False, err=True)

    return report
