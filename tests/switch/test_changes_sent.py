"""Deltas are sent in one bundle, and who waits for them learns what became of them."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Mapping
from queue import SimpleQueue

import pytest

from controller.model.entities import Place
from controller.pipeline.flow import Delta, Flow, Group, Origin, Output, ToGroup, match
from controller.switch.fake import FakeSwitch
from controller.switch.status import State
from controller.wire import pack
from controller.wire.message import MessageType, frame
from tests.switch.conftest import ONE, TWO
from tests.switch.edits import drop, put
from tests.switch.harness import PATIENCE_S, WEB1, Control, flow, program, some_flows, wait_for

BUNDLES = MessageType.BUNDLE_CONTROL


def late(control: Control, versions: Mapping[int, int]) -> set[int]:
    """Return who has not confirmed, of those that are not waited for to the end of the deadline."""
    answers: SimpleQueue[set[int]] = SimpleQueue()
    hours = 3600.0
    threading.Thread(target=lambda: answers.put(control.switches.wait(versions, hours)), daemon=True).start()
    return answers.get(timeout=PATIENCE_S)


def to(port: int, *, at: int = 1) -> Flow:
    return flow(0, 10, match(in_port=at), Output(port))


class Held:
    """Makes a fake switch take its time over a commit."""

    def __init__(self, switch: FakeSwitch) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()
        switch.refuse_commit = self._wait

    def _wait(self) -> None:
        self.entered.set()
        assert self.let_go.wait(PATIENCE_S)


def test_a_delta_is_sent_and_confirmed(control: Control, switch: FakeSwitch) -> None:
    ours = program(ONE, *some_flows(5))
    control.bring(ours)
    version = control.switches.change(ONE, put(ours, to(2)))
    assert control.switches.wait({ONE: version}, PATIENCE_S) == set()
    assert (len(switch.flows), control.status(ONE).added, control.switches.is_in_sync(ONE)) == (6, 1, True)


def test_deltas_that_wait_go_in_one_bundle(control: Control, switch: FakeSwitch) -> None:
    ours = program(ONE, *some_flows(5))
    control.bring(ours)
    slow = Held(switch)
    control.switches.change(ONE, put(ours, to(2)))
    slow.entered.wait(PATIENCE_S)
    for port in (3, 4, 5):
        last = control.switches.change(ONE, put(ours, to(port), to(port, at=port)))
    sent = switch.received[MessageType.BUNDLE_ADD_MESSAGE]
    slow.let_go.set()
    assert control.switches.wait({ONE: last}, PATIENCE_S) == set()
    assert switch.received[MessageType.BUNDLE_ADD_MESSAGE] == sent + 4
    assert len(switch.flows) == 9


def test_what_does_the_same_is_confirmed_and_not_sent(control: Control, switch: FakeSwitch) -> None:
    ours = program(ONE, to(2))
    control.bring(ours)
    sent = switch.received[BUNDLES]
    version = control.switches.change(ONE, put(ours, to(2)))
    assert control.switches.wait({ONE: version}, 0.0) == set()
    assert switch.received[BUNDLES] == sent


def test_a_delta_needs_a_program(control: Control) -> None:
    with pytest.raises(LookupError):
        control.switches.change(ONE, Delta())


def test_a_switch_that_is_away_is_not_waited_for(control: Control) -> None:
    ours = program(ONE)
    control.give(ours)
    version = control.switches.change(ONE, put(ours, to(2)))
    assert late(control, {ONE: version}) == {ONE}
    assert not control.switches.is_in_sync(ONE)
    with FakeSwitch(control.address, ONE) as switch:
        control.reach(ONE, State.IN_SYNC)
        assert control.switches.wait({ONE: version}, 0.0) == set()
        assert len(switch.flows) == 1


def test_a_refused_delta_is_known_at_once_and_named(control: Control, switch: FakeSwitch) -> None:
    ours = program(ONE, *some_flows(3))
    control.bring(ours)
    before = dict(switch.flows)
    switch.refuse_add = lambda _kind, body: (4, 9) if struct.unpack_from(">H", body, 22)[0] == 10 else None
    version = control.switches.change(ONE, put(ours, to(2), *some_flows(9)))
    assert late(control, {ONE: version}) == {ONE}
    assert "OFPBMC_BAD_PREREQ: flow table=classify, priority=10" in (control.status(ONE).last_error or "")
    assert (switch.flows, control.switches.is_in_sync(ONE)) == (before, False)


def test_after_a_refusal_the_switch_is_asked_and_gets_all(control: Control, switch: FakeSwitch) -> None:
    ours = program(ONE, *some_flows(3))
    control.bring(ours)
    switch.refuse_commit = lambda: (5, 1)
    refused = control.switches.change(ONE, put(ours, to(2)))
    assert control.switches.wait({ONE: refused}, PATIENCE_S) == {ONE}
    switch.refuse_commit = lambda: None
    taken = control.switches.change(ONE, drop(ours, *some_flows(1)))
    assert control.switches.wait({ONE: taken}, PATIENCE_S) == set()
    assert control.switches.wait({ONE: refused}, 0.0) == set()
    assert len(switch.flows) == 3


def test_a_slow_switch_costs_the_others_nothing_but_the_deadline(control: Control, switch: FakeSwitch) -> None:
    slow, quick = program(ONE, *some_flows(3)), program(TWO, *some_flows(3))
    with FakeSwitch(control.address, TWO) as other:
        control.bring(slow)
        control.bring(quick)
        held = Held(switch)
        versions = {each.dpid: control.switches.change(each.dpid, put(each, to(2))) for each in (slow, quick)}
        wait_for(lambda: len(other.flows) == 4)
        assert control.switches.wait(versions, 0.1) == {ONE}
        held.let_go.set()
        assert control.switches.wait(versions, PATIENCE_S) == set()


def test_a_switch_that_goes_while_it_is_waited_for_ends_the_wait(control: Control, switch: FakeSwitch) -> None:
    ours = program(ONE, *some_flows(3))
    control.bring(ours)
    switch.refuse_commit = switch.close
    version = control.switches.change(ONE, put(ours, to(2)))
    assert late(control, {ONE: version}) == {ONE}


def test_a_change_during_a_sync_is_sent_after_it(control: Control, switch: FakeSwitch) -> None:
    ours = program(ONE, *some_flows(3))
    slow = Held(switch)
    control.give(ours)
    slow.entered.wait(PATIENCE_S)
    version = control.switches.change(ONE, put(ours, to(2)))
    slow.let_go.set()
    assert control.switches.wait({ONE: version}, PATIENCE_S) == set()
    assert len(switch.flows) == 4


def test_what_a_sync_took_ahead_of_its_delta_may_be_sent_again(control: Control, switch: FakeSwitch) -> None:
    """The engine has changed the program and not told it yet when a switch connects."""
    hub = Group(7, ((Output(1),),), WEB1, "deliver")
    ours = program(ONE, *some_flows(3))
    told_late = put(ours, hub, flow(0, 9, match(), ToGroup(7)))
    control.bring(ours)
    version = control.switches.change(ONE, told_late)
    assert control.switches.wait({ONE: version}, PATIENCE_S) == set()
    assert (len(switch.flows), list(switch.groups), control.status(ONE).last_error) == (4, [7], None)


def test_the_observer_hears_of_the_ledger_before_the_ports(control: Control) -> None:
    order: list[str] = []
    control.recorder.on_held = lambda _dpid: order.append("held")
    control.recorder.on_connected = lambda _dpid: order.append("connected")
    with FakeSwitch(control.address, ONE, {"p1": 1}) as switch:
        wait_for(lambda: control.recorder.ports.get(ONE) == {"p1": 1})
        switch.plug("p2", 2)
        wait_for(lambda: control.recorder.ports[ONE] == {"p1": 1, "p2": 2})
        assert switch.received[MessageType.MULTIPART_REQUEST] == 4
    assert (order[:2], order.count("held"), control.recorder.notes[ONE]) == (["held", "connected"], 1, [])


def test_ports_that_change_during_the_first_dump_are_told_after_the_ledger(control: Control) -> None:
    order: list[str] = []
    control.recorder.on_held = lambda _dpid: order.append("held")
    control.recorder.on_connected = lambda _dpid: order.append("connected")
    with FakeSwitch(control.address, ONE, {"p1": 1}) as switch:
        switch.on_dump = lambda: switch.plug("p2", 2)
        wait_for(lambda: control.recorder.ports.get(ONE) == {"p1": 1, "p2": 2})
    assert order[0] == "held"


def test_a_dump_is_used_for_the_program_that_follows_it(control: Control, switch: FakeSwitch) -> None:
    wait_for(lambda: ONE in control.recorder.ports)
    control.bring(program(ONE, *some_flows(3)))
    assert switch.received[MessageType.MULTIPART_REQUEST] == 4


def test_a_refused_packet_is_told_by_name(
    control: Control, switch: FakeSwitch, caplog: pytest.LogCaptureFixture
) -> None:
    control.bring(program(ONE, *some_flows(3)))
    switch.refuse_packet = lambda: (2, 4)
    assert control.switches.send(ONE, frame(MessageType.PACKET_OUT, 99, bytes(16)))
    assert not control.switches.send(TWO, frame(MessageType.PACKET_OUT, 99, bytes(16)))
    wait_for(lambda: "br-int@hv1 refused something: OFPBAC_BAD_OUT_PORT: a packet-out" in caplog.text)


def test_an_error_that_nobody_asked_for_names_its_flow(
    control: Control, switch: FakeSwitch, caplog: pytest.LogCaptureFixture
) -> None:
    ours = to(2)
    control.bring(program(ONE, ours))
    request = frame(MessageType.FLOW_MOD, 12345, ours.packed or b"")
    switch.send(frame(MessageType.ERROR, 12345, struct.pack(">HH", 5, 4) + request[:64]))
    wait_for(lambda: "OFPFMFC_EPERM: a flow-mod that nobody waits for, flow table=classify, priority=10" in caplog.text)
    assert "from port red/web1 (tenants/red.yaml:12:5)" in caplog.text


def test_an_origin_is_told_where_it_stands_now(control: Control, switch: FakeSwitch) -> None:
    def moved(origin: Origin) -> Origin:
        return Origin(origin.what, Place("tenants/red.yaml", 99, 5))

    control.switches._locate = moved
    switch.close()
    switch.connect()
    switch.refuse_commit = lambda: (5, 1)
    control.give(program(ONE, to(2)))
    assert "from port red/web1 (tenants/red.yaml:99:5)" in (control.reach(ONE, State.DEGRADED).last_error or "")


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_on_the_way_the_switch_holds_the_program_in_the_end(
    control: Control, switch: FakeSwitch, seed: int
) -> None:
    """Refused messages, refused commits and lost connections at random, while the program goes on changing."""
    chance = random.Random(seed)  # noqa: S311 - chance that can be repeated.
    ours = program(ONE, *some_flows(3))
    control.bring(ours)
    switch.refuse_add = lambda _kind, _body: (4, 9) if chance.random() < 0.02 else None
    switch.refuse_commit = lambda: (5, 1) if chance.random() < 0.1 else None
    version = 0
    for number in range(150):
        place = chance.randrange(1, 6)
        wanted = to(number % 7 + 1, at=place)
        delta = drop(ours, wanted) if wanted.key in ours.flows and chance.random() < 0.3 else put(ours, wanted)
        version = control.switches.change(ONE, delta)
        if chance.random() < 0.05:
            switch.close()
            control.reach(ONE, State.DOWN)
            switch.connect()
        if chance.random() < 0.3:
            control.switches.wait({ONE: version}, PATIENCE_S)
    switch.refuse_add, switch.refuse_commit = lambda _kind, _body: None, lambda: None
    control.reach(ONE, State.IN_SYNC)
    assert control.switches.wait({ONE: version}, PATIENCE_S) == set()
    cookies = sorted(pack.flow_add(each)[:8] for each in ours.flows.values())
    assert sorted(cookie for cookie, _ in switch.flows.values()) == cookies
    (report,) = control.switches.audit([ONE], PATIENCE_S)
    assert report.is_clean
