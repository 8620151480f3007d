"""Real packets between namespaces: every type of network, same host and across hosts, IPv4 and IPv6, tenants that are alike.

All networks of both tenants use the same addresses and the same MACs, so that a packet in a wrong network is noticed by its owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from ipaddress import ip_address
from itertools import permutations

import pytest

from controller.lab.prober import ICMP, Pace
from controller.model.address import BROADCAST_MAC, parse_mac
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.lab.net import Heard, Net
from tests.ovs.frames import frame
from tests.ovs.vtep import decapsulate
from tests.scenarios.frames import ARP_REQUEST, MDNS, arp
from tests.scenarios.labs import Wire, pings, running, wait_until

pytestmark = pytest.mark.lab

FABRIC = """\
fabric: packets
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
  hv3: {tunnel_ip: 172.31.0.3}
  rack9: {tunnel_ip: 172.31.0.9, kind: vtep}
physical_networks:
  physnet1: {hosts: [hv1, hv2, hv3], vlans: 100-199}
tenants:
  red: {segments: 5000-5099, vlans: {physnet1: 100-109}}
  blue: {segments: 5100-5199, vlans: {physnet1: 110-119}}
"""
ADDRESSES = "cidr: [10.7.0.0/24, 'fd00:7::/64']"
KINDS = ("vxlan", "gre", "geneve", "vlan", "flat")
NETWORKS = {"red": (*KINDS, "local"), "blue": ("vxlan", "vlan")}
PLACES = (("a", 2, "hv1"), ("b", 3, "hv1"), ("c", 4, "hv2"), ("d", 5, "hv3"))
VIRTUAL = "10.7.0.100"
ONCE = Pace(1, 3.0)
MORE = """\
  ha: {type: vxlan, cidr: 10.7.0.0/24}
ports:
  vxlan-rack: {network: vxlan, host: rack9, ip: [10.7.0.9, 'fd00:7::9'], mac: '02:00:00:00:07:09'}
  vxlan-open: {network: vxlan, host: hv3, ip: [10.7.0.8, 'fd00:7::8'], mac: '02:00:00:00:07:08', port_security: false}
  ha-1: {network: ha, host: hv1, ip: 10.7.0.11, allowed_addresses: [{ip: 10.7.0.100}]}
  ha-2: {network: ha, host: hv2, ip: 10.7.0.12, allowed_addresses: [{ip: 10.7.0.100}]}
  ha-3: {network: ha, host: hv3, ip: 10.7.0.13}
"""


def tenant(name: str, more: str) -> str:
    networks = ["networks:"]
    ports = []
    for kind in NETWORKS[name]:
        physical = ", physical_network: physnet1" if kind in ("vlan", "flat") else ""
        networks.append(f"  {kind}: {{type: {kind}, {ADDRESSES}{physical}}}")
        ports += [
            f"  {kind}-{letter}: {{network: {kind}, host: {on}, ip: [10.7.0.{last}, 'fd00:7::{last}'], "
            f"mac: '02:00:00:00:07:0{last}'}}"
            for letter, last, on in PLACES
        ]
    return "\n".join([*networks, more + "\n".join(ports), ""])


FILES = {
    "fabric.yaml": FABRIC,
    "tenants/red.yaml": tenant("red", MORE),
    "tenants/blue.yaml": tenant("blue", "ports:\n"),
}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with running(tmp_path_factory.mktemp("packets"), FILES) as up:
        up.lab.wait_in_sync()
        yield up


def four(kind: str, of: str = "red") -> list[str]:
    return [f"{of}/{kind}-{letter}" for letter, _, _ in PLACES]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_e1_every_port_of_a_network_pings_every_other(net: Net, kind: str, version: int) -> None:
    """Four ports on three hosts, two of them on one: all twelve ways, and nobody else gets any of the packets."""
    for (source, target), outcome in pings(net, permutations(four(kind), 2), version).items():
        assert outcome.is_from(target), (source, target)
        assert outcome.reached == {target}


def test_a_local_network_never_leaves_its_host(net: Net) -> None:
    """Two ports on one host meet; what they say is neither on the underlay nor on a wire, nor at the same network's ports elsewhere."""
    a, b, c, _ = four("local")
    assert net.ping(a, b)
    assert net.ping(b, a, version=6)
    to_c = parse_mac(net.lab.plan.ports[c].mac)
    hv2 = net.lab.host_namespace("hv2")
    with Heard(hv2) as underlay, Wire(net, "hv2", "eth1") as wire_end, net.listen(b) as at_b, net.listen(c) as at_c:
        secrets = [shout(net, a, 45000), shout(net, a, 45001, to_c)]
        at_b.wait_for(secrets[0].__eq__)
        # What other networks of the same host say afterwards comes through on both ways.
        end = shout(net, "red/vxlan-a", 45002), shout(net, "red/vlan-a", 45003)
        underlay.wait_for(partial(ends_with, end[0]))
        wire_end.wait_for(partial(ends_with, end[1][14:]))
        for secret in secrets:
            heard = [*underlay.frames, *wire_end.frames, *at_c.frames]
            assert not [got for got in heard if got.endswith(secret[14:])]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", NETWORKS["blue"])
def test_tenants_with_the_same_addresses_and_macs_reach_their_own(net: Net, kind: str, version: int) -> None:
    """Red and blue send the same packets at the same time; each arrives at the sender's tenant, none at the other's."""
    pairs = [pair for of in ("red", "blue") for pair in permutations(four(kind, of), 2)]
    for (_, target), outcome in pings(net, pairs, version).items():
        assert (outcome.answered, outcome.reached) == (True, {target})
    assert net.tcp(f"blue/{kind}-a", f"blue/{kind}-c", 80, version=version), "who answered says who it is"


@pytest.mark.parametrize("version", [4, 6])
def test_a_foreign_vtep_is_a_member_both_ways(net: Net, version: int) -> None:
    """A Linux bridge with a kernel vxlan device: echo, TCP and UDP to and from ports on three hosts."""
    rack = "red/vxlan-rack"
    pairs = [pair for other in four("vxlan") for pair in ((rack, other), (other, rack))]
    for (_, target), outcome in pings(net, pairs, version).items():
        assert (outcome.answered, outcome.reached) == (True, {target})
    for source, target in ((rack, "red/vxlan-a"), ("red/vxlan-c", rack)):
        assert net.tcp(source, target, 80, version=version)
        assert net.udp(source, target, 53, version=version)


def shout(net: Net, port: str, number: int, mac: int = BROADCAST_MAC) -> bytes:
    """Let a port send a datagram to all, by default; `number` tells it from every other. Return the frame."""
    group = ip_address("224.0.0.251" if mac == MDNS else "255.255.255.255")
    mine = parse_mac(net.lab.plan.ports[port].mac)
    padded = frame(Packet(port, mine, mac, wire.IPV4, ip_address(net.address(port)), group, wire.UDP, number, 9))
    sent = padded[: 14 + int.from_bytes(padded[16:18], "big")]  # Kernels take padding away.
    net.send(port, sent)
    return sent


def test_broadcast_and_multicast_reach_every_member_once_and_nobody_else(net: Net) -> None:
    """From a port of each network, and from behind the foreign VTEP: every other member hears it once, no other port at all."""
    senders = [*(f"{of}/{kind}-a" for of, kinds in NETWORKS.items() for kind in kinds), "red/vxlan-rack"]
    with ExitStack() as stack:
        heard = {name: stack.enter_context(net.listen(name)) for name in net.lab.plugged}
        expected: dict[str, list[bytes]] = {name: [] for name in heard}
        for number, sender in enumerate(senders):
            sent = [shout(net, sender, 40000 + number), shout(net, sender, 41000 + number, MDNS)]
            for name in members(net, sender):
                expected[name] += sent
        # What these say comes after everything else on the same paths.
        last = {sender: shout(net, sender, 42000 + number) for number, sender in enumerate(senders)}
        for sender, end in last.items():
            for name in members(net, sender):
                heard[name].wait_for(end.__eq__)
        shouted = {sent for frames in expected.values() for sent in frames}
        for name, ear in heard.items():
            assert sorted(got for got in ear.frames if got in shouted) == sorted(expected[name]), name


def members(net: Net, sender: str) -> list[str]:
    """Return the other members of a port's network; those of a local network only where the port is."""
    plan = net.lab.plan.ports
    mine = plan[sender]
    same = [name for name, port in plan.items() if port.network == mine.network and name != sender]
    return [name for name in same if mine.network != "red/local" or plan[name].host == mine.host]


def test_e3_a_third_port_never_sees_others_unicast(net: Net) -> None:
    """A and C talk; B beside A and D on a third host hear none of it, from the very first packet on."""
    a, b, c, d = four("vxlan")
    talk = {net.lab.plan.ports[name].mac for name in (a, c)}
    with net.listen(b) as at_b, net.listen(d) as at_d:
        assert net.ping(a, c)
        assert net.ping(a, c, version=6)
        assert net.tcp(a, c, 80)
        end = shout(net, a, 43000)
        for ear in (at_b, at_d):
            ear.wait_for(lambda got: got == end)
            assert not [got for got in ear.frames if mac(got[:6]) in talk]


def mac(raw: bytes) -> str:
    return raw.hex(":")


def test_arp_and_nd_for_known_addresses_never_cross_a_tunnel(net: Net) -> None:
    """Kernels that have forgotten their neighbours find one on another host: the underlay carries echoes and no question."""
    a, c = "red/vxlan-a", "red/vxlan-c"
    for name in (a, c):
        net.lab.exec_port(name, ["ip", "neigh", "flush", "all"], check=True)
    with Heard(net.lab.host_namespace("hv1")) as at_1, Heard(net.lab.host_namespace("hv2")) as at_2:
        assert net.ping(a, c)
        assert net.ping(a, c, version=6)
        for ear, sender in ((at_1, c), (at_2, a)):
            end = shout(net, sender, 44000)
            ear.wait_for(partial(ends_with, end))
            inner = [inner_of(got) for got in ear.frames]
            assert [got for got in inner if is_echo(got)], "the echoes came this way"
            assert not [got for got in inner if is_question(got)]


def ends_with(end: bytes, outer: bytes) -> bool:
    return outer.endswith(end)


def inner_of(outer: bytes) -> bytes:
    """Return the frame inside a tunnel packet, nothing for the underlay's own ARP."""
    try:
        return decapsulate(outer).frame
    except ValueError:
        return b""


def is_echo(inner: bytes) -> bool:
    return inner[12:14] == b"\x08\x00" and inner[23] == wire.ICMP


def is_question(inner: bytes) -> bool:
    """Whether a frame is ARP, or a neighbour solicitation for an address of the files."""
    if inner[12:14] == b"\x86\xdd" and inner[20] == wire.ICMPV6:
        return inner[54] == wire.NEIGHBOUR_SOLICITATION and inner[62:64] == b"\xfd\x00"
    return inner[12:14] == b"\x08\x06"


def address_state(net: Net, port: str, address: str) -> str:
    said = net.lab.exec_port(port, ["ip", "-6", "-o", "addr", "show", "dev", "eth0"], check=True).stdout
    return next((line for line in said.splitlines() if f" {address}/" in line), "")


def test_duplicate_address_detection_finds_a_duplicate_and_nothing_else(net: Net) -> None:
    """A kernel that takes its own address finds it free; another host's port that takes the same one finds it taken."""
    mine, other, address = "red/vxlan-a", "red/vxlan-open", "fd00:7::2"
    for command in ("del", "add"):
        net.lab.exec_port(mine, ["ip", "addr", command, f"{address}/64", "dev", "eth0"], check=True)
    wait_until(lambda: "tentative" not in address_state(net, mine, address), "the address is no longer tentative")
    assert "dadfailed" not in address_state(net, mine, address) != ""
    net.lab.exec_port(other, ["ip", "addr", "add", f"{address}/64", "dev", "eth0"], check=True)
    wait_until(lambda: "dadfailed" in address_state(net, other, address), "the duplicate is found")
    net.lab.exec_port(other, ["ip", "addr", "del", f"{address}/64", "dev", "eth0"], check=True)
    assert net.ping(mine, "red/vxlan-c", version=6)


def test_e5_after_a_failover_one_announcement_is_enough(net: Net) -> None:
    """A shared address moves from hv1 to hv2; one gratuitous ARP, and the third host's next packet goes to hv2."""
    one, two, third = "red/ha-1", "red/ha-2", "red/ha-3"
    net.lab.exec_port(one, ["ip", "addr", "add", f"{VIRTUAL}/32", "dev", "eth0"], check=True)
    assert net.probe(third, VIRTUAL, ICMP).reached == {one}
    net.lab.exec_port(one, ["ip", "addr", "del", f"{VIRTUAL}/32", "dev", "eth0"], check=True)
    net.lab.exec_port(two, ["ip", "addr", "add", f"{VIRTUAL}/32", "dev", "eth0"], check=True)
    its_mac = parse_mac(net.lab.plan.ports[two].mac)
    announcement = arp(ARP_REQUEST, (its_mac, VIRTUAL), (0, VIRTUAL))
    with net.listen(third) as heard:
        net.send(two, announcement)
        heard.wait_for(lambda got: got == announcement)
    outcome = net.probe(third, VIRTUAL, ICMP, pace=ONCE)
    assert (outcome.answered, outcome.reached) == (True, {two})
