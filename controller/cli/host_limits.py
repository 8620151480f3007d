"""`weft host limits`: set how many connections each tenant's zones may hold on this machine, and stay to set it again."""

from __future__ import annotations

import functools
import json
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.output import Exit, leave, output_option, print_json, print_table

if TYPE_CHECKING:
    from controller.switch.limits import Change


@click.command("limits", short_help="Set the limits of tracked connections that this machine's switch remembers.")
@click.option("--db", metavar="TARGET", help="The database, as ovs-vsctl takes it.  [default: the system's]")
@click.option(
    "--ctl",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The control socket of ovs-vswitchd, if it is not where its pid file says.",
)
@click.option("--watch", is_flag=True, help="Stay, and set them again when the switch restarts or they change.")
@output_option
def limits(db: str | None, ctl: Path | None, watch: bool, output: str) -> None:
    """Set how many connections this machine's switch may track for each tenant's address spaces: `connections` of fabric.yaml.

    The controller leaves the limits in the switch, which forgets at every restart what it was told of them: let `--watch` run on
    every host. No files are needed. A zone that has no limit any more loses the one it had; zones that are not Weft's stay as
    they are. Leaves with 3 if the switch does not answer.
    """
    from controller.switch.access import HostError
    from controller.switch.limits import Keeper, Switch, find_switch

    find = functools.partial(find_switch, db, ctl)
    if watch:
        from controller.switch.limits import watch as keep

        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        keep(find, stopped, functools.partial(_tell, output), lambda trouble: click.echo(trouble, err=True))
        return
    try:
        switch = Switch(find())
        try:
            changes = Keeper().apply(switch)
            notes, held = switch.notes(), switch.limits()
        finally:
            switch.close()
    except HostError as problem:
        leave(Exit.TROUBLE, str(problem))
    limited = [note for zone, note in sorted(notes.items()) if zone in held and note.limit is not None]
    rows = [(note.zone, note.space, held[note.zone].limit, held[note.zone].connections) for note in limited]
    if output == "json":
        names = "zone", "space", "limit", "connections"
        now = [dict(zip(names, row, strict=True)) for row in rows]
        print_json({"changes": [_facts(change) for change in changes], "limits": now})
        return
    _tell(output, changes)
    if rows:
        print_table(("ZONE", "ADDRESS SPACE", "LIMIT", "CONNECTIONS"), [tuple(map(str, row)) for row in rows])
    else:
        click.echo("no limits")


def _tell(output: str, changes: Sequence[Change]) -> None:
    """Say what was changed, a line for each zone."""
    for change in changes:
        click.echo(json.dumps(_facts(change)) if output == "json" else _line(change))


def _facts(change: Change) -> dict[str, Any]:
    return change._asdict()


def _line(change: Change) -> str:
    where = f"zone {change.zone}" + (f" ({change.space})" if change.space else "")
    if change.after is None:
        return f"{where}: no limit any more, {change.before} before"
    before = "none" if change.before is None else str(change.before)
    return f"{where}: at most {change.after} connections, {before} before"
