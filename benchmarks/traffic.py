"""Traffic between ports of a lab: one TCP stream, many first packets, and frames that nobody asked for."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from controller.lab.namespaces import inside
from controller.lab.prober import checksum

_CHUNK = 1 << 20
_PATIENCE_S = 5.0
_WINDOW = 128  # First packets under way at once: enough to keep a switch busy, few enough for its queue.
_GIVEN_UP_S = 0.25
_PAUSE_S = 0.001
_BITS = 8e-6  # Megabits of a byte.
TCP, UDP = 6, 17


class Lost(Exception):
    """Traffic that must go through did not; the message says which."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a frame says of where it goes; a TCP frame is a SYN."""

    protocol: int
    destination: str
    source_port: int
    destination_port: int


class Stream:
    """A context: one TCP connection that is sent as much as it takes."""

    def __init__(self, source: str, target: str, address: str, number: int) -> None:
        self._over = threading.Event()
        self._received = 0
        with inside(target):
            server = socket.create_server((address, number))
        with server, inside(source):
            self._sender = socket.create_connection((address, number), _PATIENCE_S)
            self._receiver, _ = server.accept()
        self._receiver.settimeout(_PATIENCE_S)
        self._threads = [threading.Thread(target=body, daemon=True) for body in (self._send, self._receive)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        # Whoever waits in a call is woken by the end of its socket.
        for channel in (self._sender, self._receiver):
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._sender.close()
        self._receiver.close()

    @property
    def received(self) -> int:
        """The bytes that have arrived so far."""
        return self._received

    def _send(self) -> None:
        data = bytes(_CHUNK)
        with contextlib.suppress(OSError):
            while not self._over.is_set():
                self._sender.sendall(data)

    def _receive(self) -> None:
        buffer = bytearray(_CHUNK)
        with contextlib.suppress(OSError):
            while count := self._receiver.recv_into(buffer):
                self._received += count


class Meter:
    """Megabits a second of a stream since the meter was made."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._start = time.perf_counter()
        self._before = stream.received

    @property
    def bytes(self) -> int:
        """How many bytes have arrived."""
        return self._stream.received - self._before

    def rate(self) -> float:
        """Return the rate until now."""
        elapsed = time.perf_counter() - self._start
        if not self.bytes:
            raise Lost(f"nothing of a stream arrived in {elapsed:.1f} s")
        return self.bytes * _BITS / elapsed


def frame(source: Mapping[str, Any], target: Mapping[str, Any], header: Header) -> bytes:
    """Return an Ethernet frame from a port to another's MAC, whatever IPv4 address it names."""
    if header.protocol == TCP:
        body = struct.pack("!HHIIBBHHH", header.source_port, header.destination_port, 1, 0, 0x50, 0x02, 0xFFFF, 0, 0)
    else:
        # A UDP checksum of zero says that there is none.
        body = struct.pack("!HHHH", header.source_port, header.destination_port, 8, 0)
    addresses = ipaddress.IPv4Address(source["ip"]).packed, ipaddress.IPv4Address(header.destination).packed
    if header.protocol == TCP:
        pseudo = b"".join(addresses) + struct.pack("!BBH", 0, TCP, len(body))
        body = body[:16] + struct.pack("!H", checksum(pseudo + body)) + body[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, header.protocol, 0) + b"".join(addresses)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return _mac(target) + _mac(source) + b"\x08\x00" + head + body


def _mac(port: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(port["mac"].replace(":", ""))


@contextlib.contextmanager
def wire(namespace: str) -> Iterator[socket.socket]:
    """Yield a socket that sends frames as a port; it receives none."""
    with inside(namespace):
        channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with channel:
        channel.bind(("eth0", 0))
        yield channel


def connect_often(source: str, target: str, number: int, frames: Sequence[bytes]) -> tuple[int, float]:
    """Send the first packets of as many UDP connections, few under way at once; return how many arrived, and the seconds it took."""
    with inside(target):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, wire(source) as channel:
        server.bind(("", number))
        server.settimeout(_GIVEN_UP_S)
        buffer = bytearray(64)
        sent = arrived = given_up = 0
        waited = 0.0
        start = time.perf_counter()
        while arrived + given_up < len(frames):
            while sent < len(frames) and sent - arrived - given_up < _WINDOW:
                channel.send(frames[sent])
                sent += 1
            try:
                server.recv_into(buffer)
                arrived += 1
            except TimeoutError:
                # What has not come by now never will; the next ones have not been kept waiting by the switch.
                given_up = sent - arrived
                waited += _GIVEN_UP_S
        elapsed = time.perf_counter() - start - waited
    return arrived, elapsed


def pour(source: str, frames: Sequence[bytes], seconds: float) -> None:
    """Send frames as a port, spread evenly over a time."""
    with wire(source) as channel:
        start, sent = time.perf_counter(), 0
        while sent < len(frames):
            due = min(len(frames), int((time.perf_counter() - start) / seconds * len(frames)) + 1)
            for each in frames[sent:due]:
                channel.send(each)
            sent = due
            time.sleep(_PAUSE_S)


def frames_received(namespace: str) -> int:
    """Return how many frames a port has been given since it was plugged in."""
    with inside(namespace):
        lines = Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[2]) for line in lines if line.split()[0] == "eth0:")
