"""The program that a switch shall hold: set by the engine, read by the session's worker; the latest wins."""

from __future__ import annotations

import threading
from collections.abc import Callable

from controller.pipeline.flow import Program


class Target:
    """One switch's goal. It outlives sessions: a switch that comes back is brought to the latest."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._program: Program | None = None
        self._version = 0
        self._reached = 0

    @property
    def is_reached(self) -> bool:
        """Whether a worker has brought the switch to the latest program."""
        return self._reached == self._version

    def reach(self, version: int) -> None:
        """Note that the switch holds the program of this version."""
        self._reached = version

    @property
    def program(self) -> Program | None:
        """The latest program, None before the first."""
        return self._program

    def set(self, program: Program) -> None:
        """Replace the program and wake the worker."""
        with self._changed:
            self._program = program
            self._version += 1
            self._changed.notify_all()

    def wake(self) -> None:
        """Let waiting workers look again whether they are still needed."""
        with self._changed:
            self._changed.notify_all()

    def next(self, seen: int, retry_after_s: float | None, is_over: Callable[[], bool]) -> tuple[int, Program] | None:
        """Wait for a program newer than version `seen`, or for the time of a retry; return None once `is_over`."""
        with self._changed:
            self._changed.wait_for(lambda: is_over() or self._version > seen, retry_after_s)
            if is_over() or self._program is None:
                return None
            return self._version, self._program
