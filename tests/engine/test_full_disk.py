"""A file that is saved to a full disk may end anywhere, and half a file can be good YAML."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.engine import Engine
from tests.engine.watched import DEADLINE_S, red, served, state_of, wait_for

FABRIC = "fabric: f\nhosts: {hv1: {tunnel_ip: 172.31.0.1}}\ntenants: {red: {segments: 1-9}, blue: {segments: 11-19}}\n"
HEAD = "networks: {net: {cidr: 10.0.0.0/16}}\nports:\n"
HEAD_BYTES = 63
BLUE = "networks: {net: {}}\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True, timeout=DEADLINE_S)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True, timeout=DEADLINE_S)


@pytest.fixture
def engine(disk: Path) -> Iterator[Engine]:
    (disk / "tenants").mkdir()
    (disk / "fabric.yaml").write_text(FABRIC)
    red(disk).write_text(ports(100))
    red(disk, "blue").write_text(BLUE)
    with served(disk) as engine:
        yield engine


def ports(count: int) -> str:
    """Return a tenant's file with so many ports, of 32 bytes each, so that wherever a page ends, a line does."""
    lines = [*HEAD.splitlines(), *(f"  p{number:04}: {{network: net}}" for number in range(count))]
    return "".join(f"{line} ".ljust(HEAD_BYTES if line.startswith("networks") else 31, "#") + "\n" for line in lines)


def fill(disk: Path) -> Path:
    """Fill the disk, as somebody else would."""
    path = disk / "somebody-elses"
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        for _ in iter(lambda: file.write(bytes(1024)), 0):
            pass
    return path


@pytest.mark.lab
def test_a_file_that_the_disk_had_no_room_for_is_refused_until_it_is_saved_again(engine: Engine, disk: Path) -> None:
    filler = fill(disk)
    with pytest.raises(OSError, match="No space left"):
        red(disk).write_text(ports(1000))
    wait_for(lambda: "N007" in state_of(engine))
    assert engine.intent.topology is not None
    assert len(engine.intent.topology.ports) == 100
    filler.unlink()
    red(disk, "blue").write_text(BLUE + "# Others' files do not make it good.\n")
    wait_for(lambda: "N007" in state_of(engine) and "blue" not in state_of(engine))
    red(disk).write_text(ports(1000))
    wait_for(lambda: state_of(engine) == "accepted")
    assert len(engine.intent.topology.ports) == 1000


@pytest.mark.lab
def test_what_was_saved_before_is_good_on_a_full_disk(engine: Engine, disk: Path) -> None:
    fill(disk)
    engine.reload()
    assert state_of(engine) == "accepted"
    with served(disk) as another:
        another.reload()
        assert state_of(another) == "accepted"
