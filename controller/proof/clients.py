"""What a port asks its network, and Weft answers in the network's place: nobody else hears it.

| question | where it is answered |
|---|---|
| a DHCP or DHCPv6 client's | a network with `dhcp` that has a cidr of the IP version |
| a router solicitation | a network with an IPv6 cidr that has `dhcp` or is on a router |

On a physical network without a router of ours, others hear the solicitation as well: it is answered, and a packet like any other.
It bears the port's own MAC, and the guard has let it pass; another MAC's is a packet like any other.
"""

from __future__ import annotations

from controller.model.entities import Port, Topology
from controller.proof import packet as wire
from controller.proof.packet import Packet


def is_answered(topology: Topology, source: Port, packet: Packet) -> bool:
    """Return whether the host of a port has the controller answer what the port asks."""
    network = topology.networks[source.network]
    has_prefix = any(cidr.version == packet.version for cidr in network.cidrs)
    if packet.eth_src != source.mac or packet.later_fragment or not has_prefix:
        return False
    if packet.is_dhcp_request:
        return network.dhcp
    is_solicitation = packet.is_icmpv6 and packet.icmp_type == wire.ROUTER_SOLICITATION
    is_routed = any(network.name in router.networks for router in topology.routers.values())
    return is_solicitation and (is_routed or (network.dhcp and not network.type.is_provider))
