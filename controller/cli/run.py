"""`weft run`: the controller in the foreground, with Weft's own defaults."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from controller.cli.output import folder_argument
from controller.cli.tls import chosen, tls_options

OPENFLOW_PORT = 6653  # IANA's number for OpenFlow.


class _Listen(click.ParamType[tuple[str, int]]):
    """`HOST:PORT`, `[IPV6]:PORT`, or a port alone."""

    name = "HOST:PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not port.isascii() or not port.isdecimal() or not 0 <= int(port) <= 65535:
            self.fail(f'"{value}" does not end in a port between 0 and 65535; write HOST:PORT', param, ctx)
        return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


@click.command(short_help="Run the controller for a topology.")
@folder_argument
@click.option(
    "--listen",
    type=_Listen(),
    default=f"127.0.0.1:{OPENFLOW_PORT}",
    show_default=True,
    help="Where the switches connect to.",
)
@click.option(
    "--control",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The socket that `weft status` asks.  [default: /run/weft/control.sock]",
)
@click.option(
    "--connection-log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file for what `log: true` asks for, a line of JSON each.  [default: the log of the controller]",
)
@tls_options
@click.option("-v", "--verbose", is_flag=True, help="Log every change of a flow.")
def command(
    folder: Path,
    listen: tuple[str, int],
    control: Path | None,
    connection_log: Path | None,
    verbose: bool,
    pki: Path | None,
    tls_key: Path | None,
    tls_cert: Path | None,
    tls_ca: Path | None,
) -> None:
    """Run the controller for the topology in DIR until it is told to leave.

    A saved file, or SIGHUP, reloads the topology; a refused file changes nothing. SIGTERM and Ctrl-C leave the switches
    as they are, so that the network works on without a controller. Leaves with 2 if the files are refused at the
    start, with 3 if the address cannot be opened.

    With certificates every switch must show one that bears its host's name, and no port without TLS is opened. Files
    that are replaced are used for new connections.
    """
    files = chosen(pki, tls_key, tls_cert, tls_ca)
    from controller import manager

    host, port = listen
    sys.exit(manager.run(folder, host, port, control, verbose, files, connection_log))
