"""What routers cost is measured on real switches, with real packets, and what does not concern a host is not sent there."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.beyond import cast, routed
from benchmarks.figure import Figure, Unit, by_key
from benchmarks.forwarding import SAME_HOST, passes_name, stream_name
from benchmarks.goals import GOALS, Outcome
from benchmarks.large_router import (
    ADDED,
    FROM_NOTHING,
    JOINED,
    LARGE_ROUTER,
    ROUTE,
    measure_compile,
    measure_edits,
    with_router,
)
from benchmarks.measure import by_turns
from benchmarks.routed import AT_GATEWAY, BOTH, FAILED, ROUTED, measure_packets
from benchmarks.topology import write_topology
from benchmarks.workload import Size
from controller import config

SMALL = Size(hosts=3, tenants=1, networks_per_tenant=3, ports_per_network=6, rules_per_group=6)


def test_a_router_of_a_workload_becomes_a_router_of_the_files(tmp_path: Path) -> None:
    document = with_router(SMALL)
    document["routers"][0]["routes"] = [("192.168.0.0/16", document["ports"][0]["ip"])]
    write_topology(document, tmp_path)
    topology = config.load(tmp_path).topology
    assert topology is not None
    (router,) = topology.routers.values()
    assert (router.networks, router.external) == (("t0000/net0", "t0000/net1"), None)
    assert [str(route.to) for route in router.routes] == ["192.168.0.0/16"]


def test_who_talks_is_where_it_has_to_be(tmp_path: Path) -> None:
    document = routed()
    write_topology(document, tmp_path)
    topology = config.load(tmp_path).topology
    assert topology is not None
    assert topology.routers["t0000/main"].external == "public"
    assert [host.name for host in topology.hosts.values() if host.gateway] == ["host3", "host4"]
    players = cast(document)
    assert players.neighbour["network"] == players.far_neighbour["network"] == players.server["network"]
    assert players.routed["network"] == players.far_routed["network"] != players.server["network"]
    assert players.neighbour["host"] == players.routed["host"] == players.server["host"]
    assert players.far_neighbour["host"] == players.far_routed["host"] != players.server["host"]


def test_turns_end_when_there_is_no_time() -> None:
    assert list(by_turns(1, 2, pairs=9, seconds=-1)) == [1, 2]


def test_a_slow_router_misses_its_goal() -> None:
    slow = Figure(ROUTED, stream_name(SAME_HOST), 850, Unit.MEGABITS, 1000)
    (goal,) = (goal for goal in GOALS if (goal.workload, goal.name) == slow.key)
    assert (goal.judge(by_key([slow])), goal.text()) == (Outcome.MISSED, "≥ 0.9 of a bridged one")


def test_a_router_costs_a_host_flows(tmp_path: Path) -> None:
    figures = by_key(measure_compile(with_router(SMALL), tmp_path, runs=1))
    assert figures[LARGE_ROUTER, FROM_NOTHING].value > 0
    alone = figures[LARGE_ROUTER, "flows a host without the router, at most"].value
    assert figures[LARGE_ROUTER, "flows a host, at most"].value > alone > 0


@pytest.mark.lab
def test_packets_are_counted_across_the_router_and_out_of_it(tmp_path: Path) -> None:
    figures = by_key(measure_packets(tmp_path, streams=1, failures=1))
    same, both = figures[ROUTED, passes_name(SAME_HOST)], figures[ROUTED, passes_name(BOTH)]
    assert same.value == same.limit == pytest.approx(2, abs=0.05)
    assert both.value == pytest.approx(5, abs=0.1)
    assert figures[ROUTED, passes_name(AT_GATEWAY)].value > 1
    assert 0 < figures[ROUTED, FAILED].value < 10
    assert not list((tmp_path / "lab").glob("*"))


@pytest.mark.lab
def test_edits_of_a_router_are_its_hosts_business_alone(tmp_path: Path) -> None:
    figures = by_key(measure_edits(SMALL, tmp_path, edits=1))
    for name in (ROUTE, JOINED, ADDED):
        assert figures[LARGE_ROUTER, name].value > 0
        assert figures[LARGE_ROUTER, f"{name}: undone"].value > 0
