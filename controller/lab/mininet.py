"""The same topology inside Mininet: every Weft host a node with its own Open vSwitch, every port a Mininet host.

    sudo mn --custom controller/lab/mininet.py --topo weft,topologies/quickstart --switch weft --controller remote

or in Python, with `PYTHONPATH` at the checkout:

    from controller.lab.mininet import WeftNet, WeftTopo
    net = WeftNet(topo=WeftTopo("topologies/quickstart"), controller=RemoteController)

Mininet runs under the system's Python, which has neither our packages nor pydantic, and `mn` executes this file as text. So it uses
only the standard library and Mininet, and asks `weft lab plan` for all that it must know. `mn` takes the names that
a custom file defines for its own: that is how `Mininet` and `CLI` below come to be used.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mininet.cli
import mininet.net
from mininet.link import Intf, Link
from mininet.log import info, output
from mininet.node import Host, Switch
from mininet.topo import Topo

_HERE = Path(sys._getframe().f_code.co_filename).resolve()  # noqa: SLF001 - `mn` gives a custom file no __file__.
_TAGGING = _HERE.parent / "tagging.py"
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_DAEMON = ("--detach", "--no-chdir", "--pidfile", "--log-file", "-vconsole:off")
_PLACEHOLDER = "CONTROLLER"  # What stands for the controller's address in a plan.
_UNDERLAY = "underlay"
_SILENT = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; echo 0 > /proc/sys/net/ipv4/ip_forward"


def lab_plan(folder: str) -> dict[str, Any]:
    """Return what `weft lab plan` says of a topology."""
    own = _HERE.parents[2] / ".venv" / "bin" / "weft"
    program = str(own) if own.exists() else shutil.which("weft")
    if program is None:
        raise SystemExit(f"no weft command at {own} and none in PATH")
    done = subprocess.run([program, "lab", "plan", folder, "-o", "json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


class WeftTopo(Topo):
    """A topology folder as Mininet nodes: ports `TENANT-PORT`, subports `TENANT-PORT.VLAN`, hosts, and one for each wire between hosts."""

    def build(self, folder: str = "topologies/quickstart", **_: object) -> None:
        """Add the nodes and links of the folder's topology."""
        plan = lab_plan(folder)
        wires = [_UNDERLAY, *plan["physical_networks"]]
        names = {wire: f"wire{number}" for number, wire in enumerate(wires)}
        for name in names.values():
            self.addSwitch(name, cls=WeftWire, inNamespace=True, dpid="1")
        for number, host in enumerate(plan["hosts"].values()):
            kind = WeftSwitch if host["kind"] == "ovs" else WeftVtep
            ports = [port for port in plan["ports"].values() if port["host"] == host["name"] and not port["parent"]]
            self.addSwitch(host["name"], cls=kind, inNamespace=True, dpid="1", plan=host, members=ports)
            uplinks = {_UNDERLAY: "eth0", **host["physical"]}
            for wire, interface in uplinks.items():
                self.addLink(host["name"], names[wire], intfName1=interface, intfName2=f"h{number}")
        for port in plan["ports"].values():
            name = _name(port["name"])
            self.addHost(name, cls=WeftPort, plan=port, ip=None)
            if port["parent"]:
                self.addLink(name, _name(port["parent"]), cls=WeftTag)
            else:
                self.addLink(name, port["host"], intfName1="eth0", intfName2=port["interface"], addr1=port["mac"])
        self._add_outside(plan["outside"], names)

    def _add_outside(self, plan: dict[str, Any], wires: dict[str, str]) -> None:
        """Add the routers of others' that lead to external networks, and the internet behind them."""
        if not plan["routers"]:
            return
        self.addSwitch("beyond", cls=WeftWire, inNamespace=True, dpid="1")
        self.addHost(
            "world.internet", cls=WeftOutside, interfaces={"eth0": plan["addresses"]}, routes=plan["routes"], ip=None
        )
        self.addLink("world.internet", "beyond", intfName1="eth0", intfName2="o0")
        for number, router in enumerate(plan["routers"].values(), start=1):
            name = f"world.{router['name'].removeprefix('@')}"
            interfaces = {"eth0": router["addresses"], "eth1": router["beyond"]}
            self.addHost(
                name, cls=WeftOutside, interfaces=interfaces, routes=router["routes"], vlan=router["vlan"], ip=None
            )
            self.addLink(name, "beyond", intfName1="eth1", intfName2=f"o{number}")
            end = name
            if router["vlan"]:
                end = f"{name}.wire"
                self.addHost(end, cls=WeftOutside, interfaces={"eth0": []}, ip=None)
            self.addLink(end, wires[router["physical_network"]], intfName1="eth0", intfName2=f"r{number}")
            if router["vlan"]:
                self.addLink(name, end, cls=WeftTag)


def _name(port: str) -> str:
    """Return the name of a port's node: `red-vm`, and `red-vm.101` for its subport 101."""
    return port.replace("/", "-").replace(":", ".")


class WeftTag(Link):
    """What joins a subport to its port: a tag on the port's interface, which is there once the subport is configured."""

    def __init__(self, node1: WeftPort | WeftOutside, node2: WeftPort | WeftOutside, **_: object) -> None:
        self.ends = node1, node2
        node1.parent = node2

    def delete(self) -> None:
        """Leave the end to the namespaces of both."""

    def status(self) -> str:
        """Return what `links` shows."""
        return "(tagged)"

    def __str__(self) -> str:
        return "<->".join(node.name for node in self.ends)


class WeftOutside(Host):
    """A machine beyond an external network: `interfaces` with their addresses, and `routes`. What has two interfaces is a router."""

    parent: WeftPort | WeftOutside | None = None

    def config(self, **_: object) -> dict[str, object]:
        """Give the interfaces what the plan says."""
        if self.parent is not None:
            self.cmd(f"{sys.executable} -S -E {_TAGGING} /proc/{self.parent.pid}/ns/net {self.params['vlan']}")
        interfaces = self.params["interfaces"]
        router = int(len(interfaces) > 1)
        self.cmd(f"sysctl -qw net.ipv4.ip_forward={router} net.ipv6.conf.all.forwarding={router}; ip link set lo up")
        for name, addresses in interfaces.items():
            self.cmd(f"ethtool -K {name} tx off; ip link set {name} up")
            for address in addresses:
                self.cmd(f"ip addr add {address} dev {name}{' nodad' if ':' in address else ''}")
        for prefix, via in self.params.get("routes", ()):
            self.cmd(f"ip route replace {prefix} via {via}")
        return {}


class WeftPort(Host):
    """A port of the topology: a Mininet host with the MAC, addresses and MTU of the files."""

    parent: WeftPort | WeftOutside | None = None

    def config(self, **_: object) -> dict[str, object]:
        """Give `eth0` what the plan says; Mininet's own defaults do not apply."""
        plan = self.params["plan"]
        if self.parent is not None:
            self.cmd(f"{sys.executable} -S -E {_TAGGING} /proc/{self.parent.pid}/ns/net {plan['vlan']}")
            Intf("eth0", node=self, moveIntfFn=lambda *_: None)
        device = self.intfs[0]
        for command in (
            "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_ra",
            # A veth leaves checksums to hardware that the userspace datapath does not have.
            "ethtool -K eth0 tx off",
            "ip link set lo up",
            f"ip link set eth0 down mtu {plan['mtu']} address {plan['mac']}",
            "ip link set eth0 up",
            *(f"ip addr add {address} dev eth0" for address in plan["addresses"]),
            *(f"ip route add default via {gateway} dev eth0" for gateway in plan["gateways"]),
        ):
            self.cmd(command)
        device.mac = plan["mac"]
        if self.addresses:
            device.ip, device.prefixLen = plan["addresses"][0].split("/")
        return {}

    @property
    def addresses(self) -> list[str]:
        """The port's addresses, without prefix lengths."""
        return [address.partition("/")[0] for address in self.params["plan"]["addresses"]]

    def echoes(self) -> int:
        """Return how many echo requests have arrived here."""
        lines = Path(f"/proc/{self.pid}/net/snmp").read_text(encoding="ascii").splitlines()
        heads, values = (line.split() for line in lines if line.startswith("Icmp:"))
        fields = Path(f"/proc/{self.pid}/net/snmp6").read_text(encoding="ascii").split()
        return int(values[heads.index("InEchos")]) + int(fields[fields.index("Icmp6InEchos") + 1])

    def reaches(self, other: WeftPort, timeout: str = "1") -> bool:
        """Return whether an echo request arrives at this very port, whoever else has its address, and is answered."""
        shared = [to for to in other.addresses if any((":" in to) == (":" in mine) for mine in self.addresses)]
        before = other.echoes()
        answered = any(" 0% packet loss" in self.cmd(f"ping -c1 -W{timeout} {address}") for address in shared)
        return answered and other.echoes() > before


class WeftWire(Switch):
    """The underlay, or a physical network: a Linux bridge in a namespace of its own."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **params)
        self.cmd(_SILENT)

    def start(self, _: Sequence[Any]) -> None:
        """Join all links that end here."""
        self.cmd("ip link add wire type bridge mcast_snooping 0; ip link set wire up")
        for interface in self.intfNames():
            if interface != "lo":
                self.cmd(f"ip link set {interface} master wire up")


class WeftVtep(Switch):
    """A VTEP that is not Weft's: Linux bridges with kernel `vxlan` devices."""

    def __init__(self, name: str, *, plan: dict[str, Any], members: list[dict[str, Any]], **params: Any) -> None:
        super().__init__(name, **params)
        self.plan, self.members = plan, members
        self.cmd(_SILENT)

    def start(self, _: Sequence[Any]) -> None:
        """Bring the tunnel address, the bridges and their ports up."""
        lines = [f"ip addr add {self.plan['tunnel_address']} dev eth0", "ip link set eth0 up"]
        lines += [f"ip {line}" for line in self.plan["ip_lines"]]
        lines += [f"bridge {line}" for line in self.plan["fdb_lines"]]
        lines += [
            f"ip link set {port['interface']} master {port['bridge']} mtu {port['mtu']} up" for port in self.members
        ]
        for line in lines:
            said = self.cmd(line)
            if said.strip():
                raise RuntimeError(f"{self.name}: {line}: {said.strip()}")


class WeftSwitch(Switch):
    """A host of the topology: a node with its own `ovsdb-server` and `ovs-vswitchd`, userspace datapath.

    Its namespace cannot reach the controller that listens on the machine's loopback, so its bridges talk to a socket in
    its own run directory, which a thread of Mininet's process joins to the controller.
    """

    def __init__(self, name: str, *, plan: dict[str, Any], members: list[dict[str, Any]], **params: Any) -> None:
        super().__init__(name, **params)
        self.plan, self.members = plan, members
        self.directory = Path(tempfile.mkdtemp(prefix=f"weft-{name}-"))
        self.relay: Relay | None = None
        places = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        self.environment = os.environ | dict.fromkeys(places, str(self.directory))
        # Mininet forgets its switches when it fails; what runs here must not outlive it.
        atexit.register(self._discard)
        self.cmd(_SILENT)
        # So that `hv1 ovs-vsctl show` at Mininet's prompt means this switch.
        self.cmd("export " + " ".join(f"{place}={self.directory}" for place in places))

    def start(self, controllers: Sequence[Any]) -> None:
        """Start both daemons and set the bridges up as `weft host init` does."""
        self.cmd("ip link set lo up; ip link set eth0 up")
        for interface in self.plan["physical"].values():
            self.cmd(f"ip link set {interface} up")
        for port in self.members:
            self.cmd(f"ip link set {port['interface']} mtu {port['mtu']} up")
        self.relay = Relay(self.directory / "controller.sock", controllers[0] if controllers else None)
        self._run("ovsdb-tool", "create", f"{self.directory}/conf.db", _SCHEMA)
        self._run("ovsdb-server", f"{self.directory}/conf.db", f"--remote=punix:{self.directory}/db.sock", *_DAEMON)
        self._run("ovs-vsctl", "--no-wait", "init")
        self._run("ovs-vswitchd", f"unix:{self.directory}/db.sock", "--disable-system", *_DAEMON)
        target = f"unix:{self.directory}/controller.sock"
        commands = [[target if word == _PLACEHOLDER else word for word in words] for words in self.plan["setup"]]
        for port in self.members:
            commands.append(["add-port", port["bridge"], port["interface"]])
            commands.append(["set", "interface", port["interface"], f'external_ids:iface-id="{port["name"]}"'])
        self._run("ovs-vsctl", "--timeout=20", *(word for command in commands for word in ("--", *command)))
        self.cmd(f"ip addr add {self.plan['tunnel_address']} dev {_UNDERLAY}; ip link set {_UNDERLAY} up")

    def connected(self) -> bool:
        """Whether every bridge of the controller's has connected, and br-int has its program."""
        said = self._run("ovs-vsctl", "--no-headings", "--columns=is_connected", "list", "controller").split()
        bridge = self.plan["integration_bridge"]
        flows = self._run("ovs-ofctl", "-O", "OpenFlow14", "dump-aggregate", bridge)
        return "false" not in said and "flow_count=0" not in flows

    def stop(self, deleteIntfs: bool = True) -> None:  # noqa: N803 - Mininet's own name.
        """End the daemons of this switch, by the numbers that they wrote down, and remove their directory."""
        super().stop(deleteIntfs)
        self._discard()

    def _discard(self) -> None:
        for name in ("ovs-vswitchd", "ovsdb-server"):
            path = self.directory / f"{name}.pid"
            if path.exists():
                _end(int(path.read_text(encoding="ascii")))
        if self.relay:
            self.relay.close()
            self.relay = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, *command: str) -> str:
        said, complaint, code = self.pexec(list(command), env=self.environment)
        if code:
            raise RuntimeError(f"{self.name}: {' '.join(command[:2])}: {complaint.strip()}")
        return str(said)


def _end(pid: int, patience: float = 3.0) -> None:
    """End a daemon that is nobody's child any more, and wait until it is gone."""
    try:
        there = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    for sign in (signal.SIGTERM, signal.SIGKILL):
        os.kill(pid, sign)
        if select.select([there], [], [], patience)[0]:
            break
    os.close(there)


class Relay:
    """Joins connections to a socket file with new connections to a controller, byte for byte."""

    def __init__(self, path: Path, controller: Any) -> None:
        self._controller = controller
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(16)
        threading.Thread(target=self._accept, name=f"relay {path}", daemon=True).start()

    def close(self) -> None:
        """Take no further connection; those that are open end with their switch."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                switch, _ = self._server.accept()
            except OSError:
                return
            try:
                there = socket.create_connection((self._controller.IP(), self._controller.port), 5)
            except (OSError, AttributeError):
                switch.close()  # There is no controller yet; the switch tries again within a second.
                continue
            there.settimeout(None)
            there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target in ((switch, there), (there, switch)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    for each in (source, target):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            each.close()


class WeftNet(mininet.net.Mininet):
    """Mininet whose pings say which port they reached, so that tenants with the same addresses are told apart."""

    def ping(self, hosts: Sequence[Any] | None = None, timeout: str | None = None) -> float:
        """Ping between all ports and print who reached whom, X where nobody was reached; return the loss in per cent."""
        ports = [host for host in hosts or self.hosts if isinstance(host, WeftPort)]
        info("*** Ping: testing ping reachability\n")
        sent = lost = 0
        for source in ports:
            output(f"{source.name} -> ")
            for target in ports:
                if source is not target:
                    reached = source.reaches(target, timeout or "1")
                    sent, lost = sent + 1, lost + (not reached)
                    output(f"{target.name} " if reached else "X ")
            output("\n")
        loss = 100.0 * lost / sent if sent else 0.0
        output(f"*** Results: {loss:.0f}% dropped ({sent - lost}/{sent} received)\n")
        return loss


class WeftCLI(mininet.cli.CLI):
    """Mininet's prompt, where a node's name may hold a hyphen and a dot: `red-web1 ping red-vm.101`."""

    identchars = mininet.cli.CLI.identchars + "-."


topos = {"weft": WeftTopo}
switches = {"weft": WeftSwitch}
Mininet, CLI = WeftNet, WeftCLI
