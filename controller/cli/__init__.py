"""The `weft` command: one verb, one file, each imported only when it is used.

`VERBS` names every verb, its module and its line in `weft --help`; the module exposes a click command named `command`. A
verb parses arguments, calls the rooms that know, and prints; it decides nothing about networks. So `weft --help` costs
no more than click, and the verbs that need no switch never pay for os-ken.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Mapping

import click

VERBS: Mapping[str, tuple[str, str]] = {
    "validate": ("controller.cli.validate", "Check a topology and name every problem with its place."),
    "run": ("controller.cli.run", "Run the controller for a topology."),
    "apply": (
        "controller.cli.apply",
        "Load the files now; wait for the switches, or go back if one does not take them.",
    ),
    "status": ("controller.cli.status", "Say what the running controller knows of its switches."),
    "audit": ("controller.cli.audit", "Find and repair what a third hand changed in the switches."),
    "top": ("controller.cli.top", "Show which rules let most in, and whose packets are dropped and why."),
    "explain": ("controller.cli.explain", "Say where a port is, what its rules let in and what was dropped."),
    "flows": ("controller.cli.flows", "Print the compiled flows, each with the line that caused it."),
    "graph": ("controller.cli.graph", "Draw a topology as Mermaid, DOT, SVG or JSON."),
    "lab": ("controller.cli.lab", "Bring a topology up on this machine, with real Open vSwitch."),
    "ping": ("controller.cli.ping", "Probe pairs of ports in the lab; compare with what the files allow."),
    "demo": ("controller.cli.demo", "Lab up, probe every pair of ports, lab down."),
    "host": ("controller.cli.host", "Prepare a host for the controller, or for work on it."),
    "pki": ("controller.cli.pki", "Make the certificates of a fabric's hosts and controller."),
    "schema": ("controller.cli.schema", "Print the JSON Schema of the files, for editors."),
    "completion": ("controller.cli.completion", "Print the completion script of a shell."),
}


class _Verbs(click.Group):
    """A group whose commands are imported when they are called for; `--help` needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of a user's day."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its command."""
        del ctx
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(VERBS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{VERBS[cmd_name][0]}.command is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; name the nearest right one when there is none."""
        word = args[0]
        if word not in VERBS and not word.startswith("-"):
            near = difflib.get_close_matches(word, VERBS, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else f"; there are {', '.join(VERBS)}"
            raise click.UsageError(f'no such verb "{word}"{hint}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs from the table alone, so that help imports nothing."""
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(
    cls=_Verbs,
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="weft", prog_name="weft")
@click.pass_context
def weft(ctx: click.Context) -> None:
    """Turn YAML topologies into OpenFlow programs on Open vSwitch hosts.

    Exit codes of every verb: 0 fine, 1 differences or failed tests, 2 bad input, 3 switch or network trouble.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main() -> None:
    """Run the `weft` command; the entry point of the console script."""
    weft(prog_name="weft")
