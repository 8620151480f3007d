"""A daemon's control socket: what `ovs-appctl` does, on one connection and without a process for each call."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from controller.switch.access import HostError

_LONGEST = 1 << 26  # Of an answer, in characters; the longest that are asked for are some megabytes.


class Refused(HostError):
    """The daemon answers that it cannot do what it was told."""


class ControlSocket:
    """One connection; the protocol is JSON-RPC 1.0 without framing."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._id = 0
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(str(path))
        except OSError as problem:
            self._socket.close()
            problem.filename = str(path)
            raise

    def call(self, method: str, *arguments: str) -> str:
        """Run one command and return what it prints.

        Raises:
            Refused: The daemon cannot do it, for the reason in its words.
            OSError: It has ended, or does not answer in time.
        """
        self._id += 1
        self._socket.sendall(json.dumps({"id": self._id, "method": method, "params": arguments}).encode())
        reply = self._reply()
        if reply.get("error"):
            raise Refused(f"{method}: {str(reply['error']).strip()}")
        return str(reply.get("result") or "")

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _reply(self) -> dict[str, Any]:
        while True:
            try:
                reply, end = self._decoder.raw_decode(self._buffer)
            except ValueError:  # It is not complete yet.
                chunk = self._socket.recv(1 << 16)
                if not chunk:
                    raise ConnectionError("the daemon closed its control socket") from None
                self._buffer += chunk.decode("utf-8", errors="replace")
                if len(self._buffer) > _LONGEST:
                    raise ConnectionError("what answers at the control socket is no daemon of Open vSwitch") from None
                continue
            self._buffer = self._buffer[end:].lstrip()
            if not isinstance(reply, dict):
                raise ConnectionError("what answers at the control socket is no daemon of Open vSwitch")
            if reply.get("id") == self._id:
                return reply
