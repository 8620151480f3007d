"""Ledger: what was chosen for this host is kept in the switch itself, so that a new controller goes on with it."""

from __future__ import annotations

from controller.pipeline.flow import Note, match
from controller.pipeline.numbers import note, place_note
from controller.pipeline.program import Builder
from controller.pipeline.registers import NETWORK, SOURCE
from controller.pipeline.tables import SLOTS, Feature, Scope, Stage, Table
from controller.pipeline.view import NetworkView, PortView


def _numbers(builder: Builder, view: NetworkView) -> None:
    tag = view.tag if view.network.type.is_tunnel else None
    text = note(tag, view.zone, view.name, view.space, view.connections)
    where = match(**{NETWORK.field: NETWORK.is_(view.key)})
    builder.flow("ledger", 1, where, [Note(text.encode())], kind="numbers", origin=view.origin)


def _place(builder: Builder, port: PortView) -> None:
    if port.port.host is None and port.port.parent is None:
        where = match(**{SOURCE.field: SOURCE.is_(port.plug.key)})
        text = place_note(port.port.name)
        builder.flow("ledger", 1, where, [Note(text.encode())], kind="place", origin=port.origin)


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
        "place": "a port without `host:` that is here: of two hosts that claim it, the one that had it before",
    },
    flows={Scope.NETWORK: _numbers, Scope.PORT: _place},
)
