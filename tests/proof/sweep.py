"""All lies about a fabric's flows, each told and looked for: `python -m tests.proof.sweep`, or `make sweep`.

A lie is looked for among the packets that meet the flow, or its table, when all is well: by traces, which are quick, and then by
packets that are sent, because the trackers' own doing shows there alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Flow, Program
from controller.pipeline.text import raw_text
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from tests.ovs.fabric import FabricTwin
from tests.ovs.tracing import UnknownAction
from tests.proof.compare import disagreement
from tests.proof.meetings import Meetings
from tests.proof.mutants import Mutant, all_mutants, explanation, is_loss
from tests.proof.passage import Tracer
from tests.proof.samples import dice
from tests.proof.stories import border_packets, story
from tests.proof.traced import Judge

_TRACED, _SENT = 60, 4  # How many of the conversations that a lie reaches it is looked for in, at most.


@dataclass(slots=True)
class Score:
    """What came of the lies: how many were found by what, those that cannot be by reason, and those that nobody noticed."""

    found: Counter[str] = field(default_factory=Counter)
    equivalent: Counter[str] = field(default_factory=Counter)
    unnoticed: list[Mutant] = field(default_factory=list)

    def __str__(self) -> str:
        found = self.found.total()
        lines = [f"{found} of {found + len(self.unnoticed)} lies found ({_counts(self.found)})"]
        lines += [f"{self.equivalent.total()} cannot be noticed:"] if self.equivalent else []
        lines += [f"  {count:5} {reason}" for reason, count in self.equivalent.most_common()]
        return "\n".join([*lines, *(f"unnoticed: {each}" for each in self.unnoticed)])


class Sweep:
    """A running story with the packets at its borders, or as many of them as are wanted, and who of them meets which flow."""

    def __init__(self, directory: Path, packets: int | None = None) -> None:
        self._topology = story()
        self._wanted = packets
        self._twin = FabricTwin(directory, self._topology)
        self._oracle = Oracle(self._topology)
        self.packets: list[Packet] = []
        self.programs: list[Program] = []
        self.wrong: list[str] = []
        self._asked_again: list[int] = []  # By packet: how often its conversation meets the rules in the middle.

    def __enter__(self) -> Self:
        self._twin.__enter__()
        try:
            self._begin()
        except BaseException:
            self._twin.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._twin.__exit__(kind, error, trace)

    def _begin(self) -> None:
        """Judge every packet with the flows as they are, and note whom it meets."""
        self.programs = compile_fabric(self._topology, bindings=self._twin.bindings)
        self._tracer = Tracer(self._twin)
        self._tracer.load(self.programs)
        self._judge = Judge(self._oracle, self._tracer)
        self._meetings = Meetings(self._tracer)
        self.packets = list(border_packets(self._topology))
        dice(0).shuffle(self.packets)
        del self.packets[self._wanted :]
        for number, packet in enumerate(self.packets):
            self._judge.watch = partial(self._meetings.note, number=number)
            before = self._judge.asked_again
            self.wrong += map(self._judge.report, self._judge.disagreements(packet))
            self._asked_again.append(self._judge.asked_again - before)
        self._judge.watch = None

    @property
    def unmet(self) -> Iterator[tuple[Program, Flow]]:
        """The flows that no packet met. Parts of a conjunction are among them: traces do not name those."""
        for program in self.programs:
            for flow in program.flows.values():
                if not self._meetings.has_met(flow):
                    yield program, flow

    def judge(self, lies: Iterable[Mutant], deadline: float) -> Score:
        """Tell one lie after another until time is up, and return who was found out."""
        score = Score()
        for lie in lies:
            if time.monotonic() > deadline:
                break
            found = self._found(lie)
            reason = None if found else self._reason(lie)
            if found is not None:
                score.found[found] += 1
            elif reason is not None:
                score.equivalent[reason] += 1
            else:
                score.unnoticed.append(lie)
        return score

    def _reason(self, lie: Mutant) -> str | None:
        """Return why nobody noticed the lie, None if somebody should have."""
        if next(self._meetings.reached(lie, dice(0)), None) is None:
            return "no packet of the story comes there"
        if is_loss(lie) and not self._meetings.has_passed(lie.original):
            return "all packets of the story that meet it are refused elsewhere"
        return explanation(lie)

    def _found(self, lie: Mutant) -> str | None:
        """Return what notices the lie, None if nothing does."""
        reached = list(self._meetings.reached(lie, dice(0)))
        try:
            self._tell(lie)
        except AssertionError:
            return "by the switch"
        try:
            if any(self._is_traced_wrong(number) for number in reached[:_TRACED]):
                return "by traces"
            if any(self._is_sent_wrong(self.packets[number]) for number in reached[:_SENT]):
                return "by packets"
        finally:
            self._take_back(lie)
        return None

    def _is_traced_wrong(self, number: int) -> bool:
        """Return whether a conversation ends elsewhere, or meets the rules more often than when all is well."""
        before = self._judge.asked_again
        try:
            wrong = next(self._judge.disagreements(self.packets[number]), None)
            return wrong is not None or self._judge.asked_again - before != self._asked_again[number]
        except (AssertionError, KeyError, UnknownAction):  # A loop between hosts, a VTEP that nobody has.
            return True

    def _is_sent_wrong(self, packet: Packet) -> bool:
        try:
            return self.sent_wrong(packet) is not None
        except (AssertionError, KeyError, ValueError):  # Likewise.
            return True

    def sent_wrong(self, packet: Packet) -> str | None:
        """Send a packet, and return how oracle and switches disagree about it, or None."""
        return disagreement(self._oracle, self._twin, packet)

    def _tell(self, lie: Mutant) -> None:
        lines = [f"flow delete_strict {_identity(lie.original)}"]
        if lie.flow is not None:
            lines.append(f"flow add {raw_text(lie.flow, cookie=self._tracer.cookie(lie.flow))}")
        self._twin.hosts[lie.program.host].install(lie.program.bridge, lines)

    def _take_back(self, lie: Mutant) -> None:
        lines = [] if lie.flow is None else [f"flow delete_strict {_identity(lie.flow)}"]
        lines.append(f"flow add {raw_text(lie.original, cookie=self._tracer.cookie(lie.original))}")
        self._twin.hosts[lie.program.host].install(lie.program.bridge, lines)


def _identity(flow: Flow) -> str:
    return raw_text(flow).partition(",actions=")[0]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common()) or "none was told"


def main(arguments: list[str] | None = None) -> int:
    """Tell all lies, or those that time is left for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="when to end at the latest")
    parser.add_argument("--seed", type=int, default=0, help="in which order the lies are told")
    wanted = parser.parse_args(arguments)
    deadline = time.monotonic() + wanted.minutes * 60
    with TemporaryDirectory(prefix="weft-") as directory, Sweep(Path(directory)) as sweep:
        lies = list(all_mutants(sweep.programs))
        dice(wanted.seed).shuffle(lies)
        print(f"{len(sweep.packets)} packets, {len(lies)} lies about {sum(len(p.flows) for p in sweep.programs)} flows")
        score = sweep.judge(lies, deadline)
    print(score)
    return 1 if score.unnoticed or sweep.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
