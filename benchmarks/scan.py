"""A tenant that tries what the rules leave open: how much of the datapath it fills, and what its neighbour keeps.

Every packet that takes another way through the rules can cost a megaflow, and every megaflow that looks at other bits a mask, which
later packets have to be compared with. The scan is bounded in count and spread over a time.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from typing import Any

from benchmarks.datapath import mask
from benchmarks.figure import Figure, Unit
from benchmarks.forwarding import SECURITY
from benchmarks.guarded import SSH, Pipeline, Pipelines, Port, cast, full_name, turns
from benchmarks.packets import NotEnforced
from benchmarks.site import Site
from benchmarks.traffic import TCP, UDP, Header, Meter, Stream, frame, frames_received, pour
from benchmarks.workload import Document

KEPT = "what a stream beside it keeps"

_PACKETS = 20_000
_SPREAD_S, _WARM_S, _ALONE_S = 1.0, 0.25, 0.5
_SETTLE_S = 0.05
_SCANS_S = 6.0


@dataclass(frozen=True, slots=True)
class Scan:
    """What was there before and after a scan, how many upcalls it cost, and the neighbour's rate in parts of what it was."""

    masks: tuple[int, int]
    megaflows: tuple[int, int]
    upcalls: int
    kept: float


def measure_scans(site: Site, pipelines: Pipelines, document: Document, pairs: int) -> Iterator[Figure]:
    """Measure both scanners: one that the victim's rules refuse, and one that its own rules for what goes out do."""
    players = cast(document)
    rules = {group["name"]: group["rules"] for group in document["groups"]}
    for scanner, guard, name in (
        (players.open_scanner, players.victim, "scan of ingress rules"),
        (players.bound_scanner, players.bound_scanner, "scan of egress rules"),
    ):
        headers = probes(rules[guard["groups"][0]], document["networks"][0]["cidr"], _PACKETS)
        frames = [frame(scanner, players.victim, header) for header in headers]
        scans: dict[Pipeline, list[Scan]] = {pipeline: [] for pipeline in Pipeline}
        for pipeline in turns(pairs, _SCANS_S):
            pipelines.use(pipeline)
            scans[pipeline].append(_scan(site, pipelines, document, scanner, frames))
        yield from _figures(name, scans[Pipeline.WEFT], scans[Pipeline.BARE])


def probes(rules: Sequence[Mapping[str, Any]], cidr: str, count: int, seed: int = 1) -> list[Header]:
    """Return where a scan goes: at random in the network, and by turns one bit beside the addresses and numbers of rules.

    Values that differ from a rule's in one bit are what makes a classifier look at the most different bits.
    """
    chance = random.Random(seed)  # noqa: S311 - Figures that can be made again, no secrets.
    network = ip_network(cidr)
    ranged = [rule for rule in rules if rule.get("remote_cidr", "0.0.0.0/0") != "0.0.0.0/0" and "port_min" in rule]
    found = []
    for number in range(count):
        address = int(network[chance.randrange(network.num_addresses)])
        port = chance.randrange(1, 1 << 16)
        if number % 2 and ranged:
            rule = chance.choice(ranged)
            address = int(ip_network(rule["remote_cidr"])[1]) ^ (1 << chance.randrange(32))
            port = rule[chance.choice(["port_min", "port_max"])] ^ (1 << chance.randrange(16))
        source = chance.randrange(1024, 1 << 16)
        found.append(Header(chance.choice([TCP, UDP]), str(IPv4Address(address)), source, port))
    return found


def _scan(site: Site, pipelines: Pipelines, document: Document, scanner: Port, frames: Sequence[bytes]) -> Scan:
    """Let a scanner scan while its neighbours' stream is measured."""
    players = cast(document)
    namespaces = {port["name"]: site.lab.port_namespace(full_name(port)) for port in document["ports"]}
    client, server = players.innocent_client, players.innocent_server
    datapath = pipelines.datapaths[scanner["host"]]
    with Stream(namespaces[client["name"]], namespaces[server["name"]], server["ip"], SSH) as stream:
        time.sleep(_WARM_S)
        meter = Meter(stream)
        time.sleep(_ALONE_S)
        alone = meter.rate()
        before = datapath.megaflows()
        arrived = frames_received(namespaces[players.victim["name"]])
        datapath.clear()
        meter = Meter(stream)
        pour(namespaces[scanner["name"]], frames, _SPREAD_S)
        kept = meter.rate() / alone
        time.sleep(_SETTLE_S)
        after, upcalls = datapath.megaflows(), datapath.passes().upcalls
        arrived = frames_received(namespaces[players.victim["name"]]) - arrived
    if pipelines.now is Pipeline.WEFT and arrived > len(frames) / 2:
        raise NotEnforced(f"{arrived:,} of {len(frames):,} frames got through that the rules mostly refuse")
    return Scan((_masks(before), _masks(after)), (len(before), len(after)), upcalls, kept)


def _masks(megaflows: Sequence[str]) -> int:
    return len(set(map(mask, megaflows)))


def _figures(name: str, weft: Sequence[Scan], bare: Sequence[Scan]) -> Iterator[Figure]:
    """Yield the figures; of repeated scans the worst counts, and of the neighbour's rates the mean."""
    counted: dict[str, Callable[[Scan], int]] = {
        "masks before": lambda scan: scan.masks[0],
        "masks after": lambda scan: scan.masks[1],
        "megaflows before": lambda scan: scan.megaflows[0],
        "megaflows after": lambda scan: scan.megaflows[1],
        "upcalls": lambda scan: scan.upcalls,
    }
    for what, count in counted.items():
        yield Figure(SECURITY, f"{name}: {what}", max(map(count, weft)), Unit.COUNT, max(map(count, bare)))
    ours, theirs = ([100 * scan.kept for scan in scans] for scans in (weft, bare))
    yield Figure(SECURITY, f"{name}: {KEPT}", statistics.mean(ours), Unit.PERCENT, statistics.mean(theirs), tuple(ours))
