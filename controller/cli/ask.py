"""Asking the running controller: finds its socket, and complains in one line when nobody answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from controller.cli.completion import complete_labs
from controller.cli.output import Decorator, Exit, leave

_PATIENCE_S = 30.0

control_option: Decorator = click.option(
    "--control",
    type=click.Path(path_type=Path),
    help="The controller's socket.  [default: this machine's, else the only lab's]",
)
name_option: Decorator = click.option(
    "--name", metavar="LAB", shell_complete=complete_labs, help="The lab whose controller is meant."
)


def ask(
    control: Path | None, name: str | None, what: str, timeout_s: float = _PATIENCE_S, **details: object
) -> dict[str, Any]:
    """Return the controller's answer; leave with `Exit.TROUBLE` if there is none within so many seconds."""
    from controller.control import NoController, request

    try:
        answer = request(control or _find(name), {"do": what, **details}, timeout_s)
    except NoController as error:
        leave(Exit.TROUBLE, str(error))
    if "error" in answer:
        leave(Exit.TROUBLE, f"the controller refuses to answer: {answer['error']}")
    return answer


def _find(name: str | None) -> Path:
    """Return the control socket of a lab; without a name this machine's, or that of the only lab if there is none."""
    from controller.control import default_path
    from controller.lab.state import LABS, labs

    usual = default_path()
    if name is None and (usual.exists() or "WEFT_CONTROL" in os.environ):
        return usual
    known = labs()
    if name is not None and name not in known:
        from controller.config.suggest import instead

        leave(Exit.BAD_INPUT, f'no lab "{name}"; {instead(name, known) if known else "no lab is up"}')
    if name is None and not known:
        leave(Exit.TROUBLE, f"no controller runs on this machine: there is no {usual}, and no lab is up")
    if name is None and len(known) > 1:
        leave(Exit.BAD_INPUT, f"there are the labs {', '.join(known)}; say which with --name")
    return LABS / (name or known[0]) / "control.sock"
