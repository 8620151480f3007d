"""The limit: the same flows as prepared bytes, in one bundle per bridge, with nobody thinking.

What Open vSwitch itself needs for a program is the least that any controller can need. It is measured in the same run, on
the same daemons, so that the ratio holds on any machine.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping

from benchmarks.measure import Timing
from benchmarks.offline import Messages
from controller.lab.lab import Lab
from controller.lab.plan import DATAPATH
from controller.pipeline.flow import Flow, Origin, match
from controller.switch.ovsdb import OPENFLOW
from controller.wire.message import HEADER, BundleControl, MessageType, bundle_control, dump_flows, frame, in_bundle
from controller.wire.pack import flow_add

_PORT = 6660  # Of a host's first bridge for this; the others follow.
_BUNDLE = 1
_LAST_XID = 0xFFFFFF
_CHUNK = 1 << 18
_PATIENCE_S = 60.0


class Refused(Exception):
    """The switch did not take the bytes; the message says which error it gave."""


def measure_programs(lab: Lab, programs: Mapping[str, list[Messages]], runs: int) -> Timing:
    """Push the programs of every host into bridges made for it, all at once; take the bridges away again."""
    streams = {host: [stream(made) for made in messages] for host, messages in programs.items()}
    return Timing.of(push(lab, streams)[0] for _ in range(runs))


def measure_one_flow(lab: Lab, hosts: Iterable[str], runs: int) -> Timing:
    """Push one flow into each of the bridges of these hosts, br-int and br-tun, all at once: the least that an edit costs."""
    flow = Flow(0, 1, match(in_port=1), (), None, Origin("a benchmark", None), "benchmark")
    one = stream([(MessageType.FLOW_MOD, flow_add(flow))])
    _, seconds = push(lab, {host: [one, one] for host in hosts}, runs)
    return Timing.of(seconds)


def stream(made: Messages) -> bytes:
    """Return the one bundle that carries these messages, from open to commit."""
    wrapped = [in_bundle(_BUNDLE, xid, kind, body) for xid, (kind, body) in enumerate(made, start=1)]
    opened = bundle_control(BundleControl.OPEN, _BUNDLE, 0)
    return b"".join([opened, *wrapped, bundle_control(BundleControl.COMMIT, _BUNDLE, _LAST_XID)])


def push(lab: Lab, streams: Mapping[str, list[bytes]], again: int = 0) -> tuple[float, list[float]]:
    """Push one stream into each new bridge of each host, then so many times again; return the seconds of the first and the others."""
    with contextlib.ExitStack() as stack:
        waiting = [
            (stack.enter_context(channel), data)
            for host, each in streams.items()
            for channel, data in zip(stack.enter_context(_bridges(lab, host, len(each))), each, strict=True)
        ]
        return _send_all(waiting), [_send_all(waiting) for _ in range(again)]


@contextlib.contextmanager
def _bridges(lab: Lab, host: str, count: int) -> Iterator[list[socket.socket]]:
    """Make empty bridges on a host that listen for a controller, and connect to them."""
    switch = lab.switch(host)
    names = [f"raw{number}" for number in range(count)]
    address = next(each["management"] for each in lab.status()["hosts"] if each["name"] == host)
    for number, name in enumerate(names):
        settings = [f"datapath_type={DATAPATH}", "fail_mode=secure", f"protocols={OPENFLOW}"]
        switch.configure(
            [
                ("add-br", name),
                ("set", "bridge", name, *settings, "other_config:disable-in-band=true"),
                ("set-controller", name, f"ptcp:{_PORT + number}:{address}"),
            ]
        )
    try:
        yield [connect(address, _PORT + number) for number in range(count)]
    finally:
        switch.configure(("del-br", name) for name in names)


def connect(address: str, port: int) -> socket.socket:
    """Connect to a bridge that listens, and greet it; return the channel, which does not block."""
    channel = socket.create_connection((address, port), _PATIENCE_S)
    channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    channel.sendall(frame(MessageType.HELLO, 0))
    # The switch answers the barrier when the hello is behind it and it is ready for us.
    channel.sendall(frame(MessageType.BARRIER_REQUEST, 1))
    received = b""
    while not _has(received, MessageType.BARRIER_REPLY):
        received += channel.recv(_CHUNK)
    channel.setblocking(False)
    return channel


def _send_all(waiting: list[tuple[socket.socket, bytes]]) -> float:
    """Send each channel its bytes, all at once; return the seconds until every switch has said that the commit is done."""
    start = time.perf_counter()
    deadline = time.monotonic() + _PATIENCE_S
    with selectors.DefaultSelector() as selector:
        left = {channel: memoryview(data) for channel, data in waiting}
        received = dict.fromkeys(left, b"")
        by_number = {channel.fileno(): channel for channel in left}
        for channel in left:
            selector.register(channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while received:
            if time.monotonic() > deadline:
                raise Refused(f"{len(received)} bridges did not commit in {_PATIENCE_S:.0f} s")
            for key, events in selector.select(1.0):
                channel = by_number[key.fd]
                if events & selectors.EVENT_WRITE:
                    left[channel] = left[channel][channel.send(left[channel][:_CHUNK]) :]
                    if not left[channel]:
                        selector.modify(channel, selectors.EVENT_READ)
                if events & selectors.EVENT_READ:
                    received[channel] += channel.recv(_CHUNK)
                    if _is_committed(received[channel]):
                        del received[channel]
                        selector.unregister(channel)
    return time.perf_counter() - start


def _is_committed(received: bytes) -> bool:
    """Return whether the commit's reply is there; raise Refused at the first error."""
    if _has(received, MessageType.ERROR):
        raise Refused("the switch refused a flow")
    return any(kind == MessageType.BUNDLE_CONTROL and body[4:6] == _COMMITTED for kind, body in _frames(received))


_COMMITTED = struct.pack(">H", BundleControl.COMMIT + 1)


def _has(received: bytes, wanted: MessageType) -> bool:
    return any(kind == wanted for kind, _ in _frames(received))


def _frames(received: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + HEADER.size <= len(received):
        _, kind, length, _ = HEADER.unpack_from(received, at)
        if at + length > len(received):
            return
        yield kind, received[at + HEADER.size : at + length]
        at += length


def dump_all(channel: socket.socket) -> float:
    """Ask for all flows and read the answer; return the seconds: the least that a controller needs to know what a switch holds."""
    start = time.perf_counter()
    channel.setblocking(True)
    channel.sendall(dump_flows(2))
    left = b""
    while True:
        left += channel.recv(_CHUNK)
        at = 0
        while at + _REPLY <= len(left) and at + (length := int.from_bytes(left[at + 2 : at + 4], "big")) <= len(left):
            if left[at + 1] == MessageType.MULTIPART_REPLY and not left[at + 11] & 1:
                return time.perf_counter() - start
            at += length
        left = left[at:]


_REPLY = 16  # The header of a multipart reply: the flags at its end tell whether more follows.
