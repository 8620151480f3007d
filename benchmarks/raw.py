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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.measure import Timing
from benchmarks.offline import Messages
from controller.lab.lab import Lab
from controller.lab.plan import DATAPATH
from controller.switch.ovsdb import OPENFLOW
from controller.wire.message import HEADER, BundleControl, MessageType, bundle_control, frame, in_bundle

_PORT = 6660  # Of a host's first bridge for this; the others follow.
_BUNDLE = 1
_LAST_XID = 0xFFFFFF
_CHUNK = 1 << 18
_PATIENCE_S = 60.0


class Refused(Exception):
    """The switch did not take the bytes; the message says which error it gave."""


@dataclass(frozen=True, slots=True)
class Raw:
    """What pushing prepared bytes took: into one host's bridges alone, and into those of all hosts at once."""

    one_host: Timing
    one_host_flows: int
    all_hosts: Timing
    all_hosts_flows: int

    @property
    def flows_per_s(self) -> float:
        """The best rate of one switch that has the machine to itself."""
        return self.one_host_flows / self.one_host.best_s


def measure_raw(lab: Lab, programs: Mapping[str, list[Messages]], runs: int) -> Raw:
    """Push the programs of every host into bridges made for it; take the bridges away again."""
    streams = {host: [stream(made) for made in messages] for host, messages in programs.items()}
    flows = {
        host: sum(kind is MessageType.FLOW_MOD for made in messages for kind, _ in made)
        for host, messages in programs.items()
    }
    first = next(iter(streams))
    alone = [_push(lab, {first: streams[first]}) for _ in range(runs)]
    together = [_push(lab, streams) for _ in range(runs)]
    return Raw(Timing.of(alone), flows[first], Timing.of(together), sum(flows.values()))


def stream(made: Messages) -> bytes:
    """Return the one bundle that carries these messages, from open to commit."""
    wrapped = [in_bundle(_BUNDLE, xid, kind, body) for xid, (kind, body) in enumerate(made, start=1)]
    opened = bundle_control(BundleControl.OPEN, _BUNDLE, 0)
    return b"".join([opened, *wrapped, bundle_control(BundleControl.COMMIT, _BUNDLE, _LAST_XID)])


def _push(lab: Lab, streams: Mapping[str, list[bytes]]) -> float:
    with contextlib.ExitStack() as stack:
        waiting = [
            (stack.enter_context(channel), data)
            for host, each in streams.items()
            for channel, data in zip(stack.enter_context(_bridges(lab, host, len(each))), each, strict=True)
        ]
        start = time.perf_counter()
        _send_all(waiting)
        return time.perf_counter() - start


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
        yield [_connect(address, _PORT + number) for number in range(count)]
    finally:
        switch.configure(("del-br", name) for name in names)


def _connect(address: str, port: int) -> socket.socket:
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


def _send_all(waiting: list[tuple[socket.socket, bytes]]) -> None:
    """Send each channel its bytes, all at once, until every switch has said that the commit is done."""
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
