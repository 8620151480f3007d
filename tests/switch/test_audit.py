"""What a third hand does to a switch of a real Open vSwitch is found, told by name and undone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.pipeline.flow import Group, Note, Output, Program, ToGroup, match, set_field
from controller.pipeline.plan import pipeline
from controller.switch.fake import FakeSwitch
from controller.switch.status import AuditReport, State
from controller.wire.pack import flow_add
from tests.ovs.twin import Twin
from tests.switch.edits import put
from tests.switch.harness import PATIENCE_S, WEB1, Control, flow, program, some_flows, wait_for

pytestmark = pytest.mark.ovs

DPID = 0x0001_0000_0000_00AA
ORIGIN = "from port red/web1 (tenants/red.yaml:12:5)"


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with Control(tmp_path, DPID) as running:
        yield running


@pytest.fixture
def twin(tmp_path: Path, control: Control) -> Iterator[Twin]:
    directory = tmp_path / "ovs"
    directory.mkdir()
    with Twin(directory) as running:
        running.add_bridge("br-int", {"p1": 1, "p2": 2})
        running.add_bridge("br-mine", {"m1": 1})
        running.configure(["set", "bridge", "br-int", f"other_config:datapath-id={DPID:016x}"])
        create = ["--id=@c", "create", "controller", f'target="{control.target}"', "max_backoff=1000"]
        running.configure(create, ["set", "bridge", "br-int", "controller=@c"])
        yield running


def ours() -> Program:
    group = Group(7, ((set_field("tun_id", 5001), Output(1)), (Output(2),)), WEB1, "deliver")
    to_group = flow(0, 9, match(in_port=2), ToGroup(7))
    return program(DPID, flow(0, 10, match(in_port=1), Output(2)), to_group, group, *some_flows(20))


def audit(control: Control) -> AuditReport:
    (report,) = control.switches.audit([DPID], PATIENCE_S)
    return report


def state(twin: Twin) -> tuple[list[str], str]:
    groups = twin.ofctl("dump-groups", "br-int").splitlines()[1:]
    return sorted(twin.flows("br-int")), "\n".join(sorted(groups))


@pytest.mark.usefixtures("twin")
def test_an_audit_of_a_switch_that_is_right_finds_nothing(control: Control) -> None:
    control.bring(ours())
    report = audit(control)
    assert (report.is_clean, report.repaired, control.status(DPID).audits) == (True, False, 1)


def test_flows_of_ours_that_are_gone_come_back(twin: Twin, control: Control) -> None:
    control.bring(ours())
    before = state(twin)
    twin.ofctl("del-flows", "br-int", "table=3,reg5=4")
    report = audit(control)
    assert report.flows.missing == (f"flow table=deliver, priority=100, reg5=0x4 actions=output:5, {ORIGIN}",)
    assert (report.flows.count, report.repaired, state(twin)) == (1, True, before)


def test_foreign_flows_and_groups_go_and_other_bridges_stay(twin: Twin, control: Control) -> None:
    control.bring(ours())
    before = state(twin)
    for bridge in ("br-int", "br-mine"):
        twin.ofctl("add-flow", bridge, "cookie=7,table=3,priority=5,tcp,in_port=1,tp_dst=80,actions=drop")
        twin.ofctl("add-group", bridge, "group_id=77,type=all,bucket=output:1")
    report = audit(control)
    foreign = 'flow table=deliver, priority=5, tcp, in_port="p1", tp_dst=80, which is not of Weft\'s program'
    assert report.flows.foreign == (foreign,)
    assert report.groups.foreign == ("group group_id=77, which is not of Weft's program",)
    assert (report.repaired, state(twin), len(twin.flows("br-mine"))) == (True, before, 1)


@pytest.mark.parametrize(
    "alteration",
    [
        ("mod-flows", "table=0,priority=10,in_port=1,actions=output:1"),
        ("--strict", "mod-flows", "cookie={cookie},table=0,priority=10,in_port=1,actions=output:1"),
        ("add-flow", "cookie={cookie},table=0,priority=10,in_port=1,actions=output:1"),
        ("add-flow", "cookie=1,table=0,priority=10,in_port=1,actions=output:2"),
        ("add-flow", "cookie={cookie},idle_timeout=600,table=0,priority=10,in_port=1,actions=output:2"),
        ("add-flow", "cookie={cookie},hard_timeout=600,table=0,priority=10,in_port=1,actions=output:2"),
        ("add-flow", "cookie={cookie},send_flow_rem,table=0,priority=10,in_port=1,actions=output:2"),
        ("add-flow", "cookie={cookie},importance=5,table=0,priority=10,in_port=1,actions=output:2"),
    ],
    ids=" ".join,
)
def test_an_altered_flow_is_put_right_whatever_its_cookie(
    twin: Twin, control: Control, alteration: tuple[str, ...]
) -> None:
    wanted = ours()
    control.bring(wanted)
    before = state(twin)
    cookie = int.from_bytes(flow_add(next(iter(wanted.flows.values())))[:8], "big")
    *command, text = alteration
    twin.ofctl(command[-1], "br-int", *command[:-1], text.format(cookie=f"{cookie:#x}"))
    report = audit(control)
    assert report.flows.altered == (f'flow table=classify, priority=10, in_port="p1" actions=output:"p2", {ORIGIN}',)
    assert (report.flows.count, report.repaired, state(twin)) == (1, True, before)


def test_a_flow_moved_elsewhere_with_its_cookie_is_missed_here_and_foreign_there(twin: Twin, control: Control) -> None:
    wanted = ours()
    control.bring(wanted)
    before = state(twin)
    cookie = int.from_bytes(flow_add(next(iter(wanted.flows.values())))[:8], "big")
    twin.ofctl("add-flow", "br-int", f"cookie={cookie:#x},table=1,priority=10,in_port=1,actions=output:2")
    twin.ofctl("add-flow", "br-int", f"cookie={cookie:#x},table=0,priority=11,in_port=1,actions=output:2")
    report = audit(control)
    assert (len(report.flows.foreign), report.flows.count, state(twin)) == (2, 2, before)


def test_an_altered_group_is_put_right(twin: Twin, control: Control) -> None:
    control.bring(ours())
    before = state(twin)
    twin.ofctl("mod-group", "br-int", "group_id=7,type=all,bucket=output:1")
    report = audit(control)
    (altered,) = report.groups.altered
    assert altered.startswith("group group_id=7,type=all,bucket=actions=set_field:")
    assert altered.endswith(ORIGIN)
    assert (report.groups.count, report.repaired, state(twin)) == (1, True, before)


def test_a_group_that_is_gone_comes_back_with_its_flows(twin: Twin, control: Control) -> None:
    """Open vSwitch deletes the flows that use a deleted group."""
    control.bring(ours())
    before = state(twin)
    twin.ofctl("del-groups", "br-int", "group_id=7")
    report = audit(control)
    assert (report.flows.count, report.groups.count, state(twin)) == (1, 1, before)


def test_an_audit_comes_by_itself_and_is_logged(control: Control, caplog: pytest.LogCaptureFixture) -> None:
    control.switches._manner = replace(control.switches._manner, audit_s=0.05)
    with FakeSwitch(control.address, DPID) as switch:
        control.bring(ours())
        wait_for(lambda: control.status(DPID).audits > 1)
        switch.flows.popitem()
        wait_for(lambda: control.status(DPID).repaired == 1)
        assert (len(switch.flows), control.status(DPID).state) == (22, State.IN_SYNC)
    assert "br-int@hv1: a third hand made 1 differences\nmissing: flow table=deliver, priority=100" in caplog.text


def test_a_repair_that_is_refused_is_told_and_tried_again(control: Control) -> None:
    with FakeSwitch(control.address, DPID) as switch:
        control.bring(ours())
        switch.flows.popitem()
        switch.refuse_commit = lambda: (5, 1)
        report = audit(control)
        assert (report.repaired, control.status(DPID).state) == (False, State.DEGRADED)
        assert "br-int@hv1: OFPFMFC_TABLE_FULL: flow table=deliver" in (report.error or "")
        switch.refuse_commit = lambda: None
        assert control.reach(DPID, State.IN_SYNC).last_error is None
        assert len(switch.flows) == 22


@pytest.mark.usefixtures("twin")
def test_a_change_that_is_not_told_yet_is_no_difference(control: Control) -> None:
    wanted = ours()
    control.bring(wanted)
    delta = put(wanted, flow(0, 11, match(in_port=1), Output(1)), flow(0, 10, match(in_port=1), Output(1)))
    assert audit(control).is_clean
    assert control.switches.wait({DPID: control.switches.change(DPID, delta)}, PATIENCE_S) == set()
    assert audit(control).is_clean


def test_the_notes_of_the_ledger_are_read_back(twin: Twin, control: Control) -> None:
    texts = ["tag 17 red/web", "zone 4 red/web", "tag 4095 a-tenant-with-a-long-name/and-a-network"]
    table = pipeline().tables["ledger"].number
    ledger = [flow(table, 1, match(reg0=number), Note(text.encode()), goto=None) for number, text in enumerate(texts)]
    control.bring(program(DPID, *ledger, flow(table - 1, 1, match(), Note(b"not of the ledger")), *some_flows(5)))
    twin.configure(["set-controller", "br-int", "tcp:127.0.0.1:1"])
    control.reach(DPID, State.DOWN)
    twin.configure(["set-controller", "br-int", control.target])
    wait_for(lambda: sorted(control.recorder.notes[DPID]) == sorted(texts))


def test_a_switch_that_is_away_is_reported_so(control: Control) -> None:
    control.give(ours())
    assert audit(control).error == "it is not connected"
    assert [report.dpid for report in control.switches.audit(None, 0.0)] == [DPID]
