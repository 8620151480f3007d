"""One router of two hundred networks: what its hosts' programs cost from nothing, and what a change of it does."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.figure import Figure, Unit, median
from benchmarks.measure import Timing
from benchmarks.offline import alone, load
from benchmarks.process import Late
from benchmarks.raw import measure_one_flow
from benchmarks.site import Site, open_site
from benchmarks.topology import tenant_file, write_topology
from benchmarks.variants import places, texts, with_spares
from benchmarks.workload import Document, Size, generate

LARGE_ROUTER = "large-router"
FROM_NOTHING, ALONE = "compile, CPU", "compile without the router, CPU"
ROUTE, JOINED, ADDED = "route added", "network joined", "port added"

WIDE = Size(hosts=20, tenants=1, networks_per_tenant=200, ports_per_network=5, rules_per_group=6)
NEAR = Size(hosts=4, tenants=1, networks_per_tenant=200, ports_per_network=5, rules_per_group=6)
_BYSTANDERS = Size(hosts=2, tenants=2, networks_per_tenant=1, ports_per_network=4, rules_per_group=6)
_EDITS_S = 20.0  # On a machine that is busy with others there are fewer edits.


def with_router(size: Size) -> Document:
    """Return a tenant with a router on all of its networks but the last."""
    document = generate(size)
    tenant = document["ports"][0]["tenant"]
    networks = [network["name"] for network in document["networks"]]
    return document | {"routers": [{"name": f"{tenant}-main", "tenant": tenant, "networks": networks[:-1]}]}


def measure_compile(document: Document, directory: Path, runs: int) -> Iterator[Figure]:
    """Measure what a fabric's programs cost from nothing, with and without its router; the best of so many runs."""
    for name, flows, routers in (
        (FROM_NOTHING, "flows a host, at most", document["routers"]),
        (ALONE, "flows a host without the router, at most", []),
    ):
        folder = directory / ("routed" if routers else "alone")
        write_topology(document | {"routers": routers}, folder)
        told = [alone(folder) for _ in range(runs)]
        seconds = tuple(each["compile_cpu"] for each in told)
        yield Figure(LARGE_ROUTER, name, min(seconds), Unit.SECONDS, runs=seconds)
        yield Figure(LARGE_ROUTER, flows, told[0]["flows_per_host"], Unit.COUNT)


def measure_edits(size: Size, directory: Path, edits: int) -> Iterator[Figure]:
    """Measure changes of a router, each from the saved file until every switch has confirmed, and that no other host is told.

    Raises:
        Late: A switch was told of a change that does not concern it.
    """
    document, others = with_router(size), _bystanders(size)
    hosts = [host["name"] for host in document["hosts"]]
    (place,) = places(document, hosts)
    whole = {kind: [*document.get(kind, []), *others.get(kind, [])] for kind in document}
    folder = directory / "topology"
    write_topology(with_spares(whole, [place]), folder)
    with open_site(load(folder), folder, directory / "lab", len(hosts), [place]) as site:
        site.write(whole)
        site.controller.start()
        site.controller.wait_in_sync()
        site.check_counts()
        limit = measure_one_flow(site.lab, site.hosts, edits)
        base = tenant_file(document, place.tenant)
        changes = {
            ROUTE: _text(document, _with_route),
            JOINED: _text(document, _with_network),
            ADDED: texts(document, place).spare_at_home,
        }
        before = site.simulation.commits()
        told = _make(site, place.tenant, base, changes, edits)
        if site.simulation.commits() != before:
            raise Late("hosts without the router were told of its changes")
        site.check_counts()
        for name, timing in told.items():
            yield median(LARGE_ROUTER, name, timing, limit)


def _make(site: Site, tenant: str, base: str, changes: dict[str, str], count: int) -> dict[str, Timing]:
    """Make each change so often, if there is time, and undo it in between."""
    seconds: dict[str, list[float]] = {}
    deadline = time.monotonic() + _EDITS_S
    for number in range(count):
        if number and time.monotonic() > deadline:
            break
        for name, text in changes.items():
            seconds.setdefault(name, []).append(_save(site, tenant, text))
            seconds.setdefault(f"{name}: undone", []).append(_save(site, tenant, base))
    return {name: Timing.of(each) for name, each in seconds.items()}


def _save(site: Site, tenant: str, text: str) -> float:
    return site.controller.confirm(lambda: site.save(tenant, text))


def _bystanders(size: Size) -> Document:
    """Return another tenant on further hosts."""
    document = generate(_BYSTANDERS)
    tenant = document["ports"][-1]["tenant"]
    names = {host["name"]: f"host{size.hosts + number}" for number, host in enumerate(document["hosts"], start=1)}
    other: Document = {
        kind: [copy.deepcopy(each) for each in entries if each.get("tenant") == tenant]
        for kind, entries in document.items()
    }
    other["hosts"] = [
        {"name": name, "tunnel_ip": f"172.31.200.{number}"} for number, name in enumerate(names.values(), start=1)
    ]
    for port in other["ports"]:
        port["host"] = names[port["host"]]
        port["mac"] = port["mac"].replace("fa:16:3e", "fa:16:3f")
    for network in other["networks"]:
        network["vni"] += 100_000
    return other


def _text(document: Document, change: Callable[[Document], object]) -> str:
    changed = copy.deepcopy(document)
    change(changed)
    return tenant_file(changed, changed["routers"][0]["tenant"])


def _with_route(document: Document) -> None:
    document["routers"][0]["routes"] = [("192.168.0.0/16", document["ports"][0]["ip"])]


def _with_network(document: Document) -> None:
    document["routers"][0]["networks"].append(document["networks"][-1]["name"])
