"""`weft host drain` and `undrain`: the running controller has routers led out by other gateways, before a host is worked on."""

from __future__ import annotations

from pathlib import Path

import click

from controller.cli.ask import ask, control_option, name_option
from controller.cli.completion import complete_hosts
from controller.cli.output import Decorator, Exit, leave, output_option, print_json

_timeout: Decorator = click.option(
    "--timeout", type=click.FloatRange(min=0), default=30, show_default=True, help="Seconds to wait for the switches."
)


@click.command("drain", short_help="Have routers led out by other gateways than this host.")
@click.argument("host", shell_complete=complete_hosts)
@control_option
@name_option
@_timeout
@output_option
def drain(host: str, control: Path | None, name: str | None, timeout: float, output: str) -> None:
    """Put HOST last among the gateways of every router, and return when the switches have it.

    What is under way is not lost. HOST leads out all the same should every other gateway be dead, and floating IPs of its own ports stay
    on it. It stays drained until `weft host undrain`, also if the controller starts anew.
    """
    _set(host, control, name, timeout, output, is_drained=True)


@click.command("undrain", short_help="Let a host lead routers out again.")
@click.argument("host", shell_complete=complete_hosts)
@control_option
@name_option
@_timeout
@output_option
def undrain(host: str, control: Path | None, name: str | None, timeout: float, output: str) -> None:
    """Give HOST its place among the gateways back, and return when the switches have it."""
    _set(host, control, name, timeout, output, is_drained=False)


def _set(host: str, control: Path | None, name: str | None, timeout: float, output: str, *, is_drained: bool) -> None:
    answer = ask(control, name, "drain", timeout, host=host, drained=is_drained, deadline=timeout)
    if output == "json":
        print_json(answer)
    change = answer["change"]
    if change is not None and change["troubles"]:
        leave(Exit.TROUBLE, "\n    ".join(("not everywhere yet:", *change["troubles"])))
    if output == "text":
        count = f"{change['flows']} flows and groups on {change['switches']} bridges" if change else "nothing changed"
        click.echo(f"{host} is {'drained' if is_drained else 'a gateway as before'}: {count}")
