"""Layer 2 on physical networks, after OVN's and Neutron's tests: what goes onto a wire, what comes in, and what stays apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from controller import config
from controller.model.entities import Port, Topology
from controller.pipeline.compile import compile_fabric
from tests.builders import Entity, allow, fabric, group, host, network, physical_network, port
from tests.ovs.fabric import FabricTwin
from tests.scenarios.frames import ARP_REPLY, ARP_REQUEST, arp, own, tagged, to_all, udp, who_has

pytestmark = pytest.mark.ovs

ROUTER = 0x02000000FE01  # A machine on the wire that no file names.
TUNNEL: list[Entity] = [
    network("red/t", "10.0.9.0/24", segment=5001),
    *(port(f"red/t{number}", "red/t", host=f"hv{number}", groups=["red/all"]) for number in (1, 2)),
]
OPEN_GROUP = group("red/all", ingress=[allow()])

Run = Callable[[Topology], FabricTwin]


def member(name: str, of: str, ip: str, on: str, *, secure: bool = True) -> Port:
    return port(name, of, ip, host=on, groups=["red/all"], secure=secure)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Return what runs a topology with all its ports plugged in."""
    with ExitStack() as stack:

        def start(topology: Topology) -> FabricTwin:
            twin = stack.enter_context(FabricTwin(tmp_path, topology))
            twin.load(compile_fabric(topology, bindings=twin.bindings))
            return twin

        yield start


def test_s07_two_segments_do_not_meet_and_do_not_leak_through_tunnels(run: Run) -> None:
    """VLAN 101 on two physical networks, the same addresses, one host wired to both: each segment talks to itself only.

    A network is one segment here: one that spans two is refused (below), so two networks stand for it.
    """
    net = run(
        fabric(
            *(host(f"hv{number}") for number in (1, 2, 3)),
            physical_network("physnet1", "hv1", "hv2"),
            physical_network("physnet2", "hv1", "hv3"),
            network("red/s1", "10.0.0.0/24", kind="vlan", segment=101, physical="physnet1"),
            network("red/s2", "10.0.0.0/24", kind="vlan", segment=101, physical="physnet2"),
            OPEN_GROUP,
            *TUNNEL,
            member("red/a1", "red/s1", "10.0.0.1", "hv1"),
            member("red/b1", "red/s1", "10.0.0.2", "hv2"),
            member("red/a2", "red/s2", "10.0.0.3", "hv1"),
            member("red/c2", "red/s2", "10.0.0.4", "hv3"),
        )
    )
    segments = {"red/a1": "red/b1", "red/b1": "red/a1", "red/a2": "red/c2", "red/c2": "red/a2"}
    for source, same in segments.items():
        physical = "physnet1" if source.endswith("1") else "physnet2"
        good, flood = udp(net.topology, source, same), to_all(net.topology, source)
        assert net.send(source, good) == {same: [good]}
        assert net.wires == [(physical, tagged(good, 101))]
        assert net.send(source, flood) == {same: [flood]}
        assert net.wires == [(physical, tagged(flood, 101))]
        assert net.underlay == []
        for other in segments.keys() - {source, same}:
            assert net.send(source, udp(net.topology, source, other)) == {}
            assert net.underlay == []


def files(folder: Path, network_line: str) -> Path:
    (folder / "tenants").mkdir()
    (folder / "fabric.yaml").write_text(
        "fabric: f\nhosts:\n  hv1: {tunnel_ip: 172.31.0.1}\n"
        "physical_networks:\n  physnet1: {hosts: [hv1], vlans: 1000-1099}\n"
        "tenants:\n  red: {vlans: {physnet1: 1000-1099}}\n"
    )
    (folder / "tenants" / "red.yaml").write_text(f"networks:\n  n: {network_line}\n")
    return folder


@pytest.mark.parametrize(
    ("line", "place", "names"),
    [
        ("{type: vlan, physical_network: physnet1, segment: [1010, 1011]}", "tenants/red.yaml:2:", "segment"),
        ("{type: vlan, physical_network: physnet1, segments: [1010, 1011]}", "tenants/red.yaml:2:", "segments"),
        ("{type: vlan, physical_network: [physnet1, physnet2]}", "tenants/red.yaml:2:", "physical_network"),
    ],
)
def test_e11_a_network_of_two_segments_is_refused(tmp_path: Path, line: str, place: str, names: str) -> None:
    """A network is one segment; who asks for two is told so, with the place, and never served half of it."""
    loaded = config.load(files(tmp_path, line))
    assert loaded.topology is None
    told = "\n".join(map(config.render, loaded.problems))
    assert place in told
    assert names in told


def test_s03_a_list_of_addresses_with_a_bad_one_is_refused_whole(tmp_path: Path) -> None:
    """No half of it works: the bad address is named with its place, and the last good files stay in force."""
    line = "{type: flat, physical_network: physnet1, cidr: 10.0.0.0/24}\nports:\n  p: {network: n, ip: [10.0.0.5, 10.0.0.x]}"
    loaded = config.load(files(tmp_path, line))
    assert loaded.topology is None
    assert any("red.yaml:4:" in told and "10.0.0.x" in told for told in map(config.render, loaded.problems))


def test_e13_a_vlan_transparent_network_is_refused(tmp_path: Path) -> None:
    """Who asks for tags of guests to pass is told that they do not; that every tagged frame is dropped is S01's story."""
    loaded = config.load(files(tmp_path, "{type: flat, physical_network: physnet1, vlan_transparent: true}"))
    assert loaded.topology is None
    assert any("vlan_transparent" in config.render(problem) for problem in loaded.problems)


def test_e11_two_segments_of_one_wire_are_two_networks(run: Run) -> None:
    """VLANs 1010 and 1011 of one wire on one host: each is a network of its own until a router joins them."""
    net = run(
        fabric(
            host("hv1"),
            host("hv2"),
            physical_network("physnet1", "hv1", "hv2"),
            network("red/n10", "10.0.10.0/24", kind="vlan", segment=1010, physical="physnet1"),
            network("red/n11", "10.0.11.0/24", kind="vlan", segment=1011, physical="physnet1"),
            OPEN_GROUP,
            member("red/a", "red/n10", "10.0.10.1", "hv1"),
            member("red/b", "red/n11", "10.0.11.1", "hv1"),
            member("red/c", "red/n11", "10.0.11.2", "hv2"),
        )
    )
    assert net.send("red/a", udp(net.topology, "red/a", "red/b")) == {}
    assert net.send("red/a", to_all(net.topology, "red/a")) == {}
    good = udp(net.topology, "red/b", "red/c")
    assert net.send("red/b", good) == {"red/c": [good]}
    assert net.wires == [("physnet1", tagged(good, 1011))]


def test_s09_a_provider_network_is_on_a_host_as_long_as_a_port_of_it_is(run: Run) -> None:
    """Ports come one after another and go: its broadcasts meet the wire, never a tunnel, and only while one is there."""
    everything: list[Entity] = [
        host("hv1"),
        host("hv2"),
        physical_network("physnet1", "hv1", "hv2"),
        network("red/lan", "10.0.0.0/24", kind="vlan", segment=110, physical="physnet1"),
        OPEN_GROUP,
        *TUNNEL,
        member("red/far", "red/lan", "10.0.0.9", "hv2"),
    ]
    a, b = member("red/a", "red/lan", "10.0.0.1", "hv1"), member("red/b", "red/lan", "10.0.0.2", "hv1")
    net = run(fabric(*everything, a, b))
    flood = to_all(net.topology, "red/far")
    stages: list[list[Port]] = [[], [a], [a, b], [b], []]
    for present in stages:
        topology = fabric(*everything, *present)
        net.load(compile_fabric(topology, bindings=net.bindings))
        names = {entity.name for entity in present}
        assert net.send("red/far", flood) == {name: [flood] for name in names}
        assert net.underlay == []
        lets_out = [line for line in net.hosts["hv1"].flows("br-physnet1") if "dl_vlan=110" in line]
        assert bool(lets_out) is bool(names), "the way to the wire is open while a port needs it"
        for source in ("red/a", "red/b"):
            sent = to_all(net.topology, source)
            expected = {name: [sent] for name in (names | {"red/far"}) - {source}} if source in names else {}
            assert net.send(source, sent) == expected
            assert net.underlay == [], "a provider network's broadcast goes into no tunnel"


def wired(*more: Entity) -> Topology:
    """Two physical networks on one host, a VLAN network on each, and a flat one."""
    return fabric(
        host("hv1"),
        host("hv2"),
        physical_network("physnet1", "hv1", "hv2"),
        physical_network("physnet2", "hv1"),
        network("red/v1", "10.0.0.0/24", kind="vlan", segment=110, physical="physnet1"),
        network("red/v2", "10.0.0.0/24", kind="vlan", segment=120, physical="physnet2"),
        network("red/flat", "10.0.1.0/24", kind="flat", physical="physnet1"),
        OPEN_GROUP,
        *TUNNEL,
        member("red/a", "red/v1", "10.0.0.1", "hv1"),
        member("red/b", "red/v1", "10.0.0.2", "hv1"),
        member("red/open", "red/v2", "10.0.0.3", "hv1", secure=False),
        member("red/f", "red/flat", "10.0.1.1", "hv1"),
        *more,
    )


def test_e9_vlans_that_no_network_has_end_at_br_int(run: Run) -> None:
    """From the wire: a known VLAN reaches its members, an unknown one nobody; nothing crosses to another physical network."""
    net = run(wired())
    request = arp(ARP_REQUEST, (ROUTER, "10.0.0.254"), (0, "10.0.0.77"))
    members = {"red/a": [request], "red/b": [request]}
    assert net.receive_wire("hv1", "physnet1", tagged(request, 110)) == members
    assert net.wires == [], "what came from a wire goes to no other"
    assert net.receive_wire("hv1", "physnet2", tagged(request, 120)) == {"red/open": [request]}
    for untagged in (request, tagged(request, 0)):
        assert net.receive_wire("hv1", "physnet1", untagged) == {"red/f": [request]}, "untagged is the flat network"
    for physical, vlan in (("physnet1", 120), ("physnet2", 110), ("physnet1", 999), ("physnet2", 999), ("physnet2", 0)):
        assert net.receive_wire("hv1", physical, tagged(request, vlan)) == {}, (physical, vlan)
        assert (net.wires, net.underlay) == ([], [])
    assert net.receive_wire("hv1", "physnet1", tagged(tagged(request, 120), 999)) == {}
    assert net.receive_wire("hv1", "physnet1", tagged(tagged(request, 120), 110)) == {}, "nor a tag within a tag"
    assert net.receive_wire("hv1", "physnet1", tagged(request, 110)) == members, "and the good one still does"


def test_s17_arp_from_the_wire_reaches_the_members_and_its_owner_alone_answers(run: Run) -> None:
    """A request for a port's address stays within the network's members; Weft does not answer in its place.

    The owner's answer leaves on the wire, once; what another port says in its place does not.
    """
    net = run(wired(member("red/c", "red/v1", "10.0.0.4", "hv2")))
    a, b = net.topology.ports["red/a"], net.topology.ports["red/b"]
    request = arp(ARP_REQUEST, (ROUTER, "10.0.0.254"), (0, str(own(a))))
    assert net.receive_wire("hv1", "physnet1", tagged(request, 110)) == {"red/a": [request], "red/b": [request]}
    assert net.wires == [], "no answer but the owner's"
    lie = arp(ARP_REPLY, (b.mac, str(own(a))), (ROUTER, "10.0.0.254"), eth_dst=ROUTER)
    assert net.send("red/b", lie) == {}
    assert net.wires == []
    answer = arp(ARP_REPLY, (a.mac, str(own(a))), (ROUTER, "10.0.0.254"), eth_dst=ROUTER)
    assert net.send("red/a", answer) == {}
    assert net.wires == [("physnet1", tagged(answer, 110))]


def test_s15_weft_says_nothing_of_its_own_on_a_wire(run: Run) -> None:
    """Programming switches announces nothing: the first frames on wires and tunnels are those that ports send."""
    net = run(wired())
    asked = who_has(net.topology, "red/a", "10.0.0.2")
    answers = net.send("red/a", asked)
    assert list(answers) == ["red/a"]
    assert (net.wires, net.underlay) == ([], []), "a known neighbour is answered on the host"
    net.load(compile_fabric(net.topology, bindings=net.bindings))
    good = udp(net.topology, "red/a", "red/b")
    assert net.send("red/a", good) == {"red/b": [good]}
    assert (net.wires, net.underlay) == ([], [])
