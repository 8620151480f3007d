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

Between ports with several addresses `allow` wants one pair of addresses by which it passes, `deny` wants none; where routes share what is
sent, `allow` wants all of them. `deny` also wants none that leads out by one router and in by another, to a floating IP of the port.
What passes only because rules or groups are not enforced does pass; the explanation says that it would be dropped.

`allow` also wants the answer to pass, unless the test says `reply: false`, which spares the live probe from waiting for one as well.
Connection tracking lets answers pass by itself. Where groups are stateless, answers to TCP, UDP and SCTP must be allowed to every port
that clients choose by themselves (32768-60999, as Linux does), because a test does not say which one it will be. `deny` asks about the
first packet alone.

After a change only the tests are run that can have changed. A test reads the ports that it names, also by a floating IP, their groups,
the routers and networks of their address spaces, and whoever is in these networks: the tenant whose test it is, the tenants whose ports it
names, the owners of these networks and routers, and the tenants that these networks are shared with; and the owners of the groups that the
ports of all these are in, and of the address groups in the rules of those. If nothing of all these tenants changed, and nobody who did has
or had an address outside that the test names, the answer is what it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import ip_address

from controller.model.entities import Address, PolicyTest, Port, Range, Topology, Verdict
from controller.model.mapping import ByTenant
from controller.proof.oracle import ECHO, Oracle
from controller.proof.packet import ICMP, ICMPV6, WITH_PORTS
from controller.proof.rules import EVERY_PORT, Span, Traffic, first_closed
from controller.proof.verdict import Decision, Way, best, overall

CLIENT_PORTS = Range(32768, 60999)  # What Linux chooses from for a client: net.ipv4.ip_local_port_range.
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
    named: frozenset[Address] = frozenset()  # Addresses that the tests name.


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
    outer = {address for tenant in changed for address in _outer(topology, tenant)} if known else set()
    for tenant, tests in by_tenant.items():
        kept = known.get(tenant)
        if kept is not None and kept.readable.isdisjoint(changed) and kept.named.isdisjoint(outer):
            answers[tenant] = kept
        else:
            open_tests[tenant] = tests
            answers[tenant] = _Answers((), frozenset())  # Its place in the order.
    if not open_tests:
        return Judged(answers)
    reader = _Readable(topology)
    readable = {tenant: reader.by(tenant, tests) for tenant, tests in open_tests.items()}
    oracle = Oracle(_around(topology, frozenset().union(*readable.values())) if known else topology, location)
    for tenant, tests in open_tests.items():
        results = tuple(_run(oracle, test) for test in tests)
        answers[tenant] = _Answers(results, readable[tenant], frozenset(_named(topology, tests)))
    return Judged(answers)


class _Readable:
    """Which tenants the tests of a tenant read."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._owners: dict[str, frozenset[str]] = {}
        self._router_of = {name: router for router in topology.routers.values() for name in router.networks}

    def by(self, tenant: str, tests: Iterable[PolicyTest]) -> frozenset[str]:
        """Return the tenants that these tests of a tenant read."""
        ports = {end: self._topology.ports.get(end) for test in tests for end in (test.source, test.target)}
        found = {tenant}
        for port in ports.values():
            if port is not None:
                found |= self._around(port.network)  # One of them has the port.
        named = set(_named(self._topology, tests))
        if named:
            found |= {tenant for address in named for tenant in self._outer.get(address, ())}
        return frozenset(found).union(*map(self._lenders, found))

    @cached_property
    def _outer(self) -> Mapping[Address, frozenset[str]]:
        """The tenants that are read where a test names an address outside: who has it, and who is around the port it stands for."""
        found = {
            address: frozenset((each.tenant,)) for each in self._topology.routers.values() for address in each.addresses
        }
        for floating in self._topology.floating_ips.values():
            network = self._topology.ports[floating.port].network
            found[floating.address] = frozenset((floating.tenant, *self._around(network)))
        return found

    def _around(self, network: str) -> frozenset[str]:
        """Return the tenants that have, or may have, something in the address space of a network."""
        found: set[str] = set()
        router = self._router_of.get(network)
        for name in (network,) if router is None else router.networks:
            each = self._topology.networks[name]
            found.update((each.tenant, *each.share))
        return frozenset(found if router is None else {*found, router.tenant})

    def _lenders(self, tenant: str) -> frozenset[str]:
        """Return the owners of the groups that a tenant's ports are in, and of the address groups in their rules."""
        owners = self._owners.get(tenant)
        if owners is None:
            groups = {name for _, port in _ports_of(self._topology, tenant) for name in port.groups}
            owners = self._owners[tenant] = frozenset(owner for name in groups for owner in self._read_in(name))
        return owners

    def _read_in(self, group: str) -> Iterator[str]:
        found = self._topology.groups[group]
        yield found.tenant
        for rule in (*found.ingress, *found.egress):
            yield from (self._topology.address_groups[name].tenant for name in rule.addresses)


def _ports_of(topology: Topology, tenant: str) -> Iterator[tuple[str, Port]]:
    own = topology.ports.part(tenant) if isinstance(topology.ports, ByTenant) else topology.ports
    return ((name, port) for name, port in own.items() if port.tenant == tenant)


def _named(topology: Topology, tests: Iterable[PolicyTest]) -> Iterator[Address]:
    """Yield the addresses that tests name."""
    for test in tests:
        for end in (test.source, test.target):
            if end not in topology.ports:
                yield ip_address(end)


def _outer(topology: Topology, tenant: str) -> Iterator[Address]:
    """Yield the addresses outside that a tenant has."""
    floating, routers = topology.floating_ips, topology.routers
    for each in (floating.part(tenant) if isinstance(floating, ByTenant) else floating).values():
        if each.tenant == tenant:
            yield each.address
    for router in (routers.part(tenant) if isinstance(routers, ByTenant) else routers).values():
        if router.tenant == tenant:
            yield from router.addresses


def _around(topology: Topology, tenants: frozenset[str]) -> Topology:
    """Return the topology with the ports of these tenants, and the networks that they are in or that routers join to those, alone."""
    ports: dict[str, Port] = {}
    for tenant in topology.tenants:
        if tenant in tenants:
            ports.update(_ports_of(topology, tenant))
    wanted = dict.fromkeys(port.network for port in ports.values())
    routers = {
        name: router
        for name, router in topology.routers.items()
        if router.tenant in tenants or not wanted.keys().isdisjoint(router.networks)
    }
    wanted |= dict.fromkeys(name for router in routers.values() for name in router.networks)
    networks = {name: topology.networks[name] for name in wanted}
    floating = {name: each for name, each in topology.floating_ips.items() if each.port in ports}
    return replace(topology, networks=networks, ports=ports, routers=routers, floating_ips=floating, tests=())


def _run(oracle: Oracle, test: PolicyTest) -> Result:
    expected = test.expect is Verdict.ALLOW
    # What may not be reached may not be reached round about either; what is to be reached is to be reached by its own address.
    ways = oracle.ways(test.source, test.target, _VERSION.get(test.protocol or 0), floating=not expected)
    decision = ways if isinstance(ways, Decision) else _decide(oracle, ways, test)
    return Result(test, decision.allowed is expected, decision.reason)


def _decide(oracle: Oracle, ways: list[Way], test: PolicyTest) -> Decision:
    """Return the decision of the best way."""
    if test.expect is Verdict.DENY and not _is_exact(test):
        return best(_anything(oracle, way, test.protocol) for way in ways)
    decisions = []
    for way in ways:
        traffic = _strictest(oracle, way, test)
        decision = oracle.judge(way, traffic)
        if decision.allowed and test.reply and test.expect is Verdict.ALLOW:
            answer = oracle.answer(way, traffic, CLIENT_PORTS)
            decision = answer if not answer.allowed or (answer.would_drop and not decision.would_drop) else decision
        decisions.append(decision)
    return overall(ways, decisions) if test.expect is Verdict.ALLOW else best(decisions)


def _is_exact(test: PolicyTest) -> bool:
    """Return whether the test asks about one kind of packet."""
    return test.protocol is not None and (test.port is not None or test.protocol not in (*WITH_PORTS, ICMP, ICMPV6))


def _strictest(oracle: Oracle, way: Way, test: PolicyTest) -> Traffic:
    """Return the kind of packet that passes only if all pass that the test is about."""
    if test.protocol is not None and _is_exact(test):
        return Traffic(way.version, test.protocol, test.port)
    if test.protocol in WITH_PORTS:
        closed = first_closed(oracle.open_spans(way), test.protocol, EVERY_PORT)
        return Traffic(way.version, test.protocol, EVERY_PORT.first if closed is None else closed)
    return _echo(way)


def _anything(oracle: Oracle, way: Way, protocol: int | None) -> Decision:
    """Return whether anything of the protocol passes, with the first thing that does."""
    for span in oracle.open_spans(way):
        if protocol is None or span.protocol in (None, protocol):
            decision = oracle.judge(way, _example(span, way.version, protocol))
            what = span if span.protocol is not None or protocol is None else Span(protocol, span.numbers)
            return replace(decision, reason=f"{what} passes: {decision.reason}")
    if protocol is None:
        return oracle.judge(way, _echo(way))
    return oracle.judge(way, _example(Span(protocol, EVERY_PORT), way.version, protocol))


def _echo(way: Way) -> Traffic:
    protocol, kind = ECHO[way.version]
    return Traffic(way.version, protocol, None, kind, 0)


def _example(span: Span, version: int, asked: int | None) -> Traffic:
    """Return one kind of packet that the span holds."""
    protocol = asked or span.protocol
    if protocol is None:
        return Traffic(version, ECHO[version][0], None, *divmod(span.numbers.first, 256))
    if protocol in (ICMP, ICMPV6):
        return Traffic(version, protocol, None, *divmod(span.numbers.first, 256))
    return Traffic(version, protocol, span.numbers.first if protocol in WITH_PORTS else None)
