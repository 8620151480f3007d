"""Trunk: frames with the tag of a subport are that subport's, and what a subport gets leaves with its tag.

Within br-int a subport is a port like any other: its frames are untagged there, and its parent's interface is known by where they
come from and by `TARGET`, which holds the tag above the interface's number. Open vSwitch sends no packet out of the port that it came
from unless it is told to. What is routed from one network of a trunk to another has to go there; what a subport sends to itself has not.
"""

from __future__ import annotations

from controller.pipeline.features.classify import sender
from controller.pipeline.features.forward import to_others
from controller.pipeline.fields import ETH_QINQ, ETH_VLAN, VLAN_MASK, VLAN_PRESENT
from controller.pipeline.flow import Origin, Output, PopVlan, PortNumber, Wanted, match
from controller.pipeline.program import Builder
from controller.pipeline.registers import NETWORK, NO_CLASS, SOURCE, SOURCE_CLASS, TARGET
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, PortView, macs_of

_OURS = Origin("Weft: trunks", None)


def _always(builder: Builder, _host: HostView) -> None:
    """Write that a frame has one tag at most, and how answers go back."""
    # Open vSwitch tells a tag behind the first one as a tag or, by default, as the ethertype of what follows.
    for second in (
        match(vlan_tci=(VLAN_PRESENT, VLAN_PRESENT)),
        match(eth_type=ETH_VLAN),
        match(eth_type=ETH_QINQ),
    ):
        builder.flow("untagged", 200, second, kind="second tag", origin=_OURS)
    free = match(**{SOURCE_CLASS.field: SOURCE_CLASS.is_(NO_CLASS)})
    builder.flow("untagged", 100, free, goto=Stage.RESPOND, kind="open subport", origin=_OURS)
    builder.flow("untagged", 0, (), goto=Stage.SOURCE_GUARD, kind="guarded subport", origin=_OURS)
    builder.flow("back", 0, (), [Output(PortNumber.IN_PORT)], kind="answer", origin=_OURS)


def _port(builder: Builder, port: PortView) -> None:
    if port.port.vlan is not None:
        _from_subport(builder, port)
        _to_subport(builder, port)


def _from_subport(builder: Builder, port: PortView) -> None:
    """Write which frames are a subport's."""
    plug = port.plug
    here: dict[str, Wanted] = {"in_port": plug.number, "vlan_tci": (_tag(port), VLAN_MASK)}
    load = [PopVlan(), *sender(port)]
    if plug.is_open:
        builder.flow("classify", 110, match(**here), load, "untagged", kind="subport", origin=port.origin)
        return
    for mac in macs_of(port.port):
        where = match(**here, eth_src=mac)
        builder.flow("classify", 100, where, load, "untagged", kind="subport", origin=port.origin)
    builder.flow("classify", 20, match(**here), kind="forged MAC", origin=port.origin)


def _to_subport(builder: Builder, port: PortView) -> None:
    """Write how a subport gets what is for it alone, and its answers."""
    plug, origin = port.plug, port.origin
    sent_by_it: dict[str, Wanted] = {SOURCE.field: SOURCE.is_(plug.key)}
    for_it: dict[str, Wanted] = {TARGET.field: TARGET.is_(plug.target)}
    to_it, back = to_others(plug.number, _tag(port)), to_others(PortNumber.IN_PORT, _tag(port))
    builder.flow("output", 130, match(**sent_by_it, **for_it), kind="to itself", origin=origin)
    same_trunk = match(**for_it, in_port=plug.number)
    builder.flow("output", 120, same_trunk, back, kind="within the trunk", origin=origin)
    builder.flow("output", 110, match(**for_it), to_it, kind="to a subport", origin=origin)
    to_parent = match(**sent_by_it, **{TARGET.field: TARGET.is_(plug.number)})
    builder.flow("output", 120, to_parent, [Output(PortNumber.IN_PORT)], kind="within the trunk", origin=origin)
    builder.flow("back", 100, match(**sent_by_it), back, kind="answer to a subport", origin=origin)


def _tag(port: PortView) -> int:
    return VLAN_PRESENT | port.plug.vlan


FEATURE = Feature(
    name="trunk",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="untagged",
            stage=Stage.CLASSIFY,
            slot=1,
            matches=("vlan_tci", "eth_type", SOURCE_CLASS.field),
            writes=(),
            next=(Stage.SOURCE_GUARD, Stage.RESPOND),
            purpose="a subport's tag was the only one",
            miss="cannot be reached: the last flow lets everything else go on",
        ),
        Table(
            name="back",
            stage=Stage.DELIVER,
            slot=3,
            matches=(SOURCE.field, NETWORK.field, "eth_dst"),
            writes=("vlan_tci", "eth_dst"),
            next=(),
            purpose="an answer leaves by the port that the question came from, with the tag of the subport that asked",
            miss="cannot be reached: the last flow sends everything else back",
        ),
    ),
    kinds={
        "subport": "a frame with the tag of a subport, from a MAC of it; without port security, from any MAC",
        "forged MAC": "a frame with the tag of a subport and a MAC that is not the subport's",
        "second tag": "behind a subport's tag there is another one, which would be taken for a tag of its receiver's",
        "guarded subport": "the guard looks at the subport's addresses",
        "open subport": "the guard is passed over without port security",
        "to itself": "what a subport sends to its own MAC",
        "within the trunk": "what was routed from one network of a trunk to another goes back by the same interface",
        "to a subport": "the subport that the destination MAC belongs to gets it with its tag, by its parent's interface",
        "answer": "what Weft answers in somebody's place",
        "answer to a subport": "the same for a subport, with its tag",
    },
    flows={Scope.HOST: _always, Scope.PORT: _port},
)
