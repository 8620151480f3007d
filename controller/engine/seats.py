"""What a datapath id stands for: which bridge of which host."""

from __future__ import annotations

from dataclasses import dataclass

from controller.model.entities import HostKind, Topology
from controller.model.ids import integration_dpid, physical_dpid, tunnel_dpid
from controller.model.names import physical_bridge
from controller.pipeline.tables import Bridge


@dataclass(frozen=True, slots=True)
class Seat:
    """A bridge of a host."""

    host: str
    bridge: str
    kind: Bridge

    def __str__(self) -> str:
        return f"{self.bridge}@{self.host}"


def seats(topology: Topology) -> dict[int, Seat]:
    """Return the datapath ids that a topology knows."""
    found: dict[int, Seat] = {}
    for host in topology.hosts.values():
        if host.kind is HostKind.OVS:
            found[integration_dpid(host.id)] = Seat(host.name, host.integration_bridge, Bridge.INTEGRATION)
            found[tunnel_dpid(host.id)] = Seat(host.name, host.tunnel_bridge, Bridge.TUNNEL)
            for physical in topology.physical_networks.values():
                if host.name in physical.hosts:
                    dpid = physical_dpid(host.id, physical.name)
                    found[dpid] = Seat(host.name, physical_bridge(physical.name), Bridge.PHYSICAL)
    return found
