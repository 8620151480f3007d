"""Several gateways: the first that is alive leads a router out, and nobody has to be told when it dies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.graph.fabric import Fabric
from controller.graph.queries import gateways
from controller.model.address import outer_mac
from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from tests.builders import (
    allow,
    external_network,
    fabric,
    floating_ip,
    group,
    host,
    network,
    physical_network,
    port,
    router,
)
from tests.ovs.fabric import FabricTwin
from tests.scenarios.frames import arp, tagged
from tests.scenarios.test_outside import FLOAT3, HEARD, ROUTER, UPSTREAM, VLAN, into, loaded, on_wire, out

pytestmark = pytest.mark.ovs


def topology() -> Topology:
    """Two gateways with a port each, and a host without a wire."""
    return fabric(
        *(replace(host(f"hv{number}"), gateway=True) for number in (1, 2)),
        host("hv3"),
        physical_network("physnet1", "hv1", "hv2"),
        external_network("public", "203.0.113.0/24", physical="physnet1", vlan=VLAN),
        network("red/web", "10.0.1.0/24"),
        network("red/db", "10.0.2.0/24"),
        router("red/main", "red/web", "red/db", external="public", address=ROUTER),
        group("red/all", ingress=[allow()]),
        *(port(f"red/web{n}", "red/web", f"10.0.1.1{n}", host=f"hv{n}", groups=["red/all"]) for n in (1, 2, 3)),
        port("red/own3", "red/db", "10.0.2.13", host="hv3", groups=["red/all"]),
        floating_ip(FLOAT3, "red/own3", "10.0.2.13", router="red/main", external="public"),
    )


ORDER = gateways(Fabric(topology()).memo, "red/main")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricTwin]:
    with FabricTwin(tmp_path_factory.mktemp("gateways"), topology()) as twin:
        loaded(twin)
        yield twin


@pytest.fixture(params=["all alive", "the first is dead"])
def net(running: FabricTwin, request: pytest.FixtureRequest) -> Iterator[tuple[FabricTwin, str, str]]:
    """The fabric, the gateway that leads out, and the other one."""
    running.forget()
    first, second = ORDER
    if request.param == "all alive":
        yield running, first, second
        return
    running.kill(first)
    yield running, second, first
    running.kill(first, is_dead=False)


@pytest.mark.parametrize("source", ["red/web3", "red/own3"])
def test_what_leaves_goes_by_the_first_gateway_that_is_alive(net: tuple[FabricTwin, str, str], source: str) -> None:
    twin, active, _ = net
    assert not out(twin, source)
    address = ROUTER if source == "red/web3" else FLOAT3
    owner = "red/main" if source == "red/web3" else f"red/{FLOAT3}"
    assert on_wire(twin)[1:3] == (outer_mac(owner), address)
    assert {packet.dst for packet in twin.underlay} == {twin.topology.hosts[active].tunnel_ip}
    assert list(into(twin, owner, address, at=active)) == [source]


def test_the_others_keep_still(net: tuple[FabricTwin, str, str]) -> None:
    twin, active, other = net
    if other == ORDER[0]:
        return  # It is dead.
    for owner, address in (("red/main", ROUTER), (f"red/{FLOAT3}", FLOAT3)):
        assert not into(twin, owner, address, at=other)
        asked = tagged(arp(1, (UPSTREAM, "203.0.113.1"), (0, address)), VLAN)
        twin.receive_wire(other, "physnet1", asked)
        assert not twin.wires
        twin.receive_wire(active, "physnet1", asked)
        assert len(twin.wires) == 1


def test_a_port_on_a_gateway_that_waits_leaves_by_the_active_one(net: tuple[FabricTwin, str, str]) -> None:
    twin, active, _ = net
    second = ORDER[1]
    source = f"red/web{second[-1]}"
    assert not out(twin, source)
    assert on_wire(twin)[2] == ROUTER
    assert bool(twin.underlay) is (active != second)


def test_inside_and_outside_a_floating_ip_is_reached_by_whoever_leads_out(net: tuple[FabricTwin, str, str]) -> None:
    twin, active, _ = net
    second = ORDER[1]
    assert list(out(twin, f"red/web{second[-1]}", FLOAT3)) == ["red/own3"]
    assert list(into(twin, f"red/{FLOAT3}", FLOAT3, at=active)) == ["red/own3"]


def test_routers_are_spread_over_the_gateways() -> None:
    many = [router(f"red/r{number}", external="public") for number in range(40)]
    graph = Fabric(replace(topology(), routers={each.name: each for each in many}))
    first = [gateways(graph.memo, each.name)[0] for each in many]
    assert 10 < first.count("hv1") < 30


def test_a_gateway_more_moves_its_own_routers_alone() -> None:
    names = [f"red/r{number}" for number in range(40)]
    before = replace(topology(), routers={name: router(name, external="public") for name in names})
    more = {**before.hosts, "hv4": replace(host("hv4"), gateway=True)}
    wired = {"physnet1": physical_network("physnet1", "hv1", "hv2", "hv4")}
    old, new = (Fabric(each).memo for each in (before, replace(before, hosts=more, physical_networks=wired)))
    for name in names:
        now = gateways(new, name)
        assert now[0] == "hv4" or now[0] == gateways(old, name)[0]


def test_without_signs_of_life_the_first_gateway_leads_out(tmp_path: Path) -> None:
    with FabricTwin(tmp_path, topology()) as twin:
        bindings = {
            name: replace(
                each,
                ports={
                    bridge: {port: number for port, number in ports.items() if not port.startswith("live-")}
                    for bridge, ports in each.ports.items()
                },
            )
            for name, each in twin.bindings.items()
        }
        twin.load(compile_fabric(twin.topology, bindings=bindings, heard=HEARD))
        assert not out(twin, "red/web3")
        assert {packet.dst for packet in twin.underlay} == {twin.topology.hosts[ORDER[0]].tunnel_ip}
