"""Ports that have moved to another host, and the announcements that tell their neighbours."""

from __future__ import annotations

import time
from collections.abc import Callable

from controller.engine.rounds import Rounds
from controller.graph.queries import part
from controller.model.entities import Port, Topology
from controller.model.ids import integration_dpid
from controller.model.names import interface_name
from controller.observed import Observed
from controller.wire.announce import announce


class Moves:
    """Where each port was last, and which have come to another host and are being announced.

    A port that appears for the first time is not announced: nobody can have known it elsewhere. How often a port has moved is counted
    through restarts, as switches remember it: if one ends halfway through a move, the two switches say which of them is newer.
    """

    def __init__(self, observed: Observed) -> None:
        self._observed = observed
        self._last: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._rounds: Rounds[str] = Rounds()

    def note(self, port: Port, topology: Topology) -> None:
        """Look where a port is now, if it is anywhere."""
        interface = interface_name(port.name)
        host = port.host or self._observed.host_of(interface)
        if host is None or self._number(topology, host, interface) is None:
            return
        before = self._last.setdefault(port.name, host)
        self._counts[port.name] = self._count(port.name, interface, host, before)
        if before != host:
            self._last[port.name] = host
            self._rounds.begin(port.name, time.monotonic())

    def count(self, port: str) -> int:
        """Return how often a port has come to another host, as far as anybody remembers."""
        return self._counts.get(port, 0)

    def _count(self, port: str, interface: str, host: str, before: str) -> int:
        """Return the number for where a port is now: larger than for everywhere else."""
        told = dict(self._observed.remembered(interface))
        if port in self._counts:
            told[before] = max(told.get(before, 0), self._counts[port])
        here = told.pop(host, 0)
        return max(here, max(told.values(), default=-1) + 1)

    def announce(self, topology: Topology, send: Callable[[int, bytes], bool]) -> None:
        """Announce what has moved and is due, with its subports, from where it is now."""
        subports = _Subports(topology)
        for name in self._rounds.due(time.monotonic()):
            port, host = topology.ports.get(name), self._last[name]
            number = self._number(topology, host, interface_name(name))
            if port is not None and number is not None:
                for each in (port, *subports.of(port)):
                    send(integration_dpid(topology.hosts[host].id), announce(each, number))

    def deadlines(self) -> list[float]:
        """Return when something is due, in the time of `time.monotonic`."""
        return self._rounds.deadlines()

    def _number(self, topology: Topology, host: str, interface: str) -> int | None:
        known = topology.hosts.get(host)
        return self._observed.number(host, known.integration_bridge, interface) if known else None


class _Subports:
    """The subports of a topology by their parents, looked for once in the ports of each tenant that is asked about."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._known: dict[str, dict[str, list[Port]]] = {}

    def of(self, parent: Port) -> list[Port]:
        """Return the subports of a port."""
        found = self._known.get(parent.tenant)
        if found is None:
            found = self._known[parent.tenant] = {}
            for port in part(self._topology, "ports", parent.tenant).values():
                if port.parent is not None:
                    found.setdefault(port.parent, []).append(port)
        return found.get(parent.name, [])
