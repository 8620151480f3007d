"""A lab: a topology running on this machine, with real Open vSwitch on every host.

    lab = Lab.up(topology, folder)          # hosts, ports, controller
    lab.wait_in_sync(20)
    lab.exec_port("red/web1", ["ping", "-c1", "10.0.1.12"])
    lab.down()

Everything a lab makes is in its record before it is made (`state`), and it all lies in network namespaces whose names begin
with `weftN`, except one interface `weftN` by which the hosts reach the controller. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from controller import control
from controller.config.suggest import instead
from controller.lab import build, failure
from controller.lab.migrate import migrate
from controller.lab.namespaces import Process, end, exists, ip, processes_in
from controller.lab.plan import DATAPATH, LabError, LabPlan, NotAllowed, UnknownName, plan_lab
from controller.lab.plug import unplug
from controller.lab.state import LABS, State, is_recorded, read_state
from controller.lab.switches import Switch, with_version
from controller.model.entities import Topology
from controller.switch.ovsdb import set_up_host

IN_SYNC_SECONDS = 30.0

_POLL_SECONDS = 0.05

# Controllers that this very process started: they must be waited for, or they stay as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


class Lab:
    """A lab that is up, or half up: `down` takes away whatever there is."""

    def __init__(self, state: State) -> None:
        self._state = state

    @classmethod
    def up(
        cls,
        topology: Topology,
        folder: Path,
        name: str | None = None,
        *,
        directory: Path | None = None,
        controller: bool = True,
        without: Collection[str] = (),
        asking: Collection[str] = (),
        outside: bool = True,
    ) -> Lab:
        """Bring a topology up; what fails half-way is taken down again.

        Args:
            topology: The topology, as loaded from `folder`.
            folder: Its files; the controller reads them itself.
            name: The lab's name; the fabric's unless given.
            directory: Where its record, sockets and logs go; `/run/weft/labs/NAME` unless given.
            controller: Whether to start the controller.
            without: Hosts and ports to leave out for now; `start_host` and `plug` bring them in.
            asking: Ports to leave without addresses, for clients of DHCP and the kernel to ask for.
            outside: Whether there is somebody beyond external networks.

        Raises:
            LabError: There is such a lab already, or this machine cannot run it.
        """
        if os.geteuid():
            raise LabError("a lab needs root: it makes network namespaces")
        name = name or topology.name
        directory = directory or LABS / name
        if is_recorded(directory):
            raise LabError(f"the lab {name} is up, or was left half-way; `weft lab down --name {name}` takes it away")
        plan = plan_lab(topology, asking=asking)
        directory.mkdir(parents=True, exist_ok=True)
        lab = cls(State(directory, name, folder.resolve(), plan, alone=not outside))
        try:
            build.reserve(lab._state)
            build.build_centre(lab._state)
            hosts = [host for host in plan.hosts.values() if host.name not in without]
            started = {host.name for host in hosts}
            ports = [
                port
                for port in plan.ports.values()
                if port.host in started and not {port.name, port.parent} & set(without)
            ]
            build.build(lab._state, hosts, ports)
            if controller:
                lab.start_controller()
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def open(cls, name: str, directory: Path | None = None) -> Lab:
        """Return the lab that another process brought up."""
        return cls(read_state(directory or LABS / name))

    @property
    def name(self) -> str:
        """The lab's name."""
        return self._state.name

    @property
    def directory(self) -> Path:
        """Where the lab's record, sockets and logs are."""
        return self._state.directory

    @property
    def folder(self) -> Path:
        """The topology's files."""
        return self._state.folder

    @property
    def plan(self) -> LabPlan:
        """What the lab consists of when everything is plugged."""
        return self._state.plan

    @property
    def plugged(self) -> tuple[str, ...]:
        """The ports that are plugged."""
        return tuple(self._state.ports)

    @property
    def listen(self) -> str:
        """Where the lab's switches look for their controller."""
        return f"{self._state.address(1)}:{build.OPENFLOW_PORT}"

    @property
    def control(self) -> Path:
        """The control socket of the lab's controller."""
        return self.directory / "control.sock"

    @property
    def log(self) -> Path:
        """What the lab's controller wrote."""
        return self.directory / "controller.log"

    def host_namespace(self, host: str) -> str:
        """Return the namespace of a host that is up."""
        if host not in self._state.hosts:
            raise self._unknown("host", host, self._state.hosts)
        return self._state.namespace(host)

    def port_namespace(self, port: str) -> str:
        """Return the namespace of a plugged port, or of somebody outside."""
        if port not in self._state.endpoints:
            raise self._unknown("port", port, self._state.endpoints)
        return self._state.namespace(*port.split("/"))

    def _unknown(self, what: str, name: str, known: Iterable[str]) -> UnknownName:
        return UnknownName(f'no {what} "{name}" in the lab {self.name}; {instead(name, known)}')

    def switch(self, host: str) -> Switch:
        """Return the Open vSwitch of a host that is up."""
        self.host_namespace(host)
        return build.switch_of(self._state, host)

    def port_command(self, port: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` as a port."""
        return ["ip", "netns", "exec", self.port_namespace(port), *argv]

    def host_command(self, host: str, argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Return the command line and the environment that run `argv` on a host, next to its Open vSwitch."""
        command = ["ip", "netns", "exec", self.host_namespace(host), *with_version(tuple(argv))]
        return command, self.switch(host).environment

    def exec_port(
        self, port: str, argv: Sequence[str], *, timeout: float = 30, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a port and return what it printed."""
        command = self.port_command(port, argv)
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=check)

    def exec_host(
        self, host: str, argv: Sequence[str], *, timeout: float = 30, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host and return what it printed; Open vSwitch's programs find the host's switch."""
        command, environment = self.host_command(host, argv)
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=check, env=environment)

    def start_host(self, host: str) -> None:
        """Start a host that was left out, without ports."""
        if host in self._state.hosts:
            raise LabError(f"{host} is up already")
        build.build(self._state, [self.plan.hosts[host]], [])

    def plug(self, port: str) -> None:
        """Plug a port of the plan that was left out or unplugged, with its subports; or a subport of a plugged port."""
        if port not in self.plan.ports:
            raise UnknownName(f'no port "{port}" in {self.plan.topology}')
        if port in self._state.ports:
            raise LabError(f"{port} is plugged already")
        planned = self.plan.ports[port]
        self.host_namespace(planned.host)
        if planned.parent and planned.parent not in self._state.ports:
            raise LabError(f"{planned.parent} is not plugged, which {port} is a subport of")
        build.build(self._state, [], [planned, *planned.subports(self.plan.ports.values())])

    def unplug(self, port: str) -> None:
        """Take a port away, with its subports and everything that runs in it."""
        self.port_namespace(port)
        self.host_namespace(self.plan.ports[port].host)
        unplug(self._state, self.plan.ports[port])

    def migrate(self, port: str, host: str) -> float:
        """Move a plugged port to another host while it runs; return for how many seconds it had no interface.

        From a host that has failed, it comes up on the other as if started there anew.

        Raises:
            NotAllowed: The files pin it, or the host is not joined to its network.
            UnknownName: There is no such port or host in the lab.
        """
        self.port_namespace(port)
        self.host_namespace(host)
        planned = self.plan.ports[port]
        if host == planned.host:
            raise NotAllowed(f"{port} is on {host} already")
        if planned.parent:
            raise NotAllowed(f"{port} is a subport and is where {planned.parent} is")
        if planned.pinned:
            raise NotAllowed(f"{port} is pinned to {planned.host} ({planned.pinned}): without `host:` it could move")
        if host not in planned.carriers:
            whose = "a network of its subports or " if planned.subports(self.plan.ports.values()) else ""
            raise NotAllowed(f"{host} cannot carry {port}: {whose}its network {planned.network} is not there")
        if failure.is_failed(self._state, host):
            raise LabError(f"{host} has failed; `weft lab recover {host}` brings it back")
        is_source_alive = not failure.is_failed(self._state, planned.host)
        return migrate(self._state, planned, host, is_source_alive=is_source_alive)

    def fail_host(self, host: str) -> None:
        """Let a host fail as by a power failure: its wires are cut and its switch ends, and nobody is told."""
        self.switch(host)
        if self.plan.hosts[host].kind != "ovs":
            raise NotAllowed(f"{host} is a foreign VTEP, which has no switch of ours")
        if failure.is_failed(self._state, host):
            raise LabError(f"{host} has failed already")
        failure.fail_host(self._state, host)

    def recover_host(self, host: str) -> None:
        """Bring a host back that has failed, with the database that it had and the ports that have not moved meanwhile."""
        self.host_namespace(host)
        if not failure.is_failed(self._state, host):
            raise LabError(f"{host} has not failed")
        failure.recover_host(self._state, host)

    def follow(self, topology: Topology) -> None:
        """Become the lab of changed files: hosts are set up anew, ports that went or changed unplugged, new ones plugged.

        Raises:
            LabError: The wires between hosts would have to change, which only a new lab does.
        """
        old = self.plan
        asking = {name for name, port in old.ports.items() if port.asks}
        new = plan_lab(topology, {name: old.ports[name].host for name in self._state.ports}, asking)
        for name in self._state.hosts:
            if name not in new.hosts:
                raise LabError(f"{name} is not in the files any more; take the lab down and bring it up again")
            if not new.hosts[name].has_wires_of(old.hosts[name]):
                raise LabError(f"the wires of {name} have changed; take the lab down and bring it up again")
        if new.mtu != old.mtu or new.physical_networks != old.physical_networks:
            raise LabError("the wires between hosts have changed; take the lab down and bring it up again")
        for name in list(self._state.ports):
            if name in self._state.ports and new.ports.get(name) != old.ports[name]:
                self.unplug(name)
        self._state.plan = new
        for name in self._state.hosts:
            if new.hosts[name].setup != old.hosts[name].setup:
                target, database = f"tcp:{self.listen}", self.switch(name).database
                set_up_host(topology, name, controller=target, db=database, datapath=DATAPATH)
        hosts = [host for host in new.hosts.values() if host.name not in self._state.hosts]
        build.build(self._state, hosts, [port for port in new.ports.values() if port.name not in self._state.ports])

    def start_controller(self, *arguments: str) -> None:
        """Start `weft run` on the lab's files; its log is `controller.log`."""
        if self._state.controller and self._state.controller.is_alive:
            raise LabError("the controller runs already")
        command = [sys.executable, "-m", "controller.cli", "run", str(self.folder), "--listen", self.listen]
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [*command, "--control", str(self.control), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _children[child.pid] = child
        self._state.controller = Process.of(child.pid, "controller")
        self._state.save()

    def stop_controller(self) -> None:
        """End the controller; the switches keep their flows."""
        if self._state.controller:
            end([self._state.controller])
            child = _children.pop(self._state.controller.pid, None)
            if child:
                child.wait()
            self._state.controller = None
            self._state.save()

    def wait_in_sync(self, seconds: float = IN_SYNC_SECONDS) -> dict[str, Any]:
        """Wait until every plugged port is known and every bridge of every host holds its program; return the status.

        Raises:
            LabError: The controller ended, or the switches were not in sync in time; the message says what is missing.
        """
        deadline = time.monotonic() + seconds
        missing = [f"no controller answers at {self.control}"]
        while True:
            if self._state.controller and not self._state.controller.is_alive:
                raise LabError(f"the controller ended:\n{self._last_words()}")
            with contextlib.suppress(OSError, ValueError):
                status = control.request(self.control, {"do": "status"})
                missing = self._missing(status)
                if not missing:
                    return status
            if time.monotonic() > deadline:
                raise LabError(f"not in sync after {seconds:g} s: {'; '.join(missing)}; see {self.log}")
            time.sleep(_POLL_SECONDS)

    def _missing(self, status: dict[str, Any]) -> list[str]:
        """Return what keeps the lab from being in sync; hosts of the topology that are not up do not count."""
        found = {(switch["host"], switch["bridge"]): switch for switch in status["switches"]}
        said = []
        for host in self._state.hosts:
            if failure.is_failed(self._state, host):
                continue
            for bridge in self.plan.hosts[host].bridges:
                switch = found.get((host, bridge))
                if switch is None:
                    said.append(f"{bridge}@{host} is unknown to the controller")
                elif switch["state"] != "in sync":
                    said.append(f"{bridge}@{host} is {switch['state']} {switch['last_error'] or ''}".rstrip())
        unseen = sorted(set(self._state.ports) & set(status["ports"]["unbound"]))
        return said + [f"{port} has not been seen" for port in unseen]

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        return ""

    def status(self) -> dict[str, Any]:
        """Return what is there and what of it is alive, as JSON's types."""
        state = self._state
        daemons: dict[str, list[bool]] = {}
        for process in state.processes:
            daemons.setdefault(process.what.rpartition(" ")[2], []).append(process.is_alive)
        hosts = []
        for name, number in state.hosts.items():
            planned, namespace = self.plan.hosts[name], state.namespace(name)
            alive = exists(namespace) and all(daemons.get(namespace, [True]))
            facts = {"name": name, "kind": planned.kind, "alive": alive, "namespace": namespace}
            hosts.append({**facts, "tunnel": planned.tunnel_address, "management": state.address(number + 2)})
        ports = []
        for name in self.plan.ports:
            port, namespace = self.plan.ports[name], state.namespace(*name.split("/"))
            plugged = name in state.ports and exists(namespace)
            facts = {"name": name, "host": port.host, "plugged": plugged, "namespace": namespace, "vlan": port.vlan}
            ports.append({**facts, "interface": port.interface, "mac": port.mac, "addresses": list(port.addresses)})
        running = bool(state.controller and state.controller.is_alive)
        facts = {"started": state.controller is not None, "alive": running, "listen": self.listen}
        return {
            "name": state.name,
            "folder": str(state.folder),
            "directory": str(state.directory),
            "controller": {**facts, "control": str(self.control), "log": str(self.log)},
            "hosts": hosts,
            "ports": ports,
            "outside": state.outside.addresses_by_name(),
        }

    def down(self) -> None:
        """Take away everything the record names; what is gone already does not matter."""
        state = self._state
        self.stop_controller()
        end([process for process in state.processes if process.is_alive])
        end(processes_in(state.namespaces))
        if state.namespaces:
            ip([f"link del {state.link}"], forced=True)
            ip((f"netns del {name}" for name in state.namespaces if exists(name)), forced=True)
        for host in self.plan.hosts:
            shutil.rmtree(state.directory / host, ignore_errors=True)
        for path in (self.control, self.log):
            path.unlink(missing_ok=True)
        state.forget()
