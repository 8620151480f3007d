"""Traffic between two ports while something fails, and what of it was lost: datagrams, and segments of one TCP connection."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from controller.lab.namespaces import inside
from tests.lab.net import Net
from tests.scenarios.labs import PATIENCE_S, Stream

# Where Linux counts the segments that came after a gap (tcpi_rcv_ooopack of struct tcp_info, linux/tcp.h).
_AFTER_A_GAP, _LENGTH = 224, 228


class Connection:
    """Numbered records over one TCP connection, `rate` a second, while the block runs; `lost` says afterwards what went wrong.

    Where a segment is lost, later ones reach the receiver before it; sending twice alone may be the sender's impatience.
    """

    NUMBER = 4243

    def __init__(self, net: Net, source: str, target: str, rate: int) -> None:
        self._rate = rate
        with inside(net.lab.port_namespace(target)):
            self._listener = socket.create_server(("", self.NUMBER))
        with inside(net.lab.port_namespace(source)):
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._sender.settimeout(PATIENCE_S)
        self._sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sender.connect((net.address(target), self.NUMBER))
        self._receiver, _ = self._listener.accept()
        self._receiver.settimeout(PATIENCE_S)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=body) for body in (self._send, self._receive)]
        self._sent = self._received = 0
        self.lost: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._received != self._sent:
            self.lost.append(f"{self._sent - self._received} of {self._sent} records")
        for each in (self._sender, self._receiver, self._listener):
            each.close()

    def _send(self) -> None:
        try:
            while not self._over.wait(1 / self._rate):
                self._sender.sendall(struct.pack("!I", self._sent))
                self._sent += 1
            self._sender.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.lost.append(f"the connection: {error}")
            self._sender.close()

    def _receive(self) -> None:
        try:
            with self._receiver.makefile("rb") as records:
                while record := records.read(4):
                    assert record == struct.pack("!I", self._received), "TCP keeps the order"
                    self._received += 1
            facts = self._receiver.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH)
        except OSError as error:
            self.lost.append(f"the connection: {error}")
            return
        late = struct.unpack_from("=I", facts, _AFTER_A_GAP)[0]
        if late:
            self.lost.append(f"something before {late} segments")


class Traffic:
    """A stream of datagrams and a TCP connection from one port to another; `lost` is empty if neither lost anything.

    `rate` is how many datagrams and how many records are sent in a second.
    """

    def __init__(self, net: Net, source: str = "red/w1", target: str = "red/w2", rate: int = Stream.RATE) -> None:
        self._stack = ExitStack()
        self.stream = Stream(net, source, target, rate)
        self.connection = Connection(net, source, target, rate)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.stream)
        self._stack.enter_context(self.connection)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def lost(self) -> list[str]:
        """What did not arrive, in words; nothing is known before the block is over."""
        datagrams = [f"{len(self.stream.lost)} of {self.stream.sent} datagrams"] if self.stream.lost else []
        return datagrams + self.connection.lost

    @property
    def has_survived(self) -> bool:
        """Whether the connection lived through it and every record came, however often it was sent."""
        return not any("record" in each or "connection" in each for each in self.connection.lost)
