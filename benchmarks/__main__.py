"""`python -m benchmarks [SIZE...]`: measure, print a table, write `build/bench.json`.

Needs root and Open vSwitch's programs, unless `--offline`. Everything that is made for it (namespaces, switches, files) is gone
at the end, also after an error or Ctrl-C.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import this_machine
from benchmarks.offline import measure_offline
from benchmarks.online import measure_online
from benchmarks.report import Result, print_results, write_json
from benchmarks.topology import write_topology
from benchmarks.workload import SIZES, generate

_DEFAULT = ("200", "1000")
_HOSTS_ONLINE = 8  # More daemons than this measure the machine, not the controller.


def main() -> None:
    """Measure the sizes that the command line names."""
    arguments = _arguments()
    machine = this_machine()
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as base:
        results = [
            _measure(name, Path(base) / name, arguments.runs, arguments.offline) for name in arguments.sizes or _DEFAULT
        ]
    print_results(results, machine)
    write_json(results, machine, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]), arguments.output)
    print(f"\nall runs: {arguments.output}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="How fast Weft is, against real switches."
    )
    parser.add_argument("sizes", nargs="*", type=_size, metavar="SIZE", help=f"{', '.join(SIZES)}")
    parser.add_argument("--runs", type=int, default=5, help="of each measurement (default: %(default)s)")
    parser.add_argument("--offline", action="store_true", help="no switches: read, compile and pack only")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"), help="(default: %(default)s)")
    return parser.parse_args()


def _size(name: str) -> str:
    if name not in SIZES:
        raise argparse.ArgumentTypeError(f"no workload {name!r}; there are {', '.join(SIZES)}")
    return name


def _measure(name: str, directory: Path, runs: int, is_offline: bool) -> Result:
    size = SIZES[name]
    document = generate(size)
    write_topology(document, directory / "files")
    _say(f"{name}: files, compile, pack")
    offline = measure_offline(directory / "files", runs)
    if is_offline or size.hosts > _HOSTS_ONLINE:
        return Result(name, size, offline, None)
    _say(f"{name}: {size.hosts} hosts, {size.ports} ports, real switches")
    return Result(name, size, offline, measure_online(document, directory / "online", runs))


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


main()
