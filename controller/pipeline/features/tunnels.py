"""Tunnels: br-tun turns tags into keys and MACs into VTEPs, and back, for VTEPs that the files name.

Nothing goes from one tunnel to another (split horizon): what comes from a tunnel goes to br-int only.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from controller.graph import queries
from controller.model.entities import TUNNEL_TYPES, Address, Host, HostKind
from controller.model.ids import key
from controller.model.names import PATCH_TO_INTEGRATION, tunnel_port
from controller.pipeline.fields import VLAN_MASK, VLAN_PRESENT
from controller.pipeline.flow import Action, Origin, Output, PopVlan, PushVlan, Wanted, match, set_field
from controller.pipeline.program import Builder
from controller.pipeline.registers import SPACE
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, NetworkView, open_hosts

_MULTICAST = (1 << 40, 1 << 40)


def _sort(builder: Builder, view: HostView) -> None:
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


def _tunnel(view: NetworkView) -> tuple[int, int] | None:
    """Return the numbers of the network's tunnel port and of the patch port to br-int, None unless both are there."""
    if not view.network.type.is_tunnel or view.network.segment is None:
        return None
    bridge = view.on.host.tunnel_bridge
    number, inside = (
        view.on.number(bridge, tunnel_port(view.network.type)),
        view.on.number(bridge, PATCH_TO_INTEGRATION),
    )
    return None if number is None or inside is None else (number, inside)


def _network(builder: Builder, view: NetworkView) -> None:
    ports = _tunnel(view)
    if ports is None:
        return
    number, inside = ports
    tag, everyone = VLAN_PRESENT | view.tag, view.peers
    # A tag inside the tunnel would come out as a tag of ours once br-int has taken its own off.
    here: dict[str, Wanted] = {"in_port": number, "tun_id": view.network.segment or 0, "vlan_tci": (0, VLAN_MASK)}
    mark: list[Action] = [PushVlan(), set_field("vlan_tci", tag)]
    if queries.router_of(view.memo, view.name) is None:
        senders = view.partners
    else:
        senders = [peer for peer in everyone if peer.kind is not HostKind.OVS]
        # Each host of the router may send packets of each of its networks: they are listed once, not once for each network.
        load = [*mark, SPACE.load(view.space_key)]
        builder.flow("from_tunnel", 90, match(**here), load, "sender", kind="routed network", origin=view.origin)
    for peer in senders:
        where = match(**here, **_from(peer.tunnel_ip))
        builder.flow("from_tunnel", 100, where, [*mark, Output(inside)], kind="known VTEP", origin=view.origin)
    if everyone:
        where = match(vlan_tci=(tag, VLAN_MASK), eth_dst=_MULTICAST)
        copies = _send(view, number, everyone)
        builder.flow("to_tunnel", 150, where, copies, kind="group address", origin=view.origin)
    listening = view.hosts(name for name in open_hosts(view.memo, view.name) if name != view.on.name)
    if listening:
        where, copies = match(vlan_tci=(tag, VLAN_MASK)), _send(view, number, listening)
        builder.flow("to_tunnel", 100, where, copies, kind="unknown MAC", origin=view.origin)


def _space(builder: Builder, view: HostView, space: str) -> None:
    """Write who may send packets of the networks of a router."""
    inside = view.number(view.host.tunnel_bridge, PATCH_TO_INTEGRATION)
    router = queries.router_of_space(space)
    if inside is None or router is None:
        return
    origin = Origin(f"router {router}", queries.router_place(view.memo, router))
    for name in queries.hosts_of_space(view.memo, space):
        other = queries.host(view.memo, name)
        if name != view.name and other is not None and other.kind is HostKind.OVS:
            where = match(**{SPACE.field: SPACE.is_(key("space", space))}, **_from(other.tunnel_ip))
            builder.flow("sender", 100, where, [Output(inside)], kind="host of the router", origin=origin)


def _mac(builder: Builder, view: NetworkView, mac: int) -> None:
    ports, claimants = _tunnel(view), view.claimants(mac)
    names = dict.fromkeys(claim.host for claim in claimants if claim.host != view.on.name)
    if ports is not None and names:
        where = match(vlan_tci=(VLAN_PRESENT | view.tag, VLAN_MASK), eth_dst=mac)
        first = queries.port(view.memo, claimants[0].port)
        of_port = Origin(f"port {claimants[0].port}", None if first is None else first.place)
        copies = _send(view, ports[0], view.hosts(names))
        builder.flow("to_tunnel", 200, where, copies, kind="remote port", origin=of_port)


def to_host(builder: Builder, view: NetworkView, mac: int, host: str, kind: str, origin: Origin) -> None:
    """Write that a MAC of a network, if that travels in tunnels, is on another host."""
    ports = _tunnel(view)
    if ports is not None:
        where = match(vlan_tci=(VLAN_PRESENT | view.tag, VLAN_MASK), eth_dst=mac)
        builder.flow("to_tunnel", 200, where, _send(view, ports[0], view.hosts([host])), kind=kind, origin=origin)


def _send(view: NetworkView, number: int, targets: Iterable[Host]) -> list[Action]:
    copies: list[Action] = [PopVlan()]
    for target in targets:
        copies += [set_field("tun_id", view.network.segment or 0), _towards(target.tunnel_ip), Output(number)]
    return copies


def _from(address: Address) -> dict[str, Wanted]:
    return {"tun_src" if isinstance(address, IPv4Address) else "tun_ipv6_src": int(address)}


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
            writes=("vlan_tci", SPACE.field),
            next=("sender",),
            purpose="type, key and known sender -> the network's local tag, to br-int; frames with a tag of their own stay out",
            miss="dropped: a key that is not here, or a sender that has no such network",
        ),
        Table(
            name="sender",
            stage=Stage.FROM_TUNNEL,
            slot=1,
            matches=(SPACE.field, "tun_src", "tun_ipv6_src"),
            writes=(),
            next=(),
            purpose="may this host send packets of the router's networks? Then to br-int",
            miss="dropped: a sender that has nothing of the router",
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
        "routed network": "a network of a router: each of the router's hosts may send its packets",
        "host of the router": "a host that has a port in one of the router's networks, or leads out of them",
        "remote port": "the MAC of a port on another host",
        "group address": "broadcast and multicast: a copy for each host that has the network",
        "unknown MAC": "a MAC that no file names goes to the hosts with ports without port security",
    },
    flows={Scope.HOST: _sort, Scope.NETWORK: _network, Scope.SPACE: _space, Scope.MAC: _mac},
    sends=frozenset({"remote port", "group address", "unknown MAC"}),
)
