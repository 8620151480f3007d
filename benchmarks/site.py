"""A fabric to measure on: a lab of hosts with every port plugged in, a topology folder, and the controller as a process.

The lab is the product's own (`controller.lab`): each host is a namespace with its own `ovsdb-server` and `ovs-vswitchd`, each port
a namespace at the far end of a veth. Everything is recorded by the lab when it is made, and taken down by that record.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import Usage, usage
from benchmarks.topology import fabric_file, tenant_files
from benchmarks.workload import Document
from controller import control
from controller.lab.lab import Lab
from controller.model.entities import Topology
from controller.pipeline.flow import Program

Held = Mapping[tuple[str, str], int]  # (host, bridge) -> flows

_PATIENCE_S = 60.0
_POLL_S = 0.01  # Asking takes the controller's time as well; what it costs is measured apart.
_WATCH_S = 0.6  # By then the controller has noticed a file by itself and read it once more.


class Late(Exception):
    """The controller or a switch did not get there in time; the message says what was seen last."""


def held(programs: list[Program]) -> Held:
    """Return how many flows each bridge shall hold."""
    return Counter({(program.host, program.bridge): len(program.flows) for program in programs})


class Site:
    """The folder, the lab and the controller of one workload; `open_site` makes one."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder = folder
        self.lab = lab
        self.hosts = tuple(lab.plan.hosts)
        self._socket = lab.directory / "bench.sock"
        self._log = lab.directory / "bench.log"
        self._controller: subprocess.Popen[bytes] | None = None

    # The files.

    def write_fabric(self, document: Document) -> None:
        """Write the operator's file alone: a fabric whose tenants have nothing yet."""
        for path in (self.folder / "tenants").glob("*.yaml"):
            path.unlink()
        (self.folder / "tenants").mkdir(parents=True, exist_ok=True)
        (self.folder / "fabric.yaml").write_text(fabric_file(document), encoding="utf-8")

    def write_tenants(self, texts: Mapping[str, str]) -> None:
        """Write all tenants' files and put them in place in one step, where there were none."""
        draft = self.folder / "tenants.new"
        draft.mkdir()
        for tenant, text in texts.items():
            (draft / f"{tenant}.yaml").write_text(text, encoding="utf-8")
        draft.replace(self.folder / "tenants")

    def save(self, document: Document, tenant: str) -> None:
        """Write one tenant's file as an editor does."""
        path = self.folder / "tenants" / f"{tenant}.yaml"
        draft = path.with_suffix(".new")
        draft.write_text(tenant_files(document)[tenant], encoding="utf-8")
        draft.replace(path)

    # The controller.

    @property
    def controller(self) -> subprocess.Popen[bytes]:
        """The running controller."""
        if self._controller is None:
            raise Late("the controller does not run")
        return self._controller

    def start_controller(self) -> None:
        """Start the controller on the folder; returns at once."""
        words = ["-m", "controller.cli", "run", str(self.folder)]
        words += ["--listen", self.lab.listen, "--control", str(self._socket)]
        with self._log.open("ab") as log:
            self._controller = subprocess.Popen(
                [sys.executable, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def stop_controller(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the controller and wait until it is gone; the switches keep what they hold."""
        if self._controller is not None:
            self._controller.send_signal(number)
            self._controller.wait(_PATIENCE_S)
            self._controller = None

    def kill_controller(self) -> None:
        """End the controller without a chance to say goodbye."""
        self.stop_controller(signal.SIGKILL)

    def reload(self) -> None:
        """Tell the controller that files have changed; returns when it has read them."""
        answer = control.request(self._socket, {"do": "reload"}, _PATIENCE_S)
        if not answer["accepted"]:
            raise Late("\n".join(answer["problems"]))

    def status(self) -> dict[str, Any] | None:
        """Return the controller's status, None while nobody answers."""
        if self.controller.poll() is not None:
            raise Late(f"the controller ended:\n{self._last_words()}")
        with contextlib.suppress(control.NoController, ValueError):
            return control.request(self._socket, {"do": "status"})
        return None

    def wait_answering(self) -> float:
        """Wait until the controller answers; return when that was."""
        while self.status() is None:
            time.sleep(_POLL_S)
        return time.perf_counter()

    def wait_in_sync(self, wanted: Held | None = None) -> float:
        """Wait until every bridge is in sync, and holds so many flows if told how many; return when that was."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            status = self.status()
            if status is not None and status["in_sync"] and wanted in (None, _installed(status)):
                return time.perf_counter()
            if time.monotonic() > deadline:
                raise Late(f"not in sync after {_PATIENCE_S:.0f} s: {status}\n{self._last_words()}")
            time.sleep(_POLL_S)

    def wait_unbound(self, ports: list[str]) -> None:
        """Wait until exactly these ports have no interface."""
        deadline = time.monotonic() + _PATIENCE_S
        while (status := self.status()) is None or status["ports"]["unbound"] != ports:
            if time.monotonic() > deadline:
                raise Late(f"{ports} are not without interface: {status}")
            time.sleep(_POLL_S)

    def flow_mods(self) -> int:
        """Return how many flows the controller has added, changed and deleted on the switches since it connected."""
        switches = (self.status() or {"switches": ()})["switches"]
        return sum(each["added"] + each["modified"] + each["deleted"] for each in switches)

    def settle(self) -> None:
        """Let the controller's own watch of the files come round, so that it does not fall into the next measurement."""
        time.sleep(_WATCH_S)

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    # The switches.

    def touch_switches(self) -> None:
        """Change something that does not matter on every bridge, while the controller is connected.

        Open vSwitch 3.1 takes the longest pause between two attempts to connect from its database only when a bridge is
        reconfigured during a connection; before that a switch may wait 8 s. On a host at work every plugged port does it.
        """
        for host in self.hosts:
            commands = [
                ("set", "bridge", bridge, "external_ids:touched=yes") for bridge in self.lab.plan.hosts[host].bridges
            ]
            self.lab.switch(host).configure(commands)

    def empty_switches(self) -> None:
        """Take all flows and groups out of every bridge, as if it had never seen a controller."""
        for host, bridge in self._bridges():
            self._ofctl(host, "del-flows", bridge)
            self._ofctl(host, "del-groups", bridge)

    def count_flows(self) -> Held:
        """Return how many flows the switches say they hold."""
        found: Counter[tuple[str, str]] = Counter()
        for host, bridge in self._bridges():
            said = self._ofctl(host, "dump-aggregate", bridge)
            found[host, bridge] = int(said.rpartition("flow_count=")[2].split()[0])
        return found

    def youngest_flow_s(self) -> float:
        """Return the age of the youngest flow of all switches: one that was written again would be young."""
        ages = [
            float(word.partition("=")[2].rstrip("s,"))
            for host, bridge in self._bridges()
            for word in self._ofctl(host, "dump-flows", bridge).split()
            if word.startswith("duration=")
        ]
        return min(ages)

    def switches_usage(self) -> list[Usage]:
        """Return what each host's `ovs-vswitchd` has used."""
        return [usage(self._switch_pid(host)) for host in self.hosts]

    def controller_usage(self) -> Usage:
        """Return what the controller has used."""
        return usage(self.controller.pid)

    def _switch_pid(self, host: str) -> int:
        return int((self.lab.switch(host).directory / "ovs-vswitchd.pid").read_text(encoding="ascii"))

    def _bridges(self) -> Iterator[tuple[str, str]]:
        for host in self.hosts:
            for bridge in self.lab.plan.hosts[host].bridges:
                yield host, bridge

    def _ofctl(self, host: str, command: str, bridge: str) -> str:
        return self.lab.exec_host(host, ["ovs-ofctl", command, bridge], check=True).stdout

    def close(self) -> None:
        """End the controller, wherever the measurements stopped."""
        self.kill_controller()
        for path in (self._socket, self._log):
            path.unlink(missing_ok=True)


def _installed(status: Mapping[str, Any]) -> Held:
    return Counter({(each["host"], each["bridge"]): each["flows_installed"] for each in status["switches"]})


@contextlib.contextmanager
def open_site(topology: Topology, folder: Path, directory: Path) -> Iterator[Site]:
    """Bring up a lab with all ports of the topology plugged in, without a controller; take it down at the end."""
    lab = Lab.up(topology, folder, f"bench-{directory.parent.name}", directory=directory, controller=False)
    try:
        site = Site(folder, lab)
        try:
            yield site
        finally:
            site.close()
    finally:
        lab.down()
