"""Random ways out: external networks, routers that mask or not, floating IPs, and hosts outside that were heard; packets both ways."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from random import Random

from controller.model.address import outer_mac, router_mac
from controller.model.entities import Address, AllowedAddress, FloatingIp, NetworkType, Port, Route, Router, Topology
from controller.pipeline.heard import Neighbour
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.builders import at, external_network, floating_ip, physical_network
from tests.proof import samples

SOMEBODY = ""  # The source of packets that no port sends.
EXTERNALS = {
    "public": external_network("public", "203.0.113.0/24", "2001:db8:1::/64", physical="physnet1", vlan=4000),
    # Untagged, and nothing is beyond it.
    "inner": external_network("inner", "192.0.2.0/24", physical="physnet2", gateways=[]),
}
_HEARD = {
    "public": ("203.0.113.1", "203.0.113.99", "2001:db8:1::1", "2001:db8:1::99"),
    "inner": ("192.0.2.7", "192.0.2.8"),
}
HEARD = tuple(
    Neighbour(name, ip_address(address), 0x02AA00000000 + number + (256 if name == "inner" else 0))
    for name, addresses in _HEARD.items()
    for number, address in enumerate(addresses)
)
_OURS = {("public", 4): "203.0.113.{}", ("public", 6): "2001:db8:1::{}", ("inner", 4): "192.0.2.{}"}
# What ports may use besides their networks' own: far away, or around a neighbour outside.
_FURTHER = [*map(ip_network, ("198.51.9.0/24", "198.50.0.0/15", "203.0.113.96/28", "192.0.0.0/16", "2001:db8:9::/48"))]
_BY_A_HOST_OUTSIDE = ("198.18.0.0/15", "203.0.113.99", "198.18.0.7")  # A static route, and somebody whom it leads to.


def with_ways_out(random: Random, topology: Topology) -> Topology:
    """Return the topology with most of its routers leading out, by gateways that are some of the hosts."""
    topology = _with_allowed(random, topology)
    gateways = random.sample(samples.HOSTS, random.choice((0, 1, 1, 2, 2, 3)))
    hosts = {name: replace(host, gateway=name in gateways) for name, host in topology.hosts.items()}
    physical = {**topology.physical_networks, "physnet2": physical_network("physnet2", "hv2", "hv3")}
    routers = dict(topology.routers)
    for number, (name, router) in enumerate(topology.routers.items(), 10):
        external = random.choice(("public", "public", "inner"))
        wired = set(gateways).intersection(physical[EXTERNALS[external].physical_network].hosts)
        if _may_lead(topology, router, wired):
            routers[name] = _leading_out(random, router, external, number)
    floating: dict[str, FloatingIp] = {}
    for router in routers.values():
        floating |= _floating(random, topology, router, 20 + len(floating))
    return replace(
        topology,
        hosts=hosts,
        physical_networks=physical,
        external_networks=EXTERNALS,
        routers=routers,
        floating_ips=floating,
    )


def _may_lead(topology: Topology, router: Router, gateways: Collection[str]) -> bool:
    """Return whether each network of a router reaches all gateways, of which any may lead, or none."""
    networks = [topology.networks[name] for name in router.networks]
    wires = {network.physical_network for network in networks if network.physical_network is not None}
    reached = [set(gateways).intersection(samples.WIRED[name]) for name in wires]
    is_local = any(network.type is NetworkType.LOCAL for network in networks)
    return not is_local and all(not each or each == gateways for each in reached)


def _leading_out(random: Random, router: Router, external: str, number: int) -> Router:
    snat = random.random() < 0.7
    # Who masks nothing has an address of each version, or nobody outside could send anything there.
    versions = (4, 6) if external == "public" and (not snat or random.random() < 0.7) else (4,)
    routes = router.routes
    if external == "public" and random.random() < 0.5:
        to, via, _ = _BY_A_HOST_OUTSIDE
        routes = (*routes, Route(ip_network(to), ip_address(via), at(router.tenant)))
    return replace(
        router,
        external=external,
        snat=snat,
        addresses=tuple(ip_address(_OURS[external, version].format(number)) for version in versions),
        routes=routes,
    )


def _floating(random: Random, topology: Topology, router: Router, first: int) -> dict[str, FloatingIp]:
    found: dict[str, FloatingIp] = {}
    for port in topology.ports.values():
        for fixed in port.ips if port.network in router.networks and router.external is not None else ():
            pattern = _OURS.get((router.external or "", fixed.version))
            if pattern is None or random.random() < 0.6:
                continue
            address, external = pattern.format(first + len(found)), router.external or ""
            each = floating_ip(address, port.name, str(fixed), router=router.name, external=external)
            found[each.name] = each
    return found


def packet(random: Random, topology: Topology) -> Packet:
    """A packet of a random port, often for somebody outside, a floating IP, or a router's address there."""
    made = samples.packet(random, topology)
    source = topology.ports[made.source]
    if source.parent is not None and any(made.dst in _shared(port) for port in topology.ports.values()):
        return packet(random, topology)  # Of the ports that share an address one may be the sender's own parent.
    router = next((each for each in topology.routers.values() if source.network in each.networks), None)
    is_routed = router is not None and made.eth_dst == router_mac(source.network) and made.protocol is not None
    if not is_routed or (made.is_icmpv6 and made.icmp_type in wire.UNTRACKED) or random.random() < 0.3:
        return made
    if router is not None and not source.port_security and random.random() < 0.5:
        inner, world = _inner(topology, router, made.version or 4), samples.FAR_AWAY[made.version or 4]
        made = replace(made, src=random.choice((random.choice(inner or [made.src]), random.choice(world))))
    dst = random.choice(_outside(random, topology, made.version or 4))
    own = {each.address for each in topology.floating_ips.values() if each.port == source.name}
    if router is not None and dst in own and made.protocol not in (wire.TCP, wire.UDP):
        # Translated, it is from itself and for itself: what has no ports then looks like its own answer.
        made = samples.ping(random, made, made.version or 4, source)
    if made.icmp_type in (wire.ECHO_REQUEST, wire.ECHO_REQUEST_6) and made.src not in source.ips:
        return made  # Whoever has that address is answered.
    return replace(made, dst=dst)


def _shared(port: Port) -> list[Address]:
    return [each.ip.network_address for each in port.allowed if each.ip.prefixlen == each.ip.max_prefixlen]


def _outside(random: Random, topology: Topology, version: int) -> list[Address]:
    ours = [each.address for each in topology.floating_ips.values() if each.address.version == version]
    routers = [ip for each in topology.routers.values() for ip in each.addresses if ip.version == version]
    world = [each.address for each in HEARD if each.address.version == version]
    far = [*samples.FAR_AWAY[version], *([ip_address(_BY_A_HOST_OUTSIDE[2])] if version == 4 else [])]
    return random.choice([some for some in (ours, ours, routers, world, far) if some])


def from_outside(random: Random, topology: Topology) -> tuple[str, Packet] | None:
    """A packet that somebody on an external network sends to an address of ours; None if nobody there leads to any."""
    ours: list[tuple[str, str, Address]] = [
        (each.external, each.name, each.address) for each in topology.floating_ips.values()
    ] * 3
    for router in topology.routers.values():
        if router.external is not None:
            ours += [(router.external, router.name, address) for address in router.addresses]
            mine = [port for port in topology.ports.values() if port.network in router.networks]
            ours += [(router.external, router.name, ip) for port in mine for ip in port.ips]
    if not ours:
        return None
    external, owner, dst = random.choice(ours)
    senders = [each for each in HEARD if each.network == external and each.address.version == dst.version]
    if not senders:
        return None
    asker = random.choice(senders)
    src = asker.address
    if asker.address in EXTERNALS[external].gateways and random.random() < 0.5:
        src = random.choice(samples.FAR_AWAY[dst.version])
    leading = next(each for each in topology.routers.values() if owner == each.name or _stands(topology, owner, each))
    if random.random() < 0.25:
        src = random.choice(_inner(topology, leading, dst.version) or [src])
    theirs = [route for route in leading.routes if any(route.via in cidr for cidr in EXTERNALS[external].cidrs)]
    if any(route.to.version == src.version and src in route.to for route in theirs):
        return None  # What answers would go another way.
    plain = Packet(
        *(SOMEBODY, asker.mac, outer_mac(owner), wire.IPV4 if dst.version == 4 else wire.IPV6, src, dst),
        ttl=random.choice((*[64] * 8, 255, 2, 1)),
    )
    make = random.choice((samples.ip_packet, samples.ip_packet, samples.ping))
    made = make(random, plain, dst.version, next(iter(topology.ports.values())))
    if made.is_icmpv6 and made.icmp_type in wire.UNTRACKED:
        return None
    return external, replace(made, eth_dst=plain.eth_dst, dst=dst)


def _inner(topology: Topology, router: Router, version: int) -> list[Address]:
    """Return addresses that a router has inside, or that ports there may use."""
    mine = [port for port in topology.ports.values() if port.network in router.networks]
    found = [ip for port in mine for ip in port.ips] + [each.ip.network_address + 5 for each in _allowed(mine)]
    found += [route.to.network_address + 7 for route in router.routes if route.to.prefixlen]
    return [address for address in found if address.version == version]


def _allowed(ports: Iterable[Port]) -> Iterator[AllowedAddress]:
    return (each for port in ports for each in port.allowed if each.ip.prefixlen < each.ip.max_prefixlen)


def _with_allowed(random: Random, topology: Topology) -> Topology:
    """Return the topology with some ports that may use addresses beyond their networks."""
    ports = dict(topology.ports)
    for name, port in topology.ports.items():
        if port.port_security and port.ips and random.random() < 0.15:
            further = random.choice([each for each in _FURTHER if each.version == port.ips[0].version])
            ports[name] = replace(port, allowed=(*port.allowed, AllowedAddress(further, None)))
    return replace(topology, ports=ports)


def _stands(topology: Topology, owner: str, router: Router) -> bool:
    floating = topology.floating_ips.get(owner)
    return floating is not None and floating.router == router.name
