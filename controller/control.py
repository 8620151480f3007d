"""The controller's local door: one JSON line asks, one JSON line answers, over a unix socket that only root may use.

    {"do": "status"}  ->  {"in_sync": true, "switches": [...], ...}

The socket serves the `weft` command on the same machine. It is no remote API: who may open it may read everything.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)

_LONGEST_LINE = 1 << 20
_PATIENCE_S = 30.0
_BACKLOG = 16

Handler = Callable[[Mapping[str, Any]], dict[str, Any]]


def default_path() -> Path:
    """Return where the socket is unless the user says otherwise: `$WEFT_CONTROL`, or under `/run/weft`."""
    return Path(os.environ.get("WEFT_CONTROL", "/run/weft/control.sock"))


class NoController(OSError):
    """Nobody answers at the socket."""


def request(path: Path | str, question: Mapping[str, Any], timeout_s: float = _PATIENCE_S) -> dict[str, Any]:
    """Ask the controller at `path` and return its answer; raise NoController if there is none in time."""
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(timeout_s)
            channel.connect(str(path))
            channel.sendall(json.dumps(question).encode() + b"\n")
            with channel.makefile("rb") as stream:
                line = stream.readline()
    except OSError as error:
        raise NoController(f"no controller answers at {path}: {error.strerror or error}") from error
    if not line.endswith(b"\n"):
        raise NoController(f"the controller at {path} closed the connection without an answer")
    answer: dict[str, Any] = json.loads(line)
    return answer


class ControlServer:
    """Answers requests, each connection in a thread of its own."""

    def __init__(self, path: Path, handle: Handler) -> None:
        self._path = path
        self._handle = handle
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Open the socket; raise OSError, whose text says which, if another controller answers there or it cannot be made."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            is_taken = self._is_taken()
            if not is_taken:
                self._socket = self._bound()
        except OSError as error:
            raise OSError(f"cannot open the control socket {self._path}: {error.strerror or error}") from None
        if is_taken:
            raise OSError(f"another controller answers at {self._path}")
        threading.Thread(target=self._accept, args=(self._socket,), name="control", daemon=True).start()

    def close(self) -> None:
        """Stop answering and remove the socket."""
        if self._socket is not None:
            # A blocked accept() returns only when the listener is shut down, not when it is closed.
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None
            self._path.unlink(missing_ok=True)

    def _bound(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
        return listener

    def _is_taken(self) -> bool:
        """Return whether a controller answers; remove what one that died has left."""
        if not self._path.exists():
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._path))
            except ConnectionRefusedError:
                self._path.unlink(missing_ok=True)
                return False
        return True

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                channel, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(channel,), name="control-client", daemon=True).start()

    def _serve(self, channel: socket.socket) -> None:
        with channel, channel.makefile("rwb") as stream:
            channel.settimeout(_PATIENCE_S)
            try:
                while line := stream.readline(_LONGEST_LINE):
                    stream.write(json.dumps(self._answer(line)).encode() + b"\n")
                    stream.flush()
            except OSError as error:
                LOG.debug("control connection ended: %s", error)

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            question = json.loads(line)
        except ValueError:
            return {"error": "not a JSON line"}
        if not isinstance(question, dict):
            return {"error": "not a JSON object"}
        return self._handle(question)
