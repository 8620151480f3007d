"""What a connection's entry in the tracker bears: which policy let it out and in, and who the far side was then.

| part of the entry | written from | meaning |
|---|---|---|
| `ct_mark` | `INGRESS_KEY` | stamp of the answerer's class, as its rules let the connection in; 0: nobody here did |
| `ct_label[0..31]` | `EGRESS_KEY` | stamp of the opener's class, as its rules let the connection out |
| `ct_label[32..63]` | `EGRESS_PEER` | what the answerer's address was then; 0 where no rule asked |
| `ct_label[64..95]` | `INGRESS_PEER` | what the opener's address was then |
| `ct_label[112..127]` | `SOURCE` | low bits of the key of the port here that opened the connection; 0: somebody elsewhere did |
| `ct_label[96..111]` | `ZONE` | its zone, where connections are limited: a packet without an entry bears none |

A stamp is a hash of a class of ports and of all that its rules say in one direction, so it is good exactly as long as they say it. A
packet whose connection bears a good stamp passes; any other is judged by the rules, for the connection's first packet, whichever way
it goes itself. So a rule that goes ends its connections and no others, at the moment in which the flows change, with no entry
touched and nothing remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller.model.entities import Direction, Rule, SecurityGroup
from controller.model.ids import key
from controller.pipeline.fields import BY_NAME, CT_ESTABLISHED, CT_NEW, CT_TRACKED, ETH_IPV4, ETH_IPV6
from controller.pipeline.flow import Conntrack, Match, Move, Origin, Wanted, match, move
from controller.pipeline.program import Builder
from controller.pipeline.registers import (
    EGRESS_KEY,
    EGRESS_PEER,
    FRESH,
    INGRESS_KEY,
    INGRESS_PEER,
    LATER,
    NETWORK,
    SOURCE,
    ZONE,
)
from controller.pipeline.tables import Stage

DHCP_STAMP = 1  # Of a client's question, which no rule allows or forbids. Stamps of rules have the highest bit.
_OF_RULES = 1 << 31
_BITS = 31
_ONES = (1 << 32) - 1

_AT = {EGRESS_KEY: 0, EGRESS_PEER: 32, INGRESS_PEER: 64}  # Bits of ct_label.

_ZONE = BY_NAME[ZONE.field].index
_WRITE = Conntrack(
    commit=True,
    zone_field=_ZONE,
    actions=(
        move(INGRESS_KEY.field, "ct_mark"),
        *(move(register.field, "ct_label", offset) for register, offset in _AT.items()),
    ),
)

# A new connection also bears who opened it, if that was a port here: its answers are for nobody who gets the address later.
_OWNER_AT, _OWNER_BITS = 112, 16  # In ct_label.
_OWNER_ONES = (1 << _OWNER_BITS) - 1
_KEEP = replace(
    _WRITE,
    actions=(*_WRITE.actions, Move(BY_NAME[SOURCE.field].index, BY_NAME["ct_label"].index, _OWNER_BITS, 0, _OWNER_AT)),
)

# The tracker keeps later fragments back until it has seen the first, which alone the rules have judged.
_VISIT = Conntrack(commit=True, zone_field=_ZONE)

_ZONE_AT = 96  # In ct_label.
_ZONE_BITS = (1 << ZONE.bits) - 1


def keep_and_see(table: int) -> Conntrack:
    """Return the action that keeps a new connection and goes on in a table, which sees by `bears_zone` whether it was kept."""
    mark = Move(_ZONE, BY_NAME["ct_label"].index, ZONE.bits, ZONE.offset, _ZONE_AT)
    return Conntrack(commit=True, zone_field=_ZONE, table=table, actions=(*_KEEP.actions, mark))


def bears_zone(zone: int) -> dict[str, tuple[int, int]]:
    """Return the condition that a connection has been kept by `keep_and_see` in a zone."""
    return {"ct_label": (zone << _ZONE_AT, _ZONE_BITS << _ZONE_AT)}


def look_up(table: int) -> Conntrack:
    """Return the action that asks the tracker and goes on in a table."""
    return Conntrack(zone_field=_ZONE, table=table)


def stamp(direction: Direction, name: str, groups: Iterable[SecurityGroup], rules: Iterable[Rule]) -> int:
    """Return the stamp of a class of ports in one direction; `name` is the class's."""
    said = sorted({_text(rule) for rule in rules})
    manner = sorted({(group.enforce, group.stateless) for group in groups})
    return _OF_RULES | key("stamp", f"{direction} {name} {manner} {said}", _BITS)


def _text(rule: Rule) -> str:
    return repr(
        (
            *(rule.ethertype, rule.protocol, rule.icmp_type, rule.icmp_code, rule.enforce),
            *(sorted(map(str, rule.ports)), sorted(map(str, rule.cidrs)), sorted(rule.groups), sorted(rule.addresses)),
        )
    )


def bears(direction: Direction, good: int, peer: int | None = None) -> dict[str, Wanted]:
    """Return the condition that a connection bears a stamp, and that the far side was this when it was let through."""
    found: dict[str, Wanted] = {}
    label = mask = 0
    if direction is Direction.INGRESS:
        found["ct_mark"] = good
    else:
        label, mask = good, _ONES
    if peer is not None:
        offset = _AT[INGRESS_PEER if direction is Direction.INGRESS else EGRESS_PEER]
        label, mask = label | peer << offset, mask | _ONES << offset
    return {**found, "ct_label": (label, mask)} if mask else found


def bears_peer(direction: Direction, peer: int) -> dict[str, Wanted]:
    """Return the condition that the far side was this when the connection was let through."""
    offset = _AT[INGRESS_PEER if direction is Direction.INGRESS else EGRESS_PEER]
    return {"ct_label": (peer << offset, _ONES << offset)}


def opened_by(port_key: int) -> dict[str, Wanted]:
    """Return the condition that a connection was opened by the port with this key; 0 stands for anybody elsewhere."""
    return {"ct_label": ((port_key & _OWNER_ONES) << _OWNER_AT, _OWNER_ONES << _OWNER_AT)}


def write_commits(builder: Builder, table: str, goto: str | Stage | None) -> None:
    """Write the flows of a table that keep new connections, and write fresh stamps on old ones."""
    ours = Origin("Weft: connections", None)
    for ethertype in (ETH_IPV4, ETH_IPV6):
        later = match(**{LATER.field: LATER.is_(1)}, eth_type=ethertype, ct_state=(CT_TRACKED, CT_TRACKED))
        builder.flow(table, 110, later, [_VISIT], goto, kind="later fragment", origin=ours)
        new = match(eth_type=ethertype, ct_state=(CT_TRACKED | CT_NEW, CT_TRACKED | CT_NEW))
        builder.flow(table, 100, new, [_KEEP], goto, kind="keep the connection", origin=ours)
        builder.flow(table, 90, _judged_again(ethertype), [_WRITE], goto, kind="stamp anew", origin=ours)


def _judged_again(ethertype: int) -> Match:
    established = CT_TRACKED | CT_ESTABLISHED
    return match(**{FRESH.field: FRESH.is_(1)}, eth_type=ethertype, ct_state=(established, established))


COMMIT_KINDS = {
    "keep the connection": "from now on its packets are established; it bears the stamps of the policies that let it through",
    "later fragment": "it goes on only if the first one has come through as well",
    "stamp anew": "the rules were asked again and allowed the connection",
}
COMMIT_MATCHES = (NETWORK.field, "eth_type", "ct_state", FRESH.field)
COMMIT_WRITES = ("ct_mark", "ct_label")
