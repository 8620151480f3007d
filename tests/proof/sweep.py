"""All lies about a fabric's flows, each told and looked for: `python -m tests.proof.sweep`, or `make sweep`.

A lie is looked for among the conversations in which a table then does something else: by traces, which are quick, and then by packets that
are sent, because the trackers' own doing shows there alone. What is not found must be shown to be no lie (`tests.proof.alike`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from controller.pipeline.compile import compile_fabric
from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Flow, Program
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from controller.wire import pack
from controller.wire.message import MessageType
from tests.ovs.fabric import FabricTwin
from tests.ovs.tracing import UnknownAction
from tests.proof.aim import Aim, Conversation
from tests.proof.alike import NEVER, Alike
from tests.proof.borders import border_packets, hellos
from tests.proof.compare import disagreement
from tests.proof.cubes import Cube, of_match
from tests.proof.lengths import lengths_disagree
from tests.proof.lookup import conjunctions
from tests.proof.meetings import Meetings, does_something
from tests.proof.mutants import Mutant, all_mutants
from tests.proof.passage import Tracer
from tests.proof.pieces import pieces_disagree
from tests.proof.reach import reach_of
from tests.proof.samples import dice
from tests.proof.stories import story
from tests.proof.strangers import Stranger, strangers
from tests.proof.tailor import Tailor, beside
from tests.proof.thorough import Thorough
from tests.wire.test_against_ovs import Wire

_ABOUT_FIELDS = ("without ", "another ", "looser ", "tighter ", "sets another ", "does not move ", "keeps no ")
_AT_ONCE = 2000  # So many further conversations are judged where those before do not suffice.
_FEW, _AIMED = 8, 40  # So many are, where it is known which may.
_FIRST, _TRACED, _SENT = 20, 60, 4  # How many of the conversations that a lie reaches it is looked for in at once.
_CUBES = 30  # How many of the sets of packets that a lie tells apart are aimed at.
_EVERY = 100  # After so many looks for lies it is said how far it is.
_TYPE = BY_NAME["eth_type"].index


@dataclass(slots=True)
class Score:
    """What came of the lies: how many were found by what, those that cannot be by reason, and those that nobody noticed."""

    found: Counter[str] = field(default_factory=Counter)
    equivalent: Counter[str] = field(default_factory=Counter)
    missed: list[Mutant] = field(default_factory=list)  # In all conversations that may tell them apart.
    unsettled: list[Mutant] = field(default_factory=list)  # For which the time did not suffice.
    kinds: dict[str, Counter[str]] = field(default_factory=dict)  # By kind of lie: how many were found, and so on.

    def note(self, lie: Mutant, end: str) -> None:
        """Count a lie among those of its kind."""
        kind = next((start.strip() for start in _ABOUT_FIELDS if lie.lie.startswith(start)), lie.lie)
        self.kinds.setdefault(kind, Counter())[end] += 1

    def is_none(self, lie: Mutant, reason: str | None) -> bool:
        """Count what is no lie, for a reason; return whether there is one."""
        if reason is not None:
            self.equivalent[reason] += 1
            self.note(lie, "cannot be noticed")
        return reason is not None

    def counted(self) -> str:
        """Return the numbers alone."""
        found, equivalent, missed = self.found.total(), self.equivalent.total(), len(self.missed)
        return f"{found} found, {equivalent} cannot be noticed, {missed} not noticed, {len(self.unsettled)} unsettled"

    def __str__(self) -> str:
        told = self.found.total() + self.equivalent.total() + len(self.missed) + len(self.unsettled)
        lines = [f"{told} lies: {self.counted()}"]
        lines += [f"  found: {_counts(self.found)}"]
        lines += [f"  cannot be noticed: {count:5}, {reason}" for reason, count in self.equivalent.most_common()]
        lines += ["by kind of lie:"] if self.kinds else []
        lines += [f"  {kind}: {_counts(ends)}" for kind, ends in sorted(self.kinds.items())]
        lines += [f"not noticed: {each}" for each in self.missed]
        return "\n".join([*lines, *(f"unsettled: {each}" for each in self.unsettled)])


@dataclass(slots=True)
class _Hunt:
    """A lie that is looked for: in which conversations it has been, and whom it tells apart."""

    lie: Mutant
    tried: set[int] = field(default_factory=set)
    is_asked: bool = False  # Whether it is known that it can be noticed at all.
    cubes: list[Cube] = field(default_factory=list)
    is_tailored: bool = False  # Whether conversations have been made for it.
    is_at_end: bool = False  # Whether no conversation is left that may tell it apart.
    is_settled: bool = False


class Sweep:
    """A running story with the conversations at its borders, or as many of them as are wanted at first, and who meets which flow."""

    def __init__(self, directory: Path, wanted: int | None = None) -> None:
        self._topology = story()
        self._wanted = wanted
        self._twin = FabricTwin(directory, self._topology)
        self._oracle = Oracle(self._topology)
        self.programs: list[Program] = []
        self.wrong: list[str] = []
        self.conversations: list[Conversation] = []
        self._useless: set[int] = set()
        self._waiting = Aim(())
        self._trails: list[tuple[int, ...]] = []  # By conversation: what it leaves behind.
        self._alike: dict[str, Alike] = {}
        self._tailors: dict[str, Tailor] = {}

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
        """Judge conversations with the flows as they are, and note whom they meet."""
        self.programs = compile_fabric(self._topology, bindings=self._twin.bindings)
        self._tracer = Tracer(self._twin)
        self._tracer.load(self.programs)
        self._judge = Thorough(self._oracle, self._tracer)
        self.meetings = Meetings(self._tracer, self.programs)
        packets = list(dict.fromkeys(border_packets(self._topology)))
        for packet in packets:
            self._judge.learn(packet)
        waiting: list[Conversation] = [*strangers(self._tracer, list(hellos(self._topology))), *packets]
        dice(0).shuffle(waiting)
        self._waiting = Aim(waiting)
        self.more(self._wanted)

    def more(self, count: int | None = None) -> bool:
        """Judge so many further conversations, or all, with the flows as they are; return whether there were any."""
        return self._judged(self._waiting.take(self._waiting.first(count)))

    def _judged(self, conversations: Iterable[Conversation]) -> bool:
        before_all = len(self.conversations)
        for each in conversations:
            self._judge.watch = partial(self.meetings.note, number=len(self.conversations))
            before = self._judge.trail
            if wrong := list(map(self._judge.report, self._judge.judge(each))):
                self._useless.add(len(self.conversations))  # Whoever disagrees without a lie finds none.
            self.wrong += wrong
            self._trails.append(_since(before, self._judge.trail))
            self.conversations.append(each)
        self._judge.watch = None
        return len(self.conversations) > before_all

    def judge(self, lies: Iterable[Mutant], deadline: float, say: Callable[[str], None] = lambda _: None) -> Score:
        """Tell all lies until time is up; return who was found out.

        Each is looked for in the conversations that may tell it apart, in turns, and what is left then in all others. It is said
        now and then how far it is.
        """
        score, visits = Score(), 0
        waiting = [_Hunt(lie) for lie in lies]
        while waiting and time.monotonic() <= deadline:
            for hunt in waiting:
                if not hunt.is_at_end and time.monotonic() <= deadline:
                    hunt.is_settled = self._is_settled(hunt, score)
                visits += 1
                if visits % _EVERY == 0:
                    say(f"{len(waiting)} lies in this turn: {score.counted()}; {len(self.conversations)} conversations")
            waiting = [hunt for hunt in waiting if not hunt.is_settled]
            if waiting and all(hunt.is_at_end for hunt in waiting):
                if time.monotonic() > deadline or not self.more(_AT_ONCE):
                    break
                for hunt in waiting:
                    hunt.is_at_end = not self._untried(hunt)
        for hunt in waiting:
            # What nobody has met yet may well be met by others, as long as there are any.
            is_missed = hunt.is_at_end and not self._untried(hunt) and (hunt.tried or not self._waiting)
            (score.missed if is_missed else score.unsettled).append(hunt.lie)
            score.note(hunt.lie, "not noticed" if is_missed else "unsettled")
        return score

    def _is_settled(self, hunt: _Hunt, score: Score) -> bool:
        """Return whether a lie is found in some conversations that it has not been tried in, or cannot be, and note that."""
        found = self._found(hunt, _FIRST)
        if found is None and not hunt.tried and not hunt.is_asked and not any(map(does_something, hunt.lie.told)):
            # Whoever meets the flow at all is likely to miss it.
            self._aim(hunt, [of_match(hunt.lie.original.match)], _FEW)
            found = self._found(hunt, _FIRST)
        if found is None and not hunt.is_asked:
            hunt.is_asked = True
            if score.is_none(hunt.lie, self._reason(hunt.lie)):
                return True
            hunt.cubes = self._told_apart(hunt.lie)
        if found is None:
            found = self._found(hunt, _TRACED)
        if found is None and not self._untried(hunt):
            hunt.is_at_end = not self._aim(hunt, hunt.cubes, _AIMED) and not self._tailor(hunt)
            found = self._found(hunt, _TRACED)
            # Before all the others are asked a longer look is taken at what can come.
            if found is None and hunt.is_at_end and score.is_none(hunt.lie, self._longer(hunt.lie)):
                return True
        if found is not None:
            score.found[found] += 1
            score.note(hunt.lie, "found")
        return found is not None

    def _aim(self, hunt: _Hunt, cubes: list[Cube], count: int) -> bool:
        """Judge some conversations in which such packets may come to the lie's table; return whether there were any."""
        self._waiting.learn(self.meetings, self.conversations)
        return self._judged(self._waiting.take(self._waiting.at(hunt.lie.program.host, cubes, count)))

    def _tailor(self, hunt: _Hunt) -> bool:
        """Judge some conversations that are made to come to the lie's table as what it tells apart; return whether there were any."""
        if hunt.is_tailored:
            return False
        hunt.is_tailored = True
        host = hunt.lie.program.host
        if host not in self._tailors:
            flows = (flow for program in self.programs if program.host == host for flow in program.flows.values())
            ports = self._topology.ports
            self._tailors[host] = Tailor(flows, lambda name: ports[name].port_security)
        mets = list(self.meetings.at(hunt.lie.place))
        cubes = [*beside(hunt.lie, hunt.cubes), *hunt.cubes]
        made = self._tailors[host].tailored(cubes, mets, self.conversations)
        return self._judged(list(islice(made, _AIMED)))

    def _untried(self, hunt: _Hunt) -> list[int]:
        """Return the conversations that a lie reaches and that it has not been tried in."""
        tried = hunt.tried | self._useless
        return [each for each in self.meetings.reached(hunt.lie, dice(0), self._shape) if each not in tried]

    def _told_apart(self, lie: Mutant) -> list[Cube]:
        """Return some sets of packets that a lie tells apart; of rules in parts, what the flow asks for."""
        if any(conjunctions(flow) for flow in (*lie.gone, *lie.told)):
            return [of_match(flow.match) for flow in (*lie.gone, *lie.told)]
        differences = self.likeness(lie.program.host).differences(lie, self.meetings.tables[lie.place].flows)
        return [cube for _, _, cube in islice(differences, _CUBES)]

    def _shape(self, number: int) -> Hashable:
        """Return what tells conversations roughly apart."""
        conversation = self.conversations[number]
        if isinstance(conversation, Stranger):
            return conversation.way
        kind = conversation.protocol, conversation.dport, conversation.icmp_type, conversation.arp_op
        return (conversation.eth_type, *kind)

    def likeness(self, host: str) -> Alike:
        """Return the judge of what cannot be noticed about a host's flows."""
        if host not in self._alike:
            programs = [program for program in self.programs if program.host == host]
            self._alike[host] = Alike(reach_of(self._tracer, host, programs))
        return self._alike[host]

    def _reason(self, lie: Mutant) -> str | None:
        """Return why nobody can notice the lie, None if somebody may."""
        return self.likeness(lie.program.host).reason(lie, self.meetings.tables[lie.place].flows)

    def _longer(self, lie: Mutant) -> str | None:
        """Return the same, if what the lie tells apart cannot come to its table as far as a longer look shows."""
        likeness = self.likeness(lie.program.host)
        return NEVER if likeness.cannot_come(lie, self.meetings.tables[lie.place].flows) else None

    def _found(self, hunt: _Hunt, count: int) -> str | None:
        """Return what notices the lie in so many further conversations, None if nothing does."""
        lie, reached = hunt.lie, self._untried(hunt)[:count]
        if not reached:
            return None
        hunt.tried.update(reached)
        control = self._twin.hosts[lie.program.host].control
        try:
            # What of a bundle the switch cannot read it leaves out, and commits the rest.
            if self._change(lie.program, lie.gone, lie.told):
                return "by the switch"
            found = next(filter(None, map(self._traced, reached)), None)
            if found is not None:
                return found
            control.call("revalidator/purge")
            packets = [each for number in reached if isinstance(each := self.conversations[number], Packet)]
            if any(map(self._is_sent_wrong, packets[:_SENT])) or any(map(self._is_shaped_wrong, packets)):
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
            return None if _since(before, self._judge.trail) == self._trails[number] else "by what is left behind"
        except (AssertionError, KeyError, UnknownAction):  # A loop between hosts, a VTEP that nobody has.
            return "by traces"

    def _is_sent_wrong(self, packet: Packet) -> bool:
        try:
            return self.sent_wrong(packet) is not None
        except (AssertionError, KeyError, ValueError):  # Likewise.
            return True

    def _is_shaped_wrong(self, packet: Packet) -> bool:
        """Whether it shows when the packet comes in pieces, or long."""
        try:
            return any(judge(self._oracle, self._twin, packet) for judge in (pieces_disagree, lengths_disagree))
        except (AssertionError, KeyError, ValueError):  # Likewise.
            return True

    def sent_wrong(self, packet: Packet) -> str | None:
        """Send a packet, and return how oracle and switches disagree about it, or None."""
        return disagreement(self._oracle, self._twin, packet)

    def _change(self, program: Program, gone: Iterable[Flow], told: Iterable[Flow]) -> list[str]:
        """Let a switch have some flows instead of others; return the names of the errors."""
        bodies = [pack.flow_delete(flow.table, flow.priority, pack.match_bytes(flow.match)) for flow in gone]
        bodies += [self._tracer.cookie(flow).to_bytes(8, "big") + pack.flow_add(flow)[8:] for flow in told]
        # A connection that is kept would be cut off while the lies are about other bridges: switches ask who is still there.
        path = self._twin.hosts[program.host].directory / f"{program.bridge}.mgmt"
        with closing(Wire(path)) as wire:
            return wire.bundle(*((MessageType.FLOW_MOD, body) for body in bodies))


def _since(before: tuple[int, ...], now: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(then - first for first, then in zip(before, now, strict=True))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common()) or "none was told"


def _part(text: str) -> tuple[int, int]:
    """Return which part is meant, of how many."""
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text} is no part, as 3/8 is")
    return int(part), int(parts)


def main(arguments: list[str] | None = None) -> int:
    """Tell all lies, or those that time is left for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="when to end at the latest")
    parser.add_argument("--seed", type=int, default=0, help="in which order the lies are told")
    parser.add_argument(
        "--part", type=_part, default=(1, 1), metavar="K/N", help="tell every Nth lie alone, from the Kth on"
    )
    parser.add_argument("--named", type=Path, help="tell only the lies that a run before has printed into this file")
    wanted = parser.parse_args(arguments)
    deadline = time.monotonic() + wanted.minutes * 60
    with TemporaryDirectory(prefix="weft-") as directory, Sweep(Path(directory), _AT_ONCE) as sweep:
        lies = list(all_mutants(sweep.programs))
        flows = sum(len(program.flows) for program in sweep.programs)
        print(f"{len(lies)} lies about {flows} flows", flush=True)
        if wanted.named is not None:
            named = set(wanted.named.read_text(encoding="utf-8").splitlines())
            lies = [lie for lie in lies if any(f"{start}{lie}" in named for start in ("not noticed: ", "unsettled: "))]
        dice(wanted.seed).shuffle(lies)
        first, parts = wanted.part
        lies = lies[first - 1 :: parts]
        score = sweep.judge(lies, deadline, partial(print, file=sys.stderr, flush=True))
    for wrong in sweep.wrong:
        print(wrong)
    print(score)
    return 1 if score.missed or sweep.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
