"""What one Open vSwitch database says of interfaces, kept up to date by the IDL of the `ovs` package.

Two columns of one table are asked for. Bridges and ports are not: names of interfaces are unique in a database, and OpenFlow
tells which of them br-int has. Nor would a condition make the replica smaller: OVSDB can be asked for rows with a certain iface-id,
not for rows with any. What the IDL does not do by itself is here: names are worked out for the rows that changed, and not for all.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

from controller.model.names import NOBODY
from controller.switch.tls import Files, names_of

# The package's poller imports eventlet if it can, and os-ken brings eventlet along: a quarter of a second, 25 MB and a
# warning on the terminal, for a poll that is replaced below.
_modules: dict[str, Any] = sys.modules
_eventlet = _modules.get("eventlet")
_modules["eventlet"] = None  # An import of it fails now (The Python Language Reference, 5.3.1).
try:
    import ovs.db.idl
    import ovs.poller
    import ovs.stream
finally:
    del _modules["eventlet"]
    if _eventlet is not None:
        _modules["eventlet"] = _eventlet

# All that is asked of the server, so that no schema has to be fetched or found on this machine (RFC 7047, section 3.2).
_TEXTS = {"key": "string", "value": "string", "min": 0, "max": "unlimited"}
_SCHEMA = {
    "name": "Open_vSwitch",
    "version": "7.0.0",
    "tables": {"Interface": {"columns": {"name": {"type": "string"}, "external_ids": {"type": _TEXTS}}}},
}
_OPENFLOW_NAME = 15  # Characters of an interface's name that OpenFlow has room for.
_PROBE_MS = 5000
_CEILING_MS = 60_000
_LAST_OF_TLS = 8  # The package hands OpenSSL's own numbers (SSL_ERROR_*) on as if they were the system's.


def use_credentials(files: Files) -> None:
    """Set the own key and certificate and the databases' CA for `ssl:`. The package has one set for the whole process."""
    ovs.stream.Stream.ssl_set_private_key_file(str(files.key))
    ovs.stream.Stream.ssl_set_certificate_file(str(files.certificate))
    ovs.stream.Stream.ssl_set_ca_cert_file(str(files.ca))


class WrongName(Exception):
    """Whoever answers is not the host whose database is wanted; the message says who it is."""


class Replica(ovs.db.idl.Idl):
    """A connection to a database that comes back by itself, and what was last read through it.

    Args:
        remote: `unix:PATH`, `tcp:ADDRESS:PORT` or `ssl:ADDRESS:PORT`.
        host: Whose database it is; with `ssl:`, the server's certificate has to name it.
    """

    def __init__(self, remote: str, host: str) -> None:
        helper = ovs.db.idl.SchemaHelper(schema_json=_SCHEMA)
        helper.register_columns("Interface", ["name", "external_ids"])
        super().__init__(remote, helper, probe_interval=_PROBE_MS, leader_only=False)
        self._owner = host if remote.startswith("ssl:") else None
        self._names: dict[UUID, tuple[str, str | None]] = {}
        self._touched: dict[UUID, Any] = {}
        self._was_current = False
        self.failure = "it has not answered yet"  # Why the last attempt to connect failed, or the connection was lost.
        fate = self._session.reconnect
        fate.connect_failed = self._noting(fate.connect_failed)
        fate.disconnected = self._noting(fate.disconnected)

    @property
    def is_current(self) -> bool:
        """Whether the database is connected and has been read."""
        return bool(self._session.is_connected() and self.state == self.IDL_S_MONITORING)

    def notify(self, event: str, row: Any, updates: Any = None) -> None:  # noqa: ARG002 - As the IDL calls it.
        """Note a row that changed; the IDL calls this."""
        self._touched[row.uuid] = None if event == ovs.db.idl.ROW_DELETE else row

    def read(self) -> dict[str, str | None] | None:
        """Take in what has arrived; return interface -> iface-id if the database is there and something may have changed.

        All interfaces are in it; `NOBODY` stands for one that is not in use, None for one without iface-id.

        Raises:
            WrongName: The server's certificate belongs to somebody else.
        """
        # One run takes 50 messages at most, and what TLS has decrypted already would wake no poll.
        while self.run():
            pass
        if not self.is_current:
            self._was_current = False
            return None
        if not self._was_current:
            self._check_name()
            # What went while the database was away, nobody notifies of.
            self._was_current = True
            self._names.clear()
            self._touched = dict(self.tables["Interface"].rows)
        elif not self._touched:
            return None
        for uuid, row in self._touched.items():
            self._names.pop(uuid, None)
            if row is not None:
                self._names[uuid] = (row.name[:_OPENFLOW_NAME], _port(row))
        self._touched = {}
        return dict(self._names.values())

    def _check_name(self) -> None:
        if self._owner is not None:
            names = names_of(self._session.rpc.stream.socket.getpeercert())
            if self._owner.lower() not in names:
                raise WrongName(f"the certificate names {', '.join(sorted(names)) or 'nobody'}, not {self._owner}")

    def _noting(self, tell: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """Return a method of the connection's state that keeps the reason, which the package only logs."""

        def note(now: int, error: int) -> None:
            if self._owner is not None and 0 < error <= _LAST_OF_TLS:
                self.failure = "the TLS handshake failed; one side refuses the other's certificate"
            else:
                self.failure = os.strerror(error) if error > 0 else "the connection was closed"
            tell(now, error)

        return note

    def block(self, wake: int) -> None:
        """Wait until something arrives or is due, or the file descriptor `wake` can be read."""
        poller = _Poller()
        poller.fd_wait(wake, ovs.poller.POLLIN)
        poller.timer_wait(_CEILING_MS)
        self.wait(poller)
        poller.block()


class _Poller(ovs.poller.Poller):
    """The package's poller, for one wait, without the limit of `select` to descriptors below 1024."""

    def __init__(self) -> None:
        super().__init__()
        self.poll = select.poll()


def _port(row: Any) -> str | None:
    """Return the iface-id of an interface, `NOBODY` for one that is not in use, None for one without."""
    said = row.external_ids
    return NOBODY if said.get("iface-status") == "inactive" else said.get("iface-id") or None
