"""The sum of parts: what every bridge shall hold, kept up as parts come, change and go.

    topology ─┐                                            ┌─► programs: dpid -> Program, changed in place
    bindings ─┼─► inputs ─► settle ─► parts that changed ──┤
    places  ──┘                                            └─► deltas: dpid -> what changed

A from-scratch computation is this one, begun with nothing: there is no second way from a topology to flows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from controller.graph import homes, queries
from controller.graph.entering import enter
from controller.memo import Memo, query
from controller.model.entities import Address, Topology
from controller.model.ids import Exhausted, integration_dpid, physical_dpid, tunnel_dpid
from controller.model.names import physical_bridge
from controller.pipeline import heard, limits, masks, numbers, view
from controller.pipeline.claims import Claims, copied, of_groups, of_meters
from controller.pipeline.flow import Delta, DuplicateFlow, Flow, FlowKey, Group, Meter, Program, Uncompilable
from controller.pipeline.numbers import Numbers
from controller.pipeline.parts import host_parts
from controller.pipeline.program import INTEGRATION, NOTHING, TUNNEL, Part, Slot

Kind = TypeVar("Kind", Flow, Group, Meter)

REASONS = (Uncompilable, Exhausted)  # Why a topology is refused though each of its files is right.


@query
def _bridges_of(memo: Memo, name: str) -> tuple[tuple[Slot, str, int], ...]:
    """Return the slot, the name and the datapath id of each bridge of a host."""
    host = queries.host(memo, name)
    if host is None or not queries.is_programmed(memo, name):
        return ()
    physical = queries.physical_networks_of(memo, name)
    return (
        (INTEGRATION, host.integration_bridge, integration_dpid(host.id)),
        (TUNNEL, host.tunnel_bridge, tunnel_dpid(host.id)),
        *((each, physical_bridge(each), physical_dpid(host.id, each)) for each in physical),
    )


class Share(NamedTuple):
    """Flows, groups and meters of one bridge."""

    flows: Iterable[Flow] = ()
    groups: Iterable[Group] = ()
    meters: Iterable[Meter] = ()


@dataclass(slots=True)
class _Bridge:
    """One program with its delta since it was last asked for, and what claims a flow, group or meter besides the one in force.

    Its flows may come before it is known what the bridge is called. As long as a bridge is new, all of it is, and there is no delta.
    """

    program: Program = field(default_factory=lambda: Program("", "", 0))
    delta: Delta = field(default_factory=Delta)
    spare_flows: dict[FlowKey, list[Flow]] = field(default_factory=dict)
    spare_groups: Claims[Group] = field(default_factory=Claims)
    spare_meters: Claims[Meter] = field(default_factory=Claims)
    is_new: bool = True

    def call(self, host: str, name: str, dpid: int) -> None:
        """Say which bridge this is. One with another name or id is another bridge, whose program begins with all flows."""
        now = self.program
        if (now.host, now.bridge, now.dpid) != (host, name, dpid):
            self.program = copied(now, host, name, dpid)
            self.delta, self.is_new = Delta(), True

    def remove(self, flow: Flow) -> None:
        """Take one claim of a flow away."""
        key = flow.key
        spare = self.spare_flows.get(key)
        if spare is not None:
            if self.program.flows[key] is flow:
                self._put(key, spare.pop())
            else:
                spare.remove(flow)
            if not spare:
                del self.spare_flows[key]
            return
        del self.program.flows[key]
        if self.is_new:
            return
        delta = self.delta
        was_put = delta.puts.pop(key, None)
        former = delta.replaced.pop(key, None)
        if was_put is None:
            delta.deletes[key] = flow
        elif former is not None:
            delta.deletes[key] = former

    def add(self, flow: Flow) -> None:
        """Claim a flow."""
        key = flow.key
        flows = self.program.flows
        count = len(flows)
        flows.setdefault(key, flow)
        if len(flows) == count:
            self.spare_flows.setdefault(key, []).append(flow)
            return
        if self.is_new:
            return
        former = self.delta.deletes.pop(key, None)
        if former is None or former.effect != flow.effect:
            self.delta.puts[key] = flow
            if former is not None:
                self.delta.replaced[key] = former

    def _put(self, key: FlowKey, flow: Flow) -> None:
        former = self.program.flows[key]
        self.program.flows[key] = flow
        if former.effect != flow.effect and not self.is_new:
            self.delta.puts[key] = flow
            self.delta.replaced.setdefault(key, former)

    def take(self, gone: Share) -> None:
        """Take what a part no longer claims away."""
        for flow in gone.flows:
            self.remove(flow)
        for group in gone.groups:
            self.spare_groups.remove(group, self.program.groups, None if self.is_new else of_groups(self.delta))
        for meter in gone.meters:
            self.spare_meters.remove(meter, self.program.meters, None if self.is_new else of_meters(self.delta))

    def give(self, new: Share) -> None:
        """Claim what a part has come to claim."""
        for flow in new.flows:
            self.add(flow)
        for group in new.groups:
            self.spare_groups.add(group, self.program.groups, None if self.is_new else of_groups(self.delta))
        for meter in new.meters:
            self.spare_meters.add(meter, self.program.meters, None if self.is_new else of_meters(self.delta))

    def clash(self) -> str | None:
        """Return how two claims of one flow, group or meter differ; None where all agree."""
        for key, flows in self.spare_flows.items():
            first = self.program.flows[key]
            for other in flows:
                if other.effect != first.effect:
                    return f"{first.origin} and {other.origin} clash: {key}"
        groups = self.spare_groups.clashes(self.program.groups, "group")
        return next(groups, None) or next(self.spare_meters.clashes(self.program.meters, "meter"), None)


class Programs:
    """The programs of all hosts that have been asked for, computed from the inputs that were set last."""

    def __init__(self) -> None:
        self.memo = Memo()
        self.topology: Topology | None = None
        self.memo.keep(limits.check_keys)
        self.memo.keep(masks.check_masks)
        self._bridges: dict[str, dict[Slot, _Bridge]] = {}
        self._hosts: dict[
            str, tuple[tuple[Slot, str, int], ...]
        ] = {}  # The hosts that were asked for, with their bridges.

    @property
    def programs(self) -> dict[int, Program]:
        """Datapath id -> the program, a living object that later calls change."""
        return {program.dpid: program for host in self._hosts for program in self.of_host(host)}

    def of_host(self, host: str) -> list[Program]:
        """Return the programs of a host's bridges, br-int first; none if they were not asked for."""
        return [self._bridges[host][slot].program for slot, _, _ in self._hosts.get(host, ())]

    def numbers(self, host: str) -> Numbers:
        """Return the numbers that a host's networks and address spaces have."""
        return Numbers(numbers.tags(self.memo, host), numbers.zones(self.memo, host))

    # Inputs.

    def enter(self, topology: Topology, changed: Collection[str] | None = None) -> None:
        """Take a topology; only the `changed` tenants differ from the last (None: anything may)."""
        before, self.topology = self.topology, topology
        enter(self.memo, topology, before, changed)
        if changed is None:
            self.memo.set(masks.mask_limit, (), topology.masks)
            for name in before.tenants.keys() - topology.tenants.keys() if before else ():
                self.memo.release(limits.check_tenant, name)
                self.memo.release(homes.homes_in, name)
            for name in topology.tenants:
                self.memo.keep(limits.check_tenant, name)
                self.memo.keep(homes.homes_in, name)
            for name in before.hosts.keys() - topology.hosts.keys() if before else ():
                self.memo.set(numbers.remembered, (name,), None)
            for name in {*topology.hosts, *(before.hosts if before else ())}:
                if queries.is_programmed(self.memo, name):
                    self.memo.keep(numbers.check_tags, name)
                else:
                    self.memo.release(numbers.check_tags, name)

    def place(self, port: str, host: str | None) -> None:
        """Say where a port without `host:` is; None: nowhere."""
        self.memo.set(queries.found_on, (port,), host)

    def count_moves(self, port: str, moved: int) -> None:
        """Say how often a port without `host:` has come to another host."""
        self.memo.set(numbers.moves, (port,), moved or None)

    def bind(self, host: str, bridge: str, interface: str, number: int | None) -> None:
        """Say which OpenFlow number an interface has; None: it is absent."""
        self.memo.set(view.number_of, (host, bridge, interface), number)

    def remember(self, host: str, told: Numbers) -> None:
        """Say which numbers a host's switch was programmed with; they hold for names that have none here."""
        self.memo.set(numbers.remembered, (host,), told)

    def drain(self, host: str, is_drained: bool) -> None:
        """Say whether a host leads routers out only if nobody else can."""
        self.memo.set(queries.drained, (host,), is_drained or None)

    def reach(self, host: str, is_reached: bool) -> None:
        """Say whether a host's switch is connected."""
        self.memo.set(homes.present, (host,), is_reached or None)

    def hear(self, host: str, unheard: frozenset[str]) -> None:
        """Say of which hosts a host hears no signs of life."""
        self.memo.set(homes.unheard, (host,), unheard or None)

    def leads(self, router: str) -> tuple[tuple[str, ...], str | None]:
        """Return the hosts by which a router may lead out, in order, and the one that does as they see it, if anybody tells."""
        return queries.gateways(self.memo, router), homes.leading(self.memo, router)

    def at_home(self) -> dict[str, Mapping[homes.Home, str]]:
        """Return, by tenant, the host that has each address of ours outside, of those of which somebody tells."""
        return {
            tenant: homes.homes_in(self.memo, tenant) for tenant in (self.topology.tenants if self.topology else ())
        }

    def learn(self, network: str, address: Address, mac: int | None) -> None:
        """Say which MAC a neighbour that no file names was heard to have; None: nobody has the address."""
        heard.learn(self.memo, network, address, mac)

    def ask_for(self, hosts: Iterable[str]) -> None:
        """Compile these hosts, and no others."""
        wanted = {host: _bridges_of(self.memo, host) for host in hosts}
        if wanted == self._hosts:
            return
        # Numbers are kept by themselves: they know what they were even where all that has one is exchanged.
        for host in self._hosts.keys() - wanted.keys():
            for kept in (host_parts, numbers.tags, numbers.zones):
                self.memo.release(kept, host)
        for host, bridges in wanted.items():
            for kept in (host_parts, numbers.tags, numbers.zones):
                self.memo.keep(kept, host)
            mine = self._bridges.setdefault(host, {})
            for slot, name, dpid in bridges:
                mine.setdefault(slot, _Bridge()).call(host, name, dpid)
        self._hosts = wanted

    # Results.

    def settle(self) -> None:
        """Bring the programs up to the inputs.

        Raises one of `REASONS` if something cannot be compiled. The rest is up to date then, and that something as it was before:
        set the inputs to what can be compiled, what was before for one, and settle again.
        """
        before = {host: self._peek_numbers(host) for host in self._hosts}
        try:
            self.memo.settle()
        except Exception:
            # What comes back when the inputs are what they were shall have the number that it had.
            for host, had in before.items():
                told = numbers.remembered(self.memo, host) or Numbers()
                self.remember(host, Numbers({**told.tags, **had.tags}, {**told.zones, **had.zones}, told.networks))
            raise
        finally:
            clash = self._gather()
        if clash is not None:
            raise DuplicateFlow(clash)

    def _peek_numbers(self, host: str) -> Numbers:
        return Numbers(self.memo.peek(numbers.tags, host) or {}, self.memo.peek(numbers.zones, host) or {})

    def take(self) -> dict[int, Delta]:
        """Return what changed in each bridge since this was last called; a bridge that has come since then is not among them."""
        changed: dict[int, Delta] = {}
        for host, bridges in self._hosts.items():
            for slot, _, dpid in bridges:
                bridge = self._bridges[host][slot]
                bridge.is_new = False
                if bridge.delta:
                    changed[dpid] = bridge.delta
                    bridge.delta = Delta()
        return changed

    def _gather(self) -> str | None:
        """Take the parts that changed into their programs; return what is claimed twice and differently, if anything is."""
        arrived: list[tuple[_Bridge, Share]] = []
        for key, before, now in self.memo.emissions():
            bridges = self._bridges.setdefault(str(key[0]), {})
            for slot, gone, new in _differences(before or NOTHING, now or NOTHING):
                bridge = bridges.setdefault(slot, _Bridge())
                bridge.take(gone)
                arrived.append((bridge, new))
        # All that goes has gone: what moved from one part to another is claimed once.
        for bridge, new in arrived:
            bridge.give(new)
        self._forget_empty()
        everything = (bridge for bridges in self._bridges.values() for bridge in bridges.values())
        return next((clash for bridge in everything if (clash := bridge.clash())), None)

    def _forget_empty(self) -> None:
        """Forget bridges that nobody asks for any more, once their flows have gone."""
        for host, bridges in list(self._bridges.items()):
            wanted = {slot for slot, _, _ in self._hosts.get(host, ())}
            for slot in bridges.keys() - wanted:
                if not bridges[slot].program.flows:
                    del bridges[slot]
            if not bridges and host not in self._hosts:
                del self._bridges[host]


def _differences(before: Part, now: Part) -> Iterator[tuple[Slot, Share, Share]]:
    """Yield each bridge of a part with what goes and what comes; what stays is the same object."""
    if before is NOTHING:
        for slot, flows in now.flows:
            yield slot, Share(), Share(flows)
        if now.groups or now.meters:
            yield INTEGRATION, Share(), Share((), now.groups, now.meters)
        return
    old, new = dict(before.flows), dict(now.flows)
    for slot in old.keys() | new.keys():
        gone, came = _without(old.get(slot, ()), new.get(slot, ())), _without(new.get(slot, ()), old.get(slot, ()))
        yield slot, Share(gone), Share(came)
    if before.groups or now.groups or before.meters or now.meters:
        goes = Share((), _without(before.groups, now.groups), _without(before.meters, now.meters))
        comes = Share((), _without(now.groups, before.groups), _without(now.meters, before.meters))
        yield INTEGRATION, goes, comes


def _without(these: tuple[Kind, ...], those: tuple[Kind, ...]) -> Iterable[Kind]:
    if not these or not those:
        return these
    there = set(those)
    return [each for each in these if each not in there]
