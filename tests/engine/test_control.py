from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.control import ControlServer, NoController, request


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    return {"asked": question["do"]}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    server = ControlServer(tmp_path / "run" / "control.sock", answer)
    server.start()
    yield tmp_path / "run" / "control.sock"
    server.close()


def test_a_question_gets_its_answer(path: Path) -> None:
    assert request(path, {"do": "status"}) == {"asked": "status"}


def test_only_the_owner_may_ask(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoController, match="no controller answers at"):
        request(tmp_path / "nobody.sock", {"do": "status"})


def test_garbage_is_answered_and_does_no_harm(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as channel, channel.makefile("rwb") as stream:
        channel.connect(str(path))
        stream.write(b"\xff\x00 not json\n[1]\n")
        stream.flush()
        assert b"not a JSON line" in stream.readline()
        assert b"not a JSON object" in stream.readline()
    assert request(path, {"do": "status"}) == {"asked": "status"}


def test_a_second_controller_does_not_take_the_socket(path: Path) -> None:
    with pytest.raises(OSError, match="another controller answers"):
        ControlServer(path, answer).start()


def test_a_socket_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"cannot open the control socket {tmp_path}/file/control.sock: "):
        ControlServer(tmp_path / "file" / "control.sock", lambda _: {}).start()


def test_a_socket_that_a_dead_controller_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = ControlServer(path, answer)
    server.start()
    assert request(path, {"do": "status"}) == {"asked": "status"}
    server.close()
    assert not path.exists()
