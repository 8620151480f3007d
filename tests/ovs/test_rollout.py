"""A change of several hosts on real switches: at every moment of it, whatever both topologies allow is delivered, and
nothing that neither allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from controller.model.address import BROADCAST_MAC
from controller.model.entities import Port, Rule, SecurityGroup, Topology
from controller.proof.packet import ARP, IPV4, TCP, UDP, Packet
from tests.builders import Entity, allow, fabric, group, host, network, physical_network, port
from tests.ovs.rolling import RollingTwin, plan, walks, wrong

pytestmark = pytest.mark.ovs

WAYS = 2
NUMBERS = (22, 80, 81, 443)
NOBODY = 0x020000009999


def town(*entities: Entity) -> Topology:
    """Three hosts that are joined by tunnels and by a wire, and what a story adds."""
    hosts = [host(name) for name in ("hv1", "hv2", "hv3")]
    return fabric(*hosts, physical_network("physnet1", "hv1", "hv2", "hv3"), *entities)


def client(number: int, place: str, *groups: str, secure: bool = True) -> Port:
    return port(f"red/c{number}", "red/n", f"10.0.0.{number}", host=place, groups=groups, secure=secure)


def server(place: str) -> Port:
    return port("red/web", "red/n", "10.0.0.80", host=place, groups=["red/web"])


def web(*numbers: int | tuple[int, int], far: str = "", egress: Sequence[Rule] | None = None) -> SecurityGroup:
    ingress = [allow("tcp", *numbers, far=[far] if far else []), allow("udp", 80)]
    return group("red/web", ingress=ingress, egress=egress)


def clients(*ingress: Rule, egress: Sequence[Rule] | None = None) -> SecurityGroup:
    return group("red/clients", ingress=ingress, egress=egress)


TUNNEL = network("red/n", "10.0.0.0/24", segment=110)
WIRE = network("red/n", "10.0.0.0/24", kind="vlan", segment=110, physical="physnet1")
SSH = allow("tcp", 22)
CLIENTS, OTHERS = clients(SSH), group("red/others", ingress=[allow("tcp", 443)])
C1, C2, C3 = client(1, "hv1", "red/clients"), client(2, "hv2", "red/clients"), client(3, "hv3", "red/others")
BACKUP = port("red/backup", "red/n", "10.0.0.81", host="hv2", groups=["red/web"])
TWO, THREE = (TUNNEL, CLIENTS, C1, C2), (TUNNEL, CLIENTS, OTHERS, C1, C2, C3)
PLAIN, FRIENDS = web(80), web(80, far="red/clients")
JOINT = (TUNNEL, CLIENTS, OTHERS, web(80, 81, 443, far="red/clients"), C1, C2, server("hv3"))
MEMBERS = (client(3, "hv3", "red/clients", "red/others"), client(4, "hv1", "red/clients", "red/web"))
OPEN = group("red/web", ingress=[allow()])
CLOSED = web(80, egress=[SSH])

Story = tuple[Sequence[Entity], Sequence[Entity], Sequence[Entity]]  # what stays, what goes, what comes

STORIES: dict[str, Story] = {
    "a port moves to a host that has its network": ((*THREE, FRIENDS), [server("hv1")], [server("hv2")]),
    "a port moves to a host that is new to its network": ((*TWO, PLAIN), [server("hv1")], [server("hv3")]),
    "the only port of a host moves to where others are": ((*TWO, PLAIN), [server("hv3")], [server("hv1")]),
    "all ports meet on one host": ((TUNNEL, CLIENTS, PLAIN, C1), [server("hv2")], [server("hv1")]),
    "a port moves on a wire": ((WIRE, CLIENTS, PLAIN, C1, C2), [server("hv1")], [server("hv3")]),
    "a port comes, and its group": (THREE, [], [FRIENDS, server("hv1")]),
    "a port goes, and its group": (THREE, [FRIENDS, server("hv1")], []),
    "one end is closed and the other opened": (
        (TUNNEL, OTHERS, C1, C3, server("hv2")),
        [clients(SSH, egress=[allow("tcp", 80)]), web(443)],
        [clients(SSH, egress=[allow("tcp", 443)]), web(80)],
    ),
    "a rule gets wider while another goes": (
        (TUNNEL, C1, C2, server("hv3")),
        [clients(SSH, allow("tcp", 80)), web(80)],
        [CLIENTS, web((80, 81))],
    ),
    "a rule gets narrower while another comes": (
        (TUNNEL, C1, C2, server("hv3")),
        [CLIENTS, web((80, 95), far="red/clients")],
        [clients(allow("tcp", 22, 80)), web((80, 87), far="red/clients")],
    ),
    "anything becomes one port": ((*TWO, server("hv3"), BACKUP), [OPEN], [CLOSED]),
    "one port becomes anything": ((*TWO, server("hv3"), BACKUP), [CLOSED], [OPEN]),
    "a port joins a further group": (
        (TUNNEL, CLIENTS, OTHERS, FRIENDS, C2, C3, server("hv3")),
        [C1],
        [client(1, "hv1", "red/clients", "red/others")],
    ),
    "a port leaves a group": (
        (TUNNEL, CLIENTS, OTHERS, FRIENDS, C2, C3, server("hv3")),
        [client(1, "hv1", "red/clients", "red/others")],
        [C1],
    ),
    "members more make a rule a conjunction": (JOINT, [C3], MEMBERS),
    "members less make a conjunction a rule": (JOINT, MEMBERS, [C3]),
    "who hears what nobody knows comes": ((*TWO, PLAIN, server("hv3")), [], [client(4, "hv1", secure=False)]),
    "who hears what nobody knows moves": (
        (*TWO, PLAIN, server("hv3")),
        [client(4, "hv1", secure=False)],
        [client(4, "hv2", secure=False)],
    ),
    "who hears what nobody knows goes": ((*TWO, PLAIN, server("hv3")), [client(4, "hv1", secure=False)], []),
}


def packets(*sides: Topology) -> Iterator[Packet]:
    """What every port may say to every other, to everybody, and to nobody whom the files know."""
    ports = list({name: port for side in sides for name, port in side.ports.items()}.values())
    for source in ports:
        for target in ports:
            if target is not source:
                hello = Packet(source.name, source.mac, target.mac, IPV4, source.ips[0], target.ips[0], TCP, 40000)
                yield from (replace(hello, dport=number) for number in NUMBERS)
                yield replace(hello, protocol=UDP, dport=80)
        mac, ip = source.mac, source.ips[0]
        shout = Packet(source.name, mac, BROADCAST_MAC, IPV4, ip, ports[0].ips[0], UDP, 40000, 80)
        yield shout
        yield replace(shout, eth_dst=NOBODY)
        yield Packet(source.name, mac, BROADCAST_MAC, ARP, ip, ip, arp_op=1, hardware=mac)


@pytest.mark.parametrize("story", STORIES)
def test_no_moment_of_a_change_is_worse_than_both_its_ends(tmp_path: Path, story: str) -> None:
    stays, goes, comes = STORIES[story]
    before, after = town(*stays, *goes), town(*stays, *comes)
    with RollingTwin(tmp_path, before, after) as twin:
        change = plan(before, after, twin.bindings)
        for state in walks(change, WAYS):
            assert wrong(twin.loaded(state), change, packets(before, after)) == []


@pytest.mark.parametrize("story", ["a port moves on a wire", "one end is closed and the other opened"])
def test_another_order_would_be_noticed(tmp_path: Path, story: str) -> None:
    stays, goes, comes = STORIES[story]
    before, after = town(*stays, *goes), town(*stays, *comes)
    with RollingTwin(tmp_path, before, after) as twin:
        change = plan(before, after, twin.bindings)
        change.shares.reverse()
        assert any(wrong(twin.loaded(state), change, packets(before, after)) for state in walks(change, WAYS))
