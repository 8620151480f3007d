"""`weft host init`: give this machine's Open vSwitch the bridges that the controller programs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.completion import complete_hosts
from controller.cli.output import Exit, leave, load_or_exit, output_option, print_json

if TYPE_CHECKING:
    from controller.switch.ovsdb import Database

_TARGET = re.compile(r"(tcp|ssl|unix):\S+")


@click.group(short_help="Prepare a host's bridges for the controller.")
def command() -> None:
    """Prepare a host for the controller."""


@command.command("init", short_help="Give this machine's Open vSwitch its bridges, tunnels and controller.")
@click.argument("host", shell_complete=complete_hosts)
@click.option(
    "--topology",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The topology that names the host.",
)
@click.option(
    "--controller",
    default="tcp:127.0.0.1:6653",
    show_default=True,
    metavar="TARGET",
    help="Where the controller listens, tcp:ADDRESS:PORT.",
)
@click.option("--db", metavar="TARGET", help="The database, as ovs-vsctl takes it.  [default: the system's]")
@click.option("--datapath", metavar="TYPE", help="system or netdev, instead of what the topology says.")
@click.option("--dry-run", is_flag=True, help="Print the ovs-vsctl command and run nothing.")
@output_option
def init(
    host: str, topology: Path, controller: str, db: str | None, datapath: str | None, dry_run: bool, output: str
) -> None:
    """Give this machine's Open vSwitch what HOST needs: br-int, br-tun, a bridge per physical network, patch and tunnel ports.

    Running it again changes nothing that is right already, and costs no packet. Bridges and ports that Weft did not make
    are not touched, except that an existing br-PHYSNET gets Weft's settings and a patch port.
    """
    if not _TARGET.fullmatch(controller):
        raise click.BadParameter(f'"{controller}" is not of the form tcp:ADDRESS:PORT', param_hint="--controller")
    intent = load_or_exit(topology)
    from controller.switch.ovsdb import HostError, command_line, host_commands, set_up_host

    try:
        # What is wrong with the question comes out before anything is asked of the switch.
        commands = host_commands(intent, host, controller=controller, datapath=datapath)
    except HostError as error:
        leave(Exit.BAD_INPUT, str(error))
    try:
        if dry_run:
            database = _database(db)
            commands = host_commands(intent, host, controller=controller, datapath=datapath, database=database)
        else:
            commands = set_up_host(intent, host, controller=controller, db=db, datapath=datapath)
    except HostError as error:
        leave(Exit.TROUBLE, str(error))
    if output == "json":
        print_json({"host": host, "dry_run": dry_run, "commands": [list(words) for words in commands]})
    elif not commands:
        click.echo(f"{host}: nothing to do")
    elif dry_run:
        click.echo(" \\\n  -- ".join(_phrases(command_line(commands, db))))
    else:
        click.echo(f"{host}: {len(commands)} changes in one transaction")


def _database(db: str | None) -> Database:
    """Return what the switch has; where there is none, the command for an empty one is still worth reading."""
    from controller.switch.ovsdb import Database, HostError, read_database

    try:
        return read_database(db)
    except HostError as error:
        click.echo(f"{error}\nshown for an empty Open vSwitch:", err=True)
        return Database()


def _phrases(words: list[str]) -> list[str]:
    """Return a command line as one phrase for each `ovs-vsctl` command, quoted for a shell."""
    phrases: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            phrases.append([])
        else:
            phrases[-1].append(word)
    return [shlex.join(phrase) for phrase in phrases]
