"""One workload against real switches, all parts in order, as figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from benchmarks.cold import measure_cold, measure_restart, measure_start, wanted, warm_up
from benchmarks.edits import measure_edits
from benchmarks.figure import Figure, Unit
from benchmarks.offline import Messages, load, messages
from benchmarks.packets import check_policy
from benchmarks.profile import profiled
from benchmarks.raw import measure_one_flow, measure_programs
from benchmarks.site import open_site
from benchmarks.topology import write_topology
from benchmarks.variants import places, with_spares
from benchmarks.workload import Document
from controller.pipeline.compile import compile_fabric

PARTS = ("cold", "restart", "edits")
REAL_HOSTS = 4  # More daemons than this measure the machine, not the controller.


def measure_online(
    workload: str,
    document: Document,
    directory: Path,
    runs: int,
    edits: int,
    parts: Collection[str] = PARTS,
    profile: Path | None = None,
    say: Callable[[str], None] = lambda _what: None,
) -> Iterator[Figure]:
    """Bring a workload up, measure it, and take it down again.

    Args:
        workload: Its name.
        document: What it is.
        directory: Where files and switches may be; it need not exist.
        runs: How often each start is measured.
        edits: How often each edit is.
        parts: Which of PARTS to measure. Of a workload with more than REAL_HOSTS hosts no cold runs and no restarts are.
        profile: Where a profile of the controller goes while edits are measured, which slows it; None for none.
        say: Is told what comes next.
    """
    folder = directory / "topology"
    real = [host["name"] for host in document["hosts"]][:REAL_HOSTS]
    edited = places(document, real)
    write_topology(with_spares(document, edited), folder)
    is_whole = len(real) == len(document["hosts"])
    say(f"{workload}: {len(document['hosts'])} hosts come up, {len(document['hosts']) - len(real)} of them simulated")
    with open_site(load(folder), folder, directory / "lab", REAL_HOSTS, edited) as site:
        warm_up(site, document)
        site.write(document)
        if is_whole and "cold" in parts:
            say(f"{workload}: cold")
            limit = measure_programs(site.lab, _messages(folder), runs)
            yield from measure_cold(site, document, runs).figures(workload, limit)
            yield from measure_start(site, runs, wanted(document)).figures(workload)
        else:
            say(f"{workload}: start")
            yield from measure_start(site, 1).figures(workload)
        check_policy(site.lab, document)
        if is_whole and "restart" in parts:
            say(f"{workload}: restart")
            yield from measure_restart(site, document, runs).figures(workload)
        if "edits" in parts:
            say(f"{workload}: edits")
            one_flow = measure_one_flow(site.lab, site.hosts, edits)
            with profiled(site.controller.process.pid, profile):
                measured = measure_edits(site, document, edited, edits)
            yield from measured.figures(workload, one_flow)
            peak = site.controller.usage().peak_mib
            yield Figure(workload, "peak memory of the controller after all edits", peak, Unit.MEBIBYTES)


def _messages(folder: Path) -> dict[str, list[Messages]]:
    found: dict[str, list[Messages]] = {}
    for program in compile_fabric(load(folder)):
        found.setdefault(program.host, []).append(messages(program))
    return found
