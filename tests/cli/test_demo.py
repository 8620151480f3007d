"""`make demo` and `weft demo`, as a newcomer types them, with real switches and packets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controller.lab.state import LABS

ROOT = Path(__file__).resolve().parent.parent.parent
WEFT = Path(sys.executable).with_name("weft")

pytestmark = pytest.mark.lab


def left_behind(demo: str = "quickstart") -> set[Path]:
    """Return the labs of demos that run no more."""
    return {record for record in LABS.glob(f"{demo}-*") if not Path("/proc", record.name.rpartition("-")[2]).exists()}


def weft(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(WEFT), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    """A copy of the quickstart under a name that no other lab has."""
    name = f"demo-{os.getpid()}"
    folder = tmp_path / name
    shutil.copytree(ROOT / "topologies/quickstart", folder)
    fabric = folder / "fabric.yaml"
    fabric.write_text(fabric.read_text().replace("fabric: quickstart", f"fabric: {name}"))
    return folder


def test_the_demo_is_as_expected_and_leaves_nothing() -> None:
    before = left_behind()
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all as expected" in done.stdout
    assert left_behind() <= before


def test_the_demo_of_three_tiers_goes_out_and_comes_in_and_leaves_nothing() -> None:
    before = left_behind("three-tier")
    command = ["make", "demo", "TOPOLOGY=three-tier"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, outside = done.stdout.partition("to the outside, and from everywhere to floating IPs")
    rows = {
        line.split()[0]: line.split()[1:]
        for line in outside.splitlines()
        if "/" in line.partition(" ")[0] or line[:1] == "@"
    }
    assert rows["@internet"] == ["-", "3/3", "3/3", "3/3"]
    assert rows["red/app1"][0] == "4/4"
    assert rows["red/db1"] == [".", ".", ".", "."]
    assert "all as expected" in outside
    assert left_behind("three-tier") <= before


def test_a_kept_demo_says_how_to_look_around_and_how_to_end_it(topology: Path) -> None:
    kept = weft("demo", topology, "--keep")
    try:
        assert kept.returncode == 0, kept.stdout + kept.stderr
        _, _, advised = kept.stdout.partition("Look around:\n")
        advice = [line.split() for line in advised.splitlines() if line.startswith("  ") and " lab down" not in line]
        assert [words[1] for words in advice[:-2]] == ["status", "ping", "lab", "lab", "flows"]
        assert "in force" in Path(advice[-2][1]).read_text()
        for words in (*advice[:-2], advice[-1]):
            verb = words[1:3] if words[1] == "lab" else words[1:2]
            # Another test may have brought a lab up since the advice was given.
            named = ["--name", topology.name] if verb[-1] in {"ping", "exec"} and "--name" not in words else []
            done = weft(*verb, *named, *words[1 + len(verb) :])
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    finally:
        down = weft("lab", "down", "--name", topology.name)
    assert down.returncode == 0, down.stderr
    assert not (LABS / topology.name).exists()


def test_a_demo_that_is_terminated_takes_its_lab_down(topology: Path) -> None:
    running = subprocess.Popen([WEFT, "demo", topology], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    record = LABS / f"{topology.name}-{running.pid}" / "state.json"
    deadline = time.monotonic() + 30
    while not record.exists() and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert not record.parent.exists()


def test_a_demo_of_refused_files_brings_nothing_up(topology: Path) -> None:
    (topology / "tenants/red.yaml").write_text("networks: [")
    done = weft("demo", topology)
    assert done.returncode == 2
    assert "tenants/red.yaml:" in done.stderr
