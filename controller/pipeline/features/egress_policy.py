"""Egress policy: one connection lookup for every IP packet; what leaves a port needs the word of that port's policy."""

from __future__ import annotations

from controller.graph.identities import Identity
from controller.model.entities import Direction
from controller.pipeline.fields import (
    ETH_IPV4,
    ETH_IPV6,
    PROTO_ICMPV6,
)
from controller.pipeline.flow import match
from controller.pipeline.policy import (
    ANSWER_MATCHES,
    ANSWER_WRITES,
    ask,
    write_answers,
    write_class,
    write_counts,
    write_identity,
    write_plain_rules,
    write_policy,
)
from controller.pipeline.program import Builder
from controller.pipeline.reasons import SCTP
from controller.pipeline.registers import (
    ALLOWED,
    ASKS,
    EGRESS_KEY,
    JUDGED,
    KNOWN,
    NO_CLASS,
    SCRATCH,
    SOURCE,
    SOURCE_CLASS,
    VERDICT,
    WOULD_REFUSE,
)
from controller.pipeline.samples import write_meter
from controller.pipeline.sides import (
    ALLOWING,
    ANSWER,
    EGRESS,
    INVALID,
    OLD,
    OPENER,
    OURS,
    RECALLING,
    RULE_KINDS,
    UNTRACKED_ICMPV6,
    policy_tables,
)
from controller.pipeline.stamps import DHCP_STAMP, bears, look_up
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import Groups, HostView, PortView


def _always(builder: Builder, host: HostView) -> None:
    """Write what happens to every packet, and the meter of what is told of them."""
    write_meter(builder, host)
    for kind in UNTRACKED_ICMPV6:
        where = match(eth_type=ETH_IPV6, ip_proto=PROTO_ICMPV6, icmpv6_type=kind)
        builder.flow("track", 200, where, goto=Stage.ROUTE, kind="not tracked", origin=OURS)
    # A port without port security asks nobody, and what comes from elsewhere is tracked once its receiver is known.
    free = match(**{SOURCE_CLASS.field: SOURCE_CLASS.is_(NO_CLASS)})
    builder.flow("track", 160, free, goto=Stage.ROUTE, kind="free of policy", origin=OURS)
    ask_tracker = [look_up(builder.table("egress_state"))]
    for ethertype in (ETH_IPV4, ETH_IPV6):
        builder.flow("track", 100, match(eth_type=ethertype), ask_tracker, kind="look up", origin=OURS)
    builder.flow("track", 0, (), goto=Stage.ROUTE, kind="not tracked", origin=OURS)
    _state(builder)
    _unknown(builder)
    write_policy(builder, EGRESS)


def _state(builder: Builder) -> None:
    """Write what becomes of a packet by the tracker's word."""
    builder.flow("egress_state", 300, INVALID, kind="invalid", origin=OURS)
    stamped = [EGRESS_KEY.load(DHCP_STAMP)]
    where = match(**{ASKS.field: ASKS.is_(1)})
    builder.flow("egress_state", 260, where, stamped, Stage.ROUTE, kind="DHCP client", origin=OURS)
    where = match(**bears(Direction.EGRESS, DHCP_STAMP), ct_state=OLD)
    answered = [*stamped, VERDICT.load(KNOWN)]
    builder.flow("egress_known", 300, where, answered, kind="DHCP answer", origin=OURS)
    for way, table, kind in ((OPENER, "egress_known", "opener"), (ANSWER, "ingress_known", "answer")):
        load = ask(builder, SOURCE_CLASS, table)
        builder.flow("egress_state", 100, match(ct_state=way), load, "egress_unknown", kind=kind, origin=OURS)


def _unknown(builder: Builder) -> None:
    """Write how the rules are asked, and what becomes of what they say."""
    known = match(**{VERDICT.field: VERDICT.is_(KNOWN)})
    builder.flow("egress_unknown", 200, known, goto=Stage.ROUTE, kind="let through before", origin=OURS)
    load = ask(builder, SOURCE_CLASS, "egress_judge")
    builder.flow("egress_unknown", 100, match(ct_state=OPENER), load, "egress_verdict", kind="opener", origin=OURS)
    write_answers(builder, "egress_unknown", SOURCE_CLASS, "ingress_judge", "egress_verdict")
    for verdict, kind in ((ALLOWED, "allowed"), (WOULD_REFUSE, "not enforced")):
        where = match(**{VERDICT.field: VERDICT.is_(verdict)})
        builder.flow("egress_verdict", 200, where, goto=Stage.ROUTE, kind=kind, origin=OURS)


def _port(builder: Builder, port: PortView) -> None:
    write_counts(builder, EGRESS, port, {SOURCE.field: SOURCE.is_(port.plug.key)}, Stage.ROUTE)


def _rules(builder: Builder, groups: Groups) -> None:
    write_plain_rules(builder, EGRESS, groups)


def _class(builder: Builder, groups: Groups) -> None:
    write_class(builder, EGRESS, groups)


def _identity(builder: Builder, space: str, identity: Identity, direction: Direction, stateless: bool) -> None:
    if not stateless:
        write_identity(builder, EGRESS, space, identity, direction, stateless)


_ASKS = (JUDGED.field, VERDICT.field)

FEATURE = Feature(
    name="egress_policy",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="track",
            stage=Stage.EGRESS_POLICY,
            slot=0,
            matches=("reg4", "eth_type", "ip_proto", "icmpv6_type"),
            writes=(*_ASKS, SCRATCH.field),
            next=("egress_state", "egress_verdict", "egress_packet", "egress_packet_peer", Stage.ROUTE),
            purpose="IP packets of local ports are looked up in the address space's zone",
            miss="cannot be reached: the last flow lets everything else go on",
        ),
        Table(
            name="egress_state",
            stage=Stage.EGRESS_POLICY,
            slot=1,
            matches=(ASKS.field, "ct_state", "eth_type", "ip_proto"),
            writes=(*_ASKS, EGRESS_KEY.field),
            next=("egress_unknown", "egress_known", "ingress_known", Stage.ROUTE),
            purpose="has the sender's policy let the connection through: out as its opener, or in as its answerer?",
            miss="cannot be reached: every packet here is an opener's or an answer",
        ),
        Table(
            name="egress_unknown",
            stage=Stage.EGRESS_POLICY,
            slot=2,
            matches=(VERDICT.field, *ANSWER_MATCHES),
            writes=ANSWER_WRITES,
            next=("egress_verdict", "egress_judge", "ingress_judge", Stage.ROUTE),
            purpose="established goes straight on; only what present policy has not let through meets rules",
            miss="cannot be reached: every packet here is an opener's or an answer",
        ),
        Table(
            name="egress_verdict",
            stage=Stage.EGRESS_POLICY,
            slot=3,
            matches=(VERDICT.field, SOURCE.field, "ct_state"),
            writes=(),
            next=(Stage.ROUTE,),
            purpose="what the rules said, counted by port where they refuse",
            miss="dropped: egress default deny",
        ),
        *policy_tables(EGRESS),
    ),
    kinds={
        **RULE_KINDS,
        "look up": "the connection tracker tells what the packet belongs to",
        "not tracked": "ARP and discovery belong to no connection",
        "free of policy": "a port without port security, or a packet from another host, has been judged or never is",
        "invalid": "no connection can have this packet (ovs-fields(7), ct_state inv)",
        SCTP: "ports are looked at in every packet, because not every tracker tells associations apart by them",
        "opener": "a packet of the side that opened the connection, or that opens it: the sender's egress policy is asked",
        "answer": "a packet of the other side, or an error from there: the sender's ingress policy is asked",
        "let through before": "the connection was let through by the policy of today",
        "allowed": "the rules allow the connection",
        "DHCP client": "a client may always ask for an address",
        "DHCP answer": "the answer to a client's question",
        "egress refused": "what the port may not send",
        "egress would be refused": "what the port might not send if all was enforced",
    },
    flows={Scope.HOST: _always, Scope.PORT: _port, Scope.RULES: _rules, Scope.CLASS: _class, Scope.IDENTITY: _identity},
    allows=ALLOWING | {"free of policy", "DHCP client"},
    recalls=RECALLING,
    tells=frozenset({"far side"}),
)
