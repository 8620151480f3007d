"""Where the engine is told what happens: any thread may call, and nobody waits."""

from __future__ import annotations

import queue
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from controller.engine.neighbours import Spot
from controller.engine.request import Drain, Request


class Mailbox:
    """Events in the order in which they came; some are wishes that somebody waits for."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def held(self, dpid: int, notes: Sequence[str]) -> None:
        """Note what stands in the ledger of a switch that has come."""
        self._events.put(("held", (dpid, notes)))

    def connected(self, dpid: int, ports: Mapping[str, int]) -> None:
        """Note that a switch is there with these interfaces."""
        self._events.put(("connected", (dpid, ports)))

    def disconnected(self, dpid: int) -> None:
        """Note that a switch is gone. Its ports stay where they were: the data plane outlives the connection."""
        self._events.put(("disconnected", dpid))

    def named(self, host: str, names: Mapping[str, str | None]) -> None:
        """Note what a host's OVSDB says of its interfaces: interface -> iface-id."""
        self._events.put(("named", (host, names)))

    def learned(self, spot: Spot, mac: int | None) -> None:
        """Note which MAC a neighbour that no file names has; None: nobody has the address."""
        self._events.put(("learned", (spot, mac)))

    def silent(self, dpid: int, interfaces: frozenset[str]) -> None:
        """Note which interfaces of a switch are not alive."""
        self._events.put(("silent", (dpid, interfaces)))

    # What others ask for.

    def reload(self, deadline_s: float = 60.0) -> Request:
        """Read the files again and have the switches take what changed; raise TimeoutError after the deadline."""
        return self._ask("files", deadline_s)

    def reload_soon(self, paths: Collection[Path] | None = None) -> None:
        """Read files again that have changed (None: any may have), without waiting for it."""
        self._events.put(("files", Request(paths)))

    def roll_back(self, deadline_s: float = 60.0) -> Request:
        """Put the last topology that every switch took in force again, if some have not taken the present one.

        Raises TimeoutError after the deadline.
        """
        return self._ask("rollback", deadline_s)

    def drain(self, host: str, is_drained: bool, deadline_s: float = 60.0) -> Request:
        """Have a host lead out only if nobody else can, or as its place is; raise TimeoutError after the deadline."""
        return self._ask("drain", deadline_s, Drain(host=host, is_drained=is_drained))

    def _ask(self, what: str, deadline_s: float, wish: Request | None = None) -> Request:
        wish = wish or Request()
        self._events.put((what, wish))
        if not wish.done.wait(deadline_s):
            raise TimeoutError(f"the engine was busy for longer than {deadline_s:.0f} s")
        return wish
