"""Questions of switches: who asks is found, what is answered goes back to it, and what is too much is lost and counted."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.answers.asked import Asked, PacketOut
from controller.engine import Engine, advertisements, questions
from controller.model.address import link_local
from controller.model.ids import key
from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Output
from controller.pipeline.questions import Question
from controller.pipeline.registers import NETWORK, QUESTION, SOURCE
from controller.wire import message, oxm
from controller.wire.message import MessageType
from controller.wire.packet_out import packet_out
from tests.engine.test_engine import FABRIC, HV1, HV2, INT1, INT2, Recorder, edit, running, wait_for

RED = """\
networks:
  web: {cidr: 'fd00::/64', segment: 1001, dhcp: true}
  lone: {cidr: 10.0.2.0/24, segment: 1002}
ports:
  web1: {network: web, ip: 'fd00::11', mac: '02:00:00:00:00:11', host: hv1}
  web2: {network: web, ip: 'fd00::12', mac: '02:00:00:00:00:12', host: hv2}
"""
PACKET = bytes(range(60))
HEAD = 24 + 16  # Of a packet-out with one output.


class Sending(Recorder):
    """Switches that remember what they are sent, but for what a switch that is busy keeps waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[int, bytes]] = []

    def send(self, dpid: int, message: bytes) -> bool:
        self.sent.append((dpid, message))
        return True

    def advertised(self) -> set[int]:
        """The switches that were sent router advertisements; they are at the 54th byte of their frames."""
        return {dpid for dpid, sent in list(self.sent) if sent[HEAD + 54 : HEAD + 55] == b"\x86"}


@pytest.fixture
def switches() -> Sending:
    return Sending()


@pytest.fixture
def engine(tmp_path: Path, switches: Sending) -> Iterator[Engine]:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "tenants" / "red.yaml").write_text(RED)
    with running(tmp_path, switches) as engine:
        yield engine


def plug(engine: Engine, switches: Sending) -> None:
    engine.connected(HV1, INT1)
    engine.connected(HV2, INT2)
    wait_for(lambda: {HV1, HV2} <= switches.programs.keys())


def asking(question: int, port: str | None = "red/web1", network: str = "red/web", number: int = 5) -> bytes:
    """What a switch sends when its flows ask about a packet of a port, or (None) about one from elsewhere."""
    fields = {"in_port": number, QUESTION.field: question << QUESTION.offset, NETWORK.field: key("network", network)}
    if port is not None:
        fields[SOURCE.field] = key("port", port)
    match = b"".join(oxm.EXACT[BY_NAME[name].index] + struct.pack(">I", value) for name, value in fields.items())
    match = struct.pack(">HH", 1, 4 + len(match)) + match
    body = struct.pack(">IHBB8s", 0xFFFFFFFF, 60, 1, 18, bytes(8)) + match + bytes(-len(match) % 8)
    return message.frame(MessageType.PACKET_IN, 0, body + bytes(2) + PACKET)


class Listener:
    """Who answers, and remembers what was asked; it answers once it is allowed to."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def answer(self, asked: Asked) -> Iterator[PacketOut]:
        self.asked.append(asked)
        self.may_answer.wait(10)
        if asked.packet == PACKET:
            yield asked.back(b"answer")


@pytest.fixture
def listener(engine: Engine) -> Iterator[Listener]:
    listener = Listener()
    engine.questions.register(Question.NO_ROUTE, listener.answer)
    yield listener
    listener.may_answer.set()


def test_a_question_reaches_its_answerer_and_the_answer_who_asked(
    engine: Engine, switches: Sending, listener: Listener
) -> None:
    plug(engine, switches)
    assert engine.questions.take(HV1, asking(Question.NO_ROUTE))
    answer = HV1, packet_out(b"answer", [Output(5)])
    wait_for(lambda: answer in switches.sent)
    (asked,) = listener.asked
    assert (asked.host.name, asked.in_port, asked.packet) == ("hv1", 5, PACKET)
    assert asked.port is not None
    assert asked.network is not None
    assert (asked.port.name, asked.network.name, asked.router) == ("red/web1", "red/web", None)


def test_a_packet_from_elsewhere_is_known_by_its_network(engine: Engine, switches: Sending, listener: Listener) -> None:
    plug(engine, switches)
    engine.questions.take(HV1, asking(Question.NO_ROUTE, None, "red/lone", number=1))
    wait_for(lambda: bool(listener.asked))
    assert listener.asked[0].port is None
    assert listener.asked[0].network is not None
    assert listener.asked[0].network.name == "red/lone"


def test_a_sample_is_no_question(engine: Engine) -> None:
    assert not engine.questions.take(HV1, asking(0))
    assert not engine.questions.take(HV1, asking(Question.NO_ROUTE)[:40])


@pytest.mark.parametrize(
    ("dpid", "frame"),
    [
        (HV1, asking(Question.NO_ROUTE, "red/web2")),
        (HV1, asking(Question.NO_ROUTE, number=9)),
        (99, asking(Question.NO_ROUTE)),
        (HV1, asking(31)),
    ],
    ids=["another port's key", "no port has the number", "a stranger's switch", "nobody knows what is asked"],
)
def test_what_the_files_know_nothing_of_is_not_answered(
    engine: Engine, switches: Sending, listener: Listener, dpid: int, frame: bytes
) -> None:
    plug(engine, switches)
    assert engine.questions.take(dpid, frame)
    wait_for(lambda: engine.questions.tell()["unanswered"] == 1)
    assert listener.asked == []


def test_a_switch_that_floods_loses_its_own_questions_and_holds_up_nobody(
    engine: Engine, switches: Sending, listener: Listener
) -> None:
    """While one answer takes its time: the flood is cut, the engine handles events, and the other switch has the next turn."""
    listener.may_answer.clear()
    engine.questions.take(HV1, asking(Question.NO_ROUTE))
    plug(engine, switches)
    wait_for(lambda: engine.questions.tell()["unanswered"] == 1 or bool(listener.asked))
    for _ in range(1000):
        assert engine.questions.take(HV1, asking(Question.NO_ROUTE))
    assert engine.questions.take(HV2, asking(Question.NO_ROUTE, "red/web2", number=7))
    assert engine.status()["questions"]["lost"] >= 1000 - questions.ROOM - 1
    listener.may_answer.set()
    wait_for(lambda: any(asked.host.name == "hv2" for asked in listener.asked))
    wait_for(lambda: len(listener.asked) >= questions.ROOM)
    order = [asked.host.name for asked in listener.asked]
    assert order.index("hv2") <= 3


def test_an_answerer_that_fails_costs_its_answer_alone(
    engine: Engine, switches: Sending, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_asked: Asked) -> Iterator[PacketOut]:
        raise ZeroDivisionError

    plug(engine, switches)
    engine.questions.register(Question.TOO_BIG, fail)
    engine.questions.take(HV1, asking(Question.TOO_BIG))
    engine.questions.take(HV1, asking(Question.NO_ROUTE))
    wait_for(lambda: len(listener.asked) == 1)
    assert "a question could not be answered" in caplog.text
    assert engine.status()["questions"]["asked"] == {"no_route": 1, "too_big": 1}


def test_ports_are_told_of_routers_without_asking_and_again_when_it_changes(
    tmp_path: Path, switches: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advertisements, "FIRST_PERIOD_S", 0.2)
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "tenants" / "red.yaml").write_text(RED)
    with running(tmp_path, switches) as engine:
        plug(engine, switches)
        wait_for(lambda: switches.advertised() == {HV1, HV2})
        monkeypatch.setattr(advertisements, "FIRST_TIMES", 0)
        wait_for(lambda: engine.status()["questions"]["advertisements"] >= 2)
        before = len(switches.sent)
        edit(tmp_path, "dhcp: true", "dhcp: true, domain: example.org")
        engine.reload()
        wait_for(lambda: any(b"\x07example\x03org" in sent for _, sent in switches.sent[before:]))
        before = len(switches.sent)
        edit(tmp_path, "domain: example.org", "domain: example.net")
        engine.reload()
        taken_back = struct.pack(">BBHI", 31, 3, 0, 0) + b"\x07example\x03org"
        wait_for(lambda: any(taken_back in sent for _, sent in switches.sent[before:]))


def test_ports_of_a_network_that_is_advertised_no_more_are_told_so(
    engine: Engine, switches: Sending, tmp_path: Path
) -> None:
    """Their router is gone: its lifetime, behind the hops and the flags, is 0."""
    plug(engine, switches)
    wait_for(lambda: engine.status()["questions"]["advertisements"] >= 1)
    edit(tmp_path, "dhcp: true", "dhcp: false")
    switches.sent.clear()
    engine.reload()
    wait_for(lambda: switches.advertised() == {HV1, HV2})
    assert all(sent[HEAD + 60 : HEAD + 62] == bytes(2) for _, sent in switches.sent)
    assert all(link_local(0x020000000011).packed not in sent for _, sent in switches.sent)
