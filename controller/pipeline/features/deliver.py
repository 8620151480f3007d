"""Deliver: an allowed new connection is kept, and the packet leaves through its port or ports."""

from __future__ import annotations

from collections.abc import Iterable

from controller.pipeline.features.forward import EVERYONE, OPEN, of_mac, set_key, to_others
from controller.pipeline.fields import BY_NAME, VLAN_PRESENT
from controller.pipeline.flow import Action, Origin, Output, OutputField, PopVlan, match
from controller.pipeline.program import Builder
from controller.pipeline.registers import SET_OF_PORTS, TARGET
from controller.pipeline.sides import OURS
from controller.pipeline.stamps import COMMIT_KINDS, COMMIT_MATCHES, COMMIT_WRITES, write_commits
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, NetworkView, Plug


def _always(builder: Builder, _host: HostView) -> None:
    """Write the commit, and the output to a single port."""
    write_commits(builder, "commit", "output")
    builder.flow("commit", 0, (), goto="output", kind="nothing to keep", origin=OURS)
    where = match(**{TARGET.field: (0, SET_OF_PORTS)})
    number = [OutputField(BY_NAME[TARGET.field].index)]
    builder.flow("output", 100, where, number, kind="one port", origin=Origin("Weft: local ports", None))


def _floods(builder: Builder, view: NetworkView) -> None:
    _copies(builder, view, EVERYONE, view.plugs)
    _copies(builder, view, OPEN, [each for each in view.plugs if each.is_open])


def _shared_mac(builder: Builder, view: NetworkView, mac: int) -> None:
    claimants = view.claimants(mac)
    if len(claimants) > 1:
        _copies(builder, view, of_mac(mac), view.plugged(claimants))


def _copies(builder: Builder, view: NetworkView, name: str, members: Iterable[Plug]) -> None:
    """Write the outputs of a set of ports, one flow per class: the class has been judged by then."""
    by_class: dict[int, list[Plug]] = {}
    for each in members:
        by_class.setdefault(each.class_key, []).append(each)
    for found, plugs in by_class.items():
        where = match(**{TARGET.field: TARGET.is_(set_key(view, name, found))})
        # The copies for subports come last: each has its tag, which the next one must not have.
        copies = [copy for each in sorted(plugs, key=lambda plug: plug.target) for copy in _copy(each)]
        builder.flow("output", 100, where, copies, kind="several ports", origin=view.origin)


def _copy(plug: Plug) -> list[Action]:
    return [*to_others(plug.number, VLAN_PRESENT | plug.vlan), PopVlan()] if plug.vlan else [Output(plug.number)]


FEATURE = Feature(
    name="deliver",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="commit",
            stage=Stage.DELIVER,
            slot=0,
            matches=COMMIT_MATCHES,
            writes=COMMIT_WRITES,
            next=("kept", "output"),
            purpose="a new connection that both sides allow is kept, with the stamps of their policies",
            miss="cannot be reached",
        ),
        Table(
            name="output",
            stage=Stage.DELIVER,
            slot=2,
            matches=("in_port", "reg1", "reg2"),
            writes=("vlan_tci",),
            next=(),
            purpose="the target becomes an output; Open vSwitch never sends a packet back out of its own port",
            miss="dropped: the ports have gone",
        ),
    ),
    kinds={
        **COMMIT_KINDS,
        "nothing to keep": "everything else goes straight out",
        "one port": "the port that the destination MAC belongs to; the target is its number",
        "several ports": "the ports of one class that get copies, subports with their tags",
    },
    flows={Scope.HOST: _always, Scope.NETWORK: _floods, Scope.MAC: _shared_mac},
    copies=frozenset({"several ports"}),
)
