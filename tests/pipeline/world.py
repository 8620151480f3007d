"""A running fabric without switches: files that are edited, interfaces that come and go, programs that follow, and their oracle.

After every step the programs are compared with those of a computation that begins with nothing but the files, the interfaces and the
notes that the switches hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from controller.config import Cache, load
from controller.model.entities import TUNNEL_TYPES, Address, HostKind, Port, Topology
from controller.model.names import (
    PATCH_TO_INTEGRATION,
    PATCH_TO_TUNNEL,
    interface_name,
    liveness_port,
    patch_from_physical,
    patch_to_physical,
    physical_bridge,
    tunnel_port,
)
from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Bindings, Delta, Flow, FlowKey, Group, Meter, Note, Program
from controller.pipeline.heard import Neighbour, read_neighbours
from controller.pipeline.numbers import DRAINED, Numbers, read_notes
from controller.pipeline.places import locate
from controller.pipeline.programs import REASONS, Programs
from tests.pipeline.changes import content
from tests.pipeline.documents import HOSTS, STRANGERS, Document
from tests.pipeline.edits import EDITS

Held = tuple[dict[FlowKey, object], dict[int, object], dict[int, object]]
Key = TypeVar("Key", FlowKey, int)
Step = tuple[int, int, int, int]  # Which edit or event, of whom, what, how.


def same(one: Program, other: Program) -> bool:
    """Whether two programs are for one bridge and hold the same flows, groups, kinds and features."""
    return (
        (one.host, one.bridge, one.dpid) == (other.host, other.bridge, other.dpid)
        and content(one) == content(other)
        and all(flow.kind == other.flows[key].kind for key, flow in one.flows.items())
    )


class World:
    """Everything that a controller knows, and what the switches hold because of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document = Document()
        self.good = self.document
        self.written: Document | None = None
        self.cache = Cache()
        self.topology: Topology | None = None
        self.programs = Programs()
        self.told: dict[str, None] = {}  # Hosts that have told their interfaces.
        self.plugs: dict[tuple[str, str, str], int] = {}
        self.found_on: dict[str, str] = {}
        self.heard: dict[tuple[str, Address], int] = {}
        self.drained: set[str] = set()
        self.next_number = 100
        self.given: dict[int, Program] = {}
        self.held: dict[int, Held] = {}
        self.refused = 0
        self.save()
        for place, _ in enumerate(self.document.hosts):
            self.tell(place, 1)
        self.advance()

    # What happens.

    def do(self, step: Step) -> None:
        """Take one step: an edit of the files, or an event."""
        which, who, what, how = step
        events = (
            *(self.undo, self.tell, self.forget, self.plug, self.unplug, self.renumber, self.find),
            *(self.hear, self.drain, self.restart),
        )
        if self.document is not self.good and how % 4:
            # Who is refused goes back mostly, and tries something else.
            self.document = self.good.copy()
        place = which % (len(EDITS) + len(events))
        if place < len(EDITS):
            self.document = self.document.copy()
            EDITS[place](self.document, who, what, how)
            self.save()
        else:
            events[place - len(EDITS)](what, how)
        self.advance()

    def save(self) -> None:
        """Write the files and have them read, as the engine does."""
        changed = self.document.write(self.folder, self.written)
        self.written = self.document.copy()
        before = self.topology
        loaded = load(self.folder, before, self.cache, changed)
        if loaded.topology is None:
            return
        was = {dpid: content(program) for dpid, program in self.programs.programs.items()}
        self.enter(loaded.topology, loaded.tenants)
        try:
            self.programs.settle()
        except REASONS:
            self.refused += 1
            assert before is not None, "the first files are good"
            self.enter(before, loaded.tenants)
            self.programs.settle()
            assert {dpid: content(program) for dpid, program in self.programs.programs.items()} == was
            assert self.is_uncompilable(loaded.topology)
            return
        keeps_numbers(before, loaded.topology, self.good, self.document)
        self.topology = loaded.topology
        self.good = self.document

    def enter(self, topology: Topology, tenants: frozenset[str] | None) -> None:
        for name in self.programs.topology.ports if self.programs.topology else ():
            if name not in topology.ports:
                self.programs.place(name, None)
        self.programs.enter(topology, tenants)
        for port in topology.ports.values():
            self.programs.place(port.name, self.where(port))

    def undo(self, _what: int, _how: int) -> None:
        self.document = self.good.copy()
        self.save()

    def tell(self, what: int, how: int) -> None:
        """A host tells its interfaces: the bridges' own, and those of its ports."""
        assert self.topology is not None
        name = HOSTS[what % len(HOSTS)]
        host = self.topology.hosts.get(name)
        if host is None or host.kind is not HostKind.OVS:
            return
        self.told[name] = None
        patches = {patch_to_physical(wire): number for number, wire in enumerate(("phys1", "phys2"), 2)}
        for interface, number in ({PATCH_TO_TUNNEL: 1} | patches).items():
            self.bind(name, host.integration_bridge, interface, number)
        for number, other in enumerate(HOSTS, 50):
            if other != name and how % 8:
                self.bind(name, host.integration_bridge, liveness_port(other), number)
        for number, interface in enumerate([PATCH_TO_INTEGRATION, *map(tunnel_port, TUNNEL_TYPES)], 1):
            self.bind(name, host.tunnel_bridge, interface, number)
        for wire in ("phys1", "phys2"):
            self.bind(name, physical_bridge(wire), patch_from_physical(wire), 1)
        for port in self.topology.ports.values():
            if self.where(port) == name and how % 4:
                self.bind(name, host.integration_bridge, interface_name(port.name), self.number())

    def forget(self, what: int, how: int) -> None:
        """A host is not programmed any more, or all its interfaces have gone."""
        name = HOSTS[what % len(HOSTS)]
        if how % 4 == 0:
            self.told.pop(name, None)
        if how % 4 == 1:
            for key in [key for key in self.plugs if key[0] == name]:
                self.bind(*key, None)

    def plug(self, what: int, how: int) -> None:
        port = self.port(what)
        host = None if port is None else self.where(port) if how % 8 else HOSTS[how // 8 % 3]
        if port is not None and self.topology is not None and host is not None and host in self.topology.hosts:
            self.bind(host, self.topology.hosts[host].integration_bridge, interface_name(port.name), self.number())

    def unplug(self, what: int, _how: int) -> None:
        if self.plugs:
            self.bind(*list(self.plugs)[what % len(self.plugs)], None)

    def renumber(self, what: int, _how: int) -> None:
        if self.plugs:
            self.bind(*list(self.plugs)[what % len(self.plugs)], self.number())

    def find(self, what: int, how: int) -> None:
        """A port without a host shows up somewhere, or is nowhere."""
        port = self.port(what)
        if port is None:
            return
        before = self.found_on.copy()
        if how % 5:
            self.found_on[port.name] = HOSTS[how % len(HOSTS)]
        else:
            self.found_on.pop(port.name, None)
        try:
            self.programs.place(port.name, self.where(port))
            self.programs.settle()
        except REASONS:
            # One port too many for that host: it goes back.
            self.refused += 1
            self.found_on = before
            self.programs.place(port.name, self.where(port))

    def hear(self, what: int, how: int) -> None:
        """A neighbour that no file names tells its MAC, or nobody answers for it any more."""
        network, text = STRANGERS[what % len(STRANGERS)]
        self.learn(network, ip_address(text), 0x020000000F00 + how % 4 if how % 5 else None)

    def drain(self, what: int, how: int) -> None:
        """A host leads out last from now on, or no longer last."""
        name = HOSTS[what % len(HOSTS)]
        self.programs.drain(name, bool(how % 2))
        self.drained = self.drained | {name} if how % 2 else self.drained - {name}

    def restart(self, _what: int, _how: int) -> None:
        """Another controller takes over, with the same files and what the switches remember."""
        assert self.topology is not None
        notes = {host: self.notes(host) for host in self.told}
        numbers = {host: self.programs.numbers(host) for host in self.told}
        self.programs = Programs()
        self.enter(self.topology, None)
        self.heard, self.drained = {}, {host for host, told in notes.items() if DRAINED in told}
        for host, told in notes.items():
            self.programs.remember(host, read_notes(told))
            self.programs.drain(host, host in self.drained)
            for each in read_neighbours(told):
                self.learn(*each)
        for key, number in self.plugs.items():
            self.programs.bind(*key, number)
        self.given = {}
        self.ask()
        self.programs.settle()
        assert {host: self.programs.numbers(host) for host in self.told} == numbers

    # What follows.

    def advance(self) -> None:
        """Have the switches hold what they should, by deltas alone where they did before, and compare."""
        numbers = {host: self.programs.numbers(host) for host in self.told}
        self.ask()
        self.programs.settle()
        deltas = self.programs.take()
        programs = self.programs.programs
        for dpid, program in programs.items():
            if self.given.get(dpid) is program:
                self.apply(dpid, deltas.get(dpid, Delta()))
            else:
                self.held[dpid] = content(program)
        self.given = programs
        assert {dpid: self.held[dpid] for dpid in programs} == {dpid: content(each) for dpid, each in programs.items()}
        for host in self.told:
            kept(numbers[host], self.programs.numbers(host))
        self.compare()

    def ask(self) -> None:
        assert self.topology is not None
        ours = {name for name, host in self.topology.hosts.items() if host.kind is HostKind.OVS}
        self.told = {name: None for name in self.told if name in ours}
        self.programs.ask_for(self.told)

    def apply(self, dpid: int, delta: Delta) -> None:
        """Do to what the switch holds what a delta says, which must say nothing that is so already."""
        flows, groups, meters = self.held[dpid]
        redo(flows, delta.puts, delta.replaced, delta.deletes)
        redo(groups, delta.group_puts, delta.group_replaced, delta.group_deletes)
        redo(meters, delta.meter_puts, delta.meter_replaced, delta.meter_deletes)

    def compare(self) -> None:
        """Compare with a computation that begins with nothing."""
        assert self.topology is not None
        fresh = self.compiled(self.topology, {host: read_notes(self.notes(host)) for host in self.told})
        programs = self.programs.programs
        assert [program.dpid for program in fresh] == list(programs)
        for program in fresh:
            mine = programs[program.dpid]
            assert same(mine, program), (program.host, program.bridge)
            for key, flow in program.flows.items():
                assert locate(self.topology, mine.flows[key].origin) == flow.origin
            for number, group in program.groups.items():
                assert locate(self.topology, mine.groups[number].origin) == group.origin
            for number, meter in program.meters.items():
                assert locate(self.topology, mine.meters[number].origin) == meter.origin

    def compiled(self, topology: Topology, numbers: Mapping[str, Numbers]) -> list[Program]:
        bindings = {host: self.bindings(host) for host in self.told}
        location = {
            port.name: where for port in topology.ports.values() if not port.host and (where := self.where(port))
        }
        heard = [Neighbour(*spot, mac) for spot, mac in self.heard.items()]
        return compile_fabric(topology, location, bindings, numbers, list(self.told), heard, self.drained)

    def is_uncompilable(self, topology: Topology) -> bool:
        self.told = {name: None for name in self.told if name in topology.hosts}
        try:
            self.compiled(topology, {host: self.programs.numbers(host) for host in self.told})
        except REASONS:
            return True
        return False

    def remove_everything(self) -> int:
        """Have nothing any more; return how many cells are left."""
        for key in list(self.plugs):
            self.bind(*key, None)
        for network, address in list(self.heard):
            self.learn(network, address, None)
        for name in self.drained:
            self.programs.drain(name, False)
        self.found_on, self.drained = {}, set()
        self.document = Document(hosts={}, wires={}, outside={}, tenants={})
        self.save()
        self.told = {}
        self.advance()
        return len(self.programs.memo)

    # What is known.

    def where(self, port: Port) -> str | None:
        return None if port.host else self.found_on.get(port.name)

    def port(self, what: int) -> Port | None:
        ports = list(self.topology.ports.values()) if self.topology else []
        return ports[what % len(ports)] if ports else None

    def number(self) -> int:
        self.next_number += 1
        return self.next_number

    def bind(self, host: str, bridge: str, interface: str, number: int | None) -> None:
        if number is None:
            self.plugs.pop((host, bridge, interface), None)
        else:
            self.plugs[host, bridge, interface] = number
        self.programs.bind(host, bridge, interface, number)

    def learn(self, network: str, address: Address, mac: int | None) -> None:
        self.heard.pop((network, address), None)
        if mac is not None:
            self.heard[network, address] = mac
        self.programs.learn(network, address, mac)

    def bindings(self, host: str) -> Bindings:
        found: dict[str, dict[str, int]] = {}
        for (owner, bridge, interface), number in self.plugs.items():
            if owner == host:
                found.setdefault(bridge, {})[interface] = number
        return Bindings(found)

    def notes(self, host: str) -> list[str]:
        """Return the texts that the host's switch holds."""
        return [
            action.data.decode()
            for program in self.programs.of_host(host)[:1]
            for flow in program.flows.values()
            for action in flow.actions
            if isinstance(action, Note)
        ]


def redo(
    held: dict[Key, object],
    puts: Mapping[Key, Flow | Group | Meter],
    replaced: Mapping[Key, Flow | Group | Meter],
    deletes: Mapping[Key, Flow | Group | Meter],
) -> None:
    """Do to flows, groups or meters what a delta says of them."""
    for key, thing in puts.items():
        former = replaced.get(key)
        assert held.get(key) != thing.effect, "something is put that is there"
        assert held.get(key) == (None if former is None else former.effect)
        held[key] = thing.effect
    for key, thing in deletes.items():
        assert held.pop(key) == thing.effect
    assert replaced.keys() <= puts.keys()


def kept(before: Numbers, after: Numbers) -> None:
    """Say that no name which had a number has another one now."""
    assert all(after.zones.get(name, zone) == zone for name, zone in before.zones.items())
    tags = {name: (tag, after.tags[name]) for name, tag in before.tags.items() if name in after.tags}
    assert all(old == new for old, new in tags.values()), tags


def keeps_numbers(before: Topology | None, after: Topology, old: Document, new: Document) -> None:
    """Say that segments and addresses which Weft chose stay, where nobody says anything else of their owners."""
    if before is None:
        return
    for name, network in before.networks.items():
        tenant = name.partition("/")[0]
        is_same = name in after.networks and tenant in old.tenants and tenant in new.tenants
        if is_same and old.tenants[tenant].networks == new.tenants[tenant].networks and old.hosts == new.hosts:
            assert after.networks[name].segment == network.segment


def run(folder: Path, steps: Sequence[Step]) -> None:
    """Live through a history, and then leave nothing behind."""
    world = World(folder)
    for step in steps:
        world.do(step)
    left = world.remove_everything()
    nothing = Programs()
    assert world.topology is not None
    nothing.enter(world.topology)
    nothing.settle()
    assert left == len(nothing.memo)
