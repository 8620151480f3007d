"""Where a packet that is asked about is, and where it would go on, as the files have it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from controller.answers.asked import Asked
from controller.graph.queries import space_name
from controller.model.address import outer_mac
from controller.model.entities import Address, ExternalNetwork, Network, Router
from controller.model.ids import key
from controller.pipeline.fields import ETH_IPV4, ETH_IPV6
from controller.pipeline.registers import NETWORK, SPACE


def external_of(asked: Asked) -> ExternalNetwork | None:
    """Return the external network that the packet is in, None where it is in none."""
    number = asked.register(NETWORK)
    return next(
        (each for each in asked.topology.external_networks.values() if key("external", each.name) == number), None
    )


def router_of(asked: Asked) -> Router | None:
    """Return the router that the packet is at: its network's, or that of its address space."""
    if asked.router is not None:
        return asked.router
    number, routers = asked.register(SPACE), asked.topology.routers.values()
    return next((each for each in routers if key("space", space_name(each.name)) == number), None)


def place_of(asked: Asked) -> Network | ExternalNetwork | None:
    """Return the network that the packet is in, which may not be that of its sender."""
    number, router = asked.register(NETWORK), asked.router
    names = router.networks if router is not None else () if asked.network is None else (asked.network.name,)
    found = next((name for name in names if key("network", name) == number), "")
    return asked.topology.networks.get(found) or external_of(asked)


def mtu_of(asked: Asked, mac: int) -> int:
    """Return the longest packet that fits the way that one would take which came to a MAC of the router's; 0 if nobody knows.

    In a network that is the way through its tunnels. From outside it leads to the port of a floating IP, or to any port of a router.
    """
    place = place_of(asked)
    if asked.network is not None:
        # A port's packet may be in another network already, which its own host has routed it to.
        return place.mtu if isinstance(place, Network) else asked.network.mtu
    topology, external = asked.topology, external_of(asked)
    floating = (each for each in topology.floating_ips.values() if external and each.external == external.name)
    ports = [topology.ports[each.port].network for each in floating if outer_mac(each.name) == mac]
    routers = (each for each in topology.routers.values() if external and each.external == external.name)
    behind = (name for each in routers if outer_mac(each.name) == mac for name in each.networks)
    networks = [topology.networks[name] for name in (*ports, *behind)]
    return min((each.mtu for each in networks if each.type.is_tunnel), default=0)


def target_of(frame: bytes) -> Address | None:
    """Return the destination's address of an IP packet."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ETH_IPV4 and len(frame) >= 34:
        return IPv4Address(frame[30:34])
    return IPv6Address(frame[38:54]) if kind == ETH_IPV6 and len(frame) >= 54 else None


def next_hops(asked: Asked) -> tuple[str, tuple[Address, ...]] | None:
    """Return the network that the packet is in, and whose MAC it needs there; None where the files have no way for it.

    Several next hops of one route are all returned: the flows choose among them.
    """
    place, target = place_of(asked), target_of(asked.packet)
    if place is None or target is None:
        return None
    if any(target in cidr for cidr in place.cidrs):
        return place.name, (target,)
    router = router_of(asked)
    routes = [each for each in (router.routes if router else ()) if target in each.to]
    longest = max((each.to.prefixlen for each in routes), default=-1)
    hops = [each.via for each in routes if each.to.prefixlen == longest]
    if isinstance(place, ExternalNetwork) and not hops:
        hops = [each for each in place.gateways if each.version == target.version]
    here = tuple(hop for hop in hops if any(hop in cidr for cidr in place.cidrs))
    return (place.name, here) if here else None
