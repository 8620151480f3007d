"""Completion of names from the files, and `weft completion`, which prints the script that a shell needs.

It must never disturb the line that is being typed, so files that are refused complete to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

if TYPE_CHECKING:
    from controller.model.entities import Topology

_MARK = "fabric.yaml"  # What makes a folder a topology.

SHELLS = ("bash", "zsh", "fish")


def complete_hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of hosts that Weft programs."""
    del param
    from controller.model.entities import HostKind

    topology = _topology(ctx)
    hosts = topology.hosts.values() if topology else ()
    return _items(incomplete, ((host.name, str(host.tunnel_ip)) for host in hosts if host.kind is HostKind.OVS))


def complete_ports(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of ports, `TENANT/PORT`, with their addresses as help."""
    del param
    topology = _topology(ctx)
    ports = topology.ports.values() if topology else ()
    return _items(incomplete, ((port.name, " ".join(map(str, port.ips))) for port in ports))


def complete_labs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of the labs on this machine."""
    del ctx, param
    from controller.lab.state import labs

    return _items(incomplete, ((name, "") for name in labs()))


def complete_bridges(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of the bridges that Weft programs."""
    del param
    from controller.model.names import physical_bridge

    topology = _topology(ctx)
    if topology is None:
        return []
    names = [physical_bridge(name) for name in topology.physical_networks]
    for host in topology.hosts.values():
        names += [host.integration_bridge, host.tunnel_bridge]
    return _items(incomplete, ((name, "") for name in dict.fromkeys(names)))


def _items(incomplete: str, names: Iterable[tuple[str, str]]) -> list[CompletionItem]:
    return [CompletionItem(name, help=text or None) for name, text in names if name.startswith(incomplete)]


def _topology(ctx: click.Context) -> Topology | None:
    """Return the topology that the line speaks of: a folder on it, else the lab's, else the current folder."""
    from controller import config

    chain: list[click.Context] = [ctx]
    while chain[-1].parent is not None:
        chain.append(chain[-1].parent)
    said = [context.params.get(name) for context in chain for name in ("folder", "topology")]
    # While an option still lacks the value that is being typed, click leaves the words before it unparsed.
    words = [str(word) for word in (*said, *ctx.args) if word]
    for folder in (*map(Path, words), *_lab_folders(ctx.params.get("name")), Path()):
        if (folder / _MARK).is_file():
            return config.load(folder).topology
    return None


def _lab_folders(name: str | None) -> list[Path]:
    """Return the folder of the lab that is named, else of the only one; none where that says nothing."""
    from controller.lab.state import LABS, labs, read_state

    names = [each for each in labs() if name in (None, each)]
    return [read_state(LABS / names[0]).folder] if len(names) == 1 else []


_INSTALL = """\b
bash:  weft completion bash >> ~/.bashrc
zsh:   weft completion zsh >> ~/.zshrc
fish:  weft completion fish > ~/.config/fish/completions/weft.fish
"""


@click.command(short_help="Print the completion script of a shell.", epilog=_INSTALL)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete verbs, options and the names in your files."""
    made_by = get_completion_class(shell)
    if made_by is None:
        raise click.UsageError(f"no completion for {shell}", ctx)
    click.echo(made_by(ctx.find_root().command, {}, "weft", "_WEFT_COMPLETE").source())
