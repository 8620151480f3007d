"""`weft reload`: the running controller loads its files now, and the command returns when the switches hold the result.

Saved files are loaded without it; it is for those who want to know when.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from controller.cli.ask import ask, control_option, name_option
from controller.cli.output import Exit, leave, output_option, print_json

_POLL_SECONDS = 0.02


@click.command(short_help="Load the files now; return when the switches hold the result.")
@control_option
@name_option
@click.option("--timeout", type=click.FloatRange(min=0), default=30, show_default=True, help="Seconds to wait.")
@output_option
def command(control: Path | None, name: str | None, timeout: float, output: str) -> None:
    """Let the running controller load its files, and wait until every switch holds the result.

    Leaves with 2 if the files are refused, which changes nothing; with 3 if a switch is not in sync in time.
    """
    started = time.monotonic()
    report = ask(control, name, "reload")
    if report["accepted"]:
        report |= _wait(control, name, started + timeout)
    report["seconds"] = round(time.monotonic() - started, 3)
    if output == "json":
        print_json(report)
    for problem in report["problems"]:
        click.echo(problem, err=True)
    if not report["accepted"]:
        leave(Exit.BAD_INPUT, "refused, the last good topology stays in force")
    if report["late"]:
        leave(Exit.TROUBLE, f"in force, but not in sync: {', '.join(report['late'])}")
    if output == "text":
        click.echo(f"in force, and every switch in sync after {report['seconds']:.2f} s")


def _wait(control: Path | None, name: str | None, deadline: float) -> dict[str, Any]:
    while True:
        switches = ask(control, name, "status")["switches"]
        late = [f"{switch['bridge']}@{switch['host']}" for switch in switches if switch["state"] != "in sync"]
        if not late or time.monotonic() > deadline:
            return {"late": late}
        time.sleep(_POLL_SECONDS)
