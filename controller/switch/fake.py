"""A switch made of one thread and two dictionaries, for faults that no real switch commits on demand.

It speaks enough OpenFlow 1.4 to be kept in sync: handshake, ports, echo, dumps, bundles. What it does wrong is set by
its attributes, at any time:

    with FakeSwitch(("127.0.0.1", 6653), dpid=0xAA, ports={"p1": 1}) as switch:
        switch.refuse_add = lambda kind, body: (5, 1)      # every message of a bundle: table full
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from controller.wire import pack
from controller.wire.message import HEADER, VERSION, BundleControl, MessageType, Multipart, frame
from controller.wire.pack import FlowCommand, GroupCommand, MeterCommand

Refusal = tuple[int, int]  # type and code of an error

_PORT = struct.Struct(">IH2x6s2x16sII").pack
_PORT_LENGTH = 40
_FLOW = struct.Struct(">HBxIIHHHHH2x8sQQ").pack
_BAD_REQUEST_TYPE, _BAD_MULTIPART = (1, 1), (1, 2)
_MESSAGE_FAILED = (17, 13)
_GROUP_EXISTS = (6, 0)
_METER_EXISTS, _UNKNOWN_METER = (12, 1), (12, 3)
_REQUEST_TOLD = 64  # Bytes of a request that an error repeats.


class FakeSwitch:
    """One fake switch and its connection. `flows`, `groups` and `meters` are what it holds, and outlive connections."""

    def __init__(
        self, address: tuple[str, int], dpid: int, ports: Mapping[str, int] | None = None, hello: bytes | None = None
    ) -> None:
        self.address = address
        self.dpid = dpid
        self.ports = dict(ports or {})
        self.hello = frame(MessageType.HELLO, 1) if hello is None else hello
        self.flows: dict[tuple[int, int, bytes], tuple[bytes, bytes]] = {}
        self.groups: dict[int, bytes] = {}
        self.meters: dict[int, bytes] = {}  # Flags and bands by number.
        self.flushed: list[bytes] = []  # The bodies of the messages that end connections.
        self.can_flush = True
        self.received: Counter[int] = Counter()
        self.errors: list[bytes] = []
        self.is_mute = False  # It takes everything and answers nothing.
        self.is_deaf = threading.Event()  # It reads no more.
        self.refuse_add: Callable[[int, bytes], Refusal | None] = lambda _kind, _body: None
        self.refuse_commit: Callable[[], Refusal | None] = lambda: None
        self.has_meters = True
        self.refuse_meter: Callable[[int], Refusal | None] = lambda _number: None
        self.on_dump: Callable[[], None] = lambda: None  # Before it tells its flows.
        self.refuse_packet: Callable[[], Refusal | None] = lambda: None
        self.gone = threading.Event()
        self._staged: dict[int, list[tuple[int, int, bytes]]] = {}
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Connect, and answer in a thread of its own from then on."""
        self.close()
        self.gone = threading.Event()
        self._staged.clear()
        self._socket = socket.create_connection(self.address)
        self._socket.sendall(self.hello)
        threading.Thread(target=self._serve, args=(self._socket, self.gone), name="fake switch", daemon=True).start()

    def close(self) -> None:
        """Drop the connection, as a switch that ends does."""
        if self._socket is not None:
            self.is_deaf.clear()
            # The thread may sit in recv(), which closing alone does not end.
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                self.gone.set()
            self._socket.close()
            self._socket = None

    def send(self, data: bytes) -> None:
        """Send whatever one likes."""
        if self._socket is not None:
            self._socket.sendall(data)

    def plug(self, name: str, number: int) -> None:
        """Add a port and tell the controller."""
        self.ports[name] = number
        self.send(frame(MessageType.PORT_STATUS, 0, struct.pack(">B7x", 0) + _port(name, number)))

    # The thread.

    def _serve(self, channel: socket.socket, gone: threading.Event) -> None:
        try:
            with channel.makefile("rb") as stream:
                while head := stream.read(HEADER.size):
                    _, kind, length, xid = HEADER.unpack(head)
                    body = stream.read(length - HEADER.size)
                    self.received[kind] += 1
                    if not self.is_mute:
                        channel.sendall(self._answer(kind, xid, body))
                    while self.is_deaf.is_set() and not gone.wait(0.01):
                        pass
        except (OSError, ValueError, struct.error):
            return
        finally:
            gone.set()

    def _answer(self, kind: int, xid: int, body: bytes) -> bytes:
        match kind:
            case MessageType.HELLO | MessageType.SET_CONFIG | MessageType.SET_ASYNC | MessageType.ECHO_REPLY:
                return b""
            case MessageType.ERROR:
                self.errors.append(body)
                return b""
            case MessageType.ECHO_REQUEST:
                return frame(MessageType.ECHO_REPLY, xid, body)
            case MessageType.FEATURES_REQUEST:
                return frame(MessageType.FEATURES_REPLY, xid, struct.pack(">QIBB2xII", self.dpid, 0, 254, 0, 0, 0))
            case MessageType.BARRIER_REQUEST:
                return frame(MessageType.BARRIER_REPLY, xid)
            case MessageType.PACKET_OUT:
                refusal = self.refuse_packet()
                return (
                    self._error(xid, refusal, HEADER.pack(VERSION, kind, HEADER.size + len(body), xid) + body)
                    if refusal
                    else b""
                )
            case MessageType.MULTIPART_REQUEST:
                kind = int.from_bytes(body[:2], "big")
                is_known = self.has_meters or kind != Multipart.METER_CONFIG
                return self._dump(xid, kind) if is_known else self._error(xid, _BAD_MULTIPART)
            case MessageType.EXPERIMENTER if self.can_flush:
                self.flushed.append(body)
                return b""
            case MessageType.METER_MOD:
                return self._meter(xid, body)
            case MessageType.BUNDLE_ADD_MESSAGE:
                return self._stage(xid, body)
            case MessageType.BUNDLE_CONTROL:
                return self._control(xid, body)
            case _:
                return self._error(xid, _BAD_REQUEST_TYPE)

    @staticmethod
    def _error(xid: int, refusal: Refusal, request: bytes = b"") -> bytes:
        return frame(MessageType.ERROR, xid, struct.pack(">HH", *refusal) + request[:_REQUEST_TOLD])

    def _dump(self, xid: int, kind: int) -> bytes:
        """Answer in parts, one entry each, as OpenFlow allows."""
        match kind:
            case Multipart.PORT_DESC:
                entries = [_port(name, number) for name, number in self.ports.items()]
            case Multipart.FLOW:
                self.on_dump()
                entries = [_flow(*key, *effect) for key, effect in self.flows.items()]
            case Multipart.METER_CONFIG:
                entries = [
                    struct.pack(">H2sI", 6 + len(config), config[:2], number) + config[2:]
                    for number, config in self.meters.items()
                ]
            case _:
                entries = [
                    struct.pack(">HBxI", 8 + len(buckets), 0, number) + buckets
                    for number, buckets in self.groups.items()
                ]
        parts = [(entry, 1) for entry in entries] + [(b"", 0)]
        return b"".join(
            frame(MessageType.MULTIPART_REPLY, xid, struct.pack(">HH4x", kind, more) + entry) for entry, more in parts
        )

    def _meter(self, xid: int, body: bytes) -> bytes:
        command, flags, number = struct.unpack_from(">H2sI", body)
        refusal = self.refuse_meter(number)
        if command != MeterCommand.DELETE and (command == MeterCommand.ADD) == (number in self.meters):
            refusal = _METER_EXISTS if command == MeterCommand.ADD else _UNKNOWN_METER
        if refusal is not None:
            return self._error(xid, refusal)
        if command == MeterCommand.DELETE:
            self.meters.pop(number, None)
        else:
            self.meters[number] = flags + body[8:]
        return b""

    def _stage(self, xid: int, body: bytes) -> bytes:
        (bundle,) = struct.unpack_from(">I", body)
        _, kind, _, _ = HEADER.unpack_from(body, 8)
        message = body[8 + HEADER.size :]
        refusal = self.refuse_add(kind, message)
        if refusal is not None:
            return self._error(xid, refusal)
        self._staged[bundle].append((kind, xid, message))
        return b""

    def _control(self, xid: int, body: bytes) -> bytes:
        bundle, step = struct.unpack_from(">IH", body)
        staged = self._staged.pop(bundle, [])
        if step == BundleControl.OPEN:
            self._staged[bundle] = []
        if step == BundleControl.COMMIT:
            refusal = self.refuse_commit()
            if refusal is not None:
                return self._error(staged[0][1], refusal) + self._error(xid, _MESSAGE_FAILED)
            clash = next((inner for kind, inner, message in staged if self._is_clash(kind, message)), None)
            if clash is not None:
                return self._error(clash, _GROUP_EXISTS) + self._error(xid, _MESSAGE_FAILED)
            for kind, _, message in staged:
                self._apply(kind, message)
        return frame(MessageType.BUNDLE_CONTROL, xid, struct.pack(">IHH", bundle, step + 1, 3))

    def _is_clash(self, kind: int, body: bytes) -> bool:
        """Tell whether a message adds a group that is there; only Open vSwitch's own command may do that."""
        command, number = struct.unpack_from(">H2xI", body)
        return kind == MessageType.GROUP_MOD and command == GroupCommand.ADD and number in self.groups

    def _apply(self, kind: int, body: bytes) -> None:
        if kind == MessageType.GROUP_MOD:
            command, number = struct.unpack_from(">H2xI", body)
            if command == GroupCommand.DELETE:
                self.groups.pop(number, None)
            else:
                self.groups[number] = body[8:]
            return
        table, command, priority = struct.unpack_from(">BB4xH", body, 16)
        key = (table, priority, pack.match_of(body))
        if command == FlowCommand.DELETE_STRICT:
            self.flows.pop(key, None)
        else:
            self.flows[key] = (body[:8], pack.instructions_of(body))


def _port(name: str, number: int) -> bytes:
    return _PORT(number, _PORT_LENGTH, bytes(6), name.encode(), 0, 0)


def _flow(table: int, priority: int, match: bytes, cookie: bytes, instructions: bytes) -> bytes:
    padded = match + bytes(-len(match) % 8)
    length = 48 + len(padded) + len(instructions)
    return _FLOW(length, table, 0, 0, priority, 0, 0, 0, 0, cookie, 0, 0) + padded + instructions


def hello_of(version: int) -> bytes:
    """Return the hello of a switch whose newest OpenFlow has this wire version."""
    return bytes([version]) + frame(MessageType.HELLO, 1)[1:] if version != VERSION else frame(MessageType.HELLO, 1)
