"""What is saved is told at once and by name, what is half-written is not, and nothing is ever missed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inotify_simple import Event, INotify, flags

from controller.watch import signature
from tests.engine.watched import Told, make, red, watching


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "topology", "red", "blue")


@pytest.fixture
def told(folder: Path) -> Iterator[Told]:
    with watching(folder) as told:
        red(folder).write_text("# The first change shows that the watch stands.\n")
        told.until("tenants/red.yaml")
        yield told


def swap(link: Path, target: Path) -> None:
    """Let a symbolic link lead elsewhere, in one step."""
    link.with_name("next").symlink_to(target)
    link.with_name("next").rename(link)


# What is told.


def test_a_file_that_is_written_in_place_is_told_when_it_is_closed(folder: Path, told: Told) -> None:
    (folder / "fabric.yaml").write_text("fabric: b2\n")
    assert told.next() == {"fabric.yaml"}


def test_a_file_that_is_replaced_by_rename_is_told(folder: Path, told: Told) -> None:
    (folder / "new").write_text("ports: {}\n")
    (folder / "new").rename(red(folder))
    assert told.next() == {"tenants/red.yaml"}


def test_a_new_tenant_is_told(folder: Path, told: Told) -> None:
    red(folder, "green").write_text("ports: {}\n")
    assert told.next() == {"tenants/green.yaml"}


@pytest.mark.parametrize("make_link", [os.link, os.symlink])
def test_a_link_is_complete_at_once(folder: Path, told: Told, make_link: Any) -> None:
    make_link(red(folder, "blue"), red(folder, "green"))
    last = told.until("tenants/green.yaml")[-1]
    assert last is not None
    assert "tenants/green.yaml" in last


def test_a_file_that_goes_is_told(folder: Path, told: Told) -> None:
    red(folder).unlink()
    assert told.next() == {"tenants/red.yaml"}


def test_a_tenant_that_is_renamed_is_told_by_both_names(folder: Path, told: Told) -> None:
    red(folder).rename(red(folder, "green"))
    assert told.until("tenants/red.yaml", "tenants/green.yaml")[-1] is not None


def test_a_file_that_may_be_read_again_is_told(folder: Path, told: Told) -> None:
    red(folder).chmod(0o600)
    assert told.next() == {"tenants/red.yaml"}


def test_files_that_nobody_reads_are_not_told(folder: Path, told: Told) -> None:
    for name in ("4913", ".red.yaml.swp", "red.yaml~"):
        (folder / "tenants" / name).write_text("an editor's own")
        (folder / "tenants" / name).unlink()
    red(folder, "blue").write_text("ports: {}\n")
    assert "tenants/blue.yaml" in (told.next() or ())


def test_files_that_are_saved_together_are_told_together(
    folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.watch._GAP_S", 0.5)
    monkeypatch.setattr("controller.watch._PATIENCE_S", 0.5)
    together = folder.parent / "together"
    shutil.copytree(folder / "tenants", together)
    for path in together.iterdir():
        path.rename(folder / "tenants" / path.name)
    assert told.next() == {"tenants/red.yaml", "tenants/blue.yaml"}


def test_the_present_folder_is_told_like_any_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert signature(Path()).keys() == {".", "fabric.yaml", "tenants", "tenants/red.yaml", "tenants/blue.yaml"}
    with watching(Path()) as told:
        red(folder).write_text("# one\n")
        assert told.next() == {"tenants/red.yaml"}


# What is half-written.


def test_a_file_that_is_open_for_writing_is_not_told_with_another(folder: Path, told: Told) -> None:
    with red(folder).open("w") as file:
        file.write("ports:\n")
        file.flush()
        red(folder, "blue").write_text("ports: {}\n")
        assert told.next() == {"tenants/blue.yaml"}
    assert told.next() == {"tenants/red.yaml"}


def test_a_new_file_is_not_told_before_it_is_closed(folder: Path, told: Told) -> None:
    with red(folder, "green").open("w"):
        red(folder).write_text("ports: {}\n")
        assert told.next() == {"tenants/red.yaml"}
    assert told.next() == {"tenants/green.yaml"}


def test_a_file_that_is_taken_away_and_made_again_was_never_gone(
    folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.watch._RETURN_S", 5.0)
    red(folder).rename(red(folder).with_name("red.yaml~"))
    with red(folder).open("w") as file:
        red(folder, "blue").write_text("ports: {}\n")
        assert "tenants/red.yaml" not in (told.next() or ())
        file.write("ports: {}\n")
    assert "tenants/red.yaml" in (told.next() or ())


def test_a_file_that_is_cut_without_being_opened_is_told_in_the_end(
    folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.watch._OPEN_S", 0.01)
    os.truncate(red(folder), 0)
    assert told.next() == {"tenants/red.yaml"}


# Folders that are swapped.


def test_a_folder_swapped_by_symbolic_link_is_told_whole(tmp_path: Path, folder: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to(folder)
    with watching(current) as told:
        red(folder).write_text("# one\n")
        told.until("tenants/red.yaml")
        swap(current, make(tmp_path / "other", "red"))
        told.everything()
        red(tmp_path / "other").write_text("# two\n")
        assert told.until("tenants/red.yaml")[-1] == {"tenants/red.yaml"}


def test_a_link_further_up_is_noticed_by_the_look(tmp_path: Path, folder: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to(tmp_path)
    with watching(current / "topology") as told:
        red(folder).write_text("# one\n")
        told.until("tenants/red.yaml")
        make(tmp_path / "elsewhere" / "topology", "red")
        swap(current, tmp_path / "elsewhere")
        told.everything()


def test_the_tenants_swapped_by_symbolic_link_are_told_whole(tmp_path: Path, folder: Path) -> None:
    (folder / "tenants").rename(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    (folder / "tenants").symlink_to(tmp_path / "first")
    with watching(folder) as told:
        red(folder).write_text("# one\n")
        told.until("tenants/red.yaml")
        swap(folder / "tenants", tmp_path / "second")
        told.everything()


def test_a_kubernetes_volume_that_is_updated_is_told_whole(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    for version in ("..1", "..2"):
        make(folder / version, "red")
    for name in ("..data", "fabric.yaml", "tenants"):
        (folder / name).symlink_to("..1" if name == "..data" else f"..data/{name}")
    with watching(folder) as told:
        red(folder).write_text("# one\n")
        told.until("tenants/red.yaml")
        swap(folder / "..data", Path("..2"))
        told.everything()
        red(folder).write_text("# two\n")
        assert told.until("tenants/red.yaml")[-1] == {"tenants/red.yaml"}


def test_a_folder_that_is_removed_and_made_again_is_watched_again(folder: Path, told: Told) -> None:
    shutil.rmtree(folder)
    told.everything()
    make(folder, "red")
    told.everything()
    red(folder).write_text("# again\n")
    assert told.until("tenants/red.yaml")[-1] == {"tenants/red.yaml"}


def test_tenants_that_are_removed_and_made_again_are_watched_again(folder: Path, told: Told) -> None:
    shutil.rmtree(folder / "tenants")
    told.everything()
    (folder / "tenants").mkdir()
    red(folder).write_text("ports: {}\n")
    told.everything()
    red(folder).write_text("# again\n")
    assert told.until("tenants/red.yaml")[-1] == {"tenants/red.yaml"}


# What inotify does not see.


def test_what_was_saved_before_the_start_is_told(folder: Path) -> None:
    loaded = signature(folder)
    red(folder).write_text("# saved after it was read\n")
    with watching(folder, loaded) as told:
        assert told.next() == {"tenants/red.yaml"}


def test_a_spent_limit_of_inotify_leaves_the_look(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_arguments: Any, **_keys: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(INotify, "add_watch", refuse)
    with watching(folder) as told:
        red(folder).write_text("# seen by stat\n")
        assert told.next() == {"tenants/red.yaml"}
    assert "cannot be watched" in caplog.text


def test_a_file_system_that_tells_nothing_is_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(INotify, "read", lambda *_arguments, **_keys: [])
    with watching(folder) as told:
        red(folder).write_text("# saved on another machine\n")
        assert told.next() == {"tenants/red.yaml"}


def test_a_queue_that_ran_over_makes_everything_told(folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    real = INotify.read

    def overflowing(self: INotify, *arguments: Any, **keys: Any) -> list[Event]:
        lost = real(self, *arguments, **keys)
        return [Event(-1, flags.Q_OVERFLOW, 0, "")] if lost else []

    monkeypatch.setattr(INotify, "read", overflowing)
    red(folder).write_text("# lost\n")
    told.everything()


@pytest.mark.parametrize("shift_ns", [-86_400_000_000_000, 86_400_000_000_000])
def test_a_clock_that_is_a_day_off_hides_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, shift_ns: int) -> None:
    monkeypatch.setattr(INotify, "read", lambda *_arguments, **_keys: [])
    with watching(folder) as told:
        before = red(folder).stat()
        red(folder).write_text("ports: []\n")
        os.utime(red(folder), ns=(before.st_atime_ns + shift_ns, before.st_mtime_ns + shift_ns))
        assert told.next() == {"tenants/red.yaml"}
