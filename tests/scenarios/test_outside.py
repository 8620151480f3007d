"""The way out: routers mask, floating IPs translate on their ports' own hosts, and the outside gets in by these alone.

hv1 and hv2 are wired to the external network, of which hv1 is the gateway; hv3 is not. The wire is the test's: it plays the
router upstream and hosts beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest

from controller.model.address import outer_mac, router_mac
from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from controller.pipeline.heard import Neighbour
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.builders import (
    allow,
    external_network,
    fabric,
    floating_ip,
    group,
    host,
    network,
    physical_network,
    port,
    router,
)
from tests.ovs.fabric import Deliveries, FabricTwin
from tests.ovs.frames import checksum, frame
from tests.scenarios.frames import ALL_NODES, arp, icmpv6_is_sound, large, ping, tagged

pytestmark = pytest.mark.ovs

UPSTREAM, CLIENT = 0x020000FF0001, "198.51.100.9"
CLIENT6 = "2001:db8:9::9"
ROUTER, ROUTER6 = "203.0.113.10", "2001:db8::10"
FLOAT1, FLOAT2, FLOAT3 = "203.0.113.21", "203.0.113.22", "203.0.113.23"
VLAN = 100


def topology(*, snat: bool = True) -> Topology:
    """Three ports on three hosts: on hv1 and hv2 their floating IPs are at home, that of hv3 is translated by the gateway."""
    return fabric(
        replace(host("hv1"), gateway=True),
        *(host("hv2"), host("hv3")),
        physical_network("physnet1", "hv1", "hv2"),
        external_network(
            *("public", "203.0.113.0/24", "2001:db8::/64"),
            physical="physnet1",
            vlan=VLAN,
        ),
        network("red/web", "10.0.1.0/24", "fd00:1::/64"),
        network("red/db", "10.0.2.0/24"),
        router("red/main", "red/web", "red/db", external="public", snat=snat, address=[ROUTER, ROUTER6]),
        group("red/all", ingress=[allow()]),
        group("red/http", ingress=[allow("udp", 80)]),
        *(
            port(f"red/web{n}", "red/web", f"10.0.1.1{n}", f"fd00:1::1{n}", host=f"hv{n}", groups=["red/all"])
            for n in (1, 2, 3)
        ),
        *(port(f"red/own{n}", "red/db", f"10.0.2.1{n}", host=f"hv{n}", groups=["red/http"]) for n in (1, 2, 3)),
        *(
            floating_ip(address, f"red/own{n}", f"10.0.2.1{n}", router="red/main", external="public")
            for n, address in enumerate((FLOAT1, FLOAT2, FLOAT3), 1)
        ),
    )


HEARD = [Neighbour("public", ip_address(each), UPSTREAM) for each in ("203.0.113.1", "2001:db8::1")]


def loaded(net: FabricTwin) -> None:
    net.load(compile_fabric(net.topology, bindings=net.bindings, heard=HEARD))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricTwin]:
    with FabricTwin(tmp_path_factory.mktemp("outside"), topology()) as running:
        loaded(running)
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(net: FabricTwin) -> None:
    net.forget()


def datagram(
    eth_src: int, eth_dst: int, src: str, dst: str, sport: int = 1000, dport: int = 80, *, name: str = "outside"
) -> bytes:
    kind = wire.IPV4 if ip_address(src).version == 4 else wire.IPV6
    return frame(Packet(name, eth_src, eth_dst, kind, ip_address(src), ip_address(dst), wire.UDP, sport, dport))


def out(net: FabricTwin, source: str, dst: str = CLIENT, sport: int = 1000, dport: int = 80) -> Deliveries:
    """Send a datagram to the outside, by way of the router; what leaves is on the net's wires."""
    own = net.topology.ports[source]
    src = next(str(ip) for ip in own.ips if ip.version == ip_address(dst).version)
    return net.send(source, datagram(own.mac, router_mac(own.network), src, dst, sport, dport))


def into(
    net: FabricTwin, owner: str, dst: str, src: str = CLIENT, sport: int = 80, dport: int = 1000, at: str = "hv1"
) -> Deliveries:
    """Let a datagram of the outside come in, as the router upstream sends it: to the MAC of an address's owner."""
    sent = tagged(datagram(UPSTREAM, outer_mac(owner), src, dst, sport, dport), VLAN)
    found: Deliveries = {}
    for each in ("hv1", "hv2") if at == "all" else (at,):
        found |= net.receive_wire(each, "physnet1", sent)
    return found


def on_wire(net: FabricTwin) -> tuple[int, int, str, str]:
    """Return MACs and addresses of the one frame that has gone out on the wire."""
    [(_, sent)] = net.wires
    assert sent[12:16] == b"\x81\x00" + VLAN.to_bytes(2, "big")
    addresses = [sent[30:34], sent[34:38]] if sent[16:18] == b"\x08\x00" else [sent[26:42], sent[42:58]]
    source, target = (str(ip_address(each)) for each in addresses)
    if sent[16:18] == b"\x08\x00":
        assert sent[26] == 63, "one hop"
        assert checksum(sent[18:38]) == b"\0\0"
    return int.from_bytes(sent[:6], "big"), int.from_bytes(sent[6:12], "big"), source, target


@pytest.mark.parametrize("number", [1, 2, 3])
def test_what_leaves_bears_the_routers_name_and_answers_find_back(net: FabricTwin, number: int) -> None:
    assert not out(net, f"red/web{number}")
    assert on_wire(net) == (UPSTREAM, outer_mac("red/main"), ROUTER, CLIENT)
    found = into(net, "red/main", ROUTER)
    assert list(found) == [f"red/web{number}"]
    [answer] = found[f"red/web{number}"]
    assert answer[26:34] == ip_address(CLIENT).packed + ip_address(f"10.0.1.1{number}").packed


def test_ipv6_is_masked_as_well(net: FabricTwin) -> None:
    assert not out(net, "red/web3", CLIENT6)
    assert on_wire(net) == (UPSTREAM, outer_mac("red/main"), ROUTER6, CLIENT6)
    assert list(into(net, "red/main", ROUTER6, CLIENT6)) == ["red/web3"]


def test_the_outside_opens_nothing_through_the_mask(net: FabricTwin) -> None:
    assert not into(net, "red/main", ROUTER)
    assert not out(net, "red/web1")
    assert not into(net, "red/main", ROUTER, sport=81)
    assert not into(net, "red/main", ROUTER, src="198.51.100.10")


def test_the_outside_reaches_no_private_address(net: FabricTwin) -> None:
    for owner in ("red/main", f"red/{FLOAT1}"):
        assert not into(net, owner, "10.0.2.11", dport=80)
        assert not into(net, owner, "10.0.1.11", dport=80)


@pytest.mark.parametrize(
    ("number", "address", "host_name"), [(1, FLOAT1, "hv1"), (2, FLOAT2, "hv2"), (3, FLOAT3, "hv1")]
)
def test_a_floating_ip_stands_for_its_port_both_ways(
    net: FabricTwin, number: int, address: str, host_name: str
) -> None:
    found = into(net, f"red/{address}", address, sport=2000, dport=80, at="all")
    assert list(found) == [f"red/own{number}"]
    [question] = found[f"red/own{number}"]
    assert question[26:34] == ip_address(CLIENT).packed + ip_address(f"10.0.2.1{number}").packed
    assert not out(net, f"red/own{number}", sport=80, dport=2000)
    assert on_wire(net) == (UPSTREAM, outer_mac(f"red/{address}"), address, CLIENT)
    # Its host alone translates it.
    net.forget()
    other = "hv2" if host_name == "hv1" else "hv1"
    assert not into(net, f"red/{address}", address, sport=2000, dport=80, at=other)


def test_rules_judge_what_comes_to_a_floating_ip(net: FabricTwin) -> None:
    assert into(net, f"red/{FLOAT1}", FLOAT1, dport=80)
    assert not into(net, f"red/{FLOAT1}", FLOAT1, dport=81)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_port_with_a_floating_ip_speaks_in_its_name(net: FabricTwin, number: int) -> None:
    address = (FLOAT1, FLOAT2, FLOAT3)[number - 1]
    assert not out(net, f"red/own{number}", sport=3000, dport=53)
    assert on_wire(net) == (UPSTREAM, outer_mac(f"red/{address}"), address, CLIENT)
    host_name = "hv2" if number == 2 else "hv1"
    assert list(into(net, f"red/{address}", address, sport=53, dport=3000, at=host_name)) == [f"red/own{number}"]


@pytest.mark.parametrize("target", [1, 2, 3])
@pytest.mark.parametrize("source", ["red/web1", "red/web2", "red/web3", "red/own1", "red/own2", "red/own3"])
def test_a_port_reaches_floating_ips_and_its_own(net: FabricTwin, source: str, target: int) -> None:
    address = (FLOAT1, FLOAT2, FLOAT3)[target - 1]
    found = out(net, source, address)
    assert list(found) == [f"red/own{target}"]
    [question] = found[f"red/own{target}"]
    own = net.topology.ports[f"red/own{target}"]
    back = ip_address(question[26:30])
    port_back = int.from_bytes(question[34:36], "big")
    answer = datagram(own.mac, router_mac(own.network), str(own.ips[0]), str(back), 80, port_back)
    found = net.send(own.name, answer)
    assert list(found) == [source]
    [heard] = found[source]
    assert heard[26:30] == ip_address(address).packed
    assert heard[36:38] == (1000).to_bytes(2, "big")


@pytest.mark.parametrize("source", ["red/web1", "red/web2", "red/web3", "red/own2"])
def test_a_routers_outer_address_answers_pings_from_inside_and_outside(net: FabricTwin, source: str) -> None:
    asker = net.topology.ports[source]
    found = net.send(source, ping(asker.mac, router_mac(asker.network), str(asker.ips[0]), ROUTER))
    [answer] = found.pop(source)
    assert not found
    assert (answer[26:30], answer[30:34], answer[34]) == (ip_address(ROUTER).packed, asker.ips[0].packed, 0)
    net.receive_wire("hv1", "physnet1", tagged(ping(UPSTREAM, outer_mac("red/main"), CLIENT, ROUTER), VLAN))
    [(_, answer)] = net.wires
    assert answer[:12] == UPSTREAM.to_bytes(6, "big") + outer_mac("red/main").to_bytes(6, "big")
    assert answer[30:38] == ip_address(ROUTER).packed + ip_address(CLIENT).packed


def test_who_has_an_outer_address_is_answered_by_its_host_alone(net: FabricTwin) -> None:
    for owner, address, where in (
        ("red/main", ROUTER, "hv1"),
        (f"red/{FLOAT2}", FLOAT2, "hv2"),
        (f"red/{FLOAT3}", FLOAT3, "hv1"),
    ):
        asked = tagged(arp(1, (UPSTREAM, "203.0.113.1"), (0, address)), VLAN)
        mac = outer_mac(owner)
        answer = tagged(arp(2, (mac, address), (UPSTREAM, "203.0.113.1"), eth_dst=UPSTREAM), VLAN)
        for each in ("hv1", "hv2"):
            net.receive_wire(each, "physnet1", asked)
            assert net.wires == ([("physnet1", answer)] if each == where else [])


@pytest.mark.parametrize("protocol", [47, 50, 2, wire.UDP])
@pytest.mark.parametrize("source", ["red/web1", "red/web3"])
def test_what_is_for_the_routers_own_address_is_not_taken_for_its_own_answer(
    net: FabricTwin, source: str, protocol: int
) -> None:
    """Masked, it is from that address and for it: without ports, or with two that are the same, it looks like an answer."""
    mine = net.topology.ports[source]
    sent = Packet(
        source, mine.mac, router_mac(mine.network), wire.IPV4, mine.ips[0], ip_address(ROUTER), protocol, 500, 500
    )
    assert not net.send(source, frame(sent))
    assert not net.send(source, frame(sent))


@pytest.mark.parametrize(("owner", "address"), [("red/main", ROUTER6)])
def test_who_is_about_to_take_an_address_outside_is_told_before_everybody(
    net: FabricTwin, owner: str, address: str
) -> None:
    target = IPv6Address(address)
    group = IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(target) & 0xFFFFFF)
    asked = Packet(
        *(
            "outside",
            UPSTREAM,
            0x3333FF000000 | int(target) & 0xFFFFFF,
            wire.IPV6,
            IPv6Address("::"),
            group,
            wire.ICMPV6,
        ),
        icmp_type=wire.NEIGHBOUR_SOLICITATION,
        target=target,
    )
    assert not net.receive_wire("hv1", "physnet1", tagged(frame(asked), VLAN))
    [(_, said)] = net.wires
    plain = said[:12] + said[16:]
    assert plain[:12] == ALL_NODES.to_bytes(6, "big") + outer_mac(owner).to_bytes(6, "big")
    assert plain[22:54] == target.packed + IPv6Address("ff02::1").packed
    assert plain[54:56] == b"\x88\0"
    assert plain[58] == 0xA0, "router and override, and nobody has asked"
    assert plain[62:78] == target.packed
    assert icmpv6_is_sound(plain)


@pytest.mark.parametrize(
    ("owner", "address"), [(f"red/{FLOAT1}", FLOAT1), (f"red/{FLOAT3}", FLOAT3), ("red/main", ROUTER)]
)
def test_what_does_not_fit_the_networks_behind_does_not_get_in(net: FabricTwin, owner: str, address: str) -> None:
    """A floating IP at home needs no tunnel but has its port's MTU; what is for the router may be for any of its ports."""
    assert not out(net, "red/web3", sport=80, dport=1000)
    sent = datagram(UPSTREAM, outer_mac(owner), CLIENT, address, 1000, 80)
    for length, arrives in ((1450, True), (1451, False)):
        found = net.receive_wire("hv1", "physnet1", tagged(large(sent, length), VLAN))
        assert bool(found) is arrives, length


def test_an_error_from_outside_is_about_the_connection_inside(net: FabricTwin) -> None:
    assert not out(net, "red/web3")
    [(_, sent)] = net.wires
    quoted = sent[18:46]
    body = b"\x03\x01\0\0\0\0\0\0" + quoted
    body = body[:2] + checksum(body) + body[4:]
    plain = frame(
        Packet("outside", UPSTREAM, outer_mac("red/main"), wire.IPV4, ip_address("192.0.2.77"), ip_address(ROUTER), 1)
    )
    head = bytearray(plain[14:34])
    head[2:4] = (20 + len(body)).to_bytes(2, "big")
    head[10:12] = b"\0\0"
    head[10:12] = checksum(bytes(head))
    found = net.receive_wire("hv1", "physnet1", tagged(plain[:14] + bytes(head) + body, VLAN))
    [error] = found["red/web3"]
    assert error[30:34] == ip_address("10.0.1.13").packed
    assert error[42 + 12 : 42 + 16] == ip_address("10.0.1.13").packed


def test_a_router_that_does_not_mask_routes_plainly(tmp_path: Path) -> None:
    plain = topology(snat=False)
    plain = replace(plain, floating_ips={name: each for name, each in plain.floating_ips.items() if FLOAT1 in name})
    with FabricTwin(tmp_path, plain) as net:
        loaded(net)
        assert not out(net, "red/web3")
        assert on_wire(net) == (UPSTREAM, outer_mac("red/main"), "10.0.1.13", CLIENT)
        assert list(into(net, "red/main", "10.0.1.13")) == ["red/web3"]
        assert list(into(net, "red/main", "10.0.2.12", dport=80)) == ["red/own2"]
        assert not into(net, "red/main", "10.0.2.12", dport=81)
        # Who has a floating IP answers in its name, and is reached by it alone.
        assert not into(net, "red/main", "10.0.2.11", dport=80)
        assert list(into(net, f"red/{FLOAT1}", FLOAT1, dport=80)) == ["red/own1"]
