"""What a lab of a topology consists of, as data: no process and no interface is touched here.

The namespace lab, Mininet (`weft lab plan DIR -o json`) and the tests build from the same plan, so that a port has
the same interface name, addresses and place in all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from controller.lab.beyond import NOTHING, OutsidePlan, plan_outside
from controller.model.address import format_mac
from controller.model.entities import Address, Host, HostKind, Network, NetworkType, Port, Topology
from controller.model.names import interface_name, physical_bridge
from controller.switch.access import Command
from controller.switch.ovsdb import host_commands

CONTROLLER = "CONTROLLER"  # Stands for the controller's address in `HostPlan.setup`, which only a running lab knows.
DATAPATH = "netdev"
VXLAN_PORT = 4789

# The bridge that carries a host's tunnel address, and its wire. Bridges of physical networks begin with `br-`, ports'
# interfaces hold `.` or `_`: no name of a topology can be one of these.
UNDERLAY = "underlay"
UPLINK = "eth0"

# What a machine room would have done before Weft comes. One thread of each kind: a lab runs many switches on few cores.
_UNDERLAY_COMMANDS: tuple[Command, ...] = (
    ("set", "Open_vSwitch", ".", "other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1"),
    ("add-br", UNDERLAY),
    ("set", "bridge", UNDERLAY, f"datapath_type={DATAPATH}"),
    ("add-port", UNDERLAY, UPLINK),
)


class LabError(Exception):
    """The lab cannot do that; the message says why."""


class NotAllowed(LabError):
    """The files do not allow that; the message says which line."""


class UnknownName(LabError):
    """There is no lab, host or port of that name, or the name that is needed was not given."""


@dataclass(frozen=True, slots=True)
class PortPlan:
    """A port as it is plugged: a namespace with `eth0`, whose other end is `interface` on the host.

    A subport is a namespace as well, like a container in a VM: the frames of its `eth0` have its tag on that of its `parent`.
    """

    name: str
    host: str
    network: str
    interface: str
    bridge: str  # Of the host, where the interface goes.
    mac: str
    addresses: tuple[str, ...]  # With prefix length.
    gateways: tuple[str, ...]
    mtu: int
    # What it may do, not what it is: where the files pin it to its host, if they do, and the hosts where it may be.
    pinned: str = field(default="", compare=False)
    carriers: tuple[str, ...] = field(default=(), compare=False)
    parent: str = ""
    vlan: int = 0

    def subports(self, ports: Iterable[PortPlan]) -> list[PortPlan]:
        """Return the port's subports among others."""
        return [port for port in ports if port.parent == self.name]

    asks: bool = field(default=False, compare=False)  # It is given no address: what runs in it asks for one.


@dataclass(frozen=True, slots=True)
class HostPlan:
    """A host: an Open vSwitch with its `ovs-vsctl` commands, or a foreign VTEP with its `ip` and `bridge` lines."""

    name: str
    kind: str
    tunnel_address: str  # With prefix length.
    integration_bridge: str
    physical: Mapping[str, str]  # Physical network -> the uplink's interface.
    bridges: tuple[str, ...]  # Those that the controller programs.
    setup: tuple[Command, ...]
    ip_lines: tuple[str, ...]
    fdb_lines: tuple[str, ...]

    def has_wires_of(self, other: HostPlan) -> bool:
        """Whether what joins this host to others is what `other` has: only a new lab can change that."""
        mine, theirs = dataclasses.replace(self, setup=()), dataclasses.replace(other, setup=())
        return mine == theirs


@dataclass(frozen=True, slots=True)
class LabPlan:
    """All of a lab: hosts and ports by name, and the physical networks that join hosts besides the underlay."""

    topology: str
    mtu: int
    physical_networks: tuple[str, ...]
    hosts: Mapping[str, HostPlan]
    ports: Mapping[str, PortPlan]
    outside: OutsidePlan = NOTHING  # What is beyond the external networks.

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON's types."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> LabPlan:
        """Return the plan that `to_json` wrote."""
        return LabPlan(
            topology=value["topology"],
            mtu=value["mtu"],
            physical_networks=tuple(value["physical_networks"]),
            hosts={name: HostPlan(**_tuples(host)) for name, host in value["hosts"].items()},
            ports={name: PortPlan(**_tuples(port)) for name, port in value["ports"].items()},
            outside=OutsidePlan.from_json(value.get("outside")),
        )


def plan_lab(topology: Topology, kept: Mapping[str, str] | None = None, asking: Container[str] = ()) -> LabPlan:
    """Return the plan of a topology's lab; ports without a host get one, the same in every run, or what `kept` says.

    Ports that are `asking` are left without addresses.
    """
    free = topology
    topology = placed(topology, kept)
    wide = {version: _prefix_length(topology.hosts.values(), version) for version in (4, 6)}
    hosts = {host.name: _host(topology, host, wide[host.tunnel_ip.version]) for host in topology.hosts.values()}
    subports = _subports(topology)
    ports = {}
    for port in topology.ports.values():
        if port.host:
            parent = topology.ports[port.parent or port.name]
            trunk = [parent, *subports.get(parent.name, ())]
            ports[port.name] = _port(topology, port, trunk, free.ports[port.name].host)
    ports = {name: dataclasses.replace(port, asks=name in asking) for name, port in ports.items()}
    wires, outside = tuple(topology.physical_networks), plan_outside(topology)
    return LabPlan(topology.name, topology.mtu, wires, hosts, ports, outside)


def placed(topology: Topology, kept: Mapping[str, str] | None = None) -> Topology:
    """Return the topology with a host for every port that has none and that some host can carry.

    Hosts take turns in the order of the files; a port that `kept` names stays where it is. Ports of a local network join
    the first of their network, because its frames leave no host. Subports are where their parents are.
    """
    kept = kept or {}
    local = {
        port.network: port.host
        for port in reversed(tuple(topology.ports.values()))
        if port.host and _is_local(topology, port)
    }
    ports = dict(topology.ports)
    turn = 0
    subports = _subports(topology)
    for name, port in topology.ports.items():
        if port.host or port.parent is not None:
            continue
        trunk = [port, *subports.get(name, ())]
        candidates = _carriers(topology, trunk)
        if not candidates:
            continue
        tied = [local[each.network] for each in trunk if each.network in local]
        host = tied[0] if tied else candidates[turn % len(candidates)]
        turn += 1
        if kept.get(name) in candidates:
            host = kept[name]
        local |= {each.network: host for each in trunk if _is_local(topology, each) and each.network not in local}
        ports[name] = dataclasses.replace(port, host=host)
        ports |= {each.name: dataclasses.replace(each, host=host) for each in trunk[1:]}
    return dataclasses.replace(topology, ports=ports)


def _subports(topology: Topology) -> Mapping[str, list[Port]]:
    """Return the subports of ports that have some."""
    found: dict[str, list[Port]] = {}
    for port in topology.ports.values():
        if port.parent is not None:
            found.setdefault(port.parent, []).append(port)
    return found


def _is_local(topology: Topology, port: Port) -> bool:
    return topology.networks[port.network].type is NetworkType.LOCAL


def _carriers(topology: Topology, ports: Iterable[Port]) -> list[str]:
    """Return the hosts that have the networks of all of these ports."""
    names = [host.name for host in topology.hosts.values() if host.kind is HostKind.OVS]
    networks = {topology.networks[port.network].physical_network for port in ports} - {None}
    wired = [topology.physical_networks[network].hosts for network in networks if network is not None]
    return [name for name in names if all(name in hosts for hosts in wired)]


def _port(topology: Topology, port: Port, trunk: list[Port], pinned_to: str | None) -> PortPlan:
    """Return the plan of a port; `trunk` are all that share its interface, its owner first."""
    network = topology.networks[port.network]
    host = topology.hosts[port.host or ""]
    # The frames of a local network leave no host, so neither does a port of it.
    is_tied = pinned_to is not None or any(_is_local(topology, each) for each in trunk)
    bridge = host.integration_bridge
    if host.kind is HostKind.VTEP:
        if port.parent is not None:
            raise LabError(f"{port.place}: {host.name} is a foreign VTEP, and the lab's have no trunks")
        if network.type is not NetworkType.VXLAN:
            raise LabError(
                f"{port.place}: {host.name} is a foreign VTEP, and the lab's speak vxlan only, not {network.type}"
            )
        bridge = f"br{_vtep_networks(topology, host).index(network.name)}"
    return PortPlan(
        name=port.name,
        host=host.name,
        network=port.network,
        interface=interface_name(port.name),
        bridge=bridge,
        mac=format_mac(port.mac),
        addresses=tuple(_with_length(address, network) for address in port.ips),
        gateways=tuple(str(gateway) for gateway in network.gateways if gateway not in port.ips),
        # On its port's interface a frame of a subport must fit.
        mtu=min(network.mtu, topology.networks[trunk[0].network].mtu),
        pinned=str(port.place) if pinned_to else "",
        carriers=(host.name,) if is_tied else tuple(_carriers(topology, trunk)),
        parent=port.parent or "",
        vlan=port.vlan or 0,
    )


def _with_length(address: Address, network: Network) -> str:
    lengths = (cidr.prefixlen for cidr in network.cidrs if cidr.version == address.version and address in cidr)
    return f"{address}/{next(lengths, address.max_prefixlen)}"


def _host(topology: Topology, host: Host, length: int) -> HostPlan:
    wired = [network.name for network in topology.physical_networks.values() if host.name in network.hosts]
    uplinks = {name: f"eth{number}" for number, name in enumerate(wired, start=1)}
    setup: tuple[Command, ...] = ()
    bridges: tuple[str, ...] = ()
    ip_lines: list[str] = []
    fdb_lines: list[str] = []
    if host.kind is HostKind.OVS:
        ours = host_commands(topology, host.name, controller=CONTROLLER, datapath=DATAPATH)
        wires = (("add-port", physical_bridge(network), interface) for network, interface in uplinks.items())
        setup = (*_UNDERLAY_COMMANDS, *ours, *wires)
        bridges = (host.integration_bridge, host.tunnel_bridge, *map(physical_bridge, wired))
    else:
        for number, name in enumerate(_vtep_networks(topology, host)):
            network = topology.networks[name]
            ip_lines += [
                f"link add br{number} type bridge mcast_snooping 0",
                f"link add vx{number} mtu {network.mtu} {_vxlan(network, host)}",
                f"link set vx{number} master br{number} up",
                f"link set br{number} up",
            ]
            peers = {port.host for port in topology.ports.values() if port.network == name} - {host.name, None}
            fdb_lines += [
                f"fdb append 00:00:00:00:00:00 dev vx{number} dst {topology.hosts[peer].tunnel_ip}"
                for peer in sorted(peer for peer in peers if peer)
            ]
    return HostPlan(
        name=host.name,
        kind=host.kind.value,
        tunnel_address=f"{host.tunnel_ip}/{length}",
        integration_bridge=host.integration_bridge,
        physical=uplinks,
        bridges=bridges,
        setup=setup,
        ip_lines=tuple(ip_lines),
        fdb_lines=tuple(fdb_lines),
    )


def port_commands(port: PortPlan) -> tuple[Command, ...]:
    """Return the `ovs-vsctl` commands that plug a port's interface into its host's switch."""
    return (
        ("--may-exist", "add-port", port.bridge, port.interface),
        ("set", "interface", port.interface, f'external_ids:iface-id="{port.name}"'),
    )


def _vxlan(network: Network, host: Host) -> str:
    # The outer checksum would be left to hardware that a virtual wire does not have.
    without_checksum = "noudpcsum" if host.tunnel_ip.version == 4 else "udp6zerocsumtx udp6zerocsumrx"
    return f"type vxlan id {network.segment} local {host.tunnel_ip} dstport {VXLAN_PORT} {without_checksum}"


def _vtep_networks(topology: Topology, host: Host) -> list[str]:
    return list(dict.fromkeys(port.network for port in topology.ports.values() if port.host == host.name))


def _prefix_length(hosts: Iterable[Host], version: int) -> int:
    """Return the length of the longest usual prefix that holds all tunnel addresses of a version and reserves none of them."""
    addresses = [int(host.tunnel_ip) for host in hosts if host.tunnel_ip.version == version]
    bits = 32 if version == 4 else 128
    length = 24 if version == 4 else 64
    while length and any(_is_unfit(address, addresses[0], bits - length, version) for address in addresses):
        length -= 1
    return length


def _is_unfit(address: int, first: int, host_bits: int, version: int) -> bool:
    inside = address & ((1 << host_bits) - 1)
    reserved = version == 4 and inside in (0, (1 << host_bits) - 1)
    return address >> host_bits != first >> host_bits or reserved


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an entity with JSON's lists as tuples again."""
    return {name: _tuple(item) for name, item in value.items()}


def _tuple(item: Any) -> Any:
    return tuple(map(_tuple, item)) if isinstance(item, list) else item


def without_length(address: str) -> str:
    """Return an address of a plan without its prefix length, in its canonical text.

    >>> without_length("10.0.1.11/24")
    '10.0.1.11'
    """
    return str(ip_address(address.partition("/")[0]))
