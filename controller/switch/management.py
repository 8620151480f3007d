"""A bridge's management socket: OpenFlow with a switch on this machine, beside its controller and without os-ken.

Such a connection is told nothing of its own accord, and has no part in who the bridge's controller is.
"""

from __future__ import annotations

import socket
from pathlib import Path

from controller.wire import dump, message
from controller.wire.message import MessageType


class ManagementSocket:
    """One connection to `BRIDGE.mgmt`."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._xid = 0
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(str(path))
            self._socket.sendall(message.frame(MessageType.HELLO, 0))
        except OSError as problem:
            self._socket.close()
            problem.filename = str(path)
            raise

    def notes(self, table: int) -> list[str]:
        """Return the texts of the notes that the flows of a table carry.

        Raises:
            dump.Malformed: The answer is none, or an error.
            OSError: The switch has ended, or does not answer in time.
        """
        self._xid += 1
        self._socket.sendall(message.dump_flows(self._xid, table))
        found: list[str] = []
        while True:
            frame = self._receive()
            kind, xid = dump.kind_and_xid(frame)
            if kind == MessageType.ECHO_REQUEST:
                self._socket.sendall(message.frame(MessageType.ECHO_REPLY, xid, frame[message.HEADER.size :]))
            elif kind == MessageType.ERROR:
                raise dump.Malformed(f"the switch answers with {dump.error(frame).name}")
            elif kind == MessageType.MULTIPART_REPLY and xid == self._xid:
                found += dump.notes(frame, table)
                if not dump.has_more(frame):
                    return found

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _receive(self) -> bytes:
        head = self._exactly(message.HEADER.size)
        version, kind, length, _ = message.HEADER.unpack(head)
        if length < len(head):
            raise dump.Malformed("a message is shorter than its header")
        if kind == MessageType.HELLO and version < message.VERSION:
            raise dump.Malformed("the bridge does not speak OpenFlow 1.4")
        return head + self._exactly(length - len(head))

    def _exactly(self, length: int) -> bytes:
        found = bytearray()
        while len(found) < length:
            chunk = self._socket.recv(length - len(found))
            if not chunk:
                raise ConnectionError("the switch closed its management socket")
            found += chunk
        return bytes(found)
