"""How long a large tenant's file takes to be read again after an edit: `python -m benchmarks.reread`.

The file is that of `big-tenant`, 1,000 ports in one network. Each edit is saved, loaded the way the engine does it, taken back
and loaded again; beside it stands a load of everything, which says the same.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.topology import write_topology
from benchmarks.workload import SIZES, generate
from controller.config import Cache, Loaded, load
from controller.model.entities import Topology

EDITS = 25
Lines = list[str]


def _another_group(lines: Lines, number: int) -> None:
    place = len(lines) - 2 - 7 * number
    line = lines[place]
    lines[place] = line.replace("[app]", "[web]") if "[app]" in line else line.replace("[web]", "[app]")


def _port_more(lines: Lines, number: int) -> None:
    lines.insert(500 + number, f"  new{number}: {{network: net0, host: host1, security_groups: [web]}}")


def _port_less(lines: Lines, number: int) -> None:
    del lines[500 + number]


def _rule(lines: Lines, number: int) -> None:
    place = next(place for place, line in enumerate(lines) if "ports: 3306" in line)
    lines[place] = lines[place].replace("3306", str(4000 + number))


def _comment(lines: Lines, number: int) -> None:
    lines.insert(0, f"# {number}")


def _mistake(lines: Lines, number: int) -> None:
    lines[500 + number] = lines[500 + number].replace("network", "netwrk")


KINDS: dict[str, Callable[[Lines, int], None]] = {
    "a port has another group": _another_group,
    "a port more in the middle": _port_more,
    "a port less in the middle": _port_less,
    "a rule has another port": _rule,
    "a comment in the first line": _comment,
    "a mistake": _mistake,
}


class Folder:
    """The files, and what the engine keeps of them."""

    def __init__(self, path: Path) -> None:
        write_topology(generate(SIZES["big-tenant"]), path)
        self.path = path
        (self.file,) = (path / "tenants").iterdir()
        self.text = self.file.read_text()
        self.cache = Cache()
        self.topology: Topology | None = load(path, None, self.cache).topology

    def save(self, text: str) -> float:
        """Save the file; return the milliseconds that reading it again takes."""
        self.file.write_text(text)
        now, elapsed = _timed(lambda: load(self.path, self.topology, self.cache, {self.file}))
        self.topology = now.topology or self.topology
        return elapsed

    def load_all(self) -> float:
        """Return the milliseconds that a load of everything takes."""
        return _timed(lambda: load(self.path, self.topology))[1]


def _timed(act: Callable[[], Loaded]) -> tuple[Loaded, float]:
    since = time.perf_counter()
    return act(), (time.perf_counter() - since) * 1000


def main() -> None:
    """Print the medians of each kind of edit, of taking it back and of loading everything, and the quickest of each."""
    print(f"{'':28} {'edit':>15} {'taken back':>15} {'everything':>15}")
    for kind, make in KINDS.items():
        with TemporaryDirectory() as name:
            folder = Folder(Path(name))
            gc.collect()
            gc.freeze()
            times: list[tuple[float, float, float]] = []
            for number in range(EDITS):
                lines = folder.text.split("\n")
                make(lines, number)
                edit, everything = folder.save("\n".join(lines)), folder.load_all()
                times.append((edit, folder.save(folder.text), everything))
        columns = (f"{statistics.median(each):.1f} ({min(each):.1f})" for each in zip(*times, strict=True))
        print(f"{kind:28} " + " ".join(f"{column:>15}" for column in columns))


if __name__ == "__main__":
    main()
