"""An address that two ports may use (VRRP), behind a router: whoever announces it gets what is for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address

import pytest

from controller.lab.namespaces import inside, ip
from controller.wire.announce import announcements
from tests.lab.net import Net
from tests.scenarios.labs import running, wait_until

pytestmark = pytest.mark.lab

FABRIC = """\
fabric: shared
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
physical_networks:
  physnet1: {hosts: [hv1, hv2], vlans: 100-199}
tenants:
  red: {segments: 5000-5099, vlans: {physnet1: 110}}
"""
RED = """\
networks:
  web: {cidr: [10.0.1.0/24, "fd00:1::/64"]}
  app: {cidr: [10.0.2.0/24, "fd00:2::/64"]}
  lan: {type: vlan, physical_network: physnet1, segment: 110, cidr: [10.0.3.0/24, "fd00:3::/64"]}
routers:
  main: {networks: [web, app, lan]}
security_groups:
  open: {ingress: any}
port_groups:
  app: {network: app, security_groups: [open], allowed_addresses: [{ip: 10.0.2.100}, {ip: "fd00:2::100"}]}
  lan: {network: lan, security_groups: [open], allowed_addresses: [{ip: 10.0.3.100}, {ip: "fd00:3::100"}]}
ports:
  client: {network: web, host: hv1}
  app1: {port_group: app, host: hv1, mac: "02:00:00:00:00:01"}
  app2: {port_group: app, host: hv2, mac: "02:00:00:00:00:02"}
  lan1: {port_group: lan, host: hv1, mac: "02:00:00:00:00:03"}
  lan2: {port_group: lan, host: hv2, mac: "02:00:00:00:00:04"}
"""
MACS = {"red/app1": 0x020000000001, "red/app2": 0x020000000002, "red/lan1": 0x020000000003, "red/lan2": 0x020000000004}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with running(tmp_path_factory.mktemp("shared"), {"fabric.yaml": FABRIC, "tenants/red.yaml": RED}) as found:
        found.lab.wait_in_sync()
        yield found


def take(net: Net, port: str, address: str, former: str) -> None:
    """Let a port have an address that another one had."""
    with inside(net.lab.port_namespace(former)):
        ip([f"addr del {address} dev eth0"], forced=True)
    with inside(net.lab.port_namespace(port)):
        ip([f"addr add {address} dev eth0" + (" nodad" if ":" in address else "")])


def is_reached_once_announced(net: Net, port: str, address: str) -> bool:
    for frame in announcements(MACS[port], [ip_address(address)]):
        net.send(port, frame)
    command = net.lab.port_command("red/client", ["ping", "-c1", "-W1", address])
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("network", ["app", "lan"])
@pytest.mark.parametrize("shared", ["10.0.{}.100", "fd00:{}::100"], ids=["IPv4", "IPv6"])
def test_a_router_follows_an_address_that_another_port_announces(net: Net, network: str, shared: str) -> None:
    address, first, second = shared.format(2 if network == "app" else 3), f"red/{network}1", f"red/{network}2"
    for port, former in ((first, second), (second, first), (first, second)):
        take(net, port, address, former)
        wait_until(partial(is_reached_once_announced, net, port, address), f"{address} at {port}", 10.0)
