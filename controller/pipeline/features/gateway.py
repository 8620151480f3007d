"""Gateway: what no network of a router has leaves the fabric, in a floating IP's name, in the router's, or by another host."""

from __future__ import annotations

from controller.graph import queries, ways_out
from controller.model.address import loop_mac, outer_mac, wire_mac
from controller.model.entities import Address, Prefix, Route
from controller.pipeline.echo import MATCHES, pings
from controller.pipeline.features.router import PREFIXES
from controller.pipeline.features.tunnels import to_host
from controller.pipeline.fields import CT_INVALID, CT_NEW, CT_SOURCE_TRANSLATED, CT_TRACKED, ETH_IPV4, ETH_IPV6
from controller.pipeline.flow import Action, Match, Origin, Resubmit, match, set_field
from controller.pipeline.handed import led_out_by, speakers
from controller.pipeline.nat import DecrementTtl, ForgetConnection
from controller.pipeline.outer import (
    IPV4,
    IPV6,
    ExternalView,
    Family,
    FloatingView,
    RouterView,
    Whose,
    by_source,
    family,
    rivals,
    write_choice,
    write_in_touch,
)
from controller.pipeline.program import Builder
from controller.pipeline.questions import Question
from controller.pipeline.registers import FROM, FROM_PORT, NETWORK, QUESTION, SPACE
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, NetworkView

_FAMILIES = (IPV4, IPV6)


def _ask(
    builder: Builder, table: str, priority: int, where: Match, question: Question, origin: Origin, kind: str = ""
) -> None:
    kind = kind or ("unknown next hop" if question is Question.NEIGHBOUR else "no way")
    builder.flow(table, priority, where, [QUESTION.load(question)], "tell", kind=kind, origin=origin)


def _always(builder: Builder, host: HostView) -> None:
    write_in_touch(builder, host, "leading", "masking", "in touch")


def _router(builder: Builder, view: RouterView) -> None:
    """Write the way out of a router on a host that knows it."""
    for ethertype, _, _ in _FAMILIES:
        where = match(**view.in_space, eth_type=ethertype)
        builder.flow("routes", 2, where, goto="leaving", kind="way out", origin=view.origin)
        _ask(builder, "leaving", 1, where, Question.NO_ROUTE, view.origin)
    for prefix, origin in _nearer(view):
        ethertype, _, field = family(prefix.network_address)
        where = match(**view.in_space, eth_type=ethertype, **{field: prefix})
        builder.flow("routes", PREFIXES + prefix.prefixlen, where, goto="leaving", kind="way out", origin=origin)
    if ways_out.is_outside(view.memo, view.on.name, view.name):
        for route in view.router.routes:
            _static(builder, view, route)
    if not view.is_gateway:
        return
    for ethertype, _, _ in _FAMILIES:
        # What a port here sends goes to another gateway as long as one that comes before is alive (`_network`).
        where = match(**view.in_space, eth_type=ethertype)
        builder.flow("leaving", 100, where, goto=_out(view), kind="way out", origin=view.origin)
    for address in view.addresses():
        where = match(**view.in_space, eth_type=family(address)[0])
        actions: list[Action] = [*_leave(builder, view, outer_mac(view.name))]
        if view.router.snat:
            actions.append(view.translate(address, builder.table("outside"), is_source=True))
            builder.flow("masking", 100, where, actions, kind="masked", origin=view.origin)
            _to_itself(builder, view, address, actions)
        else:
            _plainly(builder, view, family(address), actions)


def _to_itself(builder: Builder, view: RouterView, address: Address, masked: list[Action]) -> None:
    """Write what becomes of what is for the very address in whose name it would leave.

    It answers pings. Of anything else, from itself and for itself and without ports, or with two that are the same, the tracker would
    take the packet for its own answer.
    """
    ethertype, _, field = family(address)
    mine = match(**view.in_space, eth_type=ethertype, **{field: int(address)})
    _ask(builder, "masking", 650, mine, Question.NO_SERVICE, view.origin, "no service")
    for asked, _ in pings():
        if asked["eth_type"] == ethertype:
            where = match(**view.in_space, **asked, **{field: int(address)})
            builder.flow("masking", 660, where, masked, kind="masked", origin=view.origin)


def _plainly(builder: Builder, view: RouterView, version: Family, actions: list[Action]) -> None:
    """Write that what is not masked leaves by a source that the router has inside, or that a port there may use.

    Who is not guarded might else speak as whomever it likes: as another's floating IP, or as the gateway upstream.
    """
    ethertype, source, _ = version
    memo, external = view.memo, view.outer.external.cidrs
    builder.flow("masking", 100, match(**view.in_space, eth_type=ethertype), kind="forged source", origin=view.origin)
    ranked = [(each, Whose.OUTER) for each in ways_out.outer_prefixes(memo, view.name)]
    for name in view.router.networks:
        ranked += [(each, Whose.INNER) for each in ways_out.inner_prefixes(memo, name)]
        ranked += [(each, Whose.ALLOWED) for each in ways_out.allowed_prefixes(memo, name)]
    for prefix, whose in dict.fromkeys(ranked):
        is_theirs = whose is not Whose.OUTER and any(ways_out.is_within(prefix, each) for each in external)
        if is_theirs or family(prefix.network_address)[0] != ethertype:
            continue
        where, priority = match(**view.in_space, eth_type=ethertype, **{source: prefix}), by_source(prefix, whose)
        if whose is Whose.OUTER:
            builder.flow("masking", priority, where, kind="forged source", origin=view.origin)
        else:
            builder.flow("masking", priority, where, actions, "outside", kind="as it is", origin=view.origin)


def _out(view: RouterView) -> str:
    """Return the table by which a router's packets leave at a gateway."""
    return "masking" if view.is_alone else "leading"


def _nearer(view: RouterView) -> list[tuple[Prefix, Origin]]:
    """Return the prefixes that are outside whatever shorter ones are inside: the external network's, and those of routes by it."""
    external = view.outer.external
    found = dict.fromkeys(external.cidrs, view.outer.origin)
    for route in view.router.routes:
        is_outside = any(route.via in cidr for cidr in external.cidrs if cidr.version == route.via.version)
        if is_outside:
            found[route.to] = Origin(f"router {view.name}: route to {route.to} via {route.via}", route.place)
        else:
            # What a route inside leads to as well is not outside.
            found.pop(route.to, None)
    return list(found.items())


def _leave(builder: Builder, view: RouterView, mac: int) -> list[Action]:
    """Return the actions that take a packet out of its address space; its connection there is kept first."""
    external = [NETWORK.load(view.outer.key), set_field("eth_src", mac)]
    return [Resubmit(builder.table("keep")), DecrementTtl(), *external, ForgetConnection()]


def _static(builder: Builder, view: RouterView, route: Route) -> None:
    """Write a static route whose next hop is on the external network."""
    if not any(route.via in cidr for cidr in view.outer.external.cidrs if cidr.version == route.via.version):
        return
    ethertype, _, field = family(route.via)
    origin = Origin(f"router {view.name}: route to {route.to} via {route.via}", route.place)
    where = match(**view.outer.here, **view.in_space, eth_type=ethertype, **{field: route.to})
    mac = view.outer.mac_of(route.via)
    if mac is None:
        _ask(builder, "outside", 101 + route.to.prefixlen, where, Question.NEIGHBOUR, origin)
    else:
        actions = [set_field("eth_dst", mac), *view.outer.out()]
        builder.flow("outside", 101 + route.to.prefixlen, where, actions, kind="static route", origin=origin)


def _floating(builder: Builder, view: FloatingView) -> None:
    """Write that what a port with a floating IP sends leaves in its name."""
    if not view.is_here:
        return
    ethertype, source, _ = family(view.floating.fixed)
    where = match(**view.router.in_space, eth_type=ethertype, **{source: int(view.floating.fixed)})
    translate = view.router.translate(view.floating.address, builder.table("outside"), is_source=True)
    actions = [*_leave(builder, view.router, outer_mac(view.name)), translate]
    # The gateway gets what hosts without a wire send: it has been chosen then.
    table, priority = ("leaving", 200) if view.is_at_home else ("masking", 700)
    builder.flow(table, priority, where, actions, kind="floating IP", origin=view.origin)


def _outer(builder: Builder, view: ExternalView, outer: ways_out.Outer) -> None:
    """Write who has an address of ours on an external network."""
    if view.number is None:
        return
    origin = Origin(f"{outer.owner} on external network {view.name}", view.external.place)
    ethertype, _, field = family(outer.address)
    where = match(**view.here, eth_type=ethertype, **{field: int(outer.address)})
    there, back = ([set_field("eth_dst", mac(outer.owner)), *view.out()] for mac in (outer_mac, loop_mac))
    before = rivals(view.on, outer.owner)
    if before:
        name = f"{view.name} {outer.address}"
        # The wire's bridge here may have learned that the owner's MAC is here, and would drop the frame.
        others = [(each, [set_field("eth_dst", wire_mac(view.name, each)), *view.out()]) for each in before]
        actions = [write_choice(builder, view.on, name, others, back, origin)]
    else:
        actions = there if before is None else back
    # Open vSwitch's own tracker would take what comes back for a packet of the connection that it has just been in. A bucket of a
    # group has no place for this action (ovs-actions(7), "Action Sets").
    actions = [ForgetConnection(), *actions]
    builder.flow("outside", 400, where, actions, kind="address of ours", origin=origin)


def _external(builder: Builder, view: ExternalView) -> None:
    """Write who is where on an external network."""
    if view.number is None:
        return
    for ethertype, _, field in _FAMILIES:
        invalid = match(eth_type=ethertype, ct_state=(CT_TRACKED | CT_INVALID, CT_TRACKED | CT_INVALID))
        builder.flow("outside", 500, invalid, kind="invalid", origin=Origin("Weft: routers", None))
        # Open vSwitch's own tracker lets go on as it is what it has no room for.
        new = CT_TRACKED | CT_NEW, CT_TRACKED | CT_NEW | CT_SOURCE_TRANSLATED
        lost = match(eth_type=ethertype, ct_state=new)
        builder.flow("outside", 450, lost, kind="not translated", origin=Origin("Weft: routers", None))
        version = 4 if ethertype == ETH_IPV4 else 6
        for prefix in view.external.cidrs:
            if prefix.version == version:
                where = match(**view.here, eth_type=ethertype, **{field: prefix})
                _ask(builder, "outside", 300, where, Question.NEIGHBOUR, view.origin)
        everywhere = match(**view.here, eth_type=ethertype)
        gateway = next((each for each in view.external.gateways if each.version == version), None)
        mac = None if gateway is None else view.mac_of(gateway)
        if mac is None:
            question = Question.NO_ROUTE if gateway is None else Question.NEIGHBOUR
            _ask(builder, "outside", 100, everywhere, question, view.origin)
        else:
            actions = [set_field("eth_dst", mac), *view.out()]
            builder.flow("outside", 100, everywhere, actions, kind="gateway outside", origin=view.origin)


def _neighbour(builder: Builder, host: HostView, network: str, address: Address) -> None:
    """Write where a neighbour on an external network is."""
    if queries.external_network(host.memo, network) is None:
        return
    view = ExternalView(host, network)
    mac, (ethertype, _, field) = view.mac_of(address), family(address)
    if mac is not None and view.number is not None:
        where = match(**view.here, eth_type=ethertype, **{field: int(address)})
        actions = [set_field("eth_dst", mac), *view.out()]
        builder.flow("outside", 350, where, actions, kind="neighbour", origin=view.origin)


def _network(builder: Builder, view: NetworkView) -> None:
    """Write the way of a network's packets to the gateway, and on the gateway what becomes of them."""
    name = queries.router_of(view.memo, view.name)
    gateways = () if name is None else queries.gateways(view.memo, name)
    if name is None or not gateways:
        return
    origin = Origin(f"router {name}", queries.router_place(view.memo, name))
    here = {NETWORK.field: NETWORK.is_(view.key)}
    from_port = FROM.is_(FROM_PORT)
    if view.on.name in gateways:
        mine = wire_mac(view.name, view.on.name)
        allowed = speakers(view)
        for ethertype, source, _ in _FAMILIES:
            where = match(**here, eth_dst=mine, eth_type=ethertype)
            if allowed is None:
                builder.flow("router", 100, where, goto="routes", kind="for the gateway", origin=origin)
                continue
            builder.flow("router", 90, where, kind="forged source", origin=origin)
            for prefix in allowed:
                if family(prefix.network_address)[0] == ethertype:
                    where = match(**here, eth_dst=mine, eth_type=ethertype, **{source: prefix})
                    builder.flow("router", 100, where, goto="routes", kind="for the gateway", origin=origin)
    before = led_out_by(view)
    for other in before:
        to_host(builder, view, wire_mac(view.name, other), other, "by the gateway", origin)
    if not before or view.way_out() is None:
        return
    forward = Resubmit(builder.table("forward"))
    ways: list[tuple[str, list[Action]]] = []
    for other in before:
        mac = wire_mac(view.name, other)
        ways.append((other, [set_field("eth_dst", mac), forward]))
        where = match(**here, **{FROM.field: from_port}, eth_dst=mac)
        builder.flow("forward", 200, where, goto="leave", kind="to the gateway", origin=origin)
    own: list[Action] = [Resubmit(builder.table(_out(RouterView(view.on, name))))] if view.on.name in gateways else []
    choice = write_choice(builder, view.on, view.name, ways, own, origin)
    for ethertype in (ETH_IPV4, ETH_IPV6):
        where = match(**here, **{FROM.field: from_port}, eth_type=ethertype)
        builder.flow("leaving", 150, where, [choice], kind="to the gateway", origin=origin)


FEATURE = Feature(
    name="gateway",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="leaving",
            stage=Stage.OUTSIDE,
            slot=0,
            matches=(SPACE.field, NETWORK.field, FROM.field, "eth_type", "ip_src", "ipv6_src"),
            writes=(NETWORK.field, QUESTION.field, "eth_src"),
            next=("keep", "leading", "masking", "outside", "tell"),
            purpose="who leaves, and where? A floating IP on its own host, all else by the first gateway that is alive",
            miss="cannot be reached: a router that leads out has a flow for what does not",
        ),
        Table(
            name="leading",
            stage=Stage.OUTSIDE,
            slot=1,
            matches=(),
            writes=(),
            next=("masking",),
            purpose="does this gateway hear any other host? One that is cut off leaves it to another gateway to lead out",
            miss="dropped: this host is no gateway",
        ),
        Table(
            name="masking",
            stage=Stage.OUTSIDE,
            slot=2,
            matches=(SPACE.field, *MATCHES, "ip_src", "ipv6_src", "ip_dst", "ipv6_dst"),
            writes=(NETWORK.field, QUESTION.field, "eth_src"),
            next=("keep", "outside", "tell"),
            purpose="this host leads out: in whose name?",
            miss="dropped: the router has no address of this version outside",
        ),
        Table(
            name="outside",
            stage=Stage.OUTSIDE,
            slot=3,
            matches=(NETWORK.field, SPACE.field, "eth_type", "ct_state", "ip_dst", "ipv6_dst"),
            writes=("eth_dst", "vlan_tci", QUESTION.field),
            next=("tell",),
            purpose="external network and address -> the next hop's MAC, out on the wire",
            miss="cannot be reached: an external network has a flow for all addresses",
        ),
    ),
    kinds={
        "way out": "what nothing else leads to leaves by the router's external network",
        "in touch": "the host is in touch with others, or has but one to be in touch with",
        "masked": "it leaves in the router's own name (RFC 3022)",
        "as it is": "the router masks nothing",
        "no service": "the address outside in whose name it would leave answers pings, and offers nothing: the sender is told",
        "floating IP": "what the port sends leaves in the name of its floating IP, on its own host if that is wired",
        "to the gateway": "this host does not lead the router out: another one does",
        "for the gateway": "another host has sent it here because the router leads out here",
        "by the gateway": "the tunnel to the host by which the router leads out",
        "forged source": "an address that the router does not have inside, or one that a wire's own network does not have",
        "no way": "the router has no way there: the sender is told",
        "invalid": "no connection can have this packet, or none could be translated",
        "not translated": "the tracker has no room for one more translation",
        "address of ours": "a router or floating IP, here or elsewhere, of whichever tenant",
        "neighbour": "a host on the external network that has been heard",
        "gateway outside": "the next hop beyond the external network",
        "static route": "what the files send to a next hop on the external network",
        "unknown next hop": "the next hop's MAC has not been heard yet: it is asked for",
    },
    flows={
        Scope.HOST: _always,
        Scope.ROUTER: _router,
        Scope.FLOATING: _floating,
        Scope.EXTERNAL: _external,
        Scope.NETWORK: _network,
        Scope.NEIGHBOUR: _neighbour,
        Scope.OUTER: _outer,
    },
    sends=frozenset(
        {"to the gateway", "by the gateway", "masked", "as it is", "floating IP", "address of ours", "gateway outside"}
    ),
)
