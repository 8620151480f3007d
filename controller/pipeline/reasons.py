"""Why a port's packets are dropped, and which flows count what a rule lets in: the kinds that counters are told by.

A flow of one of these kinds has the origin `port TENANT/NAME`, or one of Weft's own where no port can be named. What it counts is
said in the words of a reason, so that `weft explain` and `weft top` never show a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.model.entities import Direction
from controller.pipeline.flow import Flow
from controller.pipeline.program import MISS

FORGED_MAC = "forged MAC"
FORGED_ADDRESS = "forged address"
EGRESS_REFUSED = "egress refused"
EGRESS_WOULD_BE_REFUSED = "egress would be refused"
INGRESS_REFUSED = "ingress refused"
INGRESS_WOULD_BE_REFUSED = "ingress would be refused"
INVALID = "invalid"
RATE = "rate"

# What a conjunction lets in is counted by the flow that accepts it, which is a `RULE`, and not by its parts.
RULE = "rule"
EVERYTHING_ALLOWED = "everything allowed"
DRY_RULE = "dry rule"
NOT_ENFORCED = "not enforced"  # What no rule allows of a class none of whose groups is enforced.

SIGN_OF_LIFE = "sign of life"  # What another host's switch says to this one's, which has heard it before any flow.
SCTP = "SCTP"  # What is looked at in every packet: the flow ends a look-up, and the packet goes on to the rules.

_DROPPED = "Weft: dropped: "  # How the origin of a table's last flow begins that drops.

_PASSED_OVER = frozenset({SIGN_OF_LIFE, SCTP})
_RULES = frozenset({RULE, EVERYTHING_ALLOWED, DRY_RULE})
_POLICY = ("egress_policy", "ingress_policy", "stateless")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why packets are counted by a feature's flows of a kind.

    `direction` is set where it is the last word of a direction's rules. Where `drops` is False the packets passed: enforcement is dry.
    """

    feature: str
    kind: str
    text: str
    direction: Direction | None = None
    drops: bool = True


# Connections over a port's rate: a meter counts them, whose id is the port's OpenFlow number.
TOO_MANY = Reason("meter", RATE, "too many new connections")

REASONS = (
    Reason("classify", FORGED_MAC, "a frame with a MAC that is not the port's, or with a tag that is no subport's"),
    Reason("trunk", FORGED_MAC, "a frame with the tag of the subport and a MAC that is not the subport's"),
    Reason("source_guard", FORGED_ADDRESS, "an address that is not the port's, or an ethertype other than IP and ARP"),
    Reason("egress_policy", EGRESS_REFUSED, "no egress rule allows it", Direction.EGRESS),
    Reason(
        *("egress_policy", EGRESS_WOULD_BE_REFUSED, "no enforced egress rule allows it, but it passed"),
        *(Direction.EGRESS, False),
    ),
    Reason("ingress_policy", INGRESS_REFUSED, "no ingress rule allows it", Direction.INGRESS),
    Reason(
        *("ingress_policy", INGRESS_WOULD_BE_REFUSED, "no enforced ingress rule allows it, but it passed"),
        *(Direction.INGRESS, False),
    ),
    Reason("egress_policy", INVALID, "from a port, and no connection can have the packet"),
    Reason("ingress_policy", INVALID, "to a port, and no connection can have the packet"),
    TOO_MANY,
)

BY_KIND: Mapping[tuple[str, str], Reason] = {(reason.feature, reason.kind): reason for reason in REASONS}
_KINDS = frozenset(reason.kind for reason in REASONS)


def is_drop(flow: Flow) -> bool:
    """Return whether a flow counts what is dropped, or would be if enforcement were not dry."""
    if flow.kind in _KINDS and (flow.feature, flow.kind) in BY_KIND:
        return True
    if flow.actions or flow.goto is not None or flow.kind in _PASSED_OVER:
        return False
    # Of some tables the last flow ends a look-up, and not the packet.
    return flow.feature != MISS or flow.origin.what.startswith(_DROPPED)


def miss_text(flow: Flow) -> str:
    """Return what the last flow of a table drops."""
    return flow.origin.what.removeprefix(_DROPPED)


def is_rule(flow: Flow) -> bool:
    """Return whether a flow counts what a rule of a class of ports lets in, or what only passes as none of its groups is enforced."""
    if flow.feature not in _POLICY:
        return False
    return flow.kind in _RULES or (flow.kind == NOT_ENFORCED and flow.goto is None)


def is_dry(flow: Flow) -> bool:
    """Return whether what a rule's flow counts would be dropped if everything was enforced."""
    return flow.kind in (DRY_RULE, NOT_ENFORCED)
