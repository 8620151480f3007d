"""Which connections a switch has to forget with a change: known from what it held and what it holds then, and from nothing else.

    what goes, or gives way ─┬─► answers for an address ─► (network, address) ─┐
                             └─► notes of the ledger ────► network ─► zone ────┴─► flushes, in one write with the commit

A controller that ends before it has sent a change leaves the difference to the next one, which finds it in the first dump.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from controller.model.entities import Address
from controller.pipeline.content import sender
from controller.pipeline.flow import Flow, Match
from controller.pipeline.numbers import read_translated
from controller.pipeline.released import OWNER_FIELD, Held, answered_for, noted, notes_of, told_owner, zones_in
from controller.switch.changes import Changes
from controller.wire import dump
from controller.wire.dump import HeldFlow
from controller.wire.flush import Flush
from controller.wire.oxm import EXACT, SIZES, read_match

Was = Flow | HeldFlow
Zoned = tuple[int, int]  # A network's key, and a zone that it has.


class Releases:
    """The zones of one switch's networks, as of its last commit. A network may have two for a while."""

    def __init__(self) -> None:
        self._zones: set[Zoned] = set()

    def of_sync(self, changes: Changes, flows: Sequence[Flow]) -> list[Flush]:
        """Return what ends when a switch is brought to these flows, by changes to what it has said it holds."""
        if not changes.deletes and not changes.altered:
            # It held nothing, or nothing goes: that is so with every switch that starts, and with most that come back.
            return []
        return _flushes(changes, zones_in(flows) - zones_in((*changes.new, *changes.altered)), lambda: flows)

    def of_change(self, changes: Changes, flows: Callable[[], Sequence[Flow]]) -> list[Flush]:
        """Return what ends with a change of what was committed last, which `flows` tells."""
        return _flushes(changes, self._zones, flows)

    def synced(self, flows: Sequence[Flow]) -> None:
        """Note that a switch holds these flows."""
        self._zones = zones_in(flows)

    def changed(self, changes: Changes) -> None:
        """Note that a switch has committed a change."""
        self._zones = _after(changes, self._zones)


def _after(changes: Changes, held: AbstractSet[Zoned]) -> set[Zoned]:
    gone = set(_notes((*changes.deletes, *changes.formers)))
    return set(held - gone) | zones_in((*changes.new, *changes.altered))


def _flushes(changes: Changes, held: AbstractSet[Zoned], flows: Callable[[], Sequence[Flow]]) -> list[Flush]:
    before = held | set(_notes((*changes.deletes, *changes.formers)))
    after = _after(changes, held)
    gone = {zone for _, zone in before} - {zone for _, zone in after}
    # Of a zone that no network has all goes at once: a later owner of its number shall find it empty.
    found = dict.fromkeys(Flush(zone, None) for zone in sorted(gone))
    for number, addresses in _translated(changes):
        # What left in a router's own name is known by no address that could be told here.
        wanted = [Flush(number, each) for each in addresses] if len(addresses) > 1 else [Flush(number, None)]
        found.update(dict.fromkeys(wanted if number not in gone else ()))
    zones: dict[int, set[int]] = {}
    for network, zone in before:
        zones.setdefault(network, set()).add(zone)
    for network, address in _released(changes):
        found.update(dict.fromkeys(Flush(zone, address) for zone in sorted(zones.get(network, set()) - gone)))
    staying = {network for network, _ in after}
    parted = {(network, zone) for network, zone in before - after if zone not in gone and network in staying}
    if parted:
        here = _addresses(flows())
        found.update(
            dict.fromkeys(Flush(zone, each) for network, zone in sorted(parted) for each in here.get(network, ()))
        )
    return list(found)


def _addresses(flows: Sequence[Flow]) -> dict[int, list[Address]]:
    """Return by network the addresses of a switch's own ports. What it tracks concerns one of them at least."""
    own = {who[1] for flow in flows if (who := sender(flow)) is not None}
    found: dict[int, list[Address]] = {}
    for flow in flows:
        spot = answered_for(flow.table, flow.match)
        if spot is not None and told_owner(flow.actions) in own:
            found.setdefault(spot.network, []).append(spot.address)
    return found


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
