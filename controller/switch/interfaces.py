"""What hosts' Open vSwitch databases say of interfaces: which port each one is (`external_ids:iface-id`).

    ovsdb-server of hv1 ── rows ──► replica and thread of hv1 ──► named("hv1", {"tap1": "red/web1"})

While a database is away, what it said last holds. Each host has a thread: the package's way to serve many databases in one
is to run all and wait for all, so that every event and every keep-alive would cost the number of hosts.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Mapping

from controller.switch.replica import Replica, WrongName, use_credentials
from controller.switch.tls import Files

LOG = logging.getLogger(__name__)

Named = Callable[[str, Mapping[str, str | None]], None]

_AGAIN_S = 8.0  # After something that should not happen; the replica's own back-off goes up to this.
_HANDSHAKE_S = 0.005


class Interfaces:
    """Watches the databases of hosts and tells what their interfaces are.

    Args:
        named: Called with a host and all of its interfaces, OpenFlow interface name -> iface-id (None where there is none), whenever
            that changes, and once when a database is first read. `NOBODY` stands for an interface that is marked
            `external_ids:iface-status=inactive`. It is called from the host's own thread and should not block.
        files: The own key and certificate and the databases' CA, for `ssl:`. One set serves the whole process.
    """

    def __init__(self, named: Named, files: Files | None = None) -> None:
        self._named = named
        self._watches: dict[str, _Watch] = {}
        self._lock = threading.Lock()
        if files is not None:
            use_credentials(files)

    def watch(self, databases: Mapping[str, str]) -> None:
        """Watch these databases from now on, host -> `unix:PATH`, `tcp:ADDRESS:PORT` or `ssl:ADDRESS:PORT`, and no others.

        What is watched already goes on undisturbed. Never waits for a database.
        """
        with self._lock:
            for host, watch in list(self._watches.items()):
                if databases.get(host) != watch.remote:
                    watch.stop()
                    del self._watches[host]
            for host, remote in databases.items():
                if host not in self._watches:
                    self._watches[host] = _Watch(host, remote, self._named)

    def problems(self) -> dict[str, str]:
        """Return, for each host whose database is not read at present, why."""
        with self._lock:
            return {host: watch.problem for host, watch in self._watches.items() if watch.problem}

    def close(self, deadline_s: float) -> None:
        """Stop watching; return when the threads have ended, at the deadline at the latest."""
        deadline = time.monotonic() + deadline_s
        with self._lock:
            watches = list(self._watches.values())
            self._watches.clear()
        for watch in watches:
            watch.stop()
        for watch in watches:
            watch.thread.join(max(0.0, deadline - time.monotonic()))


class _Watch:
    """The thread of one host."""

    def __init__(self, host: str, remote: str, named: Named) -> None:
        self.host = host
        self.remote = remote
        self.problem = f"{remote}: not tried yet"
        self._named = named
        self._told: dict[str, str | None] | None = None
        self._is_over = False
        self._wake, self._waker = os.pipe()
        self.thread = threading.Thread(target=self._run, name=f"ovsdb {host}", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Let the thread end, soon; it tells nothing more."""
        self._is_over = True
        os.write(self._waker, b".")

    def _run(self) -> None:
        try:
            while not self._is_over:
                try:
                    self._follow()
                except WrongName as problem:
                    LOG.error("the database of %s at %s: %s", self.host, self.remote, problem)
                    self._pause(str(problem))
                except Exception as problem:
                    # A defect that one host's database brings out, or credentials that cannot be read.
                    LOG.exception("the database of %s at %s", self.host, self.remote)
                    self._pause(str(problem))
        finally:
            os.close(self._wake)
            os.close(self._waker)

    def _pause(self, reason: str) -> None:
        self.problem = f"{self.remote}: {reason}"
        select.select([self._wake], [], [], _AGAIN_S)

    def _follow(self) -> None:
        """Keep a replica of the database and tell what changes, until the watch is over."""
        replica = Replica(self.remote, self.host)
        try:
            while not self._is_over:
                names = replica.read()
                self._note(replica.is_current, replica.failure)
                if names is not None and names != self._told and not self._is_over:
                    self._told = names
                    self._named(self.host, names)
                replica.block(self._wake)
                if not replica.is_current:
                    # In a TLS handshake the IDL waits for a socket that it can write to, which it always can.
                    time.sleep(_HANDSHAKE_S)
        finally:
            replica.close()

    def _note(self, is_current: bool, failure: str) -> None:
        if is_current:
            if self.problem:
                LOG.info("the database of %s is read at %s", self.host, self.remote)
            self.problem = ""
            return
        if not self.problem:
            LOG.warning(
                "the database of %s at %s is gone (%s); what it said last holds", self.host, self.remote, failure
            )
        self.problem = f"{self.remote}: {failure}"
