"""A fabric in the middle of a change: every state between two topologies, and who gets what there.

A port that moves is plugged in on both hosts all the time, so that it may receive wherever the flows lead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Self

from controller.graph.fabric import Fabric
from controller.model.entities import Topology
from controller.model.names import interface_name
from controller.pipeline.claims import copied
from controller.pipeline.flow import Bindings, Delta, Program
from controller.pipeline.plan import pipeline
from controller.pipeline.programs import Programs
from controller.pipeline.rollout import phases, roles
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from tests.ovs.fabric import Deliveries, FabricTwin
from tests.ovs.frames import frame
from tests.pipeline.changes import changed

_SECOND_PLACE = 500  # Numbers of the interfaces of ports at the place that they leave.


class RollingTwin(FabricTwin):
    """The hosts of two topologies."""

    def __init__(self, directory: Path, before: Topology, after: Topology) -> None:
        both = replace(
            after,
            hosts={**before.hosts, **after.hosts},
            physical_networks={**before.physical_networks, **after.physical_networks},
            networks={**before.networks, **after.networks},
            groups={**before.groups, **after.groups},
            ports={**before.ports, **after.ports},
        )
        super().__init__(directory, both)
        self._held: dict[int, Program] = {}
        self.places: dict[str, set[str]] = {}
        for side in (before, after):
            for port, where in Fabric(side).location.items():
                self.places.setdefault(port, set()).add(where)
        for port, places in self.places.items():
            for where in places - {self.location[port]}:
                self._plug_too(port, where)

    def loaded(self, programs: Iterable[Program]) -> Self:
        """Make bridges hold these programs, where they are others than before."""
        fresh = [program for program in programs if self._held.get(program.dpid) is not program]
        self._held.update((program.dpid, program) for program in fresh)
        self.load(fresh)
        return self

    def send_from(self, host: str, port: str, sent: bytes) -> Deliveries:
        """Let a port send a frame at one of its places."""
        deliveries: Deliveries = {}
        self._arrive(host, interface_name(port), sent, deliveries)
        return deliveries

    def _plug_too(self, port: str, where: str) -> None:
        bridge = self.topology.hosts[where].integration_bridge
        ports = dict(self.bindings[where].ports)
        ports[bridge] = {**ports[bridge], interface_name(port): _SECOND_PLACE + len(self._port_of)}
        self.bindings[where] = Bindings(ports)
        self._port_of[where, interface_name(port)] = port


@dataclass(frozen=True)
class Change:
    """Two topologies, their programs and the phases between them."""

    before: Topology
    after: Topology
    old: list[Program]
    new: list[Program]
    shares: list[dict[int, Delta]]


def plan(before: Topology, after: Topology, bindings: Mapping[str, Bindings]) -> Change:
    """Compile both, the second as what the first becomes, and order the change."""
    compiled = Programs()
    compiled.enter(before)
    for host, known in bindings.items():
        for bridge, ports in known.ports.items():
            for interface, number in ports.items():
                compiled.bind(host, bridge, interface, number)
    compiled.ask_for(bindings)
    compiled.settle()
    compiled.take()
    old = [copied(each, each.host, each.bridge, each.dpid) for each in compiled.programs.values()]
    compiled.enter(after)
    compiled.settle()
    new = list(compiled.programs.values())
    return Change(before, after, old, new, phases(compiled.take(), roles(pipeline())))


def walks(change: Change, count: int) -> Iterator[list[Program]]:
    """Yield the states of a change, each once, along `count` ways through it: by dpid, backwards, and shuffled ones."""
    seen: set[frozenset[tuple[int, int]]] = set()
    for way in range(count):
        now = {program.dpid: program for program in change.old}
        steps: dict[int, int] = dict.fromkeys(now, 0)
        if not way:
            yield list(now.values())
        for number, share in enumerate(change.shares, 1):
            for dpid in _sequence(share, way):
                now[dpid] = changed(now.get(dpid) or _empty(change, dpid), share[dpid])
                steps[dpid] = number
                state = frozenset(steps.items())
                if state not in seen:
                    seen.add(state)
                    yield list(now.values())


def wrong(twin: RollingTwin, change: Change, packets: Iterable[Packet]) -> list[str]:
    """Return what a fabric in between does to packets that neither side would do, or fails to do that both do."""
    found = []
    sides = [(side, Oracle(side)) for side in (change.before, change.after)]
    for packet in packets:
        known = [
            {name for name, decision in oracle.receivers(packet).items() if decision.allowed}
            if packet.source in side.ports
            else set()
            for side, oracle in sides
        ]
        reached: set[str] = set()
        for place in sorted(twin.places[packet.source]):
            twin.forget()
            seen = twin.send_from(place, packet.source, frame(packet))
            assert all(sent == frame(packet) for frames in seen.values() for sent in frames)
            reached |= seen.keys()
        # A port that moves may hear at one place what it said at the other.
        missing, leaked = (known[0] & known[1]) - reached, reached - (known[0] | known[1]) - {packet.source}
        if missing or leaked:
            found.append(f"not to {sorted(missing)}, but to {sorted(leaked)}: {packet}")
    return found


def _sequence(share: Mapping[int, Delta], way: int) -> list[int]:
    dpids = sorted(share, reverse=way == 1)
    if way > 1:
        Random(way).shuffle(dpids)  # noqa: S311 - chosen for its repeatability.
    return dpids


def _empty(change: Change, dpid: int) -> Program:
    return next(Program(program.host, program.bridge, program.dpid) for program in change.new if program.dpid == dpid)
