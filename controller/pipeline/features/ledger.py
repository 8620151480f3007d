"""Ledger: the numbers that were chosen for this host, kept in the switch itself, so that a new controller goes on with them."""

from __future__ import annotations

from controller.pipeline.flow import Note, match
from controller.pipeline.numbers import note
from controller.pipeline.program import Builder
from controller.pipeline.registers import NETWORK
from controller.pipeline.tables import SLOTS, Feature, Scope, Stage, Table
from controller.pipeline.view import NetworkView


def _numbers(builder: Builder, view: NetworkView) -> None:
    tag = view.tag if view.network.type.is_tunnel else None
    text = note(tag, view.zone, view.name, view.space)
    where = match(**{NETWORK.field: NETWORK.is_(view.key)})
    builder.flow("ledger", 1, where, [Note(text.encode())], kind="numbers", origin=view.origin)


FEATURE = Feature(
    name="ledger",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="ledger",
            stage=Stage.DELIVER,
            slot=SLOTS - 1,
            matches=("reg0",),
            writes=(),
            next=(),
            purpose="no packet comes here: its flows are notes of the tag and the zone that a network has on this host",
            miss="cannot be reached",
        ),
    ),
    kinds={"numbers": "a network's local tag, and the conntrack zone of its address space"},
    flows={Scope.NETWORK: _numbers},
)
