"""Stateless groups: every packet is judged by itself, answers as well, and the connection tracker is not asked for these ports."""

from __future__ import annotations

from collections.abc import Iterator

from controller.graph.identities import Identity
from controller.model.entities import Direction, Rule
from controller.pipeline.fields import (
    ETH_IPV4,
    ETH_IPV6,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_UDP,
)
from controller.pipeline.flow import Action, Resubmit, Wanted, match
from controller.pipeline.policy import (
    ask,
    is_stateless,
    members_of,
    origin_of,
    write_default,
    write_identity,
    write_ports,
    write_rules,
)
from controller.pipeline.program import Builder
from controller.pipeline.registers import (
    ALLOWED,
    JUDGED,
    PEER,
    SCRATCH,
    SOURCE_CLASS,
    SPACE,
    TARGET_CLASS,
    VERDICT,
    Register,
)
from controller.pipeline.rules import PORT_FIELDS, Conditions, Look, named_groups, port_masks, rule_matches, rules_of
from controller.pipeline.sides import ALLOWING, EGRESS, INGRESS, OURS, RULE_KINDS, Side
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import Groups, HostView, class_key, class_name
from controller.pipeline.whole import look_at_whole

_ETHERTYPES = {4: ETH_IPV4, 6: ETH_IPV6}
_ADDRESSES = {4: "ip", 6: "ipv6"}
_ICMP = {(PROTO_ICMP, 4): "icmp", (PROTO_ICMPV6, 6): "icmpv6"}
_DHCP = ((ETH_IPV4, 68, 67), (ETH_IPV6, 546, 547))
_LATER, _NOT_LATER = (3, 3), (0, 2)  # A bit for a fragment, a bit for a later one (ovs-fields(7), ip_frag).


def _versions(rule: Rule) -> list[int] | list[None]:
    """Return the IP versions that take a flow each: what looks into a packet has to know which it is."""
    if rule.ethertype is not None:
        return [rule.ethertype]
    return [4, 6] if rule.protocol is not None or rule.cidrs else [None]


def _protocols(rule: Rule, version: int | None) -> Iterator[Conditions]:
    """Yield what the rule says of the protocol, one per mask of its port ranges; a later fragment has neither ports nor a type."""
    if rule.protocol is None:
        yield {}
        return
    start: Conditions = {"ip_proto": rule.protocol}
    icmp = _ICMP.get((rule.protocol, version or 0))
    more: Conditions = {}
    if icmp is not None and rule.icmp_type is not None:
        more[f"{icmp}_type"] = rule.icmp_type
        if rule.icmp_code is not None:
            more[f"{icmp}_code"] = rule.icmp_code
    parts: list[Conditions] = [{PORT_FIELDS[rule.protocol]: pair} for pair in port_masks(rule)]
    if more:
        parts.append(more)
    if not parts:
        yield start
        return
    for part in parts:
        yield start | part | {"ip_frag": _NOT_LATER}
    yield start | {"ip_frag": _LATER}


_PRESENT = Look(_versions, _protocols, ("ip_", "ipv6_"), {})


def _packet(side: Side) -> str:
    return f"{side.direction}_packet"


def _rules(side: Side) -> str:
    return f"{side.direction}_packet_rules"


def _always(builder: Builder, _host: HostView) -> None:
    """Write what is done to every packet before the rules see it."""
    for side in (EGRESS, INGRESS):
        write_ports(builder, _packet(side), _rules(side))
        builder.flow(side.lookup(stateless=True)[0], 0, (), [PEER.load(0)], kind="unknown far side", origin=OURS)
    for ethertype, source, target in _DHCP:
        where = match(eth_type=ethertype, ip_proto=PROTO_UDP, udp_src=source, udp_dst=target)
        load_verdict = [VERDICT.load(ALLOWED)]
        builder.flow(_packet(EGRESS), 200, where, load_verdict, kind="DHCP client", origin=OURS)


def _class(builder: Builder, names: Groups) -> None:
    if not is_stateless(builder.memo, names):
        return
    members, own = members_of(builder.memo, names), class_name(names)
    origin = origin_of(names)
    mine: dict[str, Wanted] = {JUDGED.field: JUDGED.is_(class_key(names))}
    for side, near, table in ((EGRESS, SOURCE_CLASS, "track"), (INGRESS, TARGET_CLASS, "ingress_track")):
        question = _question(builder, side, near, asks=bool(named_groups(members, side.direction)))
        asks_who = any(not rule.is_from_anyone for _, rule in rules_of(members, side.direction))
        for version, ethertype in _ETHERTYPES.items():
            where = match(**{near.field: near.is_(class_key(names))}, eth_type=ethertype)
            # Prefixes of all lengths, and of ports, would be as many masks of the datapath as there are pairs of them.
            whole = look_at_whole(f"{_ADDRESSES[version]}_{side.far}") if asks_who else []
            builder.flow(table, 150, where, [*whole, *question], side.verdict, kind="stateless", origin=origin)
        found = rule_matches(builder.memo, members, side.direction, mine, own, _PRESENT)
        write_rules(builder, _rules(side), found)
        write_default(builder, _rules(side), members, mine, origin)


def _question(builder: Builder, side: Side, near: Register, *, asks: bool) -> list[Action]:
    peer = [Resubmit(builder.table(side.lookup(stateless=True)[0]))] if asks else []
    return [*ask(builder, near), *peer, Resubmit(builder.table(_packet(side)))]


def _identity(builder: Builder, space: str, identity: Identity, direction: Direction, stateless: bool) -> None:
    if stateless:
        for side in (EGRESS, INGRESS):
            write_identity(builder, side, space, identity, direction, stateless)


def _tables(side: Side) -> tuple[Table, ...]:
    near, far = ("sender", "receiver") if side.direction is Direction.EGRESS else ("receiver", "sender")
    peers, addresses, _ = side.lookup(stateless=True)
    what = (*PORT_FIELDS.values(), "icmp_type", "icmp_code", "icmpv6_type", "icmpv6_code", "conj_id")
    return (
        Table(
            *(_packet(side), Stage.PACKETS, side.slot, ("eth_type", "ip_proto", "udp_src", "udp_dst")),
            *((SCRATCH.field, VERDICT.field), (_rules(side),)),
            purpose="the port is read, so that the rules' ranges are no masks of the datapath",
            miss="cannot be reached: the last flow lets everything else go on",
        ),
        Table(
            *(peers, Stage.PACKETS, 2 + side.slot, (SPACE.field, "eth_type", *addresses), (PEER.field,), ()),
            purpose=f"the {far}'s address -> what it is, for rules of stateless groups that name groups",
            miss="cannot be reached: what nobody names is 0",
        ),
        Table(
            *(_rules(side), Stage.PACKETS, 4 + side.slot),
            (JUDGED.field, PEER.field, "eth_type", "ip_proto", "ip_frag", *addresses, *what),
            *((VERDICT.field,), ()),
            purpose=f"the {near}'s class and the packet decide",
            miss=f"nothing: {side.direction} default deny",
        ),
    )


FEATURE = Feature(
    name="stateless",
    summary=__doc__.splitlines()[0],
    tables=(*_tables(EGRESS), *_tables(INGRESS)),
    kinds={
        **{
            kind: RULE_KINDS[kind]
            for kind in ("far side", "unknown far side", *sorted(ALLOWING - {"everything allowed"}))
        },
        "stateless": "a packet of ports whose groups are stateless is judged by itself",
        "port": "a packet with a port",
        "no port": "any other packet",
        "DHCP client": "a client may always ask for an address",
    },
    flows={Scope.HOST: _always, Scope.CLASS: _class, Scope.IDENTITY: _identity},
    allows=(ALLOWING - {"everything allowed"}) | {"DHCP client"},
    tells=frozenset({"far side"}),
)
