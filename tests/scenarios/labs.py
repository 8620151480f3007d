"""What lab stories of whole modules share: a lab, a stream that must not break, a wire's tags, and which flows were touched."""

from __future__ import annotations

import itertools
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controller import config, control
from controller.lab.lab import Lab
from controller.lab.namespaces import inside
from controller.lab.prober import EAGER, ICMP, Outcome, Probe, Prober
from tests.lab.net import ANY_PROTOCOL, Net

PATIENCE_S = 20.0
_PACKET, _AUXDATA = 263, 8  # SOL_PACKET and PACKET_AUXDATA, linux/if_packet.h
_RECEIVE_BUFFER_FORCE = 33  # SO_RCVBUFFORCE, asm-generic/socket.h
_TAG_IS_THERE = 0x10  # TP_STATUS_VLAN_VALID

_numbers = itertools.count()


@contextmanager
def running(directory: Path, files: Mapping[str, str], *, without: Collection[str] = ()) -> Iterator[Net]:
    """A lab of these files, with its controller, for as long as the block lasts; it need not be in sync."""
    name = f"s{os.getpid()}-{next(_numbers)}"
    folder = directory / f"{name}.files"
    for path, text in files.items():
        write(folder / path, text)
    loaded = config.load(folder)
    assert loaded.topology is not None, "\n".join(map(config.render, loaded.problems))
    lab = Lab.up(loaded.topology, folder, name, directory=directory / name, without=without)
    try:
        yield Net(lab)
    finally:
        lab.down()


def write(path: Path, text: str) -> None:
    """Write a file as editors do: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def ask(net: Net, what: str) -> dict[str, Any]:
    """Ask the lab's controller."""
    return control.request(net.lab.control, {"do": what})


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; fail after the deadline."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"did not come about: {what}"
        time.sleep(0.01)


def states(net: Net, *hosts: str) -> set[str]:
    """Return the states of the switches of some hosts."""
    return {switch["state"] for switch in ask(net, "status")["switches"] if switch["host"] in hosts}


def pings(net: Net, pairs: Iterable[tuple[str, str]], version: int = 4) -> dict[tuple[str, str], Outcome]:
    """Let all pairs ping at once; every plugged port notes what reaches it."""
    pairs = list(pairs)
    with Prober({name: net.lab.port_namespace(name) for name in net.lab.plugged}) as prober:
        for name in net.lab.plugged:
            prober.attend(name, version, [])
        probes = [Probe(source, net.address(target, version), ICMP) for source, target in pairs]
        return dict(zip(pairs, prober.ask(probes, EAGER), strict=True))


class Stream:
    """Datagrams from one port to another, 200 a second, while the block runs; `lost` says afterwards which did not arrive."""

    RATE, NUMBER, BUFFER = 200, 4242, 1 << 22

    def __init__(self, net: Net, source: str, target: str) -> None:
        with inside(net.lab.port_namespace(target)):
            self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, self.BUFFER)
        self._receiver.bind(("", self.NUMBER))
        self._receiver.settimeout(PATIENCE_S)
        with inside(net.lab.port_namespace(source)):
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender.connect((net.address(target), self.NUMBER))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent = 0
        self.lost: set[int] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._receiver.recv(64)  # The stream flows before the story begins.
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        try:
            if kind is None:
                self._count()
        finally:
            self._receiver.close()
            self._sender.close()

    def _send(self) -> None:
        while not self._over.wait(1 / self.RATE):
            self._sender.send(struct.pack("!I", self.sent))
            self.sent += 1

    def _count(self) -> None:
        """Read what came until the last one is there, which is sent again until it is."""
        self.lost = set(range(1, self.sent))  # The first one was read at the beginning.
        last = struct.pack("!I", self.sent)
        self._receiver.settimeout(0.2)
        for _ in range(20):
            self._sender.send(last)
            while True:
                try:
                    came = self._receiver.recv(64)
                except TimeoutError:
                    break
                if came == last:
                    return
                self.lost.discard(struct.unpack("!I", came)[0])
        raise AssertionError("the stream has come to an end for good")


class Wire:
    """What arrives at an interface of a host, with its 802.1Q tags, which the kernel takes out of frames."""

    def __init__(self, net: Net, host: str, interface: str) -> None:
        with inside(net.lab.host_namespace(host)):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ANY_PROTOCOL))
            self._socket.bind((interface, ANY_PROTOCOL))
        self._socket.setsockopt(_PACKET, _AUXDATA, 1)
        self._socket.settimeout(PATIENCE_S)
        self.frames: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def wait_for(self, wanted: Callable[[bytes], bool]) -> bytes:
        """Return the next frame that fits; fail when none comes."""
        while True:
            frame, auxiliary, _, address = self._socket.recvmsg(1 << 16, 64)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            for _, _, data in auxiliary:
                status, _, _, _, _, tag, ethertype = struct.unpack("IIIHHHH", data)
                if status & _TAG_IS_THERE:
                    frame = frame[:12] + struct.pack("!HH", ethertype or 0x8100, tag) + frame[12:]
            self.frames.append(frame)
            if wanted(frame):
                return frame


@dataclass(frozen=True, slots=True)
class Held:
    """A flow that a switch holds: what identifies it, what it does, and for how long it has been there."""

    what: str
    actions: str
    seconds: float


def installed(net: Net) -> dict[tuple[str, str, str], Held]:
    """Return all flows of all hosts by (host, bridge, what identifies the flow)."""
    found = {}
    for switch in ask(net, "status")["switches"]:
        host, bridge = switch["host"], switch["bridge"]
        said = net.lab.exec_host(host, ["ovs-ofctl", "--no-names", "dump-flows", bridge], check=True).stdout
        for line in said.splitlines():
            if "actions=" not in line:
                continue
            head, actions = line.strip().split(" actions=")
            seconds = re.search(r"duration=([0-9.]+)s", head)
            assert seconds, line
            kept = re.sub(r"(cookie|duration|n_packets|n_bytes|idle_age|hard_age)=[^, ]+,? ?", "", head)
            found[host, bridge, kept] = Held(kept, actions, float(seconds[1]))
    return found


def touched(before: Mapping[tuple[str, str, str], Held], after: Mapping[tuple[str, str, str], Held]) -> list[str]:
    """Return the flows that came, went, changed, or were written again: a flow that is written anew is young again."""
    gone = [
        f"{' '.join(key[:2])}: - {held.what} actions={held.actions}" for key, held in before.items() if key not in after
    ]
    new = [
        f"{' '.join(key[:2])}: + {held.what} actions={held.actions}"
        for key, held in after.items()
        if key not in before or held.actions != before[key].actions or held.seconds < before[key].seconds
    ]
    return gone + new
