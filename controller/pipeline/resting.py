"""Addresses that ports give up: nobody has them before every datapath has followed the end of their owners.

When a port goes, its host confirms so, the others forget the connections of its addresses, and whoever gets one of them begins with none.
But the host's datapath may send by its cached flows for some moments more. What comes in these moments opens connections again, on
hosts that have just forgotten them, where nobody can tell by whom they were opened: it was somebody elsewhere. An heir on such a host would
be given all answers to its forerunner, as long as somebody sends any. So connections end once datapaths have followed:

* The flows that answer for the address of a port that goes stay until then, and its connections end with them.
* A change that gives the address to somebody else waits for that.
* If one change does both, its phase in which addresses change hands waits.

A port that stays and has another address now is no different: as the former one it sends for these moments as well.

A network that joins others by a router, or leaves them, gets another zone. Datapaths that still use the former one would fill it
again, so its connections there end as late.

When it is time, `controller.engine.delivery` knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from controller.model.entities import Address
from controller.pipeline.content import sender
from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Delta, Flow, FlowKey
from controller.pipeline.left import Shares, apart
from controller.pipeline.plan import pipeline
from controller.pipeline.registers import SOURCE
from controller.pipeline.released import answered_for, changes_hands, noted, notes_of, told_owner, zones_in

_GUARD = pipeline().tables["source_guard"].number
_SOURCE, _IPV4, _IPV6 = (BY_NAME[name].index for name in (SOURCE.field, "ip_src", "ipv6_src"))


class Sender(NamedTuple):
    """A port by its key, as one of its addresses or, without one, as whoever it is."""

    port: int
    address: Address | None = None


def silenced(deltas: Collection[Delta]) -> set[Sender]:
    """Return who sends no more, from anywhere, when a change of these bridges is done."""
    gone = _senders(flow for delta in deltas for flow in (*delta.deletes.values(), *delta.replaced.values()))
    return gone - _senders(flow for delta in deltas for flow in delta.puts.values())


def rest(steps: Iterable[Shares], silent: AbstractSet[Sender]) -> tuple[list[dict[int, Delta]], dict[int, Delta]]:
    """Return the phases of a change without the answers for addresses that the silent had and nobody has, and the end of these.

    Where a network leaves a host, all connections of its zone end, and nobody is left who could open others. The zone that a network had
    before it got another one ends as late as the addresses.
    """
    steps = list(steps)
    left = {
        dpid: _left(step[dpid] for step in steps if dpid in step) for dpid in {dpid for step in steps for dpid in step}
    }

    def resting(dpid: int, deletes: Mapping[FlowKey, Flow]) -> dict[FlowKey, Flow]:
        return {key: flow for key, flow in deletes.items() if _rests(flow, silent, left[dpid])}

    return apart(steps, resting)


def _rests(flow: Flow, silent: AbstractSet[Sender], left: AbstractSet[int]) -> bool:
    """Return whether a flow that goes answers for who is silent, or notes a zone that a network of the bridge had."""
    spot = answered_for(flow.table, flow.match)
    if spot is not None:
        return _answers_for(flow, silent) and spot.network not in left
    note = noted(flow.table, flow.match, notes_of(flow))
    return note is not None and note[0] not in left


def gives_away(later: Delta, change: Delta) -> bool:
    """Return whether a change of a bridge gives an address to somebody else whose last owner's connections are still to end there."""
    both = later.deletes.keys() & change.puts.keys()
    return any(changes_hands(later.deletes[key], change.puts[key]) for key in both)


def hands_over(step: Shares, silent: AbstractSet[Sender]) -> bool:
    """Return whether in a phase of a change an address goes from who is silent to somebody else."""
    return any(
        _answers_for(former, silent) and changes_hands(former, delta.puts[key])
        for delta in step.values()
        for key, former in delta.replaced.items()
    )


def _answers_for(flow: Flow, silent: AbstractSet[Sender]) -> bool:
    owner, spot = told_owner(flow.actions), answered_for(flow.table, flow.match)
    if owner is None or spot is None:
        return False
    return Sender(owner) in silent or Sender(owner, spot.address) in silent


def _senders(flows: Iterable[Flow]) -> set[Sender]:
    found = set()
    for flow in flows:
        if (load := sender(flow)) is not None:
            found.add(Sender(load[1]))
        elif flow.table == _GUARD and (guarded := _guarded(flow)) is not None:
            found.add(guarded)
    return found


def _guarded(flow: Flow) -> Sender | None:
    """Return the port that the guard lets send as an address of its own, which no prefix is."""
    exact = {index: value for index, value, mask in flow.match if mask is None}
    if _SOURCE not in exact:
        return None
    if _IPV4 in exact:
        return Sender(exact[_SOURCE], IPv4Address(exact[_IPV4]))
    return Sender(exact[_SOURCE], IPv6Address(exact[_IPV6])) if exact.get(_IPV6) else None


def _left(deltas: Iterable[Delta]) -> set[int]:
    """Return the keys of the networks that a bridge forgets."""
    deltas = list(deltas)
    gone, comes = (
        {network for flows in sides for network, _ in zones_in(flows.values())}
        for sides in ([delta.deletes for delta in deltas], [delta.puts for delta in deltas])
    )
    return gone - comes
