"""`weft ping`: real packets between all ports of a lab, compared with what the files allow."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.lab import complaints, directory_option, name_option, open_lab
from controller.cli.output import Exit, load_or_exit, output_option, print_json, print_table

if TYPE_CHECKING:
    from controller.lab.lab import Lab
    from controller.lab.reach import Finding


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
    topology = load_or_exit(lab.folder)
    from controller.lab.reach import observe, questions

    location = {port: lab.plan.ports[port].host for port in lab.plugged}
    asked = questions(topology, location)
    findings = observe(asked, {port: lab.port_namespace(port) for port in lab.plugged}, _progress())
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    return findings


def show(findings: Sequence[Finding], *, everything: bool = False) -> None:
    """Print the matrix, then what is not as expected, or with `everything` all there is."""
    matrix(findings)
    wrong = [finding for finding in findings if not finding.is_right]
    if everything:
        click.echo()
        for line in _details(findings):
            click.echo(line)
    for finding in wrong:
        click.echo()
        question = finding.question
        click.secho(f"{question.source} -> {question.target} ({question.probe.address})  {question.what}", bold=True)
        click.echo(f"  expected {_word(question.expected)}: {question.reason}")
        note = f", {finding.note}" if finding.note else ""
        click.secho(f"  observed {_word(finding.observed)}{note}", fg="red")
    noted = sorted({finding.note for finding in findings if finding.note and finding.is_right})
    for note in noted:
        click.echo(f"\nnote: {note}")
    pairs = len({(finding.question.source, finding.question.target) for finding in findings})
    verdict = f"{len(wrong)} NOT as expected" if wrong else "all as expected"
    click.secho(f"\n{len(findings)} probes of {pairs} pairs of ports: {verdict}", fg="red" if wrong else "green")


def matrix(findings: Iterable[Finding]) -> None:
    """Print for every ordered pair how many of its probes got through of how many; `!` marks a surprise."""
    cells: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        cells.setdefault((finding.question.source, finding.question.target), []).append(finding)
    names = list(dict.fromkeys([source for source, _ in cells] + [target for _, target in cells]))
    click.echo(
        "from (rows) to (columns): probes that got through / probes sent; 0 is what the files forbid, ! a surprise\n"
    )
    rows = [(name, *(_cell(cells.get((name, other))) for other in names)) for name in names]
    print_table(("", *names), rows)


def _cell(findings: Sequence[Finding] | None) -> str:
    if not findings:
        return "-"
    through = sum(finding.observed for finding in findings)
    return f"{through}/{len(findings)}" + ("" if all(finding.is_right for finding in findings) else " !")


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
