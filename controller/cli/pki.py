"""`weft pki`: the certificates with which a fabric's hosts and its controller know each other."""

from __future__ import annotations

from pathlib import Path

import click

from controller.cli.completion import complete_hosts
from controller.cli.output import (
    Exit,
    folder_argument,
    leave,
    load_or_exit,
    output_option,
    print_json,
    print_table,
)

_LONGEST = 3650
_WARN_DAYS = 30


@click.command(short_help="Make the certificates of a fabric's hosts and controller.")
@folder_argument
@click.option(
    "--into",
    "directory",
    required=True,
    metavar="PKI",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the keys and certificates; keep it away from hosts and tenants.",
)
@click.option(
    "--only",
    "names",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_hosts,
    help="A host, or controller.  [default: all]",
)
@click.option(
    "--days",
    type=click.IntRange(1, _LONGEST),
    default=825,
    show_default=True,
    help="How long a new certificate is valid.",
)
@click.option("--force", is_flag=True, help="New keys and certificates where there are some; the authorities stay.")
@output_option
def command(folder: Path, directory: Path, names: tuple[str, ...], days: int, force: bool, output: str) -> None:
    """Make certificates for the controller and for every host of the topology in DIR.

    What is there already is kept, so that a new host is one more run. PKI/controller and PKI/hosts/HOST then hold
    key.pem, cert.pem and ca.pem each: copy the one folder to its machine and name it with --pki, of `weft run` and of `weft
    host init`. PKI/ca signs new ones and stays where it is. A certificate bears its host's name, and the
    controller lets nobody else claim that host's datapaths.
    """
    topology = load_or_exit(folder)
    from datetime import UTC, datetime

    from controller import pki
    from controller.config.suggest import instead
    from controller.model.entities import HostKind

    known = [pki.CONTROLLER, *(host.name for host in topology.hosts.values() if host.kind is HostKind.OVS)]
    for name in names:
        if name not in known:
            leave(Exit.BAD_INPUT, f'no host "{name}" in {topology.name}; {instead(name, known)}')
    try:
        issued = pki.issue(directory, names or known, days=days, force=force)
    except OSError as error:
        leave(Exit.TROUBLE, f"{error.filename}: {error.strerror}")
    except ValueError as error:
        leave(Exit.BAD_INPUT, f"{directory} holds something else than what weft pki made: {error}")
    if output == "json":
        print_json(
            [
                {"name": one.name, "files": str(one.directory), "until": one.until.isoformat(), "made": one.is_new}
                for one in issued
            ]
        )
        return
    now = datetime.now(UTC)
    rows = []
    for one in issued:
        state = "made" if one.is_new else "kept"
        if (one.until - now).days < _WARN_DAYS and not one.is_new:
            state = "kept; --force renews it"
        rows.append((one.name, f"{one.until:%Y-%m-%d}", state, str(one.directory)))
    print_table(("NAME", "VALID UNTIL", "STATE", "FILES"), rows)
