"""Shapes of rule sets, the worst that tenants may write: each a list of security groups that one port is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from random import Random

from controller.model.entities import Rule, SecurityGroup
from tests.builders import allow, group

Shape = list[SecurityGroup]

SOMEBODY, SOMEBODY_6 = "203.0.113.9/32", "2001:db8:9::9/128"


def both(*rules: Rule) -> Shape:
    """One group with the same rules in both directions."""
    return [group("red/g", ingress=rules, egress=rules)]


def lengths(address: str, of: Sequence[int]) -> list[str]:
    """Prefixes of these lengths, side by side: each holds one bit of the address turned round, and none of the others.

    >>> lengths("128.0.0.0", [1, 2, 3])
    ['0.0.0.0/1', '192.0.0.0/2', '160.0.0.0/3']
    """
    whole = ip_network(address)
    bits = whole.max_prefixlen
    found = []
    for length in of:
        turned = int(whole.network_address) ^ 1 << bits - length
        found.append(str(type(whole)((turned >> bits - length << bits - length, length))))
    return found


def blocks() -> list[int | tuple[int, int]]:
    """Port ranges of all sixteen mask lengths, side by side."""
    found: list[int | tuple[int, int]] = []
    first = 0x5A5A
    for length in range(1, 17):
        size = 1 << 16 - length
        start = (first ^ size) & ~(size - 1)
        found.append((start, start + size - 1))
    return found


def _cidrs_by_ports(protocol: str) -> Shape:
    cidrs = [f"{10 + number}.{number}.{5 * number}.0/{16 + number % 17}" for number in range(50)]
    cidrs = [str(ip_network(cidr, strict=False)) for cidr in cidrs]
    return both(allow(protocol, *(1000 + 37 * number for number in range(20)), far=cidrs))


def _many_groups() -> Shape:
    made = []
    for number in range(30):
        cidr = str(ip_network(f"{11 + 5 * number}.{number}.0.0/{8 + number % 25}", strict=False))
        rules = [
            allow("tcp", 80 + 3 * number, far=cidr),
            allow("udp", (number * 97, number * 131)),
            allow("icmp", icmp_type=number),
        ]
        made.append(group(f"red/g{number}", ingress=rules, egress=rules))
    return made


SHAPES: Mapping[str, Callable[[], Shape]] = {
    "no rules": lambda: [group("red/g", ingress=[], egress=[])],
    "everything": lambda: both(allow()),
    "one port": lambda: both(allow("tcp", 80)),
    "an address, or a port": lambda: both(allow(far=SOMEBODY), allow("tcp", 80)),
    "the same, of both versions": lambda: both(allow(far=[SOMEBODY, SOMEBODY_6]), allow("tcp", 80)),
    "an address, ports of three protocols, a type, a protocol": lambda: both(
        allow(far=SOMEBODY),
        *(allow(protocol, 80) for protocol in ("tcp", "udp", "sctp")),
        allow("icmp", icmp_type=8, icmp_code=0),
        allow(47),
    ),
    "an address and a port": lambda: both(allow("tcp", 80, far=SOMEBODY)),
    "50 prefixes x 20 ports": lambda: _cidrs_by_ports("tcp"),
    "prefixes of all 32 lengths": lambda: both(allow(far=lengths("203.0.113.9", range(1, 33)))),
    "port ranges of all 16 lengths": lambda: both(allow("udp", *blocks())),
    "prefixes and ranges of all lengths, either": lambda: both(
        allow(far=lengths("203.0.113.9", range(1, 33))), allow("udp", *blocks())
    ),
    "prefixes and ranges of all lengths, both": lambda: both(
        allow("udp", *blocks(), far=lengths("203.0.113.9", range(1, 33)))
    ),
    "IPv6 prefixes of all 128 lengths": lambda: both(allow(far=lengths("2001:db8:9::9", range(1, 129)))),
    "IPv6 prefixes and ranges of all lengths": lambda: both(
        allow(far=lengths("2001:db8:9::9", range(1, 129))), allow("tcp", *blocks()), allow("udp", *blocks())
    ),
    "prefixes of all lengths, each of another protocol": lambda: both(
        *(allow(100 + length, far=cidr) for length, cidr in enumerate(lengths("203.0.113.9", range(1, 33)))),
        *(allow(140 + length, far=cidr) for length, cidr in enumerate(lengths("2001:db8:9::9", range(20, 129)))),
    ),
    "ports of SCTP": lambda: both(allow("sctp", *blocks()), allow("sctp", 2905, far=SOMEBODY)),
    "all ICMP types": lambda: both(
        *(allow("icmp", icmp_type=kind) for kind in range(0, 256, 5)),
        *(allow("icmpv6", icmp_type=kind, icmp_code=kind % 8) for kind in range(0, 256, 7)),
    ),
    "30 groups": _many_groups,
    "remote groups and prefixes": lambda: [
        group("red/a"),
        group("red/b"),
        *both(
            allow("tcp", 22, (5000, 5999), far=["red/a", "10.7.0.0/16"]),
            allow("udp", far=["red/b", *lengths("203.0.113.9", range(8, 33, 3))]),
            allow("tcp", 443, far=["red/g", "2001:db8:9::/48"]),
        ),
    ],
}


def drawn(random: Random) -> Shape:
    """Rules that a hostile tenant may draw: many lengths of prefixes and ranges, protocols and groups, in every combination."""
    made = [group("red/other", egress=[])]
    for number in range(random.randrange(1, 6)):
        rules = [_drawn_rule(random) for _ in range(random.randrange(1, 12))]
        made.append(group(f"red/g{number}", ingress=rules, egress=rules, enforce=random.random() < 0.9))
    return made


def _drawn_rule(random: Random) -> Rule:
    protocol = random.choice(("tcp", "udp", "sctp", "icmp", "any", random.randrange(60, 130)))
    ports: list[int | tuple[int, int]] = []
    if protocol in ("tcp", "udp", "sctp"):
        for _ in range(random.randrange(3)):
            first, last = sorted(random.sample(range(1, 65536), 2))
            ports.append((first, last))
    far: list[str] = []
    for _ in range(random.randrange(4)):
        far += lengths(SOMEBODY.partition("/")[0], [random.randrange(1, 33)])
    if protocol != "icmp" and random.random() < 0.5:
        far += lengths(SOMEBODY_6.partition("/")[0], [random.randrange(1, 129)])
    if random.random() < 0.2:
        far.append("red/other")
    kind = random.randrange(256) if protocol == "icmp" and random.random() < 0.5 else None
    return allow(protocol, *ports, far=list(dict.fromkeys(far)), icmp_type=kind, enforce=random.random() < 0.9)
