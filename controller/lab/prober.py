"""Real packets between ports of a lab: ICMP echo, TCP and UDP, and who saw each of them.

One process holds the sockets of all ports, each made inside its port's namespace, and drives them from one loop. Every
packet carries the number of its probe, and whoever receives it notes it: a probe says not only that an answer came
but which ports it reached. That tells red's 10.0.1.12 from blue's, and a request that got through from an answer that did not.
"""

from __future__ import annotations

import errno
import heapq
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from controller.lab.namespaces import inside

ICMP, TCP, UDP = "icmp", "tcp", "udp"

_WINDOW = 400  # Probes in flight at once: enough to fill the wait for silence, few enough for 1,024 descriptors.
_MAGIC = b"weft"
_HEADER = struct.Struct("!4s8sI")  # Magic, run, probe.
_ECHO = {4: (8, 0), 6: (128, 129)}  # Request and reply types of ICMP and ICMPv6.
_BUSY = (errno.EINPROGRESS, 0)


@dataclass(frozen=True, slots=True)
class Probe:
    """A question to the network: `source` sends `kind` to `address`, for TCP and UDP to port `number`."""

    source: str
    address: str
    kind: str
    number: int = 0

    @property
    def version(self) -> int:
        """The IP version."""
        return 6 if ":" in self.address else 4


@dataclass(slots=True)
class Outcome:
    """What became of a probe: the ports that received it, whether an answer came back and, if it says so, whose."""

    reached: set[str] = field(default_factory=set)
    answered: bool = False
    answered_by: str | None = None
    senders: dict[str, str] = field(default_factory=dict)  # From which address each port received it.

    def is_from(self, port: str) -> bool:
        """Whether this very port got the probe and its answer came back."""
        return self.answered and port in self.reached and self.answered_by in (None, port)

    def arrive(self, port: str, sender: str) -> None:
        """Take down that a port has received it, from an address."""
        self.reached.add(port)
        self.senders[port] = sender

    def note(self, name: bytes) -> None:
        """Take down an answer that carries the name of the port that gives it."""
        self.answered, self.answered_by = True, name.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a probe is sent, and how long apart; it is given up one interval after the last time."""

    tries: int
    interval: float


EAGER = Pace(8, 0.4)  # For what should arrive: the first packet may wait for the underlay's ARP.
BRIEF = Pace(2, 0.4)  # For what should not: silence must be waited for.

Handler = Callable[[socket.socket], None]


class Prober:
    """Sockets in the namespaces of ports, and the loop that drives them. A context manager."""

    def __init__(self, namespaces: Mapping[str, str]) -> None:
        self._namespaces = namespaces
        self._selector = selectors.DefaultSelector()
        self._raw: dict[tuple[str, int], socket.socket] = {}
        self._clients: dict[tuple[str, int], socket.socket] = {}
        self._run = os.urandom(8)
        self._probes: Sequence[Probe] = ()
        self._outcomes: list[Outcome] = []
        self._tcp: dict[int, list[socket.socket]] = {}
        self._identifiers = {port: struct.unpack("!H", os.urandom(2))[0] for port in namespaces}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for key in list(self._selector.get_map().values()):
            self._close(key.fileobj)
        self._selector.close()

    def attend(self, port: str, version: int, numbers: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Let a port notice echo requests and answer on TCP and UDP numbers; return those that another server holds."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        taken = []
        with inside(self._namespaces[port]):
            protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
            raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
            self._raw[port, version] = raw
            self._watch(raw, lambda it: self._on_icmp(it, port, version))
            client = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._clients[port, version] = client
            self._watch(client, self._on_udp_answer)
            for kind, number in numbers:
                if not self._serve(port, family, kind, number):
                    taken.append((kind, number))
        return taken

    def ask(
        self, probes: Sequence[Probe], pace: Pace, progress: Callable[[int], None] = lambda _: None
    ) -> list[Outcome]:
        """Send probes, many at once, and return what became of each; `progress` hears how many are settled."""
        self._run = os.urandom(8)  # A late packet of an earlier round says nothing about this one.
        self._probes, self._outcomes = probes, [Outcome() for _ in probes]
        waiting = iter(range(len(probes)))
        agenda: list[tuple[float, int, int]] = []  # When, which probe, how often it has been sent.
        open_ones: set[int] = set()
        settled = 0
        while True:
            now = time.monotonic()
            for number in [each for each in open_ones if self._outcomes[each].answered]:
                open_ones.discard(number)
                settled += self._settle(number)
            while agenda and agenda[0][0] <= now:
                _, number, sent = heapq.heappop(agenda)
                if number not in open_ones:
                    continue
                if sent < pace.tries:
                    self._send(number)
                    heapq.heappush(agenda, (now + pace.interval, number, sent + 1))
                else:
                    open_ones.discard(number)
                    settled += self._settle(number)
            for number in waiting if len(open_ones) < _WINDOW else ():
                open_ones.add(number)
                self._send(number)
                heapq.heappush(agenda, (now + pace.interval, number, 1))
                if len(open_ones) >= _WINDOW:
                    break
            progress(settled)
            if not open_ones:
                # An answer may be read before its request, when many packets wait at one port.
                while self._turn(0.0):
                    pass
                return self._outcomes
            self._turn(max(0.0, agenda[0][0] - time.monotonic()))

    def _turn(self, seconds: float) -> bool:
        """Handle what is there, or comes in time; return whether there was anything."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            if isinstance(key.fileobj, socket.socket):
                handler: Handler = key.data
                with suppress(BlockingIOError):
                    handler(key.fileobj)
        return bool(ready)

    def _settle(self, number: int) -> int:
        for connection in self._tcp.pop(number, []):
            self._close(connection)
        return 1

    def _send(self, number: int) -> None:
        probe = self._probes[number]
        payload = _HEADER.pack(_MAGIC, self._run, number)
        # A refusal on the spot (no route, a neighbour that did not answer) is silence like any other.
        with suppress(OSError):
            if probe.kind == UDP:
                self._clients[probe.source, probe.version].sendto(payload, (probe.address, probe.number))
            elif probe.kind == ICMP:
                packet = echo_request(probe.version, self._identifiers[probe.source], number, payload)
                self._raw[probe.source, probe.version].sendto(packet, (probe.address, 0))
            else:
                self._connect(number, probe, payload)

    def _connect(self, number: int, probe: Probe, payload: bytes) -> None:
        family = socket.AF_INET if probe.version == 4 else socket.AF_INET6
        with inside(self._namespaces[probe.source]):
            connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._tcp.setdefault(number, []).append(connection)
        # Closing resets: thousands of connections must not linger in the namespaces.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if connection.connect_ex((probe.address, probe.number)) in _BUSY:
            handler: Handler = lambda it: self._on_connected(it, number, payload)  # noqa: E731
            self._selector.register(connection, selectors.EVENT_WRITE, handler)

    def _on_connected(self, connection: socket.socket, number: int, payload: bytes) -> None:
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._close(connection)
            return
        connection.send(payload)
        handler: Handler = lambda it: self._on_tcp_answer(it, number)  # noqa: E731
        self._selector.modify(connection, selectors.EVENT_READ, handler)

    def _on_tcp_answer(self, connection: socket.socket, number: int) -> None:
        try:
            name = connection.recv(256)
        except ConnectionError:
            name = b""
        self._close(connection)
        if name:
            self._outcomes[number].note(name)

    def _serve(self, port: str, family: socket.AddressFamily, kind: str, number: int) -> bool:
        stream = kind == TCP
        sort = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
        listener = socket.socket(family, sort | socket.SOCK_NONBLOCK)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            if stream:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", number))
            if stream:
                listener.listen(256)
        except OSError:
            listener.close()
            return False
        handler = self._on_accept if stream else self._on_udp_request
        self._watch(listener, lambda it: handler(it, port))
        return True

    def _on_accept(self, listener: socket.socket, port: str) -> None:
        connection, sender = listener.accept()
        connection.setblocking(False)
        self._watch(connection, lambda it: self._on_tcp_request(it, port, sender[0]))

    def _on_tcp_request(self, connection: socket.socket, port: str, sender: str) -> None:
        with suppress(ConnectionError):
            outcome = self._outcome(connection.recv(256))
            if outcome:
                outcome.arrive(port, sender)
                connection.send(port.encode())
        self._close(connection)

    def _on_udp_request(self, listener: socket.socket, port: str) -> None:
        payload, sender = listener.recvfrom(256)
        outcome = self._outcome(payload)
        if outcome:
            outcome.arrive(port, sender[0])
            with suppress(OSError):
                listener.sendto(payload + port.encode(), sender)

    def _on_udp_answer(self, client: socket.socket) -> None:
        with suppress(ConnectionError, PermissionError):
            payload = client.recv(256)
            outcome = self._outcome(payload)
            if outcome and len(payload) > _HEADER.size:
                outcome.note(payload[_HEADER.size :])

    def _on_icmp(self, raw: socket.socket, port: str, version: int) -> None:
        with suppress(ConnectionError, PermissionError):
            packet, sender = raw.recvfrom(2048)
            if version == 4:
                packet = packet[(packet[0] & 15) * 4 :]
            outcome = self._outcome(packet[8:]) if len(packet) >= 8 else None
            if outcome is None:
                return
            request, reply = _ECHO[version]
            if packet[0] == request:
                outcome.arrive(port, sender[0])
            elif packet[0] == reply and struct.unpack_from("!H", packet, 4)[0] == self._identifiers[port]:
                # The kernel answers, so an echo carries no name; the receiver's own note of the request tells who.
                outcome.answered = True

    def _outcome(self, payload: bytes) -> Outcome | None:
        """Return the outcome that a payload belongs to, None if it is not of this round."""
        if len(payload) < _HEADER.size:
            return None
        magic: bytes
        run: bytes
        number: int
        magic, run, number = _HEADER.unpack_from(payload)
        if magic != _MAGIC or run != self._run or number >= len(self._outcomes):
            return None
        return self._outcomes[number]

    def _watch(self, which: socket.socket, handler: Handler) -> None:
        self._selector.register(which, selectors.EVENT_READ, handler)

    def _close(self, which: object) -> None:
        if isinstance(which, socket.socket):
            with suppress(KeyError, ValueError):
                self._selector.unregister(which)
            which.close()


def echo_request(version: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """Return an ICMP or ICMPv6 echo request; the kernel fills in the checksum of the latter."""
    kind = _ECHO[version][0]
    head = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence & 0xFFFF)
    if version == 6:
        return head + payload
    return struct.pack("!BBHHH", kind, 0, checksum(head + payload), identifier, sequence & 0xFFFF) + payload


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071).

    >>> hex(checksum(bytes.fromhex("0800000000010001")))
    '0xf7fd'
    """
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
