"""Ledger: what was chosen for this host is kept in the switch itself, so that a new controller goes on with it."""

from __future__ import annotations

from controller.graph import queries
from controller.graph.neighbours import neighbour
from controller.model.entities import Address
from controller.model.ids import key
from controller.pipeline.flow import Note, Origin, match
from controller.pipeline.heard import Neighbour, neighbour_note
from controller.pipeline.numbers import DRAINED, moves, note, place_note, translated_note, translation
from controller.pipeline.outer import FloatingView, RouterView
from controller.pipeline.program import Builder
from controller.pipeline.registers import NETWORK, SOURCE
from controller.pipeline.tables import SLOTS, Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, NetworkView, PortView


def _numbers(builder: Builder, view: NetworkView) -> None:
    tag = view.tag if view.network.type.is_tunnel else None
    text = note(tag, view.zone, view.name, view.space, view.connections)
    # Of a network that gets another zone the switch remembers both until the connections in the first have ended.
    where = match(**{NETWORK.field: NETWORK.is_(view.key), SOURCE.field: SOURCE.is_(view.zone)})
    builder.flow("ledger", 1, where, [Note(text.encode())], kind="numbers", origin=view.origin)


def _host(builder: Builder, view: HostView) -> None:
    if queries.drained(view.memo, view.name):
        where = match(**{NETWORK.field: NETWORK.is_(key("drained", view.name))})
        origin = Origin("Weft: drained hosts", None)
        builder.flow("ledger", 1, where, [Note(DRAINED.encode())], kind="drained", origin=origin)


def _translation(builder: Builder, view: RouterView) -> None:
    zone = view.translation_zone
    if zone:
        name = translation(view.name)
        where = match(**{NETWORK.field: NETWORK.is_(key("translation", view.name))})
        text = note(None, zone, name, name, queries.connections(view.memo, view.router.tenant))
        builder.flow("ledger", 1, where, [Note(text.encode())], kind="translation", origin=view.origin)
    if zone and view.is_gateway and view.router.snat:
        for address in view.addresses():
            where = match(**{NETWORK.field: NETWORK.is_(key("translation", f"{view.name} {address}"))})
            told = [Note(translated_note(zone, address).encode())]
            builder.flow("ledger", 1, where, told, kind="translated", origin=view.origin)


def _floating(builder: Builder, view: FloatingView) -> None:
    zone = view.router.translation_zone
    if zone and view.is_here:
        where = match(**{NETWORK.field: NETWORK.is_(key("translation", view.name))})
        text = translated_note(zone, view.floating.address, view.floating.fixed)
        builder.flow("ledger", 1, where, [Note(text.encode())], kind="translated", origin=view.origin)


def _place(builder: Builder, port: PortView) -> None:
    if port.port.host is None and port.port.parent is None:
        where = match(**{SOURCE.field: SOURCE.is_(port.plug.key)})
        text = place_note(port.port.name, moves(port.network.memo, port.port.name) or 0)
        builder.flow("ledger", 1, where, [Note(text.encode())], kind="place", origin=port.origin)


def _neighbour(builder: Builder, host: HostView, network: str, address: Address) -> None:
    mac = neighbour(host.memo, network, address)
    if mac is None:
        return
    # The second key is not that of a port: it tells the neighbours of a network apart.
    which = {
        NETWORK.field: NETWORK.is_(key("network", network)),
        SOURCE.field: SOURCE.is_(key("neighbour", str(address))),
    }
    text = neighbour_note(Neighbour(network, address, mac))
    origin = Origin(f"neighbour {address} of {network}", None)
    builder.flow("ledger", 1, match(**which), [Note(text.encode())], kind="neighbour", origin=origin)


FEATURE = Feature(
    name="ledger",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="ledger",
            stage=Stage.DELIVER,
            slot=SLOTS - 1,
            matches=("reg0", "reg1"),
            writes=(),
            next=(),
            purpose="no packet comes here: its flows are notes of what was chosen for this host",
            miss="cannot be reached",
        ),
    ),
    kinds={
        "numbers": "a network's local tag, the conntrack zone of its address space, and how many connections that may hold",
        "translation": "the conntrack zone of a router's translated addresses, and how many connections it may hold",
        "translated": "for whom an address outside stands there: its connections end when that changes",
        "neighbour": "the MAC of a host that no file names, as it was heard last",
        "drained": "the host leads routers out only if nobody else can",
        "place": "a port without `host:` that is here: of two hosts that claim it, the one that had it before",
    },
    flows={
        Scope.HOST: _host,
        Scope.NETWORK: _numbers,
        Scope.PORT: _place,
        Scope.NEIGHBOUR: _neighbour,
        Scope.ROUTER: _translation,
        Scope.FLOATING: _floating,
    },
)
