"""The benchmarks measure what they say: the same workload everywhere, enforced by real switches, within its budgets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from benchmarks.cold import COLD
from benchmarks.crowd import measure_crowd
from benchmarks.dhcp import ANSWERS, DHCP, ONE, measure_dhcp
from benchmarks.figure import by_key
from benchmarks.measure import Timing, percentile, timed
from benchmarks.offline import measure_offline
from benchmarks.online import measure_online
from benchmarks.push import measure_push
from benchmarks.topology import write_topology
from benchmarks.variants import places, texts
from benchmarks.workload import DENSE, SIZES, Size, generate
from controller import config
from controller.pipeline.compile import compile_fabric

SMALL = Size(hosts=2, tenants=2, networks_per_tenant=1, ports_per_network=4, rules_per_group=6)
WIDE = Size(hosts=6, tenants=2, networks_per_tenant=1, ports_per_network=6, rules_per_group=6)
ALONE = Size(hosts=1, tenants=2, networks_per_tenant=1, ports_per_network=4, rules_per_group=6)
FEW = Size(hosts=4, tenants=1, networks_per_tenant=1, ports_per_network=4, rules_per_group=6)

# What the peers were measured with, as the digests of their JSON.
DIGESTS = {
    "200": "1721efa3d2ef6b37",
    "1000": "b26f31cd7af881ce",
    "big-tenant": "07bab4750355357b",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_a_workload_is_the_same_everywhere(name: str) -> None:
    text = json.dumps(generate(SIZES[name]), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == DIGESTS[name]


def test_a_workload_becomes_files_that_say_the_same(tmp_path: Path) -> None:
    document = generate(SMALL)
    write_topology(document, tmp_path)
    topology = config.load(tmp_path).topology
    assert topology is not None
    assert len(topology.ports) == SMALL.ports
    assert {str(port.ips[0]) for port in topology.ports.values()} == {port["ip"] for port in document["ports"]}
    assert {network.segment for network in topology.networks.values()} == {each["vni"] for each in document["networks"]}
    for group in document["groups"]:
        assert len(topology.groups[group["name"].replace("-", "/")].ingress) == len(group["rules"])


@pytest.mark.parametrize(("name", "flows"), [("200", 2_500), ("1000", 15_000), ("big-tenant", 6_000)])
def test_a_host_needs_few_flows(tmp_path: Path, name: str, flows: int) -> None:
    write_topology(generate(SIZES[name]), tmp_path)
    assert measure_offline(tmp_path, runs=1).flows_per_host <= flows


def test_one_host_of_the_dense_workload_has_more_than_100_000_flows(tmp_path: Path) -> None:
    write_topology(generate(DENSE), tmp_path)
    topology = config.load(tmp_path).topology
    assert topology is not None
    assert max(len(program.flows) for program in compile_fabric(topology)) >= 100_000


def test_the_best_run_is_the_shortest() -> None:
    timing, made = timed(3, lambda: 20, lambda given: given + 22)
    assert made == 42
    assert timing == Timing(min(timing.runs_s), sorted(timing.runs_s)[1], max(timing.runs_s), timing.runs_s)


def test_one_of_a_hundred_exceeds_the_99th_percentile() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile([7.0], 99) == 7.0


def test_edits_are_of_tenants_that_stand_on_two_real_hosts() -> None:
    document = generate(SIZES["10000"])
    found = places(document, ["host1", "host2", "host3", "host4"])
    assert [place.tenant for place in found][:3] == ["t0000", "t0005", "t0010"]
    assert {(place.home, place.away) for place in found} == {("host1", "host2")}


def test_an_edit_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    document = generate(SMALL)
    (place, *_) = places(document, ["host1", "host2"])
    state = texts(document, place)
    write_topology(document, tmp_path)
    path = tmp_path / "tenants" / f"{place.tenant}.yaml"
    assert path.read_text(encoding="utf-8") == state.base
    for text, host in ((state.spare_at_home, place.home), (state.spare_away, place.away)):
        path.write_text(text, encoding="utf-8")
        topology = config.load(tmp_path).topology
        assert topology is not None
        assert (len(topology.ports), topology.ports[place.spare].host) == (SMALL.ports + 1, host)


@pytest.mark.lab
def test_real_switches_get_there_and_a_restart_writes_nothing(tmp_path: Path) -> None:
    figures = by_key(measure_online("small", generate(SMALL), tmp_path, runs=1, edits=2))
    assert figures["small", "restart: flow-mods"].value == figures["small", "restart: pings lost"].value == 0
    assert figures["small", "restart: pings sent, 100 a second"].value > 0
    assert figures["small", COLD].limit is not None
    assert len(figures["small", "rule changed"].runs) == 4
    assert not list((tmp_path / "lab").glob("*"))


@pytest.mark.lab
def test_hosts_beyond_the_first_few_are_simulated(tmp_path: Path) -> None:
    figures = by_key(measure_online("wide", generate(WIDE), tmp_path, runs=1, edits=2))
    assert figures["wide", "port moved"].value > 0
    assert ("wide", COLD) not in figures


@pytest.mark.lab
def test_a_push_and_a_reconnect_that_writes_nothing(tmp_path: Path) -> None:
    figures = by_key(measure_push(SMALL, tmp_path, runs=1))
    assert figures["push", "compiled flows into one switch"].limit is not None
    assert figures["push", "reconnect: flow-mods"].value == 0


def test_a_crowd_is_told_of_a_change_that_concerns_all(tmp_path: Path) -> None:
    figures = by_key(measure_crowd(FEW, tmp_path, edits=2, idle_s=0.1))
    assert figures["crowd", "switches"].value == 2 * FEW.hosts
    assert figures["crowd", "one change to all switches"].value > 0


def test_every_client_is_answered_with_its_own_address(tmp_path: Path) -> None:
    figures = by_key(measure_dhcp(ALONE, tmp_path, seconds=0.2))
    assert figures[DHCP, ANSWERS].value > 0
    assert figures[DHCP, ONE].limit is not None
