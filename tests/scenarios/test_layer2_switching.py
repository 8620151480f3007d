"""Layer 2 on three hosts, after OVN's tests: who receives which frame, who answers ARP and ND, and that nothing is learned.

Each host has two guarded ports and one without port security, which takes MACs that no file names. A second tenant
uses the same addresses and the same MACs on the same hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from tests.builders import allow, fabric, group, host, network, port
from tests.ovs.fabric import Deliveries, FabricTwin
from tests.scenarios.frames import (
    ALL_NODES,
    ARP_REPLY,
    ARP_REQUEST,
    MDNS,
    arp,
    icmpv6_is_sound,
    own,
    solicitation,
    tagged,
    to_all,
    udp,
    who_has,
)

pytestmark = pytest.mark.ovs

STRANGE = 0x020000009999
UNKNOWN = "10.0.0.77"
SECOND = "10.0.0.111"


def nine_ports(tenant: str) -> list[str]:
    return [f"{tenant}/p{host}{number}" for host in (1, 2, 3) for number in (1, 2, 3)]


RED = nine_ports("red")
OPEN = [name for name in RED if name.endswith("3")]
GUARDED = [name for name in RED if name not in OPEN]


def topology() -> Topology:
    ports = []
    for tenant in ("red", "blue"):
        for name in nine_ports(tenant):
            last = name[-2:]
            addresses = [f"10.0.0.{last}", f"fd00::{last}"] + [SECOND] * (last == "11")
            mac = f"02:00:00:00:00:{last}"
            open_too = tenant == "red" and name.endswith("3")
            ports.append(
                port(
                    name,
                    f"{tenant}/n",
                    *addresses,
                    host=f"hv{last[0]}",
                    groups=[f"{tenant}/all"],
                    secure=not open_too,
                    mac=mac,
                )
            )
    return fabric(
        *(host(f"hv{number}") for number in (1, 2, 3)),
        network("red/n", "10.0.0.0/24", "fd00::/64", segment=5001),
        network("blue/n", "10.0.0.0/24", "fd00::/64", segment=5002),
        group("red/all", ingress=[allow()]),
        group("blue/all", ingress=[allow(tenant="blue")]),
        *ports,
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricTwin]:
    made = topology()
    with FabricTwin(tmp_path_factory.mktemp("fabric"), made) as twin:
        twin.load(compile_fabric(made, bindings=twin.bindings))
        yield twin


@pytest.fixture
def net(running: FabricTwin) -> FabricTwin:
    """The fabric, without connections of earlier stories."""
    running.forget()
    return running


def all_but(*names: str) -> set[str]:
    return set(RED) - set(names)


def everyone_once(frame: bytes, names: set[str]) -> Deliveries:
    return {name: [frame] for name in names}


def test_s01_unicast_reaches_its_owner_and_nobody_else(net: FabricTwin) -> None:
    """Every ordered pair of nine ports on three hosts: exactly one copy, at the owner, never back at the sender."""
    for source, target in permutations(RED, 2):
        sent = udp(net.topology, source, target)
        assert net.send(source, sent) == {target: [sent]}, (source, target)


def test_s01_a_frame_for_its_senders_own_mac_comes_to_nobody(net: FabricTwin) -> None:
    """Every one of nine ports, to itself: all is allowed here, and no frame goes back out of the port it came from."""
    for source in RED:
        assert net.send(source, udp(net.topology, source, source)) == {}, source


@pytest.mark.parametrize("mac", [0xFFFFFFFFFFFF, MDNS, ALL_NODES], ids=["broadcast", "multicast", "multicast-v6"])
def test_s01_broadcast_and_multicast_reach_all_others_once(net: FabricTwin, mac: int) -> None:
    """From each of nine ports: one copy for each of the other eight, one tunnel packet for each other host, none for blue."""
    for source in RED:
        sent = to_all(net.topology, source, mac=mac)
        assert net.send(source, sent) == everyone_once(sent, all_but(source)), source
        assert len(net.underlay) == 2, "one copy for each other host"
        assert {packet.key for packet in net.underlay} == {5001}


def test_s01_a_forged_source_mac_is_dropped_where_the_port_is_guarded(net: FabricTwin) -> None:
    """A frame from a MAC that is not the port's: dropped from a guarded port, delivered from one without port security."""
    for source in RED:
        target = "red/p21" if source != "red/p21" else "red/p22"
        forged = udp(net.topology, source, target, eth_src=STRANGE)
        expected = {target: [forged]} if source in OPEN else {}
        assert net.send(source, forged) == expected, source


def test_s01_frames_with_a_tag_or_a_group_source_are_dropped_everywhere(net: FabricTwin) -> None:
    """Ports send untagged frames from unicast MACs; nothing else passes, with or without port security."""
    for source in RED:
        target = "red/p21" if source != "red/p21" else "red/p22"
        good = udp(net.topology, source, target)
        assert net.send(source, tagged(good, 1)) == {}
        assert net.send(source, tagged(good, 0)) == {}, "a priority tag is a tag"
        assert net.send(source, udp(net.topology, source, target, eth_src=MDNS)) == {}
        assert net.send(source, good) == {target: [good]}


def test_s01_an_unknown_mac_goes_to_the_ports_without_port_security_only(net: FabricTwin) -> None:
    for source in RED:
        sent = udp(net.topology, source, "red/p21", eth_dst=STRANGE)
        assert net.send(source, sent) == everyone_once(sent, set(OPEN) - {source}), source


def test_s03_arp_for_a_known_address_is_answered_to_the_asker_alone(net: FabricTwin) -> None:
    """Each guarded port's addresses, a second one included: one reply with the owner's MAC, nobody hears the question."""
    for owner in GUARDED:
        mac = net.topology.ports[owner].mac
        for address in (ip for ip in net.topology.ports[owner].ips if ip.version == 4):
            for asker in {"red/p12", "red/p31", "red/p33"} - {owner}:
                me = net.topology.ports[asker]
                reply = arp(ARP_REPLY, (mac, str(address)), (me.mac, str(own(me))), eth_dst=me.mac)
                assert net.send(asker, who_has(net.topology, asker, str(address))) == {asker: [reply]}
                assert net.underlay == [], "no ARP for a known address crosses a tunnel"


def test_s03_own_and_unknown_addresses_and_those_of_open_ports_are_not_answered(net: FabricTwin) -> None:
    """An announcement, a question for nobody's address and one for a port that may hold any: all others hear it once."""
    for asker in RED:
        me = net.topology.ports[asker]
        for address in (str(own(me)), UNKNOWN, *(str(own(net.topology.ports[name])) for name in OPEN if name != asker)):
            asked = who_has(net.topology, asker, address)
            assert net.send(asker, asked) == everyone_once(asked, all_but(asker)), (asker, address)
            assert len(net.underlay) == 2, "one copy for each other host"


def test_s03_a_probe_for_a_duplicate_address_reaches_the_others_and_is_not_answered(net: FabricTwin) -> None:
    """RFC 5227: the probe has no sender address. Its answer is the owner's to give, or another's who took the address."""
    for prober, address in (("red/p11", "10.0.0.11"), ("red/p11", "10.0.0.22"), ("red/p33", "10.0.0.11")):
        probe = who_has(net.topology, prober, address, sender="0.0.0.0")  # noqa: S104 - an address in a packet.
        assert net.send(prober, probe) == everyone_once(probe, all_but(prober))
    answer = arp(ARP_REPLY, (0x020000000022, "10.0.0.22"), (0x020000000011, "0.0.0.0"), eth_dst=0x020000000011)  # noqa: S104
    assert net.send("red/p22", answer) == {"red/p11": [answer]}


def advertisement(net: FabricTwin, asker: str, owner: str) -> bytes:
    """What the asker must get: flags S and O, the owner's MAC, hop limit 255 (RFC 4861, section 4.4)."""
    me, them = net.topology.ports[asker], net.topology.ports[owner]
    ethernet = me.mac.to_bytes(6, "big") + them.mac.to_bytes(6, "big") + b"\x86\xdd"
    header = bytes.fromhex("6000000000203aff") + own(them, 6).packed + own(me, 6).packed
    option = bytes.fromhex("0201") + them.mac.to_bytes(6, "big")
    return ethernet + header + b"\x88\x00??" + bytes.fromhex("60000000") + own(them, 6).packed + option


@pytest.mark.parametrize("asker", ["red/p11", "red/p22", "red/p31", "red/p13"])
def test_s05_a_neighbour_solicitation_is_answered_with_the_owners_mac(net: FabricTwin, asker: str) -> None:
    """Same host and another: one advertisement, solicited and override, with a right checksum; the owner sees nothing."""
    asked = solicitation(net.topology, asker, "fd00::12")
    deliveries = net.send(asker, asked)
    assert list(deliveries) == [asker]
    [answer] = deliveries[asker]
    assert answer[:56] + b"??" + answer[58:] == advertisement(net, asker, "red/p12")
    assert icmpv6_is_sound(answer)
    assert net.underlay == []


def test_s05_own_and_unknown_addresses_are_not_answered(net: FabricTwin) -> None:
    """The probe for its own address (RFC 4862) and a question for nobody's reach all others once, nobody else."""
    for asked in (
        solicitation(net.topology, "red/p11", "fd00::11", probe=True),
        solicitation(net.topology, "red/p11", "fd00::77"),
        solicitation(net.topology, "red/p11", "fd00::13"),
    ):
        assert net.send("red/p11", asked) == everyone_once(asked, all_but("red/p11"))


def test_s11_macs_that_appear_are_not_learned(net: FabricTwin) -> None:
    """Weft never learns: a MAC that shows up behind an open port, and moves, goes to all open ports before and after.

    The number of flows stays; br-int and br-tun hold no NORMAL, no learn and nothing that expires.
    """
    before = {(name, bridge): twin.flows(bridge) for name, twin in net.hosts.items() for bridge in ("br-int", "br-tun")}
    for appears in ("red/p13", "red/p33"):
        there = replace(net.topology.ports[appears], mac=STRANGE)
        shown = arp(ARP_REQUEST, (STRANGE, str(own(there))), (0, UNKNOWN))
        assert net.send(appears, shown) == everyone_once(shown, all_but(appears))
        answer = udp(net.topology, "red/p21", appears, eth_dst=STRANGE)
        assert net.send("red/p21", answer) == everyone_once(answer, set(OPEN))
    for (name, bridge), flows in before.items():
        assert net.hosts[name].flows(bridge) == flows
        assert not any(word in line for line in flows for word in ("NORMAL", "FLOOD", "learn", "CONTROLLER"))


def test_s19_nothing_expires(net: FabricTwin) -> None:
    """What the files say needs no refreshing: no flow of any bridge has a timeout, so silence forgets nobody."""
    for name, twin in net.hosts.items():
        for bridge in net.bindings[name].ports:
            assert twin.flows(bridge)
            assert not any("timeout" in line for line in twin.flows(bridge))


def test_e5_a_mac_that_may_move_is_found_wherever_it_is(tmp_path: Path) -> None:
    """Two ports may use one virtual MAC: frames for it reach both hosts before and after it moves, so no failover waits.

    One announcement from the new place reaches all others, and a port that may not use the MAC cannot make one.
    """
    virtual, address = 0x00005E000101, "10.0.0.100"
    pair = [(f"{address}/32", "00:00:5e:00:01:01")]
    made = fabric(
        *(host(f"hv{number}") for number in (1, 2, 3)),
        network("red/n", "10.0.0.0/24", segment=5001),
        group("red/all", ingress=[allow()]),
        port("red/one", "red/n", "10.0.0.1", host="hv1", groups=["red/all"], allowed=pair),
        port("red/two", "red/n", "10.0.0.2", host="hv2", groups=["red/all"], allowed=pair),
        port("red/third", "red/n", "10.0.0.3", host="hv3", groups=["red/all"]),
    )
    announcement = arp(ARP_REQUEST, (virtual, address), (0, address))
    with FabricTwin(tmp_path, made) as net:
        net.load(compile_fabric(made, bindings=net.bindings))
        for holder, other in (("red/one", "red/two"), ("red/two", "red/one")):
            assert net.send(holder, announcement) == everyone_once(announcement, {other, "red/third"})
            sent = udp(made, "red/third", holder, eth_dst=virtual)
            assert net.send("red/third", sent) == everyone_once(sent, {holder, other})
            net.forget()
        assert net.send("red/third", announcement) == {}
