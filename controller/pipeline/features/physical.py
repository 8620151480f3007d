"""Physical networks: br-PHYSNET lets only the VLANs of known networks pass between br-int and the wire.

The bridge may carry the host's own traffic as well, so it goes on learning (`NORMAL`) among its other ports: what
reaches br-int is judged there.
"""

from __future__ import annotations

from controller.graph import queries
from controller.model.entities import NetworkType, Place
from controller.model.names import patch_from_physical, physical_bridge
from controller.pipeline.fields import VLAN_MASK, VLAN_PRESENT
from controller.pipeline.flow import Origin, Output, PortNumber, match
from controller.pipeline.program import Builder
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, NetworkView


def _wires(builder: Builder, view: HostView) -> None:
    for name in queries.physical_networks_of(view.memo, view.name):
        ours = Origin(f"physical network {name}", _place(view, name))
        switch = [Output(PortNumber.NORMAL)]
        builder.flow("wire", 0, (), switch, kind="the wire", origin=ours, physical=name)
        inside = _inside(view, name)
        if inside is not None:
            builder.flow("wire", 100, match(in_port=inside), kind="strange tag", origin=ours, physical=name)


def _known(builder: Builder, view: NetworkView) -> None:
    network = view.network
    name = network.physical_network
    inside = None if name is None else _inside(view.on, name)
    if inside is not None:
        tag = VLAN_PRESENT | (network.segment or 0) if network.type is NetworkType.VLAN else 0
        where = match(in_port=inside, vlan_tci=(tag, VLAN_MASK))
        switch = [Output(PortNumber.NORMAL)]
        builder.flow("wire", 200, where, switch, kind="known network", origin=view.origin, physical=name)


def _inside(view: HostView, physical: str) -> int | None:
    """Return the number of the patch port to br-int."""
    return view.number(physical_bridge(physical), patch_from_physical(physical))


def _place(view: HostView, physical: str) -> Place | None:
    found = queries.physical_network(view.memo, physical)
    return None if found is None else found.place


FEATURE = Feature(
    name="physical",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="wire",
            stage=Stage.PHYSICAL_CLASSIFY,
            slot=0,
            matches=("in_port", "vlan_tci", "eth_dst"),
            writes=("eth_dst",),
            next=(),
            purpose="what comes from br-int must carry the tag of a network that the host has",
            miss="cannot be reached: the last flow switches the rest",
        ),
    ),
    kinds={
        "known network": "a flat or VLAN network of this host goes out on the wire",
        "strange tag": "nothing else leaves br-int",
        "the wire": "what comes from elsewhere is switched as on any bridge",
    },
    flows={Scope.HOST: _wires, Scope.NETWORK: _known},
    sends=frozenset({"known network"}),
)
