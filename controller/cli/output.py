"""What every verb shares: exit codes, `-o text|json`, colour, tables, and a topology or a refusal.

Answers go to standard output, complaints to standard error, so that `weft flows ... -o json | jq` never meets an error text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.model.entities import Topology


class Exit(IntEnum):
    """The exit codes of every verb."""

    FINE = 0
    DIFFERENT = 1  # Differences, or failed tests.
    BAD_INPUT = 2
    TROUBLE = 3  # A switch, the controller or the network does not answer.


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

output_option: Decorator = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Write for people or for programs.",
)
folder_argument: Decorator = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))


def load_or_exit(folder: Path) -> Topology:
    """Return the topology in the folder; print every problem and leave with `Exit.BAD_INPUT` if it is refused."""
    from controller import config

    loaded = config.load(folder)
    if loaded.topology is None:
        for problem in loaded.problems:
            click.echo(config.render(problem), err=True)
        if loaded.left_out:
            click.echo(f"and {loaded.left_out} more problems", err=True)
        raise SystemExit(Exit.BAD_INPUT)
    return loaded.topology


def leave(code: Exit, message: str) -> NoReturn:
    """Complain in one line and leave."""
    click.echo(f"{click.get_current_context().command_path}: {message}", err=True)
    raise SystemExit(code)


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a value as JSON, in the order it was made."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns that fit their widest cell: pasted into an issue or cut with awk, a table stays a table."""
    lines = [tuple(headers), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        click.secho(text, bold=number == 0)
