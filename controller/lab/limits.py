"""`weft host limits --watch` on a lab's hosts, as on an operator's; where no file limits connections, a shell waits in its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from controller.config.files import FABRIC
from controller.lab.namespaces import Process, inside
from controller.lab.state import State
from controller.lab.switches import Switch

# The shell leaves at once, so that nobody has to wait for its child.
_IN_THE_BACKGROUND = '"$@" < /dev/null >> "$0" 2>&1 & echo $!'
# Few labs limit anything, and an interpreter for each host costs more than all the rest of it: it comes with the first word of a limit.
_ONCE_NEEDED = f'until grep -qs connections "$0/{FABRIC}"; do sleep 1; done; exec "$@"'


def start_limits(state: State, host: str) -> Process:
    """Start it on a host whose switch runs, and return it."""
    namespace = state.namespace(host)
    switch = Switch(state.directory / host, namespace)
    weft = [sys.executable, "-m", "controller.cli", "host", "limits", "--watch", "--db", switch.database]
    waiting = ["sh", "-c", _ONCE_NEEDED, str(state.folder), *weft]
    with inside(namespace):
        done = subprocess.run(
            ["sh", "-c", _IN_THE_BACKGROUND, str(log_of(state, host)), *waiting],
            env=switch.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            start_new_session=True,
        )
    return Process.of(int(done.stdout), f"limits of {namespace}")


def log_of(state: State, host: str) -> Path:
    """Return where it writes what it did."""
    return state.directory / host / "limits.log"
