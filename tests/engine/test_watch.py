from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.watch import Watcher

PERIOD_S = 0.01


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "topology"
    (folder / "tenants").mkdir(parents=True)
    (folder / "fabric.yaml").write_text("fabric: a\n")
    (folder / "tenants" / "red.yaml").write_text("ports: {}\n")
    return folder


@pytest.fixture
def noticed(folder: Path) -> Iterator[threading.Event]:
    event = threading.Event()
    watcher = Watcher(folder, event.set, PERIOD_S)
    watcher.start()
    yield event
    watcher.close()


def test_a_file_that_is_written_in_place_is_noticed(folder: Path, noticed: threading.Event) -> None:
    (folder / "fabric.yaml").write_text("fabric: b2\n")
    assert noticed.wait(10)


def test_a_file_that_is_replaced_by_rename_is_noticed(folder: Path, noticed: threading.Event) -> None:
    (folder / "new").write_text("ports: {}\n")
    (folder / "new").rename(folder / "tenants" / "red.yaml")
    assert noticed.wait(10)


def test_a_new_tenant_is_noticed(folder: Path, noticed: threading.Event) -> None:
    (folder / "tenants" / "blue.yaml").write_text("ports: {}\n")
    assert noticed.wait(10)


def test_a_file_that_goes_is_noticed(folder: Path, noticed: threading.Event) -> None:
    (folder / "tenants" / "red.yaml").unlink()
    assert noticed.wait(10)


def test_a_folder_swapped_by_symbolic_link_is_noticed(tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "fabric.yaml").write_text("fabric: other\n")
    current = tmp_path / "current"
    current.symlink_to(folder)
    event = threading.Event()
    watcher = Watcher(current, event.set, PERIOD_S)
    watcher.start()
    (tmp_path / "next").symlink_to(other)
    (tmp_path / "next").rename(current)
    assert event.wait(10)
    watcher.close()
