"""`weft host`: what is done on, or with, one host; `weft host init` gives its Open vSwitch the bridges that the controller programs."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.completion import complete_hosts
from controller.cli.drain import drain, undrain
from controller.cli.host_limits import limits
from controller.cli.output import Exit, leave, load_or_exit, output_option, print_json
from controller.cli.tls import chosen, tls_options

if TYPE_CHECKING:
    from controller.switch.ovsdb import Database
    from controller.switch.tls import Files

_TARGET = re.compile(r"(tcp|ssl|unix):\S+")


@click.group(short_help="Prepare a host for the controller, or for work on it.")
def command() -> None:
    """Prepare a host for the controller, or for work on it."""


command.add_command(limits)
command.add_command(drain)
command.add_command(undrain)


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
    metavar="TARGET",
    help="Where the controller listens, tcp:ADDRESS:PORT or ssl:ADDRESS:PORT."
    "  [default: port 6653 of 127.0.0.1, ssl: with a certificate, else tcp:]",
)
@tls_options
@click.option(
    "--ovsdb",
    metavar="TARGET",
    help="Let the controller read the database: pssl:PORT, or ptcp:PORT:ADDRESS without TLS.",
)
@click.option("--db", metavar="TARGET", help="The database, as ovs-vsctl takes it.  [default: the system's]")
@click.option("--datapath", metavar="TYPE", help="system or netdev, instead of what the topology says.")
@click.option("--dry-run", is_flag=True, help="Print the ovs-vsctl command and run nothing.")
@output_option
def init(
    host: str,
    topology: Path,
    controller: str | None,
    pki: Path | None,
    tls_key: Path | None,
    tls_cert: Path | None,
    tls_ca: Path | None,
    ovsdb: str | None,
    db: str | None,
    datapath: str | None,
    dry_run: bool,
    output: str,
) -> None:
    """Give this machine's Open vSwitch what HOST needs: br-int, br-tun, a bridge per physical network, patch and tunnel ports.

    Running it again changes nothing that is right already, and costs no packet. Bridges and ports that Weft did not make
    are not touched, except that an existing br-PHYSNET gets Weft's settings and a patch port.

    A certificate for ssl: is Open vSwitch's own, so also of its database, and must name HOST. It, the controller and
    all the rest change in one transaction.
    """
    _check_targets(controller, ovsdb)
    files = _certificate(host, chosen(pki, tls_key, tls_cert, tls_ca))
    controller = controller or f"{'ssl' if files else 'tcp'}:127.0.0.1:6653"
    intent = load_or_exit(topology)
    from controller.switch.access import HostError, NoCertificates
    from controller.switch.ovsdb import command_line, host_commands, set_up_host

    wanted = functools.partial(
        host_commands, intent, host, controller=controller, datapath=datapath, tls=files, ovsdb=ovsdb
    )
    try:
        # What is wrong with the question comes out before anything is asked of the switch.
        wanted()
    except HostError as error:
        leave(Exit.BAD_INPUT, str(error))
    try:
        if dry_run:
            commands = wanted(database=_database(db))
        else:
            commands = set_up_host(
                intent, host, controller=controller, db=db, datapath=datapath, tls=files, ovsdb=ovsdb
            )
    except NoCertificates as error:
        leave(Exit.BAD_INPUT, str(error))
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
    limited = [tenant.name for tenant in intent.tenants.values() if tenant.connections is not None]
    if limited:
        said = f"{', '.join(limited)} may have so many connections only if `weft host limits --watch` runs here as well"
        click.echo(f"{host}: {said} (docs/operating.md)", err=True)


def _check_targets(controller: str | None, ovsdb: str | None) -> None:
    from controller.switch.access import OVSDB_TARGET

    if controller is not None and not _TARGET.fullmatch(controller):
        raise click.BadParameter(f'"{controller}" is not of the form tcp:ADDRESS:PORT', param_hint="--controller")
    if ovsdb is not None and not OVSDB_TARGET.fullmatch(ovsdb):
        raise click.BadParameter(f'"{ovsdb}" is neither pssl:PORT nor ptcp:PORT:ADDRESS', param_hint="--ovsdb")


def _certificate(host: str, files: tuple[Path, Path, Path] | None) -> Files | None:
    """Return the host's files; leave if the controller would not let it in with them, which would cut it off."""
    if files is None:
        return None
    from controller.switch.tls import BadCredentials, Files, names_in

    try:
        names = names_in(Files(*files))
    except BadCredentials as problem:
        leave(Exit.BAD_INPUT, str(problem))
    if host not in names:
        leave(Exit.BAD_INPUT, f"{files[1]} is the certificate of {', '.join(sorted(names)) or 'nobody'}, not of {host}")
    return Files(*files)


def _database(db: str | None) -> Database:
    """Return what the switch has; where there is none, the command for an empty one is still worth reading."""
    from controller.switch.access import HostError
    from controller.switch.ovsdb import Database, read_database

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
