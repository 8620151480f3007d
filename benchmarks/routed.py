"""Routers: what they cost packets beside a network without one, a gateway that fails, a large router's edits, and DHCP."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_interface
from pathlib import Path

from benchmarks.beyond import Port, cast, routed
from benchmarks.datapath import Datapath
from benchmarks.dhcp import DHCP, measure_dhcp
from benchmarks.figure import Figure, Unit
from benchmarks.forwarding import ACROSS, SAME_HOST, Passage, passes_name, send_stream, stream_name
from benchmarks.guarded import NOT_OPEN, SSH, full_name
from benchmarks.large_router import LARGE_ROUTER, NEAR, WIDE, measure_compile, measure_edits, with_router
from benchmarks.measure import by_turns
from benchmarks.offline import load
from benchmarks.packets import check_connections
from benchmarks.pulse import Pulse
from benchmarks.site import Site, open_site
from benchmarks.topology import write_topology
from benchmarks.workload import CLIENTS, Document
from controller.graph import queries
from controller.graph.fabric import Fabric
from controller.lab.beyond import INTERNET

ROUTED = "routed"
BOTH = "at both hosts of two"
OUT = "out by a gateway"
AT_SENDER, AT_RECEIVER, AT_GATEWAY = "at the sender's host", "at the receiver's host", "at the gateway"
SENT_OUT = "at the host of who sends out"
FAILED = "a gateway fails: how long packets are lost"
RETURNED = "it comes back: how long packets are lost"

_STREAMS, _STREAMS_S = 5, 10.0  # How often each is measured, and until when another pair is begun.
_FAILURES, _FAILURES_S = 3, 45.0
_EDITS, _COMPILED, _QUESTIONS_S = 20, 2, 3.0
_KINDS = "routed", "bridged"


def measure_routed(
    directory: Path, edits: int = _EDITS, say: Callable[[str], None] = lambda _what: None
) -> Iterator[Figure]:
    """Measure all of it, in three minutes at most; `edits` of each kind, `say` is told what comes next."""
    say("routed: packets, and a gateway that fails")
    yield from measure_packets(directory / "packets")
    say(f"{LARGE_ROUTER}: {WIDE.networks_per_tenant} networks on {WIDE.hosts} hosts, from nothing")
    yield from measure_compile(with_router(WIDE), directory / "wide", _COMPILED)
    say(f"{LARGE_ROUTER}: edits, {NEAR.ports:,} ports on {NEAR.hosts} hosts")
    yield from measure_edits(NEAR, directory / "near", min(edits, _EDITS))
    say(f"{DHCP}: {CLIENTS.ports} clients on one host")
    yield from measure_dhcp(CLIENTS, directory / "clients", _QUESTIONS_S)


def measure_packets(directory: Path, streams: int = _STREAMS, failures: int = _FAILURES) -> Iterator[Figure]:
    """Measure what a router costs established connections, and what is lost when its gateway fails."""
    document, folder = routed(), directory / "topology"
    write_topology(document, folder)
    with open_site(load(folder), folder, directory / "lab", len(document["hosts"]), ()) as site:
        site.controller.start()
        site.controller.wait_in_sync()
        site.check_counts()
        players = cast(document)
        for client in (players.neighbour, players.far_neighbour, players.routed, players.far_routed):
            check_connections(
                site.lab, full_name(client), full_name(players.server), players.server["ip"], SSH, NOT_OPEN
            )
        here, there = players.server["host"], players.far_routed["host"]
        same = {here: passes_name(SAME_HOST)}
        apart = {there: passes_name(AT_SENDER), here: passes_name(AT_RECEIVER)}
        beside = _Beside(site, players.server, streams)
        yield from beside.measure(players.routed, players.neighbour, stream_name(SAME_HOST), same)
        yield from beside.measure(players.far_routed, players.far_neighbour, stream_name(ACROSS), apart)
        yield from _measure_way_out(site, document, players.far_routed, streams)
        yield from _measure_failures(site, document, players.far_routed, failures)


class _Beside:
    """Streams to one port, across the router and from its own network, by turns."""

    def __init__(self, site: Site, server: Port, pairs: int) -> None:
        self._site = site
        self._server = server
        self._pairs = pairs
        self._datapaths = {host: Datapath(site.lab, host) for host in site.hosts}

    def measure(self, client: Port, neighbour: Port, name: str, where: Mapping[str, str]) -> Iterator[Figure]:
        """Measure one pair of clients; `where` holds the hosts that are passed, and what to call the passes there."""
        runs: dict[str, list[Passage]] = {kind: [] for kind in _KINDS}
        target = self._site.lab.port_namespace(full_name(self._server))
        passed = {host: self._datapaths[host] for host in where}
        for kind in by_turns(*_KINDS, self._pairs, _STREAMS_S):
            source = self._site.lab.port_namespace(full_name(client if kind == "routed" else neighbour))
            for datapath in passed.values():
                datapath.forget()
            runs[kind].append(send_stream(source, target, self._server["ip"], passed))
        yield _beside(name, Unit.MEGABITS, runs, lambda run: run.rate)
        if len(where) > 1:
            yield _beside(passes_name(BOTH), Unit.PASSES, runs, lambda run: round(sum(run.passes.values()), 1))
        for host, label in where.items():
            yield _beside(label, Unit.PASSES, runs, _passes_at(host))


def _passes_at(host: str) -> Callable[[Passage], float]:
    return lambda run: run.passes[host]


def _beside(name: str, unit: Unit, runs: Mapping[str, list[Passage]], value: Callable[[Passage], float]) -> Figure:
    """Return the median of the routed runs beside that of the bridged."""
    ours, theirs = ([value(run) for run in runs[kind]] for kind in _KINDS)
    return Figure(ROUTED, name, statistics.median(ours), unit, statistics.median(theirs), tuple(ours))


def _measure_way_out(site: Site, document: Document, client: Port, count: int) -> Iterator[Figure]:
    """Measure streams to the internet, in the router's name, from a host that does not lead out itself."""
    gateway, address = gateways(site, document)[0], _internet(site)
    passed = {host: Datapath(site.lab, host) for host in (client["host"], gateway)}
    source, target = site.lab.port_namespace(full_name(client)), site.lab.port_namespace(INTERNET)
    until = time.monotonic() + _STREAMS_S
    runs: list[Passage] = []
    while not runs or (len(runs) < count and time.monotonic() < until):
        runs.append(send_stream(source, target, address, passed))
    rates = tuple(run.rate for run in runs)
    yield Figure(ROUTED, stream_name(OUT), statistics.median(rates), Unit.MEGABITS, runs=rates)
    for host, label in ((client["host"], SENT_OUT), (gateway, AT_GATEWAY)):
        passes = tuple(run.passes[host] for run in runs)
        yield Figure(ROUTED, passes_name(label), statistics.median(passes), Unit.PASSES, runs=passes)


def _measure_failures(site: Site, document: Document, client: Port, count: int) -> Iterator[Figure]:
    """Let the first gateway fail and come back while a port talks to the internet; yield how long that was lost each time."""
    source, target = site.lab.port_namespace(full_name(client)), site.lab.port_namespace(INTERNET)
    first = gateways(site, document)[0]
    until = time.monotonic() + _FAILURES_S
    failed: list[float] = []
    returned: list[float] = []
    with Pulse(source, target, _internet(site)) as pulse:
        while not failed or (len(failed) < count and time.monotonic() < until):
            failed.append(pulse.lost_while(lambda: site.lab.fail_host(first)))
            returned.append(pulse.lost_while(lambda: site.lab.recover_host(first)))
            site.controller.wait_in_sync()
            pulse.lost_while(lambda: None)
    for name, seconds in ((FAILED, failed), (RETURNED, returned)):
        yield Figure(ROUTED, name, statistics.median(seconds), Unit.SECONDS, runs=tuple(seconds))


def gateways(site: Site, document: Document) -> tuple[str, ...]:
    """Return the hosts by which the router leads out, the one that does first."""
    (router,) = document["routers"]
    return queries.gateways(Fabric(load(site.folder)).memo, router["name"].replace("-", "/", 1))


def _internet(site: Site) -> str:
    return str(ip_interface(site.lab.plan.outside.addresses[0]).ip)
