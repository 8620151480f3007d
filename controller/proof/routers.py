"""What routers do with an address: theirs or whose, which way on, and in whose name; from the model alone.

Of all that leads to an address the longest prefix counts: a network of the router, a static route, the external network, its gateway.
Equal ones count in this order, and static routes with one prefix share what they lead on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from controller.model.address import link_local, router_mac
from controller.model.entities import Address, ExternalNetwork, FloatingIp, HostKind, Port, Prefix, Router, Topology
from controller.proof.segments import Segments

# For what no router passes anything on (RFC 1812, section 5.3.7; RFC 3927, section 7; RFC 4291, section 2.5).
_NOT_ROUTED = tuple(
    ip_network(prefix)
    for prefix in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("::/128", "::1/128", "fe80::/10", "ff00::/8"),
    )
)


@dataclass(frozen=True, slots=True)
class Step:
    """One way on: a network of the router (None: its external network) and who is next there."""

    network: str | None
    next_hop: Address


def is_routed(address: Address | None) -> bool:
    """Return whether routers pass on what is for an address."""
    return address is not None and not any(_holds(prefix, address) for prefix in _NOT_ROUTED)


def space_of(topology: Topology) -> dict[str, str]:
    """Return the address space of each network: that of its router, whose name bears an `@`, or its own."""
    found = {name: name for name in topology.networks}
    for router in topology.routers.values():
        found.update(dict.fromkeys(router.networks, router.name.replace("/", "/@")))
    return found


class Routers:
    """All routers of a topology."""

    def __init__(self, topology: Topology, segments: Segments) -> None:
        self._topology = topology
        self._segments = segments
        self._of = {network: router for router in topology.routers.values() for network in router.networks}
        self._routes: dict[str, list[_Way]] = {}
        self._floating = {floating.address: floating for floating in topology.floating_ips.values()}
        self._standing: dict[tuple[str, Address], list[FloatingIp]] = {}
        for floating in topology.floating_ips.values():
            self._standing.setdefault((floating.port, floating.fixed), []).append(floating)
        self._outside = {address: router for router in topology.routers.values() for address in router.addresses}

    def of(self, network: str) -> Router | None:
        """Return the router of a network."""
        return self._of.get(network)

    def external(self, router: Router) -> ExternalNetwork | None:
        """Return the external network that a router leads out by."""
        return None if router.external is None else self._topology.external_networks[router.external]

    def floating(self, address: Address) -> FloatingIp | None:
        """Return the floating IP of this address."""
        return self._floating.get(address)

    def floating_ips_of(self, port: Port) -> Iterator[FloatingIp]:
        """Yield the floating IPs of a port."""
        for address in port.ips:
            yield from self._standing.get((port.name, address), ())

    def has_floating(self, port: Port, address: Address) -> bool:
        """Return whether an address of a port is another one outside."""
        return (port.name, address) in self._standing

    def asked(self, network: str, address: Address) -> Router | None:
        """Return the router whose address on this network it is: a gateway, or its link-local address if there is IPv6."""
        router = self._of.get(network)
        if router is None:
            return None
        gateways = self._topology.networks[network].gateways
        is_own = address in gateways or (
            any(gateway.version == 6 for gateway in gateways) and address == link_local(router_mac(network))
        )
        return router if is_own else None

    def pinged(self, network: str, address: Address) -> Router | None:
        """Return the router whose own address this is, seen from a network of it: any address that it has on any of them."""
        router = self._of.get(network)
        if router is None:
            return None
        return router if any(self.asked(name, address) is router for name in router.networks) else None

    def with_outer(self, address: Address) -> Router | None:
        """Return the router that has this address on its external network."""
        return self._outside.get(address)

    def gateways(self, router: Router) -> list[str]:
        """Return the hosts that carry what a router sends out without a floating IP, and where its own address outside is."""
        return [host for host in self._wired(router) if self._topology.hosts[host].gateway]

    def steps(self, router: Router, address: Address) -> list[Step]:
        """Return where a router sends what is for an address; several share it, none means that it is unreachable."""
        for prefix, steps in self._ways_of(router):
            if _holds(prefix, address):
                return [Step(network, via or address) for network, via in steps]
        return []

    def _ways_of(self, router: Router) -> list[_Way]:
        found = self._routes.get(router.name)
        if found is None:
            found = self._routes[router.name] = self._table(router)
        return found

    def no_exit(self, router: Router, port: Port, *, floating: bool) -> str | None:
        """Return why nothing travels between a port and the external network of its router, or None."""
        if router.external is None:
            return f"router {router.name} leads out by no external network"
        here, wired = self._segments.host(port), self._wired(router)
        if floating and (here in wired or (here is None and wired)):
            return None
        if any(self._segments.reaches(port, host) for host in self.gateways(router)):
            return None
        return f"no gateway of {router.external} is within reach of {port.name}"

    def _wired(self, router: Router) -> list[str]:
        """Return the hosts of Weft that are wired to a router's external network."""
        external = self.external(router)
        hosts = () if external is None else self._topology.physical_networks[external.physical_network].hosts
        return [host for host in hosts if self._topology.hosts[host].kind is HostKind.OVS]

    def leaving(self, router: Router, port: Port, src: Address) -> tuple[Address | None, str]:
        """Return the address in whose name something of a port leaves by the external network, or None and the reason."""
        floating = next(iter(self._standing.get((port.name, src), ())), None)
        reason = self.no_exit(router, port, floating=floating is not None)
        if reason is not None:
            return None, reason
        if floating is not None:
            return floating.address, ""
        if not router.snat:
            reason = f"{src} is nothing that router {router.name} has inside, and it masks nothing"
            return (src if self._is_own(router, src) else None), reason
        own = next((address for address in router.addresses if address.version == src.version), None)
        return own, f"router {router.name} has no IPv{src.version} address on {router.external}"

    def entering(self, floating: FloatingIp, seen: Address) -> tuple[Port, str | None]:
        """Return the port that a floating IP stands for, and why nothing from outside reaches it that comes as `seen`, or None."""
        port, router = self._topology.ports[floating.port], self._topology.routers[floating.router]
        return port, self.no_exit(router, port, floating=True) or self.forged(router, seen)

    def forged(self, router: Router, seen: Address) -> str | None:
        """Return why a router lets nothing in from outside that comes as `seen`, or None."""
        where = self._inside(router, seen)
        return None if where is None else f"router {router.name} has {seen} inside, {where}, and lets nobody in as it"

    def _is_own(self, router: Router, address: Address) -> bool:
        """Return whether an address may be seen outside as a router's own."""
        external = self.external(router)
        is_theirs = external is not None and any(_holds(cidr, address) for cidr in external.cidrs)
        return not is_theirs and self._inside(router, address) is not None

    def _inside(self, router: Router, address: Address) -> str | None:
        """Return where a router has an address inside, None if that is outside.

        The longest prefix counts that leads to the address, or within which a port may use it. One that says any address says nothing.
        """
        steps, leads = [], -1
        for prefix, found in self._ways_of(router):
            if _holds(prefix, address):
                steps, leads = found, prefix.prefixlen
                break
        for name in router.networks:
            for port in self._segments.claimants(name, address):
                longest = max(each.ip.prefixlen for each in port.allowed if _holds(each.ip, address))
                if longest > max(leads, 0):
                    return f"at {port.name}"
        return next((f"in {name}" for name, _ in steps if name is not None), None)

    def meets(self, router: Router, other: Router, version: int) -> bool:
        """Return whether what one router sends out can come in by the other: the same way out, or the world joins both."""
        ways = (self.external(router), self.external(other))
        return router.external == other.external or all(
            way is not None and any(gateway.version == version for gateway in way.gateways) for way in ways
        )

    def _table(self, router: Router) -> list[_Way]:
        """Return all ways of a router, those that count first in front."""
        networks = {name: self._topology.networks[name].cidrs for name in router.networks}
        ways: list[tuple[int, _Way]] = [(0, (cidr, [(name, None)])) for name in networks for cidr in networks[name]]
        shared: dict[Prefix, list[tuple[str | None, Address | None]]] = {}
        for route in router.routes:
            on = (name for name, cidrs in networks.items() if any(_holds(cidr, route.via) for cidr in cidrs))
            shared.setdefault(route.to, []).append((next(on, None), route.via))
        ways += [(1, each) for each in shared.items()]
        external = self.external(router)
        if external is not None:
            ways += [(2, (cidr, [(None, None)])) for cidr in external.cidrs]
            for gateway in external.gateways:
                ways.append((3, (ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0"), [(None, gateway)])))
        ways.sort(key=lambda ranked: (-ranked[1][0].prefixlen, ranked[0]))
        return [way for _, way in ways]


# A prefix, and where it leads: networks (None: the external one) with the next hop (None: the destination itself).
_Way = tuple[Prefix, list[tuple[str | None, Address | None]]]


def _holds(prefix: Prefix, address: Address) -> bool:
    return prefix.version == address.version and address in prefix
