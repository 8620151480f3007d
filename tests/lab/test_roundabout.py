"""What a lab has outside, and what is asked about it: planned from the files, built, and followed when they change."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from controller import config
from controller.lab.beyond import INTERNET, NOTHING, OutsidePlan, plan_outside
from controller.lab.plan import LabPlan, plan_lab
from controller.lab.reach import Question, observe, questions
from controller.lab.roundabout import outside_questions
from controller.model.entities import NetworkType, Topology
from tests.lab.conftest import Bring

THREE_TIER = Path(__file__).resolve().parents[2] / "topologies/three-tier"


def load(folder: Path = THREE_TIER) -> Topology:
    loaded = config.load(folder)
    assert loaded.topology is not None, loaded.problems
    return loaded.topology


def ask(topology: Topology) -> dict[tuple[str, str, str, int], Question]:
    """Return all questions by who asks, what address, what kind and number."""
    location = {port.name: port.host or "" for port in topology.ports.values()}
    asked = outside_questions(topology, location, plan_outside(topology))
    return {(each.source, each.probe.address, each.probe.kind, each.probe.number): each for each in asked}


def test_beyond_an_external_network_are_its_router_and_a_host_that_it_leads_to() -> None:
    plan = plan_outside(load())
    assert plan.names == (INTERNET, "@public-router")
    router = plan.routers["@public-router"]
    assert (router.vlan, router.addresses) == (100, ("203.0.113.1/24", "2001:db8:100::1/64"))
    assert plan.addresses == ("198.51.100.9/24", "2001:db8:ffff::9/64")
    assert ("203.0.113.0/24", router.beyond[0].partition("/")[0]) in plan.routes
    # It knows private prefixes by the router that has them first, so that it is Weft that keeps the world out.
    assert ("10.0.3.0/24", "203.0.113.10") in router.routes


def test_the_internet_is_where_the_files_have_nothing() -> None:
    topology = load()
    public = topology.external_networks["public"]
    taken = replace(public, name="other", cidrs=(ip_network("198.51.100.0/24"),), gateways=())
    both = replace(topology, external_networks={"public": public, "other": taken})
    assert plan_outside(both).addresses[0] == "192.0.2.9/24"
    assert plan_outside(replace(topology, external_networks={"other": taken})) == NOTHING, "it leads nowhere"


def test_external_networks_reach_each_other() -> None:
    topology = load()
    public = topology.external_networks["public"]
    prefix = ip_network("192.0.2.0/24")
    further = replace(public, name="other", vlan=101, cidrs=(prefix,), gateways=(prefix[1],))
    plan = plan_outside(replace(topology, external_networks={"public": public, "other": further}))
    hops = {name: router.beyond[0].partition("/")[0] for name, router in plan.routers.items()}
    assert ("192.0.2.0/24", hops["@other-router"]) in plan.routers["@public-router"].routes
    assert ("203.0.113.0/24", hops["@public-router"]) in plan.routers["@other-router"].routes
    assert ("10.0.3.0/24", hops["@public-router"]) in plan.routers["@other-router"].routes
    assert all(via != hops[name] for name, router in plan.routers.items() for _, via in router.routes)


def opened(topology: Topology) -> Topology:
    """Return the topology with ports of red that let everything in, behind a router that does not mask."""
    router = replace(topology.routers["red/main"], snat=False)
    ports = {
        name: replace(each, groups=("red/web",)) if each.tenant == "red" else each
        for name, each in topology.ports.items()
    }
    return replace(topology, routers={**topology.routers, "red/main": router}, ports=ports)


@pytest.mark.parametrize("is_masked", [False, True])
def test_by_way_of_the_outside_another_tenant_is_reached_where_nothing_is_masked(is_masked: bool) -> None:
    topology = load() if is_masked else opened(load())
    location = {port.name: port.host or "" for port in topology.ports.values()}
    asked = questions(topology, location, plan_outside(topology))
    found = {each.expected for each in asked if (each.source, each.target) == ("blue/app1", "red/db1")}
    assert (True in found) is not is_masked


@pytest.mark.parametrize("snat", [False, True])
def test_the_internet_is_on_no_wire_of_a_tenant(snat: bool) -> None:
    topology = opened(load())
    network = replace(topology.networks["red/db"], type=NetworkType.VLAN, physical_network="physnet1", segment=7)
    router = replace(topology.routers["red/main"], snat=snat)
    port = replace(topology.ports["red/db1"], host="hv1")
    topology = replace(
        topology,
        networks={**topology.networks, network.name: network},
        routers={**topology.routers, router.name: router},
        ports={**topology.ports, port.name: port},
    )
    assert ask(topology)[INTERNET, "10.0.3.11", "tcp", 80].expected is not snat


def test_a_plan_survives_json() -> None:
    plan = plan_lab(load())
    assert plan.outside.names
    assert LabPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert OutsidePlan.from_json(None) == NOTHING, "records of before have none"


@pytest.mark.parametrize(
    ("source", "address", "number", "expected", "seen"),
    [
        ("red/app1", "198.51.100.9", 443, True, "203.0.113.10"),
        ("red/web1", "198.51.100.9", 443, True, "203.0.113.21"),
        ("red/web2", "2001:db8:ffff::9", 443, True, "2001:db8:100::10"),
        ("red/db1", "198.51.100.9", 1999, False, None),
        (INTERNET, "203.0.113.22", 80, True, "198.51.100.9"),
        (INTERNET, "203.0.113.22", 1999, False, None),
        (INTERNET, "10.0.2.11", 8080, False, None),
        ("blue/app1", "203.0.113.21", 443, True, "203.0.113.11"),
        ("red/web1", "203.0.113.21", 443, True, "203.0.113.21"),
    ],
)
def test_each_question_says_whether_it_arrives_and_in_whose_name(
    source: str, address: str, number: int, expected: bool, seen: str | None
) -> None:
    question = ask(load())[source, address, "tcp", number]
    assert question.expected is expected
    assert seen in (None, question.seen)


@pytest.mark.lab
def test_what_leaves_in_the_wrong_name_is_not_as_expected(lab: Bring) -> None:
    net = lab(THREE_TIER)
    asked = ask(load())["red/app1", "198.51.100.9", "icmp", 0]
    namespaces = {name: net.lab.port_namespace(name) for name in ("red/app1", INTERNET)}
    right, wrong = observe([asked, replace(asked, seen="203.0.113.77")], namespaces)
    assert right.is_right
    assert not wrong.is_right
    assert wrong.note == "arrived as 203.0.113.10, which should be 203.0.113.77"


@pytest.mark.lab
def test_a_lab_follows_its_files_outside(lab: Bring) -> None:
    net = lab(THREE_TIER)
    fabric = net.lab.folder / "fabric.yaml"
    fabric.write_text(fabric.read_text().replace("gateway: [203.0.113.1,", "gateway: [203.0.113.2,"))
    net.lab.follow(load(net.lab.folder))
    inside = [
        "ip",
        "netns",
        "exec",
        net.lab.port_namespace("@public-router"),
        "ip",
        "-br",
        "addr",
        "show",
        "dev",
        "eth0",
    ]
    assert "203.0.113.2/24" in subprocess.run(inside, capture_output=True, text=True, check=True).stdout
    net.lab.wait_in_sync()
    assert net.ping("red/app1", "203.0.113.2")
    net.lab.down()
    assert not list(Path("/run/netns").glob(f"{net.lab.host_namespace('hv1').partition('.')[0]}.*"))
