"""What a port may not do to others, what a stranger may not do to the fabric, and that networks stay apart.

Two tenants have the same addresses and the same MACs on the same two hosts; a foreign VTEP has a port of the first one's network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from controller.model.entities import NetworkType, Topology
from controller.pipeline.compile import compile_fabric, pipeline
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.builders import allow, fabric, group, host, network, physical_network, port
from tests.ovs.fabric import FabricTwin
from tests.ovs.frames import frame
from tests.ovs.vtep import Tunnelled
from tests.scenarios.frames import (
    ALL_NODES,
    ARP_REPLY,
    ARP_REQUEST,
    arp,
    own,
    solicitation,
    tagged,
    to_all,
    udp,
    who_has,
)

pytestmark = pytest.mark.ovs

STRANGE = 0x020000009999
RED, BLUE, LAN = 5001, 5002, 110
STRANGER = IPv4Address("172.31.0.77")


def topology() -> Topology:
    ports = [
        port(
            f"{tenant}/{name}",
            f"{tenant}/n",
            f"10.0.0.{last}",
            f"fd00::{last}",
            host=on,
            groups=[f"{tenant}/all"],
            mac=f"02:00:00:00:00:0{last}",
            secure=name != "open",
        )
        for tenant in ("red", "blue")
        for name, last, on in (("a", 1, "hv1"), ("b", 2, "hv1"), ("c", 3, "hv2"), ("open", 4, "hv2"))
    ]
    return fabric(
        *(host(f"hv{number}") for number in (1, 2, 3)),
        host("rack9", vtep=True),
        physical_network("physnet1", "hv1", "hv2"),
        network("red/n", "10.0.0.0/24", "fd00::/64", segment=RED),
        network("blue/n", "10.0.0.0/24", "fd00::/64", segment=BLUE),
        network("red/lan", "10.0.1.0/24", kind="vlan", segment=LAN, physical="physnet1"),
        network("red/there", "10.0.2.0/24", segment=5003),
        group("red/all", ingress=[allow()]),
        group("blue/all", ingress=[allow(tenant="blue")]),
        *ports,
        port("red/lan1", "red/lan", "10.0.1.1", host="hv1", groups=["red/all"]),
        port("red/lan2", "red/lan", "10.0.1.2", host="hv2", groups=["red/all"]),
        port("red/there", "red/there", "10.0.2.1", host="hv3", groups=["red/all"]),
        port("red/bare", "red/n", "10.0.0.9", "fd00::9", host="rack9", mac="02:00:00:00:00:09"),
    )


TOPOLOGY = topology()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricTwin]:
    with FabricTwin(tmp_path_factory.mktemp("fabric"), TOPOLOGY) as twin:
        twin.load(compile_fabric(TOPOLOGY, bindings=twin.bindings))
        yield twin


@pytest.fixture
def net(running: FabricTwin) -> FabricTwin:
    """The fabric, without connections of earlier stories."""
    running.forget()
    return running


def members(tenant: str, *but: str) -> set[str]:
    bare = ["red/bare"] if tenant == "red" else []
    return {*(f"{tenant}/{name}" for name in ("a", "b", "c", "open")), *bare} - set(but)


def still_works(net: FabricTwin, source: str = "red/a", target: str = "red/c") -> None:
    """The control of a negative check: honest packets take the same path afterwards."""
    for version in (4, 6):
        good = udp(TOPOLOGY, source, target, version=version)
        assert net.send(source, good) == {target: [good]}


@pytest.mark.parametrize("version", [4, 6])
def test_tenants_with_the_same_addresses_and_macs_do_not_meet(net: FabricTwin, version: int) -> None:
    """The same bytes sent by red's and blue's port: each reaches its own tenant's port, under its own VNI."""
    assert TOPOLOGY.ports["red/c"].mac == TOPOLOGY.ports["blue/c"].mac
    for tenant, vni in (("red", RED), ("blue", BLUE)):
        for target in ("b", "c"):
            sent = udp(TOPOLOGY, "red/a", "red/" + target, version=version)
            assert net.send(f"{tenant}/a", sent) == {f"{tenant}/{target}": [sent]}
            assert [packet.key for packet in net.underlay] == [vni] * (target == "c")


def test_broadcasts_reach_every_member_once_and_nobody_else(net: FabricTwin) -> None:
    """From each port of each network, the foreign VTEP's included: one copy for each other member, wherever it is."""
    for source in (*members("red"), *members("blue")):
        tenant = source.partition("/")[0]
        for flood in (to_all(TOPOLOGY, source), to_all(TOPOLOGY, source, mac=ALL_NODES)):
            assert net.send(source, flood) == {name: [flood] for name in members(tenant, source)}, source
            hosts = {net.location[name] for name in members(tenant)} - {net.location[source]}
            assert sorted(str(packet.dst) for packet in net.underlay) == sorted(
                str(TOPOLOGY.hosts[name].tunnel_ip) for name in hosts
            )
    lan = to_all(TOPOLOGY, "red/lan1")
    assert net.send("red/lan1", lan) == {"red/lan2": [lan]}


@pytest.mark.parametrize("vlan", [0, 1, LAN, 4095])
def test_a_port_cannot_choose_a_vlan(net: FabricTwin, vlan: int) -> None:
    """A tag that a port adds, be it another network's VLAN or its local tag, leads nowhere."""
    local_tags = [int(tag) for tag in re.findall(r"dl_vlan=(\d+)", "\n".join(net.hosts["hv1"].flows("br-int")))]
    assert LAN in local_tags
    assert len(set(local_tags)) >= 3, "each network that comes in through a patch port has a tag"
    for source, target in (("red/a", "red/c"), ("red/lan1", "red/lan2"), ("red/open", "red/c")):
        for tag in {vlan, *local_tags}:
            for honest in (udp(TOPOLOGY, source, target), to_all(TOPOLOGY, source)):
                assert net.send(source, tagged(honest, tag)) == {}, (source, tag)
                assert net.send(source, tagged(tagged(honest, tag), LAN)) == {}, (source, tag)
    assert (net.wires, net.underlay) == ([], [])
    still_works(net)


def test_a_port_cannot_choose_a_vni(net: FabricTwin) -> None:
    """A tunnel packet that a port wraps itself is a datagram of its network like any other; the underlay never sees it bare."""
    inner = udp(TOPOLOGY, "blue/a", "blue/c")
    vxlan = bytes.fromhex("08000000") + (BLUE << 8).to_bytes(4, "big")
    a = TOPOLOGY.ports["red/a"]
    head = frame(
        Packet(
            "red/a",
            a.mac,
            TOPOLOGY.ports["red/c"].mac,
            wire.IPV4,
            own(a),
            ip_address("172.31.0.2"),
            wire.UDP,
            5,
            4789,
        )
    )
    forged = head[:42] + vxlan + inner
    forged = forged[:16] + (len(forged) - 14).to_bytes(2, "big") + forged[18:]
    deliveries = net.send("red/a", forged)
    assert not any(name.startswith("blue/") for name in deliveries)
    assert {packet.key for packet in net.underlay} <= {RED}
    still_works(net)


def lies(source: str) -> dict[str, bytes]:
    """What red/a or red/open could say that is not theirs to say, by name."""
    me, b, c = (TOPOLOGY.ports[name] for name in (source, "red/b", "red/c"))
    mine, theirs, nobody = str(own(me)), str(own(b)), "10.0.0.77"
    said = Packet(source, me.mac, ALL_NODES, wire.IPV6, own(me, 6), IPv6Address("ff02::1"), wire.ICMPV6)
    told = replace(said, icmp_type=wire.NEIGHBOUR_ADVERTISEMENT, target=own(me, 6), hardware=me.mac)
    asked = replace(told, icmp_type=wire.NEIGHBOUR_SOLICITATION, target=IPv6Address("fd00::77"))
    served = Packet(source, me.mac, c.mac, wire.IPV4, own(me), own(c), wire.UDP, 67, 68)
    served_6 = Packet(source, me.mac, c.mac, wire.IPV6, own(me, 6), own(c, 6), wire.UDP, 547, 546)
    return {
        "MAC": udp(TOPOLOGY, source, "red/c", eth_src=STRANGE),
        "MAC of another port": udp(TOPOLOGY, source, "red/c", eth_src=b.mac),
        "IPv4 source": udp(TOPOLOGY, source, "red/c", src=theirs),
        "IPv4 source of nobody": udp(TOPOLOGY, source, "red/c", src="192.0.2.1"),
        "IPv6 source": udp(TOPOLOGY, source, "red/c", version=6, src="fd00::2"),
        "IPv6 link-local source": udp(TOPOLOGY, source, "red/c", version=6, src="fe80::ff:fe00:2"),
        "ARP reply for another": arp(ARP_REPLY, (me.mac, theirs), (c.mac, str(own(c))), eth_dst=c.mac),
        "ARP announcement of nobody": arp(ARP_REQUEST, (me.mac, nobody), (0, nobody)),
        "ARP with another's hardware address": arp(ARP_REQUEST, (b.mac, mine), (0, nobody), eth_src=me.mac),
        "ARP from another's MAC": arp(ARP_REQUEST, (me.mac, mine), (0, nobody), eth_src=b.mac),
        "advertisement of another": frame(replace(told, target=own(b, 6))),
        "advertisement with another's MAC": frame(replace(told, hardware=b.mac)),
        "solicitation with another's MAC": frame(replace(asked, hardware=b.mac)),
        "router advertisement": frame(replace(said, icmp_type=wire.ROUTER_ADVERTISEMENT)),
        "redirect": frame(replace(said, icmp_type=wire.REDIRECT)),
        "DHCP offer": frame(served),
        "DHCPv6 advertise": frame(served_6),
    }


@pytest.mark.parametrize("lie", lies("red/a"))
def test_a_guarded_port_cannot_forge(net: FabricTwin, lie: str) -> None:
    """MAC, IPv4, IPv6, ARP and neighbour discovery of others, DHCP server's and router's messages: dropped at the port.

    A port without port security may say all of it, and is heard.
    """
    assert net.send("red/a", lies("red/a")[lie]) == {}
    assert net.underlay == []
    heard = lies("red/open")[lie]
    deliveries = net.send("red/open", heard)
    assert deliveries["red/c"] == [heard]
    assert not any(name.startswith("blue/") for name in deliveries)
    net.forget()
    still_works(net)


def test_what_a_port_may_say_of_itself_is_heard(net: FabricTwin) -> None:
    """Announcements of its own address by ARP and ND, its probes, a DHCP client's request: each reaches all others."""
    a = TOPOLOGY.ports["red/a"]
    told = Packet(
        "red/a",
        a.mac,
        ALL_NODES,
        wire.IPV6,
        own(a, 6),
        IPv6Address("ff02::1"),
        wire.ICMPV6,
        icmp_type=wire.NEIGHBOUR_ADVERTISEMENT,
        target=own(a, 6),
        hardware=a.mac,
    )
    nobody, everybody = ip_address("0.0.0.0"), ip_address("255.255.255.255")  # noqa: S104 - addresses in a packet.
    discover = Packet("red/a", a.mac, 0xFFFFFFFFFFFF, wire.IPV4, nobody, everybody, wire.UDP, 68, 67)
    for sent in (
        frame(told),
        who_has(TOPOLOGY, "red/a", str(own(a))),
        who_has(TOPOLOGY, "red/a", str(own(a)), sender=str(nobody)),
        solicitation(TOPOLOGY, "red/a", str(own(a, 6)), probe=True),
        frame(discover),
    ):
        assert net.send("red/a", sent) == {name: [sent] for name in members("red", "red/a")}


def test_known_neighbours_are_answered_on_the_host_and_unknown_ones_asked_for_once(net: FabricTwin) -> None:
    """No ARP and no ND for an address of the files crosses a tunnel, not even for a foreign VTEP's; others cross once a host."""
    for known in ("10.0.0.2", "10.0.0.3", "10.0.0.9"):
        assert list(net.send("red/a", who_has(TOPOLOGY, "red/a", known))) == ["red/a"]
        assert net.underlay == []
    for known in ("fd00::2", "fd00::3", "fd00::9"):
        assert list(net.send("red/a", solicitation(TOPOLOGY, "red/a", known))) == ["red/a"]
        assert net.underlay == []
    for unknown in (who_has(TOPOLOGY, "red/a", "10.0.0.77"), solicitation(TOPOLOGY, "red/a", "fd00::77")):
        assert net.send("red/a", unknown) == {name: [unknown] for name in members("red", "red/a")}
        assert sorted(str(packet.dst) for packet in net.underlay) == ["172.31.0.2", "172.31.0.9"]


def test_a_port_that_no_file_names_reaches_nobody_and_hears_nothing(net: FabricTwin) -> None:
    """An interface that somebody plugged by hand, even with a member's MAC and address, is no member."""
    twin = net.hosts["hv1"]
    twin.configure(*twin.port_commands("br-int", {"by-hand": 4000}))
    before = missed(net, "hv1", "br-int", "classify")
    for said in (udp(TOPOLOGY, "red/a", "red/b"), to_all(TOPOLOGY, "red/a"), who_has(TOPOLOGY, "red/a", "10.0.0.2")):
        twin.inject("by-hand", said)
        twin.inject("by-hand", tagged(said, LAN))
    flood = to_all(TOPOLOGY, "red/a")
    assert net.send("red/a", flood) == {name: [flood] for name in members("red", "red/a")}
    assert twin.sent("by-hand") == []
    assert missed(net, "hv1", "br-int", "classify") == before + 6, "what is dropped is counted"


def missed(net: FabricTwin, on: str, bridge: str, table: str) -> int:
    """Return what the last flow of a table has counted and dropped, because no other wanted it."""
    # The datapath counts by itself, and hands the counts over when it forgets a flow.
    net.hosts[on].control.call("revalidator/purge")
    number = pipeline().tables[table].number
    last = re.compile(rf" table={number}, n_packets=(\d+), n_bytes=\d+, (?:idle_age=\d+, )?priority=0 actions=drop")
    [count] = [found[1] for line in net.hosts[on].flows(bridge, statistics=True) if (found := last.search(line))]
    return int(count)


def tunnelled(net: FabricTwin) -> Tunnelled:
    """A good packet as the underlay carries it from hv2 to hv1."""
    good = udp(TOPOLOGY, "red/c", "red/a")
    assert net.send("red/c", good) == {"red/a": [good]}
    [packet] = net.underlay
    return packet


@pytest.mark.parametrize("inside", ["unicast", "broadcast", "ARP"])
def test_a_tunnel_packet_from_an_unknown_vtep_is_dropped_and_counted(net: FabricTwin, inside: str) -> None:
    """The right VNI and an honest frame, but from an address that is no host's, or a host's that has no such network."""
    known = tunnelled(net)
    frames = {
        "unicast": known.frame,
        "broadcast": to_all(TOPOLOGY, "red/c"),
        "ARP": who_has(TOPOLOGY, "red/c", "10.0.0.77"),
    }
    good = replace(known, frame=frames[inside])
    not_a_member = TOPOLOGY.hosts["hv3"].tunnel_ip
    assert isinstance(not_a_member, IPv4Address)
    for stranger in (STRANGER, not_a_member):
        before = missed(net, "hv1", "br-tun", "from_tunnel")
        assert net.receive_tunnelled(replace(good, src=stranger)) == {}
        assert missed(net, "hv1", "br-tun", "from_tunnel") == before + 1
    receivers = {"red/a"} if inside == "unicast" else {"red/a", "red/b"}
    assert net.receive_tunnelled(good) == {name: [good.frame] for name in receivers}


def test_a_vni_from_a_known_vtep_leads_to_its_own_network_only(net: FabricTwin) -> None:
    """A VTEP may speak in networks that it has: not in another's, not in one that nobody has, not in a wider number."""
    good = tunnelled(net)
    rack = TOPOLOGY.hosts["rack9"].tunnel_ip
    assert isinstance(rack, IPv4Address)
    for vni in (BLUE, 5003, 0, RED ^ 1 << 23, 0xFFFFFF):
        assert net.receive_tunnelled(replace(good, src=rack, key=vni)) == {}, vni
    assert net.receive_tunnelled(replace(good, key=BLUE)) == {"blue/a": [good.frame]}, "hv2 has both networks"
    for kind in (NetworkType.GRE, NetworkType.GENEVE):
        assert net.receive_tunnelled(replace(good, kind=kind)) == {}, "another type is another network"
    assert net.receive_tunnelled(good) == {"red/a": [good.frame]}


def test_a_tag_inside_a_tunnel_is_dropped(net: FabricTwin) -> None:
    """A frame that carries a tag within its encapsulation does not come out in the network of that tag."""
    good = tunnelled(net)
    for tag in (0, 1, LAN, 4095):
        assert net.receive_tunnelled(replace(good, frame=tagged(good.frame, tag))) == {}
    assert net.receive_tunnelled(good) == {"red/a": [good.frame]}


def test_what_comes_from_a_tunnel_goes_into_no_tunnel_and_on_no_wire(net: FabricTwin) -> None:
    """Split horizon: broadcasts and unknown MACs from another host end here."""
    good = tunnelled(net)
    for inside in (to_all(TOPOLOGY, "red/c"), udp(TOPOLOGY, "red/c", "red/a", eth_dst=STRANGE)):
        net.receive_tunnelled(replace(good, frame=inside))
        assert len(net.underlay) == 1, "only the packet that arrived"
        assert net.wires == []


@pytest.mark.parametrize("kind", ["vxlan", "geneve", "gre"])
def test_all_24_bits_of_a_vni_count(tmp_path: Path, kind: str) -> None:
    """Networks whose numbers differ in one bit each, with equal addresses and MACs, are different on the wire and at its end."""
    numbers = [1 << bit for bit in range(24)] + [0xFFFFFF]
    made = fabric(
        host("hv1"),
        host("hv2"),
        group("red/all", ingress=[allow()]),
        *(network(f"red/n{number}", "10.0.0.0/24", kind=kind, segment=number) for number in numbers),
        *(
            port(f"red/{side}{number}", f"red/n{number}", ip, host=on, groups=["red/all"], mac=mac)
            for number in numbers
            for side, ip, on, mac in (
                ("a", "10.0.0.1", "hv1", "02:00:00:00:00:01"),
                ("b", "10.0.0.2", "hv2", "02:00:00:00:00:02"),
            )
        ),
    )
    with FabricTwin(tmp_path, made) as twin:
        twin.load(compile_fabric(made, bindings=twin.bindings))
        for number in numbers:
            for sent in (udp(made, f"red/a{number}", f"red/b{number}"), to_all(made, f"red/a{number}")):
                assert twin.send(f"red/a{number}", sent) == {f"red/b{number}": [sent]}
                assert [packet.key for packet in twin.underlay] == [number]
