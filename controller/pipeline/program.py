"""The builder that features write flows with, and the parts that come out.

Features speak of tables and stages by name; the builder turns names into numbers, checks each flow against its table's
contract and files it under the right bridge. A part is what one scope of one thing adds to a host's programs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from controller.memo import Memo
from controller.pipeline.flow import Action, Flow, Group, Match, Meter, Origin
from controller.pipeline.tables import Bridge, ContractError, Feature, Pipeline, Stage

MISS = "miss"  # Stands for a feature's name in the last flow of each table.

Slot = str  # Which bridge of a host: br-int, br-tun, or the name of a physical network.
INTEGRATION, TUNNEL = Bridge.INTEGRATION.value, Bridge.TUNNEL.value


class Part(NamedTuple):
    """Flows by the bridge that they belong to, and groups and meters of br-int."""

    flows: tuple[tuple[Slot, tuple[Flow, ...]], ...]
    groups: tuple[Group, ...]
    meters: tuple[Meter, ...]


NOTHING = Part((), (), ())

_Numbered = TypeVar("_Numbered", Group, Meter)


class Builder:
    """Collects the flows of one part."""

    def __init__(self, pipeline: Pipeline, memo: Memo) -> None:
        self.pipeline = pipeline
        self.memo = memo
        self.feature: Feature | None = None
        self._flows: dict[Slot, list[Flow]] = {}
        self._groups: list[Group] = []
        self._meters: list[Meter] = []

    def flow(
        self,
        table: str,
        priority: int,
        match: Match,
        actions: Iterable[Action] = (),
        goto: str | Stage | None = None,
        *,
        kind: str,
        origin: Origin,
        physical: str | None = None,
    ) -> None:
        """Add a flow that obeys its table's contract; raise ContractError if it does not.

        `physical` says which physical network's bridge where the table is of that kind.
        """
        feature = self.feature
        if feature is None or kind not in feature.kinds:
            raise ContractError(f"{origin}: kind {kind!r} is not declared")
        declared = self.pipeline.tables[table]
        bridge = declared.stage.bridge
        onward = None if goto is None else self.pipeline.resolve(goto, bridge)
        made = Flow(declared.number, priority, match, tuple(actions), onward, origin, feature.name, kind)
        self.pipeline.check(bridge, made)
        self._flows.setdefault(physical or bridge.value, []).append(made)

    def group(
        self, number: int, buckets: Iterable[tuple[Action, ...]], *, origin: Origin, watch: Iterable[int] = ()
    ) -> None:
        """Add a group of br-int that hands a copy of the packet to each bucket; with `watch`, to the first whose port is alive."""
        feature = self.feature
        if feature is None:
            raise ContractError(f"{origin}: no feature is compiling")
        self._groups.append(Group(number, tuple(buckets), origin, feature.name, tuple(watch)))

    def meter(self, number: int, rate: int, burst: int, *, origin: Origin) -> None:
        """Add a meter of br-int that lets `rate` packets a second pass, and `burst` at once."""
        feature = self.feature
        if feature is None:
            raise ContractError(f"{origin}: no feature is compiling")
        self._meters.append(Meter(number, rate, burst, origin, feature.name))

    def write_misses(self, bridge: Bridge, slot: Slot) -> None:
        """Give every table a last flow, so that what nobody wants is counted before it is dropped."""
        flows = self._flows.setdefault(slot, [])
        caught = {flow.table for flow in flows if flow.priority == 0 and not flow.match}
        for table in self.pipeline.tables_of(bridge):
            if table.number not in caught:
                origin = Origin(f"Weft: {table.miss}", None)
                flows.append(Flow(table.number, 0, (), (), None, origin, MISS, table.name))

    def table(self, name: str) -> int:
        """Return the number of a table, for actions that name one."""
        return self.pipeline.tables[name].number

    def part(self, before: Part | None) -> Part:
        """Return what was collected. What is as it was `before` is the same object: nobody need look at it again."""
        flows = tuple((slot, tuple(made)) for slot, made in self._flows.items() if made)
        if not flows and not self._groups and not self._meters:
            return NOTHING
        if before is None:
            return Part(flows, tuple(self._groups), tuple(self._meters))
        known = {(slot, flow.key): flow for slot, made in before.flows for flow in made}
        again = Part(
            tuple((slot, tuple(_same(known.get((slot, flow.key)), flow) for flow in made)) for slot, made in flows),
            _same_numbered(before.groups, self._groups),
            _same_numbered(before.meters, self._meters),
        )
        return before if again == before else again


def join(parts: Iterable[Part]) -> Part:
    """Return one part of several."""
    flows: dict[Slot, list[Flow]] = {}
    groups: list[Group] = []
    meters: list[Meter] = []
    for part in parts:
        for slot, made in part.flows:
            flows.setdefault(slot, []).extend(made)
        groups.extend(part.groups)
        meters.extend(part.meters)
    return Part(tuple((slot, tuple(made)) for slot, made in flows.items()), tuple(groups), tuple(meters))


def _same(before: Flow | None, now: Flow) -> Flow:
    is_same = (
        before is not None
        and before.effect == now.effect
        and before.kind == now.kind
        and before.origin == now.origin
        # Two rules may have changed lines, and a rule is what its place is found by.
        and before.origin.rule == now.origin.rule
    )
    return before if before is not None and is_same else now


def _same_numbered(before: Iterable[_Numbered], now: Iterable[_Numbered]) -> tuple[_Numbered, ...]:
    # Several features may claim one number, each for itself.
    known = {(each.id, each.feature): each for each in before}
    found: list[_Numbered] = []
    for each in now:
        was = known.get((each.id, each.feature))
        is_same = was is not None and was.effect == each.effect and was.origin == each.origin
        found.append(was if was is not None and is_same else each)
    return tuple(found)
