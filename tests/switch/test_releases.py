"""When an address gets another owner, its connections end: on fake switches, and on hosts of a real Open vSwitch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.model.entities import Port, Topology
from controller.model.ids import host_id, integration_dpid
from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Delta, Program
from controller.pipeline.numbers import Numbers, read_notes
from controller.pipeline.released import notes_of, told_owner
from controller.switch.fake import FakeSwitch
from controller.switch.status import State
from controller.wire import flush
from controller.wire.flush import Flush
from tests.builders import Entity, allow, fabric, group, host, network, port, router
from tests.ovs.frames import Step, frame
from tests.ovs.rolling import RollingTwin, plan
from tests.pipeline.changes import difference
from tests.scenarios.talk import answer_to, request
from tests.switch.harness import PATIENCE_S, Control, wait_for

ONE = integration_dpid(host_id("hv1"))
MAC, OTHER_MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
OPEN = group("red/open", ingress=[allow()])
NETWORKS = (network("red/n", "10.0.0.0/24", "fd00::/64", segment=5001), network("red/m", "10.1.0.0/24", segment=5002))


def vm(name: str, number: int, *, where: str = "hv1", mac: str | None = None, of: str = "red/n") -> Port:
    addresses = [f"10.0.0.{number}", f"fd00::{number}"] if of == "red/n" else [f"10.1.0.{number}"]
    return port(f"red/{name}", of, *addresses, host=where, groups=["red/open"], mac=mac)


def town(*parts: Entity) -> Topology:
    return fabric(host("hv1"), host("hv2"), *NETWORKS, OPEN, *parts)


A, C, FAR = vm("a", 1, mac=MAC), vm("c", 2), vm("far", 3, where="hv2")
HEIR = vm("heir", 1, mac=MAC)  # Another port with the address and the MAC of the first.
LONE = vm("lone", 9, of="red/m")


def inside(topology: Topology, numbers: Numbers | None = None) -> Program:
    """The program of hv1's br-int."""
    told = {"hv1": numbers} if numbers else None
    return next(each for each in compile_fabric(topology, hosts=["hv1"], numbers=told) if each.dpid == ONE)


def zones(program: Program) -> dict[str, int]:
    """Address space, which here is the network, -> zone."""
    return dict(read_notes(note for flow in program.flows.values() for note in notes_of(flow)).zones)


def bodies(*wanted: Flush) -> list[bytes]:
    return [body for each in wanted for body in flush.messages(each) * (1 if each.address is None else flush.TIMES)]


def address(number: int, zone: int) -> list[bytes]:
    """What ends the connections of a port's two addresses."""
    return bodies(Flush(zone, ip_address(f"10.0.0.{number}")), Flush(zone, ip_address(f"fd00::{number}")))


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with Control(tmp_path, ONE) as running:
        yield running


@pytest.fixture
def switch(control: Control) -> Iterator[FakeSwitch]:
    with FakeSwitch(control.address, ONE) as fake:
        yield fake


def turn(control: Control, ours: Program, after: Topology) -> Delta:
    """Change a program in place as the engine does, and have the switch take the delta."""
    new = inside(after, Numbers(zones=zones(ours)))
    delta = difference(ours, new)
    ours.flows, ours.groups, ours.meters = dict(new.flows), dict(new.groups), dict(new.meters)
    version = control.switches.change(ONE, delta)
    assert control.switches.wait({ONE: version}, PATIENCE_S) == set(), control.status(ONE)
    return delta


@pytest.mark.parametrize(
    ("after", "ended"),
    [
        (town(HEIR, C, FAR), [1]),
        (town(C, FAR), [1]),
        (town(A, C), [3]),
        (town(C), [1, 3]),
        (town(replace(A, mac=0x0B), C, FAR), []),
        (town(A, C, FAR, vm("new", 4)), []),
        (town(A, C, replace(FAR, host="hv1")), []),
        (town(A, replace(C, groups=()), FAR), []),
    ],
    ids=[
        "another port has the address and the MAC",
        "a port goes",
        "a port of another host goes",
        "two ports go",
        "a port has another MAC",
        "a port comes",
        "a port moves here",
        "a port leaves its group",
    ],
)
def test_connections_end_with_the_owner_of_their_address(
    control: Control, switch: FakeSwitch, after: Topology, ended: list[int]
) -> None:
    ours = inside(town(A, C, FAR))
    control.bring(ours)
    assert switch.flushed == []
    turn(control, ours, after)
    (zone,) = zones(ours).values()
    assert sorted(switch.flushed) == sorted(body for number in ended for body in address(number, zone))


@pytest.mark.parametrize("after", [town(HEIR, C), town(C)])
def test_what_a_controller_left_undone_the_next_one_does(control: Control, switch: FakeSwitch, after: Topology) -> None:
    ours = inside(town(A, C))
    control.bring(ours)
    switch.close()
    control.reach(ONE, State.DOWN)
    control.recorder.programs[ONE] = new = inside(after)
    switch.connect()
    control.reach(ONE, State.IN_SYNC)
    assert sorted(switch.flushed) == sorted(address(1, zones(new)["red/n"]))


def test_a_switch_that_comes_back_as_it_was_ends_nothing(control: Control, switch: FakeSwitch) -> None:
    control.bring(inside(town(A, C)))
    switch.close()
    control.reach(ONE, State.DOWN)
    switch.connect()
    control.reach(ONE, State.IN_SYNC)
    assert switch.flushed == []


def test_a_zone_that_nobody_has_any_more_ends_as_a_whole(control: Control, switch: FakeSwitch) -> None:
    ours = inside(town(A, C, LONE))
    control.bring(ours)
    zone = zones(ours)["red/m"]
    turn(control, ours, town(A, C))
    assert switch.flushed == bodies(Flush(zone, None))


def test_a_zone_that_a_network_shared_ends_as_a_whole_at_the_next_sync(control: Control, switch: FakeSwitch) -> None:
    ours = inside(town(A, C, LONE))
    control.bring(ours)
    control.bring(inside(town(LONE), Numbers(zones=zones(ours))))
    assert switch.flushed == bodies(Flush(zones(ours)["red/n"], None))


ROUTED = (vm("a", 11), vm("c", 12), vm("far", 13, where="hv2"), LONE)
JOINED, APART = (router("red/r", *names) for names in (("red/m", "red/n"), ("red/m",)))


def test_the_zone_that_a_network_had_before_it_joined_a_router_ends_as_a_whole(
    control: Control, switch: FakeSwitch
) -> None:
    ours = inside(town(*ROUTED, APART))
    control.bring(ours)
    before = zones(ours)["red/n"]
    turn(control, ours, town(*ROUTED, JOINED))
    assert switch.flushed == bodies(Flush(before, None))


@pytest.mark.parametrize("is_new", [False, True], ids=["change", "next controller"])
def test_in_the_zone_of_a_router_the_connections_of_a_network_that_leaves_it_end(
    control: Control, switch: FakeSwitch, is_new: bool
) -> None:
    """Those of its ports here, as whatever a host tracks concerns one of its own: other networks keep theirs."""
    ours = inside(town(*ROUTED, JOINED))
    control.bring(ours)
    zone, after = zones(ours)["red/@r"], town(*ROUTED, APART)
    if is_new:
        control.bring(inside(after, Numbers(zones=zones(ours))))
    else:
        turn(control, ours, after)
    assert {*address(11, zone), *address(12, zone)} <= set(switch.flushed)
    kept = (*address(13, zone), *bodies(Flush(zone, ip_address("10.1.0.9")), Flush(zone, None)))
    assert not set(kept) & set(switch.flushed)


def test_what_a_third_hand_altered_ends_nothing_as_long_as_the_owner_stays(
    control: Control, switch: FakeSwitch
) -> None:
    ours = inside(town(A, C))
    control.bring(ours)
    answers = [flow.key for flow in ours.flows.values() if told_owner(flow.actions) is not None]
    for key, (_, instructions) in list(switch.flows.items()):
        switch.flows[key] = (bytes(8), instructions)
    (report,) = control.switches.audit([ONE], PATIENCE_S)
    assert (report.repaired, len(report.flows.altered) >= len(answers), switch.flushed) == (True, True, [])


def test_the_flush_is_in_the_write_of_the_commit(
    control: Control, switch: FakeSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller that ends at any moment has sent both or neither."""
    ours = inside(town(A, C))
    control.bring(ours)
    session = control.switches._switches[ONE].session
    assert session is not None
    writes: list[bytes] = []
    write = session.write

    def noted(data: bytes) -> None:
        writes.append(data)
        write(data)

    monkeypatch.setattr(session, "write", noted)
    turn(control, ours, town(HEIR, C))
    (with_it,) = [data for data in writes if switch.flushed[0] in data]
    assert all(body in with_it for body in switch.flushed)
    assert with_it.index(b"\x05\x21\x00\x10") < with_it.index(switch.flushed[0])


def test_a_switch_that_cannot_flush_is_told_of_once(
    control: Control, switch: FakeSwitch, caplog: pytest.LogCaptureFixture
) -> None:
    switch.can_flush = False
    ours = inside(town(A, C, FAR))
    control.bring(ours)
    for after in (town(HEIR, C, FAR), town(A, C, FAR)):
        turn(control, ours, after)
    assert caplog.text.count("does not end the connections of addresses that change hands") == 1
    assert (control.status(ONE).state, switch.flushed) == (State.IN_SYNC, [])


# On Open vSwitch: two hosts, each with a switch of its own.

Tracked = set[tuple[str, str]]


class Hosts:
    """Two hosts whose bridges one controller keeps, in the middle of a change."""

    def __init__(self, control: Control, net: RollingTwin, before: Topology, after: Topology) -> None:
        self.control, self.net = control, net
        self.change = plan(before, after, net.bindings)
        self.held = {program.dpid: program for program in self.change.old}
        for program in self.change.old:
            control.give(program)
            set_id = ["set", "bridge", program.bridge, f"other_config:datapath-id={program.dpid:016x}"]
            net.hosts[program.host].configure(set_id)
        self.connect()

    def connect(self) -> None:
        for program in self.change.old:
            name = f"c{program.bridge.replace('-', '')}"
            create = [f"--id=@{name}", "create", "controller", f'target="{self.control.target}"', "max_backoff=1000"]
            bridge = ["set", "bridge", program.bridge, f"controller=@{name}"]
            self.net.hosts[program.host].configure(create, bridge)
        for program in self.change.old:
            self.control.reach(program.dpid, State.IN_SYNC)

    def disconnect(self) -> None:
        """Let the switches look for their controller elsewhere."""
        for program in self.change.old:
            self.net.hosts[program.host].configure(["set-controller", program.bridge, "tcp:127.0.0.1:1"])
        for program in self.change.old:
            self.control.reach(program.dpid, State.DOWN)

    def roll(self, phases: int | None = None) -> None:
        """Do the first phases of the change, or all."""
        for share in self.change.shares[:phases]:
            versions = {}
            for dpid, delta in share.items():
                program = self.held[dpid]
                for key in delta.deletes:
                    program.flows.pop(key, None)
                program.flows |= delta.puts
                program.groups |= delta.group_puts
                for number in delta.group_deletes:
                    program.groups.pop(number, None)
                versions[dpid] = self.control.switches.change(dpid, delta)
            assert self.control.switches.wait(versions, PATIENCE_S) == set()

    def talk(self, source: str, target: str, version: int) -> None:
        """Open a connection that is answered."""
        asked = request(self.net.topology, source, target, "udp 80", version=version)
        assert self.net.send(source, frame(asked)) == {target: [frame(asked)]}
        back = frame(answer_to(asked, target), Step.ACCEPT)
        assert self.net.send(target, back) == {source: [back]}

    def tracked(self, where: str) -> Tracked:
        dumped = self.net.hosts[where].control.call("dpctl/dump-conntrack")
        return set(re.findall(r"orig=\(src=([^,]+),dst=([^,]+),", dumped))


BEFORE, AFTER = town(A, C, FAR), town(HEIR, C, FAR)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    directory = tmp_path / "ovs"
    directory.mkdir()
    with RollingTwin(directory, BEFORE, AFTER) as net:
        dpids = [program.dpid for program in plan(BEFORE, AFTER, net.bindings).old]
        with Control(tmp_path, *dpids) as control:
            made = Hosts(control, net, BEFORE, AFTER)
            for version in (4, 6):
                made.talk("red/far", "red/a", version)
                made.talk("red/a", "red/c", version)
                made.talk("red/far", "red/c", version)
            yield made


NEAR_ALL: Tracked = {(f"{net}{a}", f"{net}{b}") for net in ("10.0.0.", "fd00::") for a, b in ((3, 1), (1, 2), (3, 2))}
OF_THE_REST: Tracked = {("10.0.0.3", "10.0.0.2"), ("fd00::3", "fd00::2")}
FAR_ALL: Tracked = {(f"{net}3", f"{net}{b}") for net in ("10.0.0.", "fd00::") for b in (1, 2)}


@pytest.mark.ovs
def test_the_connections_of_an_address_that_changes_hands_end_on_all_hosts(hosts: Hosts) -> None:
    assert (hosts.tracked("hv1"), hosts.tracked("hv2")) == (NEAR_ALL, FAR_ALL)
    hosts.roll(-1)
    assert (hosts.tracked("hv1"), hosts.tracked("hv2")) == (NEAR_ALL, FAR_ALL)
    hosts.roll()
    assert (hosts.tracked("hv1"), hosts.tracked("hv2")) == (OF_THE_REST, OF_THE_REST)


@pytest.mark.ovs
def test_a_controller_that_ends_before_it_lets_the_next_one_end_them(hosts: Hosts) -> None:
    hosts.roll(-1)
    hosts.disconnect()
    for program in hosts.change.new:
        hosts.control.recorder.programs[program.dpid] = program
    hosts.connect()
    assert (hosts.tracked("hv1"), hosts.tracked("hv2")) == (OF_THE_REST, OF_THE_REST)


@pytest.mark.ovs
def test_a_controller_that_comes_back_ends_nothing(hosts: Hosts) -> None:
    hosts.disconnect()
    hosts.connect()
    wait_for(lambda: all(hosts.control.status(dpid).state is State.IN_SYNC for dpid in hosts.held))
    assert (hosts.tracked("hv1"), hosts.tracked("hv2")) == (NEAR_ALL, FAR_ALL)
