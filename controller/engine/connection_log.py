"""The log of connections: samples in, lines of JSON out, in a thread of its own behind a queue that never makes a switch wait.

What is not written, because the queue or the disk is full, is counted, and the log says so when it goes on.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from controller.engine.connections import Connections, Line, UnknownFlow
from controller.wire.sample import NoSample, read_sample

if TYPE_CHECKING:
    from controller.engine.engine import Engine

NAME = "weft.connections"

LOG = logging.getLogger(__name__)

_ROOM = 4096  # Samples that wait: what forty flooded hosts send in a second.
_QUIET_S = 60.0

_Item = tuple[float, int, bytes]
_WEIGHT = "lines"  # The attribute of a log record that says how many lines are lost with it.


class _File(WatchedFileHandler):
    """A file that is one line more for each record; what cannot be written is told to whom it may concern."""

    def __init__(self, path: Path, on_failure: Callable[[int, object], None]) -> None:
        super().__init__(path, encoding="utf-8")
        self._on_failure = on_failure
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; the file is opened anew first if it has been moved."""
        try:
            super().emit(record)
        except OSError as problem:
            # A file that has been moved cannot be made anew.
            self._on_failure(getattr(record, _WEIGHT, 1), problem)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name.
        """Tell of a record that could not be written, which logging calls in place of raising."""
        self._on_failure(getattr(record, _WEIGHT, 1), sys.exc_info()[1])


class ConnectionLog:
    """Writes what switches sample into a file, or into the controller's own log at INFO.

    The file is opened anew when somebody has moved or removed it, as logrotate does.
    """

    def __init__(self, engine: Engine, path: Path | None) -> None:
        """Open the file; raise OSError if that cannot be done."""
        self._connections = Connections(engine)
        self._logger = logging.getLogger(NAME)
        self._file = None if path is None else _File(path, self._lose)
        self._queue: queue.Queue[_Item | None] = queue.Queue(_ROOM)
        self._lock = threading.Lock()
        self._lost = 0
        self._complained = -_QUIET_S
        self._thread = threading.Thread(target=self._run, name="connections", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._logger.setLevel(logging.INFO)
        if self._file is not None:
            self._logger.addHandler(self._file)
            self._logger.propagate = False
        self._thread.start()

    def put(self, dpid: int, frame: bytes) -> None:
        """Take a packet-in of a switch, from any thread; never blocks."""
        try:
            self._queue.put_nowait((time.time(), dpid, frame))
        except queue.Full:
            self._lose()

    def close(self, deadline_s: float) -> None:
        """Write what waits, within so many seconds, and close the file."""
        if self._thread.is_alive():
            try:
                self._queue.put(None, timeout=deadline_s)
            except queue.Full:
                LOG.warning("the log of connections ends with %d samples unwritten", self._queue.qsize())
            self._thread.join(deadline_s)
        if self._file is not None:
            self._logger.removeHandler(self._file)
            self._logger.propagate = True
            self._file.close()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._write(item)
            except (NoSample, UnknownFlow):
                self._lose()
            except Exception:
                # A defect of ours costs a line, and not the log.
                self._lose()
                if self._may_complain():
                    LOG.exception("a sample could not be logged")

    def _write(self, item: _Item) -> None:
        at, dpid, frame = item
        line = self._connections.line(dpid, read_sample(frame), at)
        if line is None:
            return
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            self._say({"time": line["time"], "left_out": lost}, lost)
        self._say(line)

    def _say(self, line: Line, weight: int = 1) -> None:
        self._logger.info("%s", json.dumps(line), extra={_WEIGHT: weight})

    def _lose(self, count: int = 1, problem: object = None) -> None:
        """Count lines that are not written, and say why if that is of interest."""
        with self._lock:
            self._lost += count
        if problem is not None and self._may_complain():
            LOG.error("the log of connections cannot be written: %s", problem)

    def _may_complain(self) -> bool:
        """Whether nothing has been said for a minute of what is wrong."""
        now = time.monotonic()
        is_due = now - self._complained >= _QUIET_S
        if is_due:
            self._complained = now
        return is_due
