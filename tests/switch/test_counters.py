"""What flows of a real Open vSwitch have counted, read beside the worker that keeps them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.pipeline.flow import Flow, Meter, Metered, Origin, Output, Program, match
from controller.switch.fake import FakeSwitch
from controller.switch.status import Count, State
from controller.wire.message import MessageType
from tests.ovs.twin import Twin
from tests.switch.harness import PATIENCE_S, WEB1, Control, flow, program, some_flows, wait_for

pytestmark = pytest.mark.ovs

DPID = 0x0001_0000_0000_00BB
OF_WEB1 = flow(0, 10, match(in_port=1))  # It drops.
OF_WEB2 = replace(flow(0, 10, match(in_port=2)), origin=Origin("port red/web2", None))


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
        running.configure(["set", "bridge", "br-int", f"other_config:datapath-id={DPID:016x}"])
        create = ["--id=@c", "create", "controller", f'target="{control.target}"', "max_backoff=1000"]
        running.configure(create, ["set", "bridge", "br-int", "controller=@c"])
        yield running


def ours() -> Program:
    return program(DPID, OF_WEB1, OF_WEB2, *some_flows(20))


def count(control: Control, wanted: Flow) -> Count:
    reading = control.switches.count([DPID], lambda flow: flow is wanted, PATIENCE_S)[DPID]
    assert reading.error is None
    ((found, counted),) = reading.flows
    assert found is wanted
    return counted


def inject(twin: Twin, port: str, number: int) -> None:
    for _ in range(number):
        twin.inject(port, bytes.fromhex("ffffffffffff02000000000188b5") + bytes(46))


def test_a_flow_tells_how_many_packets_it_has_met(twin: Twin, control: Control) -> None:
    control.bring(ours())
    inject(twin, "p1", 3)
    wait_for(lambda: count(control, OF_WEB1)[:2] == (3, 180))
    assert count(control, OF_WEB2) == Count(0, 0, None)


def test_a_drop_is_dated_by_the_readings_around_it(twin: Twin, control: Control) -> None:
    control.bring(ours())
    wait_for(lambda: count(control, OF_WEB1).packets == 0)
    inject(twin, "p1", 1)
    wait_for(lambda: count(control, OF_WEB1).packets == 1)
    first = count(control, OF_WEB1).grew
    assert first is not None
    assert first.after < first.before < first.after + PATIENCE_S
    assert count(control, OF_WEB1).grew == first


def test_an_audit_notes_drops_as_well(twin: Twin, control: Control) -> None:
    control.bring(ours())
    inject(twin, "p2", 1)
    wait_for(lambda: count(control, OF_WEB2).packets == 1)
    inject(twin, "p1", 1)
    wait_for(
        lambda: "n_packets=1," in next(line for line in twin.flows("br-int", statistics=True) if "in_port=1 " in line)
    )
    control.switches.audit([DPID], PATIENCE_S)
    audited = time.monotonic()
    found = count(control, OF_WEB1).grew
    assert found is not None
    assert found.before < audited, "the audit saw it first, not the reading after it"


def test_what_a_meter_dropped_is_told_by_its_number(twin: Twin, control: Control) -> None:
    limit = Meter(1, 1, 1, WEB1, "deliver")
    control.bring(program(DPID, flow(0, 10, match(in_port=1), Metered(1), Output(2)), limit))
    inject(twin, "p1", 5)
    drops: dict[int, Count] = {}

    def has_dropped() -> bool:
        drops.update(control.switches.count([DPID], lambda _flow: False, PATIENCE_S, meters=True)[DPID].drops)
        return drops[1].packets > 0

    wait_for(has_dropped)
    assert drops.keys() == {1}
    assert drops[1].packets <= 4, "one of the five was within the limit"


def test_one_flow_of_many_costs_one_small_request(control: Control) -> None:
    with FakeSwitch(control.address, DPID) as switch:
        control.bring(program(DPID, *some_flows(2000)))
        wanted = next(iter(control.recorder.programs[DPID].flows.values()))
        before = switch.received[MessageType.MULTIPART_REQUEST]
        asked = control.switches.count([DPID], lambda flow: flow is wanted, PATIENCE_S)[DPID]
        assert switch.received[MessageType.MULTIPART_REQUEST] == before + 1
        assert [flow for flow, _ in asked.flows] == [wanted]


def test_a_whole_table_is_one_request(control: Control) -> None:
    with FakeSwitch(control.address, DPID) as switch:
        control.bring(program(DPID, *some_flows(2000)))
        before = switch.received[MessageType.MULTIPART_REQUEST]
        asked = control.switches.count([DPID], lambda _flow: True, PATIENCE_S)[DPID]
        assert (switch.received[MessageType.MULTIPART_REQUEST], len(asked.flows)) == (before + 1, 2000)


def test_more_flows_than_may_wait_at_once_are_all_read(twin: Twin, control: Control) -> None:
    few = [flow(4, 100, match(reg5=number)) for number in range(1200)]
    control.bring(program(DPID, *few, *[flow(4, 90, match(reg5=number), Output(1)) for number in range(4000)]))
    asked = control.switches.count([DPID], lambda each: not each.actions, PATIENCE_S)[DPID]
    assert len(asked.flows) == 1200
    assert len(twin.flows("br-int")) == 5200


def test_a_switch_that_is_away_or_does_not_answer_is_told(control: Control) -> None:
    everything = (lambda _flow: True), 0.2
    assert control.switches.count([DPID], *everything)[DPID].error == "it is not connected"
    with FakeSwitch(control.address, DPID) as switch:
        control.bring(ours())
        switch.is_mute = True
        assert control.switches.count([DPID], *everything)[DPID].error is not None
        switch.is_mute = False
        assert control.status(DPID).state is State.IN_SYNC


def test_readers_and_a_change_do_not_wait_for_each_other(twin: Twin, control: Control) -> None:
    wanted = ours()
    control.bring(wanted)
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            control.switches.count([DPID], lambda _flow: True, PATIENCE_S)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(30):
        control.bring(program(DPID, OF_WEB1, *some_flows(number + 1)))
    over.set()
    for reader in readers:
        reader.join()
    assert len(twin.flows("br-int")) == 31
