"""Conversations that go on while rules change: a hundred messages a second, each way, driven by one thread.

with Exchange(net) as exchange:
    stream = exchange.open("udp", "red/near", "red/server", 5001)      it flows both ways when this returns
    stream.there, stream.back                                          what the opener says, what it is answered
    stream.there.lost(began, over)                                     the numbers sent between that have not arrived
    stream.repairs                                                     of TCP: segments that had to be sent again
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.lab.net import Net
from tests.scenarios.labs import PATIENCE_S, remembered
from tests.scenarios.streams import Connection, Datagrams, Pings, Stream

RATE = 100  # Messages a second.


class Exchange:
    """The thread that drives streams; all of them are closed at the end of the block."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._streams: list[Stream] = []
        self._readers: dict[int, Callable[[], None]] = {}
        self._poll = select.epoll()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for stream in self._streams:
            stream.sockets.close()
        self._poll.close()
        if self._failure is not None:
            raise self._failure

    def open(
        self, kind: str, client: str, server: str, number: int = 0, *, version: int = 4, source: int = 0
    ) -> Stream:
        """Begin a conversation and return it once it flows both ways; fail if it does not."""
        stream = self.begin(kind, client, server, number, version=version, source=source)
        deadline = time.monotonic() + PATIENCE_S
        while not all(way.arrived for way in stream.ways):
            assert time.monotonic() < deadline, f"does not flow: {stream}\n{remembered(self._net, str(number))}"
            time.sleep(0.005)
        return stream

    def begin(
        self, kind: str, client: str, server: str, number: int = 0, *, version: int = 4, source: int = 0
    ) -> Stream:
        """Begin a conversation, which may or may not flow; of TCP the connection is made, or this fails."""
        stream: Stream
        if kind == "udp":
            stream = Datagrams(self._net, client, server, number, version, source)
        elif kind == "tcp":
            stream = Connection(self._net, client, server, number, version)
        else:
            stream = Pings(self._net, client, server)
        with self._lock:
            self._streams.append(stream)
            for descriptor, reader in stream.readers().items():
                self._readers[descriptor] = reader
                self._poll.register(descriptor, select.EPOLLIN)
        return stream

    def close(self, stream: Stream) -> None:
        """End a conversation."""
        with self._lock:
            for way in stream.ways:
                way.is_open = False
            self._streams.remove(stream)
            for descriptor in stream.readers():
                self._readers.pop(descriptor, None)
            stream.sockets.close()

    def _run(self) -> None:
        try:
            tick = time.monotonic()
            while not self._over.is_set():
                tick = max(tick + 1 / RATE, time.monotonic())
                with self._lock:
                    for stream in self._streams:
                        stream.send()
                while (left := tick - time.monotonic()) > 0:
                    self._read(self._poll.poll(left))
                self._read(self._poll.poll(0))
        except Exception as error:  # noqa: BLE001 - It is raised where the streams are looked at.
            self._failure = error

    def _read(self, ready: list[tuple[int, int]]) -> None:
        with self._lock:
            for descriptor, _ in ready:
                with suppress(KeyError, BlockingIOError):
                    self._readers[descriptor]()
