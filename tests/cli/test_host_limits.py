"""`weft host limits` as an operator types it, beside a switch that `weft host init` has set up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.pipeline.numbers import note
from controller.pipeline.plan import pipeline
from controller.switch.ovsdb import set_up_host
from tests.lab.small import small
from tests.ovs.twin import Twin
from tests.switch.harness import wait_for

pytestmark = pytest.mark.ovs

ROOT = Path(__file__).resolve().parents[2]
FABRIC = "fabric: f\nhosts:\n  hv1: {tunnel_ip: 172.31.0.1}\ntenants:\n  red: {segments: 1-9, connections: 5000}\n"


class Host:
    """A host's switch, and the verb."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self.options = ["--db", f"unix:{twin.directory}/db.sock", "--ctl", f"{twin.directory}/switch.ctl"]

    def remember(self, zone: int, space: str, limit: int | None) -> None:
        """Write what the controller writes into the ledger."""
        text = note(None, zone, space, space, limit).encode()
        table = pipeline().tables["ledger"].number
        self.twin.ofctl("add-flow", "br-int", f"table={table},priority=1,reg0={zone},actions=note:{text.hex('.')}")

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "controller.cli", "host", "limits", *self.options, *more]

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*more), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    def limits(self) -> str:
        return self.twin.control.call("dpctl/ct-get-limits", "dummy@ovs-dummy")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with Twin(tmp_path) as twin:
        host = Host(twin)
        set_up_host(small(), "hv1", controller="tcp:127.0.0.1:16653", db=host.options[1], datapath="dummy")
        yield host


def test_it_says_what_it_did_and_what_there_is(here: Host) -> None:
    here.remember(4, "red/web", 5000)
    here.remember(5, "blue/web", None)
    done = here.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "zone 4 (red/web): at most 5000 connections, none before",
        "ZONE  ADDRESS SPACE  LIMIT  CONNECTIONS",
        "4     red/web        5000   0",
    ]
    assert "zone=4,limit=5000,count=0" in here.limits()
    assert here.run().stdout.splitlines() == done.stdout.splitlines()[1:]


def test_it_answers_programs(here: Host) -> None:
    here.remember(4, "red/web", 5000)
    here.run()
    here.remember(4, "red/web", None)
    assert json.loads(here.run("-o", "json").stdout) == {
        "changes": [{"zone": 4, "space": "red/web", "before": 5000, "after": None}],
        "limits": [],
    }
    assert here.run().stdout == "no limits\n"


def test_it_stays_until_it_is_told_to_leave(here: Host) -> None:
    here.remember(4, "red/web", 5000)
    with subprocess.Popen(here.command("--watch"), cwd=ROOT, stdout=subprocess.PIPE, text=True) as watcher:
        try:
            wait_for(lambda: "zone=4,limit=5000" in here.limits())
            here.remember(4, "red/web", 6000)
            wait_for(lambda: "zone=4,limit=6000" in here.limits())
            watcher.send_signal(signal.SIGTERM)
            said, _ = watcher.communicate(timeout=10)
        finally:
            watcher.kill()
    assert watcher.returncode == 0
    assert said.splitlines() == [
        "zone 4 (red/web): at most 5000 connections, none before",
        "zone 4 (red/web): at most 6000 connections, 5000 before",
    ]


def test_a_switch_that_is_not_there_is_trouble(here: Host) -> None:
    here.twin.control.call("exit")
    done = here.run()
    assert done.returncode == 3
    assert "the switch does not answer: " in done.stderr


def test_a_switch_that_is_not_ours_is_trouble(tmp_path: Path) -> None:
    with Twin(tmp_path) as twin:
        done = Host(twin).run()
    assert done.returncode == 3
    assert "`weft host init` makes them" in done.stderr


def test_host_init_says_that_limits_want_somebody_on_the_host(here: Host, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/fabric.yaml").write_text(FABRIC, encoding="utf-8")
    words = ["host", "init", "hv1", "--topology", str(tmp_path / "files"), *here.options[:2], "--datapath", "dummy"]
    command = [sys.executable, "-m", "controller.cli", *words, "-o", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["host"] == "hv1"
    assert "weft host limits --watch" in done.stderr
