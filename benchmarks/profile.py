"""What a running controller spends its time on: a sampling profile, taken from outside while it works."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_SAMPLES_PER_S = 200
_PATIENCE_S = 30.0
_SHOWN = 30


@contextlib.contextmanager
def profiled(pid: int, path: Path | None) -> Iterator[None]:
    """Sample a process for the length of the block; write its stacks, and what they come to, to a file.

    Each line of the file is a stack and how often it was met, as flame graphs are made from, after a head of comments: the
    functions with the share of samples in which they were running, or had called what was. None for no profile.
    """
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only threads that hold the interpreter are at work; those that wait would hide them.
    options = ("--gil", "--function", "--nonblocking", "--rate", str(_SAMPLES_PER_S), "--format", "raw")
    sampler = subprocess.Popen(
        [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), *options, "--output", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        sampler.send_signal(signal.SIGINT)
        sampler.wait(_PATIENCE_S)
    stacks = path.read_text(encoding="utf-8")
    path.write_text("".join(f"# {line}\n" for line in summary(stacks)) + stacks, encoding="utf-8")


def summary(stacks: str) -> Iterator[str]:
    r"""Yield the functions that most samples pass through, each with its share and that of samples that end in it.

    >>> list(summary("run;load 3\nrun;pack 1\n"))
    ['of 4 samples: in or below, itself', ' 100 %    0 %  run', '  75 %   75 %  load', '  25 %   25 %  pack']
    """
    below: Counter[str] = Counter()
    itself: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, times = line.rpartition(" ")
        functions = stack.split(";")
        itself[functions[-1]] += int(times)
        for function in set(functions):
            below[function] += int(times)
    total = sum(itself.values())
    yield f"of {total} samples: in or below, itself"
    for function, count in sorted(below.items(), key=lambda entry: (-entry[1], entry[0]))[:_SHOWN]:
        yield f"{100 * count / total:4.0f} % {100 * itself[function] / total:4.0f} %  {function}"
