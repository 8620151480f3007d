"""What lab stories of whole modules share: a lab, a stream that must not break, a wire's tags, and which flows were touched."""

from __future__ import annotations

import itertools
import os
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controller import config, control
from controller.lab.lab import Lab
from controller.lab.namespaces import inside
from controller.lab.prober import EAGER, ICMP, Outcome, Probe, Prober
from controller.model.entities import HostKind
from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Bindings
from controller.pipeline.plan import pipeline
from controller.wire.pack import flow_add
from tests.lab.net import ANY_PROTOCOL, Net

PATIENCE_S = 20.0
_PACKET, _AUXDATA = 263, 8  # SOL_PACKET and PACKET_AUXDATA, linux/if_packet.h
_RECEIVE_BUFFER_FORCE = 33  # SO_RCVBUFFORCE, asm-generic/socket.h
_BUFFER = 1 << 26  # Nobody reads while a story goes on: a datagram takes 832 bytes, so this is enough for minutes.
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


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait until a condition holds; fail after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not come about: {what}"
        time.sleep(0.01)


def states(net: Net, *hosts: str) -> set[str]:
    """Return the states of the switches of some hosts; none while the controller does not answer yet."""
    with suppress(OSError):
        return {switch["state"] for switch in ask(net, "status")["switches"] if switch["host"] in hosts}
    return set()


def pings(net: Net, pairs: Iterable[tuple[str, str]], version: int = 4) -> dict[tuple[str, str], Outcome]:
    """Let all pairs ping at once; every plugged port notes what reaches it."""
    pairs = list(pairs)
    with Prober({name: net.lab.port_namespace(name) for name in net.lab.plugged}) as prober:
        for name in net.lab.plugged:
            prober.attend(name, version, [])
        probes = [Probe(source, net.address(target, version), ICMP) for source, target in pairs]
        return dict(zip(pairs, prober.ask(probes, EAGER), strict=True))


def keep_all(receiver: socket.socket) -> None:
    """Let a socket keep what comes while nobody reads, which a busy machine may not do for seconds."""
    receiver.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, _BUFFER)


class Stream:
    """Datagrams from one port to another, 200 a second unless told, while the block runs; `lost` says afterwards which did not arrive."""

    RATE, NUMBER = 200, 4242

    def __init__(self, net: Net, source: str, target: str, rate: int = RATE) -> None:
        self._rate = rate
        with inside(net.lab.port_namespace(target)):
            self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        keep_all(self._receiver)
        self._receiver.bind(("", self.NUMBER))
        self._receiver.settimeout(PATIENCE_S)
        with inside(net.lab.port_namespace(source)):
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender.connect((net.address(target), self.NUMBER))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._first = 0
        self.sent = 0
        self.lost: set[int] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        # The stream flows before the story begins; the first datagrams may have waited for the underlay's ARP in vain.
        self._first = _number(self._receiver.recv(64))
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
        while not self._over.wait(1 / self._rate):
            self._sender.send(struct.pack("!I", self.sent))
            self.sent += 1

    def _count(self) -> None:
        """Read what came until the last one is there, which is sent again until it is."""
        self.lost = set(range(self._first + 1, self.sent))
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
                self.lost.discard(_number(came))
        raise AssertionError("the stream has come to an end for good")


def _number(datagram: bytes) -> int:
    return int.from_bytes(datagram[:4], "big")


class Wire:
    """What arrives at an interface of a host, with its 802.1Q tags, which the kernel takes out of frames."""

    def __init__(self, net: Net, host: str, interface: str) -> None:
        with inside(net.lab.host_namespace(host)):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ANY_PROTOCOL))
            self._socket.bind((interface, ANY_PROTOCOL))
        self._socket.setsockopt(_PACKET, _AUXDATA, 1)
        keep_all(self._socket)
        self.frames: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def wait_for(self, wanted: Callable[[bytes], bool]) -> bytes:
        """Return the next frame that fits; fail when none comes in time."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
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


Place = tuple[str, str, str]  # Host, bridge, and what identifies the flow there.


@dataclass(frozen=True, slots=True)
class Held:
    """What a flow that a switch holds does, and for how long it has been there."""

    actions: str
    seconds: float


def installed(net: Net) -> dict[Place, Held]:
    """Return all flows of all hosts."""
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
            found[host, bridge, kept] = Held(actions, float(seconds[1]))
    return found


def touched(before: Mapping[Place, Held], after: Mapping[Place, Held]) -> list[str]:
    """Return the flows that came, went, changed, or were written again: a flow that is written anew is young again."""
    found = []
    for place in before.keys() | after.keys():
        old, new = before.get(place), after.get(place)
        if old is None or new is None or old.actions != new.actions or new.seconds < old.seconds:
            was, is_now = (held.actions if held else "nothing" for held in (old, new))
            found.append(f"{' '.join(place)}: {was} -> {is_now}")
    return found


def remembered(net: Net, words: str) -> str:
    """What the datapaths of all hosts have cached and track that these words occur in: evidence of what OpenFlow does not show."""
    found = []
    for host in net.lab.plan.hosts:
        for what in ("dump-flows", "dump-conntrack"):
            said = net.lab.exec_host(host, ["ovs-appctl", f"dpctl/{what}"]).stdout
            found += [f"{host} {what}: {line}" for line in said.splitlines() if words in line]
    return "\n".join(found)


_FLOW = re.compile(r"cookie=(0x[0-9a-f]+).*? table=(\d+)")
_RULES = {
    table.number
    for feature in pipeline().features
    if feature.name in ("egress_policy", "ingress_policy")
    for table in feature.tables
}


def differences(net: Net, hosts: Collection[str] | None = None) -> list[str]:
    """Return where switches, or those of these hosts, differ from what the files compile to from nothing.

    The ports count as they are numbered now. Rules of classes that ports have left may still be there: as many as the controller says.
    """
    while True:
        left = _left(net)
        found = _differences(net, hosts, left)
        if left == _left(net):
            return found


def _differences(net: Net, hosts: Collection[str] | None, left: Counter[tuple[str, str]]) -> list[str]:
    """A flow's cookie is a digest of all that it is, so that equal cookies are equal flows."""
    topology = config.load(net.lab.folder).topology
    assert topology is not None
    known = [host.name for host in topology.hosts.values() if host.kind is HostKind.OVS]
    asked = known if hosts is None else [host for host in known if host in hosts]
    bindings = {host: _bindings(net, host) for host in asked}
    found = []
    for program in compile_fabric(topology, bindings=bindings):
        if program.host not in bindings:
            continue
        said = net.lab.exec_host(program.host, ["ovs-ofctl", "dump-flows", program.bridge], check=True).stdout
        tables = {int(cookie, 16): int(table) for cookie, table in _FLOW.findall(said)}
        held = Counter(int(cookie, 16) for cookie, _ in _FLOW.findall(said))
        wanted = Counter(int.from_bytes(flow_add(flow)[:8]) for flow in program.flows.values())
        more, less = held - wanted, (wanted - held).total()
        if less or more.total() != left[program.host, program.bridge] or {tables[each] for each in more} - _RULES:
            found.append(f"{program.bridge}@{program.host}: {more.total()} too many, {less} missing")
    return found


def _left(net: Net) -> Counter[tuple[str, str]]:
    """Return how many flows the controller, if there is one, has still to end, by host and bridge."""
    with suppress(OSError):
        told = ask(net, "status")["switches"]
        return Counter({(it["host"], it["bridge"]): it["flows_installed"] - it["flows_desired"] for it in told})
    return Counter()


def _bindings(net: Net, host: str) -> Bindings:
    ports: dict[str, dict[str, int]] = {}
    for bridge in net.lab.plan.hosts[host].bridges:
        said = net.lab.exec_host(host, ["ovs-ofctl", "show", bridge], check=True).stdout
        ports[bridge] = {name: int(number) for number, name in re.findall(r"^ (\d+)\(([^)]+)\):", said, re.MULTILINE)}
    return Bindings(ports)
