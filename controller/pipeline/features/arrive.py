"""Arrive: what comes from outside is for a floating IP, or belongs to a connection that the router masks; all else ends here."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address

from controller.graph import queries, ways_out
from controller.model.address import BROADCAST_MAC, loop_mac, outer_mac, wire_mac
from controller.model.entities import Address
from controller.pipeline import discovery, echo
from controller.pipeline.features.forward import to_others
from controller.pipeline.fields import (
    CT_INVALID,
    CT_NEW,
    CT_REPLY,
    CT_TARGET_TRANSLATED,
    CT_TRACKED,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    VLAN_MASK,
)
from controller.pipeline.flow import Action, Match, Origin, Output, PopVlan, PortNumber, Resubmit, match, set_field
from controller.pipeline.nat import ForgetConnection
from controller.pipeline.outer import (
    ExternalView,
    FloatingView,
    RouterView,
    Whose,
    by_source,
    family,
    has_rivals,
    rivals,
    write_choice,
    write_in_touch,
)
from controller.pipeline.program import Builder
from controller.pipeline.questions import Question
from controller.pipeline.registers import FROM, FROM_PHYSICAL, NETWORK, QUESTION, SPACE, TOO_LONG, ZONE, measure
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, NetworkView


def _always(builder: Builder, host: HostView) -> None:
    write_in_touch(builder, host, "answering", "owned", "in touch")


# Priorities of `arrived`. A ping's answer goes where the ping came from; above everybody are the sources, by their prefixes (`by_source`).
_INVALID, _PINGS, _OWN, _LOST, _ANYBODY = 1000, 950, 900, 870, 100


def _external(builder: Builder, view: ExternalView) -> None:
    """Write who comes from an external network, what is heard of it, and which of its frames pass between br-int and the wire."""
    if view.inside is not None:
        physical = view.external.physical_network
        where = match(in_port=view.inside, vlan_tci=(view.tag, VLAN_MASK))
        switch = [Output(PortNumber.NORMAL)]
        builder.flow("wire", 200, where, switch, kind="to outside", origin=view.origin, physical=physical)
    # The bridges of a host come one after the other: what one is to hold does not wait for another's ports.
    if view.number is None:
        return
    load: list[Action] = [PopVlan()] if view.tag else []
    load += [NETWORK.load(view.key), FROM.load(FROM_PHYSICAL)]
    where = match(in_port=view.number, vlan_tci=(view.tag, VLAN_MASK))
    builder.flow("classify", 100, where, load, Stage.ARRIVE, kind="from outside", origin=view.origin)
    invalid = match(ct_state=(CT_TRACKED | CT_INVALID, CT_TRACKED | CT_INVALID))
    builder.flow("arrived", _INVALID, invalid, kind="invalid", origin=view.origin)
    # Open vSwitch's own tracker lets go on as it is what it has no room for.
    lost = match(ct_state=(CT_TRACKED | CT_NEW, CT_TRACKED | CT_NEW | CT_TARGET_TRANSLATED))
    builder.flow("arrived", _LOST, lost, kind="not translated", origin=view.origin)
    forget = [ForgetConnection()]
    builder.flow("arrived", _ANYBODY, match(**view.here), forget, "routes", kind="translated", origin=view.origin)
    announce = match(**view.here, eth_type=ETH_ARP, eth_dst=BROADCAST_MAC, arp_op=discovery.ARP_REPLY)
    _hear(builder, announce, view)
    for ethertype in (ETH_IPV4, ETH_IPV6):
        long = match(**view.here, eth_type=ethertype, **{TOO_LONG.field: TOO_LONG.is_(1)})
        builder.flow("owned", 300, long, [QUESTION.load(Question.TOO_BIG)], "tell", kind="too big", origin=view.origin)
    # A host asks by a MAC of its own: by the router's, the wire's switches would take that to be at whichever host asked last.
    mine = {**view.here, "eth_dst": wire_mac(view.name, view.on.name)}
    _hear(builder, match(**mine, eth_type=ETH_ARP, arp_op=discovery.ARP_REPLY), view, 150)
    _hear(builder, match(**mine, **discovery.ADVERTISEMENT), view, 150)
    for gateway in view.external.gateways:
        if gateway.version == 4:
            # What the gateway asks tells as well who it is now: it may be another one.
            asks = match(**view.here, eth_type=ETH_ARP, eth_dst=BROADCAST_MAC, arp_spa=int(gateway))
            _hear(builder, asks, view, 110)
    asked, tell = discovery.advertise()
    builder.flow("announce", 100, asked, [tell], "back", kind="answer", origin=view.origin)
    if view.tag:
        back = to_others(PortNumber.IN_PORT, view.tag)
        builder.flow("back", 100, match(**view.here), back, kind="answer", origin=view.origin)


def _hear(builder: Builder, where: Match, view: ExternalView, priority: int = 100) -> None:
    asked = [QUESTION.load(Question.HEARD)]
    builder.flow("arriving", priority, where, asked, "tell", kind="neighbour heard", origin=view.origin)


def _owned(
    builder: Builder, view: ExternalView, owner: str, addresses: Iterable[Address], longest: int | None, origin: Origin
) -> None:
    """Write what is answered in the name of a router or a floating IP, what it hears, and that it has what comes for it.

    As long as a gateway that comes before this one is alive, that one has it. What is longer than `longest` does not get in: its
    sender is told as long as the packet is as it was sent.
    """
    before = rivals(view.on, owner)
    if before is None:
        return
    mac, here = outer_mac(owner), view.here
    has = "answering" if has_rivals(view.on, owner) else "owned"
    mine: list[Action] = [Resubmit(builder.table(has))]
    enter: list[Action] = []
    if before:
        name = f"{view.name} {owner}"
        enter = [write_choice(builder, view.on, name, [(each, []) for each in before], mine, origin)]
    goto, kind = (None, "in reserve") if before else (has, "for us")
    long: list[Action] = [] if longest is None else [measure(longest)]
    builder.flow("arriving", 150, match(**here, eth_dst=mac), [*long, *enter], goto, kind=kind, origin=origin)
    for heard in (
        match(**here, eth_dst=mac, eth_type=ETH_ARP, arp_op=discovery.ARP_REPLY),
        match(**here, eth_dst=mac, **discovery.ADVERTISEMENT),
    ):
        _hear(builder, heard, view, 250)
    for address in addresses:
        asked = match(**here, **discovery.question(address))
        builder.flow("arriving", 200, asked, enter, goto, kind=kind, origin=origin)
        if has_rivals(view.on, owner):
            # Another gateway speaks to this one by the host's own MAC: of the owner's it may have learned that it has that itself.
            ethertype, _, field = family(address)
            told = match(**here, eth_dst=wire_mac(view.name, view.on.name), eth_type=ethertype, **{field: int(address)})
            # From here on it is as if it had been sent to the owner's: by that the controller knows whom an error is about.
            builder.flow(
                "arriving", 160, told, [set_field("eth_dst", mac), *long, *enter], goto, kind=kind, origin=origin
            )
        onward = "back" if address.version == 4 else "announce"
        actions = discovery.answer(address, mac, is_router=True)
        builder.flow("owned", 200, asked, actions, onward, kind="answer", origin=origin)
        if isinstance(address, IPv6Address):
            taking = match(**here, **discovery.detection(address))
            builder.flow("owned", 210, taking, discovery.contradict(address, mac), "back", kind="answer", origin=origin)
    if view.inside is not None:
        physical = view.external.physical_network
        # The bridge has learned that the MAC is elsewhere, as long as it was: who comes to have it gets the very first frame.
        where = match(vlan_tci=(view.tag, VLAN_MASK), eth_dst=mac)
        builder.flow("wire", 150, where, [Output(view.inside)], kind="to us", origin=origin, physical=physical)
        # One address here speaks to another here: the wire's switch would not send the frame back.
        where = match(in_port=view.inside, vlan_tci=(view.tag, VLAN_MASK), eth_dst=loop_mac(owner))
        back: list[Action] = [set_field("eth_dst", mac), Output(PortNumber.IN_PORT)]
        builder.flow("wire", 300, where, back, kind="to ourselves", origin=origin, physical=physical)
    # That is br-int's own, and there before the other bridge has told its ports.
    again = [set_field("eth_dst", loop_mac(owner)), *to_others(PortNumber.IN_PORT, view.tag)]
    builder.flow("back", 150, match(**here, eth_dst=mac), again, kind="to ourselves", origin=origin)


def _router(builder: Builder, view: RouterView) -> None:
    if ways_out.is_outside(view.memo, view.on.name, view.name):
        for prefix in ways_out.outer_prefixes(view.memo, view.name):
            ethertype, source, _ = family(prefix.network_address)
            where = match(**view.in_space, eth_type=ethertype, **{source: prefix})
            priority = by_source(prefix, Whose.OUTER)
            builder.flow("arrived", priority, where, [ForgetConnection()], "routes", kind="outer", origin=view.origin)
    if not view.is_gateway:
        return
    outer = view.outer
    _owned(builder, outer, view.name, view.addresses(), view.longest, view.origin)
    for address in view.addresses():
        ethertype, _, field = family(address)
        mine = match(**outer.here, eth_type=ethertype, **{field: int(address)})
        if view.router.snat:
            undo = [*view.enter(), view.translate(None, builder.table("arrived"))]
            builder.flow("owned", 200, mine, undo, kind="answer to us", origin=view.origin)
        else:
            builder.flow("owned", 200, mine, view.enter(), "arrived", kind="for the router", origin=view.origin)
        builder.flow("arrived", _OWN, mine, kind="not asked for", origin=view.origin)
        for asked, actions in echo.pings():
            if asked["eth_type"] == ethertype:
                where = match(**outer.here, **asked, **{field: int(address)})
                builder.flow("arrived", _PINGS, where, actions, "back", kind="echo", origin=view.origin)
    if not view.router.snat:
        for name in view.router.networks:
            network = queries.network(view.memo, name)
            for prefix in network.cidrs if network is not None else ():
                ethertype, _, field = family(prefix.network_address)
                where = match(**outer.here, eth_dst=outer_mac(view.name), eth_type=ethertype, **{field: prefix})
                builder.flow("owned", 120, where, view.enter(), "arrived", kind="for the router", origin=view.origin)


def _floating(builder: Builder, view: FloatingView) -> None:
    outer, floating = view.router.outer, view.floating
    ethertype, _, field = family(floating.address)
    if view.router.is_gateway and not view.router.router.snat:
        # What the port answers leaves in the name of its floating IP, of which who asked by another address knows nothing.
        where = match(
            **outer.here, eth_dst=outer_mac(floating.router), eth_type=ethertype, **{field: int(floating.fixed)}
        )
        builder.flow("owned", 130, where, kind="has a floating IP", origin=view.origin)
    if not view.is_here:
        return
    _owned(builder, outer, view.name, [floating.address], view.longest, view.origin)
    where = match(**outer.here, eth_type=ethertype, **{field: int(floating.address)})
    translate = [*view.router.enter(), view.router.translate(floating.fixed, builder.table("arrived"))]
    builder.flow("owned", 200, where, translate, kind="floating IP", origin=view.origin)


def _inside(builder: Builder, view: NetworkView) -> None:
    """Write that nobody comes in by an address that the router would look for inside, or that a port there may use.

    Rules that name groups would take it for a member. A router that does not mask lets such addresses out, so another tenant's may
    well be the same.
    """
    name = queries.router_of(view.memo, view.name)
    if name is None or not ways_out.is_outside(view.memo, view.on.name, name):
        return
    origin = Origin(f"router {name}", queries.router_place(view.memo, name))
    mine = ((each, Whose.INNER) for each in ways_out.inner_prefixes(view.memo, view.name))
    for prefix, whose in (*mine, *((each, Whose.ALLOWED) for each in ways_out.allowed_prefixes(view.memo, view.name))):
        ethertype, source, _ = family(prefix.network_address)
        where = match(**{SPACE.field: SPACE.is_(view.space_key)}, eth_type=ethertype, **{source: prefix})
        builder.flow("arrived", by_source(prefix, whose), where, kind="forged source", origin=origin)
        if whose is Whose.ALLOWED:
            # Nothing leads to it inside, so it is looked for outside: whom somebody asked there answers, or tells of an error.
            answers = where + match(ct_state=(CT_TRACKED | CT_REPLY, CT_TRACKED | CT_REPLY))
            priority, forget = by_source(prefix, Whose.OUTER), [ForgetConnection()]
            builder.flow("arrived", priority, tuple(sorted(answers)), forget, "routes", kind="asked for", origin=origin)


FEATURE = Feature(
    name="arrive",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="arriving",
            stage=Stage.ARRIVE,
            slot=0,
            matches=(NETWORK.field, "eth_dst", "arp_spa", "ip_dst", "ipv6_dst", *discovery.MATCHES),
            writes=("eth_dst", QUESTION.field, TOO_LONG.field),
            next=("answering", "owned", "tell"),
            purpose="is it for a router or a floating IP that this host has, or will have when those before it are dead?",
            miss="dropped: from outside, and nobody here is meant",
        ),
        Table(
            name="answering",
            stage=Stage.ARRIVE,
            slot=1,
            matches=(),
            writes=(),
            next=("owned",),
            purpose="does this gateway hear any other host? One that is cut off leaves its addresses to another gateway",
            miss="dropped: this host is no gateway",
        ),
        Table(
            name="owned",
            stage=Stage.ARRIVE,
            slot=2,
            matches=(NETWORK.field, TOO_LONG.field, "eth_dst", *discovery.MATCHES, "ip_dst", "ipv6_src", "ipv6_dst"),
            writes=(*discovery.WRITES, SPACE.field, ZONE.field, FROM.field, QUESTION.field),
            next=("announce", "arrived", "back", "tell"),
            purpose="the destination's address -> a floating IP, or a router that may know the connection",
            miss="dropped: nobody here has such an address",
        ),
        Table(
            name="announce",
            stage=Stage.ARRIVE,
            slot=3,
            matches=discovery.MATCHES,
            writes=("nd_tll",),
            next=("back",),
            purpose="the MAC goes into a neighbour advertisement's option",
            miss="dropped: only answers come here",
        ),
        Table(
            name="arrived",
            stage=Stage.ARRIVE,
            slot=4,
            matches=(
                *(NETWORK.field, SPACE.field, "ct_state", *echo.MATCHES),
                *("ip_src", "ipv6_src", "ip_dst", "ipv6_dst"),
            ),
            writes=echo.WRITES,
            next=("back", "routes"),
            purpose="what has been translated finds its way; what nobody inside asked for, or what bears an inner source, ends here",
            miss="cannot be reached: each external network has a flow for all packets",
        ),
    ),
    kinds={
        "from outside": "a frame of an external network",
        "for us": "the MAC, or a question for an address, of a router or a floating IP; or the address, by another gateway",
        "in reserve": "the same, and another gateway has it as long as that one is alive",
        "in touch": "the host is in touch with others, or has but one to be in touch with",
        "answer": "somebody on the wire asks for an address of ours that is here",
        "neighbour heard": "an answer to what we have asked on the wire, or the gateway there tells where it is",
        "answer to us": "for the router's own address: the tracker knows who has spoken in its name",
        "for the router": "the router masks nothing: its networks are reached as they are",
        "floating IP": "what is for the floating IP is for its port",
        "has a floating IP": "an inner address that is another one outside, whoever masks: it is reached by that alone",
        "translated": "the packet has a destination inside: its way is found as if the router had got it there",
        "invalid": "no connection can have this packet",
        "not translated": "the tracker has no room for one more translation",
        "too big": "it does not fit the tunnels behind: its sender is told what does, of the packet as it was sent (RFC 1191, RFC 8201)",
        "not asked for": "nobody inside has spoken to the sender: the router's own address offers nothing",
        "asked for": "an answer, or an error, to what somebody inside has sent there, though a port may use the address",
        "outer": "an address that the router leads to by its external network",
        "forged source": "an address that the router has inside, or that a port there may use: it does not come from outside",
        "echo": "a ping of the router's own address",
        "to outside": "what leaves the fabric goes out on the wire",
        "to us": "what is for an address that this host has, or comes to have should others die",
        "to ourselves": "what one of our addresses here says to another here",
    },
    flows={
        Scope.HOST: _always,
        Scope.ROUTER: _router,
        Scope.FLOATING: _floating,
        Scope.EXTERNAL: _external,
        Scope.NETWORK: _inside,
        Scope.UNREACHED: _inside,
    },
    leaves=frozenset({"to ourselves"}),
    # Who leaves an address to another gateway keeps it until all have turned to that one.
    sends=frozenset({"answer", "to outside", "in reserve"}),
)
