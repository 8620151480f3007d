"""What rules cost a datapath: an upper bound on the masks that they add to its megaflows, from the rules alone.

A datapath looks a packet up once for each mask that it holds, so masks are what tenants can take from each other. The rules of a class are
looked at in the order of `controller.pipeline.rules.rank`. For each kind of packet the bound goes through them in that order and
notes what has been looked at after each: the length of the far address's prefix and the bits of type, code and ports. A mask that
many classes need is in the datapath once; so the fabric's budget counts what differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controller.model.entities import Direction, Range, Rule, SecurityGroup, Topology

# Masks by this bound that the rules of one port may make before `weft validate` warns: about a third of them is met in measurements.
MOST_OF_A_PORT = 192

# A mask of rules is made in several ways, which the commit and the way on tell apart: by what they let through, and by what they refuse.
_WAYS = 3
_ALWAYS = 4  # Masks of a class that has rules, whatever they are: of later fragments, of what is known, of protocols.
_ASKING = 8  # Masks by which far addresses are known, of both versions, when a connection opens and when it goes on.
_BITS = {4: 32, 6: 128}
_FEW_LENGTHS = 8  # Of prefixes, that packets of different protocols may be told apart by.
_TYPE_BITS = _PORT_BITS = 16


class Shape(NamedTuple):
    """What has been looked at of a connection's first packet: prefix length of the far address (and its version), type, port or code."""

    direction: Direction
    version: int  # 0 where the address has not been looked at.
    length: int
    types: int
    ports: int


class _Part(NamedTuple):
    """What one flow of a rule looks at. What is logged comes in a band before what is not, what is enforced before what is not."""

    band: int
    length: int
    ports: int
    types: int
    is_joint: bool = False


def shapes(groups: Iterable[SecurityGroup], direction: Direction) -> frozenset[Shape]:
    """Return what the rules of a class look at, in one direction, over all kinds of packets."""
    rules = [(rule, group.log or rule.log) for group in groups for rule in _rules(group, direction)]
    found: set[Shape] = set()
    protocols = {rule.protocol for rule, _ in rules} | {None}
    for version in _BITS:
        is_whole = looks_whole((rule for rule, _ in rules), version)
        for protocol in protocols:
            met = [
                each for each in rules if each[0].protocol in (None, protocol) and each[0].ethertype in (None, version)
            ]
            found.update(_met(met, version, direction, is_whole=is_whole))
    return frozenset(found)


def _rules(group: SecurityGroup, direction: Direction) -> tuple[Rule, ...]:
    return group.ingress if direction is Direction.INGRESS else group.egress


def _lengths(ports: Range) -> list[int]:
    """Return the lengths of the fewest prefixes that cover a range of ports."""
    found = []
    low, high = ports.first, ports.last
    while low <= high:
        size = low & -low if low else 1 << _PORT_BITS
        while low + size - 1 > high:
            size >>= 1
        found.append(_PORT_BITS + 1 - size.bit_length())
        low += size
    return found


def looks_whole(rules: Iterable[Rule], version: int) -> bool:
    """Return whether far addresses of a version are looked at whole: rules of many protocols have prefixes of many lengths.

    Packets of one protocol are looked at as far as the longest prefix goes. Protocols are told apart before, so each may have its own.
    """
    longest: dict[int | None, int] = {}
    for rule in rules:
        for cidr in rule.cidrs:
            if cidr.version == version:
                longest[rule.protocol] = max(longest.get(rule.protocol, 0), cidr.prefixlen)
    return len(set(longest.values())) > _FEW_LENGTHS


def _is_joint(rule: Rule, version: int) -> bool:
    """Return whether a rule is a conjunction, or may become one: how many groups of addresses it names is not known here."""
    parts = sum(len(_lengths(ports)) for ports in rule.ports) or 1
    peers = sum(cidr.version == version for cidr in rule.cidrs)
    return parts > 1 and (bool(rule.groups or rule.addresses) or parts * peers > parts + peers + 1)


def _met(rules: list[tuple[Rule, bool]], version: int, direction: Direction, *, is_whole: bool) -> Iterator[Shape]:
    """Yield what has been looked at of the packets of one protocol and version, after each step."""
    steps: set[_Part] = set()
    for rule, is_logged in rules:
        band = 2 * (not rule.enforce) + (not is_logged)
        parts = list(_parts(rule, version, band))
        if parts and _is_joint(rule, version):
            # A part of a conjunction ends no search: whoever meets one meets all of them.
            length = max(each.length for each in parts)
            ports = max(each.ports for each in parts)
            parts = [_Part(band, length, ports, parts[0].types, is_joint=True)]
        steps.update(parts)
    length, types, ports = (_BITS[version] if is_whole else 0), 0, 0
    yield Shape(direction, version if length else 0, length, types, ports)
    for part in sorted(steps, key=_order):
        length, types, ports = max(length, part.length), max(types, part.types), max(ports, part.ports)
        yield Shape(direction, version if length else 0, length, types, ports)


def _order(part: _Part) -> tuple[int, int, int, int]:
    return part.band, 2 * part.is_joint + (part.length > 0), -part.length, -part.ports - part.types


def _parts(rule: Rule, version: int, band: int) -> Iterator[_Part]:
    lengths = sorted({cidr.prefixlen for cidr in rule.cidrs if cidr.version == version}) if rule.cidrs else [0]
    if rule.cidrs and (rule.groups or rule.addresses):
        lengths.append(0)
    types = _TYPE_BITS if rule.icmp_type is not None else 0
    codes = {_PORT_BITS} if rule.icmp_code is not None else {0}
    ports = {length for each in rule.ports for length in _lengths(each)} or codes
    for length in lengths:
        for port in ports:
            yield _Part(band, length, port, types)


def count(held: Iterable[Shape]) -> int:
    """Return how many masks these make: ports are looked at from the first bit on, as far as it takes."""
    lengths: dict[Shape, int] = {}
    for shape in held:
        rest = shape._replace(ports=0)
        # Codes are looked at whole, and there are few of them.
        lengths[rest] = max(lengths.get(rest, 0), 1 if shape.types else shape.ports)
    return _WAYS * sum(1 + ports for ports in lengths.values())


def bound(groups: Iterable[SecurityGroup], direction: Direction) -> int:
    """Return the most masks that the rules of a class may make for one port, in one direction."""
    members = list(groups)
    rules = [rule for group in members for rule in _rules(group, direction)]
    if not rules:
        return 0
    asking = _ASKING if any(rule.groups or rule.addresses for rule in rules) else 0
    return _ALWAYS + count(shapes(members, direction)) + asking


def bounds(topology: Topology) -> dict[tuple[SecurityGroup, ...], int]:
    """Return the most masks that the rules of a port may make, the worse direction, for each class of a topology's ports."""
    classes = dict.fromkeys(tuple(sorted(port.groups)) for port in topology.ports.values() if port.port_security)
    found = {}
    for names in classes:
        members = tuple(topology.groups[name] for name in names if name in topology.groups)
        if members:
            found[members] = max(bound(members, direction) for direction in Direction)
    return found
