"""A town whose ports talk while its rules change: who loses nothing, who is silent at once, and who goes on.

with Live(net) as live:
    live.edit(WEB, {"server": ["web"]})
    talk = live.talk((NEAR, FAR), SERVER, 5001)            UDP and TCP, from the server's host and from another
    with live.unharmed(talk):                              not one of their messages is lost in the block
        live.edit(...)                                     the files change, and every switch has confirmed it
    live.silent(other, beside=talk)                        nothing of them passes any more, in either direction

Silence is known by what goes on beside it: others were heard all the while, and those who are silent have tried again.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

from controller import config, control
from controller.lab.namespaces import inside
from tests.lab.net import Net
from tests.ovs.frames import frame
from tests.scenarios.exchange import Exchange
from tests.scenarios.frames import ARP_REQUEST, arp, own
from tests.scenarios.labs import PATIENCE_S, differences, running, write
from tests.scenarios.streams import Stream, Way
from tests.scenarios.talk import request

FABRIC = """\
fabric: live
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
tenants:
  red: {segments: 5000-5099}
"""
TENANT = "tenants/red.yaml"
PLACES = {"server": ("hv1", 2), "near": ("hv1", 3), "far": ("hv2", 4), "mate": ("hv2", 5)}
SERVER, NEAR, FAR, MATE = (f"red/{name}" for name in PLACES)
BOTH = (NEAR, FAR)
NOBODY: Mapping[str, Sequence[str]] = {}

# A packet of a connection is judged by a cached flow until the flows are looked through again, which a change begins at
# once; Open vSwitch promises it within 0.5 s (other_config:max-revalidator).
AT_ONCE_S = 0.5

_BURST, _PAUSE_S = 20, 0.001
_ENOUGH = 25  # Messages of others in which one more of the silent would have come.
_KNOCKS = 2  # So often those who are silent have tried.
_SIGNS = 2  # So many messages say that somebody goes on.


def rules(numbers: object, more: str = "") -> str:
    """Rules for TCP and UDP alike; `more` says from or to whom."""
    extra = more and f", {more}"
    return ", ".join(f"{{protocol: {protocol}, ports: {numbers}{extra}}}" for protocol in ("tcp", "udp"))


def red(
    groups: str, members: Mapping[str, Sequence[str]] = NOBODY, places: Mapping[str, tuple[str, int]] = PLACES
) -> str:
    """The tenant's file. Ports without groups may speak and are not spoken to; an address has one MAC, whoever has it."""
    lines = ["networks:", "  n: {cidr: [10.8.0.0/24, 'fd00:8::/64']}"]
    if groups:
        lines += ["security_groups:", *(f"  {line}" for line in groups.strip().splitlines())]
    lines.append("ports:")
    for name, (place, last) in places.items():
        where = f"network: n, host: {place}, mac: '02:00:00:00:08:{last:02x}', ip: [10.8.0.{last}, 'fd00:8::{last}']"
        lines.append(f"  {name}: {{{where}, security_groups: [{', '.join(members.get(name, ()))}]}}")
    return "\n".join([*lines, ""])


@contextmanager
def lab(directory: Path) -> Iterator[Net]:
    """The town's lab, in sync."""
    with running(directory, {"fabric.yaml": FABRIC, TENANT: red("")}) as net:
        net.lab.wait_in_sync()
        for host, planned in net.lab.plan.hosts.items():
            # Open vSwitch 3.1 takes the longest pause between attempts to connect, 1 s, from a change during a connection.
            touched = (f"-- set bridge {bridge} external_ids:touched=yes".split() for bridge in planned.bridges)
            net.lab.exec_host(host, ["ovs-vsctl", *chain.from_iterable(touched)], check=True)
        yield net


class Live:
    """The lab during one story; afterwards every switch must hold what the files compile to from nothing."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self._exchange = Exchange(net)
        self._unused = iter(range(150, 250))
        self.changed = 0.0  # When the last change was confirmed by every switch.

    def __enter__(self) -> Self:
        self._exchange.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange.__exit__(kind, error, trace)
        if kind is None:
            assert differences(self.net) == []

    def save(
        self, groups: str, members: Mapping[str, Sequence[str]] = NOBODY, places: Mapping[str, tuple[str, int]] = PLACES
    ) -> None:
        """Save the tenant's file; nobody tells the controller."""
        write(self.net.lab.folder / TENANT, red(groups, members, places))

    def edit(
        self, groups: str, members: Mapping[str, Sequence[str]] = NOBODY, places: Mapping[str, tuple[str, int]] = PLACES
    ) -> None:
        """Save the tenant's file; return when every switch has confirmed what it says."""
        self.save(groups, members, places)
        self.apply()

    def apply(self) -> None:
        """Let the controller read the files; return when every switch has confirmed what they say."""
        answer = control.request(self.net.lab.control, {"do": "apply", "wait": True})
        self.changed = time.monotonic()
        assert answer.get("accepted"), answer
        self.net.lab.wait_in_sync()

    def since_now(self) -> None:
        """Count what is silent from this moment on, as after a change."""
        self.changed = time.monotonic()

    def talk(
        self,
        clients: Iterable[str],
        server: str,
        number: int,
        *,
        version: int = 4,
        kinds: Iterable[str] = ("udp", "tcp"),
        source: int = 0,
    ) -> list[Stream]:
        """Let clients talk to a server, each by UDP and by TCP; return when all of it flows both ways."""
        clients = tuple(clients)
        return [
            self._exchange.open(kind, client, server, number, version=version, source=source)
            for kind in kinds
            for client in clients
        ]

    def begin(self, client: str, server: str, number: int, kind: str = "udp") -> Stream:
        """Let a client talk to a server without being heard, as far as anybody knows."""
        return self._exchange.begin(kind, client, server, number)

    def hang_up(self, streams: Iterable[Stream]) -> None:
        """End conversations."""
        for stream in streams:
            self._exchange.close(stream)

    @contextmanager
    def unharmed(self, streams: Collection[Stream]) -> Iterator[None]:
        """Require that no message is lost that these streams send while the block lasts."""
        repaired = {stream: stream.repairs for stream in streams}
        began = time.monotonic()
        yield
        over = time.monotonic()
        self._hears(streams, over)
        # That a segment was there twice is told only when the second is.
        within(5.0, lambda: all(stream.repairs <= repaired[stream] for stream in streams))
        lost = [f"{way}: {lost} of {way.sent}" for way in _ways(streams) if (lost := len(way.lost(began, over)))]
        lost += [f"{stream}: {n} segments" for stream in streams if (n := stream.repairs - repaired[stream]) > 0]
        assert not lost, f"lost, but should not be: {lost}"

    def silent(self, streams: Collection[Stream], *, beside: Collection[Stream]) -> None:
        """Require that nothing of these streams passes since the last change, in either direction, while others are heard.

        Args:
            streams: Those who are to be silent; they try to get through all the while.
            beside: Those who go on, on the same paths.
        """
        since, quiet = self.changed, False
        while not quiet:
            quiet = self._is_quiet(streams, beside)
            late = [f"{way}, {way.last - since:.2f} s" for way in _ways(streams) if way.last > since + AT_ONCE_S]
            assert not late, f"passes after the change: {late}"

    def _is_quiet(self, streams: Collection[Stream], beside: Collection[Stream]) -> bool:
        """Listen for a while; return whether nothing of these streams came though it was sent."""
        began = time.monotonic()
        heard = {way: way.arrived for way in _ways(streams)}
        knocks = {
            way: stream.knocks(way) for stream in streams if not stream.is_over for way in stream.ways if way.is_open
        }
        _wait(lambda: [way for way in _ways(beside) if way.arrived_of(began) < _ENOUGH], "silent, but should go on")
        _wait(
            lambda: [
                way
                for stream in streams
                if not stream.is_over
                for way in stream.ways
                if way in knocks and way.arrived == heard[way] and stream.knocks(way) < knocks[way] + _KNOCKS
            ],
            "nobody tries",
        )
        return heard == {way: way.arrived for way in _ways(streams)}

    def goes_on(self, streams: Collection[Stream], messages: int = _SIGNS) -> None:
        """Require that what is said from now on arrives in both directions; return when so many messages have."""
        self._hears(streams, time.monotonic(), messages)

    def _hears(self, streams: Collection[Stream], since: float, messages: int = _SIGNS) -> None:
        _wait(
            lambda: [way for way in _ways(streams) if way.is_open and way.arrived_of(since) < messages],
            "silent, but should go on",
        )

    def crowd(self, port: str, number: int = 3000) -> None:
        """Let the datapath of a port's host remember so many flows more: a port sends from addresses that are not its own.

        The longer it takes to look them all through, the longer old and new ones stand beside each other.
        """
        topology = config.load(self.net.lab.folder).topology
        assert topology is not None
        mine = request(topology, port, SERVER, "udp 9")
        with inside(self.net.lab.port_namespace(port)), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("eth0", 0))
            for each in range(number):
                wire.send(frame(replace(mine, src=ip_address("10.9.0.1") + each)))
                if each % _BURST == 0:
                    time.sleep(_PAUSE_S)  # So many at a time find room, and nobody else's are lost.

    def disperse(self, port: str) -> None:
        """Let the datapath of a port's host forget its flows: later stories have nothing to do with the crowd."""
        host = self.net.lab.plan.ports[port].host
        self.net.lab.exec_host(host, ["ovs-appctl", "revalidator/purge"], check=True)

    def refuses(self, source: str, target: str, number: int) -> None:
        """Require that new conversations are not let in: an announcement, sent later on the same path, comes alone."""
        topology = config.load(self.net.lab.folder).topology
        assert topology is not None
        me = topology.ports[source]
        asked = [frame(request(topology, source, target, f"{kind} {number}")) for kind in ("tcp", "udp")]
        end = arp(ARP_REQUEST, (me.mac, str(own(me))), (0, f"10.8.0.{next(self._unused)}"))
        with self.net.listen(target) as ear:
            for each in (*asked, end):
                self.net.send(source, each)
            ear.wait_for(end.__eq__)
            assert not [got for got in ear.frames if got in asked]


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether a condition comes to hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _ways(streams: Iterable[Stream]) -> list[Way]:
    return [way for stream in streams for way in stream.ways]


def _wait(missing: Callable[[], Sequence[Way]], what: str) -> None:
    assert within(PATIENCE_S, lambda: not missing()), f"{what}: {', '.join(map(str, missing()))}"
