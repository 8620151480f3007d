"""What a folder may hold that is no topology: each is refused with its reason, soon, and nothing hangs or crashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controller.config import load, render
from tests.config.folders import FABRIC, codes, write


def bytes_in_red(folder: Path, data: bytes) -> list[str]:
    """Load a topology whose tenant file holds these bytes."""
    write(folder)
    (folder / "tenants" / "red.yaml").write_bytes(data)
    result = load(folder)
    assert all(render(problem).isprintable() or "\n" in render(problem) for problem in result.problems)
    return codes(result)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xfen\x00e\x00", "N005"),
        (b"networks: {n\xe9t: {}}\n", "N005"),
        (b"networks: \0\n", "N005"),
        (b"\x7fELF\x02\x01\x01\0\0", "N005"),
        (b"networks: \x1b[31m\n", "N010"),
        (b"[" * 100_000, "N013"),
        (b"{a: " * 100_000, "N013"),
        (b"- " * 100_000, "N013"),
        (b"a: &a [x]\nb: *a\n", "N012"),
        (b"%TAG ! tag:evil,2000:\n---\na: 1\n", "N012"),
        (b"!!python/object/apply:os.system ['true']\n", "N012"),
        (b"? [a, b]\n: c\n", "N018"),
        (b"just words\n", "N018"),
        (b"--- >\n", "N018"),
        (b"'" * 100_001, "N010"),
        (b"a" * 1_000_000, "N018"),
        (b"x: y\n" * 1_000, "N011"),
    ],
)
def test_a_hostile_tenant_file(tmp_path: Path, data: bytes, code: str) -> None:
    assert bytes_in_red(tmp_path, data)[0] == code


def test_an_alias_bomb_is_never_expanded(tmp_path: Path) -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert set(bytes_in_red(tmp_path, f"l0: &l0 lol\n{levels}".encode())) == {"N012"}


def test_half_a_million_values_are_the_most_that_a_file_may_hold(tmp_path: Path) -> None:
    assert bytes_in_red(tmp_path, b"[" + b"a," * 500_001 + b"]") == ["N013"]


def test_a_file_of_100_megabytes_is_not_read(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / "tenants" / "red.yaml").open("wb") as file:
        file.truncate(100_000_000)
    assert codes(load(tmp_path)) == ["N004"]


def test_many_large_files_are_not_all_read(tmp_path: Path) -> None:
    tenants = "".join(f"  t{number}: {{}}\n" for number in range(9))
    write(tmp_path, fabric=f"fabric: f\ntenants:\n{tenants}")
    for number in range(9):
        (tmp_path / "tenants" / f"t{number}.yaml").write_text("#" * (8 << 20))
    # With the fabric, eight of the nine are more than may be read.
    assert codes(load(tmp_path)) == ["N004", "N004"]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfnetworks: {net: {}}\n",
        b"networks:\r\n  net: {}\r\nports:\r\n",
        b"",
        b"# nothing yet\n",
        b"---\nnetworks:\n",
        b"networks: {net: {}}",
    ],
)
def test_harmless_oddities_are_accepted(tmp_path: Path, data: bytes) -> None:
    assert bytes_in_red(tmp_path, data) == []


def test_places_behind_a_byte_order_mark_and_carriage_returns_are_right(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "tenants" / "red.yaml").write_bytes(b"\xef\xbb\xbfoops: 1\r\nnetworks:\r\n  net: {cidr: 1}\r\n")
    places = [(each.place.line, each.place.column, each.source) for each in load(tmp_path).problems]
    assert places == [(1, 1, "oops: 1"), (3, 15, "  net: {cidr: 1}")]


def test_a_folder_that_is_missing_empty_or_a_file(tmp_path: Path) -> None:
    assert codes(load(tmp_path / "missing")) == ["N001"]
    assert codes(load(tmp_path)) == ["N002"]
    (tmp_path / "file").write_text("fabric: f\n")
    assert codes(load(tmp_path / "file")) == ["N001"]
    assert codes(load(Path("nul\0byte"))) == ["N001"]


def test_a_fabric_file_by_a_wrong_name_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "fabric.yml").write_text("fabric: f\n")
    (problem,) = load(tmp_path).problems
    assert (problem.code, problem.hint) == ("N002", 'is "fabric.yml" meant? It must be called fabric.yaml')


def test_files_that_nobody_reads_are_mentioned(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "red.yaml").write_text("networks: {}\n")
    (tmp_path / "tenants" / "notes.txt").write_text("")
    (tmp_path / "tenants" / ".red.yaml.swp").write_bytes(b"\0")
    result = load(tmp_path)
    assert codes(result) == ["W003", "W003"]
    assert result.topology is not None


def test_a_file_for_a_tenant_that_does_not_exist(tmp_path: Path) -> None:
    write(tmp_path, rde="networks: [broken")
    (problem,) = load(tmp_path).problems
    assert (problem.code, problem.hint) == ("N006", 'did you mean "red"?')


def test_a_tenant_file_by_another_ending(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "tenants" / "red.yml").write_text("networks: {}\n")
    assert codes(load(tmp_path)) == ["N006"]


def test_a_directory_a_pipe_and_a_device_in_place_of_files(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "tenants" / "red.yaml").mkdir()
    os.mkfifo(tmp_path / "tenants" / "blue.yaml")
    assert codes(load(tmp_path)) == ["N003", "N003"]


def test_links_may_not_lead_out_of_the_folder_or_in_circles(tmp_path: Path) -> None:
    folder = tmp_path / "topology"
    folder.mkdir()
    write(folder)
    (tmp_path / "secret").write_text("confidential: x\n")
    (folder / "tenants" / "red.yaml").symlink_to(tmp_path / "secret")
    (folder / "tenants" / "blue.yaml").symlink_to(folder / "tenants" / "blue.yaml")
    result = load(folder)
    assert sorted(codes(result)) == ["N001", "N003"]
    assert "confidential" not in "".join(render(problem) for problem in result.problems)


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    # Kubernetes mounts files as links into a hidden directory beside them.
    data = tmp_path / "..data"
    data.mkdir()
    (data / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "fabric.yaml").symlink_to("..data/fabric.yaml")
    assert load(tmp_path).topology is not None


def test_an_unreadable_file(tmp_path: Path) -> None:
    write(tmp_path, red="networks: {}\n")
    (tmp_path / "tenants" / "red.yaml").unlink()
    (tmp_path / "tenants" / "red.yaml").symlink_to("gone.yaml")
    (problem,) = load(tmp_path).problems
    assert (problem.code, problem.message) == ("N001", "cannot read the file: No such file or directory")


def test_tenants_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "tenants").write_text("")
    assert codes(load(tmp_path)) == ["N001"]


def test_tenants_are_checked_even_if_the_fabric_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, fabric="fabric: [", red="networks: {net: {cidr: x}}\n")
    assert codes(load(tmp_path)) == ["N010", "N023"]


def test_many_ports_with_unknown_names_are_refused_in_little_time(tmp_path: Path) -> None:
    # Were every wrong name compared with every right one, this would take minutes and run into the suite's time limit.
    ports = "".join(f"  p{number}: {{network: net{number}}}\n" for number in range(20_000))
    write(tmp_path, red=f"networks: {{}}\nports:\n{ports}")
    result = load(tmp_path)
    assert (len(result.problems), result.left_out) == (100, 19_900)


def test_many_floating_ips_of_nobody_are_refused_in_little_time(tmp_path: Path) -> None:
    floating = "".join(f"  203.0.{number >> 8}.{number & 255}: p{number}\n" for number in range(5_000))
    routers = "".join(f"  r{number}: {{externl: public}}\n" for number in range(5_000))
    write(tmp_path, red=f"ports: {{}}\nrouters:\n{routers}floating_ips:\n{floating}")
    result = load(tmp_path)
    assert (len(result.problems), result.left_out) == (100, 9_900)


def test_routers_of_many_prefixes_that_overlap_are_refused_in_little_time(tmp_path: Path) -> None:
    cidrs = ", ".join(f"10.{number}.0.0/16" for number in range(64))
    networks = "".join(f"  n{number}: {{cidr: [{cidrs}]}}\n" for number in range(64))
    joined = ", ".join(f"n{number}" for number in range(64))
    write(tmp_path, red=f"networks:\n{networks}routers: {{main: {{networks: [{joined}]}}}}\n")
    result = load(tmp_path)
    assert (len(result.problems), result.left_out) == (100, 63 * 64 - 100)
