"""What the two policy features share: the flows of a class of ports, asked from both policy stages.

Every connection needs two yeses: the opener's egress policy and the answerer's ingress policy. Each is asked where its port is, for
packets in both directions:

    leaving a port    the opener's packet: egress policy of the sender       an answer: ingress policy of the sender
    coming to a port  the opener's packet: ingress policy of the receiver    an answer: egress policy of the receiver

`*_known` says whether the connection bears a good stamp (`controller.pipeline.stamps`); if not, `*_judge` asks the rules,
which look at the connection's first packet (ct_nw_src, ct_tp_dst, ...) and not at the present one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.graph import queries
from controller.graph.identities import Identity
from controller.memo import Memo, query
from controller.model.entities import Direction, Rule, SecurityGroup
from controller.model.ids import key
from controller.pipeline.costs import looks_whole
from controller.pipeline.fields import BY_NAME, CT_NEW, CT_TRACKED, ETH_IPV4, ETH_IPV6, PROTO_SCTP, PROTO_TCP, PROTO_UDP
from controller.pipeline.flow import Action, Match, Metered, Move, Origin, Resubmit, Wanted, match, move
from controller.pipeline.program import Builder
from controller.pipeline.reasons import SCTP
from controller.pipeline.registers import (
    ALLOWED,
    FRESH,
    JUDGED,
    KNOWN,
    LATER,
    PEER,
    PORTS,
    REFUSED,
    SPACE,
    VERDICT,
    WOULD_REFUSE,
    Register,
)
from controller.pipeline.rules import (
    PORT_FIELDS,
    RuleMatch,
    far_names,
    is_unrestricted,
    named_groups,
    rank,
    rule_matches,
    rules_of,
)
from controller.pipeline.samples import is_logged, logs_drops, sample
from controller.pipeline.sides import ANSWER, OLD, OURS, TRACKED, Side
from controller.pipeline.stamps import bears, bears_peer, stamp
from controller.pipeline.tables import Stage
from controller.pipeline.view import Groups, PortView, class_key, class_name, classes_everywhere, classes_of_space
from controller.pipeline.whole import look_at_whole

# Conjunctions stand below the flows that allow by themselves: flows of one priority must not overlap with different effects.
# What is not enforced comes last: only what it alone lets through is counted there. Of each kind, what is logged comes first.
# Flows that allow by themselves are looked up in the order of `controller.pipeline.rules.rank`, upwards of these.
_LATER_FRAGMENT = 60_000
_DIRECT, _JOINT = {True: 48_000, False: 36_000}, {True: 47_000, False: 35_000}
_DRY_DIRECT, _DRY_JOINT, _DRY_DEFAULT = {True: 24_000, False: 12_000}, {True: 23_000, False: 11_000}, 10

# The tracker hands fragments on when it has seen all of a packet, and those that rules have let by do not leave without
# another visit there. So the first fragment, which alone names ports, decides: without it the others stay with the tracker.
_LATER = (3, 3)


def opening(members: Iterable[SecurityGroup], direction: Direction) -> tuple[SecurityGroup, Rule] | None:
    """Return the rule of these groups, with its group, that makes all others superfluous in a direction; None if none does.

    A rule that allows everything does, unless others are logged and it is not.
    """
    rules = rules_of(members, direction)
    found = sorted((each for each in rules if is_unrestricted(each[1])), key=lambda each: not is_logged(*each))
    if not found or (any(is_logged(*each) for each in rules) and not is_logged(*found[0])):
        return None
    return found[0]


def ask(builder: Builder, near: Register, table: str | None = None) -> list[Action]:
    """Return the actions that ask a table of a policy about the class in a register; without a table nothing is known yet."""
    question = [] if table is None else [Resubmit(builder.table(table))]
    return [move(near.field, JUDGED.field), VERDICT.load(REFUSED), *question]


def write_answers(builder: Builder, table: str, near: Register, judge: str, goto: str) -> None:
    """Write how rules are asked about an answer: they look at the port of the connection's first packet, which it bears meanwhile.

    Of SCTP the userspace tracker does not know the ports; there it is the one that the answer comes from.
    """
    load = ask(builder, near, judge)
    builder.flow(table, 100, match(ct_state=ANSWER), load, goto, kind="answer", origin=OURS)
    for protocol, field, first in (
        (PROTO_TCP, "tcp_dst", "ct_tp_dst"),
        (PROTO_UDP, "udp_dst", "ct_tp_dst"),
        (PROTO_SCTP, "sctp_dst", "sctp_src"),
    ):
        keep = Move(BY_NAME[field].index, BY_NAME[PORTS.field].index, 16)
        back = Move(BY_NAME[PORTS.field].index, BY_NAME[field].index, 16)
        as_opener: list[Action] = [keep, move(first, field), *load, back, PORTS.load(0)]
        for ethertype in (ETH_IPV4, ETH_IPV6):
            where = match(eth_type=ethertype, ip_proto=protocol, ct_state=ANSWER)
            builder.flow(table, 110, where, as_opener, goto, kind="answer", origin=OURS)


ANSWER_MATCHES = ("ct_state", "eth_type", "ip_proto")
ANSWER_WRITES = (JUDGED.field, VERDICT.field, PORTS.field, "tcp_dst", "udp_dst", "sctp_dst")


def write_counts(builder: Builder, side: Side, port: PortView, here: Mapping[str, Wanted], onward: Stage) -> None:
    """Write what counts what a port's policy refuses, and what it would refuse; `here` says that the packet is the port's."""
    if port.plug.is_open:
        return
    table, direction = side.verdict, side.direction
    limit: list[Action] = []
    if port.port.new_connections is not None:
        # A meter has the number of its port; both directions share it, and so do subports.
        number, rate = port.plug.number, port.port.new_connections
        builder.meter(number, rate, rate, origin=port.origin)
        limit = [Metered(number)]
        new = match(**_with_verdict(here, ALLOWED), ct_state=(CT_TRACKED | CT_NEW, CT_TRACKED | CT_NEW))
        builder.flow(table, 220, new, limit, onward, kind="limited", origin=port.origin)
    refused = match(**_with_verdict(here, REFUSED))
    told = sample(wanted=logs_drops(builder.memo, port.port.groups))
    builder.flow(table, 100, refused, told, kind=f"{direction} refused", origin=port.origin)
    if is_dry(builder.memo, port.port.groups, direction):
        where = match(**_with_verdict(here, WOULD_REFUSE))
        builder.flow(table, 210, where, limit, onward, kind=f"{direction} would be refused", origin=port.origin)


def _with_verdict(here: Mapping[str, Wanted], verdict: int) -> dict[str, Wanted]:
    return {**here, VERDICT.field: VERDICT.is_(verdict)}


def write_policy(builder: Builder, side: Side) -> None:
    """Write what holds for every class."""
    for ethertype in (ETH_IPV4, ETH_IPV6):
        where = match(eth_type=ethertype, ip_frag=_LATER)
        load = [VERDICT.load(ALLOWED), FRESH.load(0), LATER.load(1)]
        builder.flow(side.rules, _LATER_FRAGMENT, where, load, kind="later fragment", origin=OURS)
        # Open vSwitch's userspace tracker knows an SCTP association by its two addresses alone, whatever its ports: what has
        # been allowed to one port would be a door to all. So its packets meet the rules again (Linux's tracker needs no such help).
        sctp = match(eth_type=ethertype, ip_proto=PROTO_SCTP)
        builder.flow(side.known, 400, sctp, kind=SCTP, origin=OURS)
    write_ports(builder, side.ports, side.far_rules)
    builder.flow(side.peers, 0, (), [PEER.load(0)], kind="unknown far side", origin=OURS)


def write_ports(builder: Builder, table: str, goto: str) -> None:
    """Write that ports are looked at whole, in a table of their own before the rules that follow."""
    for ethertype in (ETH_IPV4, ETH_IPV6):
        for protocol, field in PORT_FIELDS.items():
            where = match(eth_type=ethertype, ip_proto=protocol)
            builder.flow(table, 100, where, look_at_whole(field), goto, kind="port", origin=OURS)
    builder.flow(table, 0, (), goto=goto, kind="no port", origin=OURS)


def members_of(memo: Memo, names: Iterable[str]) -> tuple[SecurityGroup, ...]:
    """Return groups by name."""
    found = (queries.group(memo, name) for name in names)
    return tuple(each for each in found if each is not None)


def origin_of(names: Groups) -> Origin:
    """Return the origin of what a class of ports needs."""
    return Origin(f"ports of {class_name(names)}" if names else "ports without security groups", None)


def write_class(builder: Builder, side: Side, names: Groups) -> None:
    """Write the flows of a class of ports for one direction: its stamp, and its rules."""
    if is_stateless(builder.memo, names):
        return
    members, direction = members_of(builder.memo, names), side.direction
    mine: dict[str, Wanted] = {JUDGED.field: JUDGED.is_(class_key(names))}
    origin = origin_of(names)
    good = stamp(direction, class_name(names), members, (rule for _, rule in rules_of(members, direction)))
    # A port without groups is closed to others, but may itself speak (nothing in, everything out).
    opened = _opened(members, direction) if members else (origin, False) if direction is Direction.EGRESS else None
    keep = [side.key.load(good), FRESH.load(1), side.peer.load(0)]
    builder.flow(side.judge, 100, match(**mine), keep, side.rules, kind="judged", origin=origin)
    if opened is not None:
        # Below the tracker's word all IP is open; new connections pass by a flow of their own, which goes first when a rule closes.
        where, old = match(**mine), match(**mine, ct_state=OLD)
        opener, is_told = opened
        load: list[Action] = [VERDICT.load(ALLOWED), *sample(wanted=is_told)]
        builder.flow(side.judge, 200, where, load, kind="everything allowed", origin=opener)
        builder.flow(side.known, 200, old, [VERDICT.load(KNOWN)], kind="known", origin=opener)
        return
    # Who was let through as anybody may be somebody by now, and is not looked up.
    load = [side.key.load(good), VERDICT.load(KNOWN)]
    where = match(**mine, ct_state=OLD, **bears(direction, good, 0))
    builder.flow(side.known, 110, where, load, kind="known", origin=origin)
    far = _write_found(builder, side, names, apart=False)
    if not far and not _passes_by_default(members) and not _asks_for_addresses(members, direction):
        return
    look: list[Action] = []
    if named_groups(members, direction):
        look = [Resubmit(builder.table(side.peers))]
        where = match(**mine, ct_state=OLD, **bears(direction, good))
        builder.flow(side.known, 100, where, (side.key.load(good), *look), side.same, kind="known", origin=origin)
        _write_same(builder, side, members, mine, origin)
        look.append(Resubmit(builder.table(side.named)))
    builder.flow(side.rules, 1, match(**mine), look, side.ports, kind="judged", origin=origin)
    for version, ethertype in ((4, ETH_IPV4), (6, ETH_IPV6)):
        if looks_whole((rule for _, rule in rules_of(members, direction)), version):
            where = match(**mine, eth_type=ethertype, ct_state=TRACKED)
            whole = look_at_whole(f"ct_{'nw' if version == 4 else 'ipv6'}_{side.far}")
            builder.flow(side.rules, 2, where, [*whole, *look], side.ports, kind="judged", origin=origin)
    write_default(builder, side.far_rules, members, mine, origin)


def write_plain_rules(builder: Builder, side: Side, names: Groups) -> None:
    """Write the rules of a class, for one direction, that stay as they are whoever is in the groups."""
    members = members_of(builder.memo, names)
    if members and not is_stateless(builder.memo, names) and not opening(members, side.direction):
        _write_found(builder, side, names, apart=True)


def _write_found(builder: Builder, side: Side, names: Groups, *, apart: bool) -> bool:
    """Write some rules of a class; return whether one of them stands in the table behind the one for rules that ask for no address."""
    members, direction = members_of(builder.memo, names), side.direction
    mine: dict[str, Wanted] = {JUDGED.field: JUDGED.is_(class_key(names))}
    parts: tuple[list[RuleMatch], list[RuleMatch]] = [], []
    may_be_near = _may_be_near(members, direction)
    for each in rule_matches(builder.memo, members, direction, mine, class_name(names), apart=apart):
        parts[may_be_near and each.origin.rule is not None and _needs_no_address(each.origin.rule)].append(each)
    far, near = parts
    write_rules(builder, side.rules, near)
    write_rules(builder, side.far_rules, far)
    return bool(far)


def _may_be_near(members: tuple[SecurityGroup, ...], direction: Direction) -> bool:
    """Return whether rules may stand in the first table: where something is logged all are in one, the logged ones first."""
    return not any(is_logged(*each) for each in rules_of(members, direction))


def _asks_for_addresses(members: tuple[SecurityGroup, ...], direction: Direction) -> bool:
    """Return whether some rule that names no group stands in the second table."""
    rules = [rule for _, rule in rules_of(members, direction) if not rule.groups and not rule.addresses]
    return bool(rules) and not (_may_be_near(members, direction) and all(map(_needs_no_address, rules)))


def _needs_no_address(rule: Rule) -> bool:
    """Return whether a rule comes before anybody's address is looked at, so that no address costs a megaflow of its own.

    What is not enforced comes after all that is.
    """
    return rule.is_from_anyone and rule.enforce


def _opened(members: tuple[SecurityGroup, ...], direction: Direction) -> tuple[Origin, bool] | None:
    """Return the origin of the rule that opens a class wholly and whether it is logged, None if none does."""
    found = opening(members, direction)
    if found is None:
        return None
    group, rule = found
    return Origin(f"{group.name} {direction} rule", rule.place, rule), is_logged(group, rule)


def _write_same(
    builder: Builder, side: Side, members: tuple[SecurityGroup, ...], mine: dict[str, Wanted], origin: Origin
) -> None:
    """Write which far sides are what they were: a member that leaves a group takes its connections along, and no others."""
    keep: list[Action] = [move(PEER.field, side.peer.field)]
    named = far_names(builder.memo, named_groups(members, side.direction))
    for combination in sorted(map(sorted, named)):
        peer = class_key(combination)
        here = {**mine, PEER.field: PEER.is_(peer)}
        where = match(**here, **bears_peer(side.direction, peer))
        builder.flow(side.same, 100, where, [*keep, VERDICT.load(KNOWN)], kind="same far side", origin=origin)
        builder.flow(side.named, 100, match(**here), keep, kind="named far side", origin=origin)


def write_rules(builder: Builder, table: str, found: Iterable[RuleMatch]) -> None:
    """Write rules of a class."""
    for each in found:
        rule = each.origin.rule
        dry = rule is not None and not rule.enforce
        if each.conjunctions:
            levels, kind = (_DRY_JOINT, "part of a dry rule") if dry else (_JOINT, "part of a rule")
            priority = levels[each.is_logged]
            builder.flow(table, priority, each.match, each.conjunctions, kind=kind, origin=each.origin)
        else:
            levels, kind = (_DRY_DIRECT, "dry rule") if dry else (_DIRECT, "rule")
            load: list[Action] = [VERDICT.load(WOULD_REFUSE if dry else ALLOWED), *sample(wanted=each.is_logged)]
            priority = levels[each.is_logged] + rank(each.match)
            builder.flow(table, priority, each.match, load, kind=kind, origin=each.origin)


def write_default(
    builder: Builder, table: str, members: tuple[SecurityGroup, ...], mine: dict[str, Wanted], origin: Origin
) -> None:
    """Write what lets pass whatever no rule allows where none of a class's groups is enforced."""
    if _passes_by_default(members):
        load: list[Action] = [VERDICT.load(WOULD_REFUSE), *sample(wanted=any(group.log for group in members))]
        builder.flow(table, _DRY_DEFAULT, match(**mine), load, kind="not enforced", origin=origin)


def _passes_by_default(members: tuple[SecurityGroup, ...]) -> bool:
    return bool(members) and not any(group.enforce for group in members)


@query
def is_dry(memo: Memo, names: Groups, direction: Direction) -> bool:
    """Return whether policy lets a packet of a class pass that it would refuse if all of it was enforced."""
    members = members_of(memo, names)
    return _passes_by_default(members) or any(not rule.enforce for _, rule in rules_of(members, direction))


@query
def _named(memo: Memo, names: Groups, direction: Direction) -> frozenset[str]:
    """Return what must be known of far addresses where a class is judged: groups and address groups."""
    members = members_of(memo, names)
    return frozenset() if opening(members, direction) else frozenset(named_groups(members, direction))


@query
def is_stateless(memo: Memo, names: Groups) -> bool:
    """Return whether a class's packets are judged one by one: its groups, of which there are some, are all of this kind."""
    members = members_of(memo, names)
    return bool(members) and all(group.stateless for group in members)


@query
def _named_in(memo: Memo, space: str, direction: Direction, stateless: bool) -> frozenset[str]:
    """Return the groups that some rule of an address space's ports names as its far side, of one manner of judging."""
    return _named_by(memo, classes_everywhere(memo, space), direction, stateless)


@query
def named_on(memo: Memo, host: str, space: str, direction: Direction, stateless: bool) -> frozenset[str]:
    """Return the groups whose members a host must know for one direction's rules of an address space, of one manner of judging.

    Where no rule of the host's ports names anybody it is none. Otherwise it is all that are named in the address space: a port that
    joins a group, and brings rules that its host did not have, then costs the rules alone, and not a flow for each whom they name.
    """
    here = _named_by(memo, classes_of_space(memo, host, space), direction, stateless)
    return _named_in(memo, space, direction, stateless) | here if here else here


def _named_by(memo: Memo, classes: Iterable[Groups], direction: Direction, stateless: bool) -> frozenset[str]:
    judged_so = (names for names in classes if is_stateless(memo, names) is stateless)
    return frozenset().union(*(_named(memo, names, direction) for names in judged_so))


def write_identity(
    builder: Builder, side: Side, space: str, identity: Identity, direction: Direction, stateless: bool
) -> None:
    """Write what an address of an address space is, for the rules of one direction and manner."""
    if direction is not side.direction:
        return
    table, (v4, v6), more = side.lookup(stateless)
    field = v4 if identity.prefix.version == 4 else v6
    here: dict[str, Wanted] = {SPACE.field: SPACE.is_(key("space", space)), field: identity.prefix}
    where: Match = match(**here, eth_type=ETH_IPV4 if identity.prefix.version == 4 else ETH_IPV6, **more)
    load, origin = PEER.load(class_key(identity.groups)), Origin(f"members of {class_name(identity.groups)}", None)
    priority = 100 + identity.prefix.prefixlen
    builder.flow(table, priority, where, [load], kind="far side", origin=origin)
