"""Who watches whom: hosts and the gateways that lead them out know of each other by BFD (RFC 5880) whether they are alive."""

from __future__ import annotations

from controller.model.entities import HostKind, NetworkType, Topology

UDP_PORT = 4790  # Of the tunnels for it: no network's key can clash with theirs.
INTERVAL_MS, MULTIPLIER = 100, 3  # A host is dead when nothing has come of it for three intervals.


def watched_by(topology: Topology, host: str) -> tuple[str, ...]:
    """Return the other hosts that a host exchanges signs of life with: the gateways, and for a gateway everybody."""
    if not topology.external_networks:
        return ()
    ours = [each for each in topology.hosts.values() if each.kind is HostKind.OVS and each.name != host]
    is_gateway = host in topology.hosts and topology.hosts[host].gateway
    return tuple(each.name for each in ours if is_gateway or each.gateway)


def tunnel_type(topology: Topology) -> NetworkType:
    """Return the type of the tunnels that signs of life take."""
    # The two that travel in UDP may have a port of their own.
    return NetworkType.GENEVE if topology.overlay is NetworkType.GENEVE else NetworkType.VXLAN
