"""A fabric to measure on: a lab of hosts with every port plugged in, a topology folder, and the controller as a process.

The lab is the product's own (`controller.lab`): each host is a namespace with its own `ovsdb-server` and `ovs-vswitchd`, each port
a namespace at the far end of a veth. Everything is recorded by the lab when it is made, and taken down by that record. Hosts beyond
those that a machine can carry are simulated: they connect to the same controller, and forward nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Usage, usage
from benchmarks.process import Controller, Held, Late, installed
from benchmarks.simulation import Simulation, described
from benchmarks.topology import fabric_file, tenant_files
from benchmarks.variants import Place
from benchmarks.workload import Document
from controller.lab.lab import Lab
from controller.lab.plan import port_commands
from controller.model.entities import Topology
from controller.model.names import interface_name

_LEARNED_S = 5.0  # A neighbour may be learned between what the controller says and what the switches say.


class Site:
    """The folder, the lab, the simulated switches and the controller of one workload; `open_site` makes one."""

    def __init__(self, folder: Path, lab: Lab, hosts: Sequence[str], simulation: Simulation) -> None:
        self.folder = folder
        self.lab = lab
        self.hosts = tuple(hosts)  # Those with a real switch.
        self.simulation = simulation
        self.controller = Controller(folder, lab.listen, lab.directory)

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

    def write(self, document: Document) -> None:
        """Write all files, where there were none or others."""
        self.write_fabric(document)
        for tenant, text in tenant_files(document).items():
            self.save(tenant, text)

    def save(self, tenant: str, text: str) -> None:
        """Write one tenant's file as an editor does."""
        path = self.folder / "tenants" / f"{tenant}.yaml"
        draft = path.with_suffix(".new")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)

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

    def check_counts(self) -> None:
        """Compare what the controller says that the switches hold with what they say; raise Late if that differs."""
        deadline = time.monotonic() + _LEARNED_S
        while True:
            self.controller.wait_in_sync()
            told = installed(self.controller.status() or {"switches": ()})
            found = self.count_flows()
            theirs = {place: flows for place, flows in told.items() if place[0] in self.hosts}
            if found == theirs:
                break
            if time.monotonic() > deadline:
                raise Late(f"the controller says that the switches hold {theirs}, but they hold {found}")
        simulated = sum(flows for place, flows in told.items() if place[0] not in self.hosts)
        if simulated != sum(self.simulation.flows().values()):
            raise Late(f"the controller says that the simulated switches hold {simulated:,} flows, which they do not")

    def plug(self, host: str, port: str) -> None:
        """Give a host an interface for a port, one that leads nowhere."""
        bridge, interface = self.lab.plan.hosts[host].integration_bridge, interface_name(port)
        named = ("set", "interface", interface, "type=internal", f'external_ids:iface-id="{port}"')
        self.lab.switch(host).configure([("add-port", bridge, interface), named])

    def unplug(self, host: str, port: str) -> None:
        """Take a port's interface away from a host."""
        self.lab.switch(host).configure(
            [("del-port", self.lab.plan.hosts[host].integration_bridge, interface_name(port))]
        )

    def replug(self, port: str) -> None:
        """Plug in a port of the lab's plan whose interface is there, but not in its switch."""
        planned = self.lab.plan.ports[port]
        self.lab.switch(planned.host).configure(port_commands(planned))

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
        self.controller.close()


@contextlib.contextmanager
def open_site(topology: Topology, folder: Path, directory: Path, real: int, places: Sequence[Place]) -> Iterator[Site]:
    """Bring up a lab with all ports of the topology plugged in, without a controller; take it down at the end.

    Only the first `real` hosts are in the lab, the others are simulated. The spare ports of `places` have an interface on both
    of their hosts.
    """
    hosts = list(topology.hosts)
    lab = Lab.up(
        topology,
        folder,
        f"bench-{directory.parent.name}",
        directory=directory,
        controller=False,
        without=hosts[real:],
    )
    try:
        with Simulation(lab.listen, described(topology, hosts[real:])) as simulation:
            site = Site(folder, lab, hosts[:real], simulation)
            try:
                for place in places:
                    site.plug(place.away, place.spare)
                yield site
            finally:
                site.close()
    finally:
        lab.down()
