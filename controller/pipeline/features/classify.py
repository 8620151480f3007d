"""Classify: where a packet comes from becomes registers; what no file names ends here."""

from __future__ import annotations

from controller.model.entities import NetworkType
from controller.model.names import PATCH_TO_TUNNEL, patch_to_physical
from controller.pipeline.fields import VLAN_MASK, VLAN_PRESENT
from controller.pipeline.flow import Action, Origin, PopVlan, Wanted, match
from controller.pipeline.program import Builder
from controller.pipeline.reasons import SIGN_OF_LIFE
from controller.pipeline.registers import (
    FROM,
    FROM_PHYSICAL,
    FROM_TUNNEL,
    NETWORK,
    SOURCE,
    SOURCE_CLASS,
    SPACE,
    ZONE,
)
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, NetworkView, PortView, macs_of

_MULTICAST = (1 << 40, 1 << 40)
_UNTAGGED = (0, VLAN_MASK)


def _always(builder: Builder, host: HostView) -> None:
    ours = Origin("Weft: Ethernet", None)
    builder.flow("classify", 200, match(eth_src=_MULTICAST), kind="group source", origin=ours)
    # The switch itself hears them, and counts them here all the same: among what is dropped they would hide everything else.
    for number in host.heard():
        signs = Origin("Weft: signs of life", None)
        builder.flow("classify", 5, match(in_port=number), kind=SIGN_OF_LIFE, origin=signs)


def sender(port: PortView) -> list[Action]:
    """Return the actions that note who has sent a packet."""
    return [
        *_network(port.network),
        SOURCE.load(port.plug.key),
        *([SOURCE_CLASS.load(port.plug.class_key)] if port.plug.class_key else []),
    ]


def _port(builder: Builder, port: PortView) -> None:
    if port.port.vlan is not None:
        return  # Frames of subports are told in `trunk`.
    load = sender(port)
    here: dict[str, Wanted] = {"in_port": port.plug.number, "vlan_tci": _UNTAGGED}
    forged = match(in_port=port.plug.number)
    builder.flow("classify", 10, forged, kind="forged MAC", origin=port.origin)
    if port.plug.is_open:
        # Above the flows of its MACs: a port that loses its guard has lost it when this comes, not when they go.
        builder.flow("classify", 110, match(**here), load, Stage.RESPOND, kind="open port", origin=port.origin)
        return
    for mac in macs_of(port.port):
        where = match(**here, eth_src=mac)
        builder.flow("classify", 100, where, load, Stage.SOURCE_GUARD, kind="local port", origin=port.origin)


def _from_elsewhere(builder: Builder, view: NetworkView) -> None:
    """Write the flow for a network's packets that arrive through a patch port, tagged or (tag 0) not."""
    network, bridge = view.network, view.on.host.integration_bridge
    if network.type.is_tunnel:
        number, tag = view.on.number(bridge, PATCH_TO_TUNNEL), VLAN_PRESENT | view.tag
        source, kind = FROM_TUNNEL, "from a tunnel"
    elif network.physical_network is not None:
        number = view.on.number(bridge, patch_to_physical(network.physical_network))
        tag = VLAN_PRESENT | (network.segment or 0) if network.type is NetworkType.VLAN else 0
        source, kind = FROM_PHYSICAL, "from a physical network"
    else:
        return
    if number is None:
        return
    load: list[Action] = [PopVlan()] if tag else []
    load += [*_network(view), FROM.load(source)]
    where = match(in_port=number, vlan_tci=(tag, VLAN_MASK))
    builder.flow("classify", 100, where, load, Stage.EGRESS_POLICY, kind=kind, origin=view.origin)


def _network(view: NetworkView) -> list[Action]:
    return [NETWORK.load(view.key), SPACE.load(view.space_key), ZONE.load(view.zone)]


FEATURE = Feature(
    name="classify",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="classify",
            stage=Stage.CLASSIFY,
            slot=0,
            matches=("in_port", "vlan_tci", "eth_src"),
            writes=("reg0", "reg1", "reg3", "reg4", "reg6"),
            next=(Stage.SOURCE_GUARD, Stage.RESPOND, Stage.EGRESS_POLICY, Stage.ARRIVE, "untagged"),
            purpose="in_port, tag and source MAC -> network, address space, zone, source port and class",
            miss="dropped: from a port or of a network that no file names",
        ),
    ),
    kinds={
        "group source": "a frame whose source is a group address is nobody's",
        SIGN_OF_LIFE: "what comes by a port that tells whether another host is alive goes no further",
        "local port": "an untagged frame of a port that a file names, from a MAC of the port",
        "open port": "an untagged frame of a port without port security, from any MAC; the guard is passed over",
        "forged MAC": "a frame with a MAC that is not the port's, or with a tag that is no subport's",
        "from a tunnel": "a frame that br-tun took from a known VTEP",
        "from a physical network": "a frame of a flat or VLAN network that came in from the wire",
    },
    flows={Scope.HOST: _always, Scope.PORT: _port, Scope.NETWORK: _from_elsewhere},
)
