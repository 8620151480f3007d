"""Floating IPs of IPv6, and packets that do not fit the tunnels behind a gateway, with the real hosts of a lab."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from controller.lab.beyond import INTERNET
from controller.lab.namespaces import inside
from tests.lab.net import Net
from tests.lab.test_routers_tell import drain, set_mtu
from tests.scenarios.labs import running
from tests.scenarios.outward import FABRIC, RED, ROUTER, WORLD, Told, seen_as, server, told

pytestmark = pytest.mark.lab

NEAR, FAR = {4: "203.0.113.21", 6: "2001:db8:100::21"}, {4: "203.0.113.22", 6: "2001:db8:100::22"}
FLOATING = {"red/near": NEAR, "red/far": FAR}
_IPV6 = f'  203.0.113.22: far\n  "{NEAR[6]}": near\n  "{FAR[6]}": far\n'
FILES = {"fabric.yaml": FABRIC, "tenants/red.yaml": RED.replace("  203.0.113.22: far\n", _IPV6)}
HOSTS = {"red/near": "hv1", "red/far": "hv2", "red/db2": "hv2"}
VERSIONS = pytest.mark.parametrize("version", [4, 6])
PORTS = pytest.mark.parametrize("port", FLOATING)
_MUCH = 300_000
_PATH_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}  # IP_MTU and IPV6_MTU (ip(7), ipv6(7)).


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with running(tmp_path_factory.mktemp("outside"), FILES) as found:
        found.lab.wait_in_sync()
        for port, host in HOSTS.items():
            set_mtu(found, port, host, 1500)
        yield found


@PORTS
def test_a_floating_ip_of_ipv6_stands_for_its_port_both_ways(net: Net, port: str) -> None:
    with server(net, port, 80, 6):
        assert seen_as(net, INTERNET, FLOATING[port][6], 80) == WORLD[6]
    with server(net, INTERNET, 8081, 6):
        assert seen_as(net, port, WORLD[6], 8081) == FLOATING[port][6]
    with server(net, port, 22, 6), pytest.raises(TimeoutError):
        seen_as(net, INTERNET, FLOATING[port][6], 22, 1.0)


@pytest.mark.parametrize("source", ["red/near", "red/far", "red/db1", "red/db2", "red/db4"])
@PORTS
def test_inside_everybody_reaches_floating_ips_of_ipv6(net: Net, source: str, port: str) -> None:
    """Themselves as well: what leaves for an address of ours comes in again."""
    name = FLOATING[source][6] if source in FLOATING else ROUTER[6]
    with server(net, port, 80, 6):
        assert seen_as(net, source, FLOATING[port][6], 80) == name


@VERSIONS
@pytest.mark.parametrize("source", ["red/db2", "red/db4", "red/near", "red/far"])
def test_who_is_masked_is_told_that_a_neighbour_outside_is_silent(net: Net, source: str, version: int) -> None:
    """Their packets bear another name when that is known: the error comes in to that name, and is translated back."""
    silent = "203.0.113.250" if version == 4 else "2001:db8:100::250"
    unreachable = (3, 1) if version == 4 else (1, 3)
    assert told(net, source, silent, seconds=10) == Told(ROUTER[version], *unreachable)


@pytest.mark.parametrize("source", ["red/near", "red/far"])
def test_what_does_not_fit_out_and_in_again_is_told_as_well(net: Net, source: str) -> None:
    """To a floating IP at the gateway; what one address of ours says to another need not leave the host."""
    assert sent(net, source, "red/far", FAR[4], 4) == 1450


def sent(net: Net, source: str, target: str, to: str, version: int) -> int:
    """Send much by TCP to an address of a target, all of which arrives; return what is known then of the path's MTU."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with inside(net.lab.port_namespace(target)):
        listening = socket.create_server(("", 80), family=family)
    with listening, ThreadPoolExecutor(1) as others, inside(net.lab.port_namespace(source)):
        received = others.submit(drain, listening)
        with socket.create_connection((to, 80), timeout=30) as sending:
            sending.sendall(bytes(_MUCH))
            sending.shutdown(socket.SHUT_WR)
            assert received.result(timeout=30) == _MUCH
            return sending.getsockopt(*_PATH_MTU[version])


@VERSIONS
@pytest.mark.parametrize("port", ["red/near", "red/far"], ids=["own-host", "gateway"])
def test_what_comes_in_is_told_what_its_port_takes(net: Net, port: str, version: int) -> None:
    """Both ends offer segments for 1500 bytes. On its own host a floating IP needs no tunnel, but others are told 1450 by DHCP."""
    assert sent(net, INTERNET, port, FLOATING[port][version], version) == 1450


@VERSIONS
def test_answers_to_who_is_masked_fit_the_tunnel_as_well(net: Net, version: int) -> None:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with inside(net.lab.port_namespace(INTERNET)):
        listening = socket.create_server(("", 8080), family=family)

    def serve() -> int:
        listening.settimeout(30)
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(30)
            connection.sendall(bytes(_MUCH))
            connection.recv(1)
            return connection.getsockopt(*_PATH_MTU[version])

    with listening, ThreadPoolExecutor(1) as others, inside(net.lab.port_namespace("red/db2")):
        serving = others.submit(serve)
        with socket.create_connection((WORLD[version], 8080), timeout=30) as own:
            received = 0
            while received < _MUCH:
                received += len(own.recv(65536))
            own.sendall(b"x")
        assert serving.result(timeout=30) == 1450
