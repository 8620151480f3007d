"""What security-group rules allow, from the model alone: the far side by address, the protocol by comparison.

A `Traffic` is one packet's protocol and port; a `Span` is a run of them, for questions about all or none. Ranges are compared as
ranges, never as the masks that flows need, so that this shares no arithmetic with the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from controller.model.entities import Address, Direction, Port, Prefix, Range, Rule, Topology
from controller.proof.packet import ICMP, ICMPV6, SCTP, TCP, UDP
from controller.proof.routers import space_of

ALL_NUMBERS = Range(0, 65535)
EVERY_PORT = Range(1, 65535)
_PROTOCOL_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6", SCTP: "sctp"}
_Key = tuple[tuple[str, ...], Direction, int, int | None]


@dataclass(frozen=True, slots=True)
class Traffic:
    """The packets asked about, all of one IP version and protocol.

    `port` is the destination port of a protocol that has ports. ICMP without a type means every type. Later fragments have neither
    ports nor types: what stands here is their first's.
    """

    version: int
    protocol: int
    port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    later_fragment: bool = False

    def __str__(self) -> str:
        name = protocol_name(self.protocol)
        if self.later_fragment:
            return f"{name}, a later fragment"
        if self.port is not None:
            return f"{name} {self.port}"
        if self.icmp_type is not None:
            return f"{name} type {self.icmp_type}"
        return name


def protocol_name(protocol: int | None) -> str:
    """Return the name that the files use for a protocol, or its number."""
    return "any protocol" if protocol is None else _PROTOCOL_NAMES.get(protocol, f"protocol {protocol}")


def covers(rule: Rule, traffic: Traffic) -> bool:
    """Return whether the rule allows all packets of this traffic, the far side apart."""
    if rule.ethertype not in (None, traffic.version) or rule.protocol not in (None, traffic.protocol):
        return False
    if traffic.later_fragment:
        return True
    if rule.ports and not any(traffic.port in ports for ports in rule.ports if traffic.port is not None):
        return False
    return rule.icmp_type in (None, traffic.icmp_type) and rule.icmp_code in (None, traffic.icmp_code)


@dataclass(slots=True)
class Members:
    """The addresses of a group's members in one address space."""

    exact: set[Address] = field(default_factory=set)
    wide: list[Prefix] = field(default_factory=list)

    def add(self, port: Port) -> None:
        """Count a port as a member, by the addresses that it may use."""
        self.exact.update(port.ips)
        for allowed in port.allowed:
            if allowed.ip.prefixlen == allowed.ip.max_prefixlen:
                self.exact.add(allowed.ip.network_address)
            else:
                self.wide.append(allowed.ip)

    def __contains__(self, address: Address) -> bool:
        return address in self.exact or any(
            prefix.version == address.version and address in prefix for prefix in self.wide
        )


_NOBODY = Members()


class Prefixes:
    """An address group: one look-up for each length that its prefixes have, however many they are."""

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        self._starts: dict[tuple[int, int], set[int]] = {}
        for prefix in prefixes:
            cut = prefix.max_prefixlen - prefix.prefixlen
            self._starts.setdefault((prefix.version, cut), set()).add(int(prefix.network_address) >> cut)

    def __contains__(self, address: Address) -> bool:
        number = int(address)
        return any(
            version == address.version and number >> cut in starts for (version, cut), starts in self._starts.items()
        )


class Rulebook:
    """All groups of a topology, asked by combination of groups."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._space = space_of(topology)
        self._members: dict[tuple[str, str], Members] = {}
        self._listed: dict[str, Prefixes] = {}
        self._kinds: dict[tuple[str, ...], tuple[bool, bool]] = {}
        self._selected: dict[_Key, tuple[tuple[str, Rule], ...]] = {}
        for port in topology.ports.values():
            for group in port.groups:
                self._members.setdefault((self._space[port.network], group), Members()).add(port)

    def is_stateless(self, groups: tuple[str, ...]) -> bool:
        """Return whether ports with these groups are stateless: they have some, and all of them are."""
        return self._kind(groups)[0]

    def is_dry(self, groups: tuple[str, ...]) -> bool:
        """Return whether ports with these groups drop nothing by rules: they have some, and none of them is enforced."""
        return self._kind(groups)[1]

    def _kind(self, groups: tuple[str, ...]) -> tuple[bool, bool]:
        """Return whether these groups are stateless, and whether they are dry, found once."""
        found = self._kinds.get(groups)
        if found is None:
            members = [self._topology.groups[group] for group in groups]
            is_stateless = bool(members) and all(group.stateless for group in members)
            is_dry = bool(members) and not any(group.enforce for group in members)
            found = self._kinds[groups] = is_stateless, is_dry
        return found

    def allowing(
        self, port: Port, direction: Direction, far: Address | None, traffic: Traffic
    ) -> Iterator[tuple[str, Rule]]:
        """Yield the groups and rules of the port that cover this traffic with this far address, enforced or not."""
        for group, rule in self._select(port.groups, direction, traffic.version, traffic.protocol):
            if covers(rule, traffic) and self.is_far_side(rule, port.network, far):
                yield group, rule

    def applying(self, port: Port, direction: Direction, far: Address | None, version: int) -> Iterator[Rule]:
        """Yield the rules of the port that speak of this far address, whatever the protocol."""
        for _, rule in self._select(port.groups, direction, version, None):
            if self.is_far_side(rule, port.network, far):
                yield rule

    def is_far_side(self, rule: Rule, network: str, far: Address | None) -> bool:
        """Return whether a rule of a port in this network speaks of an address; None is one that nobody knows."""
        if rule.is_from_anyone:
            return True
        if far is None:
            return False
        if any(prefix.version == far.version and far in prefix for prefix in rule.cidrs):
            return True
        if any(far in self._members.get((self._space[network], group), _NOBODY) for group in rule.groups):
            return True
        return any(far in self._prefixes(name) for name in rule.addresses)

    def _prefixes(self, name: str) -> Prefixes:
        found = self._listed.get(name)
        if found is None:
            found = self._listed[name] = Prefixes(self._topology.address_groups[name].prefixes)
        return found

    def _select(
        self, groups: tuple[str, ...], direction: Direction, version: int, protocol: int | None
    ) -> tuple[tuple[str, Rule], ...]:
        """Return the rules of these groups for a version and a protocol (None: for all), found once."""
        key = groups, direction, version, protocol
        found = self._selected.get(key)
        if found is None:
            found = self._selected[key] = tuple(
                (group, rule)
                for group, rule in self._rules(groups, direction)
                if rule.ethertype in (None, version) and (protocol is None or rule.protocol in (None, protocol))
            )
        return found

    def _rules(self, groups: tuple[str, ...], direction: Direction) -> Iterator[tuple[str, Rule]]:
        for name in groups:
            group = self._topology.groups[name]
            for rule in group.ingress if direction is Direction.INGRESS else group.egress:
                yield name, rule


@dataclass(frozen=True, slots=True)
class Span:
    """What stays open: a protocol (None: all) and a run of numbers, which are ports, or ICMP type x 256 + code."""

    protocol: int | None
    numbers: Range

    def __str__(self) -> str:
        if self.numbers == ALL_NUMBERS:
            return protocol_name(self.protocol)
        if self.protocol in (ICMP, ICMPV6):
            return f"{protocol_name(self.protocol)} type {self.numbers.first // 256}"
        return f"{protocol_name(self.protocol)} {self.numbers}"


def spans(rules: Iterable[Rule]) -> Iterator[Span]:
    """Yield what the rules leave open."""
    for rule in rules:
        if rule.icmp_type is not None:
            first = rule.icmp_type * 256 + (rule.icmp_code or 0)
            yield Span(rule.protocol, Range(first, first if rule.icmp_code is not None else first + 255))
        elif rule.icmp_code is not None:
            for first in range(rule.icmp_code, 65536, 256):
                yield Span(rule.protocol, Range(first, first))
        else:
            for numbers in rule.ports or (ALL_NUMBERS,):
                yield Span(rule.protocol, numbers)


def common(some: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return what both leave open."""
    found: dict[Span, None] = {}
    others = list(others)
    for one in some:
        for other in others:
            if one.protocol is not None and other.protocol is not None and one.protocol != other.protocol:
                continue
            first = max(one.numbers.first, other.numbers.first)
            last = min(one.numbers.last, other.numbers.last)
            if first <= last:
                found[Span(other.protocol if one.protocol is None else one.protocol, Range(first, last))] = None
    return list(found)


def first_closed(open_spans: Iterable[Span], protocol: int, wanted: Range) -> int | None:
    """Return the first of these numbers of a protocol that the spans leave closed, None if all are open."""
    runs = [span.numbers for span in open_spans if span.protocol in (None, protocol)]
    reached = wanted.first
    for run in sorted(runs, key=lambda run: run.first):
        if run.first > reached:
            break
        reached = max(reached, run.last + 1)
    return reached if reached <= wanted.last else None


def rule_text(rule: Rule) -> str:
    """Return the rule in the words of the files."""
    words = [rule.direction.value]
    words.append("any" if rule.protocol is None else protocol_name(rule.protocol))
    if rule.ports:
        words.append(",".join(map(str, rule.ports)))
    if rule.icmp_type is not None:
        words.append(f"type {rule.icmp_type}")
    if rule.icmp_code is not None:
        words.append(f"code {rule.icmp_code}")
    far = [*map(str, rule.cidrs), *(f"group {name}" for name in rule.groups)]
    far += [f"address group {name}" for name in rule.addresses]
    if far:
        words.append(f"{'from' if rule.direction is Direction.INGRESS else 'to'} {', '.join(far)}")
    return " ".join(words)
