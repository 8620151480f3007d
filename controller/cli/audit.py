"""`weft audit`: every switch is asked whether it still holds what it was sent; what a third hand changed is told and repaired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from controller.cli.ask import ask, control_option, name_option
from controller.cli.output import Exit, leave, output_option, print_json

_MARGIN_S = 5.0


@click.command(short_help="Find and repair what a third hand changed in the switches.")
@control_option
@name_option
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="Only this host's bridges; may be given again.")
@click.option("--timeout", type=click.FloatRange(min=0), default=30, show_default=True, help="Seconds to wait.")
@output_option
def command(control: Path | None, name: str | None, hosts: tuple[str, ...], timeout: float, output: str) -> None:
    """Let the running controller compare every bridge with its program, now; it does so by itself every minute.

    Leaves with 1 if there were differences, which are repaired by then, with 3 if a switch could not be asked.
    """
    answer = ask(control, name, "audit", timeout + _MARGIN_S, hosts=list(hosts) or None, deadline=timeout)
    audits = answer["audits"]
    if hosts and (strange := set(hosts) - {audit["host"] for audit in audits}):
        leave(Exit.BAD_INPUT, f"no bridge of {', '.join(sorted(strange))} is known")
    if output == "json":
        print_json(answer)
    else:
        for line in (line for audit in audits for line in _lines(audit)):
            click.echo(line)
    if any(audit["error"] for audit in audits):
        raise SystemExit(Exit.TROUBLE)
    raise SystemExit(Exit.FINE if answer["clean"] else Exit.DIFFERENT)


def _lines(audit: Mapping[str, Any]) -> Iterator[str]:
    bridge = f"{audit['bridge']}@{audit['host']}"
    every = (audit["flows"], audit["groups"], audit["meters"])
    count = sum(findings["count"] for findings in every)
    if audit["error"]:
        yield f"{bridge}: {audit['error']}"
    elif not count:
        yield f"{bridge}: as it should be"
    else:
        yield f"{bridge}: {count} differences, {'repaired' if audit['repaired'] else 'not repaired'}"
    shown = 0
    for findings in every:
        for sort in ("missing", "altered", "foreign"):
            for text in findings[sort]:
                yield f"    {sort}: {text}"
                shown += 1
    if shown < count:
        yield f"    and {count - shown} more"
