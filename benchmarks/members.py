"""One large tenant: a thousand ports of one network in two groups that name each other, and a member more or less.

Everybody's filters depend on who is in the groups. That is where such systems take longest: an edit of one port is every host's business.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cold import measure_start, warm_up
from benchmarks.edits import save
from benchmarks.figure import Figure, median
from benchmarks.measure import Timing
from benchmarks.offline import load, measure_offline
from benchmarks.packets import check_policy
from benchmarks.raw import measure_one_flow
from benchmarks.site import Site, open_site
from benchmarks.topology import tenant_file, write_topology
from benchmarks.variants import Place, places, texts, with_spares
from benchmarks.workload import Document

LARGE = "big-tenant"
JOINED, LEFT = "port joins a remote group", "port leaves a remote group"

_EDITS_S = 15.0  # On a machine that is busy with others there are fewer edits.


def measure_members(workload: str, document: Document, directory: Path, edits: int) -> Iterator[Figure]:
    """Measure a workload of one tenant: what its files become, one start, and so many of each edit, if there is time."""
    write_topology(document, directory / "files")
    yield from measure_offline(directory / "files", runs=1).figures(workload)
    hosts = [host["name"] for host in document["hosts"]]
    (place,) = places(document, hosts)
    folder = directory / "topology"
    write_topology(with_spares(document, [place]), folder)
    with open_site(load(folder), folder, directory / "lab", len(hosts), [place]) as site:
        warm_up(site, document)
        site.write(document)
        yield from measure_start(site, 1).figures(workload)
        check_policy(site.lab, document)
        limit = measure_one_flow(site.lab, site.hosts, edits)
        for name, timing in _edits(site, document, place, edits).items():
            yield median(workload, name, timing, limit)


def _edits(site: Site, document: Document, place: Place, count: int) -> dict[str, Timing]:
    state = texts(document, place)
    seconds: dict[str, list[float]] = {}
    deadline = time.monotonic() + _EDITS_S
    for number in range(count):
        if number and time.monotonic() > deadline:
            break
        for name, text in (
            (JOINED, joined(document, number)),
            (LEFT, state.base),
            ("port added", state.spare_at_home),
            ("port removed", state.base),
            ("rule changed", state.rule_changed),
            ("rule changed", state.base),
        ):
            seconds.setdefault(name, []).append(save(site, place, text))
    site.check_counts()
    return {name: Timing.of(each) for name, each in seconds.items()}


def joined(document: Document, number: int) -> str:
    """Return the tenant's file with one of its ports in both groups instead of one; each number takes another host."""
    changed = copy.deepcopy(document)
    web, app = (group["name"] for group in changed["groups"])
    members = [port for port in changed["ports"] if port["groups"] == [web]]
    chosen = members[number % len(members)]
    chosen["groups"].append(app)
    return tenant_file(changed, chosen["tenant"])
