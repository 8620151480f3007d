"""Samples become lines in the names of the files, whatever becomes of the queue, the disk and the flows."""

from __future__ import annotations

import json
import logging
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.engine import Engine, connection_log
from controller.engine.connection_log import ConnectionLog
from controller.model.ids import key
from controller.pipeline.fields import BY_NAME, CT_ESTABLISHED, CT_NEW, CT_REPLY, CT_TRACKED
from controller.pipeline.flow import Flow, ToController
from controller.pipeline.registers import SET_OF_PORTS, SOURCE, TARGET, target_of
from controller.wire import message, oxm, pack
from controller.wire.message import MessageType
from tests.engine.test_engine import FABRIC, HV1, INT1, Recorder, running
from tests.ovs.frames import frame
from tests.switch.harness import wait_for
from tests.wire.test_sample import PLAIN

RED = """\
networks:
  web: {cidr: 10.0.1.0/24, segment: 1001}
  db: {cidr: 10.0.2.0/24, segment: 1002}
security_groups:
  web:
    log: true
    ingress: [{protocol: tcp, ports: 80}]
ports:
  web1: {network: web, ip: 10.0.1.11, host: hv1, security_groups: [web], trunk: {7: db}}
  web2: {network: web, ip: 10.0.1.12, host: hv2, security_groups: [web]}
"""
NEW = CT_TRACKED | CT_NEW


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "tenants" / "red.yaml").write_text(RED)
    switches = Recorder()
    with running(tmp_path, switches) as engine:
        engine.connected(HV1, INT1)
        wait_for(lambda: HV1 in switches.programs)
        yield engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "connections.log"


@pytest.fixture
def log(engine: Engine, path: Path) -> Iterator[ConnectionLog]:
    path.parent.mkdir()
    log = ConnectionLog(engine, path)
    log.start()
    yield log
    log.close(5)


def sampling(engine: Engine, kind: str, feature: str = "ingress_policy") -> Flow:
    """The flow of a kind that samples, as a switch holds it."""
    flows = engine.programs.programs[HV1].snapshot()[0]
    found = next(
        flow
        for flow in sorted(flows, key=lambda each: each.origin.what)
        if (flow.feature, flow.kind) == (feature, kind) and any(isinstance(each, ToController) for each in flow.actions)
    )
    pack.flow_add(found)
    return found


def packet_in(flow: Flow | None, state: int = NEW, target: int | None = None, *, sender: str | None = None) -> bytes:
    """What a switch sends for a TCP packet to port 80 that comes to web1, or to a set of ports."""
    number = INT1["red.web1"] if target is None else target
    fields = {"in_port": 99, TARGET.field: number, "ct_state": state}
    if sender is not None:
        fields |= {"in_port": number, SOURCE.field: key("port", sender)}
    parts = (oxm.EXACT[BY_NAME[name].index] + struct.pack(">I", value) for name, value in fields.items())
    match = b"".join(parts)
    match = struct.pack(">HH", 1, 4 + len(match)) + match
    cookie = bytes(8) if flow is None else pack.flow_add(flow)[:8]
    table = 0 if flow is None else flow.table
    body = struct.pack(">IHBB8s", 0xFFFFFFFF, 60, 1, table, cookie) + match + bytes(-len(match) % 8)
    return message.frame(MessageType.PACKET_IN, 0, body + bytes(2) + frame(PLAIN))


def lines(path: Path, count: int) -> list[dict[str, Any]]:
    wait_for(lambda: path.exists() and len(path.read_text().splitlines()) >= count, f"{count} lines")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_established_connection_that_is_judged_again_is_no_line(
    engine: Engine, log: ConnectionLog, path: Path
) -> None:
    rule = sampling(engine, "rule")
    log.put(HV1, packet_in(rule, CT_TRACKED | CT_ESTABLISHED))
    log.put(HV1, packet_in(rule))
    assert [line["verdict"] for line in lines(path, 1)] == ["allowed"]


def test_subports_are_told_by_their_names(engine: Engine, log: ConnectionLog, path: Path) -> None:
    comes, leaves = sampling(engine, "rule"), sampling(engine, "everything allowed", "egress_policy")
    for vlan in (0, 7):
        log.put(HV1, packet_in(comes, target=target_of(INT1["red.web1"], vlan)))
    for name in ("red/web1", "red/web1:7"):
        log.put(HV1, packet_in(leaves, sender=name))
    told = [(line["direction"], line["port"]) for line in lines(path, 4)]
    assert told == [(direction, name) for direction in ("ingress", "egress") for name in ("red/web1", "red/web1:7")]


def test_an_answer_that_is_dropped_is_told_as_one(engine: Engine, log: ConnectionLog, path: Path) -> None:
    """Its connection was let out by a rule that has gone."""
    log.put(HV1, packet_in(sampling(engine, "ingress refused"), CT_TRACKED | CT_ESTABLISHED | CT_REPLY))
    (line,) = lines(path, 1)
    assert (line["port"], line["verdict"], line["answer"]) == ("red/web1", "dropped", True)


def test_what_goes_to_several_ports_names_none(engine: Engine, log: ConnectionLog, path: Path) -> None:
    log.put(HV1, packet_in(sampling(engine, "rule"), target=SET_OF_PORTS | 5))
    (line,) = lines(path, 1)
    assert (line["port"], line["host"], line["dst"]) == (None, "hv1", str(PLAIN.dst))


def test_what_no_flow_of_ours_samples_is_counted(engine: Engine, log: ConnectionLog, path: Path) -> None:
    log.put(HV1, packet_in(None))
    log.put(HV1, packet_in(None)[:30])
    log.put(HV1, packet_in(sampling(engine, "rule")))
    left_out, line = lines(path, 2)
    assert (left_out["left_out"], line["verdict"]) == (2, "allowed")


def test_a_full_queue_makes_nobody_wait_and_is_told(
    engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_log, "_ROOM", 3)
    path.parent.mkdir()
    log = ConnectionLog(engine, path)
    sample = packet_in(sampling(engine, "rule"))
    for _ in range(10):
        log.put(HV1, sample)
    log.start()
    found = lines(path, 4)
    log.close(5)
    assert [line.get("left_out") for line in found] == [7, None, None, None]


def test_a_disk_that_takes_nothing_costs_lines_alone(
    engine: Engine, log: ConnectionLog, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder goes and comes back; what was lost meanwhile is told in the file, and once in the log."""
    sample = packet_in(sampling(engine, "rule"))
    path.unlink()
    path.parent.rmdir()
    for _ in range(3):
        log.put(HV1, sample)
    wait_for(lambda: log._lost == 3, "three lines lost")
    path.parent.mkdir()
    log.put(HV1, sample)
    assert [line.get("left_out") for line in lines(path, 2)] == [3, None]
    assert caplog.text.count("the log of connections cannot be written") == 1


def test_without_a_file_lines_are_in_the_log(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    log = ConnectionLog(engine, None)
    with caplog.at_level(logging.INFO, connection_log.NAME):
        log.start()
        log.put(HV1, packet_in(sampling(engine, "rule")))
        wait_for(lambda: "ingress tcp 80" in caplog.text)
        log.close(5)
    assert connection_log.NAME in {record.name for record in caplog.records}


def test_a_file_that_cannot_be_opened_is_an_error_at_the_start(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ConnectionLog(engine, tmp_path / "nowhere" / "connections.log")


def test_the_log_ends_with_all_that_waits(engine: Engine, path: Path) -> None:
    path.parent.mkdir()
    log = ConnectionLog(engine, path)
    log.start()
    sample = packet_in(sampling(engine, "rule"))
    for _ in range(200):
        log.put(HV1, sample)
    log.close(20)
    assert len(path.read_text().splitlines()) == 200
    assert "connections" not in {thread.name for thread in threading.enumerate()}
