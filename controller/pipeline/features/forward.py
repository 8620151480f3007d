"""Forward: the destination MAC becomes a local port, a set of ports, or the way out of the host.

What is not local goes to br-tun or to the physical network, which know the rest: a remote port costs one flow, not two.
A broadcast goes to a group with one bucket per class of receivers, so that policy is judged once for a class, and
a packet to 500 ports stays far below Open vSwitch's limit of 4,096 resubmits.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.model.entities import NetworkType, Port
from controller.model.ids import key
from controller.model.names import PATCH_TO_TUNNEL, patch_to_physical
from controller.pipeline.fields import BY_NAME, VLAN_PRESENT
from controller.pipeline.flow import Action, Conntrack, Origin, Output, PushVlan, Resubmit, ToGroup, match, set_field
from controller.pipeline.policy import NEW_CONNECTIONS
from controller.pipeline.program import Builder
from controller.pipeline.registers import FROM, FROM_PORT, NETWORK, TARGET, TARGET_CLASS, ZONE
from controller.pipeline.tables import Feature, Stage, Table
from controller.pipeline.view import NetworkFacts, PortView, network_origin

_MULTICAST = (1 << 40, 1 << 40)
_GROUP_BITS = 31  # Group numbers from 0xffffff00 on are reserved (OpenFlow 1.4, section 7.3.4.3).


def set_key(facts: NetworkFacts, name: str, class_key: int) -> int:
    """Return the key of the ports of one class among a named set of a network's ports, as `TARGET` holds it."""
    return key("set", f"{facts.network.name} {name} {class_key:x}")


def receivers(builder: Builder, facts: NetworkFacts) -> list[tuple[str, list[PortView]]]:
    """Return the sets of local ports that get copies of one packet: (name, ports).

    `all` is every port, `open` those without port security, and a MAC's text the ports that may use it together.
    """
    here = builder.view.ports_on(facts)
    sets = [("all", here), ("open", [view for view in here if not view.port.port_security])]
    by_name = {view.port.name: view for view in here}
    for mac, claimants in facts.claims.items():
        if len(claimants) > 1:
            sets.append((f"{mac:012x}", [by_name[port.name] for port in claimants if port.name in by_name]))
    return sets


def compile_flows(builder: Builder) -> None:
    """Write where each network's packets go."""
    ours = Origin("Weft: connections", None)
    commit = [Conntrack(commit=True, zone_field=BY_NAME[ZONE.field].index)]
    for new in NEW_CONNECTIONS:
        builder.flow("leave", 100, new, commit, "send_out", kind="keep the connection", origin=ours)
    builder.flow("leave", 0, (), goto="send_out", kind="nothing to keep", origin=ours)
    for facts in builder.view.networks:
        _write_unicast(builder, facts)
        _write_flood(builder, facts)
        _write_way_out(builder, facts)


def _write_unicast(builder: Builder, facts: NetworkFacts) -> None:
    """Write a flow per MAC of the network's local ports, and the copies of a MAC that several ports may use."""
    here = {view.port.name: view for view in builder.view.ports_on(facts)}
    listens = any(not view.port.port_security for view in here.values())
    for mac, claimants in facts.claims.items():
        local = [here[port.name] for port in claimants if port.name in here]
        if len(claimants) == 1 and local:
            load = [TARGET.load(local[0].key), TARGET_CLASS.load(local[0].class_key)]
            origin = local[0].origin
            builder.flow("forward", 200, _to(facts, mac), load, Stage.INGRESS_POLICY, kind="local port", origin=origin)
        elif local:
            elsewhere = any(not builder.view.is_here(port) for port in claimants)
            _write_copies(builder, facts, f"{mac:012x}", 200, mac, leaves=elsewhere, kind="shared MAC")
        elif listens and _is_remote(builder, facts, claimants):
            # Ports that get what is unknown must not get what is known to be elsewhere.
            origin = Origin(f"port {claimants[0].name}", claimants[0].place)
            where = _to(facts, mac, FROM_PORT)
            builder.flow("forward", 200, where, goto="leave", kind="remote port", origin=origin)


def _is_remote(builder: Builder, facts: NetworkFacts, claimants: Iterable[Port]) -> bool:
    return _way_out(builder, facts) is not None and any(not builder.view.is_here(port) for port in claimants)


def _write_flood(builder: Builder, facts: NetworkFacts) -> None:
    """Write broadcast and multicast, and what happens to MACs that nobody knows."""
    _write_copies(builder, facts, "all", 150, _MULTICAST, leaves=True, kind="group address")
    open_here = any(not view.port.port_security for view in builder.view.ports_on(facts))
    if open_here:
        _write_copies(builder, facts, "open", 100, None, leaves=True, kind="unknown MAC")
    elif _way_out(builder, facts) is not None:
        where = match(**_network(facts), **_from(FROM_PORT))
        builder.flow("forward", 110, where, goto="leave", kind="not local", origin=network_origin(facts))


def _write_copies(
    builder: Builder,
    facts: NetworkFacts,
    name: str,
    priority: int,
    mac: int | tuple[int, int] | None,
    *,
    leaves: bool,
    kind: str,
) -> None:
    """Write the flows and groups that copy a packet to a set of local ports, and out if a local port sent it."""
    origin = network_origin(facts)
    members = dict(receivers(builder, facts))[name]
    classes = sorted({view.class_key for view in members})
    enter = Resubmit(builder.table("ingress_state"))
    local: list[tuple[Action, ...]] = [
        (TARGET.load(set_key(facts, name, found)), TARGET_CLASS.load(found), enter) for found in classes
    ]
    if local:
        number = key("flood", f"{facts.network.name} {name}", _GROUP_BITS)
        builder.group(number, local, origin=origin)
        builder.flow("forward", priority, _to(facts, mac), [ToGroup(number)], kind=kind, origin=origin)
    if leaves and _way_out(builder, facts) is not None:
        number = key("flood out", f"{facts.network.name} {name}", _GROUP_BITS)
        builder.group(number, [*local, (Resubmit(builder.table("leave")),)], origin=origin)
        where = _to(facts, mac, FROM_PORT)
        builder.flow("forward", priority + 10, where, [ToGroup(number)], kind=kind, origin=origin)


def _write_way_out(builder: Builder, facts: NetworkFacts) -> None:
    """Write the flow that hands a network's packets to br-tun or to the physical network."""
    way = _way_out(builder, facts)
    if way is not None:
        number, tag = way
        mark: list[Action] = [PushVlan(), set_field("vlan_tci", tag)] if tag else []
        out = [*mark, Output(number)]
        builder.flow("send_out", 100, match(**_network(facts)), out, kind="way out", origin=network_origin(facts))


def _way_out(builder: Builder, facts: NetworkFacts) -> tuple[int, int] | None:
    """Return the patch port and the tag (0 for none) that lead out of the host, or None where there is no way."""
    network, view = facts.network, builder.view
    if network.type.is_tunnel:
        number = view.number(view.host.integration_bridge, PATCH_TO_TUNNEL)
        return (
            None if number is None or not view.tunnel_peers(facts) else (number, VLAN_PRESENT | view.tags[network.name])
        )
    if network.physical_network is None:
        return None
    number = view.number(view.host.integration_bridge, patch_to_physical(network.physical_network))
    tag = VLAN_PRESENT | (network.segment or 0) if network.type is NetworkType.VLAN else 0
    return None if number is None else (number, tag)


def _network(facts: NetworkFacts) -> dict[str, tuple[int, int]]:
    return {NETWORK.field: NETWORK.is_(facts.key)}


def _from(source: int) -> dict[str, tuple[int, int]]:
    return {FROM.field: FROM.is_(source)}


def _to(
    facts: NetworkFacts, mac: int | tuple[int, int] | None, source: int | None = None
) -> tuple[tuple[int, int, int | None], ...]:
    conditions: dict[str, int | tuple[int, int]] = {**_network(facts)}
    if mac is not None:
        conditions["eth_dst"] = mac
    if source is not None:
        conditions |= _from(source)
    return match(**conditions)


FEATURE = Feature(
    name="forward",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="forward",
            stage=Stage.FORWARD,
            slot=0,
            matches=("reg0", "reg6", "eth_dst"),
            writes=("reg2", "reg5"),
            next=(Stage.INGRESS_POLICY, "leave"),
            purpose="network and destination MAC -> a port here, copies, or the way out",
            miss="dropped: a MAC that is nobody's, or a packet from outside for somebody who is not here",
        ),
        Table(
            name="leave",
            stage=Stage.FORWARD,
            slot=1,
            matches=("ct_state", "eth_type"),
            writes=(),
            next=("send_out",),
            purpose="a connection that leaves the host is kept on the sender's side too",
            miss="cannot be reached",
        ),
        Table(
            name="send_out",
            stage=Stage.FORWARD,
            slot=2,
            matches=("reg0",),
            writes=("vlan_tci",),
            next=(),
            purpose="the network becomes a tag, and the packet goes to br-tun or br-PHYSNET",
            miss="dropped: the network has no way out of this host",
        ),
    ),
    kinds={
        "local port": "the MAC of a port on this host",
        "shared MAC": "a MAC that several ports may use (VRRP): each of them gets a copy",
        "remote port": "a MAC that is known to be on another host",
        "group address": "broadcast and multicast go to every port of the network, and out if a local port sent them",
        "unknown MAC": "a MAC that no file names goes to the ports without port security, and out",
        "not local": "what is not here is looked for in br-tun or on the physical network",
        "keep the connection": "a new connection that was allowed is committed before it leaves",
        "nothing to keep": "everything else goes straight out",
        "way out": "the network's tag and the patch port that leads out",
    },
    compile=compile_flows,
)
