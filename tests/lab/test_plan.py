"""What a lab consists of follows from the files alone."""

from __future__ import annotations

import dataclasses
import json

import pytest

from controller.lab.plan import LabError, LabPlan, placed, plan_lab
from controller.model.entities import NetworkType, Topology
from tests.lab.small import host, network, port, small


def hosts_of(topology: Topology) -> dict[str, str | None]:
    return {name: each.host for name, each in placed(topology).ports.items()}


def with_ports(*ports: tuple[str, str, str | None], kind: NetworkType = NetworkType.VXLAN) -> Topology:
    networks = {"red/web": network("red/web", kind, 1000 if kind.is_tunnel else None)}
    made = [port(name, "red/web", ip, on) for name, ip, on in ports]
    return dataclasses.replace(small(), networks=networks, ports={each.name: each for each in made})


def test_ports_without_a_host_take_turns_and_never_go_to_a_foreign_vtep() -> None:
    topology = with_ports(*((f"red/p{n}", f"10.0.1.{n + 10}", None) for n in range(4)))
    assert list(hosts_of(topology).values()) == ["hv1", "hv2", "hv1", "hv2"]


def test_a_port_that_has_a_place_keeps_it_when_others_come() -> None:
    topology = with_ports(("red/new", "10.0.1.20", None), ("red/old", "10.0.1.21", None))
    assert hosts_of(topology)["red/old"] == "hv2"
    assert placed(topology, {"red/old": "hv1"}).ports["red/old"].host == "hv1"


def test_a_port_that_is_pinned_stays() -> None:
    assert hosts_of(with_ports(("red/a", "10.0.1.11", "hv2"), ("red/b", "10.0.1.12", None)))["red/a"] == "hv2"


def test_ports_of_a_local_network_are_together() -> None:
    one, other = ("red/a", "10.0.1.11", None), ("red/b", "10.0.1.12", None)
    assert len(set(hosts_of(with_ports(one, other, kind=NetworkType.LOCAL)).values())) == 1
    pinned = ("red/c", "10.0.1.13", "hv2")
    assert set(hosts_of(with_ports(one, other, pinned, kind=NetworkType.LOCAL)).values()) == {"hv2"}


def test_ports_of_a_physical_network_go_where_its_wire_is() -> None:
    topology = small()
    wired = dataclasses.replace(topology.physical_networks["physnet1"], hosts=("hv2",))
    free = dataclasses.replace(topology.ports["red/lan2"], host=None)
    topology = dataclasses.replace(
        topology, physical_networks={"physnet1": wired}, ports={"red/lan2": free, "red/lan3": free}
    )
    assert set(hosts_of(topology).values()) == {"hv2"}


def test_a_plan_survives_json() -> None:
    plan = plan_lab(small())
    assert LabPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_foreign_vtep_floods_to_the_hosts_of_its_networks_only() -> None:
    rack = plan_lab(small()).hosts["rack9"]
    assert [line.rpartition(" ")[2] for line in rack.fdb_lines] == ["172.31.0.1", "172.31.0.2"]
    assert sum("type vxlan id 1000 " in line for line in rack.ip_lines) == 1


def test_a_foreign_vtep_speaks_vxlan_only() -> None:
    topology = with_ports(("red/a", "10.0.1.11", "rack9"), kind=NetworkType.GENEVE)
    with pytest.raises(LabError, match="vxlan only"):
        plan_lab(topology)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (("172.31.0.1", "172.31.0.9"), "24"),
        (("172.31.0.1", "172.31.7.9"), "21"),
        (("172.31.0.255", "172.31.0.1"), "23"),
        (("10.0.0.1", "192.168.0.1"), "0"),
        (("fd00::1", "fd00::2"), "64"),
    ],
)
def test_the_underlay_is_one_prefix_that_reserves_no_tunnel_address(addresses: tuple[str, str], expected: str) -> None:
    one, other = (host(name, at) for name, at in zip(("hv1", "hv2"), addresses, strict=True))
    topology = dataclasses.replace(small(), hosts={"hv1": one, "hv2": other}, ports={}, physical_networks={})
    assert {each.tunnel_address.partition("/")[2] for each in plan_lab(topology).hosts.values()} == {expected}
