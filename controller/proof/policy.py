"""The tenants' own tests, evaluated by the oracle before anything is pushed.

A test that names a protocol and a port asks about one kind of packet. One that leaves something open is read strictly, so
that neither verdict can pass by accident:

| the test says | `expect: allow` holds if | `expect: deny` holds if |
|---|---|---|
| protocol and port | it passes | it does not pass |
| `icmp` or `icmpv6` | echo passes | no type of it passes |
| another protocol without ports | it passes | it does not pass |
| `tcp`, `udp`, `sctp` without a port | every port passes | no port passes |
| no protocol | ICMP echo passes, which `weft ping` sends too | nothing at all passes |

Between ports with several addresses `allow` wants one pair of addresses by which it passes, `deny` wants none. Replies of what is
allowed pass by connection tracking, so `reply: false` changes nothing here; it spares the live probe from waiting for one.

After a change only the tests are run that can have changed. A test reads the ports that it names, their groups, their networks, and
whoever is in these networks: the tenant whose test it is, the tenants whose ports it names, the owners of the networks that these ports
are in, and the tenants that these networks are shared with. If nothing of all these tenants changed, the answer is what it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from controller.model.entities import PolicyTest, Port, Topology, Verdict
from controller.model.mapping import ByTenant
from controller.proof.oracle import ECHO, Decision, Oracle, Way
from controller.proof.packet import ICMP, ICMPV6, WITH_PORTS
from controller.proof.rules import EVERY_PORT, Span, Traffic, first_closed

_VERSION = {ICMP: 4, ICMPV6: 6}


@dataclass(frozen=True, slots=True)
class Result:
    """A test, whether it holds, and the rule or the default that decides, in one sentence."""

    test: PolicyTest
    passed: bool
    explanation: str


@dataclass(frozen=True, slots=True)
class _Answers:
    """The results of one tenant's tests, and the tenants whose change may change them."""

    results: tuple[Result, ...]
    readable: frozenset[str]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the tests of a topology gave, and what the next topology's run needs to run few of them."""

    answers: Mapping[str, _Answers]  # By the tenant whose tests they are, in the files' order.

    @property
    def results(self) -> list[Result]:
        """The results of all tests in the files' order."""
        return [result for each in self.answers.values() for result in each.results]


def run_tests(topology: Topology, location: Mapping[str, str] | None = None) -> list[Result]:
    """Return the results of all tests in the files' order; `location` says where ports without a `host:` are."""
    oracle = Oracle(topology, location)
    return [_run(oracle, test) for test in topology.tests]


def run_again(
    topology: Topology,
    before: Judged | None = None,
    tenants: Collection[str] | None = None,
    location: Mapping[str, str] | None = None,
) -> Judged:
    """Return what `run_tests` would, running only the tests that can have changed since `before`.

    `tenants` are those whose entities or tests may differ from the topology that gave `before`, or whose ports are elsewhere than
    `location` said then; None means that anything may differ.
    """
    known = before.answers if before is not None and tenants is not None else {}
    changed = frozenset(tenants or ())
    answers: dict[str, _Answers] = {}
    open_tests: dict[str, list[PolicyTest]] = {}
    by_tenant: dict[str, list[PolicyTest]] = {}
    for test in topology.tests:
        by_tenant.setdefault(test.tenant, []).append(test)
    for tenant, tests in by_tenant.items():
        kept = known.get(tenant)
        if kept is not None and kept.readable.isdisjoint(changed):
            answers[tenant] = kept
        else:
            open_tests[tenant] = tests
            answers[tenant] = _Answers((), frozenset())  # Its place in the order.
    if not open_tests:
        return Judged(answers)
    readable = {tenant: _readable(topology, tenant, tests) for tenant, tests in open_tests.items()}
    oracle = Oracle(_around(topology, frozenset().union(*readable.values())) if known else topology, location)
    for tenant, tests in open_tests.items():
        answers[tenant] = _Answers(tuple(_run(oracle, test) for test in tests), readable[tenant])
    return Judged(answers)


def _readable(topology: Topology, tenant: str, tests: Iterable[PolicyTest]) -> frozenset[str]:
    """Return the tenants that the tests of a tenant read."""
    found = {tenant}
    for end in {end for test in tests for end in (test.source, test.target)}:
        port = topology.ports.get(end)
        if port is not None:
            network = topology.networks[port.network]
            found.update((network.tenant, *network.share))  # One of them has the port.
    return frozenset(found)


def _around(topology: Topology, tenants: frozenset[str]) -> Topology:
    """Return the topology with the ports of these tenants, and the networks that they are in, alone."""
    ports: dict[str, Port] = {}
    for tenant in topology.tenants:
        if tenant in tenants:
            own = topology.ports.part(tenant) if isinstance(topology.ports, ByTenant) else topology.ports
            ports.update((name, port) for name, port in own.items() if port.tenant == tenant)
    networks = {port.network: topology.networks[port.network] for port in ports.values()}
    return replace(topology, networks=networks, ports=ports, tests=())


def _run(oracle: Oracle, test: PolicyTest) -> Result:
    expected = test.expect is Verdict.ALLOW
    ways = oracle.ways(test.source, test.target, _VERSION.get(test.protocol or 0))
    decision = ways if isinstance(ways, Decision) else _decide(oracle, ways, test)
    return Result(test, decision.allowed is expected, decision.reason)


def _decide(oracle: Oracle, ways: list[Way], test: PolicyTest) -> Decision:
    """Return the decision of the first way that is allowed, else of the first."""
    if test.protocol is not None and (test.port is not None or test.protocol not in (*WITH_PORTS, ICMP, ICMPV6)):
        decisions = [oracle.judge(way, Traffic(way.version, test.protocol, test.port)) for way in ways]
    elif test.expect is Verdict.DENY:
        decisions = [_anything(oracle, way, test.protocol) for way in ways]
    elif test.protocol in WITH_PORTS:
        decisions = [_every_port(oracle, way, test.protocol) for way in ways]
    else:
        decisions = [_echo(oracle, way) for way in ways]
    return next((decision for decision in decisions if decision.allowed), decisions[0])


def _anything(oracle: Oracle, way: Way, protocol: int | None) -> Decision:
    """Return whether anything of the protocol passes, with the first thing that does."""
    for span in oracle.open_spans(way):
        if protocol is None or span.protocol in (None, protocol):
            decision = oracle.judge(way, _example(span, way.version, protocol))
            what = span if span.protocol is not None or protocol is None else Span(protocol, span.numbers)
            return replace(decision, reason=f"{what} passes: {decision.reason}")
    if protocol is None:
        return _echo(oracle, way)
    return oracle.judge(way, _example(Span(protocol, EVERY_PORT), way.version, protocol))


def _every_port(oracle: Oracle, way: Way, protocol: int) -> Decision:
    """Return whether all ports of the protocol pass, with the first that does not."""
    closed = first_closed(oracle.open_spans(way), protocol, EVERY_PORT)
    return oracle.judge(way, Traffic(way.version, protocol, EVERY_PORT.first if closed is None else closed))


def _echo(oracle: Oracle, way: Way) -> Decision:
    protocol, kind = ECHO[way.version]
    return oracle.judge(way, Traffic(way.version, protocol, None, kind, 0))


def _example(span: Span, version: int, asked: int | None) -> Traffic:
    """Return one kind of packet that the span holds."""
    protocol = asked or span.protocol
    if protocol is None:
        return Traffic(version, ECHO[version][0], None, *divmod(span.numbers.first, 256))
    if protocol in (ICMP, ICMPV6):
        return Traffic(version, protocol, None, *divmod(span.numbers.first, 256))
    return Traffic(version, protocol, span.numbers.first if protocol in WITH_PORTS else None)
