"""One small fabric, with something of nearly every kind of rule; `tests.proof.borders` has its packets."""

from __future__ import annotations

from controller.model.entities import AddressGroup, SecurityGroup, Topology
from tests.builders import address_group, allow, fabric, group, host, network, physical_network, port

# Who is where and in which groups, so that equal MACs and addresses of the two tenants never stand for the same.
PLACES = {
    "red": ("hv1", "hv1", "hv2", "hv3", "hv1", "hv2", "hv3"),
    "blue": ("hv1", "hv1", "hv2", "hv1", "hv2", "hv1"),
    "green": ("hv1", "hv2", "hv1", "hv2", "hv1", "hv2"),
}
GROUPS = {
    "red": (["client"], ["web"], ["web"], ["web", "mute"], ["mute"], ["mute"], ["client"]),
    "blue": (["web"], ["client"], ["mute"], ["web"], [], []),
    "green": (["plain"], ["plain"], ["dry"], ["some"], ["some"], []),
}
UNGUARDED = 6


def story() -> Topology:
    """Three tenants with equal addresses and MACs: on VXLAN over three hosts, on a VLAN over two, and with the rarer kinds of groups."""
    networks = (
        network("red/n", "10.0.0.0/24", "fd00::/64", segment=5001),
        network("blue/n", "10.0.0.0/24", "fd00::/64", kind="vlan", segment=110, physical="physnet1"),
        network("green/n", "10.0.0.0/24", "fd00::/64", segment=5002),
    )
    groups = [each for tenant in ("red", "blue") for each in _groups(tenant)]
    ports = [
        port(
            f"{tenant}/p{number}",
            f"{tenant}/n",
            f"10.0.0.{number}",
            f"fd00::{number}",
            host=place,
            groups=[f"{tenant}/{name}" for name in names],
            # The same MACs for both, but of other addresses.
            mac=f"02:00:00:00:00:0{7 - number if tenant == 'blue' else number}",
            secure=number != UNGUARDED,
        )
        for tenant in PLACES
        for number, (place, names) in enumerate(zip(PLACES[tenant], GROUPS[tenant], strict=True), 1)
    ]
    wires = physical_network("physnet1", "hv1", "hv2")
    return fabric(host("hv1"), host("hv2"), host("hv3"), wires, *networks, *groups, *_rare_groups(), *ports)


def _groups(tenant: str) -> tuple[SecurityGroup, ...]:
    """Groups with rules of most kinds."""
    return (
        group(
            f"{tenant}/web",
            ingress=[
                allow("tcp", (80, 95), far=f"{tenant}/client"),
                allow("tcp", 22, far=f"{tenant}/web"),
                allow("udp", 53, far="10.0.0.0/30", ethertype=4),
                allow("udp", 53, 546, 547, ethertype=6),
                allow("udp", (67, 69), ethertype=4),
                allow("sctp", 80),
                allow("icmp", icmp_type=8, ethertype=4),
                allow("icmpv6", icmp_type=128, ethertype=6, far="fd00::/126"),
            ],
            egress=[
                allow("tcp", 3306, far=f"{tenant}/client"),
                allow("tcp", 22, far=[f"{tenant}/web", f"{tenant}/client"]),
                allow("tcp", 23, far=f"{tenant}/mute"),
                allow("udp", ethertype=6),
                allow("sctp", 80),
            ],
        ),
        group(
            f"{tenant}/client",
            ingress=[
                allow("tcp", (3306, 3307)),
                allow("tcp", 22, far=f"{tenant}/web"),
                allow("tcp", 23, far=f"{tenant}/mute"),
                allow(far=["10.0.0.5/32", "fd00::5/128"]),
            ],
        ),
        group(
            f"{tenant}/mute",
            ingress=[allow("icmp", icmp_type=8, ethertype=4), allow("tcp", 23)],
            # What follows of any protocol is allowed there, errors as well, which have no ports.
            egress=[allow("tcp", 79), allow(far=["10.0.0.1/32", "10.0.0.7/32", "fd00::1/128", "fd00::7/128"])],
        ),
    )


def _rare_groups() -> tuple[SecurityGroup | AddressGroup, ...]:
    """A stateless group, one that is not enforced, and one with rules of which some are not, with addresses and with a log."""
    plain = group(
        "green/plain",
        ingress=[
            allow("tcp", 80, far="green/plain"),
            allow("udp", (52, 53), far="10.0.0.4/31", ethertype=4),
            allow("tcp", 22, addresses=["green/known"]),
            allow("icmp", icmp_type=8, ethertype=4),
            allow("icmpv6", icmp_type=128, ethertype=6),
            allow("sctp", 80),
        ],
        egress=[
            allow("tcp", 80, far="green/plain"),
            allow("tcp", 22),
            allow("udp", ethertype=4),
            allow("icmpv6", ethertype=6),
            allow("tcp", 3306, enforce=False),
        ],
        stateless=True,
    )
    dry = group("green/dry", ingress=[allow("tcp", 80)], egress=[allow("tcp", 22)], enforce=False)
    some = group(
        "green/some",
        ingress=[
            allow("tcp", 80, far="green/plain"),
            allow("tcp", (79, 80), far="green/dry", enforce=False),
            allow("tcp", 22, addresses=["green/known"], log=True),
            allow("udp", 53, enforce=False),
            allow("tcp", 3306, 95, 96, far=["10.0.0.0/31", "10.0.0.3/32", "10.0.0.4/31", "fd00::4/127"]),
        ],
        egress=[allow("tcp", 22, addresses=["green/known"]), allow("udp", 53, enforce=False), allow("tcp", 80)],
    )
    return plain, dry, some, address_group("green/known", "10.0.0.1/32", "10.0.0.6/32", "fd00::4/127")
