"""Meters, which no bundle takes, come before the flows that use them and go after these, on fake switches and a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.pipeline.flow import Flow, Meter, Metered, Output, Program, ToController, match
from controller.switch.fake import FakeSwitch
from controller.switch.status import AuditReport, State
from controller.wire import pack
from tests.ovs.twin import Twin
from tests.switch.conftest import ONE
from tests.switch.edits import drop, put
from tests.switch.harness import PATIENCE_S, WEB1, Control, flow, program, some_flows, wait_for
from tests.switch.test_real_switch import connect, disconnect, restart

ORIGIN = "from port red/web1 (tenants/red.yaml:12:5)"


def meter(number: int, rate: int = 100) -> Meter:
    return Meter(number, rate, 50, WEB1, "deliver")


def through(number: int, port: int = 1) -> Flow:
    """A flow that passes a meter."""
    return flow(0, 10, match(in_port=port), Metered(number), Output(2))


def audit(control: Control, dpid: int) -> AuditReport:
    (report,) = control.switches.audit([dpid], PATIENCE_S)
    return report


# On fake switches.


def test_a_meter_is_there_before_the_bundle_that_uses_it(control: Control, switch: FakeSwitch) -> None:
    found: list[dict[int, bytes]] = []
    switch.refuse_add = lambda _kind, _body: found.append(dict(switch.meters))
    control.bring(program(ONE, meter(5), through(5)))
    assert found == [{5: pack.meter_config(meter(5))}]


def test_a_meter_goes_after_the_bundle_that_used_it(control: Control, switch: FakeSwitch) -> None:
    ours = program(ONE, meter(5), through(5))
    control.bring(ours)
    found: list[list[int]] = []
    switch.refuse_commit = lambda: found.append(list(switch.meters))
    version = control.switches.change(ONE, drop(ours, meter(5), through(5)))
    assert control.switches.wait({ONE: version}, PATIENCE_S) == set()
    assert (found, switch.meters, switch.flows) == ([[5]], {}, {})


def test_meters_that_wait_with_other_changes_are_merged(control: Control, switch: FakeSwitch) -> None:
    ours = program(ONE, meter(5), through(5))
    control.bring(ours)
    control.switches.change(ONE, put(ours, meter(5, 200), meter(6), through(6, port=2)))
    control.switches.change(ONE, drop(ours, meter(5, 200), through(5)))
    version = control.switches.change(ONE, put(ours, meter(6, 300)))
    assert control.switches.wait({ONE: version}, PATIENCE_S) == set()
    assert switch.meters == {6: pack.meter_config(meter(6, 300))}


def test_a_meter_that_is_there_or_not_against_all_we_know_is_put_right(control: Control, switch: FakeSwitch) -> None:
    ours = program(ONE, meter(5))
    control.bring(ours)
    switch.meters = {6: b"\0\2"}
    version = control.switches.change(ONE, put(ours, meter(5, 200), meter(6)))
    assert control.switches.wait({ONE: version}, PATIENCE_S) == set()
    assert switch.meters == {5: pack.meter_config(meter(5, 200)), 6: pack.meter_config(meter(6))}


def test_a_refused_meter_is_told_with_its_line_and_tried_again(control: Control, switch: FakeSwitch) -> None:
    switch.refuse_meter = lambda _number: (12, 10)
    control.give(program(ONE, meter(5), through(5)))
    error = control.reach(ONE, State.DEGRADED).last_error
    assert (
        error
        == f"br-int@hv1: OFPMMFC_OUT_OF_METERS: meter meter=5,pktps,burst,band=type=drop,rate=100,burst_size=50, {ORIGIN}"
    )
    assert not switch.flows
    switch.refuse_meter = lambda _number: None
    control.reach(ONE, State.IN_SYNC)
    assert (list(switch.meters), len(switch.flows)) == ([5], 1)


def test_of_a_refused_bundle_the_meters_that_nobody_uses_go_with_the_next_sync(
    control: Control, switch: FakeSwitch
) -> None:
    ours = program(ONE, some_flows(1)[0])
    control.bring(ours)
    switch.refuse_commit = lambda: (5, 1)
    control.switches.change(ONE, put(ours, meter(5), through(5)))
    control.reach(ONE, State.DEGRADED)
    switch.refuse_commit = lambda: None
    control.bring(program(ONE, some_flows(1)[0]))
    assert switch.meters == {}


def test_a_switch_that_knows_no_meters_needs_none(control: Control, switch: FakeSwitch) -> None:
    switch.has_meters = False
    control.bring(program(ONE, *some_flows(3)))
    assert audit(control, ONE).is_clean


# On Open vSwitch.


@pytest.fixture
def twin(tmp_path: Path, control: Control) -> Iterator[Twin]:
    directory = tmp_path / "ovs"
    directory.mkdir()
    with Twin(directory) as running:
        running.add_bridge("br-int", {"p1": 1, "p2": 2})
        running.configure(["set", "bridge", "br-int", f"other_config:datapath-id={ONE:016x}"])
        connect(running, control)
        yield running


def ours() -> Program:
    asks = flow(0, 9, match(in_port=2), ToController(b"\1", 128, 6), Output(1))
    return program(ONE, meter(5), meter(6), through(5), asks, *some_flows(3))


def held(twin: Twin) -> tuple[list[str], list[str]]:
    dumped = twin.ofctl("dump-meters", "br-int").split("\n", 1)[1].split("\n\n")
    return sorted(twin.flows("br-int")), sorted(filter(None, map(str.strip, dumped)))


@pytest.mark.ovs
def test_meters_change_and_go_with_the_flows_that_use_them(twin: Twin, control: Control) -> None:
    wanted = ours()
    control.bring(wanted)
    assert held(twin)[1] == [
        f"meter={number} pktps burst bands=\ntype=drop rate=100 burst_size=50" for number in (5, 6)
    ]
    control.switches.change(ONE, put(wanted, meter(5, 7)))
    version = control.switches.change(ONE, drop(wanted, meter(6), flow(0, 9, match(in_port=2))))
    assert control.switches.wait({ONE: version}, PATIENCE_S) == set()
    assert held(twin)[1] == ["meter=5 pktps burst bands=\ntype=drop rate=7 burst_size=50"]
    assert len(twin.flows("br-int")) == 4
    assert audit(control, ONE).is_clean


@pytest.mark.ovs
def test_a_switch_that_comes_back_with_its_meters_is_sent_none(twin: Twin, control: Control) -> None:
    control.bring(ours())
    disconnect(twin, control, ONE)
    connect(twin, control)
    status = control.reach(ONE, State.IN_SYNC)
    assert (status.added, status.modified, status.deleted) == (0, 0, 0)
    assert audit(control, ONE).is_clean


@pytest.mark.ovs
def test_a_switch_that_lost_its_meters_gets_them_again(twin: Twin, control: Control) -> None:
    control.bring(ours())
    before = held(twin)
    restart(twin)
    wait_for(lambda: control.recorder.gone == [ONE])
    assert control.reach(ONE, State.IN_SYNC).added == 5
    assert held(twin) == before


@pytest.mark.ovs
def test_what_a_third_hand_did_to_meters_is_told_and_undone(twin: Twin, control: Control) -> None:
    """Open vSwitch deletes the flows that pass a deleted meter."""
    control.bring(ours())
    before = held(twin)
    twin.ofctl("del-meter", "br-int", "meter=5")
    twin.ofctl("mod-meter", "br-int", "meter=6,pktps,burst,band=type=drop,rate=9,burst_size=9")
    twin.ofctl("add-meter", "br-int", "meter=77,kbps,band=type=drop,rate=1")
    report = audit(control, ONE)
    assert report.meters.missing == (f"meter meter=5,pktps,burst,band=type=drop,rate=100,burst_size=50, {ORIGIN}",)
    assert report.meters.altered == (f"meter meter=6,pktps,burst,band=type=drop,rate=100,burst_size=50, {ORIGIN}",)
    assert report.meters.foreign == ("meter meter=77, which is not of Weft's program",)
    assert (report.flows.count, report.repaired, held(twin)) == (1, True, before)


@pytest.mark.ovs
def test_a_meter_that_open_vswitch_refuses_is_named(twin: Twin, control: Control) -> None:
    control.give(program(ONE, meter(0xFFFFFFF0), *some_flows(3)))
    error = control.reach(ONE, State.DEGRADED).last_error or ""
    assert error.startswith("br-int@hv1: OFPMMFC_INVALID_METER: meter meter=4294967280,")
    assert error.endswith(ORIGIN)
    assert twin.flows("br-int") == []
