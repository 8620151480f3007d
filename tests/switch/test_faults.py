"""What goes wrong on the way to a switch stays with that switch."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from typing import Any

import pytest
from os_ken.base.app_manager import lookup_service_brick

from controller.pipeline.flow import Output, match
from controller.switch import registry, session
from controller.switch.fake import FakeSwitch, hello_of
from controller.switch.status import State
from controller.wire.message import MessageType, frame
from tests.switch.conftest import ONE, TWO
from tests.switch.harness import Control, flow, program, some_flows, threads_named, wait_for


def test_a_fake_switch_is_kept_in_sync_as_a_real_one(control: Control, switch: FakeSwitch) -> None:
    control.bring(program(ONE, *some_flows(40)))
    assert len(switch.flows) == 40
    assert control.recorder.ports[ONE] == {"p1": 1}
    switch.plug("p2", 2)
    wait_for(lambda: control.recorder.ports[ONE] == {"p1": 1, "p2": 2})


def test_a_closed_connection_is_noticed_at_once_and_leaves_no_thread(control: Control, switch: FakeSwitch) -> None:
    control.bring(program(ONE, *some_flows(3)))
    switch.close()
    control.reach(ONE, State.DOWN)
    wait_for(lambda: control.recorder.gone == [ONE])
    wait_for(lambda: not threads_named(f"sync {ONE:016x}") and not threads_named("writer"))


def test_a_silent_switch_is_given_up(control: Control, switch: FakeSwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PERIOD_S", 0.05)
    control.bring(program(ONE, *some_flows(3)))
    wait_for(lambda: switch.received[MessageType.ECHO_REQUEST] > 5)
    assert control.status(ONE).state is State.IN_SYNC
    switch.is_mute = True
    control.reach(ONE, State.DOWN)


def test_a_switch_that_reads_no_more_is_given_up_and_delays_nobody(
    control: Control, switch: FakeSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PERIOD_S", 0.5)
    control.reach(ONE, State.CONNECTED)
    switch.is_deaf.set()
    control.give(program(ONE, *some_flows(60_000)))
    with FakeSwitch(control.address, TWO) as healthy:
        control.bring(program(TWO, *some_flows(100)))
        assert len(healthy.flows) == 100
        control.reach(ONE, State.DOWN)
        assert control.status(TWO).state is State.IN_SYNC


def test_a_connection_without_a_handshake_ends(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "HANDSHAKE_S", 0.1)
    with socket.create_connection(control.address) as idle:
        idle.settimeout(10)
        wait_for(lambda: idle.recv(100) == b"")


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(64),
        b"\x05\x00\x00\x04",
        frame(MessageType.FEATURES_REPLY, 0, b"short"),
        frame(MessageType.HELLO, 0) + b"\xff" * 64,
        frame(MessageType.HELLO, 0) + frame(MessageType.FEATURES_REPLY, 0, b""),
    ],
)
def test_noise_ends_its_own_connection_alone(
    control: Control, switch: FakeSwitch, noise: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.bring(program(ONE, *some_flows(3)))
    monkeypatch.setattr(session, "HANDSHAKE_S", 1.0)
    with socket.create_connection(control.address) as noisy:
        noisy.settimeout(10)
        noisy.sendall(noise)
        wait_for(lambda: noisy.recv(1000) == b"")
    assert control.bring(program(ONE, *some_flows(4))).flows_installed == 4
    assert len(switch.flows) == 4


def test_noise_of_a_switch_in_sync_ends_its_session(control: Control, switch: FakeSwitch) -> None:
    control.bring(program(ONE, *some_flows(3)))
    switch.send(b"\x04\x13\xff\xff" + bytes(60))
    control.reach(ONE, State.DOWN)


@pytest.mark.parametrize(
    ("hello", "offer"),
    [
        (hello_of(4), "OpenFlow 1.0, 1.1, 1.2, 1.3"),
        (struct.pack(">BBHIHHI", 6, 0, 16, 1, 1, 8, 1 << 6 | 1 << 4), "OpenFlow 1.3, 1.5"),
    ],
)
def test_a_switch_without_our_version_is_told_and_named(
    control: Control, caplog: pytest.LogCaptureFixture, hello: bytes, offer: str
) -> None:
    with FakeSwitch(control.address, ONE, hello=hello) as old:
        wait_for(lambda: old.errors)
        assert b"protocols=OpenFlow14" in old.errors[0]
    wait_for(lambda: f"it offers {offer} and needs OpenFlow 1.4" in caplog.text)
    assert control.switches.statuses() == {}


def test_an_unknown_datapath_is_refused_by_name(control: Control, caplog: pytest.LogCaptureFixture) -> None:
    with FakeSwitch(control.address, 0xBAD) as stranger:
        wait_for(stranger.gone.is_set)
    assert "refused 0000000000000bad at 127.0.0.1:" in caplog.text
    assert "no host of the topology has this datapath id" in caplog.text
    assert not stranger.flows


def test_a_switch_that_comes_back_replaces_its_old_session(
    control: Control, switch: FakeSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_SIGN_OF_LIFE_S", 0.1)
    control.bring(program(ONE, *some_flows(3)))
    switch.is_mute = True
    with FakeSwitch(control.address, ONE) as again:
        wait_for(switch.gone.is_set)
        wait_for(lambda: len(again.flows) == 3)
        assert control.reach(ONE, State.IN_SYNC).added == 3


def test_of_two_switches_with_one_datapath_id_the_one_that_works_keeps_its_place(
    control: Control, switch: FakeSwitch, caplog: pytest.LogCaptureFixture
) -> None:
    control.bring(program(ONE, *some_flows(3)))
    with FakeSwitch(control.address, ONE) as second:
        wait_for(second.gone.is_set)
        second.connect()
        wait_for(second.gone.is_set)
        assert "two switches claim this datapath id: 127.0.0.1:" in caplog.text
        assert "two switches claim" in (control.status(ONE).last_error or "")
        control.bring(program(ONE, *some_flows(5)))
        assert (len(switch.flows), len(second.flows)) == (5, 0)
        assert not switch.gone.is_set()


def test_a_message_refused_when_added_discards_the_bundle(control: Control, switch: FakeSwitch) -> None:
    control.bring(program(ONE, *some_flows(3)))
    before = dict(switch.flows)
    switch.refuse_add = lambda _kind, body: (4, 9) if struct.unpack_from(">H", body, 22)[0] == 7 else None
    control.give(program(ONE, *some_flows(9), flow(0, 7, match(in_port=1), Output(2))))
    status = control.reach(ONE, State.DEGRADED)
    assert status.last_error == (
        'br-int@hv1: OFPBMC_BAD_PREREQ: flow table=classify, priority=7, in_port="p1" actions=output:2,'
        " from port red/web1 (tenants/red.yaml:12:5)"
    )
    assert switch.flows == before


def test_a_refused_commit_leaves_the_old_flows_and_is_tried_again(control: Control, switch: FakeSwitch) -> None:
    control.bring(program(ONE, *some_flows(3)))
    before = dict(switch.flows)
    switch.refuse_commit = lambda: (5, 1)
    control.give(program(ONE, *some_flows(5)))
    assert "OFPFMFC_TABLE_FULL: flow table=deliver" in (control.reach(ONE, State.DEGRADED).last_error or "")
    assert switch.flows == before
    switch.refuse_commit = lambda: None
    assert control.reach(ONE, State.IN_SYNC).last_error is None
    assert len(switch.flows) == 5


def test_a_newer_program_replaces_a_refused_one_at_once(control: Control, switch: FakeSwitch) -> None:
    switch.refuse_add = lambda _kind, body: (4, 9) if struct.unpack_from(">H", body, 22)[0] == 7 else None
    control.give(program(ONE, flow(0, 7, match(in_port=1))))
    control.reach(ONE, State.DEGRADED)
    control.bring(program(ONE, *some_flows(2)))
    assert len(switch.flows) == 2


def test_the_latest_program_is_what_a_switch_gets_when_it_connects(control: Control) -> None:
    for count in range(1, 6):
        control.give(program(ONE, *some_flows(count)))
    assert control.status(ONE).flows_desired == 5
    with FakeSwitch(control.address, ONE) as late:
        control.reach(ONE, State.IN_SYNC)
        assert len(late.flows) == 5
        assert late.received[MessageType.BUNDLE_ADD_MESSAGE] == 5


def test_a_connection_lost_within_a_bundle_is_followed_by_a_fresh_sync(control: Control, switch: FakeSwitch) -> None:
    def leave() -> None:
        switch.close()

    control.bring(program(ONE, *some_flows(3)))
    switch.refuse_commit = leave
    control.give(program(ONE, *some_flows(5)))
    control.reach(ONE, State.DOWN)
    switch.refuse_commit = lambda: None
    switch.connect()
    assert control.reach(ONE, State.IN_SYNC).flows_installed == 5
    assert len(switch.flows) == 5


def test_an_observer_that_fails_silences_nobody(
    control: Control, switch: FakeSwitch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_dpid: int) -> None:
        raise RuntimeError("injected")

    control.recorder.on_connected = fail
    switch.plug("p2", 2)
    wait_for(lambda: "injected" in caplog.text)
    control.recorder.on_connected = lambda _dpid: None
    switch.plug("p3", 3)
    wait_for(lambda: "p3" in control.recorder.ports[ONE])


def test_an_exception_in_a_handler_does_not_end_the_app(
    control: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """os-ken 4.2.2 ends the app's event loop, without a word, when hub.TaskExit is its own."""

    def broken(_session: session.Session) -> None:
        raise RuntimeError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(control.switches, "opened", broken)
        with FakeSwitch(control.address, ONE):
            wait_for(lambda: "injected" in caplog.text)
    with FakeSwitch(control.address, TWO):
        control.reach(TWO, State.CONNECTED)


def test_the_listener_outlives_a_shortage_of_descriptors(control: Control) -> None:
    """os-ken 4.2.2 has no try around accept(): one EMFILE and no switch ever connects again."""

    class Scarce:
        def __init__(self, listener: Any) -> None:
            self.listener, self.failures = listener, 2

        def accept(self) -> Any:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return self.listener.accept()

    listener = lookup_service_brick("ofp_event").controller
    with socket.create_server(("127.0.0.1", 0)) as extra:
        threading.Thread(target=listener.accept_from, args=(Scarce(extra),), daemon=True).start()
        with FakeSwitch(extra.getsockname(), ONE):
            control.reach(ONE, State.CONNECTED)
            extra.shutdown(socket.SHUT_RDWR)


def test_xids_are_distinct_across_threads(control: Control, switch: FakeSwitch) -> None:
    """os-ken 4.2.2 counts without a lock; two requests of one xid would take each other's answers."""
    assert not switch.gone.is_set()
    control.reach(ONE, State.CONNECTED)
    (current,) = control.switches._sessions
    drawn: list[int] = []

    class Message:
        def set_xid(self, xid: int) -> None:
            drawn.append(xid)

    def draw() -> None:
        for _ in range(500):
            current.set_xid(Message())
            with current.claim(3) as claim:
                drawn.extend(range(claim.first, claim.first + 3))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == len(set(drawn)) == 8000
