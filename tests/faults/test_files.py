"""Files are saved badly, by halves, by rename, by link and on a full disk: what is not meant changes nothing."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.site import BLUE, RED, TENANT, read, ruled, save
from tests.faults.traffic import Traffic
from tests.lab.net import Net
from tests.scenarios.labs import ask, differences, installed, touched, wait_until, write

pytestmark = pytest.mark.lab

BAD = RED.replace("host: hv2", "host: hv9")
SMALL_DISK, PAGE = 64 * 1024, 4096


def refusal(net: Net) -> str:
    """What the controller says is wrong with the files."""
    return "\n".join(ask(net, "status")["refused"])


def test_a_bad_file_changes_nothing_and_a_good_one_after_it_is_in_force(net: Net) -> None:
    """A file names a host that is not there: it is refused by line, no flow is touched; mended, it is in force."""
    before = installed(net)
    with Traffic(net) as traffic:
        save(net, BAD)
        wait_until(lambda: "tenants/red.yaml:11" in refusal(net), "the bad file is refused")
        assert touched(before, installed(net)) == []
        save(net, ruled(3))
        wait_until(lambda: not refusal(net) and not differences(net), "the good one is in force")
    assert traffic.lost == []


def test_a_half_written_file_is_waited_for(net: Net) -> None:
    """An editor has written half of a file: nothing of it is in force, while another tenant's change is, before the rest comes."""
    text = ruled(8)
    place = net.lab.folder / TENANT
    with Traffic(net) as traffic:
        before = installed(net)
        with place.open("w") as editor:
            editor.write(text[: len(RED) - 80])
            editor.flush()
            write(net.lab.folder / "tenants/blue.yaml", ruled(2, BLUE))
            wait_until(lambda: touched(before, installed(net)), "the other tenant's change is in force")
            wait_in_force(net)
            came = touched(before, installed(net))
            assert not refusal(net)
            editor.write(text[len(RED) - 80 :])
        wait_until(lambda: not differences(net), "all of it is in force")
        assert len(touched(before, installed(net))) > len(came) > 0
    assert traffic.lost == []


def wait_in_force(net: Net) -> None:
    """Wait until every change set is over."""
    wait_until(lambda: ask(net, "status")["changes"]["recent"][-1]["state"] == "done", "the change is over")


def test_a_folder_swapped_by_a_link_is_taken_as_a_whole(net: Net, tmp_path: Path) -> None:
    """The tenants' folder becomes a link, as deployments do it, and the link is swapped: each time all that it leads to is in force."""
    with Traffic(net) as traffic:
        with linked(net, release(tmp_path, "one", ruled(5))) as link:
            wait_until(lambda: not differences(net), "the first release is in force")
            point(link, release(tmp_path, "two", ruled(6)))
            wait_until(lambda: not differences(net), "the second release is in force")
        wait_until(lambda: not differences(net), "the folder itself is in force again")
    assert traffic.lost == []


def test_a_full_disk_changes_nothing_until_the_file_is_saved_again(net: Net, tmp_path: Path) -> None:
    """A file is cut off because the disk is full: it is refused although what is left of it may be read; saved again, it is in force."""
    with small_disk(tmp_path) as disk, linked(net, disk):
        write(disk / "blue.yaml", BLUE)
        write(disk / "red.yaml", RED)
        read(net, RED)
        text = cut_at_a_line(ruled(100))
        with Traffic(net) as traffic:
            before = installed(net)
            fill(disk)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                (disk / "red.yaml").write_text(text)
            wait_until(lambda: "red.yaml" in refusal(net), "what is left of the file is refused")
            assert touched(before, installed(net)) == []
            (disk / "filler").unlink()
            (disk / "red.yaml").write_text(text)
            wait_until(lambda: not refusal(net) and not differences(net), "the file saved again is in force")
        assert traffic.lost == []
        read(net, RED)


def release(directory: Path, name: str, red: str) -> Path:
    """A folder of tenants' files, complete."""
    write(directory / name / "red.yaml", red)
    write(directory / name / "blue.yaml", BLUE)
    return directory / name


def point(link: Path, target: Path) -> None:
    """Let a link lead to another folder, in one step."""
    new = link.with_name("tenants.new")
    new.symlink_to(target)
    new.replace(link)


@contextmanager
def linked(net: Net, target: Path) -> Iterator[Path]:
    """Let the tenants' folder be a link to another one while the block lasts."""
    place, aside = net.lab.folder / "tenants", net.lab.folder / "tenants.aside"
    place.rename(aside)
    place.symlink_to(target)
    try:
        yield place
    finally:
        place.unlink()
        aside.rename(place)


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of a few pages."""
    place = directory / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "weft-faults", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill(disk: Path) -> None:
    """Write until nothing more fits."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(PAGE))
    assert not os.statvfs(disk).f_bavail


def cut_at_a_line(text: str) -> str:
    """The text, shifted so that a page ends where a line does: what a full disk leaves of it has no syntax error."""
    missing = PAGE - (text.rindex("\n", 0, PAGE) + 1)
    return "#" * (missing - 1) + "\n" * (missing > 0) + text
