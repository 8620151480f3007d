"""The builder that features write flows with, and the programs that come out.

Features speak of tables and stages by name; the builder turns names into numbers, checks each flow against its table's
contract and files it under the right bridge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.model.ids import integration_dpid, physical_dpid, tunnel_dpid
from controller.model.names import physical_bridge
from controller.pipeline.flow import Action, Flow, Group, Match, Origin, Program
from controller.pipeline.tables import Bridge, ContractError, Feature, Pipeline, Stage
from controller.pipeline.view import HostView

MISS = "miss"  # Stands for a feature's name in the last flow of each table.


class Builder:
    """Collects the programs of one host's bridges."""

    def __init__(self, pipeline: Pipeline, view: HostView) -> None:
        self.pipeline = pipeline
        self.view = view
        self.feature: Feature | None = None
        host = view.host
        self._programs = {
            Bridge.INTEGRATION: Program(host.name, host.integration_bridge, integration_dpid(host.id)),
            Bridge.TUNNEL: Program(host.name, host.tunnel_bridge, tunnel_dpid(host.id)),
        }
        self._physical = {
            physical.name: Program(host.name, physical_bridge(physical.name), physical_dpid(host.id, physical.name))
            for physical in view.fabric.topology.physical_networks.values()
            if host.name in physical.hosts
        }

    @property
    def programs(self) -> list[Program]:
        """The programs, br-int first."""
        return [*self._programs.values(), *self._physical.values()]

    @property
    def physical_networks(self) -> list[str]:
        """The physical networks that the host is wired to."""
        return list(self._physical)

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
        """Make a flow and add it; `physical` says which physical network's bridge where the table is of that kind."""
        made = self.make(table, priority, match, actions, goto, kind=kind, origin=origin)
        bridge = self.pipeline.tables[table].stage.bridge
        program = self._programs[bridge] if physical is None else self._physical[physical]
        program.add(made)

    def make(
        self,
        table: str,
        priority: int,
        match: Match,
        actions: Iterable[Action] = (),
        goto: str | Stage | None = None,
        *,
        kind: str,
        origin: Origin,
    ) -> Flow:
        """Return a flow that obeys its table's contract, without adding it; raise ContractError if it does not."""
        feature = self.feature
        if feature is None or kind not in feature.kinds:
            raise ContractError(f"{origin}: kind {kind!r} is not declared")
        declared = self.pipeline.tables[table]
        bridge = declared.stage.bridge
        onward = None if goto is None else self.pipeline.resolve(goto, bridge)
        made = Flow(declared.number, priority, match, tuple(actions), onward, origin, feature.name, kind)
        self.pipeline.check(bridge, made)
        return made

    def extend(self, flows: Iterable[Flow]) -> None:
        """Add flows of br-int that were made before, for this host or for another."""
        program = self._programs[Bridge.INTEGRATION]
        for made in flows:
            program.add(made)

    def group(self, number: int, buckets: Iterable[tuple[Action, ...]], *, origin: Origin) -> None:
        """Add a group of br-int that hands a copy of the packet to each bucket."""
        feature = self.feature
        if feature is None:
            raise ContractError(f"{origin}: no feature is compiling")
        self._programs[Bridge.INTEGRATION].add_group(Group(number, tuple(buckets), origin, feature.name))

    def write_misses(self) -> None:
        """Give every table a last flow, so that what nobody wants is counted before it is dropped."""
        for kind, program in self._by_kind():
            for table in self.pipeline.tables_of(kind):
                if (table.number, 0, ()) not in program.flows:
                    origin = Origin(f"Weft: {table.miss}", None)
                    program.add(Flow(table.number, 0, (), (), None, origin, MISS, table.name))

    def _by_kind(self) -> Iterator[tuple[Bridge, Program]]:
        yield from self._programs.items()
        for program in self._physical.values():
            yield Bridge.PHYSICAL, program

    def table(self, name: str) -> int:
        """Return the number of a table, for actions that name one."""
        return self.pipeline.tables[name].number
