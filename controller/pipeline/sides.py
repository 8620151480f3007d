"""The two sides of policy: the tables that are asked about one direction, from both policy stages, and the kinds of their flows."""

from __future__ import annotations

from dataclasses import dataclass

from controller.model.entities import Direction
from controller.pipeline.fields import CT_INVALID, CT_NEW, CT_REPLY, CT_TRACKED
from controller.pipeline.flow import Origin, Wanted, match
from controller.pipeline.registers import (
    EGRESS_KEY,
    EGRESS_PEER,
    FRESH,
    INGRESS_KEY,
    INGRESS_PEER,
    JUDGED,
    LATER,
    PEER,
    SCRATCH,
    SPACE,
    VERDICT,
    Register,
)
from controller.pipeline.tables import Stage, Table

# Multicast listener and neighbour discovery (RFC 2710, 3810, 4861): sent before there is any connection.
UNTRACKED_ICMPV6 = (130, 131, 132, 133, 134, 135, 136, 137, 143)

# What the tracker can tell the first packet of: without this Open vSwitch takes no match on that packet.
TRACKED = (CT_TRACKED, CT_TRACKED | CT_INVALID)
OLD = (CT_TRACKED, CT_TRACKED | CT_NEW | CT_INVALID)


@dataclass(frozen=True, slots=True)
class Side:
    """One direction of policy: the names of its tables, its registers, and the field of the first packet's far address."""

    direction: Direction
    slot: int
    key: Register
    peer: Register
    far: str

    @property
    def known(self) -> str:
        """The table that looks at stamps."""
        return f"{self.direction}_known"

    @property
    def same(self) -> str:
        """The table that looks whether the far side is what it was."""
        return f"{self.direction}_same"

    @property
    def judge(self) -> str:
        """The table that a class's rules are asked from."""
        return f"{self.direction}_judge"

    @property
    def peers(self) -> str:
        """The table of far addresses."""
        return f"{self.direction}_peer"

    @property
    def named(self) -> str:
        """The table of what the rules of a class name of far addresses."""
        return f"{self.direction}_named"

    @property
    def rules(self) -> str:
        """The table of rules that ask for no address."""
        return f"{self.direction}_rules"

    @property
    def ports(self) -> str:
        """The table that looks at ports before the other rules."""
        return f"{self.direction}_ports"

    @property
    def far_rules(self) -> str:
        """The table of all other rules."""
        return f"{self.direction}_far_rules"

    def lookup(self, stateless: bool) -> tuple[str, tuple[str, str], dict[str, Wanted]]:
        """Return the table of far addresses, its fields by IP version and what else it asks for: of the packet or of its connection."""
        if stateless:
            return f"{self.direction}_packet_peer", (f"ip_{self.far}", f"ipv6_{self.far}"), {}
        return self.peers, (f"ct_nw_{self.far}", f"ct_ipv6_{self.far}"), {"ct_state": TRACKED}

    @property
    def verdict(self) -> str:
        """The table that counts what the rules said."""
        return f"{self.direction}_verdict"


EGRESS = Side(Direction.EGRESS, 0, EGRESS_KEY, EGRESS_PEER, "dst")
INGRESS = Side(Direction.INGRESS, 1, INGRESS_KEY, INGRESS_PEER, "src")

# The direction of a packet within its connection.
OPENER, ANSWER = ((CT_TRACKED | way, CT_TRACKED | CT_REPLY) for way in (0, CT_REPLY))
INVALID = match(ct_state=(CT_TRACKED | CT_INVALID, CT_TRACKED | CT_INVALID))
OURS = Origin("Weft: connections", None)

RULE_KINDS = {
    "known": "the connection bears the stamp of the class's present policy",
    "judged": "the connection is new, or was let through by another policy: the rules are asked",
    "same far side": "the far address is still in the groups that it was in",
    "named far side": "the far address is in groups that a rule of the class names",
    "far side": "an address of a member of a group that a rule names, or of an address group",
    "unknown far side": "nobody whom a rule names",
    "rule": "a rule, or one mask of its port ranges",
    "part of a rule": "one dimension of a rule's conjunction",
    "dry rule": "a rule that is not enforced: what it alone lets through is counted and passes",
    "part of a dry rule": "one dimension of the conjunction of a rule that is not enforced",
    "not enforced": "a class none of whose groups is enforced: what no rule allows is counted and passes",
    "later fragment": "it has no ports to look at; the tracker keeps it back unless the first fragment passes",
    "limited": "new connections of a port, so many a second",
    "port": "a packet with a port, all of which is looked at",
    "no port": "any other packet",
    "everything allowed": "a rule allows the class everything in this direction",
}
ALLOWING = frozenset({"rule", "part of a rule", "dry rule", "part of a dry rule", "not enforced", "everything allowed"})
RECALLING = frozenset({"known", "judged", "same far side", "named far side"})


def _table(
    side: Side,
    name: str,
    slot: int,
    matches: tuple[str, ...],
    writes: tuple[str, ...],
    onward: tuple[str, ...],
    purpose: str,
    miss: str,
    stage: Stage = Stage.STAMPS,
) -> Table:
    return Table(name, stage, 2 * slot + side.slot, matches, writes, onward, purpose, miss)


def policy_tables(side: Side) -> tuple[Table, ...]:
    """Return the declarations of the tables that are asked about one direction."""
    return (*_stamp_tables(side), *_rule_tables(side))


def _stamp_tables(side: Side) -> tuple[Table, ...]:
    near, _ = _ends(side)
    stamps = ("eth_type", "ip_proto", "ct_state", "ct_mark", "ct_label")
    return (
        _table(
            *(
                side,
                side.known,
                0,
                (JUDGED.field, *stamps),
                (side.key.field, VERDICT.field),
                (side.peers, side.same),
            ),
            purpose=f"the {near}'s class and the connection's stamp -> let through before, by the policy of today",
            miss="nothing: the rules will be asked",
        ),
        _table(
            *(side, side.judge, 1, (JUDGED.field,)),
            (side.key.field, side.peer.field, FRESH.field, VERDICT.field),
            (side.rules,),
            purpose=f"the {near}'s class -> its stamp",
            miss=f"nothing: {side.direction} default deny",
        ),
    )


def _rule_tables(side: Side) -> tuple[Table, ...]:
    near, far = _ends(side)
    addresses = (f"ct_nw_{side.far}", f"ct_ipv6_{side.far}")
    packet = (
        *(JUDGED.field, "eth_type", "ct_state", "ct_nw_proto", "ct_tp_src", "ct_tp_dst"),
        *("ip_proto", "ip_frag", "tcp_dst", "udp_dst", "sctp_dst"),
    )
    return (
        _table(
            *(side, side.peers, 1, (SPACE.field, "eth_type", "ct_state", *addresses), (PEER.field,), ()),
            purpose=f"the {far}'s address -> what it is, for rules that name groups",
            miss="cannot be reached: what nobody names is 0",
            stage=Stage.RULES,
        ),
        _table(
            *(side, side.same, 2, (JUDGED.field, PEER.field, "ct_label"), (side.peer.field, VERDICT.field), ()),
            purpose=f"the {far}'s address is what it was when the connection was let through",
            miss="nothing: the rules will be asked",
        ),
        _table(
            *(side, side.rules, 0, packet, (VERDICT.field, FRESH.field, LATER.field, SCRATCH.field)),
            (side.peers, side.named, side.ports),
            purpose=f"the {near}'s class and the connection's first packet decide, whatever the {far}'s address",
            miss=f"nothing: {side.direction} default deny",
            stage=Stage.RULES,
        ),
        _table(
            *(side, side.named, 2, (JUDGED.field, PEER.field), (side.peer.field,), ()),
            purpose=f"what the {far}'s address is goes with the connection if a rule of the class names it",
            miss="nothing: to these rules the address is nobody's",
            stage=Stage.RULES,
        ),
        _table(
            *(side, side.ports, 0, ("eth_type", "ip_proto"), (SCRATCH.field,), (side.far_rules,)),
            purpose="ports are looked at whole before addresses are: the masks of the two would multiply",
            miss="cannot be reached: the last flow lets everything else go on",
            stage=Stage.FAR_RULES,
        ),
        _table(
            *(side, side.far_rules, 1, (*packet, PEER.field, *addresses, "conj_id"), (VERDICT.field,), ()),
            purpose=f"the {near}'s class, the connection's first packet and the {far}'s address decide",
            miss=f"nothing: {side.direction} default deny",
            stage=Stage.FAR_RULES,
        ),
    )


def _ends(side: Side) -> tuple[str, str]:
    """Return who is near and who is far, as the tables' purposes call them."""
    return ("opener", "answerer") if side.direction is Direction.EGRESS else ("answerer", "opener")
