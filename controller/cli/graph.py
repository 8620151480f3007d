"""`weft graph`: a topology as a drawing, from the files alone."""

from __future__ import annotations

from pathlib import Path

import click

from controller.cli.output import folder_argument, load_or_exit

FORMATS = ("mermaid", "dot", "svg", "json")


@click.command(
    short_help="Draw a topology as Mermaid, DOT, SVG or JSON.",
    epilog="Example: weft graph topologies/quickstart -f svg > quickstart.svg",
)
@folder_argument
@click.option(
    "-f", "--format", "wanted", type=click.Choice(FORMATS), default="mermaid", show_default=True, help="What to write."
)
def command(folder: Path, wanted: str) -> None:
    """Draw the hosts, networks, ports and physical networks of the topology in DIR.

    The same topology always gives the same drawing, byte for byte, so that drawings can be kept in git and compared.
    """
    topology = load_or_exit(folder)
    from controller.graph.draw import draw
    from controller.graph.fabric import Fabric

    click.echo(draw(Fabric(topology), wanted), nl=False)
