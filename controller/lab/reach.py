"""Who reaches whom: every question worth asking of a lab, what the files say, and what packets say.

A question is one ordered pair of ports, one address of the target, and ICMP echo or a TCP or UDP number. The numbers are those
that a rule or test between the two names, and one that no rule of the topology names.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from controller.lab.beyond import NOTHING, OutsidePlan
from controller.lab.prober import BRIEF, EAGER, ICMP, TCP, UDP, Outcome, Probe, Prober
from controller.model.entities import Address, Port, Range, Rule, Topology
from controller.proof.oracle import ECHO, Decision, Oracle, Way
from controller.proof.policy import CLIENT_PORTS
from controller.proof.rules import Traffic

PROTOCOLS = {TCP: 6, UDP: 17}

_RANGES = 8  # So many ranges of one rule are asked about; a rule may list thousands.
_UNNAMED = 1999  # Where the search for a number that no rule names begins.


@dataclass(frozen=True, slots=True)
class Question:
    """May `source` reach `target` in this way? With what the files answer and why.

    Where it is asked `by` an address outside, or out to there, the target is to see it come from the address `seen`.
    """

    source: str
    target: str
    probe: Probe
    expected: bool
    reason: str
    by: str = ""
    seen: str = ""

    @property
    def what(self) -> str:
        """The kind of packet as people write it: `icmp`, `icmpv6`, `tcp 80`."""
        if self.probe.kind == ICMP:
            return "icmp" if self.probe.version == 4 else "icmpv6"
        return f"{self.probe.kind} {self.probe.number}" + ("" if self.probe.version == 4 else " over IPv6")


@dataclass(frozen=True, slots=True)
class Finding:
    """A question and what packets said."""

    question: Question
    observed: bool
    note: str = ""

    @property
    def is_right(self) -> bool:
        """Whether packets and files agree."""
        return self.observed == self.question.expected


def questions(topology: Topology, location: Mapping[str, str], outside: OutsidePlan = NOTHING) -> list[Question]:
    """Return all questions between the ports that are somewhere, with the oracle's answers.

    What routers outside lead to is reached by way of them as well, where the files let it in (`snat: false`).
    """
    oracle = Oracle(topology, location)
    ports = [topology.ports[name] for name in location if name in topology.ports]
    unnamed = unnamed_number(topology)
    known = {route for router in outside.routers.values() for route in router.routes}
    found: list[Question] = []
    for source in ports:
        for target in ports:
            if source is not target:
                found += _between(topology, oracle, source, target, unnamed, _is_known(topology, target, known))
    return found


def _is_known(topology: Topology, port: Port, known: Container[tuple[str, str]]) -> bool:
    """Return whether routers outside know that the way to a port's network is by its router."""
    router = next((each for each in topology.routers.values() if port.network in each.networks), None)
    cidrs = topology.networks[port.network].cidrs
    return router is not None and any((str(cidr), str(outer)) in known for cidr in cidrs for outer in router.addresses)


def _between(
    topology: Topology, oracle: Oracle, source: Port, target: Port, unnamed: int, is_known: bool
) -> Iterator[Question]:
    kinds = kinds_between(topology, source, target, {(source.name, target.name)}, unnamed)
    for address in target.ips:
        mine = [ip for ip in source.ips if ip.version == address.version]
        # A port that has the address itself would talk to itself.
        if not mine or address in source.ips:
            continue
        ways = oracle.ways(source.name, target.name, address.version, floating=is_known)
        for kind, number in kinds:
            # Linux sends from an address of the target's subnet if it has one, which the files' first address usually is.
            decision, _ = judged(oracle, ways, mine[0], address, kind, number)
            if decision is None:
                decision = Decision(False, f"{source.name} has no way to {address}", None, source.place)
            probe = Probe(source.name, str(address), kind, number)
            yield Question(source.name, target.name, probe, decision.allowed, decision.reason)


def judged(
    oracle: Oracle, ways: list[Way] | Decision, src: Address, dst: Address, kind: str, number: int
) -> tuple[Decision | None, Way | None]:
    """Return what the files say of a probe between two addresses, and the way that it takes; None if there is none."""
    if isinstance(ways, Decision):
        return ways, None
    if kind == ICMP:
        protocol, request = ECHO[dst.version]
        traffic = Traffic(dst.version, protocol, None, request, 0)
    else:
        traffic = Traffic(dst.version, PROTOCOLS[kind], number)
    way = next((way for way in ways if way.dst == dst and way.src == src), None)
    return (None, None) if way is None else (_both_ways(oracle, way, traffic), way)


def _both_ways(oracle: Oracle, way: Way, traffic: Traffic) -> Decision:
    """Return whether a question and its answer pass: who asks has seen that only by the answer."""
    asked = oracle.judge(way, traffic)
    answered = oracle.answer(way, traffic, CLIENT_PORTS) if asked.allowed else asked
    return asked if answered.allowed else answered


def kinds_between(
    topology: Topology, source: Port | None, target: Port | None, names: Container[tuple[str, str]], unnamed: int
) -> list[tuple[str, int]]:
    """Return the kinds of packet worth sending: echo, what rules of both ports name, and tests between two of these `names`."""
    found = {(kind, unnamed) for kind in PROTOCOLS}
    rules = [rule for group in (target.groups if target else ()) for rule in topology.groups[group].ingress]
    rules += [rule for group in (source.groups if source else ()) for rule in topology.groups[group].egress]
    for kind, protocol in PROTOCOLS.items():
        found |= {(kind, number) for number in _ends(rules, protocol)}
        found |= {
            (kind, test.port)
            for test in topology.tests
            if (test.source, test.target) in names and test.protocol == protocol and test.port
        }
    return [(ICMP, 0), *sorted(found)]


def _ends(rules: Iterable[Rule], protocol: int) -> Iterator[int]:
    """Yield both ends of the port ranges that rules of a protocol name."""
    for rule in rules:
        if rule.protocol == protocol:
            for ports in rule.ports[:_RANGES]:
                yield from {ports.first, ports.last} - {0}


def unnamed_number(topology: Topology) -> int:
    """Return a number that no rule of the topology names."""
    groups = topology.groups.values()
    ranges: set[Range] = {
        ports
        for group in groups
        for rule in (*group.ingress, *group.egress)
        for ports in rule.ports
        if len(ports) < 65535
    }
    return next((number for number in range(_UNNAMED, 65536) if not any(number in ports for ports in ranges)), _UNNAMED)


def observe(
    asked: Sequence[Question], namespaces: Mapping[str, str], progress: Callable[[int, int], None] = lambda _, __: None
) -> list[Finding]:
    """Send the packets and return the findings in the order of the questions; `progress` hears (done, all).

    What should arrive is sent first, with patience; by the time that silence is waited for, every neighbour is known, so
    that a short silence means something.
    """
    probes: dict[Probe, bool] = {}
    listens: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for question in asked:
        probe = question.probe
        probes[probe] = probes.get(probe, False) or question.expected
        listens.setdefault((question.source, probe.version), set())
        served = listens.setdefault((question.target, probe.version), set())
        if probe.kind != ICMP:
            served.add((probe.kind, probe.number))
    outcomes: dict[Probe, Outcome] = {}
    occupied: set[tuple[str, str, int]] = set()
    with Prober(namespaces) as prober:
        for (port, version), numbers in listens.items():
            occupied |= {(port, *taken) for taken in prober.attend(port, version, sorted(numbers))}
        for pace, wanted in ((EAGER, True), (BRIEF, False)):
            batch = [probe for probe, expected in probes.items() if expected is wanted]
            found = prober.ask(batch, pace, partial(_advance, progress, len(outcomes), len(probes)))
            outcomes |= dict(zip(batch, found, strict=True))
    return [_finding(question, outcomes[question.probe], occupied) for question in asked]


def _advance(progress: Callable[[int, int], None], before: int, everything: int, done: int) -> None:
    progress(before + done, everything)


def _finding(question: Question, outcome: Outcome, occupied: set[tuple[str, str, int]]) -> Finding:
    probe, target = question.probe, question.target
    if (target, probe.kind, probe.number) in occupied:
        note = f"{target} runs a server of its own on {probe.kind} {probe.number}, so nothing can be said"
        return Finding(question, question.expected, note)
    if outcome.is_from(target):
        came = ip_address(outcome.senders[target]) if question.seen else None
        if question.expected and came is not None and came != ip_address(question.seen):
            return Finding(question, observed=False, note=f"arrived as {came}, which should be {question.seen}")
        return Finding(question, observed=True)
    arrived = target in outcome.reached
    # What must not arrive has failed when it arrives; what must work needs its answer as well.
    return Finding(question, arrived and not question.expected, "arrived, but no answer came back" if arrived else "")
