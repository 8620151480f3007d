"""The compose file as it stands: it fits its topology, its parts exist, and its containers may do no more than they need."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from controller import config
from controller.lab.plan import LabPlan, plan_lab
from tests.deploy.engine import ROOT

QUICKSTART = ROOT / "topologies" / "quickstart"
PERMITTED = {"NET_ADMIN", "NET_RAW"}


@cache
def compose() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


@cache
def plan() -> LabPlan:
    topology = config.load(QUICKSTART).topology
    assert topology
    return plan_lab(topology)


def services(*command: str) -> dict[str, Mapping[str, Any]]:
    """Return what is run by each service that runs this command, by the command's last word."""
    found = [each for each in compose()["services"].values() if tuple(each.get("command", ())[:-1]) == command]
    return {each["command"][-1]: each for each in found}


def test_each_host_of_the_quickstart_has_a_container_with_its_tunnel_address() -> None:
    addresses = {name: each["networks"]["underlay"]["ipv4_address"] for name, each in services("host").items()}
    assert addresses == {name: host.tunnel_address.partition("/")[0] for name, host in plan().hosts.items()}


def test_each_port_of_the_quickstart_has_a_container_beside_its_host() -> None:
    hosts = {name: each["depends_on"] for name, each in services("plug", "port").items()}
    assert hosts == {name: [port.host] for name, port in plan().ports.items()}


def test_a_port_has_no_network_but_ours() -> None:
    assert all(each["network_mode"] == "none" for each in services("plug", "port").values())


def test_hosts_meet_the_controller_at_its_address() -> None:
    address = compose()["services"]["controller"]["networks"]["management"]["ipv4_address"]
    assert {each["environment"]["CONTROLLER"] for each in services("host").values()} == {f"tcp:{address}:6653"}


def test_no_gateway_of_docker_has_an_address_of_ours() -> None:
    for name, network in compose()["networks"].items():
        (pool,) = network["ipam"]["config"]
        subnet = ip_network(pool["subnet"])
        gateway = ip_address(pool.get("gateway", subnet[1]))
        members = [each.get("networks", {}) for each in compose()["services"].values()]
        fixed = [ip_address(each[name]["ipv4_address"]) for each in members if "ipv4_address" in each.get(name, {})]
        assert fixed
        assert all(address in subnet and address != gateway for address in fixed), name


@pytest.mark.parametrize("name", compose()["services"])
def test_a_container_tells_its_health_and_may_do_no_more_than_it_needs(name: str) -> None:
    service = compose()["services"][name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", ())) <= PERMITTED
    assert not service.get("privileged")
    assert service["init"], "somebody must take leave of what has ended"


@pytest.mark.parametrize("name", compose()["services"])
def test_what_a_container_is_made_of_exists(name: str) -> None:
    service = compose()["services"][name]
    sources = [volume.partition(":")[0] for volume in service["volumes"]]
    for source in sources:
        assert source in compose()["volumes"] or (ROOT / source).is_dir()
    built = {each["image"]: each["build"] for each in compose()["services"].values() if "build" in each}
    build = built[service["image"]]
    assert re.search(rf"^FROM \S+ AS {build['target']}$", (ROOT / build["dockerfile"]).read_text(), re.MULTILINE)


def test_what_the_images_copy_exists_and_reaches_the_build() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if re.match(r"COPY (?!--from)", line) for word in line.split()[1:-1]]
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert copied
    for path in copied:
        assert (ROOT / path).exists()
        assert path.partition("/")[0] in let_in, f".dockerignore keeps {path} out"
