"""`weft lab`: the topology as a running lab on this machine, with a real Open vSwitch for every host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.completion import complete_hosts, complete_labs, complete_ports
from controller.cli.output import (
    Exit,
    folder_argument,
    leave,
    load_or_exit,
    output_option,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from controller.lab.lab import Lab

name_option = click.option(
    "--name", metavar="LAB", shell_complete=complete_labs, help="Which lab.  [default: the only one]"
)
directory_option = click.option(
    "--dir",
    "directory",
    metavar="LABDIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the lab keeps its record, sockets and logs.  [default: /run/weft/labs/LAB]",
)


_EXEC_EXAMPLES = """\b
weft lab exec red/web1 -- ping -c1 10.0.1.12
weft lab exec --host hv1 -- ovs-ofctl dump-flows br-int
"""


@click.group(short_help="Bring a topology up on this machine, with real Open vSwitch.")
def command() -> None:
    """Run a topology on this machine: hosts and ports as network namespaces, a real Open vSwitch for every host. Needs root."""


@contextmanager
def complaints() -> Iterator[None]:
    """Turn what a lab cannot do into one line and an exit code."""
    from controller.lab.plan import LabError, NotAllowed, UnknownName

    try:
        yield
    except (UnknownName, NotAllowed) as error:
        leave(Exit.BAD_INPUT, str(error))
    except LabError as error:
        leave(Exit.TROUBLE, str(error))
    except PermissionError as error:
        leave(Exit.TROUBLE, f"{error.strerror}: a lab needs root")


def open_lab(name: str | None, directory: Path | None) -> Lab:
    """Return the lab of these options, or the only one that there is."""
    from controller.lab.lab import Lab
    from controller.lab.plan import LabError, UnknownName
    from controller.lab.state import labs

    if name is None and directory is None:
        found = labs()
        if not found:
            raise LabError("no lab is up; see weft lab up")
        if len(found) > 1:
            raise UnknownName(f"there are {', '.join(found)}; say which with --name")
        name = found[0]
    return Lab.open(name or "", directory)


@command.command(short_help="Bring a topology up: hosts, ports and the controller.")
@folder_argument
@click.option("--name", metavar="LAB", help="The lab's name.  [default: the fabric's]")
@directory_option
@click.option("--controller/--no-controller", default=True, help="Start the controller, or leave that to you.")
@output_option
def up(folder: Path, name: str | None, directory: Path | None, controller: bool, output: str) -> None:
    """Bring the topology in DIR up and wait until every switch holds its program.

    A lab that is up already follows its files: ports that are new are plugged, ports that went are taken away, and a
    controller that has ended is started again.
    """
    topology = load_or_exit(folder)
    from controller.lab.lab import Lab
    from controller.lab.state import LABS, is_recorded

    with complaints():
        name = name or topology.name
        if is_recorded(directory or LABS / name):
            lab = Lab.open(name, directory)
            if lab.folder != folder.resolve():
                leave(Exit.BAD_INPUT, f"the lab {name} runs {lab.folder}; give this one another --name")
            lab.follow(topology)
            found = lab.status()["controller"]
            if found["started"] and not found["alive"]:
                lab.start_controller()
        else:
            lab = Lab.up(topology, folder, name, directory=directory, controller=controller)
        status = lab.status()
        if status["controller"]["alive"]:
            lab.wait_in_sync()
    if output == "json":
        print_json(status)
    else:
        _print(status)


@command.command(
    "exec",
    short_help="Run a command as a port, or on a host with --host.",
    epilog=_EXEC_EXAMPLES,
    context_settings={"allow_interspersed_args": False},
)
@click.argument(
    "arguments", metavar="TENANT/PORT -- CMD...", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_ports
)
@click.option(
    "--host", metavar="H", shell_complete=complete_hosts, help="Run it on this host, next to its Open vSwitch."
)
@name_option
@directory_option
def run(arguments: tuple[str, ...], host: str | None, name: str | None, directory: Path | None) -> None:
    """Run CMD inside a port's namespace; with --host inside that host's, where ovs-vsctl and the like find its switch."""
    with complaints():
        lab = open_lab(name, directory)
        environment = dict(os.environ)
        port, argv = ("", list(arguments)) if host else ("".join(arguments[:1]), list(arguments[1:]))
        if argv[:1] == ["--"]:
            del argv[0]
        if not argv:
            raise click.UsageError("no command; write it after --")
        if host is not None:
            argv, environment = lab.host_command(host, argv)
        else:
            argv = lab.port_command(port, argv)
    os.execvpe(argv[0], argv, environment)  # noqa: S606 - The command is the user's own.


@command.command(short_help="Move a port to another host while it runs.")
@click.argument("port", metavar="TENANT/PORT", shell_complete=complete_ports)
@click.argument("host", metavar="HOST", shell_complete=complete_hosts)
@name_option
@directory_option
@output_option
def migrate(port: str, host: str, name: str | None, directory: Path | None, output: str) -> None:
    """Move a port's interface to HOST as a live migration does: the new one is ready before the old one goes.

    For ports without `host:` in the files; the controller follows. Prints for how long the port itself had no interface.
    """
    with complaints():
        lab = open_lab(name, directory)
        before = lab.plan.ports[port].host if port in lab.plan.ports else ""
        away = lab.migrate(port, host)
    if output == "json":
        print_json({"port": port, "from": before, "to": host, "away_seconds": away})
    else:
        click.echo(f"{port} has moved from {before} to {host}; its interface was away for {away * 1000:.0f} ms")


@command.command(short_help="Plug a port in that is unplugged.")
@click.argument("port", metavar="TENANT/PORT", shell_complete=complete_ports)
@name_option
@directory_option
def plug(port: str, name: str | None, directory: Path | None) -> None:
    """Plug a port in where it was, with a namespace of its own."""
    with complaints():
        lab = open_lab(name, directory)
        lab.plug(port)
        click.echo(f"{port} is plugged in on {lab.plan.ports[port].host}")


@command.command(short_help="Unplug a port, with all that runs in it.")
@click.argument("port", metavar="TENANT/PORT", shell_complete=complete_ports)
@name_option
@directory_option
def unplug(port: str, name: str | None, directory: Path | None) -> None:
    """Take a port away, with everything that runs in it; `weft lab plug` brings it back."""
    with complaints():
        open_lab(name, directory).unplug(port)
        click.echo(f"{port} is unplugged")


@command.command(short_help="Let a host fail as by a power failure.")
@click.argument("host", metavar="HOST", shell_complete=complete_hosts)
@name_option
@directory_option
def fail(host: str, name: str | None, directory: Path | None) -> None:
    """Cut a host's wires and end its switch without a word to anybody; its ports can be moved to others then."""
    with complaints():
        open_lab(name, directory).fail_host(host)
        click.echo(f"{host} has failed")


@command.command(short_help="Bring a host back that has failed.")
@click.argument("host", metavar="HOST", shell_complete=complete_hosts)
@name_option
@directory_option
def recover(host: str, name: str | None, directory: Path | None) -> None:
    """Start a failed host's switch again, with the ports that have not moved meanwhile."""
    with complaints():
        open_lab(name, directory).recover_host(host)
        click.echo(f"{host} is back")


@command.command(short_help="Say what is up and where to look.")
@name_option
@directory_option
@output_option
def status(name: str | None, directory: Path | None, output: str) -> None:
    """Show the hosts, ports and controller of a lab; leave with 3 if a part of it is dead."""
    with complaints():
        found = open_lab(name, directory).status()
    if output == "json":
        print_json(found)
    else:
        _print(found)
    controller = found["controller"]
    is_dead = controller["started"] and not controller["alive"]
    is_fine = not is_dead and all(host["alive"] for host in found["hosts"])
    raise SystemExit(Exit.FINE if is_fine else Exit.TROUBLE)


@command.command(short_help="Take a lab away, and nothing else.")
@name_option
@directory_option
@click.option("--all", "everything", is_flag=True, help="Take all labs of this machine away.")
@output_option
def down(name: str | None, directory: Path | None, everything: bool, output: str) -> None:
    """Remove exactly what the lab's record names: its namespaces, processes, interface and files."""
    from controller.lab.lab import Lab
    from controller.lab.state import labs

    with complaints():
        chosen = [Lab.open(each) for each in labs()] if everything else [open_lab(name, directory)]
        for lab in chosen:
            lab.down()
            if output == "text":
                click.echo(f"{lab.name} is down")
    if output == "json":
        print_json({"down": [lab.name for lab in chosen]})


@command.command(short_help="Print what a lab of a topology consists of.")
@folder_argument
@output_option
def plan(folder: Path, output: str) -> None:
    """Print the hosts and ports that `weft lab up` would make; with -o json all of it, as Mininet reads it."""
    topology = load_or_exit(folder)
    from controller.lab.plan import plan_lab

    with complaints():
        planned = plan_lab(topology)
    if output == "json":
        print_json(planned.to_json())
        return
    print_table(
        ("HOST", "KIND", "TUNNEL"), ((host.name, host.kind, host.tunnel_address) for host in planned.hosts.values())
    )
    click.echo()
    ports = planned.ports.values()
    rows = (
        (port.name, port.host, _with_tag(port.interface, port.vlan), port.mac, " ".join(port.addresses) or "-")
        for port in ports
    )
    print_table(("PORT", "HOST", "INTERFACE", "MAC", "ADDRESSES"), rows)


def _with_tag(interface: str, vlan: int) -> str:
    """Return an interface, and the tag of a subport on it."""
    return f"{interface} tag {vlan}" if vlan else interface


def _print(status: dict[str, Any]) -> None:
    controller = status["controller"]
    logs = [f"{status['directory']}/HOST/ovs-vswitchd.log"]
    if controller["started"]:
        logs.insert(0, controller["log"])
    if controller["alive"]:
        state = f"listens on {controller['listen']}"
    elif controller["started"]:
        state = "has ENDED"
    else:
        state = f"is yours: weft run {status['folder']} --listen {controller['listen']}"
    click.echo(f"{status['name']} ({status['folder']}); the controller {state}")
    click.echo(f"logs: {', '.join(logs)}\n")
    rows = ((host["name"], host["kind"], "up" if host["alive"] else "DEAD", host["tunnel"]) for host in status["hosts"])
    print_table(("HOST", "KIND", "STATE", "TUNNEL"), rows)
    click.echo()
    ports = (
        (
            port["name"],
            port["host"],
            "plugged" if port["plugged"] else "-",
            _with_tag(port["interface"], port["vlan"]),
            " ".join(port["addresses"]) or "-",
        )
        for port in status["ports"]
    )
    print_table(("PORT", "HOST", "STATE", "INTERFACE", "ADDRESSES"), ports)
    if status["outside"]:
        click.echo()
        print_table(("OUTSIDE", "ADDRESSES"), ((name, " ".join(found)) for name, found in status["outside"].items()))
