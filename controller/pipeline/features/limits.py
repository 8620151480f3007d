"""Limits: where a tenant's connections are limited, a new one that the tracker has not kept goes no further.

How many are kept, the tracker is told on each host (`weft host limits`). What it does beyond is up to the datapath: the kernel's
drops the packet, the userspace one lets it go on without an entry. Here it ends either way.
"""

from __future__ import annotations

from controller.pipeline.features.forward import leave_by
from controller.pipeline.fields import CT_NEW, CT_TRACKED, ETH_IPV4, ETH_IPV6
from controller.pipeline.flow import Match, match
from controller.pipeline.program import Builder
from controller.pipeline.registers import FROM, FROM_PORT, LATER, NETWORK
from controller.pipeline.stamps import bears_zone, keep_and_see
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import NetworkView


def _network(builder: Builder, view: NetworkView) -> None:
    if view.connections is None:
        return
    where = match(**{NETWORK.field: NETWORK.is_(view.key)}, **bears_zone(view.zone))
    builder.flow("kept", 100, where, goto="output", kind="kept", origin=view.origin)
    way = view.way_out()
    if way is not None:
        builder.flow("kept_out", 100, where, leave_by(view, *way), kind="kept, way out", origin=view.origin)
    for ethertype in (ETH_IPV4, ETH_IPV6):
        # Below the flow of later fragments, which belong to their first.
        see = [keep_and_see(builder.table("kept"))]
        builder.flow("commit", 105, _new(view, ethertype), see, kind="limited", origin=view.origin)
        if way is not None:
            leaving = _new(view, ethertype, (FROM.is_(FROM_PORT)[0] | LATER.is_(0)[0], FROM.mask | LATER.mask))
            see = [keep_and_see(builder.table("kept_out"))]
            builder.flow("depart", 105, leaving, see, kind="limited, way out", origin=view.origin)


def _new(view: NetworkView, ethertype: int, source: tuple[int, int] | None = None) -> Match:
    new = CT_TRACKED | CT_NEW
    more = {} if source is None else {FROM.field: source}
    return match(**{NETWORK.field: NETWORK.is_(view.key)}, **more, eth_type=ethertype, ct_state=(new, new))


_OVER = "dropped: its address space has as many connections on this host as its tenant may have"

FEATURE = Feature(
    name="limits",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="kept_out",
            stage=Stage.FORWARD,
            slot=4,
            matches=(NETWORK.field, "ct_label"),
            writes=("vlan_tci",),
            next=(),
            purpose="has the tracker kept a connection that leaves the host, where connections are limited?",
            miss=_OVER,
        ),
        Table(
            name="kept",
            stage=Stage.DELIVER,
            slot=1,
            matches=(NETWORK.field, "ct_label"),
            writes=(),
            next=("output",),
            purpose="has the tracker kept a connection that a port here gets, where connections are limited?",
            miss=_OVER,
        ),
    ),
    kinds={
        "limited": "the connection is kept if there is room, and the packet goes on where that is seen",
        "limited, way out": "likewise for one that leaves the host",
        "kept": "the entry bears the mark that it was to be given: there is one",
        "kept, way out": "likewise; the patch port that leads out, with the network's tag",
    },
    flows={Scope.NETWORK: _network},
    leaves=frozenset({"limited, way out", "kept, way out"}),
)
