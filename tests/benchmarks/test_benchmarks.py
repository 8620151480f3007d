"""The benchmarks measure what they say: the same workload everywhere, enforced by real switches, within its budgets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from benchmarks.measure import Timing, timed
from benchmarks.offline import measure_offline
from benchmarks.online import measure_online
from benchmarks.topology import write_topology
from benchmarks.workload import SIZES, Size, generate
from controller import config

SMALL = Size(hosts=2, tenants=2, networks_per_tenant=1, ports_per_network=4, rules_per_group=6)

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


def test_the_best_run_is_the_shortest() -> None:
    timing, made = timed(3, lambda: 20, lambda given: given + 22)
    assert made == 42
    assert timing == Timing(min(timing.runs_s), sorted(timing.runs_s)[1], timing.runs_s)


@pytest.mark.lab
def test_real_switches_get_there_and_a_restart_writes_nothing(tmp_path: Path) -> None:
    online = measure_online(generate(SMALL), tmp_path, runs=1)
    assert online.restart.flow_mods == 0
    assert online.restart.pings_sent > online.restart.pings_lost == 0
    assert online.raw.all_hosts_flows > online.raw.one_host_flows > 0
    assert not list((tmp_path / "lab").glob("*"))
