"""`weft demo`: a topology up, probed between all ports, and down again; it leaves nothing behind unless asked to."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from controller.cli.lab import complaints
from controller.cli.output import Exit, folder_argument, load_or_exit

if TYPE_CHECKING:
    from controller.lab.lab import Lab
    from controller.lab.reach import Finding
    from controller.model.entities import Topology


@click.command(short_help="Lab up, probe every pair of ports, lab down.")
@folder_argument
@click.option("--keep", is_flag=True, help="Leave the lab up, and say how to look around and how to take it down.")
def command(folder: Path, keep: bool) -> None:
    """Bring the topology in DIR up on this machine, probe every pair of ports, and take it down. Needs root.

    Leaves with 0 only if every packet arrived that the files allow, and no other.
    """
    topology = load_or_exit(folder)
    # Two demos may run at once; one that stays gets the plain name that its user will type.
    name = topology.name if keep else f"{topology.name}-{os.getpid()}"
    with _termination(), complaints():
        lab, findings = _play(topology, folder, name, keep=keep)
    if keep:
        _explain(lab, folder, findings)
    raise SystemExit(Exit.FINE if all(finding.is_right for finding in findings) else Exit.DIFFERENT)


def _play(topology: Topology, folder: Path, name: str, *, keep: bool) -> tuple[Lab, list[Finding]]:
    from controller.cli.ping import probe, show
    from controller.lab.lab import Lab

    started = time.monotonic()
    _say(
        f"bringing up {topology.name}: {len(topology.hosts)} hosts with an Open vSwitch each, {len(topology.ports)} ports"
    )
    lab = Lab.up(topology, folder, name)
    stays = False
    try:
        _say(f"up after {time.monotonic() - started:.1f} s; waiting until every switch holds its program")
        status = lab.wait_in_sync()
        flows = sum(switch["flows_installed"] for switch in status["switches"])
        _say(f"in sync after {time.monotonic() - started:.1f} s: {len(status['switches'])} switches, {flows} flows")
        findings = probe(lab)
        click.echo()
        show(findings)
        stays = keep
    finally:
        if not stays:
            lab.down()
    _say(f"\n{'probed' if keep else 'probed and taken down'} after {time.monotonic() - started:.1f} s")
    return lab, findings


def _explain(lab: Lab, folder: Path, findings: list[Finding]) -> None:
    from controller.lab.state import labs

    weft = "weft" if shutil.which("weft") else os.path.relpath(sys.argv[0])
    host = next(iter(lab.plan.hosts))
    example = next((each.question for each in findings if each.observed and each.question.probe.kind == "icmp"), None)
    only = "" if len(labs()) == 1 else f"--name {lab.name} "
    click.secho("\nThe lab stays up. Look around:", bold=True)
    click.echo(f"  {weft} status --name {lab.name}")
    click.echo(f"  {weft} ping {only}--all")
    if example:
        click.echo(f"  {weft} lab exec {only}{example.source} -- ping -c3 {example.probe.address}")
    click.echo(f"  {weft} lab exec {only}--host {host} -- ovs-ofctl dump-flows br-int")
    click.echo(f"  {weft} flows {folder} --host {host}")
    click.echo(f"  less {lab.log}")
    click.echo(f"Edit {folder} and save: it is in force at once; a port that is new needs a wire, too:")
    click.echo(f"  {weft} lab up {folder}")
    click.echo("Take it down:")
    click.echo(f"  {weft} lab down --name {lab.name}")


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()


@contextmanager
def _termination() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that what was brought up is taken down."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
