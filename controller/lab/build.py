"""Making a lab's parts: namespaces, wires, switches and plugged ports, many at once.

namespace weft7 (the wires between hosts)          namespace weft7.hv1                namespace weft7.red.web1
  Linux bridge `underlay` ── u0 ═══════════ eth0 in `underlay` (tunnel address)
  Linux bridge `net0`     ── p0-1 ═════════ eth1 in `br-PHYSNET`
  Linux bridge `mgmt`     ── m0 ═══════════ mgmt (169.254.7.2)
        └── root ═══ weft7 (169.254.7.1)     br-int: red.web1 ═══════════════════════ eth0 (10.0.1.11)
             in the root namespace, where the controller listens
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from controller.lab import outside
from controller.lab.limits import start_limits
from controller.lab.namespaces import Process, bridge, exists, fill_in_checksums, inside, ip, set_kernel
from controller.lab.plan import CONTROLLER, UNDERLAY, UPLINK, HostPlan, LabError, PortPlan, port_commands
from controller.lab.state import State
from controller.lab.switches import Switch
from controller.lab.trunk import tag_on

OPENFLOW_PORT = 6653

_DISCARD = 9  # The port whose packets nobody answers (RFC 863).

_WORKERS = 8  # Most of the time is spent waiting for daemons to answer.
_RESERVED = 169  # 169.254.169.254 is where clouds serve their metadata.

# A host's own interfaces must be silent: whatever its kernel said on a port's wire, the port would hear.
_SILENT = {"ipv4/ip_forward": 0, "ipv6/conf/default/disable_ipv6": 1}

# A port behaves like a VM with a fixed address: duplicate address detection works, in 0.2 s instead of up to 2.
_PORT = {
    "ipv4/ip_forward": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/router_solicitations": 0,
    "ipv6/conf/default/router_solicitation_delay": 0,
    "ipv6/neigh/default/retrans_time_ms": 200,
}

# One that asks for its addresses has the kernel ask for routers, soon.
_ASKING = _PORT | {
    "ipv6/conf/default/accept_ra": 1,
    "ipv6/conf/default/router_solicitations": -1,
    "ipv6/conf/default/router_solicitation_interval": 1,
}


def reserve(state: State) -> None:
    """Take a free number for a lab by making its namespace, which only one lab can do."""
    taken = _local_addresses()
    for number in range(1, 255):
        state.number = number
        if (
            number == _RESERVED
            or exists(state.namespace())
            or any(at.startswith(state.address(0)[:-1]) for at in taken)
        ):
            continue
        with contextlib.suppress(LabError):
            ip([f"netns add {state.namespace()}"])
            state.namespaces.append(state.namespace())
            state.save()
            return
    raise LabError("no free management network: 253 labs are up")


def _local_addresses() -> list[str]:
    """Return this machine's own IPv4 addresses: the leaves of the routing trie that are local hosts."""
    lines = Path("/proc/net/fib_trie").read_text(encoding="ascii").splitlines()
    return [before.split()[-1] for before, line in itertools.pairwise(lines) if "/32 host LOCAL" in line]


def build_centre(state: State) -> None:
    """Make the lab's bridges and its one wire to the root namespace."""
    home = state.namespace()
    with inside(home):
        set_kernel(_SILENT)
        bridges = ["mgmt", UNDERLAY, *(f"net{number}" for number in range(len(state.plan.physical_networks)))]
        ip(["link set lo up", *(f"link add {name} type bridge mcast_snooping 0" for name in bridges)])
        ip(f"link set {name} up" for name in bridges)
    ip([f"link add {state.link} type veth peer name root netns {home}"])
    set_kernel({f"ipv6/conf/{state.link}/disable_ipv6": 1})
    ip([f"addr add {state.address(1)}/24 dev {state.link}", f"link set {state.link} up"])
    with inside(home):
        ip(["link set root master mgmt up"])


def build(state: State, hosts: Sequence[HostPlan], ports: Sequence[PortPlan]) -> None:
    """Start hosts and plug ports; each host's switch is set up in one transaction together with its ports."""
    first = max(state.hosts.values(), default=-1) + 1
    state.hosts |= {host.name: number for number, host in enumerate(hosts, start=first)}
    state.ports += [port.name for port in ports]
    fresh = {state.namespace(host.name): _SILENT for host in hosts}
    fresh |= {state.namespace(*port.name.split("/")): _ASKING if port.asks else _PORT for port in ports}
    state.namespaces += fresh
    state.save()
    ip(f"netns add {name}" for name in fresh)
    for name, settings in fresh.items():
        with inside(name):
            set_kernel(settings)
    wires = [wire for host in hosts for wire in _wires(state, host)]
    ip([*(line for line, _ in wires), *(port_wire(state, port) for port in ports if not port.parent)])
    with inside(state.namespace()):
        ip(line for _, line in wires)
    known = {host.name for host in hosts}
    running = {port.host for port in ports} - known
    work: list[Callable[[], list[Process]]] = [
        *(lambda host=host: _start_host(state, host, ports) for host in hosts),
        *(lambda name=name: _plug_in(state, state.plan.hosts[name], ports) for name in running),
        *(lambda port=port: _configure_port(state, port) for port in ports if not port.parent),
    ]
    for started in _together(work):
        state.processes += started
    for port in ports:
        if port.parent:
            tag_on(state.namespace(*port.name.split("/")), state.namespace(*port.parent.split("/")), port.vlan)
            _configure_port(state, port)
    state.save()
    outside.keep_up(state)
    if hosts:
        introduce(state)


def introduce(state: State) -> None:
    """Let every host resolve the others on the underlay, which costs a tunnel's first packet otherwise.

    Open vSwitch drops what it wants to encapsulate for a neighbour whose MAC it does not know yet.
    """
    addresses = {name: state.plan.hosts[name].tunnel_address.partition("/")[0] for name in state.hosts}
    for name, own in addresses.items():
        with inside(state.namespace(name)):
            for address in addresses.values():
                if address != own:
                    _wake(address)


def _wake(address: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        with contextlib.suppress(OSError):
            sender.sendto(b"", (address, _DISCARD))


def _together(work: Iterable[Callable[[], list[Process]]]) -> Iterator[list[Process]]:
    with ThreadPoolExecutor(_WORKERS) as pool:
        pending = [pool.submit(task) for task in work]
        for task in pending:
            yield task.result()


def _wires(state: State, host: HostPlan) -> Iterator[tuple[str, str]]:
    """Yield for each wire of a host the line that makes it and the line that puts its far end into a bridge."""
    number, home, mtu = state.hosts[host.name], state.namespace(), state.plan.mtu
    ends = [(UPLINK, f"u{number}", UNDERLAY), ("mgmt", f"m{number}", "mgmt")]
    for network, interface in host.physical.items():
        at = state.plan.physical_networks.index(network)
        ends.append((interface, f"p{number}-{at}", f"net{at}"))
    for near, far, into in ends:
        there = state.namespace(host.name)
        line = f"link add {near} netns {there} mtu {mtu} type veth peer name {far} netns {home} mtu {mtu}"
        yield line, f"link set {far} master {into} up"


def port_wire(state: State, port: PortPlan, interface: str = "eth0") -> str:
    """Return the line that makes a port's wire, from its namespace to its host."""
    near, far = state.namespace(*port.name.split("/")), state.namespace(port.host)
    mtu = f"mtu {port.mtu}"
    return f"link add {interface} netns {near} {mtu} type veth peer name {port.interface} netns {far} {mtu}"


def _start_host(state: State, host: HostPlan, ports: Sequence[PortPlan]) -> list[Process]:
    own = [port for port in ports if port.host == host.name]
    mgmt = f"{state.address(state.hosts[host.name] + 2)}/24"
    with inside(state.namespace(host.name)):
        ip(["link set lo up", f"addr add {mgmt} dev mgmt", *(f"link set {link} up" for link in links_of(host))])
    processes = []
    if host.kind == "ovs":
        switch = switch_of(state, host.name)
        processes = switch.start()
        target = f"tcp:{state.address(1)}:{OPENFLOW_PORT}"
        switch.configure([tuple(target if word == CONTROLLER else word for word in words) for words in host.setup])
        processes.append(start_limits(state, host.name))
    carry_underlay(state, host)
    _plug_in(state, host, own)
    return processes


def links_of(host: HostPlan) -> list[str]:
    """Return the interfaces that are a host's wires to others."""
    return ["mgmt", UPLINK, *host.physical.values()]


def carry_underlay(state: State, host: HostPlan) -> None:
    """Give a host its tunnel address, on the bridge that its switch has made or on its wire itself."""
    carrier = UNDERLAY if host.kind == "ovs" else UPLINK
    with inside(state.namespace(host.name)):
        set_kernel({f"ipv6/conf/{carrier}/disable_ipv6": 0 if ":" in host.tunnel_address else 1})
        nodad = " nodad" if ":" in host.tunnel_address else ""
        ip([f"addr replace {host.tunnel_address} dev {carrier}{nodad}", f"link set {carrier} up", *host.ip_lines])
        bridge(host.fdb_lines)


def _plug_in(state: State, host: HostPlan, ports: Sequence[PortPlan]) -> list[Process]:
    own = [port for port in ports if port.host == host.name and not port.parent]
    with inside(state.namespace(host.name)):
        if host.kind == "vtep":
            ip(f"link set {port.interface} master {port.bridge}" for port in own)
        ip(f"link set {port.interface} up" for port in own)
    if own and host.kind == "ovs":
        switch_of(state, host.name).configure(command for port in own for command in port_commands(port))
    return []


def _configure_port(state: State, port: PortPlan) -> list[Process]:
    with inside(state.namespace(*port.name.split("/"))):
        set_kernel({"ipv6/neigh/eth0/retrans_time_ms": 200})
        fill_in_checksums("eth0")
        lines = ["link set lo up", f"link set eth0 address {port.mac}", "link set eth0 up"]
        if not port.asks:
            lines += [f"addr add {address} dev eth0" for address in port.addresses]
            lines += [f"route add default via {gateway} dev eth0" for gateway in reachable(port)]
        ip(lines)
    return []


def reachable(port: PortPlan) -> Iterator[str]:
    """Yield one gateway for each version that the port has an address of."""
    for version in (":", "."):
        if any(version in address for address in port.addresses):
            yield from [gateway for gateway in port.gateways if version in gateway][:1]


def switch_of(state: State, host: str) -> Switch:
    """Return the Open vSwitch of a host of the lab."""
    return Switch(state.directory / host, state.namespace(host))
