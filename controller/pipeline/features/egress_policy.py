"""Egress policy: one connection lookup for every IP packet; new connections meet the sender's rules."""

from __future__ import annotations

from controller.graph.queries import Identity
from controller.model.entities import Direction
from controller.pipeline.fields import (
    BY_NAME,
    CT_ESTABLISHED,
    CT_INVALID,
    CT_RELATED,
    CT_TRACKED,
    ETH_IPV4,
    ETH_IPV6,
    PROTO_ICMPV6,
    PROTO_UDP,
)
from controller.pipeline.flow import Conntrack, Origin, match
from controller.pipeline.policy import (
    RULE_KINDS,
    SCTP_OF_OPENER,
    UNTRACKED_ICMPV6,
    Side,
    going,
    rule_tables,
    write_fragments,
    write_identity,
    write_rules,
)
from controller.pipeline.program import Builder
from controller.pipeline.registers import NO_CLASS, SOURCE_CLASS, ZONE
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import Groups, HostView

_SIDE = Side(
    Direction.EGRESS, "egress_state", "egress_peer", "egress_rules", SOURCE_CLASS, far="dst", allowed=Stage.FORWARD
)
_DHCP = ((ETH_IPV4, 68, 67), (ETH_IPV6, 546, 547))


def _always(builder: Builder, _host: HostView) -> None:
    """Write the tracking of every packet."""
    ours = Origin("Weft: connections", None)
    for kind in UNTRACKED_ICMPV6:
        where = match(eth_type=ETH_IPV6, ip_proto=PROTO_ICMPV6, icmpv6_type=kind)
        builder.flow("track", 200, where, goto=Stage.FORWARD, kind="not tracked", origin=ours)
    look_up = [Conntrack(zone_field=BY_NAME[ZONE.field].index, table=builder.table("egress_state"))]
    for ethertype in (ETH_IPV4, ETH_IPV6):
        builder.flow("track", 100, match(eth_type=ethertype), look_up, kind="look up", origin=ours)
    builder.flow("track", 0, (), goto=Stage.FORWARD, kind="not tracked", origin=ours)
    free = match(**{SOURCE_CLASS.field: SOURCE_CLASS.is_(NO_CLASS)})
    builder.flow("egress_state", 400, free, goto=Stage.FORWARD, kind="free of policy", origin=ours)
    for state, priority, goto, name in (
        (CT_INVALID, 300, None, "invalid"),
        (CT_ESTABLISHED, 200, Stage.FORWARD, "established"),
        (CT_RELATED, 200, Stage.FORWARD, "established"),
    ):
        where = match(ct_state=(CT_TRACKED | state, CT_TRACKED | state))
        builder.flow("egress_state", priority, where, goto=goto, kind=name, origin=ours)
    for answering in going(reply=True):
        where = match(ct_state=answering, ct_mark=0)
        builder.flow("egress_state", 205, where, goto="egress_peer", kind="answer to nothing", origin=ours)
    for opener in SCTP_OF_OPENER:
        builder.flow("egress_state", 210, opener, goto="egress_peer", kind="SCTP of the opener", origin=ours)
    for ethertype, source, target in _DHCP:
        where = match(eth_type=ethertype, ip_proto=PROTO_UDP, udp_src=source, udp_dst=target)
        builder.flow("egress_state", 160, where, goto=Stage.FORWARD, kind="DHCP client", origin=ours)
    builder.flow("egress_state", 0, (), goto="egress_peer", kind="new", origin=ours)
    write_fragments(builder, _SIDE)


def _class(builder: Builder, groups: Groups) -> None:
    write_rules(builder, _SIDE, groups)


def _identity(builder: Builder, space: str, identity: Identity, direction: Direction) -> None:
    write_identity(builder, _SIDE, space, identity, direction)


FEATURE = Feature(
    name="egress_policy",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="track",
            stage=Stage.EGRESS_POLICY,
            slot=0,
            matches=("eth_type", "ip_proto", "icmpv6_type"),
            writes=(),
            next=("egress_state", Stage.FORWARD),
            purpose="IP packets are looked up in the address space's zone",
            miss="cannot be reached: the last flow lets everything else go on",
        ),
        Table(
            name="egress_state",
            stage=Stage.EGRESS_POLICY,
            slot=1,
            matches=("reg4", "ct_state", "ct_mark", "eth_type", "ip_proto", "udp_src", "udp_dst"),
            writes=(),
            next=("egress_peer", Stage.FORWARD),
            purpose="established goes straight on, only new connections meet rules",
            miss="cannot be reached: what is left is new",
        ),
        *rule_tables(_SIDE, Stage.EGRESS_POLICY, slot=2),
    ),
    kinds={
        **RULE_KINDS,
        "look up": "the connection tracker tells what the packet belongs to",
        "not tracked": "ARP and discovery belong to no connection",
        "free of policy": "a port without port security, or a packet from another host, has been judged or never is",
        "invalid": "no connection can have this packet (ovs-fields(7), ct_state inv)",
        "established": "a packet of a connection that was allowed, or an ICMP error about one",
        "answer to nothing": "an answer to what no port here has let in is a connection of its own",
        "DHCP client": "a client may always ask for an address",
        "new": "a new connection meets the rules",
        "everything allowed": "a rule lets the class send anything, so nothing is looked up",
    },
    flows={Scope.HOST: _always, Scope.CLASS: _class, Scope.IDENTITY: _identity},
    allows=frozenset({"rule", "part of a rule", "everything allowed", "free of policy", "DHCP client"}),
)
