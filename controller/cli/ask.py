"""Asking the running controller: finds its socket, and complains in one line when nobody answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from controller.cli.output import Decorator, Exit, leave

control_option: Decorator = click.option(
    "--control",
    type=click.Path(path_type=Path),
    help="The controller's socket.  [default: this machine's, else the only lab's]",
)


def ask(control: Path | None, what: str) -> dict[str, Any]:
    """Return the controller's answer; leave with `Exit.TROUBLE` if there is none."""
    from controller.control import NoController, request

    try:
        answer = request(control or _find(), {"do": what})
    except NoController as error:
        leave(Exit.TROUBLE, str(error))
    if "error" in answer:
        leave(Exit.TROUBLE, f"the controller refuses to answer: {answer['error']}")
    return answer


def _find() -> Path:
    """Return this machine's control socket, or that of the only lab where there is no other controller."""
    from controller.control import default_path

    usual = default_path()
    if not usual.exists() and "WEFT_CONTROL" not in os.environ:
        from controller.lab.state import LABS, labs

        names = labs()
        if len(names) == 1:
            return LABS / names[0] / "control.sock"
    return usual
