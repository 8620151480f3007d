"""What Linux makes of what routers say, and packets that wait for neighbours that no file names."""

from __future__ import annotations

import re
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from controller import control
from controller.lab.namespaces import inside
from controller.model.names import interface_name
from tests.answers.linux_sender import ask
from tests.lab.conftest import Bring
from tests.lab.net import Net
from tests.lab.outside import outside
from tests.scenarios.labs import wait_until

pytestmark = pytest.mark.lab

FABRIC = """\
fabric: routed
hosts:
  hv1: {tunnel_ip: 172.31.0.1, gateway: true}
  hv2: {tunnel_ip: 172.31.0.2}
physical_networks:
  physnet1: {hosts: [hv1, hv2]}
  physnet2: {hosts: [hv1, hv2]}
external_networks:
  public: {physical_network: physnet1, cidr: 203.0.113.0/24, gateway: 203.0.113.1, pool: 203.0.113.10-203.0.113.99}
tenants:
  red: {segments: 5000-5099, vlans: {physnet2: []}}
"""
RED = """\
networks:
  web: {cidr: [10.0.1.0/24, "fd00:1::/64"]}
  db: {cidr: [10.0.2.0/24, "fd00:2::/64"]}
  lan: {type: flat, physical_network: physnet2, cidr: [192.0.2.0/24, "fd00:3::/64"]}
security_groups:
  any: {ingress: [{}]}
ports:
  web1: {network: web, ip: [10.0.1.11, "fd00:1::11"], host: hv1, security_groups: [any]}
  web2: {network: web, ip: [10.0.1.12, "fd00:1::12"], host: hv2, security_groups: [any]}
  db1: {network: db, ip: [10.0.2.11, "fd00:2::11"], host: hv2, security_groups: [any]}
  lan1: {network: lan, ip: [192.0.2.11, "fd00:3::11"], host: hv1, security_groups: [any]}
routers:
  main: {networks: [web, db, lan]EXTERNAL}
"""
DATAGRAM, STREAM = socket.SOCK_DGRAM, socket.SOCK_STREAM
INSIDE = {"fabric.yaml": FABRIC, "tenants/red.yaml": RED.replace("EXTERNAL", "")}
OUTWARD = {"fabric.yaml": FABRIC, "tenants/red.yaml": RED.replace("EXTERNAL", ", external: public")}


def told(net: Net, port: str, version: int, kind: int, target: str, **how: int) -> str:
    with inside(net.lab.port_namespace(port)):
        return ask(version, kind, target, **how)


def test_linux_is_told_what_became_of_its_packets(lab: Bring) -> None:
    net = lab(INSIDE)
    for own, far, nobody in (("10.0.1.1", "10.0.2.11", "10.0.2.99"), ("fd00:1::1", "fd00:2::11", "fd00:2::99")):
        version = 6 if ":" in own else 4
        assert told(net, "red/web1", version, DATAGRAM, far, hops=1) == "EHOSTUNREACH"
        assert told(net, "red/web1", version, DATAGRAM, nobody) == "EHOSTUNREACH"
        assert told(net, "red/web1", version, DATAGRAM, own) == "ECONNREFUSED"
        assert told(net, "red/web1", version, STREAM, own) == "ECONNREFUSED"
        nowhere = "198.51.100.1" if version == 4 else "2001:db8::1"
        assert told(net, "red/web1", version, DATAGRAM, nowhere) == "ENETUNREACH"


@pytest.mark.parametrize(("client", "server"), [("web1", "web2"), ("web1", "db1"), ("lan1", "web1")])
@pytest.mark.parametrize("version", [4, 6])
def test_ports_with_a_larger_mtu_than_their_tunnel_work(lab: Bring, client: str, server: str, version: int) -> None:
    """Both ends offer segments for 1500 bytes; what does not fit is answered with what does, bridged and routed, on one host as well."""
    net = lab(INSIDE)
    for name in (client, server):
        set_mtu(net, f"red/{name}", "hv1" if name in ("web1", "lan1") else "hv2", 1500)
    family, option = (socket.AF_INET, _IP_MTU) if version == 4 else (socket.AF_INET6, _IPV6_MTU)
    with inside(net.lab.port_namespace(f"red/{server}")):
        listening = socket.create_server(("", 8080), family=family)
    address = _ADDRESSES[server][version == 6]
    with listening, ThreadPoolExecutor(1) as others, inside(net.lab.port_namespace(f"red/{client}")):
        received = others.submit(drain, listening)
        with socket.create_connection((address, 8080), timeout=30) as sending:
            sending.sendall(bytes(_MUCH))
            sending.shutdown(socket.SHUT_WR)
            assert received.result(timeout=30) == _MUCH
            assert sending.getsockopt(socket.IPPROTO_IP if version == 4 else socket.IPPROTO_IPV6, option) == 1450


_MUCH = 300_000
_ADDRESSES = {
    "web1": ("10.0.1.11", "fd00:1::11"),
    "web2": ("10.0.1.12", "fd00:1::12"),
    "db1": ("10.0.2.11", "fd00:2::11"),
}
_IP_MTU, _IPV6_MTU = 14, 24  # Linux's numbers of the options that tell what is known of a path (ip(7), ipv6(7)).


def set_mtu(net: Net, port: str, host: str, mtu: int) -> None:
    """Set the MTU of both ends of a port's wire."""
    net.lab.exec_host(host, ["ip", "link", "set", interface_name(port), "mtu", str(mtu)], check=True)
    subprocess.run(["ip", "-n", net.lab.port_namespace(port), "link", "set", "eth0", "mtu", str(mtu)], check=True)


def drain(listening: socket.socket) -> int:
    """Accept one connection, and return how many bytes come by it."""
    listening.settimeout(30)
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(30)
        return sum(map(len, iter(lambda: connection.recv(65536), b"")))


def test_the_first_packet_to_a_stranger_on_a_wire_arrives_once(lab: Bring) -> None:
    net = lab(INSIDE)
    with outside(net, "192.0.2.50/24", wire=1, routes=("10.0.0.0/8 via 192.0.2.1",)) as stranger:
        with stranger.listen() as heard, inside(net.lab.port_namespace("red/web1")):
            with socket.socket(socket.AF_INET, DATAGRAM) as own:
                for number in range(3):
                    own.sendto(f"hello {number}".encode(), (stranger.address, 9))
            heard.wait_for(lambda frame: b"hello 2" in frame)
        said = [frame[-7:] for frame in heard.frames if b"hello" in frame]
        assert said == [b"hello 0", b"hello 1", b"hello 2"]


def test_a_stranger_that_is_not_there_is_told_as_such(lab: Bring) -> None:
    net = lab(INSIDE)
    assert told(net, "red/web1", 4, DATAGRAM, "192.0.2.77") == "EHOSTUNREACH"


def answered(net: Net, port: str, address: str, *how: str) -> int:
    """Return how many of some pings were answered."""
    done = net.lab.exec_port(port, ["ping", "-n", "-q", "-W", "1", *how, address])
    found = re.search(r"(\d+) received", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return int(found[1])


def test_the_way_out_is_known_before_anybody_goes_it(lab: Bring) -> None:
    net = lab(OUTWARD, controller=False, outside=False)
    with outside(net, "203.0.113.1/24", wire=0) as upstream:
        net.lab.start_controller()
        wait_until(lambda: bool(known(net)), "nobody has heard of the gateway")
        assert known(net)[0]["address"] == upstream.address
        net.lab.wait_in_sync()
        assert answered(net, "red/web1", upstream.address, "-c", "5", "-i", "0.1") == 5


def test_a_way_out_outlives_a_controller_that_starts_anew_though_the_gateway_is_silent(lab: Bring) -> None:
    net = lab(OUTWARD, controller=False, outside=False)
    with outside(net, "203.0.113.1/24", wire=0) as upstream:
        net.lab.start_controller()
        wait_until(lambda: bool(known(net)), "nobody has heard of the gateway")
        net.lab.wait_in_sync()
        assert answered(net, "red/web1", upstream.address, "-c", "1") == 1
        # It answers no more questions; it knows the router, and goes on as before.
        upstream.run(
            "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=8", "net.ipv4.neigh.eth0.base_reachable_time_ms=600000"
        )
        net.lab.stop_controller()
        with ThreadPoolExecutor(1) as one:
            count = one.submit(answered, net, "red/web1", upstream.address, "-c", "80", "-i", "0.1")
            net.lab.start_controller()
            net.lab.wait_in_sync()
            assert count.result() == 80
        assert [each["address"] for each in known(net)] == [upstream.address]
        switches = control.request(net.lab.control, {"do": "status"})["switches"]
        changed = [each["added"] + each["deleted"] for each in switches if each["bridge"] == "br-int"]
        assert changed == [0, 0]


def known(net: Net) -> list[dict[str, str]]:
    """Return the neighbours that the controller knows; none while it is not there."""
    try:
        found: list[dict[str, str]] = control.request(net.lab.control, {"do": "status"})["neighbours"]
    except control.NoController:
        return []
    return found
