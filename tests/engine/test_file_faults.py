"""What goes wrong with files, as a running engine takes it: the last good topology stays until there is a better one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.engine import Engine
from tests.engine.watched import ports_of, red, served, state_of, wait_for

FABRIC = "fabric: f\nhosts: {hv1: {tunnel_ip: 172.31.0.1}}\ntenants: {red: {segments: 1-9}, blue: {segments: 11-19}}\n"


def ports(*names: str) -> str:
    """Return a tenant's file with these ports."""
    return "networks: {net: {}}\nports:\n" + "".join(f"  {name}: {{network: net}}\n" for name in names)


def fill(folder: Path, *names: str) -> Path:
    """Write a topology whose tenants have these ports."""
    (folder / "tenants").mkdir(parents=True)
    (folder / "fabric.yaml").write_text(FABRIC)
    for tenant in ("red", "blue"):
        red(folder, tenant).write_text(ports(*names))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "topology", "a")


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    with served(folder) as engine:
        yield engine


def test_a_bad_file_changes_nothing_and_a_good_one_after_it_does(engine: Engine, folder: Path) -> None:
    red(folder).write_text(ports("a", "b") + "  c: {network: nte}\n")
    wait_for(lambda: "unknown network" in state_of(engine))
    assert ports_of(engine) == {"red/a", "blue/a"}
    red(folder).write_text(ports("a", "b"))
    wait_for(lambda: ports_of(engine) == {"red/a", "red/b", "blue/a"} and state_of(engine) == "accepted")


def test_a_half_written_file_is_not_read_with_anothers(engine: Engine, folder: Path) -> None:
    with red(folder).open("w") as file:
        file.write(ports("b"))
        file.flush()
        red(folder, "blue").write_text(ports("a", "b"))
        wait_for(lambda: "blue/b" in ports_of(engine))
        assert ports_of(engine) == {"red/a", "blue/a", "blue/b"}
        file.write("  c: {network: net}\n")
    wait_for(lambda: ports_of(engine) == {"red/b", "red/c", "blue/a", "blue/b"})


def test_a_file_that_is_replaced_by_rename_is_in_force(engine: Engine, folder: Path) -> None:
    (folder / ".red.new").write_text(ports("a", "b"))
    (folder / ".red.new").rename(red(folder))
    wait_for(lambda: ports_of(engine) == {"red/a", "red/b", "blue/a"})


def test_a_file_that_goes_takes_the_tenants_ports_with_it(engine: Engine, folder: Path) -> None:
    red(folder).unlink()
    wait_for(lambda: ports_of(engine) == {"blue/a"})
    assert state_of(engine) == "accepted"


def test_a_folder_swapped_by_symbolic_link_is_in_force(tmp_path: Path, folder: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to(folder)
    with served(current) as engine:
        (tmp_path / "next").symlink_to(fill(tmp_path / "other", "a", "b"))
        (tmp_path / "next").rename(current)
        wait_for(lambda: ports_of(engine) == {"red/a", "red/b", "blue/a", "blue/b"})


def test_a_folder_that_is_removed_leaves_the_last_good_topology(engine: Engine, folder: Path) -> None:
    shutil.rmtree(folder)
    wait_for(lambda: state_of(engine) != "accepted")
    assert ports_of(engine) == {"red/a", "blue/a"}
    fill(folder, "b")
    wait_for(lambda: ports_of(engine) == {"red/b", "blue/b"} and state_of(engine) == "accepted")


def test_a_clock_set_back_a_day_hides_no_change(engine: Engine, folder: Path) -> None:
    yesterday = red(folder).stat().st_mtime_ns - 86_400 * 10**9
    red(folder).write_text(ports("b"))
    os.utime(red(folder), ns=(yesterday, yesterday))
    wait_for(lambda: ports_of(engine) == {"red/b", "blue/a"})


def test_what_was_saved_between_the_first_load_and_the_watch_is_in_force(folder: Path) -> None:
    with served(folder, lambda: red(folder).write_text(ports("a", "b"))) as engine:
        wait_for(lambda: ports_of(engine) == {"red/a", "red/b", "blue/a"})
