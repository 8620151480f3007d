"""A whole fabric's programs from nothing: for `weft flows`, for tests, and as what the running controller must equal at any time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.graph import queries
from controller.graph.fabric import Fabric
from controller.model import liveness
from controller.model.entities import Host, Topology
from controller.model.names import (
    PATCH_TO_INTEGRATION,
    PATCH_TO_TUNNEL,
    interface_name,
    liveness_port,
    patch_from_physical,
    patch_to_physical,
    physical_bridge,
    tunnel_port,
)
from controller.pipeline.flow import Bindings, Program
from controller.pipeline.heard import Neighbour
from controller.pipeline.numbers import Numbers
from controller.pipeline.plan import pipeline
from controller.pipeline.programs import Programs

__all__ = ["assumed_bindings", "compile_fabric", "pipeline"]

_FIRST_PORT, _FIRST_LIVENESS = 100, 20_000


def compile_fabric(
    topology: Topology,
    location: Mapping[str, str] | None = None,
    bindings: Mapping[str, Bindings] | None = None,
    numbers: Mapping[str, Numbers] | None = None,
    hosts: Iterable[str] | None = None,
    heard: Iterable[Neighbour] = (),
    drained: Iterable[str] = (),
) -> list[Program]:
    """Return the programs of all hosts, or of these, as they would be with every interface plugged in.

    `location` places ports that have no host; `bindings` replaces the assumed port numbers, `numbers` the tags and zones that
    would be chosen, both host by host; `heard` are neighbours that no file names, `drained` hosts that lead out last.
    Raises what `Programs.settle` raises.
    """
    fabric = Fabric(topology, location)
    found = Programs()
    found.enter(topology)
    for port, host in (location or {}).items():
        found.place(port, host)
    for neighbour in heard:
        found.learn(neighbour.network, neighbour.address, neighbour.mac)
    for host in drained:
        found.drain(host, True)
    wanted = [host for host in topology.hosts if fabric.is_programmed(host)] if hosts is None else list(hosts)
    for host in wanted:
        if numbers and host in numbers:
            found.remember(host, numbers[host])
        known = (bindings or {}).get(host) or assumed_bindings(fabric, topology.hosts[host])
        for bridge, ports in known.ports.items():
            for interface, number in ports.items():
                found.bind(host, bridge, interface, number)
    found.ask_for(wanted)
    found.settle()
    return [program for host in wanted for program in found.of_host(host)]


def assumed_bindings(fabric: Fabric, host: Host) -> Bindings:
    """Return port numbers for a host that nobody has observed: low ones for its own ports, the rest in order."""
    physical = [p.name for p in fabric.topology.physical_networks.values() if host.name in p.hosts]
    integration = {PATCH_TO_TUNNEL: 1}
    integration.update({patch_to_physical(name): place for place, name in enumerate(physical, 2)})
    others = liveness.watched_by(fabric.topology, host.name)
    integration.update({liveness_port(name): place for place, name in enumerate(others, _FIRST_LIVENESS)})
    networks = queries.networks_on(fabric.memo, host.name)
    placed = [port.name for network in networks for port in queries.ports_on(fabric.memo, host.name, network)]
    interfaces = dict.fromkeys(map(interface_name, placed))
    integration.update({interface: place for place, interface in enumerate(interfaces, _FIRST_PORT)})
    types = dict.fromkeys(n.type for n in fabric.topology.networks.values() if n.type.is_tunnel)
    tunnel = {PATCH_TO_INTEGRATION: 1, **{tunnel_port(kind): place for place, kind in enumerate(types, 2)}}
    ports = {host.integration_bridge: integration, host.tunnel_bridge: tunnel}
    ports.update({physical_bridge(name): {patch_from_physical(name): 1} for name in physical})
    return Bindings(ports)
