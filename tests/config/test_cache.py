"""A reload costs what was edited, and says the same as a load from nothing."""

from __future__ import annotations

from pathlib import Path

from controller.config import Cache, load
from controller.model.entities import Topology
from tests.config.folders import write

RED = "networks: {net: {cidr: 10.0.1.0/24}}\nports: {a: {network: net}}\n"
BLUE = "networks: {net: {cidr: 10.0.1.0/24}}\nports: {a: {network: net}, b: {network: net}}\n"


def reload(folder: Path, previous: Topology | None, cache: Cache) -> Topology:
    topology = load(folder, previous, cache).topology
    assert topology is not None
    return topology


def test_what_did_not_change_is_taken_from_the_last_load(tmp_path: Path) -> None:
    write(tmp_path, red=RED, blue=BLUE)
    cache = Cache()
    first = reload(tmp_path, None, cache)
    write(tmp_path, red=RED + "tests: [{from: a, to: blue/a, expect: deny}]\n", blue=BLUE)
    second = reload(tmp_path, first, cache)
    assert second.ports["blue/a"] is first.ports["blue/a"]
    assert second.ports["red/a"] == first.ports["red/a"]
    assert len(second.tests) == 1
    assert second == reload(tmp_path, first, Cache())


def test_a_change_of_the_fabric_reaches_every_tenant(tmp_path: Path) -> None:
    write(tmp_path, red=RED)
    cache = Cache()
    first = reload(tmp_path, None, cache)
    fabric = (tmp_path / "fabric.yaml").read_text()
    (tmp_path / "fabric.yaml").write_text(f"{fabric}mtu: 9000\n")
    assert reload(tmp_path, first, cache).networks["red/net"].mtu == 8950


def test_a_refused_file_leaves_the_cache_good(tmp_path: Path) -> None:
    write(tmp_path, red=RED, blue=BLUE)
    cache = Cache()
    first = reload(tmp_path, None, cache)
    write(tmp_path, red="networks: [", blue=BLUE)
    assert load(tmp_path, first, cache).topology is None
    write(tmp_path, red=RED, blue=BLUE)
    again = reload(tmp_path, first, cache)
    assert again == first
    assert again.ports["blue/a"] is first.ports["blue/a"]


def test_the_same_problems_are_reported_again(tmp_path: Path) -> None:
    write(tmp_path, red="networks: {net: {cidr: x}}\n")
    cache = Cache()
    assert load(tmp_path, None, cache).problems == load(tmp_path, None, cache).problems


def test_warnings_of_unchanged_files_are_reported_again(tmp_path: Path) -> None:
    write(tmp_path, red="security_groups: {web: {}}\n")
    cache = Cache()
    first = reload(tmp_path, None, cache)
    assert [problem.code for problem in load(tmp_path, first, cache).problems] == ["W001"]


def test_a_network_that_is_no_longer_shared_is_noticed_where_it_is_used(tmp_path: Path) -> None:
    red, blue = "networks: {{net: {{cidr: 10.0.1.0/24{}}}}}\n", "ports: {a: {network: red/net}}\n"
    write(tmp_path, red=red.format(", share: blue"), blue=blue)
    cache = Cache()
    first = reload(tmp_path, None, cache)
    write(tmp_path, red=red.format(""), blue=blue)
    assert [problem.code for problem in load(tmp_path, first, cache).problems] == ["N042"]


def test_a_test_that_names_a_vanished_port_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, red=RED + "tests: [{from: a, to: blue/b, expect: deny}]\n", blue=BLUE)
    cache = Cache()
    first = reload(tmp_path, None, cache)
    write(tmp_path, blue=BLUE.replace("b: {network: net}", ""))
    assert [problem.code for problem in load(tmp_path, first, cache).problems] == ["N014"]


def test_another_previous_topology_than_the_last_is_honoured(tmp_path: Path) -> None:
    write(tmp_path, red=RED)
    cache = Cache()
    first = reload(tmp_path, None, cache)
    write(tmp_path, red=RED.replace("{network: net}", "{network: net, ip: 10.0.1.77}"))
    reload(tmp_path, first, cache)
    write(tmp_path, red=RED)
    assert reload(tmp_path, first, cache).ports["red/a"].ips == first.ports["red/a"].ips
