"""Routers between tunnels and a wire that the sender's host does not have, with real packets: others route in its place."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from controller import config
from controller.graph import queries
from controller.graph.fabric import Fabric
from controller.lab.namespaces import inside
from controller.model.address import wire_mac
from tests.answers.linux_sender import ask as told_by_socket
from tests.lab.net import Net
from tests.lab.roaming import RoamingStream
from tests.scenarios.labs import Wire, running
from tests.scenarios.outward import Told, told, trace

pytestmark = pytest.mark.lab

FABRIC = """\
fabric: beyond
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
  hv3: {tunnel_ip: 172.31.0.3}
physical_networks:
  physnet1: {hosts: [hv2, hv3], vlans: 100-199}
tenants:
  red: {segments: 5000-5099, vlans: {physnet1: 110}}
"""
RED = """\
networks:
  web: {cidr: [10.0.1.0/24, "fd00:1::/64"]}
  lan: {type: vlan, physical_network: physnet1, segment: 110, cidr: [10.0.3.0/24, "fd00:3::/64"]}
  near: {type: local, cidr: [10.0.4.0/24, "fd00:4::/64"]}
routers:
  main:
    networks: [web, lan, near]
    routes: [{to: 192.168.0.0/16, via: 10.0.3.13}]
security_groups:
  clients: {ingress: [{protocol: udp, ports: 4242}]}
  servers:
    ingress:
      - {protocol: tcp, ports: 80, from: {group: clients}}
      - {protocol: udp, ports: [53, 4242], from: {group: clients}}
      - {protocol: icmp, from: {group: clients}}
      - {protocol: icmpv6, from: {group: clients}}
      - {protocol: udp, ports: 33434-33534}
  callers:
    ingress:
      - {protocol: tcp, ports: 22, from: {group: servers}}
ports:
  web1: {network: web, host: hv1, ip: [10.0.1.11, "fd00:1::11"], security_groups: [clients, callers]}
  odd1: {network: web, host: hv1, ip: [10.0.1.19, "fd00:1::19"], security_groups: [callers]}
  near1: {network: near, host: hv1, ip: [10.0.4.11, "fd00:4::11"], security_groups: [clients]}
  vm: {network: lan, ip: [10.0.3.12, "fd00:3::12"], security_groups: [servers]}
  lan3: {network: lan, host: hv3, ip: [10.0.3.13, "fd00:3::13"], security_groups: [servers], allowed_addresses: [{ip: 192.168.0.0/16}]}
"""
FILES = {"fabric.yaml": FABRIC, "tenants/red.yaml": RED}
GATEWAY = {4: "10.0.1.1", 6: "fd00:1::1"}
NOBODY = {4: "10.0.3.99", 6: "fd00:3::99"}
LOST_AT_MOST = (
    3  # Packets beyond the time without an interface, as where no router is between (`tests.lab.test_roaming`).
)
VERSIONS = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with running(tmp_path_factory.mktemp("beyond"), FILES) as found:
        found.lab.wait_in_sync()
        yield found


@VERSIONS
def test_a_host_without_a_wire_reaches_ports_there_by_a_router(net: Net, version: int) -> None:
    for target in ("red/vm", "red/lan3"):
        assert net.ping("red/web1", target, version=version)
        assert net.tcp("red/web1", target, 80, version=version)
        assert net.udp("red/web1", target, 53, version=version)


@VERSIONS
def test_ports_on_the_wire_reach_it(net: Net, version: int) -> None:
    assert net.tcp("red/vm", "red/web1", 22, version=version)
    assert net.tcp("red/lan3", "red/web1", 22, version=version)


@VERSIONS
def test_rules_that_name_groups_hold_across(net: Net, version: int) -> None:
    assert not net.tcp("red/web1", "red/vm", 81, version=version)
    assert not net.tcp("red/odd1", "red/vm", 80, version=version), "no client"
    assert not net.udp("red/vm", "red/web1", 53, version=version)
    assert net.tcp("red/web1", "red/vm", 80, version=version)


@VERSIONS
def test_traceroute_shows_the_gateway_once(net: Net, version: int) -> None:
    target = net.address("red/vm", version)
    assert trace(net, "red/web1", target) == [GATEWAY[version], target]


@VERSIONS
def test_an_address_that_nobody_on_the_wire_has_is_told_to_be_unreachable(net: Net, version: int) -> None:
    began = time.monotonic()
    with inside(net.lab.port_namespace("red/web1")):
        assert told_by_socket(version, socket.SOCK_DGRAM, NOBODY[version]) == "EHOSTUNREACH"
    assert time.monotonic() - began < 5.0


@VERSIONS
def test_what_gets_to_no_host_with_the_wire_is_told_so_at_once(net: Net, version: int) -> None:
    gateway = GATEWAY[version].replace("10.0.1.", "10.0.4.").replace("fd00:1", "fd00:4")
    wanted = Told(gateway, 3, 0) if version == 4 else Told(gateway, 1, 0)
    assert told(net, "red/near1", net.address("red/vm", version)) == wanted


def test_what_is_for_a_machine_on_the_wire_is_put_there_by_one_host(net: Net) -> None:
    """It is asked for by ARP, from a MAC of the host that asks, and by no address of the router's."""
    topology = config.load(net.lab.folder).topology
    assert topology is not None
    proxy = queries.proxies(Fabric(topology).memo, "red/lan", "red/web")[0]
    with Wire(net, "hv3" if proxy == "hv2" else "hv2", "eth1") as wire:
        told(net, "red/web1", "10.0.3.77", seconds=0.1)
        asked = wire.wait_for(lambda frame: frame[:6] == b"\xff" * 6 and bytes([10, 0, 3, 77]) in frame)
    assert int.from_bytes(asked[6:12], "big") == wire_mac("red/lan", proxy)
    assert asked[32:36] == bytes(4)


@pytest.mark.parametrize(("source", "target"), [("red/web1", "red/vm"), ("red/vm", "red/web1")])
def test_a_port_that_moves_from_wired_host_to_wired_host_is_followed(net: Net, source: str, target: str) -> None:
    beyond = []
    for _ in range(4):
        where = "hv3" if net.lab.plan.ports["red/vm"].host == "hv2" else "hv2"
        with RoamingStream(net, source, target) as stream:
            away = net.lab.migrate("red/vm", where)
            net.lab.wait_in_sync()
        beyond.append(len(stream.lost) - away * stream.RATE)
    assert sorted(beyond)[1] <= LOST_AT_MOST, f"packets lost beyond the time without an interface: {beyond}"
