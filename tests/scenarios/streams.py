"""Conversations that count what is lost: numbered messages both ways, over UDP, TCP and as pings.

A lost datagram is a number that is missing. TCP hides what is lost, but counts it: what was sent again, less what the receiver
then had twice (a sender may be impatient, RFC 2883).
"""

from __future__ import annotations

import fcntl
import itertools
import socket
import struct
import termios
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, suppress

from controller.lab.namespaces import inside
from controller.lab.prober import echo_request
from tests.lab.net import Net
from tests.scenarios.labs import PATIENCE_S

MESSAGE = 4  # Bytes, a number.

_THIN_LINEAR_TIMEOUTS = 16  # TCP_THIN_LINEAR_TIMEOUTS, linux/tcp.h
_LONGEST_TIMEOUT_MS = 44  # TCP_RTO_MAX_MS, linux/tcp.h; since Linux 6.15
_IN_FLIGHT = 3 * MESSAGE  # So little in flight is "thin": what is lost is then sent again five times a second.
_RETRANSMITTED, _TWICE, _LENGTH = (
    100,
    216,
    228,
)  # tcpi_total_retrans and tcpi_dsack_dups of struct tcp_info, linux/tcp.h
_RESET = struct.pack("ii", 1, 0)

_identifiers = itertools.count(0x4000)


class Way:
    """One direction of a stream: which number was sent when, and which arrived when."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_open = True
        self._sent: list[float] = []
        self._arrived: dict[int, float] = {}
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return self.name

    @property
    def sent(self) -> int:
        """How many messages have been sent."""
        return len(self._sent)

    @property
    def arrived(self) -> int:
        """How many messages have arrived."""
        return len(self._arrived)

    @property
    def last(self) -> float:
        """When a message last arrived; 0 if none has."""
        with self._lock:
            return max(self._arrived.values(), default=0.0)

    def lost(self, began: float, over: float) -> list[int]:
        """Return the numbers that were sent between two moments and have not arrived."""
        with self._lock:
            return [n for n, when in enumerate(self._sent) if began <= when <= over and n not in self._arrived]

    def arrived_of(self, since: float) -> int:
        """Return how many messages have arrived that were sent after a moment."""
        with self._lock:
            return sum(self._sent[number] >= since for number in self._arrived)

    def note_sent(self) -> None:
        """Take down that the next message is on its way."""
        with self._lock:
            self._sent.append(time.monotonic())

    def note_arrived(self, number: int) -> None:
        """Take down that a message is there."""
        with self._lock:
            self._arrived.setdefault(number, time.monotonic())


class Stream(ABC):
    """A conversation. `there` is what its opener says, `back` what it is answered."""

    def __init__(self, kind: str, client: str, server: str, number: int) -> None:
        self.kind = kind
        self.client, self.server = client, server
        what = f"{kind} {number}".removesuffix(" 0")
        self.there = Way(f"{client} to {server}, {what}")
        self.back = Way(f"{server} to {client}, {what}, answers")
        self.sockets = ExitStack()

    def __str__(self) -> str:
        return self.there.name

    @property
    def ways(self) -> tuple[Way, Way]:
        """Both directions."""
        return self.there, self.back

    @property
    def repairs(self) -> int:
        """How many segments were lost so far and had to be sent again."""
        return 0

    @property
    def is_over(self) -> bool:
        """Whether one end has given up."""
        return False

    def knocks(self, way: Way) -> int:
        """Return how often somebody tried to get something through in this direction."""
        return way.sent

    @abstractmethod
    def readers(self) -> dict[int, Callable[[], None]]:
        """Return what reads from each descriptor."""

    @abstractmethod
    def send(self) -> None:
        """Say the next thing in each direction that is open."""


class Datagrams(Stream):
    """Two UDP sockets that know each other; the server speaks once it has been spoken to."""

    def __init__(self, net: Net, client: str, server: str, number: int, version: int, source: int) -> None:
        super().__init__("udp", client, server, number)
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        near, far = net.address(client, version), net.address(server, version)
        self._near = self._socket(net, client, family, source)
        self._far = self._socket(net, server, family, number)
        self._near.connect((far, number))
        self._far.connect((near, self._near.getsockname()[1]))

    def _socket(self, net: Net, port: str, family: socket.AddressFamily, number: int) -> socket.socket:
        with inside(net.lab.port_namespace(port)):
            made = self.sockets.enter_context(socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # One number serves several clients.
        made.bind(("", number))
        return made

    def readers(self) -> dict[int, Callable[[], None]]:
        return {
            self._near.fileno(): lambda: self._read(self._near, self.back),
            self._far.fileno(): lambda: self._read(self._far, self.there),
        }

    def _read(self, which: socket.socket, way: Way) -> None:
        with suppress(ConnectionError):
            way.note_arrived(int.from_bytes(which.recv(64)[:MESSAGE], "big"))

    def send(self) -> None:
        for which, way in ((self._near, self.there), (self._far, self.back)):
            if way.is_open and (way is self.there or self.there.arrived):
                message = way.sent.to_bytes(MESSAGE, "big")
                way.note_sent()
                with suppress(OSError):  # No neighbour, no interface: lost like any other.
                    try:
                        which.send(message)
                    except ConnectionError:  # Somebody refused an earlier one; this one has not been sent.
                        which.send(message)


class Connection(Stream):
    """A TCP connection; both ends speak, and wait while nothing is acknowledged."""

    def __init__(self, net: Net, client: str, server: str, number: int, version: int) -> None:
        super().__init__("tcp", client, server, number)
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with inside(net.lab.port_namespace(server)):
            listener = socket.create_server(("", number), family=family)
        with listener:
            listener.settimeout(PATIENCE_S)
            with inside(net.lab.port_namespace(client)):
                self._near = self.sockets.enter_context(socket.socket(family, socket.SOCK_STREAM))
            self._near.settimeout(PATIENCE_S)
            self._near.connect((net.address(server, version), number))
            self._far = self.sockets.enter_context(listener.accept()[0])
        for end in (self._near, self._far):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setsockopt(socket.IPPROTO_TCP, _THIN_LINEAR_TIMEOUTS, 1)
            with suppress(OSError):  # After more than a second of silence, older kernels let longer pauses pass.
                end.setsockopt(socket.IPPROTO_TCP, _LONGEST_TIMEOUT_MS, 1000)
            # What is closed is over: no conversation may outlive its story.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._parts = {self.there: b"", self.back: b""}
        self._read_so_far = {self.there: 0, self.back: 0}

    @property
    def repairs(self) -> int:
        return sum(retransmitted(end) - had_twice(end) for end in (self._near, self._far))

    @property
    def is_over(self) -> bool:
        return -1 in (self._near.fileno(), self._far.fileno())

    def knocks(self, way: Way) -> int:
        return retransmitted(self._near if way is self.there else self._far)

    def readers(self) -> dict[int, Callable[[], None]]:
        return {
            self._near.fileno(): lambda: self._read(self._near, self.back),
            self._far.fileno(): lambda: self._read(self._far, self.there),
        }

    def _read(self, which: socket.socket, way: Way) -> None:
        try:
            came = which.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        if not came:
            which.close()
            return
        whole = self._parts[way] + came
        while len(whole) >= MESSAGE:
            number, whole = int.from_bytes(whole[:MESSAGE], "big"), whole[MESSAGE:]
            assert number == self._read_so_far[way], "TCP keeps the order"
            self._read_so_far[way] += 1
            way.note_arrived(number)
        self._parts[way] = whole

    def send(self) -> None:
        for which, way in ((self._near, self.there), (self._far, self.back)):
            if self.is_over or not way.is_open:
                continue
            with suppress(OSError):  # It ends just now.
                if waiting(which) < _IN_FLIGHT:
                    which.send(way.sent.to_bytes(MESSAGE, "big"))
                    way.note_sent()


class Pings(Stream):
    """One ping that goes on: the opener's echo requests, and the answers of the other's kernel."""

    def __init__(self, net: Net, client: str, server: str) -> None:
        super().__init__("icmp", client, server, 0)
        self._identifier = next(_identifiers)
        self._near, self._far = (self._socket(net, port) for port in (client, server))
        self._target = net.address(server)
        self._from = net.address(client)

    def _socket(self, net: Net, port: str) -> socket.socket:
        with inside(net.lab.port_namespace(port)):
            made = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
            return self.sockets.enter_context(made)

    def readers(self) -> dict[int, Callable[[], None]]:
        return {
            self._near.fileno(): lambda: self._read(self._near, self.back, 0, self._target),
            self._far.fileno(): lambda: self._read(self._far, self.there, 8, self._from),
        }

    def _read(self, which: socket.socket, way: Way, kind: int, sender: str) -> None:
        packet, (address, _) = which.recvfrom(2048)
        said = packet[(packet[0] & 15) * 4 :]
        if said[0] == kind and address == sender and said[4:6] == self._identifier.to_bytes(2, "big"):
            way.note_arrived(int.from_bytes(said[8 : 8 + MESSAGE], "big"))

    def send(self) -> None:
        number = self.there.sent
        self.there.note_sent()
        self.back.note_sent()  # What is asked is to be answered.
        with suppress(OSError):
            asked = echo_request(4, self._identifier, number, number.to_bytes(MESSAGE, "big"))
            self._near.sendto(asked, (self._target, 0))


def retransmitted(end: socket.socket) -> int:
    """Return how many segments this end of a connection has sent again."""
    return _fact(end, _RETRANSMITTED)


def had_twice(end: socket.socket) -> int:
    """Return how many segments of this end the other then had twice."""
    return _fact(end, _TWICE)


def waiting(end: socket.socket) -> int:
    """Return how many bytes of this end are not acknowledged."""
    return int(struct.unpack("i", fcntl.ioctl(end, termios.TIOCOUTQ, bytes(4)))[0])


def _fact(end: socket.socket, place: int) -> int:
    facts = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH)
    return int(struct.unpack_from("=I", facts, place)[0])
