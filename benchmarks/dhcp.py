"""How many clients of DHCP the controller answers, and how long one waits: a switch that asks, and a real controller.

A real switch would let a port ask so many times a second and no more; this one asks as fast as it is answered.
"""

from __future__ import annotations

import itertools
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.crowd import free_port
from benchmarks.figure import Figure, Unit, median_and_p99
from benchmarks.measure import Timing
from benchmarks.offline import load
from benchmarks.process import Controller, Late
from benchmarks.simulated import SimulatedSwitch
from benchmarks.simulation import Simulation, described
from benchmarks.topology import write_topology
from benchmarks.workload import Size, generate
from controller.answers import datagram, dhcp4, udp
from controller.answers.intended import interface
from controller.model.address import BROADCAST_MAC
from controller.model.entities import Port, Topology
from controller.model.ids import integration_dpid, key
from controller.model.names import interface_name
from controller.pipeline.fields import BY_NAME
from controller.pipeline.questions import Question
from controller.pipeline.registers import NETWORK, QUESTION, SOURCE
from controller.wire import oxm
from controller.wire.message import HEADER, MessageType, frame

DHCP = "dhcp"
ANSWERS, ONE = "DHCP answers", "one DHCP answer"

_PATIENCE_S = 30.0
_OUTSTANDING = 128  # Half of what the controller lets a switch have waiting.
_ALONE = 300  # Questions of which each waits for the answer to the one before.
_NOBODY, _EVERYBODY = IPv4Address(0), IPv4Address(0xFFFFFFFF)
_PACKET_IN = struct.Struct(">IHBB8s")


class Wrong(Exception):
    """A client is not answered, or not with its own address."""


class AskingSwitch:
    """A simulated switch that asks questions; a context in which it is connected."""

    def __init__(self, address: tuple[str, int], switch: SimulatedSwitch) -> None:
        self._address = address
        self._switch = switch
        self._heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._channel: socket.socket | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        until = time.monotonic() + _PATIENCE_S
        while self._channel is None:
            try:
                self._channel = socket.create_connection(self._address, 5.0)
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        self._channel.settimeout(None)
        self._channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(frame(MessageType.HELLO, 1))
        threading.Thread(target=self._read, args=(self._channel,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel is not None:
            with suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)
            self._channel.close()

    def send(self, data: bytes) -> None:
        """Send messages; from any thread."""
        if self._channel is None:
            raise Late("the switch is not connected")
        with self._lock:
            self._channel.sendall(data)

    def heard(self) -> bytes:
        """Return the next packet-out or echo reply."""
        try:
            return self._heard.get(timeout=_PATIENCE_S)
        except queue.Empty:
            raise Wrong(f"no answer in {_PATIENCE_S:.0f} s") from None

    def _read(self, channel: socket.socket) -> None:
        rest = b""
        with suppress(OSError):
            while data := channel.recv(1 << 18):
                rest += data
                at = 0
                others = []
                while at + HEADER.size <= len(rest):
                    _, kind, length, _ = HEADER.unpack_from(rest, at)
                    if at + length > len(rest):
                        break
                    message = rest[at : at + length]
                    if kind in (MessageType.PACKET_OUT, MessageType.ECHO_REPLY):
                        self._heard.put(message)
                    else:
                        others.append(message)
                    at += length
                rest = rest[at:]
                answers = self._switch.answer(b"".join(others))
                if answers:
                    self.send(answers)


def measure_dhcp(size: Size, directory: Path, seconds: float) -> Iterator[Figure]:
    """Measure one host full of clients, for so many seconds."""
    document = generate(size)
    document["networks"] = [{**network, "dhcp": True} for network in document["networks"]]
    folder = directory / "topology"
    write_topology(document, folder)
    topology = load(folder)
    (host,) = topology.hosts.values()
    integration, tunnel = described(topology, [host.name])
    address = "127.0.0.1", free_port()
    listen = "{}:{}".format(*address)
    controller = Controller(folder, listen, directory)
    switch = SimulatedSwitch(integration_dpid(host.id), integration["ports"])
    try:
        controller.start()
        with Simulation(listen, [tunnel]), AskingSwitch(address, switch) as asking:
            controller.wait_in_sync()
            questions = [_question(port, switch.ports) for port in topology.ports.values()]
            _check(asking, topology, questions)
            yield from _measure_one(asking, questions)
            before, start = controller.usage().cpu_s, time.perf_counter()
            count = _flood(asking, questions, seconds)
            took = time.perf_counter() - start
            yield Figure(DHCP, ANSWERS, count / took, Unit.PER_S)
            used = controller.usage().cpu_s - before
            yield Figure(DHCP, f"{ANSWERS}: CPU of the controller, of a core", 100 * used / took, Unit.PERCENT)
            told = (controller.status() or {})["questions"]
            if told["lost"] or told["unanswered"]:
                raise Wrong(f"not every question was answered: {told}")
    finally:
        controller.close()


def _question(port: Port, numbers: dict[str, int]) -> bytes:
    """Return the packet-in of a client's first question."""
    head = struct.pack(">BBBBI4x16x6s10x192x", 1, 1, 6, 0, key("question", port.name), port.mac.to_bytes(6, "big"))
    options = bytes((99, 130, 83, 99, dhcp4.Option.KIND, 1, dhcp4.Kind.DISCOVER, dhcp4.Option.END))
    message = udp.Message(dhcp4.CLIENT_PORT, dhcp4.SERVER_PORT, head + options)
    packet = datagram.framed(BROADCAST_MAC, port.mac, udp.packet(_NOBODY, _EVERYBODY, message))
    fields = {
        "in_port": numbers[interface_name(port.name)],
        NETWORK.field: key("network", port.network),
        SOURCE.field: key("port", port.name),
        QUESTION.field: Question.DHCP << QUESTION.offset,
    }
    match = b"".join(oxm.EXACT[BY_NAME[name].index] + struct.pack(">I", value) for name, value in fields.items())
    match = struct.pack(">HH", 1, 4 + len(match)) + match
    body = _PACKET_IN.pack(0xFFFFFFFF, len(packet), 1, 18, bytes(8)) + match + bytes(-len(match) % 8 + 2)
    return frame(MessageType.PACKET_IN, 0, body + packet)


def _check(asking: AskingSwitch, topology: Topology, questions: Sequence[bytes]) -> None:
    """Ask for every port once, and see that each is offered its own address."""
    for port, question in zip(topology.ports.values(), questions, strict=True):
        asking.send(question)
        mine = interface(topology.networks[port.network], port)
        if mine is None or mine.address.packed not in asking.heard():
            raise Wrong(f"{port.name} is not offered its address")


def _measure_one(asking: AskingSwitch, questions: Sequence[bytes]) -> Iterator[Figure]:
    """Measure one question at a time, beside an echo, which nobody has to think about."""
    echoes: list[float] = []
    answers: list[float] = []
    for question in itertools.islice(itertools.cycle(questions), _ALONE):
        for message, seconds in ((frame(MessageType.ECHO_REQUEST, 7), echoes), (question, answers)):
            start = time.perf_counter()
            asking.send(message)
            asking.heard()
            seconds.append(time.perf_counter() - start)
    yield from median_and_p99(DHCP, ONE, Timing.of(answers), Timing.of(echoes))


def _flood(asking: AskingSwitch, questions: Sequence[bytes], seconds: float) -> int:
    """Ask as fast as answers come; return how many came."""
    waiting = itertools.cycle(questions)
    asking.send(b"".join(itertools.islice(waiting, _OUTSTANDING)))
    until = time.perf_counter() + seconds
    count = 0
    while time.perf_counter() < until:
        asking.heard()
        count += 1
        asking.send(next(waiting))
    for _ in range(_OUTSTANDING):
        asking.heard()
    return count + _OUTSTANDING
