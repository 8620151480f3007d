"""Random fabrics and random packets, from a seed: small, crowded and hostile.

Tenants use the same addresses and MACs, ports share addresses, rules overlap; packets are mostly plausible, often with one
thing forged, so that both verdicts are common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from random import Random

from controller.model.address import BROADCAST_MAC, link_local, parse_mac, router_mac
from controller.model.entities import Address, NetworkType, Port, Router, Rule, Topology
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.builders import Entity, allow, fabric, group, host, network, physical_network, port, router

VLANS = (1, 4094, 7, 100, 2048)  # Of subports; 5 is nobody's, and that of a frame which is `tagged`.
HOSTS, VTEP = ("hv1", "hv2", "hv3"), "rack9"
WIRED = {"physnet1": ("hv1", "hv2"), "physnet2": ("hv2", "hv3")}  # Nobody has both but hv2.
PORTS = (1, 22, 53, 80, 443, 1023, 1024, 3306, 5000, 5999, 6000, 65535)
PROTOCOLS = {4: (wire.TCP, wire.UDP, wire.SCTP, wire.ICMP, 47), 6: (wire.TCP, wire.UDP, wire.SCTP, wire.ICMPV6, 47)}
ICMP_TYPES = {4: (0, 3, 8, 8, 8, 13), 6: (1, 128, 128, 128, 129, 133, 134, 137, 143, 144)}
CIDRS = {4: ("10.0.0.0/24", "10.0.0.0/30", "10.0.0.4/31", "10.0.0.5/32"), 6: ("fd00::/64", "fd00::/126", "fd00::5/128")}
SHARED_MAC, STRANGE_MAC = parse_mac("02:00:00:00:ff:01"), parse_mac("02:00:00:00:99:99")
SHARED = {4: ip_address("10.0.0.200"), 6: ip_address("fd00::200")}
STRANGE = {4: ip_address("10.0.0.250"), 6: ip_address("fd00::250")}
GROUP_MACS = {4: BROADCAST_MAC, 6: parse_mac("33:33:00:00:00:01")}
GROUP_ADDRESSES = {4: (ip_address("255.255.255.255"), ip_address("224.0.0.251")), 6: (ip_address("ff02::1"),)}
ALLOWED: tuple[tuple[tuple[str, str | None], ...], ...] = (
    (("10.0.0.200/32", "02:00:00:00:ff:01"),),
    (("10.0.0.200/32", "02:00:00:00:ff:01"), ("fd00::200/128", "02:00:00:00:ff:01")),
    (("10.0.0.128/25", None),),
    (("10.0.0.0/29", None),),
)
FAR_AWAY = {
    4: (ip_address("198.51.100.7"), ip_address("198.51.9.7"), ip_address("192.0.2.7")),
    6: (ip_address("2001:db8::7"),),
}
UNSPECIFIED = {4: ip_address("0.0.0.0"), 6: ip_address("::")}  # noqa: S104 - an address in a packet, nobody listens.
ROUTED = 0.75  # How many tenants have a router.
_Maker = Callable[[Random, Packet, int, Port], Packet]


def dice(seed: int) -> Random:
    """Return a source of chances that is the same for the same seed."""
    return Random(seed)  # noqa: S311 - chosen for its repeatability.


def topology(random: Random) -> Topology:
    """Two tenants with equal addresses, three hosts and a foreign VTEP, every type of network among them, some joined by routers."""
    entities: list[Entity] = [*map(host, HOSTS), host(VTEP, vtep=True)]
    entities += [physical_network(name, *hosts) for name, hosts in WIRED.items()]
    kinds = ["vxlan", "vxlan", "vxlan", "gre", "geneve", "vlan", "vlan", "local", "flat"]
    random.shuffle(kinds)
    for tenant in ("red", "blue"):
        groups = [f"{tenant}/g{number}" for number in range(4)]
        for name in groups:
            ingress = [_rule(random, tenant, groups, line) for line in range(1, random.randrange(2, 6))]
            egress = [_rule(random, tenant, groups, line) for line in range(10, random.randrange(10, 15))]
            entities.append(group(name, ingress=ingress, egress=random.choice((None, None, egress))))
        # Networks of a router have addresses of their own each.
        joined = random.sample(range(3), random.choice((2, 2, 3))) if random.random() < ROUTED else []
        for number in range(3):
            place = number if number in joined else None
            entities += _network(random, f"{tenant}/n{number}", kinds.pop(), groups, place)
        if joined:
            names = [f"{tenant}/n{number}" for number in joined]
            entities.append(router(f"{tenant}/r", *names, routes=_routes(random, entities, names)))
    return fabric(*(_with_trunks(random, entities) if random.random() < 0.5 else entities))


def _routes(random: Random, entities: Sequence[Entity], names: Sequence[str]) -> list[tuple[str, str]]:
    """Static routes by ports of a router's networks; some next hops are nobody, and some routes are two."""
    ports = [each for each in entities if isinstance(each, Port) and each.network in names]
    found: list[tuple[str, str]] = []
    for to, version in (("198.51.100.0/24", 4), ("198.51.0.0/16", 4), ("0.0.0.0/0", 4), ("2001:db8::/32", 6)):
        hops: list[Address] = [ip for each in ports for ip in each.ips if ip.version == version]
        some = [random.choice(hops) for _ in range(random.choice((0, 1, 1, 2)) if hops else 0)]
        found += [(to, str(hop if random.random() < 0.9 else hop + 100)) for hop in some]
    return list(dict.fromkeys(found))


def at(place: int, text: str) -> str:
    """An address or prefix of the place 0 at another."""
    return text.replace("10.0.0.", f"10.0.{place}.").replace("fd00::", f"fd00:0:0:{place}::" if place else "fd00::")


def _with_trunks(random: Random, entities: Sequence[Entity]) -> list[Entity]:
    """Return the entities with some ports as subports of others on their hosts, as far as one interface has a network once."""
    found: list[Entity] = []
    on: dict[str, set[str]] = {}  # Parent -> the networks of its interface.
    for entity in entities:
        if isinstance(entity, Port) and entity.host != VTEP:
            mates = [
                mate
                for mate in found
                if isinstance(mate, Port)
                and (mate.parent, mate.tenant, mate.host) == (None, entity.tenant, entity.host)
                and entity.network not in on[mate.name]
            ]
            if mates and random.random() < 0.5:
                parent = random.choice(mates).name
                vlan = VLANS[len(on[parent]) - 1]
                on[parent].add(entity.network)
                found.append(replace(entity, name=f"{parent}:{vlan}", parent=parent, vlan=vlan))
                continue
            on[entity.name] = {entity.network}
        found.append(entity)
    return found


def _rule(random: Random, tenant: str, groups: Sequence[str], line: int) -> Rule:
    version = random.choice((4, 6))
    protocol = random.choice((*PROTOCOLS[version], None, None))
    ports: list[int | tuple[int, int]] = []
    if protocol in wire.WITH_PORTS:
        first, last = sorted(random.choices(PORTS, k=2))
        some_ports: list[int | tuple[int, int]] = [random.choice(PORTS), (first, last)]
        ports = some_ports[: random.randrange(3)]
    kind = code = None
    if protocol in (wire.ICMP, wire.ICMPV6) and random.random() < 0.5:
        kind = random.choice(ICMP_TYPES[version])
        code = random.choice((None, None, 0, 1))
    cidr, some = at(random.randrange(3), random.choice(CIDRS[version])), random.sample(groups, 2)
    far = random.choice(([], some[:1], some, [cidr], [cidr, some[0]]))
    both = cidr not in far and protocol not in (wire.ICMP, wire.ICMPV6) and random.random() < 0.7
    return allow(
        "any" if protocol is None else protocol,
        *ports,
        far=far,
        ethertype=None if both else version,
        icmp_type=kind,
        icmp_code=code,
        line=line,
        tenant=tenant,
    )


def _network(random: Random, name: str, kind: str, groups: Sequence[str], place: int | None) -> list[Entity]:
    physical = "physnet1" if kind in ("vlan", "flat") else None
    if kind == "vlan" and random.random() < 0.4:
        physical = "physnet2"
    shapes = (("10.0.0.0/24", "fd00::/64"), ("10.0.0.0/24", "fd00::/64"), ("10.0.0.0/24",), ())
    cidrs = [at(place or 0, cidr) for cidr in random.choice(shapes if place is None else shapes[:3])]
    # Where ports have low addresses, routers have high ones.
    gateways = [cidr.replace("0/24", "254").replace("/64", "fffe") for cidr in cidrs]
    dhcp = random.random() < 0.5
    entities: list[Entity] = [network(name, *cidrs, kind=kind, physical=physical, gateways=gateways, dhcp=dhcp)]
    hosts = WIRED[physical] if physical else HOSTS if kind == "local" else (*HOSTS, *HOSTS, VTEP)
    for number in range(1, random.randrange(3, 7)):
        allowed: list[tuple[str, str | None]] = []
        if cidrs and random.random() < 0.3:
            allowed = [(at(place or 0, ip), mac) for ip, mac in random.choice(ALLOWED)]
        entities.append(
            port(
                f"{name}p{number}",
                name,
                *(f"{cidr.partition('/')[0].removesuffix('0')}{number}" for cidr in cidrs),
                host=random.choice(hosts),
                groups=random.sample(groups, random.choice((0, 1, 1, 2, 2, 3))),
                secure=random.random() < 0.85,
                mac=f"02:00:00:00:00:0{number}",
                allowed=allowed,
            )
        )
    return entities


def packet(random: Random, fabric_: Topology) -> Packet:
    """A packet of a random port, plausible or with something forged."""
    ports = list(fabric_.ports.values())
    source = random.choice(ports)
    router_here = next((each for each in fabric_.routers.values() if source.network in each.networks), None)
    if router_here is not None and random.random() < 0.5:
        made = _through(random, fabric_, router_here, source)
        return forged(random, made, made.version or 4, random.choice(ports)) if random.random() < 0.15 else made
    near = [other for other in ports if other.network == source.network and other is not source]
    target = random.choice(near if random.random() < 0.9 else ports)
    version = random.choice((4, 4, 6))
    plain = Packet(
        source.name,
        source.mac,
        target.mac,
        wire.IPV4 if version == 4 else wire.IPV6,
        _address(random, source, version),
        _address(random, target, version),
    )
    make = random.choice((ip_packet, ip_packet, ip_packet, ip_packet, ip_packet, _neighbour, _neighbour, _dhcp, _other))
    made = make(random, plain, version, target)
    if random.random() < 0.35:
        made = forged(random, made, version, random.choice(ports))
    return made


def _through(random: Random, fabric_: Topology, by: Router, source: Port) -> Packet:
    """A packet to a router's MAC, for a port, for the router itself, for where a static route leads, or for nobody."""
    version = random.choice([4, *(ip.version for ip in source.ips)])
    targets = [each for each in fabric_.ports.values() if each.network in by.networks]
    beyond = [each for each in targets if is_beyond(fabric_, source, each)]
    target = random.choice(beyond if beyond and random.random() < 0.5 else targets)
    gateways = [each for name in by.networks for each in fabric_.networks[name].gateways if each.version == version]
    dst = _address(random, target, version)
    makers: list[_Maker] = [ip_packet] * 12 + [_neighbour, _neighbour, _dhcp, _other]
    if random.random() < 0.2:
        far = (*FAR_AWAY[version], *FAR_AWAY[version], *GROUP_ADDRESSES[version], STRANGE[version])
        dst = random.choice(far)
    elif gateways and random.random() < 0.2:
        dst = random.choice((*gateways, link_local(router_mac(source.network)) if version == 6 else gateways[0]))
        makers = [ip_packet, ping, ping, _neighbour]
    plain = Packet(
        source.name,
        source.mac,
        router_mac(source.network),
        wire.IPV4 if version == 4 else wire.IPV6,
        _address(random, source, version),
        dst,
        ttl=random.choice((*[64] * 8, 255, 2, 1)),
    )
    return random.choice(makers)(random, plain, version, target)


def beyond(random: Random) -> Topology:
    """A fabric like any other, where ports on hosts without a wire have much to send to networks there, and rules let more pass."""
    while True:
        found = topology(random)
        if len(_beyond(found)) >= 8:
            break
    ports = {
        name: replace(each, groups=each.groups if random.random() < 0.5 else ()) for name, each in found.ports.items()
    }
    # Who has no groups lets nothing in, unless it is without port security.
    secure = {name: each.port_security and bool(each.groups or random.random() < 0.3) for name, each in ports.items()}
    return replace(found, ports={name: replace(each, port_security=secure[name]) for name, each in ports.items()})


def beyond_packet(random: Random, fabric_: Topology) -> Packet:
    """A packet from a port on a host without a wire, rather for a network there."""
    source, _ = random.choice(_beyond(fabric_))
    by = next(each for each in fabric_.routers.values() if source.network in each.networks)
    made = _through(random, fabric_, by, source)
    return forged(random, made, made.version or 4, source) if random.random() < 0.1 else made


def _beyond(fabric_: Topology) -> list[tuple[Port, Port]]:
    ports = [each for each in fabric_.ports.values() if each.host != VTEP]
    senders = [each for each in ports if fabric_.networks[each.network].type is not NetworkType.LOCAL]
    joined = {name: each.name for each in fabric_.routers.values() for name in each.networks}
    return [
        (source, target)
        for source in senders
        for target in ports
        if source.network in joined
        and joined[source.network] == joined.get(target.network)
        and is_beyond(fabric_, source, target)
    ]


def is_beyond(fabric_: Topology, source: Port, target: Port) -> bool:
    """Whether a port is on a network that the other's host is not wired to."""
    physical = fabric_.networks[target.network].physical_network
    return physical is not None and source.host not in fabric_.physical_networks[physical].hosts


def ping(_random: Random, plain: Packet, version: int, _target: Port) -> Packet:
    protocol, kind = wire.ECHO[version]
    return replace(plain, protocol=protocol, icmp_type=kind)


def _address(random: Random, of: Port, version: int) -> Address:
    mine: list[Address] = [ip for ip in of.ips if ip.version == version]
    if version == 6 and random.random() < 0.2:
        return link_local(of.mac)
    if of.allowed and random.random() < 0.3:
        bits = 8 if version == 4 else 64
        return (
            type(mine[0])((int(mine[0]) >> bits << bits) + int(SHARED[version]) % (1 << bits))
            if mine
            else SHARED[version]
        )
    return random.choice(mine) if mine else STRANGE[version]


def ip_packet(random: Random, plain: Packet, version: int, _target: Port) -> Packet:
    protocol = random.choice(PROTOCOLS[version])
    sport, dport = random.randrange(1024, 65536), random.choice((*PORTS, *PORTS, random.randrange(1, 65536)))
    kind, code = 0, 0
    if protocol in (wire.ICMP, wire.ICMPV6):
        # Trackers differ about questions with another code than 0.
        kind, dport = random.choice(ICMP_TYPES[version]), 0
        code = 0 if kind in (*wire.QUESTIONS, wire.ECHO_REQUEST_6) else random.randrange(2)
    made = replace(plain, protocol=protocol, sport=sport, dport=dport, icmp_type=kind, icmp_code=code)
    if random.random() < 0.15:
        made = replace(made, eth_dst=GROUP_MACS[version], dst=random.choice(GROUP_ADDRESSES[version]))
    return made


def _neighbour(random: Random, plain: Packet, version: int, target: Port) -> Packet:
    """ARP or neighbour discovery: a question, an answer, a probe, an announcement."""
    shape = random.choice(("ask", "ask", "answer", "probe", "announce"))
    probe = shape == "probe"
    mac = plain.eth_dst if shape == "answer" else GROUP_MACS[version]
    asked = plain.src if shape == "announce" else plain.dst
    if version == 4:
        src = UNSPECIFIED[4] if probe else plain.src
        op = 2 if shape == "answer" else 1
        return replace(plain, eth_type=wire.ARP, eth_dst=mac, src=src, dst=asked, arp_op=op, hardware=plain.eth_src)
    kind = wire.NEIGHBOUR_ADVERTISEMENT if shape in ("answer", "announce") else wire.NEIGHBOUR_SOLICITATION
    about = plain.src if kind == wire.NEIGHBOUR_ADVERTISEMENT or probe else asked
    dst = target_address(target) if shape == "answer" else ip_address("ff02::1")
    made = replace(plain, protocol=wire.ICMPV6, icmp_type=kind, target=about, eth_dst=mac, dst=dst)
    if probe:
        return replace(made, src=UNSPECIFIED[6])
    return replace(made, hardware=random.choice((plain.eth_src, plain.eth_src, None)))


def target_address(target: Port) -> Address:
    """An IPv6 address of a port, its link-local one if it has no other."""
    return next((ip for ip in target.ips if isinstance(ip, IPv6Address)), link_local(target.mac))


def _dhcp(random: Random, plain: Packet, version: int, _target: Port) -> Packet:
    if version == 6 and random.random() < 0.4:
        asker = random.choice((UNSPECIFIED[6], link_local(plain.eth_src), plain.src))
        asks = replace(plain, protocol=wire.ICMPV6, icmp_type=wire.ROUTER_SOLICITATION, src=asker)
        return replace(asks, dst=GROUP_ADDRESSES[6][0], eth_dst=GROUP_MACS[6])
    client, server = (68, 67) if version == 4 else (546, 547)
    made = replace(plain, protocol=wire.UDP, sport=client, dport=server)
    if random.random() < 0.3:
        return replace(made, sport=server, dport=client)
    if version == 4 and random.random() < 0.7:
        return replace(made, src=UNSPECIFIED[4], dst=GROUP_ADDRESSES[4][0], eth_dst=BROADCAST_MAC)
    return made


def _other(random: Random, plain: Packet, _version: int, _target: Port) -> Packet:
    return replace(plain, eth_type=random.choice((0x88CC, 0x8847, 0x0842, 0x8035)), src=None, dst=None)


def forged(random: Random, made: Packet, version: int, other: Port) -> Packet:
    """The packet with one thing changed that its sender has no right to, or that nobody waits for."""
    changes = [
        replace(made, eth_src=random.choice((other.mac, STRANGE_MAC, SHARED_MAC, GROUP_MACS[version]))),
        replace(made, eth_dst=random.choice((other.mac, STRANGE_MAC, SHARED_MAC, GROUP_MACS[version]))),
        replace(made, tagged=True),
    ]
    if made.src is not None:
        addresses = (_address(random, other, version), STRANGE[version], SHARED[version], UNSPECIFIED[version])
        changes += [replace(made, src=random.choice(addresses)), replace(made, dst=random.choice(addresses[:3]))]
    if made.hardware is not None:
        changes.append(replace(made, hardware=random.choice((other.mac, STRANGE_MAC, SHARED_MAC))))
    if made.target is not None:
        changes.append(replace(made, target=random.choice((target_address(other), SHARED[6], STRANGE[6]))))
    return random.choice(changes)
