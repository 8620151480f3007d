"""What stories of ways out share: a lab with two gateways, a traceroute, servers, and what a stream to the outside loses."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from types import TracebackType
from typing import Self

from controller.lab.beyond import INTERNET
from controller.lab.namespaces import inside
from tests.lab.net import Net
from tests.scenarios.labs import PATIENCE_S, keep_all

_LAST_S = 10.0  # For the end of a stream whose answers do not come any more.

FABRIC = """\
fabric: outward
hosts:
  gw1: {tunnel_ip: 172.31.0.1, gateway: true}
  gw2: {tunnel_ip: 172.31.0.2, gateway: true}
  hv1: {tunnel_ip: 172.31.0.3}
  hv2: {tunnel_ip: 172.31.0.4}
physical_networks:
  physnet1: {hosts: [gw1, gw2, hv1]}
external_networks:
  public:
    physical_network: physnet1
    cidr: [203.0.113.0/24, "2001:db8:100::/64"]
    gateway: [203.0.113.1, "2001:db8:100::1"]
    pool: [203.0.113.10-203.0.113.99, "2001:db8:100::10-2001:db8:100::99"]
tenants:
  red: {segments: 5000-5099}
  blue: {segments: 5100-5199}
"""
RED = """\
networks:
  web: {cidr: [10.0.1.0/24, "fd00:1::/64"]}
  db: {cidr: [10.0.2.0/24, "fd00:2::/64"]}
routers:
  main: {networks: [web, db], external: public, address: [203.0.113.10, "2001:db8:100::10"]}
floating_ips:
  203.0.113.21: near
  203.0.113.22: far
security_groups:
  all: {ingress: [{}]}
  http: {ingress: [{protocol: tcp, ports: 80}, {protocol: udp, ports: 80}, {protocol: icmp}]}
ports:
  near: {network: web, host: hv1, ip: [10.0.1.11, "fd00:1::11"], security_groups: [http]}
  far: {network: web, host: hv2, ip: [10.0.1.12, "fd00:1::12"], security_groups: [http]}
  db1: {network: db, host: hv1, ip: [10.0.2.11, "fd00:2::11"], security_groups: [all]}
  db2: {network: db, host: hv2, ip: [10.0.2.12, "fd00:2::12"], security_groups: [all]}
  db3: {network: db, host: gw1, ip: [10.0.2.13, "fd00:2::13"], security_groups: [all]}
  db4: {network: db, host: gw2, ip: [10.0.2.14, "fd00:2::14"], security_groups: [all]}
"""
FILES = {"fabric.yaml": FABRIC, "tenants/red.yaml": RED}

WORLD = {4: "198.51.100.9", 6: "2001:db8:ffff::9"}
UPSTREAM = {4: "203.0.113.1", 6: "2001:db8:100::1"}
ROUTER = {4: "203.0.113.10", 6: "2001:db8:100::10"}
INSIDE = {4: ("10.0.1.1", "10.0.2.1"), 6: ("fd00:1::1", "fd00:2::1")}

_RECVERR = {4: 11, 6: 25}  # IP_RECVERR, linux/in.h; IPV6_RECVERR, linux/in6.h
_ERROR = struct.Struct("=IBBBBII")  # sock_extended_err, linux/errqueue.h
_TRACED = 33434  # Where traceroute begins.
_MAX_HOPS = 8
_TRIES = 20
_UNREACHABLE = {4: 3, 6: 1}


@dataclass(frozen=True, slots=True)
class Told:
    """An ICMP error that a socket was told of: by whom, and its type and code."""

    by: str
    kind: int
    code: int


def told(
    net: Net, port: str, target: str, *, hops: int = 64, number: int = _TRACED, seconds: float = 5.0
) -> Told | None:
    """Send a datagram and return the ICMP error that comes back, None if none comes in time."""
    version = ip_address(target).version
    family, level = (socket.AF_INET, socket.IPPROTO_IP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_IPV6)
    with inside(net.lab.port_namespace(port)):
        own = socket.socket(family, socket.SOCK_DGRAM)
    with own:
        own.setsockopt(level, _RECVERR[version], 1)
        own.setsockopt(level, socket.IP_TTL if version == 4 else socket.IPV6_UNICAST_HOPS, hops)
        deadline = time.monotonic() + seconds
        own.sendto(b"hello", (target, number))
        while time.monotonic() < deadline:
            try:
                _, auxiliary, _, _ = own.recvmsg(512, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            except BlockingIOError:
                time.sleep(0.005)
                continue
            return _read(version, auxiliary[0][2])
    return None


def _read(version: int, data: bytes) -> Told:
    _, _, kind, code, _, _, _ = _ERROR.unpack_from(data)
    offender = data[_ERROR.size :]
    address = socket.inet_ntop(socket.AF_INET, offender[4:8]) if version == 4 else str(IPv6Address(offender[8:24]))
    return Told(address, kind, code)


def trace(net: Net, port: str, target: str) -> list[str]:
    """Return what traceroute shows: who says that the time to live has ended, at last who says that nothing listens; `*` for silence."""
    found = []
    for hops in range(1, _MAX_HOPS):
        answer = told(net, port, target, hops=hops, number=_TRACED + hops)
        found.append(answer.by if answer is not None else "*")
        if answer is not None and answer.kind == _UNREACHABLE[ip_address(target).version]:
            break
    return found


@contextmanager
def server(net: Net, name: str, number: int, version: int = 4) -> Iterator[list[str]]:
    """Have somebody serve TCP: whoever connects is told its own address, as it is seen there; the list holds all of them."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with inside(net.lab.port_namespace(name)):
        listener = socket.create_server(("", number), family=family)
    seen: list[str] = []

    def serve() -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            with connection:
                seen.append(address[0])
                connection.sendall(address[0].encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE_S)


def seen_as(net: Net, source: str, target: str, number: int, seconds: float = PATIENCE_S) -> str:
    """Connect to a `server` and return as whom it sees us; raise OSError if there is no connection."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with inside(net.lab.port_namespace(source)):
        own = socket.socket(family, socket.SOCK_STREAM)
    with own:
        own.settimeout(seconds)
        own.connect((target, number))
        return own.recv(64).decode()


def sessions(net: Net, host: str) -> dict[str, str]:
    """Return the state of a host's BFD sessions, by interface."""
    said = net.lab.exec_host(host, ["ovs-appctl", "bfd/show"]).stdout
    found: dict[str, str] = {}
    for block in said.split("---- ")[1:]:
        name, _, rest = block.partition(" ----")
        found[name] = rest.split("Local Session State: ")[1].split()[0]
    return found


def all_alive(net: Net) -> bool:
    """Whether every host knows of all gateways, and they of all hosts, that they are alive."""
    expected = {"gw1": 3, "gw2": 3, "hv1": 2, "hv2": 2}
    return all(list(sessions(net, host).values()) == ["up"] * count for host, count in expected.items())


def flaps(net: Net) -> int:
    """Return how often hosts have changed their minds of whether others are alive."""
    return sum(sum(flaps_at(net, host).values()) for host in net.lab.plan.hosts)


def flaps_at(net: Net, host: str) -> dict[str, int]:
    """Return how often a host has changed its mind of whether another one is alive, by interface."""
    columns = ["ovs-vsctl", "--format=csv", "--no-headings", "--columns=name,bfd_status", "list", "interface"]
    said = net.lab.exec_host(host, columns, check=True).stdout
    return {name: int(count) for name, count in re.findall(r'^"?([^",]+)"?,.*flap_count="*(\d+)', said, re.MULTILINE)}


def until_calm(net: Net) -> Iterator[None]:
    """Yield until no host has changed its mind in between: a machine that is busy with other things sends signs of life late."""
    for _ in range(_TRIES):
        before = flaps(net)
        yield
        if flaps(net) == before:
            return
    raise AssertionError("hosts do not agree any more on who is alive")


class Echoes:
    """Datagrams to an address outside, 200 a second, and their answers, while the block runs; then, what was lost, and for how long."""

    RATE = 200

    def __init__(self, net: Net, source: str, target: str = WORLD[4], at: str = INTERNET, number: int = 4243) -> None:
        with inside(net.lab.port_namespace(at)):
            self._there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._there.bind(("", number))
        with inside(net.lab.port_namespace(source)):
            self._here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._to = (target, number)
        for each in (self._here, self._there):
            keep_all(each)
        self._here.setblocking(False)
        self._there.settimeout(0.1)
        self._over, self._all_came = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._send, self._answer, self._listen)]
        self.sent: list[float] = []
        self.answered: dict[int, float] = {}
        self.seen: set[str] = set()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while len(self.answered) < self.RATE // 4:
            if time.monotonic() > deadline:
                self._end()
                raise AssertionError("nothing is answered")
            time.sleep(0.01)
        self._began, self._since = len(self.sent), time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._here.close()
        self._there.close()

    @property
    def lost(self) -> list[int]:
        """The numbers of what was sent in the block and not answered."""
        return [number for number in range(self._began, len(self.sent)) if number not in self.answered]

    def goes_on(self, more: int = 100, seconds: float = PATIENCE_S) -> None:
        """Wait until so many more that are sent from now on are answered."""
        first, deadline = len(self.sent), time.monotonic() + seconds
        while sum(number >= first for number in list(self.answered)) < more:
            assert time.monotonic() < deadline, f"silent for {seconds} s"
            time.sleep(0.01)

    def _send(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            number = len(self.sent)
            self.sent.append(time.monotonic())
            with suppress(OSError):  # Nobody answers for the next hop: lost like any other.
                self._here.sendto(struct.pack("!I", number), self._to)
            due += 1 / self.RATE
            time.sleep(max(0.0, due - time.monotonic()))
        self._send_last()

    def _send_last(self) -> None:
        """Send one more until it is answered: then all before it has been answered as well, or is lost."""
        last, deadline = len(self.sent), time.monotonic() + _LAST_S
        while last not in self.answered and time.monotonic() < deadline:
            with suppress(OSError):
                self._here.sendto(struct.pack("!I", last), self._to)
            time.sleep(0.1)
        self._all_came.set()

    def _answer(self) -> None:
        while not self._all_came.is_set():
            try:
                data, sender = self._there.recvfrom(64)
            except TimeoutError:
                continue
            self.seen.add(sender[0])
            self._there.sendto(data, sender)

    def _listen(self) -> None:
        while not self._all_came.is_set():
            try:
                data = self._here.recv(64)
            except BlockingIOError:
                time.sleep(0.001)
                continue
            except OSError:
                continue
            self.answered.setdefault(struct.unpack("!I", data)[0], time.monotonic())
