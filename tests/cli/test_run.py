"""`weft run` in the foreground: how it starts, refuses and leaves."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
WEFT = Path(sys.executable).with_name("weft")


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "topologies/quickstart", tmp_path / "quickstart")
    return tmp_path / "quickstart"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on the loopback that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(WEFT), "run", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_refused_files_are_told_before_anything_listens(topology: Path, tmp_path: Path) -> None:
    (topology / "tenants/red.yaml").write_text("networks: [")
    done = run(topology, "--listen", "127.0.0.1:0", "--control", tmp_path / "control.sock")
    assert done.returncode == 2
    assert "tenants/red.yaml:" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_taken_is_trouble(topology: Path, taken: int, tmp_path: Path) -> None:
    done = run(topology, "--listen", f"127.0.0.1:{taken}", "--control", tmp_path / "control.sock")
    assert done.returncode == 3
    assert f"127.0.0.1:{taken}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_connection_log_that_cannot_be_opened_is_trouble(topology: Path, tmp_path: Path) -> None:
    log = tmp_path / "nowhere" / "connections.log"
    listen = ("--listen", "127.0.0.1:0", "--control", tmp_path / "control.sock")
    done = run(topology, *listen, "--connection-log", log)
    assert done.returncode == 3
    assert f"{log}: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["6653x", "127.0.0.1:", "127.0.0.1:70000", ":²"])
def test_an_address_without_a_port_is_bad_input(topology: Path, words: str) -> None:
    done = run(topology, "--listen", words)
    assert done.returncode == 2
    assert "write HOST:PORT" in done.stderr


def test_a_controller_answers_status_and_leaves_when_told(topology: Path, tmp_path: Path, taken: int) -> None:
    control = tmp_path / "control.sock"
    command = [str(WEFT), "run", str(topology), "--listen", f"[::1]:{taken}", "--control", str(control)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 20
        while not control.exists() and time.monotonic() < deadline:
            assert running.poll() is None
            time.sleep(0.02)
        status = subprocess.run(
            [WEFT, "status", "--control", control], capture_output=True, text=True, check=False, timeout=20
        )
        assert status.returncode == 3, status.stderr  # No switch has come.
        assert "quickstart" in status.stdout
        assert status.stdout.count(" down ") == 6
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=5)
        assert running.returncode == 0
        assert not control.exists()
    finally:
        running.kill()
        running.communicate()
