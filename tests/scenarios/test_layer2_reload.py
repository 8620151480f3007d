"""Files change while packets flow: what a change touches at the switches, and that nobody else loses a packet.

One lab serves all stories; each ends with the files as they were. Then every switch must hold exactly what the files compile
to from nothing: any difference would be a defect of the way by small changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from controller import config
from controller.lab.plan import DATAPATH
from controller.lab.prober import ICMP, Pace
from controller.model.address import link_local, parse_mac
from controller.model.ids import key
from controller.model.names import interface_name
from controller.switch.ovsdb import set_up_host
from tests.lab.net import Net
from tests.scenarios.frames import ARP_REQUEST, arp, tagged
from tests.scenarios.labs import Stream, Wire, ask, differences, installed, running, states, touched, wait_until, write

pytestmark = pytest.mark.lab

FABRIC = """\
fabric: reload
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
physical_networks:
  physnet1: {hosts: [hv1, hv2], vlans: 100-199}
tenants:
  red: {segments: 5000-5099, vlans: {physnet1: 100-109}}
"""
RED = """\
networks:
  web: {type: vxlan, segment: 5001, cidr: 10.0.1.0/24}
  lan: {type: vlan, physical_network: physnet1, segment: 100, cidr: 10.0.2.0/24}
ports:
  w1: {network: web, host: hv1, ip: 10.0.1.11}
  w2: {network: web, host: hv2, ip: 10.0.1.12}
  w3: {network: web, host: hv1, ip: 10.0.1.13}
  l1: {network: lan, host: hv1, ip: 10.0.2.11}
  l2: {network: lan, host: hv2, ip: 10.0.2.12}
"""
TENANT = "tenants/red.yaml"
FILES = {"fabric.yaml": FABRIC, TENANT: RED}
ONCE = Pace(1, 3.0)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with running(tmp_path_factory.mktemp("reload"), FILES) as up:
        up.lab.wait_in_sync()
        yield up


@pytest.fixture
def net(lab: Net) -> Iterator[Net]:
    """The lab as the files at the top say; a story's edits are taken back, and the switches compared with the files."""
    yield lab
    edit(lab, RED)
    assert differences(lab) == []


def flow_mods(status: Mapping[str, list[dict[str, int]]]) -> set[tuple[int, int, int]]:
    """Return what the last syncs of all switches sent: flows added, modified and deleted."""
    return {(switch["added"], switch["modified"], switch["deleted"]) for switch in status["switches"]}


def edit(net: Net, red: str) -> None:
    """Plug and unplug what the tenant's new file will say, then let it be read; return when all is in force."""
    plug(net, red)
    read(net, red)


def plug(net: Net, red: str) -> None:
    """Plug and unplug what a new file will say.

    Apart from reading it, because Open vSwitch's userspace datapath may lose a packet while a port is plugged, whoever plugs it.
    """
    later = net.lab.folder.with_suffix(".later")
    write(later / "fabric.yaml", FABRIC)
    write(later / TENANT, red)
    topology = config.load(later).topology
    assert topology is not None
    net.lab.follow(topology)


def read(net: Net, red: str) -> None:
    """Save the tenant's file and have it read; return when it is in force."""
    write(net.lab.folder / TENANT, red)
    answer = ask(net, "apply")
    assert answer["accepted"], answer["problems"]
    net.lab.wait_in_sync()


def number_of(net: Net, port: str) -> str:
    """Return the number of a port at its switch."""
    planned = net.lab.plan.ports[port]
    said = net.lab.exec_host(
        planned.host, ["ovs-vsctl", "get", "interface", interface_name(port), "ofport"], check=True
    )
    return said.stdout.strip()


def signs(net: Net, port: str) -> list[str]:
    """Return patterns by which a flow is known to be about a port: number, key, MAC and addresses."""
    planned = net.lab.plan.ports[port]
    addresses = [address.partition("/")[0] for address in planned.addresses]
    plain = [planned.mac, str(link_local(parse_mac(planned.mac))), f"0x{key('port', port):x}", *addresses]
    number = number_of(net, port)
    return [
        *(rf"{re.escape(text)}\b" for text in plain),
        rf"\bin_port={number}\b",
        rf"\boutput:{number}\b",
        rf"\breg2={int(number):#x}\b",
    ]


def assert_only_about(flows: list[str], patterns: list[str]) -> None:
    strange = [flow for flow in flows if not any(re.search(pattern, flow) for pattern in patterns)]
    assert not strange, "\n".join(strange)


def test_adding_a_port_touches_its_own_flows_only(net: Net) -> None:
    """A port joins a running network: it works at once, and no flow that is not about it is written again."""
    before, more = installed(net), RED + "  new: {network: web, host: hv1, ip: 10.0.1.14}\n"
    plug(net, more)
    with Stream(net, "red/w1", "red/w2") as stream:
        read(net, more)
        assert net.ping("red/new", "red/w2")
        assert net.ping("red/w2", "red/new")
    changes = touched(before, installed(net))
    assert 0 < len(changes) < 60
    assert_only_about(changes, signs(net, "red/new"))
    assert stream.lost == set()


def test_changing_a_port_touches_its_own_flows_only(net: Net) -> None:
    """A port gets another address: the old one is nobody's, the new one works, and nobody else is touched."""
    before, old, other = installed(net), signs(net, "red/w3"), RED.replace("10.0.1.13", "10.0.1.33")
    plug(net, other)
    with Stream(net, "red/w1", "red/w2") as stream:
        read(net, other)
        assert net.ping("red/w2", "red/w3")
        assert net.probe("red/w2", "10.0.1.13", ICMP).reached == set()
    changes = touched(before, installed(net))
    assert 0 < len(changes) < 60
    assert_only_about(changes, old + signs(net, "red/w3"))
    assert stream.lost == set()


def test_removing_a_port_touches_its_own_flows_only(net: Net) -> None:
    """A port goes from the files: nothing of it stays, not even while its interface is still plugged."""
    before, old = installed(net), signs(net, "red/w3")
    with Stream(net, "red/w1", "red/w2") as stream:
        read(net, without("w3"))
        assert_out_of_reach(net, "red/w3", "red/w1")
        assert net.ping("red/w1", "red/w2")
    changes = touched(before, installed(net))
    assert 0 < len(changes) < 60
    assert_only_about(changes, old)
    its_mac = net.lab.plan.ports["red/w3"].mac
    assert not [place for place, held in installed(net).items() if its_mac in place[2] + held.actions]
    assert stream.lost == set()


def without(port: str) -> str:
    return "".join(line for line in RED.splitlines(keepends=True) if not line.startswith(f"  {port}:"))


def assert_out_of_reach(net: Net, gone: str, other: str) -> None:
    """Neither end hears the other, seen after an honest frame of a third port has come to the other."""
    mine = parse_mac(net.lab.plan.ports[gone].mac)
    shouted = arp(ARP_REQUEST, (mine, net.address(gone)), (0, "10.0.1.99"))
    with net.listen(other) as at_other, net.listen(gone) as at_gone:
        net.send(gone, shouted)
        end = announcement(net, "red/w2")
        net.send("red/w2", end)
        at_other.wait_for(end.__eq__)
        assert shouted not in at_other.frames
        assert at_gone.find(end.__eq__, 0) is None


def announcement(net: Net, port: str) -> bytes:
    """What a kernel says when it takes an address."""
    return arp(ARP_REQUEST, (parse_mac(net.lab.plan.ports[port].mac), net.address(port)), (0, net.address(port)))


@pytest.mark.parametrize(
    "bad",
    [
        RED.replace("host: hv2, ip: 10.0.1.12", "host: hv7, ip: 10.0.1.12"),
        RED.replace("10.0.1.12", "10.9.9.9"),
        RED + "  w1: {network: web}\n",
        "networks: [",
    ],
    ids=["unknown-host", "address-outside", "duplicate", "no-yaml"],
)
def test_a_refused_file_changes_nothing(net: Net, bad: str) -> None:
    """The last good topology stays in force, to the flow; status says so, until the file is good again."""
    before = installed(net)
    with Stream(net, "red/w1", "red/w2") as stream:
        write(net.lab.folder / TENANT, bad)
        answer = ask(net, "apply")
        assert not answer["accepted"]
        assert TENANT in "\n".join(answer["problems"])
        status = ask(net, "status")
        assert not status["accepted"]
        assert {switch["state"] for switch in status["switches"]} == {"in sync"}
        write(net.lab.folder / TENANT, RED)
        assert ask(net, "apply")["accepted"]
        net.lab.wait_in_sync()
    assert touched(before, installed(net)) == []
    assert stream.lost == set()


def test_a_restarted_controller_sends_no_flow_and_announces_nothing(net: Net) -> None:
    """S15 and a restart: every flow stays as old as it was, no packet is lost, and the wire carries nobody's announcements."""
    before = installed(net)
    with Stream(net, "red/l1", "red/l2") as stream, Wire(net, "hv2", "eth1") as wire:
        net.lab.stop_controller()
        net.lab.start_controller()
        assert flow_mods(net.lab.wait_in_sync()) == {(0, 0, 0)}
        end = announcement(net, "red/l1")
        net.send("red/l1", end)
        wire.wait_for(lambda got: got[:42] == tagged(end, 100)[:42])
        assert not [got for got in wire.frames if got[16:18] in (b"\x08\x06", b"\x80\x35")][:-1]
    assert touched(before, installed(net)) == []
    assert stream.lost == set()


def test_e7_a_vlan_network_gets_another_vlan(net: Net) -> None:
    """The number of a VLAN network changes with its ports bound: they meet again untouched, and the wire carries the new one."""
    numbers = {port: number_of(net, port) for port in ("red/l1", "red/l2")}
    with Stream(net, "red/w1", "red/w2") as stream, Wire(net, "hv2", "eth1") as wire:
        read(net, RED.replace("segment: 100", "segment: 105"))
        assert net.ping("red/l1", "red/l2")
        assert net.ping("red/l2", "red/l1")
        end = announcement(net, "red/l1")
        net.send("red/l1", end)
        assert wire.wait_for(lambda got: end[14:42] in got)[12:16] == b"\x81\x00\x00\x69"
    assert {port: number_of(net, port) for port in numbers} == numbers
    assert stream.lost == set()
    assert not [place for place in installed(net) if "dl_vlan=100" in place[2]]


def test_e5_a_port_that_moves_is_followed_at_once(net: Net) -> None:
    """A port, with its MAC and address, moves from hv1 to hv2: the very first packet of another port finds it there."""
    assert net.ping("red/w1", "red/w3")
    moved = RED.replace("w3: {network: web, host: hv1", "w3: {network: web, host: hv2")
    plug(net, moved)
    with Stream(net, "red/w1", "red/w2") as stream:
        read(net, moved)
        for other in ("red/w1", "red/w2"):
            outcome = net.probe(other, "10.0.1.13", ICMP, pace=ONCE)
            assert (outcome.answered, outcome.reached) == (True, {"red/w3"})
    assert stream.lost == set()


def test_a_port_that_no_file_names_is_closed(net: Net) -> None:
    """A member's own interface, MAC and address, plugged under a name that no file has: nothing in, nothing out."""
    named, strange = "red.w3", "red.zz"
    rename(net, named, strange)
    with ExitStack() as undo:
        undo.callback(rename, net, strange, named)
        wait_until(lambda: ask(net, "status")["ports"]["unbound"] == ["red/w3"], "the port of the files is missed")
        wait_until(lambda: states(net, "hv1", "hv2") == {"in sync"}, "the switches know")
        assert_out_of_reach(net, "red/w3", "red/w1")
    net.lab.wait_in_sync()
    assert net.ping("red/w1", "red/w3")


def rename(net: Net, old: str, new: str) -> None:
    """Take an interface of hv1 out of its switch and plug it again under another name."""
    for command in (
        ["ovs-vsctl", "del-port", "br-int", old],
        ["ip", "link", "set", old, "down"],
        ["ip", "link", "set", old, "name", new, "up"],
        ["ovs-vsctl", "add-port", "br-int", new],
    ):
        net.lab.exec_host("hv1", command, check=True)


def test_s13_foreign_ports_and_bridges_are_left_alone(net: Net) -> None:
    """A bridge, a patch port and a tunnel that somebody made by hand outlive a reload, a restart and a second set-up.

    Ours keep their numbers. What is foreign on our bridges carries nothing.
    """
    made = [
        *("ovs-vsctl", "add-br", "br-foreign", "--", "add-port", "br-foreign", "f-int"),
        *("--", "set", "interface", "f-int", "type=patch", "options:peer=int-f"),
        *("--", "add-port", "br-int", "int-f", "--", "set", "interface", "int-f", "type=patch", "options:peer=f-int"),
        *("--", "add-port", "br-tun", "by-hand", "--", "set", "interface", "by-hand", "type=vxlan"),
        *("options:remote_ip=172.31.0.77", "options:key=9999"),
    ]
    with ExitStack() as undo:
        undo.callback(
            net.lab.exec_host,
            "hv1",
            ["ovs-vsctl", "del-br", "br-foreign", "--", "del-port", "int-f", "--", "del-port", "by-hand"],
            check=True,
        )
        net.lab.exec_host("hv1", made, check=True)
        rows = interfaces(net)
        edit(net, RED + "  new: {network: web, host: hv1, ip: 10.0.1.14}\n")
        edit(net, RED)
        net.lab.stop_controller()
        net.lab.start_controller()
        net.lab.wait_in_sync()
        topology = config.load(net.lab.folder).topology
        assert topology is not None
        target, database = f"tcp:{net.lab.listen}", net.lab.switch("hv1").database
        set_up_host(topology, "hv1", controller=target, db=database, datapath=DATAPATH)
        assert interfaces(net) == rows
        for bridge, name in (("br-int", "int-f"), ("br-tun", "by-hand")):
            number = next(line.rpartition(",")[2] for line in rows if f",{name}," in line)
            used = re.compile(rf"(in_port=|output:){number}\b")
            for place, held in installed(net).items():
                assert place[:2] != ("hv1", bridge) or not used.search(f"{place[2]} {held.actions}"), place
        assert net.ping("red/w1", "red/w2")


def interfaces(net: Net) -> list[str]:
    """Return identity, name and number of every interface of hv1."""
    command = ["ovs-vsctl", "--format=csv", "--no-headings", "--columns=_uuid,name,ofport", "list", "interface"]
    return sorted(net.lab.exec_host("hv1", command, check=True).stdout.splitlines())


def test_hosts_and_ports_that_join_late_work(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A host and a port that come after the others are members from then on, and nobody's packets are lost to it."""
    with running(tmp_path_factory.mktemp("late"), FILES, without=("hv2", "red/w3")) as net:
        wait_until(lambda: states(net, "hv1") == {"in sync"}, "hv1 is in sync")
        assert set(ask(net, "status")["ports"]["unbound"]) == {"red/w2", "red/w3", "red/l2"}
        net.lab.plug("red/w3")
        wait_until(lambda: "red/w3" not in ask(net, "status")["ports"]["unbound"], "the port is bound")
        wait_until(lambda: states(net, "hv1") == {"in sync"}, "hv1 is in sync again")
        assert net.ping("red/w1", "red/w3")
        with Stream(net, "red/w1", "red/w3") as stream:
            net.lab.start_host("hv2")
            net.lab.plug("red/w2")
            net.lab.plug("red/l2")
            wait_until(lambda: not ask(net, "status")["ports"]["unbound"], "all ports are bound")
            net.lab.wait_in_sync()
            for pair in (("red/w2", "red/w1"), ("red/w3", "red/w2"), ("red/l1", "red/l2"), ("red/l2", "red/l1")):
                assert net.ping(*pair), pair
        assert stream.lost == set()
