"""A kept-open connection to a daemon's control socket: `ovs-appctl` without a process for each call."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any


class ControlError(RuntimeError):
    """The daemon refused a command."""


class Unixctl:
    """One connection; the protocol is JSON-RPC without framing."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._id = 0

    def call(self, method: str, *arguments: str) -> str:
        """Run one command and return what it prints."""
        self._id += 1
        request = {"id": self._id, "method": method, "params": arguments}
        self._socket.sendall(json.dumps(request).encode())
        reply = self._reply()
        if reply["error"]:
            raise ControlError(str(reply["error"]).strip())
        return str(reply["result"] or "")

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _reply(self) -> dict[str, Any]:
        while True:
            try:
                reply, end = self._decoder.raw_decode(self._buffer)
            except ValueError:  # The reply is not complete yet.
                chunk = self._socket.recv(1 << 16)
                if not chunk:
                    raise ConnectionError("the daemon closed its control socket") from None
                self._buffer += chunk.decode()
                continue
            self._buffer = self._buffer[end:].lstrip()
            assert isinstance(reply, dict)
            return reply
