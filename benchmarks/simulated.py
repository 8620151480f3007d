"""Hundreds of switches in one process: they speak OpenFlow 1.4 over TCP as Open vSwitch does, and forward nothing.

    python -m benchmarks.simulated HOST:PORT < switches.jsonl

The first line of standard input is what there is: `[{"dpid": 1, "ports": {"p1": 5}}, ...]`. Every further line is a question, which
is answered with one line: how many are connected, and the flows, bundles and messages of each. Before it is answered, `cut` makes them
lose their connections. The end of input ends them all.

A switch costs the machine as little as can be, for it is there to be waited for: what is committed is kept as the bytes that
came, and read only when somebody asks for a dump.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from controller.wire import pack
from controller.wire.message import HEADER, LONGEST, BundleControl, MessageType, Multipart, frame
from controller.wire.pack import FlowCommand, GroupCommand

_RECEIVE = 1 << 18
_RECONNECT_S = 1.0
_WRAPPING = HEADER.size + 8  # What stands before a message within a bundle: the header, the bundle's number and flags.
_SMALLEST_JOURNAL = 1 << 16

_PORT = struct.Struct(">IH2x6s2x16sII").pack
_PORT_LENGTH = 40
_FEATURES = struct.Struct(">QIBB2xII").pack
_FLOW = struct.Struct(">HBxIIHHHHH2x8sQQ").pack
_FLOW_HEAD = struct.Struct(">16xBB4xH").unpack_from  # Table, command, priority of a flow-mod.
_FLOW_REQUEST = struct.Struct(">B3xII4xQQ").unpack_from  # table, port, group, cookie, its mask
_GROUP = struct.Struct(">HBxI").pack
_MULTIPART = struct.Struct(">HH4x").pack
_TABLES = 254
_ALL_TABLES = 0xFF
_ALL_GROUPS = 0xFFFFFFFC
_LOOSE = (1, 3)  # OFPFC_MODIFY and OFPFC_DELETE change all flows that a match covers.
_MORE = 1
_BAD_TYPE = frame(MessageType.ERROR, 0, struct.pack(">HH", 1, 1))[HEADER.size :]
_BAD_BUNDLE = struct.pack(">HH", 17, 2)

# They ask for nothing back, and change nothing that is looked at here. 4 is an experimenter's message, 13 a packet-out, 29 a meter-mod.
_SILENT = {MessageType.HELLO, MessageType.ERROR, MessageType.ECHO_REPLY, MessageType.SET_CONFIG, MessageType.SET_ASYNC}
_SILENT_NUMBERS = frozenset({*map(int, _SILENT), 4, 13, 29})

FlowKey = tuple[int, int, bytes]  # table, priority, match


class Table:
    """What the messages of a journal come to: flows by identity with cookie and instructions, groups by number."""

    def __init__(self, journal: bytes) -> None:
        self.flows: dict[FlowKey, bytes] = {}  # The body of the flow-mod that added it.
        self.groups: dict[int, bytes] = {}
        for kind, body in _messages(journal):
            if kind == MessageType.FLOW_MOD:
                self._change_flow(body)
            elif kind == MessageType.GROUP_MOD:
                self._change_group(body)

    def _change_flow(self, body: bytes) -> None:
        table, command, priority = _FLOW_HEAD(body)
        key = (table, priority, pack.match_of(body))
        if command == FlowCommand.DELETE_STRICT:
            self.flows.pop(key, None)
        elif command in _LOOSE:
            raise ValueError(f"flow-mod command {command}: a simulated switch knows one flow at a time")
        else:
            self.flows[key] = body

    def _change_group(self, body: bytes) -> None:
        command, number = struct.unpack_from(">H2xI", body)
        if command != GroupCommand.DELETE:
            self.groups[number] = body[8:]
        elif number == _ALL_GROUPS:
            self.groups.clear()
        else:
            self.groups.pop(number, None)

    def journal(self) -> bytes:
        """Return the shortest journal that comes to the same."""
        groups = [
            frame(MessageType.GROUP_MOD, 0, pack.group_mod(GroupCommand.ADD, number, buckets))
            for number, buckets in self.groups.items()
        ]
        return b"".join([*groups, *(frame(MessageType.FLOW_MOD, 0, body) for body in self.flows.values())])


class SimulatedSwitch:
    """One switch: what it was told, and the answers that OpenFlow owes. It outlives its connections."""

    def __init__(self, dpid: int, ports: Mapping[str, int]) -> None:
        self.dpid = dpid
        self.ports = dict(ports)
        self.commits = 0  # Bundles that changed something or nothing, since the beginning.
        self.changes = 0  # Messages within them.
        self._journal: list[bytes] = []
        self.size = 0  # Of the bytes that are kept.
        self._compact_at = _SMALLEST_JOURNAL
        self._staged: dict[int, list[bytes]] = {}

    def table(self) -> Table:
        """Return what the switch holds."""
        self._journal = [b"".join(self._journal)]
        return Table(self._journal[0])

    def answer(self, data: bytes) -> bytes:
        """Take whole messages, one after the other, and return the answers."""
        answers = []
        at, end = 0, len(data)
        while at < end:
            _, kind, length, xid = HEADER.unpack_from(data, at)
            if kind == MessageType.BUNDLE_ADD_MESSAGE:
                staged = self._staged.get(int.from_bytes(data[at + 8 : at + 12], "big"))
                if staged is None:
                    answers.append(frame(MessageType.ERROR, xid, _BAD_BUNDLE))
                else:
                    staged.append(data[at + _WRAPPING : at + length])
            elif kind not in _SILENT_NUMBERS:
                answers.append(self._answer(kind, xid, data[at + HEADER.size : at + length]))
            at += length
        return b"".join(answers)

    def disconnected(self) -> None:
        """Forget the bundles of a connection that is gone."""
        self._staged.clear()

    def _answer(self, kind: int, xid: int, body: bytes) -> bytes:
        match kind:
            case MessageType.ECHO_REQUEST:
                return frame(MessageType.ECHO_REPLY, xid, body)
            case MessageType.BARRIER_REQUEST:
                return frame(MessageType.BARRIER_REPLY, xid)
            case MessageType.BUNDLE_CONTROL:
                return self._control(xid, body)
            case MessageType.FEATURES_REQUEST:
                return frame(MessageType.FEATURES_REPLY, xid, _FEATURES(self.dpid, 0, _TABLES, 0, 0, 0))
            case MessageType.MULTIPART_REQUEST:
                return b"".join(self._dump(xid, body))
            case MessageType.FLOW_MOD | MessageType.GROUP_MOD:
                self._keep([frame(MessageType(kind), xid, body)])
                return b""
            case _:
                return frame(MessageType.ERROR, xid, _BAD_TYPE)

    def _control(self, xid: int, body: bytes) -> bytes:
        bundle, step = struct.unpack_from(">IH", body)
        staged = self._staged.pop(bundle, [])
        if step == BundleControl.OPEN:
            self._staged[bundle] = []
        elif step == BundleControl.COMMIT:
            self.commits += 1
            self.changes += len(staged)
            self._keep(staged)
        return frame(MessageType.BUNDLE_CONTROL, xid, body[:4] + struct.pack(">HH", step + 1, 3))

    def _keep(self, messages: list[bytes]) -> None:
        """Add messages to the journal; make it short again when it has doubled, so that memory stays bounded."""
        joined = b"".join(messages)
        self._journal.append(joined)
        self.size += len(joined)
        if self.size > self._compact_at:
            self._journal = [self.table().journal()]
            self.size = len(self._journal[0])
            self._compact_at = max(_SMALLEST_JOURNAL, 2 * self.size)

    def _dump(self, xid: int, body: bytes) -> Iterator[bytes]:
        """Yield the parts of a dump, each as full as a message can be; of kinds that we lack, an empty one."""
        kind = int.from_bytes(body[:2], "big")
        entries: Iterator[bytes] = iter(())
        if kind == Multipart.PORT_DESC:
            entries = (
                _PORT(number, _PORT_LENGTH, bytes(6), name.encode(), 0, 0) for name, number in self.ports.items()
            )
        elif kind == Multipart.GROUP_DESC:
            groups = self.table().groups.items()
            entries = (_GROUP(8 + len(buckets), pack.ALL_BUCKETS, number) + buckets for number, buckets in groups)
        elif kind == Multipart.FLOW:
            entries = self._flows(body[8:])
        part: list[bytes] = []
        size = 16
        for entry in entries:
            if size + len(entry) > LONGEST:
                yield frame(MessageType.MULTIPART_REPLY, xid, _MULTIPART(kind, _MORE) + b"".join(part))
                part, size = [], 16
            part.append(entry)
            size += len(entry)
        yield frame(MessageType.MULTIPART_REPLY, xid, _MULTIPART(kind, 0) + b"".join(part))

    def _flows(self, request: bytes) -> Iterator[bytes]:
        table, _, _, cookie, mask = _FLOW_REQUEST(request)
        for (its_table, priority, match), body in self.table().flows.items():
            if table in (_ALL_TABLES, its_table) and not (int.from_bytes(body[:8], "big") ^ cookie) & mask:
                rest = match + bytes(-len(match) % 8) + pack.instructions_of(body)
                yield _FLOW(48 + len(rest), its_table, 0, 0, priority, 0, 0, 0, 0, body[:8], 0, 0) + rest


def _messages(journal: bytes) -> Iterator[tuple[int, bytes]]:
    at, end = 0, len(journal)
    while at < end:
        _, kind, length, _ = HEADER.unpack_from(journal, at)
        yield kind, journal[at + HEADER.size : at + length]
        at += length


class Connection:
    """One switch's way to the controller."""

    def __init__(self, switch: SimulatedSwitch) -> None:
        self.switch = switch
        self.channel: socket.socket | None = None
        self.connect_at = 0.0
        self._received = bytearray()
        self.unsent = bytearray()

    def connect(self, address: tuple[str, int]) -> socket.socket:
        """Connect and say hello; raise OSError if nobody listens."""
        self.channel = socket.create_connection(address, 5.0)
        self.channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.channel.setblocking(False)
        self.unsent += frame(MessageType.HELLO, 1)
        return self.channel

    def close(self) -> None:
        """Drop the connection and all that belongs to it alone."""
        if self.channel is not None:
            self.channel.close()
        self.channel = None
        self._received.clear()
        self.unsent.clear()
        self.switch.disconnected()
        self.connect_at = time.monotonic() + _RECONNECT_S

    def receive(self) -> None:
        """Take what has come and answer it; raise OSError if the controller is gone."""
        data = self.channel.recv(_RECEIVE) if self.channel is not None else b""
        if not data:
            raise ConnectionResetError("closed")
        received = self._received
        received += data
        at = 0
        while at + HEADER.size <= len(received):
            length = received[at + 2] << 8 | received[at + 3]
            if length < HEADER.size or at + length > len(received):
                break
            at += length
        whole = bytes(received[:at])
        del received[:at]
        self.unsent += self.switch.answer(whole)

    def send(self) -> None:
        """Send what the controller takes now; raise OSError if it is gone."""
        if self.channel is not None and self.unsent:
            with contextlib.suppress(BlockingIOError):
                del self.unsent[: self.channel.send(self.unsent)]


class Crowd:
    """All switches of the process and the one loop that serves them."""

    def __init__(self, address: tuple[str, int], switches: list[SimulatedSwitch]) -> None:
        self._address = address
        self._connections = [Connection(switch) for switch in switches]
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve until standard input ends."""
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            self._connect_all()
            for key, events in self._selector.select(_RECONNECT_S):
                if key.data is None:
                    question = sys.stdin.readline()
                    if not question:
                        return
                    if question.strip() == "cut":
                        self._cut()
                    print(json.dumps(self._told()), flush=True)
                else:
                    self._serve(key.data, events)

    def _connect_all(self) -> None:
        now = time.monotonic()
        for connection in self._connections:
            if connection.channel is not None or connection.connect_at > now:
                continue
            try:
                channel = connection.connect(self._address)
                connection.send()
            except OSError:
                connection.close()
            else:
                self._selector.register(channel, selectors.EVENT_READ, connection)

    def _serve(self, connection: Connection, events: int) -> None:
        channel = connection.channel
        if channel is None:
            return
        try:
            if events & selectors.EVENT_READ:
                connection.receive()
            connection.send()
        except OSError:
            self._selector.unregister(channel)
            connection.close()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        if self._selector.get_key(channel).events != wanted:
            self._selector.modify(channel, wanted, connection)

    def _cut(self) -> None:
        """Lose every connection; a moment later all come back."""
        for connection in self._connections:
            if connection.channel is not None:
                self._selector.unregister(connection.channel)
                connection.close()

    def _told(self) -> dict[str, Any]:
        return {
            "connected": sum(each.channel is not None for each in self._connections),
            "switches": {
                str(switch.dpid): {
                    "flows": len(switch.table().flows),
                    "commits": switch.commits,
                    "changes": switch.changes,
                }
                for switch in (each.switch for each in self._connections)
            },
        }


def main() -> None:
    """Run the switches that standard input names against the address that the command line names."""
    host, _, port = sys.argv[1].rpartition(":")
    described = json.loads(sys.stdin.readline())
    Crowd((host, int(port)), [SimulatedSwitch(each["dpid"], each["ports"]) for each in described]).run()


if __name__ == "__main__":
    main()
