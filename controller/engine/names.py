"""The databases of hosts, which tell what their interfaces are, and the hosts that wait to hear from theirs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from controller.model.entities import Topology

# A host whose database is to be read, but has not been, may have ports under any names. A program without them would cut
# them off, so it gets none until its database has told, or for this long, as the database may be down.
PATIENCE_S = 10.0


class Databases(Protocol):
    """What is needed of those that read the databases (`controller.switch.interfaces`)."""

    def watch(self, databases: Mapping[str, str]) -> None:
        """Read these databases from now on, by host."""

    def problems(self) -> dict[str, str]:
        """Return which hosts' databases are not read at present, and why."""


class Names:
    """Says which databases are read, and which hosts wait for theirs."""

    def __init__(self) -> None:
        self._databases: Databases | None = None
        self._heard: set[str] = set()
        self._until: dict[str, float] = {}

    def attach(self, databases: Databases | None, topology: Topology | None) -> None:
        """Say who reads the databases, and of which topology."""
        self._databases = databases
        if topology is not None:
            self.watch(topology)

    def watch(self, topology: Topology) -> None:
        """Read the databases that a topology names."""
        if self._databases is not None:
            self._databases.watch({host.name: host.ovsdb for host in topology.hosts.values() if host.ovsdb})

    def came(self, topology: Topology | None, host: str) -> None:
        """Note that a host's switch is there; it waits if its database has never been heard."""
        known = topology.hosts.get(host) if topology else None
        if self._databases is not None and known and known.ovsdb and host not in self._heard:
            self._until.setdefault(host, time.monotonic() + PATIENCE_S)

    def told(self, host: str) -> None:
        """Note that a host's database has been heard."""
        self._heard.add(host)
        self._until.pop(host, None)

    def awaits(self, host: str) -> bool:
        """Return whether a host waits for its database."""
        return host in self._until and self._until[host] > time.monotonic()

    def deadlines(self) -> list[float]:
        """Return when those that wait will have waited long enough, in the time of `time.monotonic`."""
        now = time.monotonic()
        return [until for until in self._until.values() if until > now]

    def problems(self) -> dict[str, str]:
        """Return which hosts' databases are not read at present, and why."""
        return self._databases.problems() if self._databases is not None else {}
