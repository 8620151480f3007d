"""Router: what is sent to a router's MAC finds its way by its destination's address, on the sender's host.

The network's register, both MACs and the time to live change; then the packet goes on as any other of the network that it is in now.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_network

from controller.graph import queries
from controller.graph.neighbours import neighbour
from controller.graph.ways_out import entry_mtu
from controller.model.address import BROADCAST_MAC, router_mac, wire_mac
from controller.model.entities import Address, NetworkType, Prefix, Route
from controller.model.ids import key
from controller.pipeline.discovery import ADVERTISEMENT, ARP_REPLY
from controller.pipeline.echo import MATCHES, WRITES, pings
from controller.pipeline.features.neighbours import origin_of, owner_of
from controller.pipeline.fields import (
    BY_NAME,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    PROTO_ICMP,
    PROTO_ICMPV6,
)
from controller.pipeline.flow import Action, Move, Origin, Resubmit, Wanted, match, set_field
from controller.pipeline.handed import at_host, beyond_wire, hands_over, place_of, takes_for
from controller.pipeline.known import Known, has_strangers, longest_prefix, next_hop, router_addresses
from controller.pipeline.nat import ChooseWay, DecrementTtl
from controller.pipeline.program import Builder
from controller.pipeline.questions import Question
from controller.pipeline.registers import FROM, FROM_PORT, NETWORK, OWNER, QUESTION, SCRATCH, SPACE, measure
from controller.pipeline.sides import UNTRACKED_ICMPV6
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, NetworkView

_OURS = Origin("Weft: routers", None)
_LINK_LOCAL = (0xFE80 << 112, 0xFFC0 << 112)
# What means its own network only, or nobody (RFC 6890): such destinations are never passed on.
_NOWHERE = {
    ETH_IPV4: ("ip_dst", ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")),
    ETH_IPV6: ("ipv6_dst", ("::/127", "fe80::/10", "ff00::/8")),
}
_ALL_NODES_MAC = 0x333300000001
_WAYS = 8  # Bits of `SCRATCH` that tell equal next hops apart; the rest is the route's key.

# Priorities of `routes`: the router's own addresses, what is never passed on, then prefixes by their length.
_OWN, _NEVER, PREFIXES = 400, 300, 100


def _always(builder: Builder, _host: HostView) -> None:
    """Write what holds for every router."""
    builder.flow("router", 0, (), goto=Stage.FORWARD, kind="not routed", origin=_OURS)
    for ethertype in (ETH_IPV4, ETH_IPV6):
        for ttl in (0, 1):
            dying = match(eth_type=ethertype, nw_ttl=ttl)
            _tell(builder, "routes", _NEVER + 1, dying, Question.EXPIRED, "expired", _OURS)
        field, prefixes = _NOWHERE[ethertype]
        for prefix in map(ip_network, prefixes):
            where = match(eth_type=ethertype, **{field: prefix})
            builder.flow("routes", _NEVER, where, kind="never routed", origin=_OURS)
        _tell(builder, "routes", 1, match(eth_type=ethertype), Question.NO_ROUTE, "no route", _OURS)
    from_link = match(eth_type=ETH_IPV6, ipv6_src=_LINK_LOCAL)
    builder.flow("routes", _NEVER + 2, from_link, kind="never routed", origin=_OURS)
    for message in UNTRACKED_ICMPV6:
        where = match(eth_type=ETH_IPV6, ip_proto=PROTO_ICMPV6, icmpv6_type=message)
        # No connection has them, so policy has not looked at them: they are for their own network, whatever their address is.
        builder.flow("routes", _OWN + 1, where, kind="never routed", origin=_OURS)
    _own(builder)


def _tell(
    builder: Builder,
    table: str,
    priority: int,
    where: tuple[tuple[int, int, int | None], ...],
    question: Question,
    kind: str,
    origin: Origin,
) -> None:
    builder.flow(table, priority, where, [QUESTION.load(question)], "tell", kind=kind, origin=origin)


def _own(builder: Builder) -> None:
    """Write what a router's own addresses answer: pings; the rest is for the controller."""
    for asked, answer in pings():
        builder.flow("own", 200, match(**asked), answer, "back", kind="echo", origin=_OURS)
    for ethertype in (ETH_IPV4, ETH_IPV6):
        _tell(builder, "own", 1, match(eth_type=ethertype), Question.NO_SERVICE, "no service", _OURS)
    # Nothing answers an answer, an error or a neighbour's message.
    builder.flow("own", 100, match(eth_type=ETH_IPV4, ip_proto=PROTO_ICMP), kind="not answered", origin=_OURS)
    builder.flow("own", 100, match(eth_type=ETH_IPV6, ip_proto=PROTO_ICMPV6), kind="not answered", origin=_OURS)


def _network(builder: Builder, view: NetworkView) -> None:
    name = queries.router_of(view.memo, view.name)
    if name is None:
        return
    origin = Origin(f"router {name}", queries.router_place(view.memo, name))
    here: dict[str, Wanted] = {NETWORK.field: NETWORK.is_(view.key), "eth_dst": router_mac(view.name)}
    # The host of the sender routes: what comes from elsewhere has been routed, or is for the network's own ports.
    mine = here | {FROM.field: FROM.is_(FROM_PORT)}
    for ethertype in (ETH_IPV4, ETH_IPV6):
        look = look_at(view, ethertype)
        where = match(**mine, eth_type=ethertype)
        builder.flow("router", 100, where, look, "routes", kind="for the router", origin=origin)
    # Nor is anything else of it for others, whoever listens to MACs that nobody has.
    builder.flow("router", 50, match(**mine), kind="not for routers", origin=origin)
    answer = match(**mine, eth_type=ETH_ARP, arp_op=ARP_REPLY)
    _tell(builder, "router", 200, answer, Question.HEARD, "neighbour heard", origin)
    answer = match(**mine, **ADVERTISEMENT)
    _tell(builder, "router", 200, answer, Question.HEARD, "neighbour heard", origin)
    if view.network.type.is_provider:
        # What goes out on a wire comes from the host's own MAC, so answers come to that.
        at_wire = here | {"eth_dst": wire_mac(view.name, view.on.name)}
        heard = match(**at_wire, eth_type=ETH_ARP, arp_op=ARP_REPLY)
        _tell(builder, "router", 200, heard, Question.HEARD, "neighbour heard", origin)
        heard = match(**at_wire, **ADVERTISEMENT)
        _tell(builder, "router", 200, heard, Question.HEARD, "neighbour heard", origin)
    _own_addresses(builder, view, origin)
    for prefix in view.network.cidrs:
        _connected(builder, view, prefix, origin)
    _routes(builder, view, name, is_reached=True)
    for address in _elsewhere(view):
        ethertype, field = family(address)
        where = match(**{NETWORK.field: NETWORK.is_(view.key)}, eth_type=ethertype, **{field: int(address)})
        _tell(builder, "resolve", 250, where, Question.NO_HOST, "another host's", origin)


def _elsewhere(view: NetworkView) -> set[Address]:
    """Return the addresses that a local network's ports on other hosts have or are allowed: the network is another one there."""
    if view.network.type is not NetworkType.LOCAL:
        return set()
    here: set[Address] = set()
    there: set[Address] = set()
    for port, where in queries.members(view.memo, view.name):
        single = (each.ip for each in port.allowed if each.ip.prefixlen == each.ip.max_prefixlen)
        (here if where == view.on.name else there).update(port.ips, (prefix.network_address for prefix in single))
    return there - here


def _routes(builder: Builder, view: NetworkView, router: str, *, is_reached: bool) -> None:
    """Write the static routes whose next hops are on a network."""
    if queries.routes_via(view.memo, view.name):
        for prefix, routes in queries.routes_of(view.memo, router).items():
            _static(builder, view, router, prefix, routes, is_reached=is_reached)


def look_at(view: NetworkView, ethertype: int) -> list[Action]:
    """Return the actions that look at the destination as far as any route does.

    Prefixes of many lengths then cost the datapath one mask, and hostile destinations no more (`controller.pipeline.whole`).
    """
    version = 4 if ethertype == ETH_IPV4 else 6
    field, target = BY_NAME["ip_dst" if version == 4 else "ipv6_dst"], BY_NAME[SCRATCH.field].index
    first = field.bits - longest_prefix(view.memo, view.space, version)
    found = [Move(field.index, target, min(32, field.bits - at), at) for at in range(first, field.bits, 32)]
    return [*found, SCRATCH.load(0)] if found else []


def _connected(builder: Builder, view: NetworkView, prefix: Prefix, origin: Origin) -> None:
    ethertype, field = (ETH_IPV4, "ip_dst") if isinstance(prefix, IPv4Network) else (ETH_IPV6, "ipv6_dst")
    where = match(**_in_space(view), eth_type=ethertype, **{field: prefix})
    enter = _pass_into(view)
    priority = PREFIXES + prefix.prefixlen
    builder.flow("routes", priority, where, enter, "resolve", kind="connected network", origin=origin)
    mine = match(**{NETWORK.field: NETWORK.is_(view.key)}, eth_type=ethertype)
    question = Question.NEIGHBOUR if has_strangers(view.memo, view.name) else Question.NO_HOST
    _tell(builder, "resolve", 1, mine, question, "unknown address", origin)
    if isinstance(prefix, IPv4Network) and prefix.prefixlen < 31:
        for address in (prefix.network_address, prefix.broadcast_address):
            where = match(**{NETWORK.field: NETWORK.is_(view.key)}, eth_type=ethertype, ip_dst=int(address))
            builder.flow("resolve", 100, where, kind="subnet", origin=origin)


def _into(view: NetworkView) -> list[Action]:
    """Return the actions by which a packet comes from the router into a network."""
    # What was handed over may be for others on the wire as well.
    enter = [FROM.load(FROM_PORT)] if takes_for(view.memo, view.on.name, view.name) else []
    # On a wire the switches learn where a MAC is, so each host sends from one of its own.
    is_shared = view.network.type.is_provider
    source = wire_mac(view.name, view.on.name) if is_shared else router_mac(view.name)
    return [*enter, NETWORK.load(view.key), set_field("eth_src", source)]


def _pass_into(view: NetworkView) -> list[Action]:
    """Return the actions that pass a packet on into a network: one that may have come from a network with longer ones is measured."""
    longest = entry_mtu(view.memo, view.name)
    return [*_into(view), DecrementTtl(), *([] if longest is None else [measure(longest)])]


def _static(
    builder: Builder, view: NetworkView, router: str, prefix: Prefix, routes: tuple[Route, ...], *, is_reached: bool
) -> None:
    """Write a static route with one next hop, or several that share its flows, as far as these are on a network."""
    mine = [(number, route) for number, route in enumerate(routes) if route in queries.routes_via(view.memo, view.name)]
    if not mine:
        return
    ethertype, field = (ETH_IPV4, "ip_dst") if isinstance(prefix, IPv4Network) else (ETH_IPV6, "ipv6_dst")
    origin = Origin(f"router {router}: route to {prefix}", routes[0].place)
    base = key("route", f"{view.space} {prefix}", 32 - _WAYS) << _WAYS
    choose: list[Action] = [ChooseWay(len(routes), BY_NAME[SCRATCH.field].index, _WAYS)] if len(routes) > 1 else []
    where = match(**_in_space(view), eth_type=ethertype, **{field: prefix})
    actions: list[Action] = [SCRATCH.load(base), *choose]
    priority = PREFIXES + prefix.prefixlen
    builder.flow("routes", priority, where, actions, "hops", kind="static route", origin=origin)
    for number, route in mine:
        chosen = match(**_in_space(view), **{SCRATCH.field: base | number}, eth_type=ethertype)
        via = Origin(f"router {router}: route to {prefix} via {route.via}", route.place)
        hop = next_hop(view.memo, view.name, route.via) if is_reached and route.via not in _elsewhere(view) else None
        if not is_reached and hands_over(view.memo, view.on.name, view.name):
            there = place_of(view.memo, view.name, route.via)
            load = SCRATCH.load(beyond_wire(view.name) if there is None else at_host(there))
            builder.flow("hops", 100, chosen, [load], "handover", kind="next hop beyond", origin=via)
        elif not is_reached:
            _tell(builder, "hops", 100, chosen, Question.NO_ROUTE, "no wire", via)
        elif hop is None:
            is_asked = has_strangers(view.memo, view.name) and route.via not in _elsewhere(view)
            question = Question.NEIGHBOUR if is_asked else Question.NO_HOST
            asks = [*_into(view), QUESTION.load(question)]
            builder.flow("hops", 100, chosen, asks, "tell", kind="unknown next hop", origin=via)
        else:
            forward = [*_pass_into(view), SCRATCH.load(0), set_field("eth_dst", hop)]
            builder.flow("hops", 100, chosen, forward, Stage.FORWARD, kind="next hop", origin=via)


def _unreached(builder: Builder, view: NetworkView) -> None:
    """Write that a router has its address on a network wherever it is; a host without a wire to it hands over what is for others."""
    name = queries.router_of(view.memo, view.name)
    if name is None:
        return
    origin = Origin(f"router {name}", queries.router_place(view.memo, name))
    _own_addresses(builder, view, origin)
    for prefix in view.network.cidrs:
        ethertype, field = (ETH_IPV4, "ip_dst") if isinstance(prefix, IPv4Network) else (ETH_IPV6, "ipv6_dst")
        where = match(**_in_space(view), eth_type=ethertype, **{field: prefix})
        priority = PREFIXES + prefix.prefixlen
        if hands_over(view.memo, view.on.name, view.name):
            load = [SCRATCH.load(beyond_wire(view.name))]
            builder.flow("routes", priority, where, load, "beyond", kind="network beyond", origin=origin)
        else:
            _tell(builder, "routes", priority, where, Question.NO_ROUTE, "no wire", origin)
    _routes(builder, view, name, is_reached=False)


def _own_addresses(builder: Builder, view: NetworkView, origin: Origin) -> None:
    for own in router_addresses(view.memo, view.name):
        ethertype, field = family(own.address)
        where = match(**_in_space(view), eth_type=ethertype, **{field: int(own.address)})
        builder.flow("routes", _OWN, where, goto="own", kind="own address", origin=origin)


def _address(builder: Builder, network: str, known: Known) -> None:
    if not known.is_routed:
        return
    ethertype, field = family(known.address)
    where = match(
        **{NETWORK.field: NETWORK.is_(key("network", network))}, eth_type=ethertype, **{field: int(known.address)}
    )
    actions = [owner_of(known), set_field("eth_dst", known.mac)]
    origin = origin_of(builder.memo, known)
    builder.flow("resolve", 200, where, actions, Stage.FORWARD, kind="known address", origin=origin)


def _neighbour(builder: Builder, host: HostView, network: str, address: Address) -> None:
    """Write who has an address of which no file tells."""
    mac = neighbour(host.memo, network, address)
    if mac is not None and queries.router_of(host.memo, network) is not None:
        ethertype, field = family(address)
        where = match(
            **{NETWORK.field: NETWORK.is_(key("network", network))}, eth_type=ethertype, **{field: int(address)}
        )
        # Below the addresses that the files tell of: what is heard of those was not for routers.
        origin = Origin(f"neighbour {address} of {network}", None)
        builder.flow("resolve", 150, where, [set_field("eth_dst", mac)], Stage.FORWARD, kind="neighbour", origin=origin)
        _announced(builder, network, address, mac, origin)


def _announced(builder: Builder, network: str, address: Address, mac: int, origin: Origin) -> None:
    """Hear what a neighbour tells everybody: an address that several may use moves so (RFC 5227, RFC 9568). It goes on to all."""
    here: dict[str, Wanted] = {NETWORK.field: NETWORK.is_(key("network", network))}
    if isinstance(address, IPv4Address):
        here |= {"eth_dst": BROADCAST_MAC, "eth_type": ETH_ARP, "arp_spa": int(address)}
        # What is known already is not told: hosts ask for others all the time.
        known = match(**here, arp_sha=mac)
        builder.flow("router", 210, known, goto=Stage.FORWARD, kind="neighbour's question", origin=origin)
    else:
        here |= {"eth_dst": _ALL_NODES_MAC, **ADVERTISEMENT, "nd_target": int(address)}
    heard: list[Action] = [QUESTION.load(Question.HEARD), Resubmit(builder.table("tell")), QUESTION.load(0)]
    builder.flow("router", 205, match(**here), heard, Stage.FORWARD, kind="neighbour announced", origin=origin)


def _in_space(view: NetworkView) -> dict[str, Wanted]:
    return {SPACE.field: SPACE.is_(view.space_key)}


def family(address: Address) -> tuple[int, str]:
    """Return what tells an address's version in packets, and their field for destinations."""
    return (ETH_IPV4, "ip_dst") if isinstance(address, IPv4Address) else (ETH_IPV6, "ipv6_dst")


def _table(
    name: str,
    stage: Stage,
    slot: int,
    matches: tuple[str, ...],
    writes: tuple[str, ...],
    onward: tuple[str | Stage, ...],
    purpose: str,
    miss: str,
) -> Table:
    return Table(name, stage, slot, matches, (*writes, QUESTION.field), (*onward, "tell"), purpose, miss)


FEATURE = Feature(
    name="router",
    summary=__doc__.splitlines()[0],
    tables=(
        _table(
            *("router", Stage.ROUTE, 0),
            (
                *(NETWORK.field, FROM.field, "eth_dst", "eth_type", "ip_src", "ipv6_src"),
                *("arp_op", "arp_spa", "arp_sha", "ip_proto", "icmpv6_type", "icmpv6_code", "nd_target"),
            ),
            (SCRATCH.field,),
            ("routes", Stage.FORWARD),
            "is it for the network's router? Of the destination's address as much is looked at as any route asks for",
            "cannot be reached: the last flow lets everything else go on",
        ),
        _table(
            *("routes", Stage.ROUTE, 1),
            (SPACE.field, "eth_type", "ip_proto", "icmpv6_type", "nw_ttl", "ip_dst", "ipv6_src", "ipv6_dst"),
            (NETWORK.field, SCRATCH.field, "eth_src"),
            ("own", "hops", "beyond", "resolve", "leaving"),
            "the longest prefix -> a network of the router, or a static route's next hops",
            "cannot be reached: only IP comes here, and what nothing leads to is told of",
        ),
        _table(
            *("own", Stage.ROUTE, 2),
            MATCHES,
            WRITES,
            ("back",),
            "a router's own addresses answer pings and offer nothing else",
            "cannot be reached: only IP comes here",
        ),
        _table(
            *("hops", Stage.ROUTE, 3),
            (SPACE.field, SCRATCH.field, "eth_type"),
            (NETWORK.field, SCRATCH.field, "eth_src", "eth_dst"),
            ("handover", Stage.FORWARD),
            "a static route's next hop -> its network and MAC",
            "cannot be reached: routes lead to hops that there are",
        ),
        _table(
            *("resolve", Stage.RESOLVE, 0),
            (NETWORK.field, "eth_type", "ip_dst", "ipv6_dst"),
            (OWNER.field, "eth_dst"),
            (Stage.FORWARD,),
            "network and address -> the MAC that has it",
            "cannot be reached: each network has a flow for what nobody has",
        ),
    ),
    kinds={
        "not routed": "it is not for a router",
        "for the router": "an IP packet to the MAC of the network's router",
        "neighbour heard": "an answer to what the router has asked: who has this address?",
        "neighbour's question": "a neighbour asks everybody for another one, by the MAC that it is known to have",
        "neighbour announced": "a neighbour tells everybody of its address: the router hears it as well",
        "own address": "an address of the router, on whichever network",
        "expired": "its time to live is over: its sender is told (RFC 792, RFC 4443)",
        "never routed": "multicast and link-local addresses mean their own network only",
        "no wire": "nothing here reaches the physical network of a network of the router: the sender is told",
        "network beyond": "a network of the router that the host is not wired to: another host routes what is for it",
        "next hop beyond": "a next hop on such a network",
        "not for routers": "a router speaks IP only, and nobody else has its MAC",
        "no route": "the router knows no way: the sender is told",
        "connected network": "a network of the router: the packet is in it from now on",
        "static route": "what the files send to a next hop of their choice",
        "next hop": "the port that has a next hop's address",
        "unknown next hop": "nobody has the next hop's address",
        "known address": "the port that has the address",
        "unknown address": "nobody has the address: the sender is told, or, where strangers may be, the network is asked",
        "neighbour": "a host that no file names, and that has been heard",
        "another host's": "a local network has other ports on every host: this address is another host's",
        "subnet": "the first and the last address of a subnet are nobody's",
        "echo": "a ping of a router's address",
        "not answered": "an answer, an error or discovery asks nothing",
        "no service": "a router's address offers nothing: the sender is told",
    },
    flows={
        Scope.HOST: _always,
        Scope.NETWORK: _network,
        Scope.ADDRESS: _address,
        Scope.NEIGHBOUR: _neighbour,
        Scope.UNREACHED: _unreached,
    },
    sends=frozenset({"connected network", "static route", "next hop", "known address", "neighbour"}),
    leaves=frozenset({"network beyond", "next hop beyond"}),
)
