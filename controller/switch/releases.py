"""Which connections a switch has to forget with a change: known from what it held and what it holds then, and from nothing else.

    what goes, or gives way ─┬─► answers for an address ─► (network, address) ─┐
                             └─► notes of the ledger ────► network ─► zone ────┴─► flushes, in one write with the commit

A controller that ends before it has sent a change leaves the difference to the next one, which finds it in the first dump.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from controller.model.entities import Address
from controller.pipeline.flow import Flow, Match
from controller.pipeline.numbers import read_translated
from controller.pipeline.released import OWNER_FIELD, Held, answered_for, noted, notes_of, told_owner, zones_in
from controller.switch.changes import Changes
from controller.wire import dump
from controller.wire.dump import HeldFlow
from controller.wire.flush import Flush
from controller.wire.oxm import EXACT, SIZES, read_match

Was = Flow | HeldFlow


class Releases:
    """The zones of one switch's networks, as of its last commit."""

    def __init__(self) -> None:
        self._zones: dict[int, int] = {}

    def of_sync(self, changes: Changes, flows: Sequence[Flow]) -> list[Flush]:
        """Return what ends when a switch is brought to these flows, by changes to what it has said it holds."""
        if not changes.deletes and not changes.altered:
            # It held nothing, or nothing goes: that is so with every switch that starts, and with most that come back.
            return []
        came = zones_in((*changes.new, *changes.altered))
        held = {network: zone for network, zone in zones_in(flows).items() if network not in came}
        return _flushes(changes, held)

    def of_change(self, changes: Changes) -> list[Flush]:
        """Return what ends with a change of what was committed last."""
        return _flushes(changes, self._zones)

    def synced(self, flows: Sequence[Flow]) -> None:
        """Note that a switch holds these flows."""
        self._zones = zones_in(flows)

    def changed(self, changes: Changes) -> None:
        """Note that a switch has committed a change."""
        for network, _ in _notes(changes.deletes):
            self._zones.pop(network, None)
        self._zones |= zones_in((*changes.new, *changes.altered))


def _flushes(changes: Changes, held: dict[int, int]) -> list[Flush]:
    left = dict(_notes((*changes.deletes, *changes.formers)))
    before = held | left
    after = {network: zone for network, zone in held.items() if network not in left}
    after |= zones_in((*changes.new, *changes.altered))
    gone = set(before.values()) - set(after.values())
    # Of a zone that no network has all goes at once: a later owner of its number shall find it empty.
    found = dict.fromkeys(Flush(zone, None) for zone in sorted(gone))
    for number, addresses in _translated(changes):
        # What left in a router's own name is known by no address that could be told here.
        wanted = [Flush(number, each) for each in addresses] if len(addresses) > 1 else [Flush(number, None)]
        found.update(dict.fromkeys(wanted if number not in gone else ()))
    for network, address in _released(changes):
        zone = before.get(network)
        if zone is not None and zone not in gone:
            found[Flush(zone, address)] = None
    return list(found)


def _released(changes: Changes) -> Iterator[Held]:
    """Yield the addresses that the flows which answered for them answer for no longer, or for another owner."""
    for gone in changes.deletes:
        spot = answered_for(gone.table, _match(gone))
        if spot is not None:
            yield spot
    for flow, was in zip(changes.altered, changes.formers, strict=True):
        spot = answered_for(flow.table, flow.match)
        # Who told no owner was no flow of ours, or one of a Weft that did not know of owners: nothing says that it was another.
        if spot is not None and _owner(was) not in (None, told_owner(flow.actions)):
            yield spot


def _translated(changes: Changes) -> Iterator[tuple[int, tuple[Address, ...]]]:
    """Yield the zones, and the addresses outside and inside, of translations that are no longer so."""
    for was in changes.deletes:
        yield from filter(None, map(read_translated, _texts(was)))
    for flow, was in zip(changes.altered, changes.formers, strict=True):
        yield from filter(None, map(read_translated, set(_texts(was)) - set(notes_of(flow))))


def _owner(was: Was) -> int | None:
    if isinstance(was, Flow):
        return told_owner(was.actions)
    _, header, rest = was.instructions.partition(EXACT[OWNER_FIELD])
    return int.from_bytes(rest[: SIZES[OWNER_FIELD]], "big") if header else None


def _notes(flows: Iterable[Was]) -> Iterator[tuple[int, int]]:
    """Yield the network's key and the zone of each flow that notes them."""
    for flow in flows:
        found = noted(flow.table, _match(flow), _texts(flow))
        if found is not None:
            yield found


def _texts(flow: Was) -> list[str]:
    return list(dump.notes_in(flow.instructions)) if isinstance(flow, HeldFlow) else notes_of(flow)


def _match(flow: Was) -> Match:
    return (read_match(flow.match) or ()) if isinstance(flow, HeldFlow) else flow.match
