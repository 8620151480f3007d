"""Datagrams that are answered, two hundred a second, and for how long they are not."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from benchmarks.traffic import Lost
from controller.lab.namespaces import inside

RATE = 200
_NUMBER = 4244
_STEADY = 100  # So many answers without a gap, and whatever happened is over.
_AFTER_S = 1.0  # A failure that is told of late has shown itself by then.
_PATIENCE_S = 30.0
_POLL_S = 0.01
_LATE_S = 0.3  # An answer that takes longer has been lost.


class Pulse:
    """A context in which one namespace sends to another, which answers."""

    def __init__(self, source: str, target: str, address: str) -> None:
        with inside(target):
            self._there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with inside(source):
            self._here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._there.bind(("", _NUMBER))
        for channel in (self._here, self._there):
            channel.settimeout(0.1)
        self._to = address, _NUMBER
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._send, self._answer, self._listen)]
        self._sent = 0
        self._answered: set[int] = set()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self._wait_steady(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._here.close()
        self._there.close()

    def lost_while(self, event: Callable[[], object]) -> float:
        """Let something happen, wait until all is answered again, and return for how many seconds what was sent was lost."""
        first = self._sent
        event()
        over = self._wait_steady(self._sent + int(_AFTER_S * RATE))
        return sum(number not in self._answered for number in range(first, over)) / RATE

    def _wait_steady(self, first: int) -> int:
        """Wait until so many in a row, from `first` on, are answered; return the number of the last."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            time.sleep(_POLL_S)
            settled = self._sent - int(_LATE_S * RATE)
            if settled - _STEADY >= first and all(each in self._answered for each in range(settled - _STEADY, settled)):
                return settled
        raise Lost(f"datagrams to {self._to[0]} are not answered in {_PATIENCE_S:.0f} s")

    def _send(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            number = self._sent
            # Whom nobody can reach is lost like any other.
            with contextlib.suppress(OSError):
                self._here.sendto(struct.pack("!I", number), self._to)
            self._sent += 1
            due += 1 / RATE
            time.sleep(max(0.0, due - time.monotonic()))

    def _answer(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                data, sender = self._there.recvfrom(64)
                self._there.sendto(data, sender)

    def _listen(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                (number,) = struct.unpack("!I", self._here.recv(64))
                self._answered.add(number)
