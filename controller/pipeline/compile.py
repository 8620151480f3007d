"""From the graph to programs: every feature writes its flows for every host.

Fabric ─► Shared (facts, flows alike everywhere) ─► HostView ─► features ─► Program per bridge
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from controller.graph.fabric import Fabric
from controller.model.entities import Host, Topology
from controller.model.names import (
    PATCH_TO_INTEGRATION,
    PATCH_TO_TUNNEL,
    interface_name,
    patch_from_physical,
    patch_to_physical,
    physical_bridge,
    tunnel_port,
)
from controller.pipeline import features
from controller.pipeline.flow import Bindings, Program
from controller.pipeline.numbers import Numbers, allocate_numbers
from controller.pipeline.program import Builder
from controller.pipeline.tables import Bridge, Feature, Pipeline
from controller.pipeline.view import HostView, Shared

_FIRST_PORT = 100


@cache
def pipeline() -> Pipeline:
    """Return the pipeline of all features found in `features/`, in the order of their tables."""
    names = [f"{features.__name__}.{module.name}" for module in pkgutil.iter_modules(features.__path__)]
    found: list[Feature] = [importlib.import_module(name).FEATURE for name in names]
    order = list(Bridge)
    found.sort(key=lambda f: min((order.index(t.stage.bridge), t.number) for t in f.tables))
    return Pipeline(tuple(found))


def compile_host(shared: Shared, host: str, bindings: Bindings, numbers: Numbers) -> list[Program]:
    """Return the programs of one host's bridges, br-int first."""
    return _compile(pipeline(), HostView(shared, host, bindings, numbers))


def _compile(plan: Pipeline, view: HostView) -> list[Program]:
    builder = Builder(plan, view)
    for feature in plan.features:
        builder.feature = feature
        feature.compile(builder)
    builder.write_misses()
    return builder.programs


def compile_fabric(
    topology: Topology,
    location: Mapping[str, str] | None = None,
    bindings: Mapping[str, Bindings] | None = None,
    numbers: Numbers | None = None,
) -> list[Program]:
    """Return the programs of all hosts as they would be with every interface plugged in.

    `location` places ports that have no host, `bindings` replaces the assumed port numbers, host by host.
    """
    shared = Shared(Fabric(topology, location))
    chosen = numbers or allocate_numbers(shared.fabric)
    programs: list[Program] = []
    for host in filter(shared.fabric.is_programmed, topology.hosts):
        known = (bindings or {}).get(host) or assumed_bindings(shared.fabric, topology.hosts[host])
        programs += compile_host(shared, host, known, chosen)
    return programs


def assumed_bindings(fabric: Fabric, host: Host) -> Bindings:
    """Return port numbers for a host that nobody has observed: low ones for its own ports, the rest in order."""
    physical = [p.name for p in fabric.topology.physical_networks.values() if host.name in p.hosts]
    integration = {PATCH_TO_TUNNEL: 1}
    integration.update({patch_to_physical(name): place for place, name in enumerate(physical, 2)})
    placed = [port.name for network in fabric.networks_on(host.name) for port in fabric.ports_on(host.name, network)]
    integration.update({interface_name(name): place for place, name in enumerate(placed, _FIRST_PORT)})
    types = dict.fromkeys(n.type for n in fabric.topology.networks.values() if n.type.is_tunnel)
    tunnel = {PATCH_TO_INTEGRATION: 1, **{tunnel_port(kind): place for place, kind in enumerate(types, 2)}}
    ports = {host.integration_bridge: integration, host.tunnel_bridge: tunnel}
    ports.update({physical_bridge(name): {patch_from_physical(name): 1} for name in physical})
    return Bindings(ports)
