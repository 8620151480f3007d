"""Ingress policy: what comes to a port needs the word of that port's policy; new connections meet rules in a pass of their own."""

from __future__ import annotations

from controller.graph.identities import Identity
from controller.model.entities import Direction
from controller.pipeline.fields import CT_TRACKED, ETH_ARP, ETH_IPV4, ETH_IPV6, PROTO_ICMPV6
from controller.pipeline.flow import match
from controller.pipeline.policy import (
    ANSWER_MATCHES,
    ANSWER_WRITES,
    ask,
    origin_of,
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
    JUDGED,
    KNOWN,
    NO_CLASS,
    SCRATCH,
    SET_OF_PORTS,
    TARGET,
    TARGET_CLASS,
    VERDICT,
    WOULD_REFUSE,
)
from controller.pipeline.sides import (
    ALLOWING,
    ANSWER,
    INGRESS,
    INVALID,
    OPENER,
    OURS,
    RECALLING,
    RULE_KINDS,
    UNTRACKED_ICMPV6,
    policy_tables,
)
from controller.pipeline.stamps import look_up, opened_by
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import Groups, HostView, PortView, class_key, ethertypes_of


def _always(builder: Builder, _host: HostView) -> None:
    """Write what happens to every packet."""
    free = match(**{TARGET_CLASS.field: TARGET_CLASS.is_(NO_CLASS)})
    builder.flow("ingress_track", 400, free, goto=Stage.DELIVER, kind="free of policy", origin=OURS)
    builder.flow("ingress_track", 350, match(eth_type=ETH_ARP), goto=Stage.DELIVER, kind="not tracked", origin=OURS)
    for number in UNTRACKED_ICMPV6:
        where = match(eth_type=ETH_IPV6, ip_proto=PROTO_ICMPV6, icmpv6_type=number)
        builder.flow("ingress_track", 350, where, goto=Stage.DELIVER, kind="not tracked", origin=OURS)
    tracked = match(ct_state=(CT_TRACKED, CT_TRACKED))
    builder.flow("ingress_track", 120, tracked, goto="ingress_state", kind="tracked", origin=OURS)
    ask_tracker = [look_up(builder.table("ingress_state"))]
    for ethertype in (ETH_IPV4, ETH_IPV6):
        builder.flow("ingress_track", 100, match(eth_type=ethertype), ask_tracker, kind="look up", origin=OURS)
    builder.flow("ingress_state", 300, INVALID, kind="invalid", origin=OURS)
    load = ask(builder, TARGET_CLASS, "ingress_known")
    builder.flow("ingress_state", 100, match(ct_state=OPENER), load, "ingress_unknown", kind="opener", origin=OURS)
    load = ask(builder, TARGET_CLASS, "egress_known")
    for where in (
        match(ct_state=ANSWER, **opened_by(0)),
        match(ct_state=ANSWER, **{TARGET.field: (SET_OF_PORTS, SET_OF_PORTS)}),
    ):
        builder.flow("ingress_state", 140, where, load, "ingress_unknown", kind="answer", origin=OURS)
    builder.flow("ingress_state", 100, match(ct_state=ANSWER), kind="inherited answer", origin=OURS)
    load = ask(builder, TARGET_CLASS, "ingress_judge")
    builder.flow("ingress_again", 100, match(ct_state=OPENER), load, "ingress_verdict", kind="opener", origin=OURS)
    write_answers(builder, "ingress_again", TARGET_CLASS, "egress_judge", "ingress_verdict")
    _verdicts(builder)
    write_policy(builder, INGRESS)


def _verdicts(builder: Builder) -> None:
    """Write what becomes of what policy says."""
    known = match(**{VERDICT.field: VERDICT.is_(KNOWN)})
    builder.flow("ingress_unknown", 200, known, goto=Stage.DELIVER, kind="let through before", origin=OURS)
    # A second lookup recirculates: the megaflows of the two directions' rules then add up and do not multiply.
    again = [look_up(builder.table("ingress_again"))]
    for ethertype in (ETH_IPV4, ETH_IPV6):
        builder.flow("ingress_unknown", 100, match(eth_type=ethertype), again, kind="new", origin=OURS)
    for verdict, kind in ((ALLOWED, "allowed"), (WOULD_REFUSE, "not enforced")):
        where = match(**{VERDICT.field: VERDICT.is_(verdict)})
        builder.flow("ingress_verdict", 200, where, goto=Stage.DELIVER, kind=kind, origin=OURS)


def _port(builder: Builder, port: PortView) -> None:
    if not port.plug.is_open:
        here = {TARGET.field: TARGET.is_(port.plug.target)}
        where = match(ct_state=ANSWER, **here, **opened_by(port.plug.key))
        load = ask(builder, TARGET_CLASS, "egress_known")
        builder.flow("ingress_state", 150, where, load, "ingress_unknown", kind="answer", origin=port.origin)
    write_counts(builder, INGRESS, port, {TARGET.field: TARGET.is_(port.plug.target)}, Stage.DELIVER)


def _rules(builder: Builder, groups: Groups) -> None:
    write_plain_rules(builder, INGRESS, groups)


def _class(builder: Builder, groups: Groups) -> None:
    write_class(builder, INGRESS, groups)
    for ethertype in ethertypes_of(groups):
        where = match(**{TARGET_CLASS.field: TARGET_CLASS.is_(class_key(groups))}, eth_type=ethertype)
        kind, origin = "further ethertype", origin_of(groups)
        builder.flow("ingress_track", 350, where, goto=Stage.DELIVER, kind=kind, origin=origin)


def _identity(builder: Builder, space: str, identity: Identity, direction: Direction, stateless: bool) -> None:
    if not stateless:
        write_identity(builder, INGRESS, space, identity, direction, stateless)


_ASKS = (JUDGED.field, VERDICT.field)

FEATURE = Feature(
    name="ingress_policy",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="ingress_track",
            stage=Stage.INGRESS_POLICY,
            slot=0,
            matches=("reg5", "ct_state", "eth_type", "ip_proto", "icmpv6_type"),
            writes=(*_ASKS, SCRATCH.field),
            next=("ingress_state", "ingress_verdict", "ingress_packet", "ingress_packet_peer", Stage.DELIVER),
            purpose="IP packets that nobody has looked up yet are looked up in the address space's zone",
            miss="dropped: neither IP nor ARP, for a port under policy",
        ),
        Table(
            name="ingress_state",
            stage=Stage.INGRESS_POLICY,
            slot=1,
            matches=("ct_state", "ct_label", TARGET.field, "eth_type", "ip_proto"),
            writes=_ASKS,
            next=("ingress_unknown", "ingress_known", "egress_known"),
            purpose="has the receiver's policy let the connection through: in as its answerer, or out as its opener?",
            miss="cannot be reached: every packet here is an opener's or an answer",
        ),
        Table(
            name="ingress_unknown",
            stage=Stage.INGRESS_POLICY,
            slot=2,
            matches=(VERDICT.field, "eth_type"),
            writes=(),
            next=("ingress_again", Stage.DELIVER),
            purpose="established goes straight on; only what present policy has not let through meets rules",
            miss="cannot be reached: all else is IP",
        ),
        Table(
            name="ingress_again",
            stage=Stage.INGRESS_POLICY,
            slot=3,
            matches=ANSWER_MATCHES,
            writes=ANSWER_WRITES,
            next=("ingress_verdict", "ingress_judge", "egress_judge"),
            purpose="the rules are asked, in a pass of their own",
            miss="cannot be reached: every packet here is an opener's or an answer",
        ),
        Table(
            name="ingress_verdict",
            stage=Stage.INGRESS_POLICY,
            slot=4,
            matches=(VERDICT.field, TARGET.field, "ct_state"),
            writes=(),
            next=(Stage.DELIVER,),
            purpose="what the rules said, counted by port where they refuse",
            miss="dropped: ingress default deny",
        ),
        *policy_tables(INGRESS),
    ),
    kinds={
        **RULE_KINDS,
        "look up": "the connection tracker tells what the packet belongs to",
        "tracked": "it has been looked up for the sender",
        "further ethertype": "the files let this ethertype through for the port",
        "free of policy": "a port without port security gets everything",
        "not tracked": "ARP and discovery belong to no connection",
        "invalid": "no connection can have this packet (ovs-fields(7), ct_state inv)",
        SCTP: "ports are looked at in every packet, because not every tracker tells associations apart by them",
        "opener": "a packet of the side that opened the connection, or that opens it: the receiver's ingress policy is asked",
        "answer": "a packet of the other side, or an error from there: the receiver's egress policy is asked",
        "inherited answer": "its question was asked by a port that had the address before",
        "let through before": "the connection was let through by the policy of today",
        "new": "a new connection, and one that present policy has not let through, meets the rules in a pass of its own",
        "allowed": "the rules allow the connection",
        "ingress refused": "what the port may not get",
        "ingress would be refused": "what the port might not get if all was enforced",
    },
    flows={Scope.HOST: _always, Scope.PORT: _port, Scope.RULES: _rules, Scope.CLASS: _class, Scope.IDENTITY: _identity},
    allows=ALLOWING | {"free of policy"},
    recalls=RECALLING,
    tells=frozenset({"far side"}),
)
