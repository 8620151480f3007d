"""Switches of a real Open vSwitch, kept in sync over real connections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.pipeline.flow import Group, Output, ToGroup, match, set_field
from controller.switch.status import State
from tests.ovs.twin import Twin
from tests.switch.harness import WEB1, Control, flow, program, some_flows, wait_for

pytestmark = pytest.mark.ovs

DPID = 0x0001_0000_0000_00AA


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with Control(tmp_path, DPID) as running:
        yield running


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[Twin]:
    directory = tmp_path / "ovs"
    directory.mkdir()
    with Twin(directory) as running:
        running.add_bridge("br-int", {"p1": 1, "p2": 2})
        running.configure(["set", "bridge", "br-int", f"other_config:datapath-id={DPID:016x}"])
        yield running


def connect(twin: Twin, control: Control) -> None:
    create = ["--id=@c", "create", "controller", f'target="{control.target}"', "max_backoff=1000"]
    twin.configure(create, ["set", "bridge", "br-int", "controller=@c"])


def disconnect(twin: Twin, control: Control, dpid: int = DPID) -> None:
    """Let the switch look for its controller elsewhere; without any controller it would forget its flows."""
    twin.configure(["set-controller", "br-int", "tcp:127.0.0.1:1"])
    control.reach(dpid, State.DOWN)


def restart(twin: Twin) -> None:
    """End the daemon and start it again on the same database."""
    daemon = twin._processes.pop()
    daemon.terminate()
    daemon.wait(10)
    database, socket = f"unix:{twin.directory}/db.sock", f"--unixctl={twin.directory}/switch2.ctl"
    twin._spawn("ovs-vswitchd", database, "--enable-dummy", "--disable-system", "--disable-system-route", socket)


def changed(control: Control) -> tuple[int, int, int]:
    status = control.status(DPID)
    return status.added, status.modified, status.deleted


HELLO = flow(0, 10, match(in_port=1), Output(2))


def test_a_switch_gets_its_program_when_it_connects(
    twin: Twin, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = program(DPID, HELLO, *some_flows(3000))
    control.give(wanted)
    connect(twin, control)
    status = control.reach(DPID, State.IN_SYNC)
    assert (status.flows_installed, status.added, status.deleted) == (3001, 3001, 0)
    assert len(twin.flows("br-int")) == 3001
    assert "refused a setting" not in caplog.text


def test_the_observer_learns_the_ports_and_every_change_of_them(twin: Twin, control: Control) -> None:
    connect(twin, control)
    wait_for(lambda: control.recorder.ports.get(DPID) == {"p1": 1, "p2": 2})
    twin.configure(*twin.port_commands("br-int", {"p9": 9}), ["del-port", "br-int", "p1"])
    wait_for(lambda: control.recorder.ports.get(DPID) == {"p2": 2, "p9": 9})


def test_an_unchanged_switch_that_comes_back_is_sent_no_flow(twin: Twin, control: Control) -> None:
    connect(twin, control)
    control.bring(program(DPID, HELLO, group_to(1, 2), *some_flows(50)))
    disconnect(twin, control)
    connect(twin, control)
    control.reach(DPID, State.IN_SYNC)
    assert changed(control) == (0, 0, 0)


def test_what_a_third_hand_did_is_undone_at_connect(twin: Twin, control: Control) -> None:
    """A foreign flow, a flow with other actions under our cookie, a flow that is gone, a foreign group."""
    connect(twin, control)
    control.bring(program(DPID, HELLO, *some_flows(5)))
    before = twin.flows("br-int")
    disconnect(twin, control)
    twin.ofctl("add-flow", "br-int", "cookie=7,table=9,priority=5,tcp,tp_dst=0x50/0xf0,actions=drop")
    twin.ofctl("mod-flows", "br-int", "table=0,in_port=1,actions=output:1")
    twin.ofctl("del-flows", "br-int", "table=3,reg5=4")
    twin.ofctl("add-group", "br-int", "group_id=77,type=all,bucket=output:1")
    connect(twin, control)
    control.reach(DPID, State.IN_SYNC)
    assert changed(control) == (1, 1, 1)
    assert sorted(twin.flows("br-int")) == sorted(before)
    assert "group_id=77" not in twin.ofctl("dump-groups", "br-int")


def test_a_new_program_touches_only_what_differs(twin: Twin, control: Control) -> None:
    connect(twin, control)
    control.bring(program(DPID, HELLO, *some_flows(100)))
    control.bring(program(DPID, flow(0, 10, match(in_port=1), Output(3)), *some_flows(100)[:-2], *some_flows(103)[-1:]))
    assert changed(control) == (1, 1, 2)
    assert sum("in_port=1 actions=output:3" in line for line in twin.flows("br-int")) == 1
    assert len(twin.flows("br-int")) == 100


def test_the_same_flows_made_again_are_not_sent(twin: Twin, control: Control) -> None:
    connect(twin, control)
    control.bring(program(DPID, HELLO, *some_flows(10)))
    again = flow(0, 10, match(in_port=1), Output(2))
    control.bring(program(DPID, again, *some_flows(10)))
    assert changed(control) == (0, 0, 0)


def group_to(number: int, *ports: int) -> Group:
    return Group(number, tuple((set_field("tun_id", 5001), Output(port)) for port in ports), WEB1, "deliver")


def test_groups_change_and_go_with_the_flows_that_use_them(twin: Twin, control: Control) -> None:
    to_group = flow(0, 10, match(in_port=1), ToGroup(7))
    connect(twin, control)
    control.bring(program(DPID, to_group, group_to(7, 1, 2)))
    control.bring(program(DPID, to_group, group_to(7, 1, 2, 3), group_to(8, 1)))
    assert changed(control) == (0, 0, 0)
    groups = twin.ofctl("dump-groups", "br-int")
    assert groups.count("bucket=") == 4
    assert len(twin.flows("br-int")) == 1
    control.bring(program(DPID, HELLO, group_to(8, 1)))
    assert "group_id=7" not in twin.ofctl("dump-groups", "br-int")
    assert len(twin.flows("br-int")) == 1


def test_a_group_that_hands_to_another_comes_after_it(twin: Twin, control: Control) -> None:
    outer = Group(1, ((ToGroup(2),), (ToGroup(3),)), WEB1, "deliver")
    connect(twin, control)
    control.bring(program(DPID, outer, group_to(2, 1), group_to(3, 2)))
    assert twin.ofctl("dump-groups", "br-int").count("group_id=") == 3
    disconnect(twin, control)
    connect(twin, control)
    assert control.reach(DPID, State.IN_SYNC).groups == 3


def limit_table(twin: Twin, table: int, flows: int) -> None:
    twin.configure(
        ["--id=@t", "create", "flow_table", f"flow_limit={flows}", "overflow_policy=refuse"],
        ["set", "bridge", "br-int", f"flow_tables:{table}=@t"],
    )


def test_a_refused_bundle_changes_nothing_and_names_the_line(twin: Twin, control: Control) -> None:
    limit_table(twin, 3, 10)
    connect(twin, control)
    control.bring(program(DPID, HELLO, *some_flows(5)))
    before = sorted(twin.flows("br-int"))
    control.give(program(DPID, *some_flows(50)))
    status = control.reach(DPID, State.DEGRADED)
    assert status.last_error is not None
    assert "br-int@hv1: OFPFMFC_TABLE_FULL: flow table=deliver, priority=100, reg5=0x" in status.last_error
    assert "from port red/web1 (tenants/red.yaml:12:5)" in status.last_error
    assert sorted(twin.flows("br-int")) == before


def test_a_degraded_switch_recovers_by_itself(twin: Twin, control: Control) -> None:
    limit_table(twin, 3, 10)
    connect(twin, control)
    control.give(program(DPID, *some_flows(50)))
    control.reach(DPID, State.DEGRADED)
    twin.configure(["clear", "bridge", "br-int", "flow_tables"])
    status = control.reach(DPID, State.IN_SYNC)
    assert (status.flows_installed, status.last_error) == (50, None)


def test_a_flow_refused_when_added_discards_the_bundle(twin: Twin, control: Control) -> None:
    """Open vSwitch would commit the others: the match on a port needs a protocol, which the flow does not have."""
    connect(twin, control)
    control.bring(program(DPID, HELLO))
    control.give(program(DPID, *some_flows(600), flow(0, 9, match(tcp_dst=80))))
    status = control.reach(DPID, State.DEGRADED)
    assert "OFPBMC_BAD_PREREQ: flow table=classify, priority=9, tp_dst=80" in (status.last_error or "")
    assert len(twin.flows("br-int")) == 1


def test_a_switch_that_lost_its_flows_gets_them_again(twin: Twin, control: Control) -> None:
    connect(twin, control)
    control.bring(program(DPID, HELLO, *some_flows(20)))
    restart(twin)
    wait_for(lambda: control.recorder.gone == [DPID])
    assert control.reach(DPID, State.IN_SYNC).added == 21
    assert len(twin.flows("br-int")) == 21


def test_other_versions_are_refused_with_what_helps(
    twin: Twin, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    twin.configure(["set", "bridge", "br-int", "protocols=OpenFlow10,OpenFlow13"])
    connect(twin, control)
    wait_for(lambda: "protocols=OpenFlow14" in caplog.text)
    assert "it offers OpenFlow 1.0, 1.3 and needs OpenFlow 1.4" in caplog.text
    assert DPID not in control.switches.statuses()


def test_a_flow_to_a_group_that_is_not_there_is_named(twin: Twin, control: Control) -> None:
    connect(twin, control)
    control.give(program(DPID, *some_flows(20), flow(0, 10, match(in_port=1), ToGroup(99))))
    error = control.reach(DPID, State.DEGRADED).last_error or ""
    assert error.startswith("br-int@hv1: OFPBAC_BAD_OUT_GROUP: flow table=classify, priority=10, in_port=")
    assert error.endswith("from port red/web1 (tenants/red.yaml:12:5)")


def test_a_refused_group_is_named(twin: Twin, control: Control) -> None:
    connect(twin, control)
    control.give(program(DPID, HELLO, Group(7, ((Output(0xFFFFFF05),),), WEB1, "deliver")))
    error = control.reach(DPID, State.DEGRADED).last_error or ""
    assert error.startswith("br-int@hv1: OFPBAC_BAD_OUT_PORT: group group_id=7,type=all,bucket=actions=output:")
    assert error.endswith("from port red/web1 (tenants/red.yaml:12:5)")
