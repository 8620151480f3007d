"""Ports that have moved to another host, and the announcements that tell their neighbours."""

from __future__ import annotations

import time
from collections.abc import Callable

from controller.graph.queries import part
from controller.model.entities import Port, Topology
from controller.model.ids import integration_dpid
from controller.model.names import interface_name
from controller.observed import Observed
from controller.wire.announce import announce

# An announcement may get lost like any packet; RFC 4861 (section 10) allows three, a second apart, RFC 5227 asks for two.
TIMES = 3
INTERVAL_S = 1.0


class Moves:
    """Where each port was last, and which have come to another host and are being announced.

    A port that appears for the first time is not announced: nobody can have known it elsewhere.
    """

    def __init__(self, observed: Observed) -> None:
        self._observed = observed
        self._last: dict[str, str] = {}
        self._due: dict[
            str, tuple[float, int]
        ] = {}  # Port -> when it is announced next (`time.monotonic`), and how often still.

    def note(self, port: Port, topology: Topology) -> None:
        """Look where a port is now, if it is anywhere."""
        interface = interface_name(port.name)
        host = port.host or self._observed.host_of(interface)
        if host is None or self._number(topology, host, interface) is None:
            return
        if self._last.setdefault(port.name, host) != host:
            self._last[port.name] = host
            self._due[port.name] = (0.0, TIMES)

    def announce(self, topology: Topology, send: Callable[[int, bytes], bool]) -> None:
        """Announce what has moved and is due, with its subports, from where it is now."""
        now, subports = time.monotonic(), _Subports(topology)
        for name, (when, left) in list(self._due.items()):
            if when > now:
                continue
            if left > 1:
                self._due[name] = (now + INTERVAL_S, left - 1)
            else:
                del self._due[name]
            port, host = topology.ports.get(name), self._last[name]
            number = self._number(topology, host, interface_name(name))
            if port is not None and number is not None:
                for each in (port, *subports.of(port)):
                    send(integration_dpid(topology.hosts[host].id), announce(each, number))

    def deadlines(self) -> list[float]:
        """Return when something is due again, in the time of `time.monotonic`; the first time is that of the move itself."""
        return [when for when, left in self._due.values() if left < TIMES]

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
