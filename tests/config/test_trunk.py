"""What a trunk says: its subports are ports of other networks, and in all that they do not say themselves as their port."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.config import load
from controller.model.entities import Topology
from tests.config.folders import loaded, write

NETWORKS = "networks: {net: {cidr: 10.0.1.0/24}, web: {cidr: 10.0.2.0/24}, db: {cidr: 10.0.3.0/24}}\n"


def topology(folder: Path, ports: str, **files: str) -> Topology:
    found = loaded(folder, red=NETWORKS + ports, **files)
    assert found.topology is not None, found.problems
    return found.topology


def test_a_subport_is_as_its_port_where_it_says_nothing(tmp_path: Path) -> None:
    vm = "{network: net, host: hv1, security_groups: [app], new_connections: 9/s, ethertypes: lldp, trunk: {5: web}}"
    found = topology(tmp_path, f"security_groups: {{app: {{}}}}\nports: {{vm: {vm}}}\n")
    parent, subport = found.ports.values()
    assert (subport.name, subport.parent, subport.vlan, subport.network) == ("red/vm:5", "red/vm", 5, "red/web")
    assert (parent.parent, parent.vlan) == (None, None)
    for inherited in ("tenant", "mac", "host", "groups", "port_security", "new_connections", "ethertypes"):
        assert getattr(subport, inherited) == getattr(parent, inherited), inherited
    assert subport.ips[0] in found.networks["red/web"].cidrs[0]


def test_a_subport_may_have_addresses_and_groups_of_its_own(tmp_path: Path) -> None:
    own = (
        "{network: web, ip: 10.0.2.9, mac: '02:00:00:00:00:05', security_groups: [], allowed_addresses: {ip: 10.0.2.8}}"
    )
    found = topology(
        tmp_path, f"ports: {{vm: {{network: net, allowed_addresses: {{ip: 10.0.1.7}}, trunk: {{5: {own}}}}}}}\n"
    )
    subport = found.ports["red/vm:5"]
    assert (subport.mac, subport.ips, subport.groups) == (0x020000000005, (ip_address("10.0.2.9"),), ())
    assert [str(each.ip) for each in subport.allowed] == ["10.0.2.8/32"]


def test_addresses_of_a_port_are_not_those_of_its_subports(tmp_path: Path) -> None:
    ports = "ports: {vm: {network: net, allowed_addresses: {ip: 10.0.1.7}, trunk: {5: web}}}\n"
    assert topology(tmp_path, ports).ports["red/vm:5"].allowed == ()


def test_ports_and_subports_never_get_the_same_address(tmp_path: Path) -> None:
    found = topology(
        tmp_path, "ports: {vm: {network: net, trunk: {5: web, 6: db}}, a: {network: web}, b: {network: db}}\n"
    )
    assert len({(port.network, address) for port in found.ports.values() for address in port.ips}) == 5


def test_a_subport_may_be_in_another_tenants_network(tmp_path: Path) -> None:
    blue = "networks: {lab: {cidr: 10.9.0.0/24, share: red}}\nports: {a: {network: lab}}\n"
    found = topology(tmp_path, "ports: {vm: {network: net, trunk: {5: blue/lab}}}\n", blue=blue)
    assert (found.ports["red/vm:5"].network, found.ports["red/vm:5"].tenant) == ("blue/lab", "red")


def test_tests_may_name_subports(tmp_path: Path) -> None:
    tests = "tests: [{from: 'vm:5', to: 'red/vm:6', expect: deny}]\n"
    found = topology(tmp_path, f"ports: {{vm: {{network: net, trunk: {{5: web, 6: db}}}}}}\n{tests}")
    assert [(test.source, test.target) for test in found.tests] == [("red/vm:5", "red/vm:6")]


@pytest.mark.parametrize(
    ("end", "suggested"),
    [
        ("vm:7", "vm:6"),
        ("wm:6", "vm:6"),
        ("red/vm:7", "red/vm:6"),
        ("nic:6", None),
        ("nik", "nic"),
        ("red/nik", "red/nic"),
        ("blue/others", "blue/other"),
        ("blue/other:6", None),
    ],
)
def test_what_is_suggested_in_the_place_of_an_unknown_end_of_a_test_is_good_there(
    tmp_path: Path, end: str, suggested: str | None
) -> None:
    ports = "ports: {vm: {network: net, trunk: {6: web}}, nic: {network: net}}\n"
    blue = "networks: {lab: {cidr: 10.9.0.0/24}}\nports: {other: {network: lab}}\n"
    write(tmp_path, red=f"{NETWORKS}{ports}tests: [{{from: vm, to: '{end}', expect: deny}}]\n", blue=blue)
    (problem,) = load(tmp_path).problems
    assert re.findall('did you mean "(.*)"', problem.hint or "") == ([suggested] if suggested else [])
    if suggested:
        write(tmp_path, red=f"{NETWORKS}{ports}tests: [{{from: vm, to: '{suggested}', expect: deny}}]\n", blue=blue)
        assert not load(tmp_path).problems


def test_who_names_a_subport_of_a_refused_trunk_is_not_blamed(tmp_path: Path) -> None:
    tests = "tests: [{from: 'vm:5', to: vm, expect: deny}]\n"
    write(tmp_path, red=f"{NETWORKS}ports: {{vm: {{network: net, trunk: {{5: [web]}}}}}}\n{tests}")
    assert [problem.code for problem in load(tmp_path).problems] == ["N018"]


def test_all_that_is_wrong_with_a_trunk_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, red=f"{NETWORKS}ports: {{vm: {{network: nett, trunk: {{5: wb, 6: dbb}}}}}}\n")
    assert [problem.code for problem in load(tmp_path).problems] == ["N014"] * 3
