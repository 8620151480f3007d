"""The grammar of network stories: a running lab on which ports ping, connect, send frames and listen.

net.ping("red/web1", "red/web2")        did an echo reach that very port and come back?
net.tcp("red/web1", "red/web2", 80)     likewise for a connection
net.udp("red/web1", "10.0.1.12", 53)    an address instead of a port: did anybody answer?
with net.listen("red/web2") as heard:   every frame that the port receives
    net.send("red/web1", frame)
    heard.wait_for(lambda frame: frame[12:14] == b"\\x08\\x06")
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from controller.lab.lab import Lab
from controller.lab.namespaces import inside
from controller.lab.plan import without_length
from controller.lab.prober import ICMP, TCP, UDP, Outcome, Pace, Probe, Prober

ANY_PROTOCOL = 0x0003  # ETH_P_ALL, linux/if_ether.h
PACE = Pace(3, 0.3)  # Silence is believed after 0.9 s.


class Heard:
    """What an interface of a namespace receives while the block runs."""

    def __init__(self, namespace: str, interface: str = "eth0") -> None:
        with inside(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ANY_PROTOCOL))
            self._socket.bind((interface, ANY_PROTOCOL))
        self._socket.setblocking(False)
        self.frames: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def wait_for(self, wanted: Callable[[bytes], bool], seconds: float = 3.0) -> bytes:
        """Return the first frame that fits; fail when none has come in time."""
        found = self.find(wanted, seconds)
        assert found is not None, f"nothing of the kind in {seconds} s, but {[frame.hex() for frame in self.frames]}"
        return found

    def find(self, wanted: Callable[[bytes], bool], seconds: float) -> bytes | None:
        """Return the first frame that fits, None when none has come in time."""
        deadline = time.monotonic() + seconds
        seen = 0
        while True:
            self._read()
            for frame in self.frames[seen:]:
                if wanted(frame):
                    return frame
            seen = len(self.frames)
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return None

    def _read(self) -> None:
        while True:
            try:
                frame, address = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                return
            if address[2] != socket.PACKET_OUTGOING:
                self.frames.append(frame)


class Net:
    """A lab as network stories see it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def ping(self, source: str, target: str, *, version: int = 4, pace: Pace = PACE) -> bool:
        """Whether an echo request reaches the target and is answered."""
        return self._reaches(source, target, ICMP, 0, version, pace)

    def tcp(self, source: str, target: str, number: int, *, version: int = 4, pace: Pace = PACE) -> bool:
        """Whether a TCP connection to the target opens and carries data both ways."""
        return self._reaches(source, target, TCP, number, version, pace)

    def udp(self, source: str, target: str, number: int, *, version: int = 4, pace: Pace = PACE) -> bool:
        """Whether a UDP datagram reaches the target and its answer comes back."""
        return self._reaches(source, target, UDP, number, version, pace)

    def address(self, port: str, version: int = 4) -> str:
        """Return the first address of a port of an IP version."""
        addresses = map(without_length, self.lab.plan.ports[port].addresses)
        return next(address for address in addresses if (":" in address) == (version == 6))

    def probe(self, source: str, address: str, kind: str, number: int = 0, *, pace: Pace = PACE) -> Outcome:
        """Send one kind of packet to an address; all plugged ports note what they get."""
        with Prober({name: self.lab.port_namespace(name) for name in self.lab.plugged}) as prober:
            probe = Probe(source, address, kind, number)
            for name in self.lab.plugged:
                prober.attend(name, probe.version, [(kind, number)] if kind != ICMP else [])
            return prober.ask([probe], pace)[0]

    def plug(self, port: str) -> None:
        """Plug a port that was left out, and wait until every switch knows."""
        self.lab.plug(port)
        self.lab.wait_in_sync()

    def listen(self, port: str) -> Heard:
        """Note every frame that a port receives, from now to the end of the `with` block."""
        return Heard(self.lab.port_namespace(port))

    def send(self, port: str, frame: bytes) -> None:
        """Send a frame from a port as it is."""
        with inside(self.lab.port_namespace(port)), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("eth0", 0))
            wire.send(frame)

    def _reaches(self, source: str, target: str, kind: str, number: int, version: int, pace: Pace) -> bool:
        if target not in self.lab.plan.ports:
            return self.probe(source, target, kind, number, pace=pace).answered
        return self.probe(source, self.address(target, version), kind, number, pace=pace).is_from(target)
