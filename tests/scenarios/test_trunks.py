"""VLAN-aware VMs on two hosts: each subport is a port of its own network, and its tag is nobody else's business."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from controller.model.address import router_mac
from controller.model.entities import Port, Topology
from controller.model.names import interface_name
from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Program
from tests.builders import allow, fabric, group, host, network, physical_network, port, router, subport
from tests.ovs.fabric import Deliveries, FabricTwin
from tests.ovs.frames import checksum
from tests.scenarios.frames import ARP_REPLY, arp, own, ping, solicitation, tagged, to_all, udp, who_has

pytestmark = pytest.mark.ovs

NET, WEB, DB, LAN = "red/net", "red/web", "red/db", "red/lan"
VM1, VM2, FREE = "red/vm1", "red/vm2", "red/free"
SOUND = b"\0\0"


def vm(name: str, where: str, last: int) -> list[Port]:
    """A VM in one network by itself, and in three more by tags."""
    parent = port(name, NET, f"10.0.1.{last}", host=where, groups=["red/all"])
    return [
        parent,
        subport(parent, 101, WEB, f"10.0.2.{last}", f"fd00:2::{last}"),
        subport(parent, 102, DB, f"10.0.3.{last}", groups=["red/http"]),
        subport(parent, 103, LAN, f"10.0.4.{last}"),
    ]


def topology() -> Topology:
    """Two VMs on two hosts, plain ports beside them, and a trunk without port security."""
    free = port(FREE, NET, "10.0.1.30", host="hv1", secure=False)
    return fabric(
        *(host(f"hv{number}") for number in (1, 2)),
        physical_network("physnet1", "hv1", "hv2"),
        network(NET, "10.0.1.0/24"),
        network(WEB, "10.0.2.0/24", "fd00:2::/64"),
        network(DB, "10.0.3.0/24", kind="geneve"),
        network(LAN, "10.0.4.0/24", kind="vlan", segment=110, physical="physnet1"),
        network("red/lab", "10.0.5.0/24"),
        router("red/main", NET, WEB, DB),
        group("red/all", ingress=[allow()]),
        group("red/http", ingress=[allow("udp", 80)]),
        *vm(VM1, "hv1", 11),
        *vm(VM2, "hv2", 12),
        *(port(f"red/web{n}", WEB, f"10.0.2.2{n}", f"fd00:2::2{n}", host=f"hv{n}", groups=["red/all"]) for n in (1, 2)),
        port("red/net2", NET, "10.0.1.22", host="hv2", groups=["red/all"]),
        free,
        subport(free, 101, "red/lab", "10.0.5.30"),
        port("red/lab1", "red/lab", "10.0.5.21", host="hv1", groups=["red/all"]),
        port("red/lab2", "red/lab", "10.0.5.22", host="hv1", secure=False),
    )


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricTwin]:
    with FabricTwin(tmp_path_factory.mktemp("trunks"), topology()) as running:
        running.load(programs(running))
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(net: FabricTwin) -> None:
    net.forget()


def programs(net: FabricTwin) -> list[Program]:
    return compile_fabric(net.topology, bindings=net.bindings)


def routed(net: FabricTwin, source: str, target: str) -> Deliveries:
    gateway = router_mac(net.topology.ports[source].network)
    return net.send(source, udp(net.topology, source, target, eth_dst=gateway))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("red/vm1:101", "red/web1"),
        ("red/vm1:101", "red/web2"),
        ("red/web1", "red/vm1:101"),
        ("red/web2", "red/vm1:101"),
        ("red/vm1:101", "red/vm2:101"),
        ("red/vm1:103", "red/vm2:103"),
        (VM1, VM2),
        ("red/net2", VM1),
    ],
)
def test_s63_subports_reach_who_is_in_their_network_untagged_or_by_a_tag_of_his_own(
    net: FabricTwin, source: str, target: str
) -> None:
    frame = udp(net.topology, source, target)
    assert net.send(source, frame) == {target: [frame]}


def test_s63_tags_are_each_receivers_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same network is behind another VLAN at another VM, and that of the sender stays behind."""
    one, two = (port(f"red/{name}", NET, f"10.0.1.{at}", host="hv1") for name, at in (("one", 11), ("two", 12)))
    web = [
        subport(one, 7, WEB, "10.0.2.11", groups=["red/all"]),
        subport(two, 4094, WEB, "10.0.2.12", groups=["red/all"]),
    ]
    small = fabric(
        *(host("hv1"), network(NET, "10.0.1.0/24"), network(WEB, "10.0.2.0/24")),
        *(one, two, *web, port("red/web", WEB, "10.0.2.13", host="hv1", groups=["red/all"])),
        group("red/all", ingress=[allow()]),
    )
    with FabricTwin(tmp_path_factory.mktemp("tags"), small) as running:
        running.load(programs(running))
        there = udp(small, "red/one:7", "red/two:4094")
        assert running.send("red/one:7", there) == {"red/two:4094": [there]}
        to_both = to_all(small, "red/web")
        assert running.send("red/web", to_both) == {"red/one:7": [to_both], "red/two:4094": [to_both]}


@pytest.mark.parametrize("source", ["red/vm1:101", "red/web1", "red/web2"])
def test_s63_a_broadcast_reaches_all_others_once_and_is_not_reflected(net: FabricTwin, source: str) -> None:
    everybody = {"red/vm1:101", "red/vm2:101", "red/web1", "red/web2"}
    frame = to_all(net.topology, source)
    assert net.send(source, frame) == {name: [frame] for name in everybody - {source}}


def test_s63_a_broadcast_of_the_parent_stays_in_its_own_network(net: FabricTwin) -> None:
    frame = to_all(net.topology, VM1)
    assert net.send(VM1, frame) == {name: [frame] for name in (VM2, "red/net2", FREE)}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (VM1, "red/vm1:101"),
        ("red/vm1:101", VM1),
        ("red/web1", VM1),
        ("red/vm1:101", "red/net2"),
        ("red/vm1:101", VM2),
        (VM1, "red/vm2:101"),
    ],
)
def test_s63_a_router_joins_a_parent_with_its_own_subports_and_with_others(
    net: FabricTwin, source: str, target: str
) -> None:
    found = routed(net, source, target)
    assert list(found) == [target]
    [frame] = found[target]
    at = net.topology.ports[target]
    assert (frame[:6], frame[6:12]) == (at.mac.to_bytes(6, "big"), router_mac(at.network).to_bytes(6, "big"))
    assert (frame[22], checksum(frame[14:34])) == (63, SOUND)


def test_s63_rules_are_each_subports_own(net: FabricTwin) -> None:
    closed = udp(net.topology, "red/vm2:102", "red/vm1:102", number=81)
    opened = udp(net.topology, "red/vm2:102", "red/vm1:102", number=80)
    assert net.send("red/vm2:102", closed) == {}
    assert net.send("red/vm2:102", opened) == {"red/vm1:102": [opened]}


def test_s63_who_answers_a_subport_is_let_through(net: FabricTwin) -> None:
    asked = udp(net.topology, "red/vm1:102", "red/vm2:102", number=80)
    assert net.send("red/vm1:102", asked) == {"red/vm2:102": [asked]}
    a, b = net.topology.ports["red/vm1:102"], net.topology.ports["red/vm2:102"]
    answer = bytearray(udp(net.topology, "red/vm2:102", "red/vm1:102"))
    answer[34:38] = struct.pack(">HH", 80, 1000)
    answer[40:42] = b"\0\0"
    assert net.send(b.name, bytes(answer)) == {a.name: [bytes(answer)]}


def test_s63_a_tag_that_is_no_subports_is_dropped_and_counted_at_the_parent(net: FabricTwin) -> None:
    before = dropped(net, VM1)
    frame = udp(net.topology, "red/vm1:101", "red/web1")
    assert net.send(VM1, tagged(frame, 104)) == {}
    assert net.send(VM1, tagged(udp(net.topology, VM1, VM2), 0)) == {}
    assert net.send("red/web1", tagged(udp(net.topology, "red/web1", "red/web2"), 101)) == {}
    assert dropped(net, VM1) == before + 2


def dropped(net: FabricTwin, name: str) -> int:
    """Return what was dropped of a port because of its MAC or its tag."""
    program = next(each for each in programs(net) if (each.host, each.bridge) == (net.location[name], "br-int"))
    [flow] = [
        flow for flow in program.flows.values() if (flow.kind, flow.origin.what) == ("forged MAC", f"port {name}")
    ]
    # The datapath counts by itself, and hands the counts over when it forgets a flow.
    net.hosts[program.host].control.call("revalidator/purge")
    number = net.bindings[program.host].number("br-int", interface_name(name))
    counted = re.compile(
        rf" table={flow.table}, n_packets=(\d+), .*priority={flow.priority},in_port={number} actions=drop"
    )
    [count] = [
        found[1] for line in net.hosts[program.host].flows("br-int", statistics=True) if (found := counted.search(line))
    ]
    return int(count)


@pytest.mark.parametrize(("name", "mac"), [("red/vm1:101", "02:00:00:00:00:99"), ("red/vm1:102", "02:00:00:00:00:98")])
def test_s63_a_subport_cannot_forge(net: FabricTwin, name: str, mac: str) -> None:
    target = name.replace("vm1", "vm2")
    forged = int(mac.replace(":", ""), 16)
    assert net.send(name, udp(net.topology, name, target, eth_src=forged, number=80)) == {}
    assert net.send(name, udp(net.topology, name, target, src="10.0.1.11", number=80)) == {}
    honest = udp(net.topology, name, target, number=80)
    assert net.send(name, honest) == {target: [honest]}


def test_s63_arp_and_neighbour_discovery_are_answered_with_the_askers_tag(net: FabricTwin) -> None:
    [reply] = net.send("red/vm1:101", who_has(net.topology, "red/vm1:101", "10.0.2.22"))["red/vm1:101"]
    web2, asker = net.topology.ports["red/web2"], net.topology.ports["red/vm1:101"]
    there, here = (web2.mac, str(own(web2))), (asker.mac, str(own(asker)))
    assert reply == arp(ARP_REPLY, there, here, eth_dst=asker.mac)
    [advertised] = net.send("red/vm1:101", solicitation(net.topology, "red/vm1:101", "fd00:2::22"))["red/vm1:101"]
    assert advertised[6:12] == web2.mac.to_bytes(6, "big")


def test_s63_who_asks_for_a_subport_is_answered_without_a_tag(net: FabricTwin) -> None:
    [reply] = net.send("red/web1", who_has(net.topology, "red/web1", "10.0.2.11"))["red/web1"]
    assert (len(reply), reply[12:14]) == (60, b"\x08\x06")
    assert reply[22:28] == net.topology.ports["red/vm1:101"].mac.to_bytes(6, "big")


def test_s63_a_subport_pings_its_router(net: FabricTwin) -> None:
    asker = net.topology.ports["red/vm1:101"]
    for address in ("10.0.2.1", "10.0.1.1"):
        [reply] = net.send(asker.name, ping(asker.mac, router_mac(WEB), "10.0.2.11", address))[asker.name]
        assert (reply[:6], ip_address(reply[26:30]), reply[34]) == (
            asker.mac.to_bytes(6, "big"),
            ip_address(address),
            0,
        )


@pytest.mark.parametrize("kind", [b"\x81\x00", b"\x88\xa8"])
def test_two_tags_lead_nowhere_not_even_where_nothing_is_guarded(net: FabricTwin, kind: bytes) -> None:
    inside = udp(net.topology, "red/free:101", "red/lab2")
    inside = inside[:12] + kind + b"\x00\x6e" + inside[12:]
    assert net.send("red/free:101", inside) == {}
    open_frame = udp(net.topology, "red/free:101", "red/lab2", eth_src=0x020000000077)
    assert net.send("red/free:101", open_frame) == {"red/lab2": [open_frame]}


def test_a_subport_does_not_hear_what_it_sends_to_itself(net: FabricTwin) -> None:
    frame = udp(net.topology, "red/vm1:101", "red/vm1:101")
    assert net.send("red/vm1:101", frame) == {}
