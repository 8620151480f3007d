"""A port that moves to another host while somebody talks to it: what is lost beyond the time in which it has no interface."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.beyond import Port
from benchmarks.figure import Figure, Unit
from benchmarks.guarded import full_name
from benchmarks.offline import load
from benchmarks.pulse import Pulse
from benchmarks.site import Site, open_site
from benchmarks.topology import write_topology
from benchmarks.workload import Document, Size, generate

ROAMING = "roaming"
AWAY = "a port moves: how long it has no interface"
BY_FAR, BY_NEAR, BY_ITSELF = (
    "asked by a far peer",
    "asked by a near peer",
    "asking a far peer",
)

_SIZE = Size(hosts=3, tenants=1, networks_per_tenant=1, ports_per_network=6, rules_per_group=20)
_MOVES, _MOVES_S = 5, 12.0  # How often each is measured, and until when another move is begun.


@dataclass(frozen=True, slots=True)
class Roaming:
    """Who moves, and who talks to it: one on a host that it moves between, one on another."""

    mover: Port
    near: Port
    far: Port
    places: tuple[str, str]


def beyond_name(by: str) -> str:
    """Return what the figure is called."""
    return f"a port moves: what is lost beyond that, {by}"


def roaming() -> tuple[Document, Roaming]:
    """Return a tenant one of whose ports is pinned to no host, and who plays what."""
    document = generate(_SIZE)
    here, there, elsewhere = (host["name"] for host in document["hosts"])
    mover, near, far = (port for port in document["ports"] if port["groups"][0].endswith("-app"))
    for port, host in ((mover, ""), (near, here), (far, elsewhere)):
        port["host"] = host
    return document, Roaming(mover, near, far, (here, there))


def measure_roaming(directory: Path, moves: int = _MOVES) -> Iterator[Figure]:
    """Measure moves of a port with each kind of peer, in half a minute."""
    document, players = roaming()
    folder = directory / "topology"
    write_topology(document, folder)
    away: list[float] = []
    with open_site(load(folder), folder, directory / "lab", len(document["hosts"]), ()) as site:
        site.controller.start()
        site.controller.wait_in_sync()
        pairs = {
            BY_FAR: (players.far, players.mover),
            BY_NEAR: (players.near, players.mover),
            BY_ITSELF: (players.mover, players.far),
        }
        for by, (source, target) in pairs.items():
            lost = _measure_moves(site, players, source, target, moves, away)
            yield Figure(ROAMING, beyond_name(by), statistics.median(lost), Unit.SECONDS, runs=tuple(lost))
    yield Figure(ROAMING, AWAY, statistics.median(away), Unit.SECONDS, runs=tuple(away))


def _measure_moves(
    site: Site, players: Roaming, source: Port, target: Port, moves: int, away: list[float]
) -> list[float]:
    """Move the port back and forth; return what was lost each time beyond the time without an interface, which `away` gets."""
    name, spaces = full_name(players.mover), [site.lab.port_namespace(full_name(each)) for each in (source, target)]
    until = time.monotonic() + _MOVES_S
    lost: list[float] = []
    with Pulse(spaces[0], spaces[1], target["ip"]) as pulse:
        while not lost or (len(lost) < moves and time.monotonic() < until):
            host = next(each for each in players.places if each != site.lab.plan.ports[name].host)
            seconds = pulse.lost_while(lambda: away.append(site.lab.migrate(name, host)))  # noqa: B023
            lost.append(seconds - away[-1])
            site.controller.wait_in_sync()
    return lost
