"""What features read of ways out: an external network and a router on one host, with keys and numbers resolved."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import cached_property
from ipaddress import IPv4Address
from typing import cast

from controller.graph import queries, ways_out
from controller.graph.neighbours import neighbour
from controller.model.entities import Address, ExternalNetwork, FloatingIp, Prefix, Router
from controller.model.ids import key
from controller.model.names import PATCH_TO_TUNNEL, patch_from_physical, patch_to_physical, physical_bridge
from controller.pipeline.features.forward import to_others
from controller.pipeline.fields import ETH_IPV4, ETH_IPV6, VLAN_PRESENT
from controller.pipeline.flow import Action, Conntrack, Origin, PortNumber, Resubmit, ToGroup, Wanted, match
from controller.pipeline.nat import ForgetEntrance, Translate
from controller.pipeline.numbers import translation, zones
from controller.pipeline.program import Builder
from controller.pipeline.registers import FROM, FROM_PORT, NETWORK, SPACE, ZONE
from controller.pipeline.view import HostView

_GROUP_BITS = 31  # Group numbers from 0xffffff00 on are reserved (OpenFlow 1.4, section 7.3.4.3).

Family = tuple[int, str, str]  # An ethertype, and the fields of source and destination.
IPV4: Family = (ETH_IPV4, "ip_src", "ip_dst")
IPV6: Family = (ETH_IPV6, "ipv6_src", "ipv6_dst")


def family(address: Address) -> Family:
    """Return what tells an address's version in packets."""
    return IPV4 if isinstance(address, IPv4Address) else IPV6


class ExternalView:
    """An external network on a host that leads out to it."""

    def __init__(self, on: HostView, name: str) -> None:
        self.on = on
        self.memo = on.memo
        self.name = name

    @cached_property
    def external(self) -> ExternalNetwork:
        """The external network as the files describe it."""
        return cast(ExternalNetwork, queries.external_network(self.memo, self.name))

    @property
    def key(self) -> int:
        """Its key, as `NETWORK` holds it."""
        return key("external", self.name)

    @property
    def here(self) -> dict[str, Wanted]:
        """The condition that a packet is in it."""
        return {NETWORK.field: NETWORK.is_(self.key)}

    @property
    def tag(self) -> int:
        """The tag of its frames on the wire, 0 for none."""
        return 0 if self.external.vlan is None else VLAN_PRESENT | self.external.vlan

    @property
    def number(self) -> int | None:
        """The number of the patch port to its physical network, None while it is absent."""
        return self.on.number(self.on.host.integration_bridge, patch_to_physical(self.external.physical_network))

    @property
    def inside(self) -> int | None:
        """The number of the other end of that patch port."""
        physical = self.external.physical_network
        return self.on.number(physical_bridge(physical), patch_from_physical(physical))

    def out(self) -> list[Action]:
        """Return the actions that put a frame on the wire."""
        # A gateway gets what a VLAN network's ports elsewhere send by the very patch port, if both are on one wire.
        return [ForgetEntrance(), *to_others(self.number or 0, self.tag)]

    def mac_of(self, address: Address) -> int | None:
        """Return the MAC of a host on it that is not ours, None until it has been heard."""
        return neighbour(self.memo, self.name, address)

    @property
    def origin(self) -> Origin:
        """The origin of what it needs."""
        return Origin(f"external network {self.name}", self.external.place)


class RouterView:
    """A router that leads out, on a host that knows it."""

    def __init__(self, on: HostView, name: str) -> None:
        self.on = on
        self.memo = on.memo
        self.name = name

    @cached_property
    def router(self) -> Router:
        """The router as the files describe it."""
        return cast(Router, queries.router(self.memo, self.name))

    @cached_property
    def outer(self) -> ExternalView:
        """Its external network here."""
        return ExternalView(self.on, cast(str, self.router.external))

    @property
    def gateways(self) -> tuple[str, ...]:
        """The hosts by which it may lead out, the one that does first."""
        return queries.gateways(self.memo, self.name)

    @property
    def is_gateway(self) -> bool:
        """Whether it may lead out here."""
        return self.on.name in self.gateways

    @property
    def before(self) -> tuple[str, ...]:
        """The gateways that lead out as long as any of them is alive, as this host sees them: all, unless it is one itself."""
        found = self.gateways
        return found[: found.index(self.on.name)] if self.is_gateway else found

    @property
    def is_alone(self) -> bool:
        """Whether no other gateway leads it out in this one's place."""
        return len(self.gateways) < 2

    @property
    def space_key(self) -> int:
        """The key of its address space, as `SPACE` holds it."""
        return key("space", queries.space_name(self.name))

    @property
    def in_space(self) -> dict[str, Wanted]:
        """The condition that a packet is in its address space."""
        return {SPACE.field: SPACE.is_(self.space_key)}

    @property
    def translation_zone(self) -> int:
        """The conntrack zone of its translated addresses here."""
        return zones(self.memo, self.on.name).get(translation(self.name), 0)

    def enter(self) -> list[Action]:
        """Return the actions by which what comes from outside is the router's own."""
        zone = zones(self.memo, self.on.name).get(queries.space_name(self.name), 0)
        return [SPACE.load(self.space_key), ZONE.load(zone), FROM.load(FROM_PORT)]

    def translate(self, to: Address | None, table: int, *, is_source: bool = False) -> Conntrack:
        """Return the action that translates a packet's addresses, or, without one, undoes what was done to its connection."""
        return Conntrack(
            commit=to is not None, zone=self.translation_zone, table=table, nat=Translate(to, is_source=is_source)
        )

    def addresses(self) -> Iterable[Address]:
        """Return its own addresses on the external network."""
        return self.router.addresses

    @property
    def longest(self) -> int | None:
        """The longest packet that may come in for it, as it may have to go through a tunnel; None is no limit."""
        return ways_out.tunnels_mtu(self.memo, self.name)

    @property
    def origin(self) -> Origin:
        """The origin of what it needs."""
        return Origin(f"router {self.name}", self.router.place)


class FloatingView:
    """A floating IP on a host that knows its external network."""

    def __init__(self, on: HostView, name: str) -> None:
        self.on = on
        self.memo = on.memo
        self.name = name

    @cached_property
    def floating(self) -> FloatingIp:
        """The floating IP as the files describe it."""
        return cast(FloatingIp, queries.floating_ip(self.memo, self.name))

    @cached_property
    def router(self) -> RouterView:
        """The router that leads to it."""
        return RouterView(self.on, self.floating.router)

    @property
    def is_here(self) -> bool:
        """Whether it is translated here: on its port's own host if that is wired, else where its router leads out."""
        own = ways_out.own_host(self.memo, self.name)
        return own == self.on.name or (own is None and self.router.is_gateway)

    @property
    def is_at_home(self) -> bool:
        """Whether this is the host of its port, and translates it whoever else is alive."""
        return ways_out.own_host(self.memo, self.name) == self.on.name

    @property
    def longest(self) -> int | None:
        """The longest packet that may come in for it; None is no limit. Without a tunnel its port takes no longer one either."""
        port = queries.port(self.memo, self.floating.port)
        return None if port is None else ways_out.tunnel_mtu(self.memo, port.network)

    @property
    def origin(self) -> Origin:
        """The origin of what it needs."""
        return Origin(f"floating IP {self.name}", self.floating.place)


class Whose(IntEnum):
    """Where a prefix of sources is; of two that are the same one the higher counts."""

    ALLOWED = 0  # Of ports, beyond their network's own prefixes.
    OUTER = 1
    INNER = 2


def by_source(prefix: Prefix, whose: Whose) -> int:
    """Return the priority, between 200 and 600, of a flow for what comes from a prefix: the longest one counts."""
    return 200 + 3 * prefix.prefixlen + whose


def rivals(on: HostView, owner: str) -> tuple[str, ...] | None:
    """Return the gateways that come before this host for a router's or floating IP's outer address: it has it when all are dead.

    None: it never has it.
    """
    if queries.router(on.memo, owner) is not None:
        router = RouterView(on, owner)
        return router.before if router.is_gateway else None
    floating = FloatingView(on, owner)
    if not floating.is_here:
        return None
    return () if floating.is_at_home else floating.router.before


def has_rivals(on: HostView, owner: str) -> bool:
    """Return whether another gateway has a router's or floating IP's outer address when this host is dead."""
    if queries.router(on.memo, owner) is not None:
        return not RouterView(on, owner).is_alone
    floating = FloatingView(on, owner)
    return not floating.is_at_home and not floating.router.is_alone


def write_choice(
    builder: Builder,
    on: HostView,
    name: str,
    others: Iterable[tuple[str, list[Action]]],
    own: list[Action],
    origin: Origin,
) -> Action:
    """Write the group that does what is to be done while another host is alive, the first one first, or else what is our own.

    Returns the action that hands a packet to it. A host of whose signs of life nothing is known counts as alive.
    """
    number = key("choice", name, _GROUP_BITS)
    chosen = list(others)
    # A patch port is up as long as its bridges are there.
    always = on.number(on.host.integration_bridge, PATCH_TO_TUNNEL) or PortNumber.LOCAL
    buckets = [*(tuple(actions) for _, actions in chosen), *([tuple(own)] if own else [])]
    watch = [*(on.liveness(host) or always for host, _ in chosen), *([always] if own else [])]
    builder.group(number, buckets, origin=origin, watch=watch)
    return ToGroup(number)


def write_in_touch(builder: Builder, on: HostView, table: str, onward: str, kind: str) -> None:
    """Write that what comes to a table of a gateway goes on only while the host hears any other one.

    A gateway that is cut off hears nobody, as if all others had died; they have not, and another one leads out. That all others
    have died is less likely, unless there is but one of them.
    """
    if not on.host.gateway:
        return
    origin, others = Origin("Weft: gateways in touch with others", None), on.heard()
    if len(others) < 2:
        builder.flow(table, 100, match(), goto=onward, kind=kind, origin=origin)
        return
    number = key("in touch", table, _GROUP_BITS)
    builder.group(number, [(Resubmit(builder.table(onward)),)] * len(others), origin=origin, watch=others)
    builder.flow(table, 100, match(), [ToGroup(number)], kind=kind, origin=origin)
