"""Forward: the destination MAC becomes a local port, a set of ports, or the way out of the host.

What is not local goes to br-tun or to the physical network, which know the rest: a remote port costs one flow, not two.
A broadcast goes to a group with one bucket per class of receivers, so that policy is judged once for a class, and
a packet to 500 ports stays far below Open vSwitch's limit of 4,096 resubmits.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.graph import queries
from controller.graph.ways_out import entry_mtu
from controller.model.ids import key
from controller.pipeline.fields import ETH_IPV4, ETH_IPV6
from controller.pipeline.flow import (
    Action,
    Match,
    Origin,
    Output,
    PushVlan,
    Resubmit,
    ToGroup,
    Wanted,
    match,
    set_field,
)
from controller.pipeline.nat import ForgetEntrance
from controller.pipeline.program import Builder
from controller.pipeline.questions import Question
from controller.pipeline.registers import (
    FROM,
    FROM_PORT,
    NETWORK,
    QUESTION,
    SET_OF_PORTS,
    TARGET,
    TARGET_CLASS,
    TOO_LONG,
    measure,
)
from controller.pipeline.stamps import COMMIT_KINDS, COMMIT_MATCHES, COMMIT_WRITES, write_commits
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import Claim, HostView, NetworkView, Plug

_MULTICAST = (1 << 40, 1 << 40)
_GROUP_BITS = 31  # Group numbers from 0xffffff00 on are reserved (OpenFlow 1.4, section 7.3.4.3).
_SET_BITS = 31

EVERYONE, OPEN = "all", "open"  # Sets of a network's ports: every one, and those without port security.


def of_mac(mac: int) -> str:
    """Return the name of the set of ports that may use a MAC together."""
    return f"{mac:012x}"


def set_key(view: NetworkView, name: str, class_key: int) -> int:
    """Return the key of the ports of one class among a named set of a network's ports, as `TARGET` holds it."""
    return SET_OF_PORTS | key("set", f"{view.name} {name} {class_key:x}", _SET_BITS)


def _always(builder: Builder, _host: HostView) -> None:
    write_commits(builder, "keep", None)
    # Above the flows of an unknown MAC from outside, below those of one that a local port sends to.
    builder.flow("leave", 0, (), goto="depart", kind="not measured", origin=Origin("Weft: remote ports", None))
    where = match(**{TOO_LONG.field: TOO_LONG.is_(1)})
    told = [QUESTION.load(Question.TOO_BIG)]
    builder.flow("depart", 200, where, told, "tell", kind="too big", origin=Origin("Weft: lengths", None))
    where = match(**{FROM.field: FROM.is_(FROM_PORT)})
    builder.flow("forward", 105, where, goto="leave", kind="not local", origin=Origin("Weft: remote ports", None))


def _network(builder: Builder, view: NetworkView) -> None:
    """Write broadcast and multicast, what happens to MACs that nobody knows, and the way out of the host."""
    _group_address(builder, view)
    if entry_mtu(view.memo, view.name) is not None:
        # What no router has passed on has not been measured yet.
        long = match(**{NETWORK.field: NETWORK.is_(view.key), TOO_LONG.field: TOO_LONG.is_(1)})
        told = [QUESTION.load(Question.TOO_BIG)]
        builder.flow("forward", 300, long, told, "tell", kind="too big", origin=view.origin)
    way = view.way_out()
    if view.listens:
        members = [each for each in view.plugs if each.is_open]
        _copies(builder, view, OPEN, 100, None, members, leaves=True, kind="unknown MAC")
    if way is not None:
        number, tag = way
        out = [Resubmit(builder.table("keep")), *leave_by(view, number, tag)]
        builder.flow("depart", 100, _to(view, None, FROM_PORT), out, kind="way out", origin=view.origin)
        if view.network.type.is_tunnel:
            _measure(builder, view)


def _measure(builder: Builder, view: NetworkView) -> None:
    """Write that what does not fit the network's tunnel is not sent, and its sender told."""
    for ethertype in (ETH_IPV4, ETH_IPV6):
        where = match(**{NETWORK.field: NETWORK.is_(view.key)}, eth_type=ethertype)
        builder.flow("leave", 100, where, [measure(view.network.mtu)], "depart", kind="measured", origin=view.origin)


def to_others(number: int, tag: int) -> list[Action]:
    """Return the actions that hand a packet to br-tun or br-PHYSNET through a patch port, with the network's tag (0 for none)."""
    mark: list[Action] = [PushVlan(), set_field("vlan_tci", tag)] if tag else []
    return [*mark, Output(number)]


def leave_by(view: NetworkView, number: int, tag: int) -> list[Action]:
    """Return the actions that lead a network's packet out of the host, to the patch port that it may have come from.

    What a router passes on from one network of a wire to another, as from outside to a VLAN beside it, goes back to where it came from.
    """
    is_routed = view.network.type.is_provider and queries.router_of(view.memo, view.name) is not None
    entrance: list[Action] = [ForgetEntrance()] if is_routed else []
    return [*entrance, *to_others(number, tag)]


def _group_address(builder: Builder, view: NetworkView) -> None:
    """Write broadcast and multicast: one group for all, because what came from outside does not leave again."""
    local = _buckets(builder, view, EVERYONE, view.plugs)
    if local:
        number = key("flood", f"{view.name} {EVERYONE}", _GROUP_BITS)
        builder.group(number, [*local, *_out(builder, view)], origin=view.origin)
        builder.flow("forward", 150, _to(view, _MULTICAST), [ToGroup(number)], kind="group address", origin=view.origin)


def _mac(builder: Builder, view: NetworkView, mac: int) -> None:
    """Write where a MAC is: a port here, several, or elsewhere."""
    claimants = view.claimants(mac)
    here = view.plugged(claimants)
    is_elsewhere = any(claim.host != view.on.name for claim in claimants)
    if len(claimants) == 1 and here:
        load = [TARGET.load(here[0].target), TARGET_CLASS.load(here[0].class_key)]
        origin = _origin(builder, claimants[0])
        builder.flow("forward", 200, _to(view, mac), load, Stage.INGRESS_POLICY, kind="local port", origin=origin)
    elif here:
        _copies(builder, view, of_mac(mac), 200, mac, here, leaves=is_elsewhere, kind="shared MAC")
    elif is_elsewhere and view.listens and view.leaves:
        # Ports that get what is unknown must not get what is known to be elsewhere.
        origin = _origin(builder, claimants[0])
        where = _to(view, mac, FROM_PORT)
        builder.flow("forward", 200, where, goto="leave", kind="remote port", origin=origin)


def _origin(builder: Builder, claim: Claim) -> Origin:
    port = queries.port(builder.memo, claim.port)
    return Origin(f"port {claim.port}", None if port is None else port.place)


def _copies(
    builder: Builder,
    view: NetworkView,
    name: str,
    priority: int,
    mac: int | None,
    members: Iterable[Plug],
    *,
    leaves: bool,
    kind: str,
) -> None:
    """Write the flows and groups that copy a packet to a set of local ports, and out if a local port sent it."""
    local = _buckets(builder, view, name, members)
    if local:
        number = key("flood", f"{view.name} {name}", _GROUP_BITS)
        builder.group(number, local, origin=view.origin)
        builder.flow("forward", priority, _to(view, mac), [ToGroup(number)], kind=kind, origin=view.origin)
    if leaves:
        number = key("flood out", f"{view.name} {name}", _GROUP_BITS)
        builder.group(number, [*local, *_out(builder, view)], origin=view.origin)
        where = _to(view, mac, FROM_PORT)
        builder.flow("forward", priority + 10, where, [ToGroup(number)], kind=f"{kind}, out", origin=view.origin)


def _buckets(builder: Builder, view: NetworkView, name: str, members: Iterable[Plug]) -> list[tuple[Action, ...]]:
    """Return the buckets that copy a packet to a set of local ports, one for each class."""
    enter = Resubmit(builder.table("ingress_track"))
    return [
        (TARGET.load(set_key(view, name, found)), TARGET_CLASS.load(found), enter)
        for found in sorted({each.class_key for each in members})
    ]


def _out(builder: Builder, view: NetworkView) -> list[tuple[Action, ...]]:
    """Return the bucket of the copy that leaves the host, none where there is no way out."""
    return [(Resubmit(builder.table("leave")),)] if view.leaves else []


def _to(view: NetworkView, mac: int | tuple[int, int] | None, source: int | None = None) -> Match:
    conditions: dict[str, Wanted] = {NETWORK.field: NETWORK.is_(view.key)}
    if mac is not None:
        conditions["eth_dst"] = mac
    if source is not None:
        conditions[FROM.field] = FROM.is_(source)
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
            writes=("reg2", "reg5", QUESTION.field),
            next=(Stage.INGRESS_POLICY, "leave", "tell"),
            purpose="network and destination MAC -> a port here, copies, or the way out",
            miss="dropped: a packet from outside for a MAC that is not here",
        ),
        Table(
            name="leave",
            stage=Stage.FORWARD,
            slot=1,
            matches=("reg0", "eth_type"),
            writes=(TOO_LONG.field,),
            next=("depart",),
            purpose="does the packet fit the tunnel of its network?",
            miss="cannot be reached: the last flow lets everything else go on",
        ),
        Table(
            name="depart",
            stage=Stage.FORWARD,
            slot=2,
            matches=("reg0", "reg6", "eth_type", "ct_state"),
            writes=("vlan_tci", QUESTION.field, *COMMIT_WRITES),
            next=("keep", "kept_out", "tell"),
            purpose="the network becomes a tag, and what a local port sent goes to br-tun or br-PHYSNET",
            miss="dropped: it came from outside, or the network has no way out of this host",
        ),
        Table(
            name="keep",
            stage=Stage.FORWARD,
            slot=3,
            matches=COMMIT_MATCHES,
            writes=COMMIT_WRITES,
            next=(),
            purpose="a connection that leaves the host is kept on the sender's side too",
            miss="nothing: what belongs to no new connection leaves as it is",
        ),
    ),
    kinds={
        "local port": "the MAC of a port on this host",
        "shared MAC": "a MAC that several ports may use (VRRP): each of them gets a copy",
        "shared MAC, out": "each of them gets a copy, and one leaves for those on other hosts",
        "remote port": "a MAC that is known to be on another host",
        "group address": "broadcast and multicast go to every port of the network that is here, and out if a local port sent them",
        "unknown MAC": "a MAC that no file names goes to the ports without port security",
        "unknown MAC, out": "and out, if a local port sent the packet",
        "not local": "what is not here is looked for in br-tun or on the physical network",
        **COMMIT_KINDS,
        "measured": "IP packets of a network that travels in tunnels",
        "not measured": "everything else",
        "too big": "its sender is told what fits (RFC 1191, RFC 8201)",
        "way out": "the patch port that leads out, with the network's tag; what came from outside does not leave again",
    },
    flows={Scope.HOST: _always, Scope.NETWORK: _network, Scope.MAC: _mac},
    leaves=frozenset({"remote port", "not local", "way out", "shared MAC, out", "unknown MAC, out"}),
)
