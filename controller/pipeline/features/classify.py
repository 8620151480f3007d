"""Classify: where a packet comes from becomes registers; what no file names ends here."""

from __future__ import annotations

from controller.model.entities import NetworkType
from controller.model.names import PATCH_TO_TUNNEL, patch_to_physical
from controller.pipeline.fields import VLAN_MASK, VLAN_PRESENT
from controller.pipeline.flow import Action, Origin, PopVlan, match
from controller.pipeline.program import Builder
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
from controller.pipeline.tables import Feature, Stage, Table
from controller.pipeline.view import NetworkFacts, network_origin

_MULTICAST = (1 << 40, 1 << 40)
_UNTAGGED = (0, VLAN_MASK)


def compile_flows(builder: Builder) -> None:
    """Write the flows that tell where packets come from."""
    view = builder.view
    builder.flow("classify", 200, match(eth_src=_MULTICAST), kind="group source", origin=Origin("Weft: Ethernet", None))
    for port in view.ports:
        load = [
            *_network(builder, port.network),
            SOURCE.load(port.key),
            *([SOURCE_CLASS.load(port.class_key)] if port.class_key else []),
        ]
        guarded = Stage.SOURCE_GUARD if port.port.port_security else Stage.RESPOND
        where = match(in_port=port.number, vlan_tci=_UNTAGGED)
        builder.flow("classify", 100, where, load, guarded, kind="local port", origin=port.origin)
    bridge = view.host.integration_bridge
    for facts in view.networks:
        kind = facts.network.type
        if kind.is_tunnel and (number := view.number(bridge, PATCH_TO_TUNNEL)) is not None:
            tag = VLAN_PRESENT | view.tags[facts.network.name]
            _from_elsewhere(builder, facts, number, tag, FROM_TUNNEL, "from a tunnel")
        if kind.is_provider and facts.network.physical_network is not None:
            number = view.number(bridge, patch_to_physical(facts.network.physical_network))
            tag = VLAN_PRESENT | (facts.network.segment or 0) if kind is NetworkType.VLAN else 0
            if number is not None:
                _from_elsewhere(builder, facts, number, tag, FROM_PHYSICAL, "from a physical network")


def _from_elsewhere(builder: Builder, facts: NetworkFacts, number: int, tag: int, source: int, kind: str) -> None:
    """Write the flow for a network's packets that arrive through a patch port, tagged or (tag 0) not."""
    load: list[Action] = [PopVlan()] if tag else []
    load += [*_network(builder, facts), FROM.load(source)]
    where = match(in_port=number, vlan_tci=(tag, VLAN_MASK))
    builder.flow("classify", 100, where, load, Stage.EGRESS_POLICY, kind=kind, origin=network_origin(facts))


def _network(builder: Builder, facts: NetworkFacts) -> list[Action]:
    return [NETWORK.load(facts.key), SPACE.load(facts.space_key), ZONE.load(builder.view.zone(facts))]


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
            next=(Stage.SOURCE_GUARD, Stage.RESPOND, Stage.EGRESS_POLICY),
            purpose="in_port and tag -> network, address space, zone, source port and class",
            miss="dropped: no file names the port, or the frame carries a tag that it should not",
        ),
    ),
    kinds={
        "group source": "a frame whose source is a group address is nobody's",
        "local port": "an untagged frame of a port that a file names; without port security the guard is passed over",
        "from a tunnel": "a frame that br-tun took from a known VTEP",
        "from a physical network": "a frame of a flat or VLAN network that came in from the wire",
    },
    compile=compile_flows,
)
