"""`python -m benchmarks [WHAT...]`: measure, print tables, write `build/bench.json` and, after a full run, the history.

Needs root and Open vSwitch's programs. Everything that is made for it (namespaces, switches, files) is gone at the end, also
after an error or Ctrl-C.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.crowd import measure_crowd
from benchmarks.dhcp import DHCP, measure_dhcp
from benchmarks.figure import Figure
from benchmarks.history import keep, this_run
from benchmarks.measure import this_machine
from benchmarks.offline import measure_alone, measure_offline
from benchmarks.online import PARTS, measure_online
from benchmarks.push import measure_push
from benchmarks.report import print_run, write_json
from benchmarks.roaming import ROAMING, measure_roaming
from benchmarks.routed import ROUTED, measure_routed
from benchmarks.security import measure_security
from benchmarks.topology import write_topology
from benchmarks.workload import CLIENTS, CROWD, DENSE, SIZES, generate

_DEFAULT = ("push", "200", "1000", "10000", "crowd", "security", ROUTED, ROAMING)
_KNOWN = (*SIZES, "push", "crowd", "security", ROUTED, ROAMING, DHCP)
_LARGE = 5_000  # From so many ports on, files, compile and pack are measured once, in a process of their own.
_EDITS_OF_A_CROWD = 20
_QUESTIONS_S = 3.0


def main() -> None:
    """Measure what the command line names."""
    arguments = _arguments()
    what = arguments.what or _DEFAULT
    machine = this_machine()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as base:
        for name in what:
            figures += _measure(name, Path(base), arguments)
    run = this_run(figures, machine, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))
    print_run(run)
    write_json(run, figures, arguments.output)
    print(f"\nall runs: {arguments.output}")
    if tuple(what) == _DEFAULT and not arguments.only and not arguments.profile:
        print(f"kept: {keep(run)}; python -m benchmarks.page draws it")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="How fast Weft is, against real switches."
    )
    names = f"{', '.join(_KNOWN)}; all by default, but of big-tenant only what is in security; dhcp is in routed"
    parser.add_argument("what", nargs="*", type=_known, metavar="WHAT", help=names)
    parser.add_argument(
        "--only", action="append", choices=("files", *PARTS), help="of a workload, these parts (may be given again)"
    )
    parser.add_argument("--runs", type=int, default=5, help="of each push and start (default: %(default)s)")
    parser.add_argument("--edits", type=int, default=100, help="of each kind (default: %(default)s)")
    parser.add_argument(
        "--profile", type=Path, help="a file for a profile of the controller during edits (needs py-spy)"
    )
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"), help="(default: %(default)s)")
    return parser.parse_args()


def _known(name: str) -> str:
    if name not in _KNOWN:
        raise argparse.ArgumentTypeError(f"no workload {name!r}; there are {', '.join(_KNOWN)}")
    return name


def _measure(name: str, base: Path, arguments: argparse.Namespace) -> Iterator[Figure]:
    directory = base / name
    directory.mkdir()
    if name == "push":
        _say("push: one switch, more than 100,000 flows")
        yield from measure_push(DENSE, directory, arguments.runs)
    elif name == "crowd":
        _say(f"crowd: {2 * CROWD.hosts} simulated switches")
        yield from measure_crowd(CROWD, directory, min(_EDITS_OF_A_CROWD, arguments.edits))
    elif name == DHCP:
        _say(f"{DHCP}: {CLIENTS.ports} clients on one host")
        yield from measure_dhcp(CLIENTS, directory, _QUESTIONS_S)
    elif name == ROAMING:
        _say(f"{ROAMING}: a port that moves while it is talked to")
        yield from measure_roaming(directory)
    elif name == "security":
        yield from measure_security(directory, arguments.edits, _say)
    elif name == ROUTED:
        yield from measure_routed(directory, arguments.edits, _say)
    else:
        yield from _measure_size(name, directory, arguments)


def _measure_size(name: str, directory: Path, arguments: argparse.Namespace) -> Iterator[Figure]:
    size, parts = SIZES[name], arguments.only or ("files", *PARTS)
    document = generate(size)
    if "files" in parts:
        _say(f"{name}: files, compile, pack")
        write_topology(document, directory / "files")
        if size.ports >= _LARGE:
            yield from measure_alone(name, directory / "files")
        else:
            yield from measure_offline(directory / "files", arguments.runs).figures(name)
    if set(parts) & set(PARTS):
        counts = arguments.runs, arguments.edits
        yield from measure_online(name, document, directory / "online", *counts, parts, arguments.profile, _say)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


main()
