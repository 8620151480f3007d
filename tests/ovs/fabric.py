"""A whole fabric on dummy switches: a switch for each host, real tunnels and conntrack, and wires that the test carries.

The test takes frames off one host's underlay or physical network and puts them onto the others', so that it sees every
encapsulated frame and time stands still between steps.

    with FabricTwin(directory, topology) as fabric:
        fabric.load(compile_fabric(topology, fabric.location, fabric.bindings))
        assert fabric.send("red/a", frame) == {"red/b": [frame]}
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self

from controller.graph.fabric import Fabric
from controller.model.address import format_mac
from controller.model.entities import HostKind, Topology
from controller.model.liveness import watched_by
from controller.model.names import (
    PATCH_TO_INTEGRATION,
    PATCH_TO_TUNNEL,
    interface_name,
    liveness_port,
    parent_of,
    patch_from_physical,
    patch_to_physical,
    physical_bridge,
    subport_name,
    tunnel_port,
)
from controller.pipeline.compile import assumed_bindings
from controller.pipeline.flow import Bindings, Program
from tests.ovs.twin import Twin, bridge_commands, interface_command, patch_commands
from tests.ovs.vtep import ForeignVtep, Tunnelled, decapsulate, encapsulate

UNDERLAY, UPLINK = "underlay", "uplink"
WIRE_NUMBER = 900  # Of the port of br-PHYSNET that is the wire.
_UNDERLAY_MAC = 0x02FF00000000
_ADDRESSES, _TAG = 12, 0x8100  # Bytes in front of a frame's tag, and how it begins.
_HOPS = 8  # A frame that is still on some wire after so many is in a loop.

Deliveries = dict[str, list[bytes]]


class FabricTwin:
    """All hosts of a topology; `location` places ports without a `host:`.

    What a subport sends and gets is told without its tag, which it has on its parent's interface.
    """

    def __init__(self, directory: Path, topology: Topology, location: Mapping[str, str] | None = None) -> None:
        self.topology = topology
        self.graph = Fabric(topology, location)
        self.location: dict[str, str] = self.graph.location
        self.underlay: list[Tunnelled] = []  # What went over the underlay since a frame was last sent.
        self.wires: list[
            tuple[str, bytes]
        ] = []  # Likewise over physical networks: (name, frame) of what hosts sent there.
        self.bindings: dict[str, Bindings] = {}
        self.hosts: dict[str, Twin] = {}
        self._directory = directory
        self._stack = ExitStack()
        self.foreign: dict[str, ForeignVtep] = {}  # The hosts that are not ours.
        self._port_of: dict[tuple[str, str], str] = {}
        for name, host in topology.hosts.items():
            if host.kind is HostKind.VTEP:
                self.foreign[name] = ForeignVtep(topology, self.location, name)
            else:
                self.bindings[name] = assumed_bindings(self.graph, host)
        for port, where in self.location.items():
            self._port_of[where, interface_name(port)] = parent_of(port)

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for name in self.bindings:
                (self._directory / name).mkdir()
                self.hosts[name] = starting.enter_context(Twin(self._directory / name))
                self._plug(name)
            self._stack = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def load(self, programs: Iterable[Program]) -> None:
        """Replace what all bridges hold by these programs."""
        for program in programs:
            twin = self.hosts[program.host]
            twin.ofctl("del-flows", program.bridge)
            twin.ofctl("del-groups", program.bridge)
            twin.install(program.bridge, program)
        for twin in self.hosts.values():
            # What the datapath remembers of the old flows would be corrected soon, but not at once.
            twin.control.call("revalidator/purge")

    def send(self, port: str, frame: bytes) -> Deliveries:
        """Let a port send a frame and return what every port received in the end, the sender included."""
        host = self.location[port]
        self.underlay, self.wires = [], []
        deliveries: Deliveries = {}
        if host in self.foreign:
            here, copies = self.foreign[host].send(port, frame)
            _note(deliveries, here)
            self._carry_tunnels(copies, deliveries)
        else:
            self._arrive(host, interface_name(port), self._tagged(port, frame), deliveries)
        return deliveries

    def receive_tunnelled(self, packet: Tunnelled) -> Deliveries:
        """Let a tunnel packet arrive from the underlay, from wherever it claims to come."""
        self.underlay, self.wires = [], []
        deliveries: Deliveries = {}
        self._carry_tunnels([packet], deliveries)
        return deliveries

    def receive_wire(self, host: str, physical_network: str, frame: bytes) -> Deliveries:
        """Let a frame arrive at a host from a physical network."""
        self.underlay, self.wires = [], []
        deliveries: Deliveries = {}
        self._arrive(host, _wire(physical_network), frame, deliveries)
        return deliveries

    def kill(self, host: str, *, is_dead: bool = True) -> None:
        """Let a host give no signs of life any more, or give them again; it goes on with everything else."""
        for other, twin in self.hosts.items():
            if host in watched_by(self.topology, other):
                # A session to which nobody answers.
                twin.configure(["set", "interface", liveness_port(host), f"bfd:enable={str(is_dead).lower()}"])
                twin.control.call("revalidator/purge")  # As it does by itself, within half a second.

    def forget(self) -> None:
        """Forget all connections."""
        for twin in self.hosts.values():
            twin.flush_conntrack()

    def trace(self, port: str, frame: bytes) -> str:
        """Return what the sender's br-int would do with a frame, for a message."""
        host = self.topology.hosts[self.location[port]]
        if host.name in self.foreign:
            return f"{port} is on the foreign VTEP {host.name}"
        number = self.bindings[host.name].number(host.integration_bridge, interface_name(port))
        return self.hosts[host.name].trace(
            host.integration_bridge, f"in_port={number}", self._tagged(port, frame).hex()
        )

    def _tagged(self, port: str, frame: bytes) -> bytes:
        """Return a frame of a port as it is on the interface: a subport's has its tag."""
        vlan = self.topology.ports[port].vlan
        return frame if vlan is None else frame[:_ADDRESSES] + struct.pack(">HH", _TAG, vlan) + frame[_ADDRESSES:]

    def _untagged(self, port: str, frame: bytes) -> tuple[str, bytes]:
        """Return whose a frame is that came out of the interface of a port, and the frame without that one's tag."""
        kind, tag = struct.unpack_from(">HH", frame, _ADDRESSES)
        subport = subport_name(port, tag)
        if kind != _TAG or subport not in self.topology.ports:
            return port, frame
        return subport, frame[:_ADDRESSES] + frame[_ADDRESSES + 4 :]

    def _arrive(self, host: str, interface: str, frame: bytes, deliveries: Deliveries, hops: int = 0) -> None:
        """Put a frame into an interface and carry on with everything that the host then sends."""
        assert hops < _HOPS, f"a frame goes round and round: {frame.hex()}"
        twin = self.hosts[host]
        twin.inject(interface, frame)
        twin.settle()
        for name in self.bindings[host].ports[self.topology.hosts[host].integration_bridge]:
            port = self._port_of.get((host, name))
            if port is not None:
                _note(deliveries, (self._untagged(port, sent) for sent in twin.sent(name)))
        self._carry_tunnels([decapsulate(sent) for sent in twin.sent(UPLINK)], deliveries, hops + 1)
        for physical in self.topology.physical_networks.values():
            if host in physical.hosts:
                for sent in twin.sent(_wire(physical.name)):
                    self.wires.append((physical.name, sent))
                    for other in physical.hosts:
                        if other != host:
                            self._arrive(other, _wire(physical.name), sent, deliveries, hops + 1)

    def _carry_tunnels(self, packets: Iterable[Tunnelled], deliveries: Deliveries, hops: int = 0) -> None:
        by_address = {host.tunnel_ip: host.name for host in self.topology.hosts.values()}
        for packet in packets:
            self.underlay.append(packet)
            host = by_address[packet.dst]
            if host in self.foreign:
                _note(deliveries, self.foreign[host].receive(packet))
            else:
                outer = encapsulate(packet, _mac_of(packet.src), _mac_of(packet.dst))
                self._arrive(host, UPLINK, outer, deliveries, hops)

    def _plug(self, name: str) -> None:
        """Give a host its bridges, ports, patches and tunnels, and the way to the underlay."""
        host, twin, ports = self.topology.hosts[name], self.hosts[name], self.bindings[name].ports
        physical = [physical for physical in self.topology.physical_networks.values() if name in physical.hosts]
        inside, outside = ports[host.integration_bridge], ports[host.tunnel_bridge]
        commands = [
            *bridge_commands(UNDERLAY),
            ["set", "bridge", UNDERLAY, f"other_config:hwaddr={_mac(host.tunnel_ip)}"],
        ]
        for bridge in ports:
            commands += bridge_commands(bridge)
        commands += twin.port_commands(UNDERLAY, {UPLINK: 1})
        own = {interface for where, interface in self._port_of if where == name}
        # A plain port stands for the tunnel by which signs of life come: it is up, or taken down.
        own |= {liveness_port(other) for other in watched_by(self.topology, name)}
        commands += twin.port_commands(
            host.integration_bridge, {port: number for port, number in inside.items() if port in own}
        )
        commands += patch_commands(
            (host.integration_bridge, PATCH_TO_TUNNEL, inside[PATCH_TO_TUNNEL]),
            (host.tunnel_bridge, PATCH_TO_INTEGRATION, outside[PATCH_TO_INTEGRATION]),
        )
        kinds = dict.fromkeys(n.type for n in self.topology.networks.values() if n.type.is_tunnel)
        for kind in kinds:
            number = outside[tunnel_port(kind)]
            options = ("options:remote_ip=flow", "options:key=flow")
            commands.append(interface_command(host.tunnel_bridge, tunnel_port(kind), number, kind.value, *options))
        for each in physical:
            here, there = patch_to_physical(each.name), patch_from_physical(each.name)
            bridge = physical_bridge(each.name)
            commands += patch_commands(
                (host.integration_bridge, here, inside[here]), (bridge, there, ports[bridge][there])
            )
            commands += twin.port_commands(bridge, {_wire(each.name): WIRE_NUMBER})
            # What a switch has learned from one packet must not decide about the next.
            outer = self.topology.external_networks.values()
            vlans = {n.segment or 0 for n in self.topology.networks.values() if n.physical_network == each.name}
            vlans |= {n.vlan or 0 for n in outer if n.physical_network == each.name}
            commands.append(["set", "bridge", bridge, f"flood_vlans={','.join(map(str, sorted(vlans | {0})))}"])
        twin.configure(*commands)
        for bridge in ports:
            twin.ofctl("set-frags", bridge, "nx-match")  # As the controller has it.
        self._route(name)

    def _route(self, name: str) -> None:
        """Lead tunnel packets out of the uplink and in; neighbours are known, so that none waits for ARP."""
        twin, hosts = self.hosts[name], self.topology.hosts
        twin.install(UNDERLAY, ["flow add in_port=LOCAL,actions=output:1", "flow add in_port=1,actions=LOCAL"])
        twin.control.call("netdev-dummy/ip4addr", UNDERLAY, f"{hosts[name].tunnel_ip}/16")
        twin.control.call("ovs/route/add", f"{hosts[name].tunnel_ip}/16", UNDERLAY)
        for other in hosts.values():
            if other.name != name:
                twin.control.call("tnl/neigh/set", UNDERLAY, str(other.tunnel_ip), _mac(other.tunnel_ip))


def _note(deliveries: Deliveries, received: Iterable[tuple[str, bytes]]) -> None:
    for port, frame in received:
        deliveries.setdefault(port, []).append(frame)


def _wire(physical_network: str) -> str:
    return f"wire-{physical_network}"


def _mac_of(address: IPv4Address) -> int:
    return _UNDERLAY_MAC | int(address) & 0xFFFFFF


def _mac(address: object) -> str:
    assert isinstance(address, IPv4Address)
    return format_mac(_mac_of(address))
