"""Ports that have moved to another host, and the announcements that tell their neighbours."""

from __future__ import annotations

from collections.abc import Callable

from controller.model.entities import Port, Topology
from controller.model.ids import integration_dpid
from controller.model.names import interface_name
from controller.observed import Observed
from controller.wire.announce import announce


class Moves:
    """Where each port was last, and which have come to another host since they were last announced.

    A port that appears for the first time is not announced: nobody can have known it elsewhere.
    """

    def __init__(self, observed: Observed) -> None:
        self._observed = observed
        self._last: dict[str, str] = {}
        self._moved: dict[str, str] = {}

    def note(self, port: Port, topology: Topology) -> None:
        """Look where a port is now, if it is anywhere."""
        interface = interface_name(port.name)
        host = port.host or self._observed.host_of(interface)
        if host is None or self._number(topology, host, interface) is None:
            return
        if self._last.setdefault(port.name, host) != host:
            self._last[port.name] = self._moved[port.name] = host

    def announce(self, topology: Topology, send: Callable[[int, bytes], bool]) -> None:
        """Announce what has moved, from where it is now."""
        moved, self._moved = self._moved, {}
        for name, host in moved.items():
            port = topology.ports.get(name)
            number = self._number(topology, host, interface_name(name))
            if port is not None and number is not None:
                send(integration_dpid(topology.hosts[host].id), announce(port, number))

    def _number(self, topology: Topology, host: str, interface: str) -> int | None:
        known = topology.hosts.get(host)
        return self._observed.number(host, known.integration_bridge, interface) if known else None
