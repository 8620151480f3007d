"""Random fabrics, one after another, judged by oracle and traces: `python -m tests.proof.soak`, or `make soak`.

A seed stands for a fabric and all its packets. What is found wrong is printed with its seed, after the rules that it does not need
have been taken out of the files.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from controller.config import load
from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Program
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from tests.ovs.fabric import FabricTwin
from tests.proof import fabrics, samples
from tests.proof.near import Near
from tests.proof.passage import Tracer
from tests.proof.traced import Finding, Judge

PER_FABRIC = 2000
Alter = Callable[[list[Program]], None]
_SPREAD = 1_000_003  # A prime: the chances of one packet are not those of another one of the next seed.


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one seed: how many packets were judged by how many traces, and the first disagreement, if there is one.

    Of the packets that came after an answer, `followed`, some met the rules though nothing had changed: `asked_again`.
    """

    seed: int
    packets: int
    traces: int
    followed: int
    asked_again: int
    report: str | None


def judge_fabric(seed: int, packets: int = PER_FABRIC, alter: Alter | None = None) -> Result:
    """Judge packets of the seed's fabric; `alter` may spoil the programs before."""
    with TemporaryDirectory(prefix="weft-") as directory:
        return _Run(seed, Path(directory), alter).result(packets)


class _Run:
    """One fabric on its switches."""

    def __init__(self, seed: int, directory: Path, alter: Alter | None) -> None:
        self._seed = seed
        self._folder, self._running = directory / "files", directory / "switches"
        self._running.mkdir()
        self._alter = alter
        self._topology = fabrics.write(self._folder, samples.dice(seed))

    def result(self, packets: int) -> Result:
        near = Near(samples.dice(self._seed + 1), self._topology)
        with FabricTwin(self._running, self._topology) as twin:
            judge = self._judge(twin, self._topology)
            for index in count():
                if judge.packets >= packets:
                    break
                packet = near.packet()
                finding = self._first(judge, packet, index)
                if finding is not None:
                    return self._result(judge, self._told(twin, packet, index))
        return self._result(judge, None)

    def _result(self, judge: Judge, report: str | None) -> Result:
        return Result(self._seed, judge.packets, judge.tracer.count, judge.followed, judge.asked_again, report)

    def _judge(self, twin: FabricTwin, topology: Topology) -> Judge:
        programs = compile_fabric(topology, bindings=twin.bindings)
        if self._alter is not None:
            self._alter(programs)
        tracer = Tracer(twin)
        tracer.load(programs)
        return Judge(Oracle(topology), tracer)

    def _first(self, judge: Judge, packet: Packet, index: int) -> Finding | None:
        return next(judge.disagreements(packet, samples.dice(self._seed * _SPREAD + index)), None)

    def _told(self, twin: FabricTwin, packet: Packet, index: int) -> str:
        """Take out every rule without which the packet is still judged differently, and say how it is."""
        for path in sorted((self._folder / "tenants").iterdir()):
            lines = path.read_text(encoding="utf-8").splitlines()
            rules = [number for number, line in enumerate(lines) if line.startswith("      - ")]
            waiting = [rules]
            while waiting:
                some = waiting.pop()
                # Comments in their place, so that the lines of all others stay.
                fewer = ["      #" if number in some else line for number, line in enumerate(lines)]
                path.write_text("\n".join(fewer) + "\n", encoding="utf-8")
                topology = load(self._folder).topology
                if topology and self._first(self._judge(twin, topology), packet, index) is not None:
                    lines = fewer
                elif len(some) > 1:
                    waiting += [some[: len(some) // 2], some[len(some) // 2 :]]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        topology = load(self._folder).topology
        assert topology is not None
        judge = self._judge(twin, topology)
        finding = self._first(judge, packet, index)
        assert finding is not None, "a disagreement has gone by itself"
        return f"seed {self._seed}, packet {index}: {judge.report(finding)}"


def main(arguments: list[str] | None = None) -> int:
    """Judge packets until there are enough of them, or time is up; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=1_000_000, help="how many packets, all fabrics together")
    parser.add_argument("--per-fabric", type=int, default=5 * PER_FABRIC, help="how many of them in one fabric")
    parser.add_argument("--minutes", type=float, default=30.0, help="when to end at the latest")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many fabrics at a time")
    parser.add_argument("--seed", type=int, default=0, help="the first fabric's seed")
    wanted = parser.parse_args(arguments)
    started = time.monotonic()
    packets = traces = fabrics_judged = followed = asked_again = 0
    for result in _results(wanted, started + wanted.minutes * 60):
        packets, traces, fabrics_judged = packets + result.packets, traces + result.traces, fabrics_judged + 1
        followed, asked_again = followed + result.followed, asked_again + result.asked_again
        passed = time.monotonic() - started
        print(f"seed {result.seed}: {result.packets} packets; {packets} in all, {packets / passed:.0f} a second")
        sys.stdout.flush()
        if result.report is not None:
            print(result.report)
            return 1
    passed = time.monotonic() - started
    seeds = f"seeds {wanted.seed} to {wanted.seed + fabrics_judged - 1}"
    print(
        f"{packets} packets by {traces} traces in {fabrics_judged} fabrics ({seeds}), {passed:.0f} s: no disagreement"
    )
    print(f"{asked_again} of {followed} packets in the middle of a connection met the rules again")
    return 0 if packets >= wanted.packets else 3


def _results(wanted: argparse.Namespace, deadline: float) -> Iterator[Result]:
    """Yield what came of one seed after another, several at a time, until there is enough or time is up."""
    seeds = count(wanted.seed)
    left = wanted.packets
    with ProcessPoolExecutor(wanted.processes) as pool:
        running: set[Future[Result]] = set()
        while True:
            while left > 0 and len(running) < wanted.processes and time.monotonic() < deadline:
                running.add(pool.submit(judge_fabric, next(seeds), min(left, wanted.per_fabric)))
                left -= wanted.per_fabric
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                yield each.result()


if __name__ == "__main__":
    sys.exit(main())
