"""Physical networks: br-PHYSNET lets only the VLANs of known networks pass between br-int and the wire.

The bridge may carry the host's own traffic as well, so it goes on learning (`NORMAL`) among its other ports: what
reaches br-int is judged there.
"""

from __future__ import annotations

from controller.model.entities import NetworkType
from controller.model.names import patch_from_physical, physical_bridge
from controller.pipeline.fields import VLAN_MASK, VLAN_PRESENT
from controller.pipeline.flow import Origin, Output, PortNumber, match
from controller.pipeline.program import Builder
from controller.pipeline.tables import Feature, Stage, Table
from controller.pipeline.view import network_origin


def compile_flows(builder: Builder) -> None:
    """Write the flows of each physical network's bridge."""
    view = builder.view
    for name in builder.physical_networks:
        inside = view.number(physical_bridge(name), patch_from_physical(name))
        ours = Origin(f"physical network {name}", view.fabric.topology.physical_networks[name].place)
        switch = [Output(PortNumber.NORMAL)]
        builder.flow("wire", 0, (), switch, kind="the wire", origin=ours, physical=name)
        if inside is None:
            continue
        builder.flow("wire", 100, match(in_port=inside), kind="strange tag", origin=ours, physical=name)
        for facts in view.networks:
            if facts.network.physical_network == name:
                tagged = facts.network.type is NetworkType.VLAN
                tag = VLAN_PRESENT | (facts.network.segment or 0) if tagged else 0
                where = match(in_port=inside, vlan_tci=(tag, VLAN_MASK))
                origin = network_origin(facts)
                builder.flow("wire", 200, where, switch, kind="known network", origin=origin, physical=name)


FEATURE = Feature(
    name="physical",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="wire",
            stage=Stage.PHYSICAL_CLASSIFY,
            slot=0,
            matches=("in_port", "vlan_tci"),
            writes=(),
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
    compile=compile_flows,
)
