"""Handover: what is for a network that this host is not wired to goes unrouted, in the sender's own network, to a host that is.

That host routes it. Where the address is a port's, it is the port's own host; for all others on the wire it is a proxy.
"""

from __future__ import annotations

from controller.graph import queries
from controller.model.address import wire_mac
from controller.pipeline.features.router import family, look_at
from controller.pipeline.features.tunnels import to_host
from controller.pipeline.fields import ETH_IPV4, ETH_IPV6
from controller.pipeline.flow import Action, Origin, Resubmit, Wanted, match, set_field
from controller.pipeline.handed import Placed, at_host, beyond_wire, led_out_by, speakers, takers, takes
from controller.pipeline.outer import family as fields_of
from controller.pipeline.outer import write_choice
from controller.pipeline.program import Builder
from controller.pipeline.questions import Question
from controller.pipeline.registers import FROM, FROM_PORT, NETWORK, QUESTION, SCRATCH
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, NetworkView


def _always(builder: Builder, _host: HostView) -> None:
    ours = Origin("Weft: networks beyond", None)
    builder.flow("beyond", 0, (), goto="handover", kind="not placed", origin=ours)
    told = [QUESTION.load(Question.NO_ROUTE)]
    builder.flow("handover", 0, (), told, "tell", kind="no wire", origin=ours)


def _address(builder: Builder, network: str, placed: Placed) -> None:
    """Write where an address of a network is, for hosts that are not wired to the network."""
    ethertype, field = family(placed.address)
    where = match(
        **{SCRATCH.field: SCRATCH.is_(beyond_wire(network))}, eth_type=ethertype, **{field: int(placed.address)}
    )
    port = queries.port(builder.memo, placed.owner)
    origin = Origin(f"port {placed.owner}", None if port is None else port.place)
    load = [SCRATCH.load(at_host(placed.host))]
    builder.flow("beyond", 100, where, load, "handover", kind="placed", origin=origin)


def _network(builder: Builder, view: NetworkView) -> None:
    """Write to whom a network's packets are handed over, and that they are taken."""
    name = queries.router_of(view.memo, view.name)
    if name is None:
        return
    origin = Origin(f"router {name}", queries.router_place(view.memo, name))
    if takes(view.memo, view.on.name, view.name) and view.on.name not in queries.gateways(view.memo, name):
        _take(builder, view, origin)
    hosts, led = takers(view.memo, view.on.name, view.name), led_out_by(view)
    for other in hosts:
        if other not in led:
            # What br-tun is to hold does not wait for the ports of br-int.
            to_host(builder, view, wire_mac(view.name, other), other, "by the wired host", origin)
    if not hosts or view.way_out() is None:
        return
    mine = {NETWORK.field: NETWORK.is_(view.key), FROM.field: FROM.is_(FROM_PORT)}
    for other in hosts:
        mac = wire_mac(view.name, other)
        enter = [set_field("eth_dst", mac), SCRATCH.load(0)]
        where = match(**mine, **{SCRATCH.field: SCRATCH.is_(at_host(other))})
        builder.flow("handover", 100, where, enter, Stage.FORWARD, kind="handed over", origin=origin)
        if other not in led:
            # To those that lead out, there is a way already (`controller.pipeline.features.gateway`).
            where = match(**mine, eth_dst=mac)
            builder.flow("forward", 200, where, goto="leave", kind="to the wired host", origin=origin)
    for beyond in queries.beyond(view.memo, view.name):
        if not queries.is_carried(view.memo, view.on.name, beyond):
            _by_proxy(builder, view, beyond, origin)


def _by_proxy(builder: Builder, view: NetworkView, beyond: str, origin: Origin) -> None:
    """Write to whom goes what is for addresses of which nobody knows where they are."""
    proxies = queries.proxies(view.memo, beyond, view.name)
    if not proxies:
        return
    mine = {NETWORK.field: NETWORK.is_(view.key), FROM.field: FROM.is_(FROM_PORT)}
    where = match(**mine, **{SCRATCH.field: SCRATCH.is_(beyond_wire(beyond))})
    if view.on.liveness(proxies[0]) is None:
        enter = [set_field("eth_dst", wire_mac(view.name, proxies[0])), SCRATCH.load(0)]
        builder.flow("handover", 100, where, enter, Stage.FORWARD, kind="handed over", origin=origin)
        return
    forward = Resubmit(builder.table("forward"))
    ways: list[tuple[str, list[Action]]] = [
        (other, [set_field("eth_dst", wire_mac(view.name, other)), forward]) for other in proxies
    ]
    choice = write_choice(builder, view.on, f"{view.name} beyond {beyond}", ways, [], origin)
    builder.flow("handover", 100, where, [SCRATCH.load(0), choice], kind="handed over", origin=origin)


def _take(builder: Builder, view: NetworkView, origin: Origin) -> None:
    """Write that what others hand over is routed here."""
    allowed = speakers(view)
    here: dict[str, Wanted] = {NETWORK.field: NETWORK.is_(view.key), "eth_dst": wire_mac(view.name, view.on.name)}
    for ethertype in (ETH_IPV4, ETH_IPV6):
        look = look_at(view, ethertype)
        if allowed is None:
            where = match(**here, eth_type=ethertype)
            builder.flow("router", 100, where, look, "routes", kind="for the wired host", origin=origin)
            continue
        builder.flow("router", 90, match(**here, eth_type=ethertype), kind="forged source", origin=origin)
        for prefix in allowed:
            version, source, _ = fields_of(prefix.network_address)
            if version == ethertype:
                where = match(**here, eth_type=ethertype, **{source: prefix})
                builder.flow("router", 100, where, look, "routes", kind="for the wired host", origin=origin)


FEATURE = Feature(
    name="handover",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="beyond",
            stage=Stage.ROUTE,
            slot=4,
            matches=(SCRATCH.field, "eth_type", "ip_dst", "ipv6_dst"),
            writes=(SCRATCH.field,),
            next=("handover",),
            purpose="a network that the host is not wired to, and an address there -> the host of the port that has it",
            miss="cannot be reached: the last flow lets proxies have the rest",
        ),
        Table(
            name="handover",
            stage=Stage.ROUTE,
            slot=5,
            matches=(NETWORK.field, FROM.field, SCRATCH.field),
            writes=("eth_dst", SCRATCH.field, QUESTION.field),
            next=(Stage.FORWARD, "tell"),
            purpose="the sender's network and the host that routes for it -> the MAC that stands for the router there",
            miss="cannot be reached: of what nobody takes, the sender is told",
        ),
    ),
    kinds={
        "placed": "the address of a port: its own host routes what is for it",
        "not placed": "a proxy has what is for all other addresses",
        "handed over": "a host that is wired to the network routes in this one's place; the packet stays as it was sent",
        "to the wired host": "the way to that host",
        "by the wired host": "the tunnel to that host",
        "for the wired host": "another host has sent it here because this one is wired to the network that it is for",
        "forged source": "an address that the network's own ports do not have, on a wire or from a VTEP that is not ours",
        "no wire": "packets of the sender's network do not get to any host that is wired to the other: the sender is told",
    },
    flows={Scope.HOST: _always, Scope.PLACED: _address, Scope.NETWORK: _network},
    sends=frozenset({"by the wired host"}),
    leaves=frozenset({"placed", "handed over", "to the wired host"}),
)
