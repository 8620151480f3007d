"""Clocks, what the kernel says of a process, and what is worth knowing of the machine."""

from __future__ import annotations

import gc
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

_TICKS = os.sysconf("SC_CLK_TCK")
_KIB_PER_MIB = 1024


@dataclass(frozen=True, slots=True)
class Timing:
    """What repeated runs of one thing took.

    Others may use the machine meanwhile, so the best run says most about the thing itself, and the median what to expect.
    """

    best_s: float
    median_s: float
    p99_s: float
    runs_s: tuple[float, ...]

    @staticmethod
    def of(seconds: Iterable[float]) -> Timing:
        """Return the timing of runs that took so long; there must be one at least."""
        runs = tuple(round(run, 6) for run in seconds)
        return Timing(min(runs), round(statistics.median(runs), 6), percentile(runs, 99), runs)


def percentile(values: Iterable[float], percent: int) -> float:
    """Return the smallest of the values that so many percent of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def timed(runs: int, prepare: Callable[[], Given], work: Callable[[Given], Made]) -> tuple[Timing, Made]:
    """Prepare and do the work several times; return how long the work alone took, and what it made the last time."""
    seconds = []
    for _ in range(runs):
        given = prepare()
        # What was left behind earlier is not this run's to collect.
        gc.collect()
        start = time.perf_counter()
        made = work(given)
        seconds.append(time.perf_counter() - start)
    return Timing.of(seconds), made


def by_turns(first: Given, second: Given, pairs: int, seconds: float = math.inf) -> Iterator[Given]:
    """Yield two things so often each, in an order in which what drifts steadily favours neither; begin no pair after so many seconds.

    >>> " ".join(by_turns("A", "B", 3))
    'A B B A A B'
    """
    deadline = time.monotonic() + seconds
    for number in range(pairs):
        if number and time.monotonic() > deadline:
            return
        yield from (first, second) if number % 2 == 0 else (second, first)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    cpu_s: float
    peak_mib: float


def usage(pid: int) -> Usage:
    """Return the CPU time (all threads) and the greatest resident memory of a running process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, round(peak / _KIB_PER_MIB, 1))


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the figures come from. `load` is the load average when the benchmarks began: above 0, others were at work."""

    processor: str
    cores: int
    memory_mib: int
    kernel: str
    system: str
    open_vswitch: str
    python: str
    os_ken: str
    load: float
    when: str


def this_machine() -> Machine:
    """Return the facts of this machine."""
    banner = subprocess.run(["ovs-vswitchd", "--version"], capture_output=True, text=True, check=True).stdout
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=pages >> 20,
        kernel=platform.release(),
        system=platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        open_vswitch=banner.splitlines()[0].split()[-1],
        python=platform.python_version(),
        os_ken=version("os-ken"),
        load=round(os.getloadavg()[0], 2),
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
