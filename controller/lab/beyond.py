"""What a lab has beyond the fabric, as data: for each external network the router that others would run there, and the internet behind.

    br-PHYSNET of every wired host ══ netN ══ @public-router (the external network's gateway) ══ @internet (198.51.100.9)

The names begin with `@`, which no name of a topology does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network
from typing import Any

from controller.model.entities import Address, ExternalNetwork, Prefix, Topology

INTERNET = "@internet"

# Prefixes for documentation and benchmarks (RFC 5737, RFC 3849, RFC 2544): the internet's is the first that the files do not use.
_PREFIXES = {
    4: ("198.51.100.0/24", "192.0.2.0/24", "203.0.113.0/24", "198.18.0.0/24"),
    6: ("2001:db8:ffff::/64", "2001:db8:fffe::/64"),
}
_HOST = 9  # 198.51.100.9 and 2001:db8:ffff::9.

Route = tuple[str, str]  # A prefix, and the next hop to it.


@dataclass(frozen=True, slots=True)
class UpstreamPlan:
    """The router of an external network that is not ours: it has the network's `gateway` and leads to the internet."""

    name: str
    physical_network: str
    vlan: int  # 0 for none.
    mtu: int
    addresses: tuple[str, ...]  # On the external network, with prefix length.
    beyond: tuple[str, ...]  # On the internet's side.
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class OutsidePlan:
    """All that is outside: the routers by name, and one host that stands for everybody else."""

    routers: Mapping[str, UpstreamPlan]
    addresses: tuple[str, ...]  # Of the host, with prefix length.
    routes: tuple[Route, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all of them, the host first."""
        return (INTERNET, *self.routers) if self.routers else ()

    def addresses_by_name(self) -> dict[str, list[str]]:
        """Return the addresses of all of them, those of a router on its external network."""
        if not self.routers:
            return {}
        return {INTERNET: list(self.addresses)} | {name: list(each.addresses) for name, each in self.routers.items()}

    @staticmethod
    def from_json(value: Mapping[str, Any] | None) -> OutsidePlan:
        """Return the plan that JSON holds; records of before have none."""
        if value is None:
            return NOTHING
        routers = {name: UpstreamPlan(**_tuples(router)) for name, router in value["routers"].items()}
        return OutsidePlan(routers, *(_tuple(value[key]) for key in ("addresses", "routes")))


NOTHING = OutsidePlan({}, (), ())


def plan_outside(topology: Topology) -> OutsidePlan:
    """Return what is beyond a topology's external networks; those without a gateway lead nowhere.

    The routers outside know the way to ports' own addresses, as if nobody had told them that these are private: what does not get in,
    Weft keeps out. Of prefixes that several tenants use one is known, rather one that the files open (`snat: false`).
    """
    leading = [each for each in topology.external_networks.values() if each.gateways]
    if not leading:
        return NOTHING
    wide = {version: prefix for version in (4, 6) if (prefix := _free(topology, version)) is not None}
    routers: dict[str, UpstreamPlan] = {}
    routes: dict[str, str] = {}
    inside = _inside(topology)
    for number, external in enumerate(leading, start=1):
        own = tuple((prefix, via) for prefix, via, name in inside if name == external.name)
        router = UpstreamPlan(
            name=f"@{external.name}-router",
            physical_network=external.physical_network,
            vlan=external.vlan or 0,
            mtu=external.mtu,
            addresses=tuple(_on(external, gateway) for gateway in external.gateways),
            beyond=tuple(f"{prefix[_HOST + number]}/{prefix.prefixlen}" for prefix in wide.values()),
            routes=own,
        )
        routers[router.name] = router
        hops = {ip_interface(each).version: str(ip_interface(each).ip) for each in router.beyond}
        for reached in (*map(str, external.cidrs), *(prefix for prefix, _ in own)):
            version = ip_network(reached).version
            if version in hops:
                routes.setdefault(reached, hops[version])
    addresses = tuple(f"{prefix[_HOST]}/{prefix.prefixlen}" for prefix in wide.values())
    return OutsidePlan(
        {name: _joined(each, routes) for name, each in routers.items()}, addresses, tuple(routes.items())
    )


def _joined(router: UpstreamPlan, routes: Mapping[str, str]) -> UpstreamPlan:
    """Return a router with the internet's routes to what is behind all others, so that external networks reach each other."""
    own = {str(ip_interface(each).ip) for each in router.beyond}
    return replace(
        router, routes=(*router.routes, *((prefix, via) for prefix, via in routes.items() if via not in own))
    )


def _inside(topology: Topology) -> list[tuple[str, str, str]]:
    """Return the prefixes behind routers, each with the router's address outside and its external network; each prefix once."""
    found: dict[str, tuple[str, str, str]] = {}
    for router in sorted(topology.routers.values(), key=lambda each: each.snat):
        for name in router.networks if router.external is not None else ():
            for prefix in topology.networks[name].cidrs:
                via = next((each for each in router.addresses if each.version == prefix.version), None)
                if via is not None and router.external is not None:
                    found.setdefault(str(prefix), (str(prefix), str(via), router.external))
    return list(found.values())


def _free(topology: Topology, version: int) -> Prefix | None:
    """Return a prefix for the internet that nobody in the files uses; None if all are used."""
    used = list(_used(topology))
    candidates: Iterable[Prefix] = map(ip_network, _PREFIXES[version])
    return next((each for each in candidates if not any(_meet(each, other) for other in used)), None)


def _used(topology: Topology) -> Iterator[Prefix]:
    for network in topology.networks.values():
        yield from network.cidrs
    for external in topology.external_networks.values():
        yield from external.cidrs
    for router in topology.routers.values():
        # What leads somewhere else than out by default is not the internet; a route to everywhere is.
        yield from (route.to for route in router.routes if route.to.prefixlen)


def _meet(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


def _on(external: ExternalNetwork, gateway: Address) -> str:
    lengths = (prefix.prefixlen for prefix in external.cidrs if prefix.version == gateway.version and gateway in prefix)
    return f"{gateway}/{next(lengths, gateway.max_prefixlen)}"


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tuple(item) for name, item in value.items()}


def _tuple(item: Any) -> Any:
    return tuple(map(_tuple, item)) if isinstance(item, list) else item
