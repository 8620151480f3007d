"""Random fabrics as operators and tenants write them: small, crowded, and with every shape of rule.

Tenants use the same addresses and MACs, ports share addresses, and rules name what stands at the edge of something. The files are real, so
that what is found wrong is told with the line that a tenant would look at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from controller.config import load, render
from controller.model.entities import Topology
from tests.proof import samples

Entry = dict[str, Any]

TENANTS = ("red", "blue")
WIRED = ("hv1", "hv2")
PORTS = (1, 22, 53, 67, 80, 443, 1023, 1024, 3306, 5000, 5999, 6000, 8191, 8192, 65535)
FAR = {
    4: ("10.0.0.0/24", "10.0.0.0/30", "10.0.0.4/31", "10.0.0.5/32", "10.0.0.2", "0.0.0.0/0", "198.51.100.0/25"),
    6: ("fd00::/64", "fd00::/126", "fd00::5", "fd00::4/127", "fe80::/10", "2001:db8::/33", "::/0"),
}
TYPES = {"icmp": (0, 3, 8, 8, 8, 13, 13), "icmpv6": (1, 128, 128, 128, 129, 144)}
OTHER_PROTOCOLS = (2, 47, 50, 51, 112, 254)
SHARED_MAC = "02:00:00:00:ff:01"
ALLOWED: tuple[list[Entry], ...] = (
    [{"ip": "10.0.0.200", "mac": SHARED_MAC}],
    [{"ip": "10.0.0.200", "mac": SHARED_MAC}, {"ip": "fd00::200", "mac": SHARED_MAC}],
    [{"ip": "10.0.0.128/25"}],
    [{"ip": "10.0.0.0/29"}, {"ip": "fd00::/120"}],
    [{"ip": "198.51.100.0/24"}],
)
FIRST = ("10.0.0.0/24", "fd00::/64")  # The addresses of a network without router, and of the first network of one.
ROUTED = 0.6  # How many of the tenants with several networks have a router.
BEYOND = {
    4: ("198.51.100.0/24", "198.51.0.0/16", "0.0.0.0/0"),
    6: ("2001:db8::/32", "::/0"),
}  # Where static routes lead.
KINDS = ("vxlan", "vxlan", "vxlan", "gre", "geneve", "vlan", "vlan", "local", "flat")


def write(folder: Path, random: Random) -> Topology:
    """Write a fabric's files and return what they say."""
    (folder / "tenants").mkdir(parents=True)
    hosts = ["hv1", "hv2", "hv3"][: random.choice((1, 2, 2, 3, 3))]
    rack = len(hosts) > 1 and random.random() < 0.4
    tenants = TENANTS[: random.choice((1, 2, 2, 2))]
    (folder / "fabric.yaml").write_text("\n".join(_fabric(hosts, tenants, rack=rack)) + "\n", encoding="utf-8")
    kinds = list(KINDS)
    random.shuffle(kinds)
    if "hv2" not in hosts:
        kinds = [kind for kind in kinds if kind != "flat"]
    lent = _Lent(list(tenants))
    for tenant in tenants:
        lent.later.remove(tenant)
        maker = _Tenant(random, tenant, hosts, lent, rack=rack)
        text = "\n".join(maker.lines([kinds.pop() for _ in range(random.choice((1, 2, 3)))]))
        (folder / "tenants" / f"{tenant}.yaml").write_text(text + "\n", encoding="utf-8")
    loaded = load(folder)
    wrong = [render(problem) for problem in loaded.problems if not problem.is_warning]
    assert loaded.topology is not None, "\n".join(wrong)
    return loaded.topology


def _fabric(hosts: list[str], tenants: tuple[str, ...], *, rack: bool) -> Iterator[str]:
    yield "fabric: random"
    yield "hosts:"
    for number, host in enumerate(hosts, 1):
        yield f"  {host}: {{tunnel_ip: 172.31.0.{number}}}"
    if rack:
        yield "  rack9: {tunnel_ip: 172.31.0.9, kind: vtep}"
    wired = [host for host in hosts if host in WIRED]
    yield "physical_networks:"
    yield f"  physnet1: {json.dumps({'hosts': wired, 'vlans': '100-199'})}"
    yield "tenants:"
    for number, tenant in enumerate(tenants):
        vlans = {"physnet1": f"{110 + 10 * number}-{119 + 10 * number}"}
        yield f"  {tenant}: {json.dumps({'segments': f'{1000 + 100 * number}-{1099 + 100 * number}', 'vlans': vlans})}"


@dataclass
class _Lent:
    """What tenants share with those that are written after them."""

    later: list[str]  # Who is not written yet.
    groups: list[str] = field(default_factory=list)
    stateless: set[str] = field(default_factory=set)  # Of these groups.
    address_groups: list[str] = field(default_factory=list)
    networks: dict[str, Entry] = field(default_factory=dict)


class _Tenant:
    """One tenant's file in the making."""

    def __init__(self, random: Random, name: str, hosts: list[str], lent: _Lent, *, rack: bool) -> None:
        self._random = random
        self._name = name
        self._hosts = hosts
        self._lent = lent
        self._rack = rack
        self._groups = [f"g{number}" for number in range(random.randrange(2, 6))]
        self._far_groups = [*self._groups, *lent.groups]
        self._stateless = {name for name in self._groups if random.random() < 0.25} | lent.stateless
        self._address_groups = [f"a{number}" for number in range(random.randrange(3))]
        self._far_addresses = [*self._address_groups, *lent.address_groups]

    def lines(self, kinds: list[str]) -> Iterator[str]:
        """Yield the file, one entity or rule a line."""
        random = self._random
        joined = self._joined(len(kinds))
        # Networks of a router have addresses of their own each.
        places = [number if number in joined else None for number in range(len(kinds))]
        networks = {
            f"n{number}": self._network(kind, place)
            for number, (kind, place) in enumerate(zip(kinds, places, strict=True))
        }
        for network in networks.values():
            if random.random() < 0.3:
                network["share"] = self._lent.later[:1]
        yield from _section("networks", networks)
        yield from _section("address_groups", {name: self._addresses(name) for name in self._address_groups})
        yield "security_groups:"
        for group in self._groups:
            yield f"  {group}:"
            if random.random() < 0.15:
                yield "    enforce: false"
            if group in self._stateless:
                yield "    stateless: true"
            if random.random() < 0.3:
                yield "    share: any"
                self._lent.groups.append(f"{self._name}/{group}")
                self._lent.stateless |= {f"{self._name}/{group}"} if group in self._stateless else set()
            yield from self._rules("ingress", "from", random.choice((0, 1, 2, 3, 4)))
            if random.random() < 0.6:
                yield from self._rules("egress", "to", random.choice((0, 1, 2, 3, 4)))
        ports: dict[str, Entry] = {}
        for name, network in networks.items():
            for number in range(1, random.randrange(3, 7)):
                ports[f"{name}p{number}"] = self._port(name, network, number)
        for name, network in self._lent.networks.items():
            # Numbers that the owner's own ports do not have.
            ports[f"guest-{name.replace('/', '-')}"] = self._port(name, network, random.choice((7, 8)))
        self._lent.networks |= {f"{self._name}/{name}": each for name, each in networks.items() if each.get("share")}
        yield from _section("ports", ports)
        if joined:
            router = {"networks": [f"n{number}" for number in joined], "routes": self._routes(ports, joined)}
            yield from _section("routers", {"r": router})

    def _joined(self, count: int) -> list[int]:
        """The networks that the tenant's router joins."""
        random = self._random
        if count < 2 or random.random() >= ROUTED:
            return []
        return sorted(random.sample(range(count), min(count, random.choice((2, 2, 3)))))

    def _routes(self, ports: Mapping[str, Entry], joined: list[int]) -> list[Entry]:
        """Static routes by ports of a router's networks; some next hops are nobody, and some routes are two."""
        random = self._random
        names = [f"n{number}" for number in joined]
        hops = [ip for port in ports.values() if port["network"] in names for ip in port["ip"]]
        found: list[Entry] = []
        for version, prefixes in BEYOND.items():
            mine = [ip for ip in hops if (":" in ip) == (version == 6)]
            for to in prefixes if mine else ():
                some = [random.choice(mine) for _ in range(random.choice((0, 1, 1, 2)))]
                found += [{"to": to, "via": hop if random.random() < 0.9 else f"{hop}0"} for hop in some]
        return [each for number, each in enumerate(found) if each not in found[:number]]

    def _network(self, kind: str, place: int | None) -> Entry:
        random = self._random
        shapes: tuple[list[str], ...] = (list(FIRST),) * 3 + ([FIRST[0]], [FIRST[1]], [])
        some = random.choice(shapes if place is None else shapes[:-1])
        cidrs = [samples.at(place or 0, cidr) for cidr in some]
        entry: Entry = {"type": kind}
        if cidrs:
            entry["cidr"] = cidrs
            # Where ports have low addresses, routers have high ones.
            entry["gateway"] = [cidr.replace("0/24", "254").replace("/64", "fffe") for cidr in cidrs]
        if kind in ("vlan", "flat"):
            entry["physical_network"] = "physnet1"
        return entry

    def _addresses(self, name: str) -> Entry:
        random = self._random
        entry: Entry = {"cidrs": [random.choice(FAR[random.choice((4, 6))]) for _ in range(random.randrange(4))]}
        entry["cidrs"] = list(dict.fromkeys(entry["cidrs"]))
        if random.random() < 0.4:
            entry["share"] = "any"
            self._lent.address_groups.append(f"{self._name}/{name}")
        return entry

    def _port(self, name: str, network: Entry, number: int) -> Entry:
        random = self._random
        kind = network["type"]
        hosts = [host for host in self._hosts if kind not in ("vlan", "flat") or host in WIRED]
        if self._rack and kind == "vxlan" and random.random() < 0.2:
            hosts = ["rack9"]
        entry: Entry = {"network": name, "host": random.choice(hosts), "mac": f"02:00:00:00:00:0{number}"}
        cidrs = network.get("cidr", [])
        if cidrs:
            entry["ip"] = [f"{cidr.partition('/')[0].removesuffix('0')}{number}" for cidr in cidrs]
        # Groups of one kind only.
        first = random.choice(self._far_groups) in self._stateless
        alike = [name for name in self._far_groups if (name in self._stateless) == first]
        entry["security_groups"] = random.sample(alike, min(len(alike), random.choice((0, 1, 1, 2, 2, 4))))
        if random.random() < 0.15:
            entry["ethertypes"] = random.choice((["0x88cc"], ["0x88cc", "0x0842"]))
        if random.random() < 0.15:
            entry["port_security"] = False
        if random.random() < 0.3:
            # In the place of the network's own addresses.
            place = next((place for place in range(3) for first in FIRST if samples.at(place, first) in cidrs), 0)
            wanted = [each | {"ip": samples.at(place, each["ip"])} for each in random.choice(ALLOWED)]
            versions = {":" in cidr for cidr in cidrs} if cidrs else {True, False}
            entry["allowed_addresses"] = [each for each in wanted if (":" in each["ip"]) in versions]
        return entry

    def _rules(self, direction: str, far: str, count: int) -> Iterator[str]:
        if not count:
            yield f"    {direction}: {'[]' if self._random.random() < 0.7 else 'any'}"
            return
        yield f"    {direction}:"
        for _ in range(count):
            yield f"      - {json.dumps(self._rule(far))}"

    def _rule(self, far: str) -> Entry:
        random = self._random
        protocol = random.choice(("tcp", "tcp", "udp", "udp", "sctp", "icmp", "icmpv6", "other", "any", "any"))
        entry: Entry = {} if protocol == "any" and random.random() < 0.5 else {"protocol": protocol}
        if protocol == "other":
            entry["protocol"] = random.choice(OTHER_PROTOCOLS)
        version = {"icmp": 4, "icmpv6": 6}.get(protocol)
        if version is None and random.random() < 0.4:
            version = random.choice((4, 6))
            entry["ethertype"] = f"ipv{version}"
        if protocol in ("tcp", "udp", "sctp") and random.random() < 0.8:
            entry["ports"] = [self._numbers() for _ in range(random.choice((1, 1, 2, 3)))]
        if protocol in TYPES and random.random() < 0.6:
            entry["type"] = random.choice(TYPES[protocol])
            if random.random() < 0.4:
                entry["code"] = random.choice((0, 0, 1, 4))
        if random.random() < 0.12:
            entry["enforce"] = False
        peers = [self._peer(version) for _ in range(random.choice((0, 0, 1, 1, 2, 3)))]
        if peers:
            entry[far] = peers
        return entry

    def _numbers(self) -> int | str:
        random = self._random
        first, last = sorted((random.choice(PORTS), random.choice((*PORTS, random.randrange(1, 65536)))))
        return random.choice(PORTS) if random.random() < 0.4 or first == last else f"{first}-{last}"

    def _peer(self, version: int | None) -> Entry:
        random = self._random
        if random.random() < 0.5:
            return {"group": random.choice(self._far_groups)}
        if self._far_addresses and random.random() < 0.4:
            return {"address_group": random.choice(self._far_addresses)}
        cidr = random.choice(FAR[version or random.choice((4, 6))])
        return {"cidr": samples.at(random.choice((0, 0, 1, 2)), cidr)}


def _section(name: str, entries: Mapping[str, Entry]) -> Iterator[str]:
    yield f"{name}:" if entries else f"{name}: {{}}"
    for key, entry in entries.items():
        yield f"  {key}: {json.dumps(entry)}"
