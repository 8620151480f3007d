"""What is observed of the hosts: which interface has which number on which bridge, and so where each port is.

Observation never changes intent: a port that the files pin to a host stays there, and is only reported when it shows up
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.model.entities import HostKind, Port, Topology
from controller.model.names import ports_by_interface
from controller.pipeline.flow import Bindings


class Observed:
    """Port numbers per host and bridge, and the order in which hosts claimed interfaces."""

    def __init__(self) -> None:
        self._ports: dict[str, dict[str, Mapping[str, int]]] = {}
        self._claims: dict[str, list[str]] = {}  # interface -> hosts that have it, the newest last

    def update(self, host: str, bridge: str, ports: Mapping[str, int], *, is_integration: bool) -> None:
        """Note a bridge's ports as the switch lists them now."""
        before = self._ports.setdefault(host, {}).get(bridge, {})
        self._ports[host][bridge] = dict(ports)
        if is_integration:
            for gone in before.keys() - ports.keys():
                self._claims[gone].remove(host)
            for new in ports.keys() - before.keys():
                self._claims.setdefault(new, []).append(host)

    def has(self, host: str, bridge: str | None = None) -> bool:
        """Return whether anything has been seen of a host, or of this bridge of it."""
        return host in self._ports if bridge is None else bridge in self._ports.get(host, {})

    def bindings(self, host: str) -> Bindings:
        """Return the port numbers of a host's bridges."""
        return Bindings(self._ports.get(host, {}))

    def locations(self, topology: Topology) -> dict[str, str]:
        """Return where each port without a host is; of two hosts that claim one, the newer."""
        return {port.name: hosts[-1] for port, hosts in self._claimed(topology) if port.host is None}

    def misplaced(self, topology: Topology) -> list[str]:
        """Return, in words, which ports showed up where they may not be."""
        found = []
        for port, hosts in self._claimed(topology):
            for host in hosts:
                if port.host is not None and host != port.host:
                    found.append(f"port {port.name} showed up on {host}, but {port.place} pins it to {port.host}")
                elif port.host is None and host != hosts[-1]:
                    found.append(f"port {port.name} is on {hosts[-1]} now, {host} still has its interface")
        return found

    def unplugged(self, topology: Topology) -> list[str]:
        """Return the ports whose interface is on no programmed host where they may be."""
        claimed = {port.name: hosts for port, hosts in self._claimed(topology)}
        missing = []
        for port in topology.ports.values():
            hosts = claimed.get(port.name, [])
            if port.host and topology.hosts[port.host].kind is HostKind.VTEP:
                continue
            if not (port.host in hosts if port.host else hosts):
                missing.append(port.name)
        return missing

    def _claimed(self, topology: Topology) -> Iterator[tuple[Port, list[str]]]:
        names = ports_by_interface(topology.ports)
        for interface, hosts in self._claims.items():
            known = [host for host in hosts if host in topology.hosts]
            if interface in names and known:
                yield topology.ports[names[interface]], known
