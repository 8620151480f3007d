"""Tells the observer what happens, in one thread: the latest word of each kind about each switch.

A storm of port changes on one host becomes as many calls as the observer can take, and holds up no session.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from controller.switch.status import Observer, SwitchStatus

LOG = logging.getLogger(__name__)


class Herald:
    """A thread, and what it has yet to say, by datapath id and kind."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._pending: dict[tuple[int, str], Callable[[], None]] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="herald", daemon=True)
        self._thread.start()

    def held(self, dpid: int, notes: Sequence[str]) -> None:
        """Tell what stands in the ledger of a switch that has connected."""
        self._say(dpid, "held", lambda: self._observer.held(dpid, notes))

    def connected(self, dpid: int, ports: Callable[[], Mapping[str, int]]) -> None:
        """Tell that a switch is there with its ports, as they are when it is told."""
        self._say(dpid, "presence", lambda: self._observer.connected(dpid, ports()))

    def silent(self, dpid: int, interfaces: Callable[[], frozenset[str]]) -> None:
        """Tell which of a switch's ports are not alive, as they are when it is told."""
        self._say(dpid, "life", lambda: self._observer.silent(dpid, interfaces()))

    def disconnected(self, dpid: int) -> None:
        """Tell that a switch is gone."""
        self._say(dpid, "presence", lambda: self._observer.disconnected(dpid))

    def changed(self, status: SwitchStatus) -> None:
        """Tell a switch's status."""
        self._say(status.dpid, "status", lambda: self._observer.changed(status))

    def close(self, deadline_s: float) -> None:
        """Say what is pending and stop; give up at the deadline."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(deadline_s)

    def _say(self, dpid: int, kind: str, word: Callable[[], None]) -> None:
        with self._changed:
            # What is newer goes to the end, so that words about one switch keep their order.
            self._pending.pop((dpid, kind), None)
            self._pending[dpid, kind] = word
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._is_closed)
                if not self._pending:
                    return
                words, self._pending = self._pending, {}
            for word in words.values():
                try:
                    word()
                except Exception:
                    # The observer's defect must not silence the switches.
                    LOG.exception("the observer failed")
