"""Ingress policy: new connections meet the receiver's rules in a pass of their own."""

from __future__ import annotations

from controller.graph.queries import Identity
from controller.model.entities import Direction
from controller.pipeline.fields import (
    BY_NAME,
    CT_INVALID,
    CT_TRACKED,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    PROTO_ICMPV6,
)
from controller.pipeline.flow import Conntrack, Origin, match
from controller.pipeline.policy import (
    RULE_KINDS,
    SCTP_OF_OPENER,
    UNTRACKED_ICMPV6,
    Side,
    going,
    is_open,
    members_of,
    rule_tables,
    write_fragments,
    write_identity,
    write_rules,
)
from controller.pipeline.program import Builder
from controller.pipeline.registers import NO_CLASS, TARGET_CLASS, ZONE
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import Groups, HostView, class_key, class_name

_SIDE = Side(
    Direction.INGRESS, "ingress_state", "ingress_peer", "ingress_rules", TARGET_CLASS, far="src", allowed=Stage.DELIVER
)


def _always(builder: Builder, _host: HostView) -> None:
    """Write the states of connections."""
    ours = Origin("Weft: connections", None)
    free = match(**{TARGET_CLASS.field: TARGET_CLASS.is_(NO_CLASS)})
    builder.flow("ingress_state", 400, free, goto=Stage.DELIVER, kind="free of policy", origin=ours)
    builder.flow("ingress_state", 350, match(eth_type=ETH_ARP), goto=Stage.DELIVER, kind="not tracked", origin=ours)
    for kind in UNTRACKED_ICMPV6:
        where = match(eth_type=ETH_IPV6, ip_proto=PROTO_ICMPV6, icmpv6_type=kind)
        builder.flow("ingress_state", 350, where, goto=Stage.DELIVER, kind="not tracked", origin=ours)
    invalid = match(ct_state=(CT_TRACKED | CT_INVALID, CT_TRACKED | CT_INVALID))
    builder.flow("ingress_state", 300, invalid, kind="invalid", origin=ours)
    for state in going(reply=True):
        builder.flow("ingress_state", 200, match(ct_state=state), goto=Stage.DELIVER, kind="answer", origin=ours)
    # A second lookup recirculates: the megaflows of the two directions' rules then add up and do not multiply.
    again = [Conntrack(zone_field=BY_NAME[ZONE.field].index, table=builder.table("ingress_peer"))]
    for ethertype in (ETH_IPV4, ETH_IPV6):
        where = match(eth_type=ethertype, ct_state=(CT_TRACKED, CT_TRACKED))
        builder.flow("ingress_state", 100, where, again, kind="new", origin=ours)
    for opener in SCTP_OF_OPENER:
        builder.flow("ingress_state", 210, opener, again, kind="SCTP of the opener", origin=ours)
    write_fragments(builder, _SIDE)


def _class(builder: Builder, groups: Groups) -> None:
    if not is_open(members_of(builder.memo, groups), Direction.INGRESS):
        origin = Origin(f"ports of {class_name(groups)}" if groups else "ports without security groups", None)
        found = class_key(groups)
        for state in going(reply=False):
            where = match(**{TARGET_CLASS.field: TARGET_CLASS.is_(found)}, ct_state=state, ct_mark=found)
            builder.flow("ingress_state", 200, where, goto=Stage.DELIVER, kind="established", origin=origin)
    write_rules(builder, _SIDE, groups)


def _identity(builder: Builder, space: str, identity: Identity, direction: Direction) -> None:
    write_identity(builder, _SIDE, space, identity, direction)


FEATURE = Feature(
    name="ingress_policy",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="ingress_state",
            stage=Stage.INGRESS_POLICY,
            slot=0,
            matches=("reg5", "ct_state", "ct_mark", "eth_type", "ip_proto", "icmpv6_type"),
            writes=(),
            next=("ingress_peer", Stage.DELIVER),
            purpose="established goes straight on, only new connections meet rules",
            miss="dropped: neither IP nor ARP, for a port under policy",
        ),
        *rule_tables(_SIDE, Stage.INGRESS_POLICY, slot=1),
    ),
    kinds={
        **RULE_KINDS,
        "free of policy": "a port without port security gets everything",
        "not tracked": "ARP and discovery belong to no connection",
        "invalid": "no connection can have this packet (ovs-fields(7), ct_state inv)",
        "answer": "an answer to what was allowed out, or an ICMP error about it",
        "established": "a packet of a connection that ports of this class let in, or an ICMP error about one",
        "new": "a new connection, and one that this class has not let in, meets the rules in a pass of its own",
        "everything allowed": "a rule lets the class receive anything, so nothing is looked up",
    },
    flows={Scope.HOST: _always, Scope.CLASS: _class, Scope.IDENTITY: _identity},
    allows=frozenset({"rule", "part of a rule", "everything allowed", "free of policy", "established"}),
)
