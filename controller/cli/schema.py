"""`weft schema`: the JSON Schema of the files, made from the loader's own declarations, for completion and help in editors."""

from __future__ import annotations

import click

from controller.cli.output import print_json

_FILES = {"fabric": "FabricFile", "tenant": "TenantFile"}


@click.command(short_help="Print the JSON Schema of the files, for editors.")
@click.argument("file", type=click.Choice(list(_FILES)), required=False)
def command(file: str | None) -> None:
    """Print the JSON Schema of fabric.yaml, of a tenant's file, or, without FILE, of both.

    Save it, and name it in the first line of a file: `# yaml-language-server: $schema=PATH`.
    """
    from controller.config.editors import json_schema

    print_json(json_schema(_FILES[file] if file else None))
