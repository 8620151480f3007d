"""Tunnels: br-tun turns tags into keys and MACs into VTEPs, and back, for VTEPs that the files name.

Nothing goes from one tunnel to another (split horizon): what comes from a tunnel goes to br-int only.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from controller.model.entities import TUNNEL_TYPES, Address, Host
from controller.model.names import PATCH_TO_INTEGRATION, tunnel_port
from controller.pipeline.fields import VLAN_MASK, VLAN_PRESENT
from controller.pipeline.flow import Action, Origin, Output, PopVlan, PushVlan, match, set_field
from controller.pipeline.program import Builder
from controller.pipeline.tables import Feature, Stage, Table
from controller.pipeline.view import NetworkFacts, network_origin

_MULTICAST = (1 << 40, 1 << 40)


def compile_flows(builder: Builder) -> None:
    """Write br-tun's flows for every tunnel network that the host has."""
    view = builder.view
    bridge = view.host.tunnel_bridge
    inside = view.number(bridge, PATCH_TO_INTEGRATION)
    if inside is None:
        return
    ours = Origin("Weft: tunnels", None)
    builder.flow("sort", 100, match(in_port=inside), goto=Stage.TO_TUNNEL, kind="from br-int", origin=ours)
    for kind in TUNNEL_TYPES:
        number = view.number(bridge, tunnel_port(kind))
        if number is not None:
            builder.flow("sort", 100, match(in_port=number), goto=Stage.FROM_TUNNEL, kind="from a VTEP", origin=ours)
    for facts in view.networks:
        if facts.network.type.is_tunnel and facts.network.segment is not None:
            number = view.number(bridge, tunnel_port(facts.network.type))
            if number is not None:
                _write_receive(builder, facts, facts.network.segment, number, inside)
                _write_send(builder, facts, facts.network.segment, number)


def _write_receive(builder: Builder, facts: NetworkFacts, segment: int, number: int, inside: int) -> None:
    tag = VLAN_PRESENT | builder.view.tags[facts.network.name]
    enter: list[Action] = [PushVlan(), set_field("vlan_tci", tag), Output(inside)]
    for peer in builder.view.tunnel_peers(facts):
        field = "tun_src" if isinstance(peer.tunnel_ip, IPv4Address) else "tun_ipv6_src"
        # A tag inside the tunnel would come out as a tag of ours once br-int has taken its own off.
        where = match(in_port=number, tun_id=segment, vlan_tci=(0, VLAN_MASK), **{field: int(peer.tunnel_ip)})
        builder.flow("from_tunnel", 100, where, enter, kind="known VTEP", origin=network_origin(facts))


def _write_send(builder: Builder, facts: NetworkFacts, segment: int, number: int) -> None:
    view = builder.view
    hosts = view.fabric.topology.hosts
    tag = VLAN_PRESENT | view.tags[facts.network.name]
    origin = network_origin(facts)

    def send(targets: Iterable[Host]) -> list[Action]:
        copies: list[Action] = [PopVlan()]
        for target in targets:
            copies += [set_field("tun_id", segment), _towards(target.tunnel_ip), Output(number)]
        return copies

    for mac, claimants in facts.claims.items():
        names = dict.fromkeys(view.fabric.location[port.name] for port in claimants if not view.is_here(port))
        if names:
            where = match(vlan_tci=(tag, VLAN_MASK), eth_dst=mac)
            actions = send(hosts[name] for name in names)
            port = claimants[0]
            of_port = Origin(f"port {port.name}", port.place)
            builder.flow("to_tunnel", 200, where, actions, kind="remote port", origin=of_port)
    everyone = view.tunnel_peers(facts)
    if everyone:
        where = match(vlan_tci=(tag, VLAN_MASK), eth_dst=_MULTICAST)
        builder.flow("to_tunnel", 150, where, send(everyone), kind="group address", origin=origin)
    listening = [hosts[name] for name in facts.open_hosts if name != view.host.name]
    if listening:
        builder.flow(
            "to_tunnel", 100, match(vlan_tci=(tag, VLAN_MASK)), send(listening), kind="unknown MAC", origin=origin
        )


def _towards(address: Address) -> Action:
    return set_field("tun_dst" if isinstance(address, IPv4Address) else "tun_ipv6_dst", int(address))


FEATURE = Feature(
    name="tunnels",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="sort",
            stage=Stage.TUNNEL_CLASSIFY,
            slot=0,
            matches=("in_port",),
            writes=(),
            next=(Stage.FROM_TUNNEL, Stage.TO_TUNNEL),
            purpose="from br-int, or from a tunnel",
            miss="dropped: no port of ours",
        ),
        Table(
            name="from_tunnel",
            stage=Stage.FROM_TUNNEL,
            slot=0,
            matches=("in_port", "tun_id", "tun_src", "tun_ipv6_src", "vlan_tci"),
            writes=("vlan_tci",),
            next=(),
            purpose="type, key and known sender -> the network's local tag, to br-int; frames with a tag of their own stay out",
            miss="dropped: a key that is not here, or a sender that has no such network",
        ),
        Table(
            name="to_tunnel",
            stage=Stage.TO_TUNNEL,
            slot=0,
            matches=("vlan_tci", "eth_dst"),
            writes=("tun_id", "tun_dst", "tun_ipv6_dst"),
            next=(),
            purpose="tag and destination MAC -> key and VTEP",
            miss="dropped: a MAC that no file names",
        ),
    ),
    kinds={
        "from br-int": "a packet that leaves the host",
        "from a VTEP": "a packet that arrives through a tunnel",
        "known VTEP": "a host that has a port of the network",
        "remote port": "the MAC of a port on another host",
        "group address": "broadcast and multicast: a copy for each host that has the network",
        "unknown MAC": "a MAC that no file names goes to the hosts with ports without port security",
    },
    compile=compile_flows,
)
