"""`weft lab`, `weft ping` and `weft host init` as a user types them."""

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

ROOT = Path(__file__).resolve().parents[2]

FABRIC = """\
fabric: pair
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
tenants:
  red: {segments: 1000-1099}
"""
RED = """\
networks:
  web: {cidr: 10.0.1.0/24}
security_groups:
  open:
    ingress:
      - {protocol: tcp, ports: 80}
ports:
  web1: {network: web, ip: 10.0.1.11, host: hv1, security_groups: [open]}
  web2: {network: web, ip: 10.0.1.12, host: hv2, security_groups: [open]}
"""


def weft(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "controller.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = tmp_path / "pair"
    (files / "tenants").mkdir(parents=True)
    (files / "fabric.yaml").write_text(FABRIC, encoding="utf-8")
    (files / "tenants" / "red.yaml").write_text(RED, encoding="utf-8")
    return files


@pytest.fixture
def place(folder: Path, tmp_path: Path) -> Iterator[list[str]]:
    """The options that name a lab of `folder`, up without a controller."""
    options = ["--dir", str(tmp_path / "lab")]
    done = weft("lab", "up", str(folder), "--no-controller", "--name", f"pair-{os.getpid()}", *options)
    try:
        assert done.returncode == 0, done.stderr
        yield options
    finally:
        weft("lab", "down", *options)
        assert not (tmp_path / "lab").exists()


@pytest.mark.lab
def test_a_command_runs_inside_a_port(place: list[str]) -> None:
    done = weft("lab", "exec", *place, "red/web1", "--", "ip", "-4", "-br", "addr", "show", "eth0")
    assert "10.0.1.11/24" in done.stdout


@pytest.mark.lab
def test_a_command_runs_on_a_host_next_to_its_switch(place: list[str]) -> None:
    done = weft("lab", "exec", *place, "--host", "hv2", "--", "ovs-vsctl", "list-ports", "br-int")
    assert done.stdout.split() == ["patch-tun", "red.web2"]
    done = weft("lab", "exec", *place, "--host", "hv2", "--", "ovs-ofctl", "dump-flows", "br-int")
    assert done.returncode == 0, done.stderr


@pytest.mark.lab
def test_the_exit_code_is_the_commands(place: list[str]) -> None:
    assert weft("lab", "exec", *place, "red/web1", "--", "sh", "-c", "exit 7").returncode == 7


@pytest.mark.lab
def test_an_unknown_port_is_answered_with_those_that_there_are(place: list[str]) -> None:
    done = weft("lab", "exec", *place, "red/wbe1", "--", "true")
    assert done.returncode == 2
    assert 'no port "red/wbe1"' in done.stderr
    assert 'did you mean "red/web1"?' in done.stderr


@pytest.mark.lab
def test_status_says_what_is_up(place: list[str]) -> None:
    found = json.loads(weft("lab", "status", *place, "-o", "json").stdout)
    assert [host["alive"] for host in found["hosts"]] == [True, True]
    assert {port["name"]: port["plugged"] for port in found["ports"]} == {"red/web1": True, "red/web2": True}
    assert not found["controller"]["alive"]


@pytest.mark.lab
def test_up_again_follows_the_files(place: list[str], folder: Path) -> None:
    tenant = folder / "tenants" / "red.yaml"
    tenant.write_text(RED + "  web3: {network: web, ip: 10.0.1.13, host: hv1}\n", encoding="utf-8")
    assert "not plugged, so not probed: red/web3; `weft lab up" in weft("ping", *place).stderr
    done = weft("lab", "up", str(folder), "--no-controller", "--name", f"pair-{os.getpid()}", *place)
    assert done.returncode == 0, done.stderr
    assert "10.0.1.13" in weft("lab", "exec", *place, "red/web3", "--", "ip", "-br", "addr").stdout


@pytest.mark.lab
def test_a_controller_that_has_ended_is_told_and_started_again(folder: Path, tmp_path: Path) -> None:
    place = ["--dir", str(tmp_path / "lab")]
    up = ("lab", "up", str(folder), "--name", f"pair-{os.getpid()}", *place)
    try:
        assert weft(*up).returncode == 0
        record = json.loads((tmp_path / "lab" / "state.json").read_text(encoding="utf-8"))
        os.kill(record["controller"]["pid"], signal.SIGKILL)
        wait_for(lambda: weft("lab", "status", *place).returncode == 3)
        assert "the controller has ENDED" in weft("lab", "status", *place).stdout
        assert weft(*up).returncode == 0
        assert weft("lab", "status", *place).returncode == 0
    finally:
        weft("lab", "down", *place)


@pytest.mark.lab
def test_ping_leaves_with_1_and_names_the_rule_when_packets_do_not_come(place: list[str]) -> None:
    done = weft("ping", *place)
    assert done.returncode == 1, done.stderr
    assert "red/web1 -> red/web2: expected reachable, observed not reachable" in done.stdout
    assert "tenants/red.yaml:6:9" in done.stdout
    assert "2 NOT as expected" in done.stdout


@pytest.mark.lab
def test_no_lab_is_said_in_a_line(tmp_path: Path) -> None:
    done = weft("lab", "status", "--dir", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"weft lab status: no lab in {tmp_path}\n"


@pytest.mark.lab
def test_a_refused_file_brings_nothing_up(folder: Path, tmp_path: Path) -> None:
    (folder / "fabric.yaml").write_text("fabric: [", encoding="utf-8")
    done = weft("lab", "up", str(folder), "--dir", str(tmp_path / "lab"))
    assert done.returncode == 2
    assert not (tmp_path / "lab").exists()


@pytest.mark.ovs
def test_host_init_prints_what_it_would_run_then_runs_it_then_has_nothing_to_do(folder: Path, tmp_path: Path) -> None:
    with Twin(tmp_path):
        options = ["--topology", str(folder), "--db", f"unix:{tmp_path}/db.sock", "--datapath", "dummy"]
        shown = weft("host", "init", "hv1", *options, "--dry-run").stdout
        assert "-- add-br br-int \\\n" in shown
        assert "one transaction" in weft("host", "init", "hv1", *options).stdout
        assert weft("host", "init", "hv1", *options).stdout == "hv1: nothing to do\n"


@pytest.mark.ovs
def test_what_dry_run_prints_does_it(folder: Path, tmp_path: Path) -> None:
    with Twin(tmp_path):
        options = ["--topology", str(folder), "--db", f"unix:{tmp_path}/db.sock", "--datapath", "dummy"]
        shown = weft("host", "init", "hv1", *options, "--dry-run").stdout
        subprocess.run(["sh", "-c", shown], check=True, timeout=30)
        assert weft("host", "init", "hv1", *options).stdout == "hv1: nothing to do\n"


def test_an_unknown_host_is_bad_input(folder: Path) -> None:
    done = weft("host", "init", "hv7", "--topology", str(folder), "--db", "unix:/nowhere")
    assert done.returncode == 2
    assert "there are hv1, hv2" in done.stderr


def test_dry_run_without_a_switch_shows_all_of_it(folder: Path, tmp_path: Path) -> None:
    done = weft("host", "init", "hv1", "--topology", str(folder), "--db", f"unix:{tmp_path}/none", "--dry-run")
    assert done.returncode == 0
    assert "add-port br-tun vxlan" in done.stdout
    assert "shown for an empty Open vSwitch" in done.stderr
