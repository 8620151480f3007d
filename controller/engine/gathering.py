"""How long a controller that has just started waits for its hosts."""

from __future__ import annotations

import time
from collections.abc import Collection

from controller.engine.names import Names
from controller.engine.seats import Seat
from controller.model.entities import Topology
from controller.model.names import interface_name
from controller.observed import Observed
from controller.pipeline.tables import Bridge

# A port without a host is wherever its interface shows up. A controller that starts has not seen that yet, and a program
# without the port would cut it off; and only a gateway's own switch remembers that it is drained, so others would turn to it.
# So programs wait for the hosts to tell, but not for long for one that is down. A host that has
# the interface and does not remember the port may not be the one that had it: that one may just take longer to connect.
GATHER_S = 10.0


class Gathering:
    """Whether programs have to wait."""

    def __init__(self, observed: Observed, names: Names) -> None:
        self._observed = observed
        self._names = names
        self._until = 0.0
        self._is_over = False

    def begin(self) -> None:
        """Note that the controller begins to work."""
        self._until = time.monotonic() + GATHER_S

    def deadlines(self) -> list[float]:
        """Return when it is over at the latest, in the time of `time.monotonic`."""
        return [] if self._is_over else [self._until]

    def must_wait(self, topology: Topology, seats: Collection[Seat]) -> bool:
        """Return whether a port may still turn out to be on a host that has not told its interfaces, or a gateway to be drained."""
        if self._is_over:
            return False
        silent = {
            seat.host
            for seat in seats
            if seat.kind is Bridge.INTEGRATION
            and (self._names.awaits(seat.host) or not self._observed.has(seat.host, seat.bridge))
        }
        waits = any(topology.hosts[host].gateway for host in silent) or (
            bool(silent)
            and any(
                port.host is None and not self._observed.is_dated(interface_name(port.name))
                for port in topology.ports.values()
            )
        )
        self._is_over = not waits or time.monotonic() >= self._until
        return not self._is_over
