"""Which ports of a host's bridges are joined to each other."""

from __future__ import annotations

from controller.model.names import (
    PATCH_TO_INTEGRATION,
    PATCH_TO_TUNNEL,
    patch_from_physical,
    patch_to_physical,
    physical_bridge,
)
from tests.ovs.fabric import FabricTwin

Peers = dict[tuple[str, int], tuple[str, int]]  # Bridge and number of a port to those of the one beyond.


def patches(twin: FabricTwin, host: str) -> Peers:
    """Return the patch ports of a running host, each with its other end."""
    entity, ports = twin.topology.hosts[host], twin.bindings[host].ports
    pairs = [(PATCH_TO_TUNNEL, entity.tunnel_bridge, PATCH_TO_INTEGRATION)]
    for physical in twin.topology.physical_networks.values():
        if host in physical.hosts:
            outside = physical_bridge(physical.name)
            pairs.append((patch_to_physical(physical.name), outside, patch_from_physical(physical.name)))
    peers: Peers = {}
    inside = entity.integration_bridge
    for here, bridge, there in pairs:
        peers[inside, ports[inside][here]] = bridge, ports[bridge][there]
        peers[bridge, ports[bridge][there]] = inside, ports[inside][here]
    return peers
