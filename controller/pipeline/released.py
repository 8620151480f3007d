"""Whose connections end with a change: an address's when it gets another owner or none, a zone's when nobody has it any more.

An address of ours outside stands for somebody inside: what was translated by it ends when it stands for somebody else, or nobody.

The flows that answer for an address say in a register who owns it, so they differ when the owner does, whatever else stays. They
are on every host that may have tracked the address's connections. So what a switch holds tells a controller that has just started
what another one has left undone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from controller.model.entities import Address
from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Action, Delta, Flow, Match, Note, SetField
from controller.pipeline.numbers import noted_zone, read_translated
from controller.pipeline.plan import pipeline
from controller.pipeline.registers import NETWORK, OWNER

_ANSWERS, _LEDGER = (pipeline().tables[name].number for name in ("respond", "ledger"))
_NETWORK, _TARGET, _ND_TARGET = (BY_NAME[name].index for name in (NETWORK.field, "arp_tpa", "nd_target"))
OWNER_FIELD = BY_NAME[OWNER.field].index


class Held(NamedTuple):
    """An address on a network, which has this key."""

    network: int
    address: Address


def answered_for(table: int, match: Match) -> Held | None:
    """Return which address a flow of br-int answers for, None for any other flow.

    >>> from controller.pipeline.flow import match
    >>> answered_for(_ANSWERS, match(reg0=7, eth_type=0x0806, arp_op=1, arp_tpa=0x0A000001))
    Held(network=7, address=IPv4Address('10.0.0.1'))
    """
    if table != _ANSWERS:
        return None
    exact = {index: value for index, value, mask in match if mask is None}
    if _NETWORK not in exact:
        return None
    if _TARGET in exact:
        return Held(exact[_NETWORK], IPv4Address(exact[_TARGET]))
    return Held(exact[_NETWORK], IPv6Address(exact[_ND_TARGET])) if _ND_TARGET in exact else None


def told_owner(actions: Iterable[Action]) -> int | None:
    """Return the key of the port whose address a flow answers for, None if it tells no owner."""
    return next((each.value for each in actions if isinstance(each, SetField) and each.field == OWNER_FIELD), None)


def changes_hands(former: Flow | None, flow: Flow | None) -> bool:
    """Return whether a flow told of an owner, or of a network's zone, and its successor, if any, does not.

    >>> from controller.pipeline.flow import Origin
    >>> one, other = (Flow(9, 1, (), (OWNER.load(port),), None, Origin("", None), "") for port in (1, 2))
    >>> changes_hands(one, other), changes_hands(one, one), changes_hands(other, None), changes_hands(None, one)
    (True, False, True, False)
    """
    if former is None:
        return False
    if _ends_translation(former, flow):
        return True
    told = told_owner(former.actions)
    if told is not None:
        return flow is None or told_owner(flow.actions) != told
    return flow is None and any(noted_zone(text) is not None for text in notes_of(former))


def ends_translations(delta: Delta) -> bool:
    """Return whether with a bridge's change an address outside stands no longer for whom it did."""
    gone = any(_ends_translation(flow, None) for flow in delta.deletes.values())
    return gone or any(_ends_translation(was, delta.puts[key]) for key, was in delta.replaced.items())


def ends_apart(delta: Delta) -> tuple[Delta, Delta]:
    """Return a bridge's change without the ends of translations, and these: their notes, which belong to no packet."""
    gone = {key: flow for key, flow in delta.deletes.items() if _ends_translation(flow, None)}
    was = {key: flow for key, flow in delta.replaced.items() if _ends_translation(flow, delta.puts[key])}
    ends = Delta(deletes=gone, puts={key: delta.puts[key] for key in was}, replaced=was)
    return replace(
        delta,
        deletes={key: flow for key, flow in delta.deletes.items() if key not in gone},
        puts={key: flow for key, flow in delta.puts.items() if key not in was},
        replaced={key: flow for key, flow in delta.replaced.items() if key not in was},
    ), ends


def _ends_translation(former: Flow, flow: Flow | None) -> bool:
    texts = set(notes_of(former)) - set(notes_of(flow) if flow is not None else ())
    return any(read_translated(text) is not None for text in texts)


def noted(table: int, match: Match, texts: Iterable[str]) -> tuple[int, int] | None:
    """Return the key of the network and the zone that a flow of br-int with these notes remembers, None if it does not."""
    network = next((value for index, value, mask in match if index == _NETWORK and mask is None), None)
    zone = next((zone for text in texts if (zone := noted_zone(text)) is not None), None)
    return None if table != _LEDGER or network is None or zone is None else (network, zone)


def zones_in(flows: Iterable[Flow]) -> set[tuple[int, int]]:
    """Return the networks' keys and zones that the flows of a ledger note."""
    ledger = [flow for flow in flows if flow.table == _LEDGER]
    return {found for flow in ledger if (found := noted(_LEDGER, flow.match, notes_of(flow))) is not None}


def notes_of(flow: Flow) -> list[str]:
    """Return the texts of the notes that a flow carries."""
    return [action.data.decode("ascii", errors="replace") for action in flow.actions if isinstance(action, Note)]
