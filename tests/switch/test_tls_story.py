"""From a topology to a fabric with TLS, as an operator types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ovs.twin import Twin
from tests.switch.harness import wait_for

pytestmark = pytest.mark.ovs

ROOT = Path(__file__).resolve().parents[2]
WEFT = str(Path(sys.executable).with_name("weft"))
QUICKSTART = ROOT / "topologies/quickstart"


def weft(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_COLOR": "1"}
    command = [WEFT, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    made = weft("pki", QUICKSTART, "--into", tmp_path / "pki")
    assert made.returncode == 0, made.stderr
    return tmp_path / "pki"


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[Twin]:
    (tmp_path / "ovs").mkdir()
    with Twin(tmp_path / "ovs") as running:
        yield running


@pytest.fixture
def listen(pki: Path, tmp_path: Path) -> Iterator[str]:
    """Where `weft run --pki` listens while the test lasts."""
    log = tmp_path / "controller.log"
    command: list[str | Path] = [WEFT, "run", QUICKSTART, "--listen", "127.0.0.1:0", "--pki", pki / "controller"]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--control", tmp_path / "control.sock"], stderr=output)
    try:
        wait_for(lambda: "listening for switches on" in log.read_text("utf-8"))
        yield log.read_text("utf-8").split("listening for switches on ")[1].split()[0]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_host_is_in_sync_over_tls_after_four_commands(listen: str, pki: Path, twin: Twin, tmp_path: Path) -> None:
    options: list[str | Path] = ["--topology", QUICKSTART, "--controller", f"ssl:{listen}", "--pki", pki / "hosts/hv1"]
    database: list[str | Path] = ["--db", f"unix:{tmp_path}/ovs/db.sock", "--datapath", "dummy"]
    shown = weft("host", "init", "hv1", *options, *database, "--dry-run").stdout
    assert f"-- set-ssl {pki}/hosts/hv1/key.pem {pki}/hosts/hv1/cert.pem {pki}/hosts/hv1/ca.pem" in shown
    assert "in one transaction" in weft("host", "init", "hv1", *options, *database).stdout
    wait_for(lambda: states(tmp_path, "hv1") == {"in sync"})
    assert len(twin.flows("br-int")) > 10
    assert weft("host", "init", "hv1", *options, *database).stdout == "hv1: nothing to do\n"


def states(directory: Path, host: str) -> set[str]:
    answer = json.loads(weft("status", "--control", directory / "control.sock", "-o", "json").stdout)
    return {switch["state"] for switch in answer["switches"] if switch["host"] == host}
