"""`weft host limits --watch` on a lab's hosts, where the files limit connections: a lab's hosts run what an operator's do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from controller.lab.namespaces import Process, inside
from controller.lab.state import State
from controller.lab.switches import Switch

# The shell leaves at once, so that nobody has to wait for its child.
_IN_THE_BACKGROUND = '"$@" < /dev/null >> "$0" 2>&1 & echo $!'


def start_limits(state: State, host: str) -> list[Process]:
    """Start it on a host whose switch runs, and return it; nothing where it is not needed or runs already."""
    namespace = state.namespace(host)
    what = f"limits of {namespace}"
    is_there = any(process.what == what and process.is_alive for process in state.processes)
    if is_there or not state.plan.limits or state.plan.hosts[host].kind != "ovs":
        return []
    switch = Switch(state.directory / host, namespace)
    weft = [sys.executable, "-m", "controller.cli", "host", "limits", "--watch", "--db", switch.database]
    with inside(namespace):
        done = subprocess.run(
            ["sh", "-c", _IN_THE_BACKGROUND, str(log_of(state, host)), *weft],
            env=switch.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            start_new_session=True,
        )
    return [Process.of(int(done.stdout), what)]


def log_of(state: State, host: str) -> Path:
    """Return where it writes what it did."""
    return state.directory / host / "limits.log"
