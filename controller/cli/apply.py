"""`weft apply`: the running controller loads its files now; with `--wait` the command returns when the switches hold the result.

Saved files are loaded without it; it is for those who want to know when, or want to go back if not all goes well.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from controller.cli.ask import ask, control_option, name_option
from controller.cli.output import Exit, leave, output_option, print_json

_MARGIN_S = 5.0  # For the controller's own work on top of the time that the switches get.


@click.command(short_help="Load the files now; wait for the switches, or go back if one does not take them.")
@control_option
@name_option
@click.option("--wait", is_flag=True, help="Return when every connected switch has confirmed what changed.")
@click.option(
    "--rollback-on-failure",
    is_flag=True,
    help="If a switch refuses, or does not answer in time, put the former topology in force again. Implies --wait.",
)
@click.option("--timeout", type=click.FloatRange(min=0), default=30, show_default=True, help="Seconds to wait.")
@output_option
def command(
    control: Path | None, name: str | None, wait: bool, rollback_on_failure: bool, timeout: float, output: str
) -> None:
    """Let the running controller load its files, all of them, and say what became of it.

    Leaves with 2 if the files are refused, which changes nothing; with 3 if a switch did not take them, or is away: it gets them
    when it comes back.
    """
    started = time.monotonic()
    wait = wait or rollback_on_failure
    answer = ask(control, name, "apply", timeout + _MARGIN_S, wait=wait, rollback=rollback_on_failure, deadline=timeout)
    answer["seconds"] = round(time.monotonic() - started, 3)
    if output == "json":
        print_json(answer)
    for problem in answer["problems"]:
        click.echo(problem, err=True)
    if not answer["accepted"]:
        leave(Exit.BAD_INPUT, "refused, the last good topology stays in force")
    if answer["troubles"]:
        where = "rolled back, the former topology is in force again" if answer["rolled_back"] else "in force, but"
        leave(Exit.TROUBLE, "\n    ".join((where, *answer["troubles"])))
    if output == "text":
        change = answer["change"]
        count = (
            f"{change['flows']} flows and groups on {change['switches']} bridges"
            if change
            else "nothing was left to change"
        )
        click.echo(f"in force{', and confirmed' if wait else ''} after {answer['seconds']:.2f} s: {count}")
