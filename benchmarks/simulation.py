"""The process of simulated switches, from the side of whoever starts it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from benchmarks.measure import Usage, usage
from controller.graph.fabric import Fabric
from controller.model.entities import Topology
from controller.model.ids import integration_dpid, tunnel_dpid
from controller.pipeline.compile import assumed_bindings

_PATIENCE_S = 60.0
_POLL_S = 0.02

Description = dict[str, Any]


def described(topology: Topology, hosts: Iterable[str]) -> list[Description]:
    """Return the bridges of these hosts as they are with every interface of the topology plugged in."""
    fabric = Fabric(topology)
    found = []
    for name in hosts:
        host = topology.hosts[name]
        ports = assumed_bindings(fabric, host).ports
        for dpid, bridge in (
            (integration_dpid(host.id), host.integration_bridge),
            (tunnel_dpid(host.id), host.tunnel_bridge),
        ):
            found.append({"dpid": dpid, "ports": dict(ports[bridge])})
    return found


class Simulation:
    """A context in which simulated switches connect to an address, and connect again when they lose it."""

    def __init__(self, address: str, switches: list[Description]) -> None:
        self._address = address
        self._switches = switches
        self._process: subprocess.Popen[str] | None = None

    def __len__(self) -> int:
        return len(self._switches)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.simulated", self._address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(json.dumps(self._switches))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def told(self) -> dict[str, Any]:
        """Return what the process says of its switches: `connected`, and `flows`, `commits` and `changes` by datapath id."""
        return self._ask("count")

    def cut(self) -> None:
        """Let every switch lose its connection; a moment later they come back."""
        self._ask("cut")

    def _ask(self, question: str) -> dict[str, Any]:
        self._say(question)
        process = self._running()
        if process.stdout is None:
            raise RuntimeError("the simulated switches have no output")
        told: dict[str, Any] = json.loads(process.stdout.readline())
        return told

    def flows(self) -> dict[int, int]:
        """Return how many flows each switch holds, by datapath id."""
        return {int(dpid): each["flows"] for dpid, each in self.told()["switches"].items()}

    def commits(self) -> dict[int, int]:
        """Return how many bundles each switch has committed, by datapath id."""
        return {int(dpid): each["commits"] for dpid, each in self.told()["switches"].items()}

    def wait_connected(self) -> None:
        """Wait until all are connected; raise TimeoutError if they are not in time."""
        deadline = time.monotonic() + _PATIENCE_S
        while (connected := self.told()["connected"]) < len(self):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{connected} of {len(self)} simulated switches are connected")
            time.sleep(_POLL_S)

    def usage(self) -> Usage:
        """Return what the process has used."""
        return usage(self._running().pid)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the simulated switches do not run")
        return self._process

    def _say(self, line: str) -> None:
        process = self._running()
        if process.stdin is not None:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
