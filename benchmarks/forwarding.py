"""What security groups cost the packets: Weft's pipeline beside a bare one, by turns, in the same switches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.datapath import Datapath
from benchmarks.figure import Figure, Unit
from benchmarks.guarded import SERVICE, SSH, Pipeline, Pipelines, Port, full_name, turns
from benchmarks.packets import NotEnforced
from benchmarks.site import Site
from benchmarks.traffic import UDP, Header, Lost, Meter, Stream, connect_often, frame

Run = TypeVar("Run")

SECURITY = "security"
SAME_HOST, ACROSS = "same host", "across hosts"

_WARM_S, _MEASURED_S = 0.25, 0.5
_STREAMS_S, _CONNECTIONS_S = 10.0, 4.0  # On a machine that is busy with others there are fewer repetitions.
_CONNECTIONS, _FEW = 20_000, 20
_FIRST_SOURCE = 10_000  # Below and above it there are enough numbers that no rule and no program has taken.
_GB = 1e9


def stream_name(where: str) -> str:
    """Return what the figure of one TCP stream is called."""
    return f"one TCP stream, {where}"


def passes_name(where: str) -> str:
    """Return what the figure of the passes through the datapath is called."""
    return f"passes of an established packet, {where}"


CONNECTIONS = f"new connections, {SAME_HOST}"


@dataclass(frozen=True, slots=True)
class Passage:
    """One stream: megabits a second, CPU seconds of all daemons for a gigabyte, and passes at each host."""

    rate: float
    cpu_s: float
    passes: Mapping[str, float]


def measure_streams(
    site: Site, pipelines: Pipelines, client: Port, server: Port, where: Mapping[str, str], pairs: int
) -> Iterator[Figure]:
    """Measure one stream at a time from a port to another.

    Args:
        site: Where they are.
        pipelines: What takes turns.
        client: Who sends.
        server: Who receives.
        where: The hosts that the stream passes, and what to call them in the figure of the passes; the first name is the stream's.
        pairs: How many times each pipeline is measured, if there is time.
    """
    runs: dict[Pipeline, list[Passage]] = {pipeline: [] for pipeline in Pipeline}
    for pipeline in turns(pairs, _STREAMS_S):
        pipelines.use(pipeline)
        source, target = (site.lab.port_namespace(full_name(port)) for port in (client, server))
        passed = {host: pipelines.datapaths[host] for host in where}
        runs[pipeline].append(send_stream(source, target, server["ip"], passed))
    name = ACROSS if len(where) > 1 else SAME_HOST
    yield _beside(stream_name(name), Unit.MEGABITS, runs, lambda run: run.rate)
    yield _beside(f"CPU of ovs-vswitchd for a gigabyte, {name}", Unit.SECONDS, runs, lambda run: run.cpu_s)
    for host, label in where.items():
        yield _beside(passes_name(label), Unit.PASSES, runs, _passes_at(host))


def _passes_at(host: str) -> Callable[[Passage], float]:
    return lambda run: run.passes[host]


def send_stream(source: str, target: str, address: str, passed: Mapping[str, Datapath]) -> Passage:
    """Send one stream from a namespace to another, and count in the datapaths of the hosts that it passes."""
    with Stream(source, target, address, SSH) as stream:
        time.sleep(_WARM_S)
        for datapath in passed.values():
            datapath.clear()
        before = sum(datapath.cpu_s() for datapath in passed.values())
        meter = Meter(stream)
        time.sleep(_MEASURED_S)
        rate, received = meter.rate(), meter.bytes
        cpu = sum(datapath.cpu_s() for datapath in passed.values()) - before
        passes = {host: datapath.passes().each for host, datapath in passed.items()}
    return Passage(rate, cpu * _GB / received, passes)


def measure_connections(site: Site, pipelines: Pipelines, client: Port, server: Port, pairs: int) -> Iterator[Figure]:
    """Measure how many new UDP connections get through in a second, each of one packet.

    Raises:
        Lost: More than one in a hundred does not get through.
        NotEnforced: Even connections get through that no rule allows.
    """
    source, target = (site.lab.port_namespace(full_name(port)) for port in (client, server))
    closed = SERVICE - 1
    pipelines.use(Pipeline.WEFT)
    if connect_often(source, target, closed, _first_packets(client, server, closed, _FEW))[0]:
        raise NotEnforced(f"{full_name(client)} reaches {full_name(server)} at udp/{closed}, which nothing allows")
    frames = _first_packets(client, server, SERVICE, _CONNECTIONS)
    rates: dict[Pipeline, list[float]] = {pipeline: [] for pipeline in Pipeline}
    for pipeline in turns(pairs, _CONNECTIONS_S):
        pipelines.use(pipeline)
        arrived, seconds = connect_often(source, target, SERVICE, frames)
        if arrived < 0.99 * len(frames):
            raise Lost(f"of {len(frames):,} new connections {arrived:,} got through")
        rates[pipeline].append(arrived / seconds)
    yield _beside(CONNECTIONS, Unit.PER_S, rates, lambda rate: rate)


def _first_packets(client: Port, server: Port, number: int, count: int) -> list[bytes]:
    return [frame(client, server, Header(UDP, server["ip"], _FIRST_SOURCE + source, number)) for source in range(count)]


def _beside(name: str, unit: Unit, runs: Mapping[Pipeline, list[Run]], value: Callable[[Run], float]) -> Figure:
    """Return the median of Weft's runs beside that of the bare pipeline's."""
    weft, bare = ([value(run) for run in runs[pipeline]] for pipeline in (Pipeline.WEFT, Pipeline.BARE))
    return Figure(SECURITY, name, statistics.median(weft), unit, statistics.median(bare), tuple(weft))
