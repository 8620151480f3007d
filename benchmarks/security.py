"""Security groups: a large tenant's edits, and what the policy costs packets, connections, and those beside a scanner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.forwarding import SAME_HOST, measure_connections, measure_streams
from benchmarks.guarded import NOT_OPEN, SSH, Cast, Pipelines, cast, full_name, guarded
from benchmarks.members import LARGE, measure_members
from benchmarks.offline import load
from benchmarks.packets import check_connections, check_policy
from benchmarks.scan import measure_scans
from benchmarks.site import Site, open_site
from benchmarks.topology import write_topology
from benchmarks.workload import SIZES, Document, generate

_EDITS, _STREAMS, _CONNECTIONS, _SCANS = 8, 5, 3, 2  # How often each is measured.


def measure_security(
    directory: Path, edits: int = _EDITS, say: Callable[[str], None] = lambda _what: None
) -> Iterator[Figure]:
    """Measure all of it, in a minute and a half at most; `edits` of each kind, `say` is told what comes next."""
    say(f"security: {LARGE}")
    yield from measure_members(LARGE, generate(SIZES[LARGE]), directory / LARGE, min(edits, _EDITS))
    say("security: packets")
    yield from measure_packets(directory / "packets", _STREAMS, _CONNECTIONS, _SCANS)


def measure_packets(directory: Path, streams: int, connections: int, scans: int) -> Iterator[Figure]:
    """Measure the data plane, each pipeline so many times."""
    document, folder = guarded(), directory / "topology"
    write_topology(document, folder)
    with open_site(load(folder), folder, directory / "lab", len(document["hosts"]), ()) as site:
        site.controller.start()
        site.controller.wait_in_sync()
        site.check_counts()
        # The flows stay, and nobody puts them right while others are in their place.
        site.controller.stop()
        pipelines, players = Pipelines(site, document, directory), cast(document)
        _check(site, document, players)
        here, there = players.server["host"], players.far["host"]
        same = {here: SAME_HOST}
        apart = {there: "at the sender's host", here: "at the receiver's host"}
        yield from measure_streams(site, pipelines, players.client, players.server, same, streams)
        yield from measure_streams(site, pipelines, players.far, players.server, apart, streams)
        yield from measure_connections(site, pipelines, players.client, players.server, connections)
        yield from measure_scans(site, pipelines, document, scans)
        pipelines.restore()
        _check(site, document, players)


def _check(site: Site, document: Document, players: Cast) -> None:
    """See that the rules are enforced on a host and between two; raise NotEnforced if they are not."""
    check_policy(site.lab, document)
    for client in (players.client, players.far):
        check_connections(site.lab, full_name(client), full_name(players.server), players.server["ip"], SSH, NOT_OPEN)
