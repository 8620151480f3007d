"""All lies about a fabric's flows, each told and looked for: `python -m tests.proof.sweep`, or `make sweep`.

A lie is looked for among the conversations in which a table then does something else: by traces, which are quick, and then by packets that
are sent, because the trackers' own doing shows there alone. What is not found must be shown to be no lie (`tests.proof.alike`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Flow, Program
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from controller.wire import pack
from controller.wire.message import MessageType
from tests.ovs.fabric import FabricTwin
from tests.ovs.tracing import UnknownAction
from tests.proof.alike import Alike
from tests.proof.borders import border_packets, hellos
from tests.proof.compare import disagreement
from tests.proof.cubes import agrees
from tests.proof.meetings import Meetings
from tests.proof.mutants import Mutant, all_mutants
from tests.proof.passage import Tracer
from tests.proof.pieces import pieces_disagree
from tests.proof.reach import reach_of
from tests.proof.samples import dice
from tests.proof.stories import story
from tests.proof.strangers import Stranger, strangers
from tests.proof.thorough import Thorough
from tests.wire.test_against_ovs import Wire

_ABOUT_FIELDS = ("without ", "another ", "looser ", "tighter ", "sets another ", "does not move ", "keeps no ")
_AT_ONCE = 2000  # So many further conversations are judged where those before do not suffice.
_TRACED, _SENT = 150, 4  # How many of the conversations that a lie reaches it is looked for in, at most.


@dataclass(slots=True)
class Score:
    """What came of the lies: how many were found by what, those that cannot be by reason, and those that nobody noticed."""

    found: Counter[str] = field(default_factory=Counter)
    equivalent: Counter[str] = field(default_factory=Counter)
    unnoticed: list[Mutant] = field(default_factory=list)
    unmet: list[Mutant] = field(default_factory=list)  # No packet of the story is told apart by it.
    undecided: int = 0  # For which the time did not suffice.
    kinds: dict[str, Counter[str]] = field(default_factory=dict)  # By kind of lie: how many were found, and so on.

    @property
    def missed(self) -> list[Mutant]:
        """The lies that somebody may notice and nobody did."""
        return [*self.unnoticed, *self.unmet]

    def note(self, lie: Mutant, end: str) -> None:
        """Count a lie among those of its kind."""
        kind = next((start.strip() for start in _ABOUT_FIELDS if lie.lie.startswith(start)), lie.lie)
        self.kinds.setdefault(kind, Counter())[end] += 1

    def __str__(self) -> str:
        found, equivalent = self.found.total(), self.equivalent.total()
        share = found / max(1, found + len(self.missed))
        lines = [f"{found} of {found + len(self.missed)} lies found, {share:.1%} ({_counts(self.found)})"]
        lines += [f"{equivalent} more cannot be noticed:"] if equivalent else []
        lines += [f"  {count:5} {reason}" for reason, count in self.equivalent.most_common()]
        lines += [f"{self.undecided} were not settled in time"] if self.undecided else []
        lines += ["by kind of lie:"] if self.kinds else []
        lines += [f"  {kind}: {_counts(ends)}" for kind, ends in sorted(self.kinds.items())]
        lines += [f"unnoticed: {each}" for each in self.unnoticed]
        return "\n".join([*lines, *(f"not met: {each}" for each in self.unmet)])


class Sweep:
    """A running story with the conversations at its borders, or as many of them as are wanted at first, and who meets which flow."""

    def __init__(self, directory: Path, wanted: int | None = None) -> None:
        self._topology = story()
        self._wanted = wanted
        self._twin = FabricTwin(directory, self._topology)
        self._oracle = Oracle(self._topology)
        self.programs: list[Program] = []
        self.wrong: list[str] = []
        self.conversations: list[Packet | Stranger] = []
        self._waiting: list[Packet | Stranger] = []
        self._trails: list[tuple[int, ...]] = []  # By conversation: what it leaves behind.
        self._alike: dict[str, Alike] = {}
        self._wires: dict[tuple[str, str], Wire] = {}

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
        for wire in self._wires.values():
            wire.close()
        self._twin.__exit__(kind, error, trace)

    def _begin(self) -> None:
        """Judge conversations with the flows as they are, and note whom they meet."""
        self.programs = compile_fabric(self._topology, bindings=self._twin.bindings)
        self._tracer = Tracer(self._twin)
        self._tracer.load(self.programs)
        self._judge = Thorough(self._oracle, self._tracer)
        self._meetings = Meetings(self._tracer, self.programs)
        packets = list(dict.fromkeys(border_packets(self._topology)))
        for packet in packets:
            self._judge.learn(packet)
        self._waiting = [*strangers(self._tracer, list(hellos(self._topology))), *packets]
        dice(0).shuffle(self._waiting)
        self.more(self._wanted)

    def more(self, count: int | None = None) -> bool:
        """Judge so many further conversations, or all, with the flows as they are; return whether there were any."""
        now = self._waiting[:count] if count is not None else self._waiting
        self._waiting = self._waiting[len(now) :]
        for number, each in enumerate(now, len(self.conversations)):
            self._judge.watch = partial(self._meetings.note, number=number)
            before = self._judge.trail
            self.wrong += map(self._judge.report, self._judge.judge(each))
            self._trails.append(_since(before, self._judge.trail))
            self.conversations.append(each)
        self._judge.watch = None
        return bool(now)

    def unforeseen(self) -> Iterator[str]:
        """Yield what has come to a table and is not among what can come."""
        for place, lookup in self._meetings.tables.items():
            host, bridge, table = place
            cubes = list(self._likeness(host).reach.at(bridge, table))
            for met in self._meetings.at(place):
                known = {index: met.state.get(index, 0) for index in lookup.fields}
                if not any(agrees(cube, known) for cube in cubes):
                    yield f"{met.state} at {place}"

    def judge(self, lies: Iterable[Mutant], deadline: float) -> Score:
        """Tell all lies, and those not found once more after further conversations, until time is up; return who was found out."""
        score = Score()
        waiting = [(lie, set[int]()) for lie in lies]
        is_first = True
        while waiting and time.monotonic() <= deadline:
            left: list[tuple[Mutant, set[int]]] = []
            for place, (lie, tried) in enumerate(waiting):
                if time.monotonic() > deadline:
                    left += waiting[place:]
                    break
                if not self._is_settled(lie, tried, score, is_first=is_first):
                    left.append((lie, tried))
            waiting, is_first = left, False
            if waiting and time.monotonic() <= deadline and not self.more(_AT_ONCE):
                for lie, tried in waiting:
                    (score.unnoticed if tried else score.unmet).append(lie)
                    score.note(lie, "unnoticed" if tried else "not met")
                waiting = []
        score.undecided = len(waiting)
        return score

    def _is_settled(self, lie: Mutant, tried: set[int], score: Score, *, is_first: bool) -> bool:
        """Return whether a lie is found in a conversation that it has not been tried in, or cannot be, and note that."""
        reached = [each for each in self._meetings.reached(lie, dice(0), self._shape) if each not in tried]
        found = self._found(lie, reached) if reached else None
        tried.update(reached[:_TRACED])
        if found is not None:
            score.found[found] += 1
            score.note(lie, "found")
            return True
        reason = self._reason(lie) if is_first else None
        if reason is not None:
            score.equivalent[reason] += 1
            score.note(lie, "cannot be noticed")
        return reason is not None

    def _shape(self, number: int) -> Hashable:
        """Return what tells conversations roughly apart."""
        conversation = self.conversations[number]
        if isinstance(conversation, Stranger):
            return conversation.way
        kind = conversation.protocol, conversation.dport, conversation.icmp_type, conversation.arp_op
        return (conversation.eth_type, *kind)

    def _likeness(self, host: str) -> Alike:
        if host not in self._alike:
            programs = [program for program in self.programs if program.host == host]
            self._alike[host] = Alike(reach_of(self._tracer, host, programs))
        return self._alike[host]

    def _reason(self, lie: Mutant) -> str | None:
        """Return why nobody can notice the lie, None if somebody may."""
        return self._likeness(lie.program.host).reason(lie, self._meetings.tables[lie.place].flows)

    def _found(self, lie: Mutant, reached: list[int]) -> str | None:
        """Return what notices the lie, None if nothing does."""
        control = self._twin.hosts[lie.program.host].control
        try:
            # What of a bundle the switch cannot read it leaves out, and commits the rest.
            if self._change(lie.program, lie.gone, lie.told):
                return "by the switch"
            found = next(filter(None, map(self._traced, reached[:_TRACED])), None)
            if found is not None:
                return found
            control.call("revalidator/purge")
            packets = [each for number in reached if isinstance(each := self.conversations[number], Packet)]
            if any(map(self._is_sent_wrong, packets[:_SENT])) or any(map(self._is_cut_wrong, packets[:_TRACED])):
                return "by packets"
        finally:
            self._change(lie.program, lie.told, lie.gone)
            control.call("revalidator/purge")
        return None

    def _traced(self, number: int) -> str | None:
        """Return what shows that a conversation ends elsewhere, or leaves something else behind, than when all is well."""
        before = self._judge.trail
        try:
            if next(self._judge.judge(self.conversations[number]), None) is not None:
                return "by traces"
            return None if _since(before, self._judge.trail) == self._trails[number] else "by what trackers are told"
        except (AssertionError, KeyError, UnknownAction):  # A loop between hosts, a VTEP that nobody has.
            return "by traces"

    def _is_sent_wrong(self, packet: Packet) -> bool:
        try:
            return self.sent_wrong(packet) is not None
        except (AssertionError, KeyError, ValueError):  # Likewise.
            return True

    def _is_cut_wrong(self, packet: Packet) -> bool:
        try:
            return pieces_disagree(self._oracle, self._twin, packet) is not None
        except (AssertionError, KeyError, ValueError):  # Likewise.
            return True

    def sent_wrong(self, packet: Packet) -> str | None:
        """Send a packet, and return how oracle and switches disagree about it, or None."""
        return disagreement(self._oracle, self._twin, packet)

    def _change(self, program: Program, gone: Iterable[Flow], told: Iterable[Flow]) -> list[str]:
        """Let a switch have some flows instead of others; return the names of the errors."""
        place = program.host, program.bridge
        if place not in self._wires:
            self._wires[place] = Wire(self._twin.hosts[program.host].directory / f"{program.bridge}.mgmt")
        bodies = [pack.flow_delete(flow.table, flow.priority, pack.match_bytes(flow.match)) for flow in gone]
        bodies += [self._tracer.cookie(flow).to_bytes(8, "big") + pack.flow_add(flow)[8:] for flow in told]
        return self._wires[place].bundle(*((MessageType.FLOW_MOD, body) for body in bodies))


def _since(before: tuple[int, ...], now: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(then - first for first, then in zip(before, now, strict=True))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common()) or "none was told"


def main(arguments: list[str] | None = None) -> int:
    """Tell all lies, or those that time is left for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="when to end at the latest")
    parser.add_argument("--seed", type=int, default=0, help="in which order the lies are told")
    wanted = parser.parse_args(arguments)
    deadline = time.monotonic() + wanted.minutes * 60
    with TemporaryDirectory(prefix="weft-") as directory, Sweep(Path(directory), _AT_ONCE) as sweep:
        lies = list(all_mutants(sweep.programs))
        dice(wanted.seed).shuffle(lies)
        flows = sum(len(program.flows) for program in sweep.programs)
        print(f"{len(lies)} lies about {flows} flows", flush=True)
        score = sweep.judge(lies, deadline)
    for wrong in sweep.wrong:
        print(wrong)
    print(score)
    return 1 if score.missed or sweep.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
