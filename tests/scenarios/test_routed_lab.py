"""Routers with real packets: between networks, to the routers themselves, out to the world and in from it."""

from __future__ import annotations

import errno
import re
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from controller.lab.beyond import INTERNET
from controller.lab.namespaces import inside
from tests.answers.linux_sender import ask as told_by_socket
from tests.lab.net import Net
from tests.scenarios.labs import running
from tests.scenarios.outward import (
    FILES,
    INSIDE,
    ROUTER,
    UPSTREAM,
    WORLD,
    Echoes,
    Told,
    seen_as,
    server,
    told,
    trace,
    until_calm,
)

pytestmark = pytest.mark.lab

VERSIONS = pytest.mark.parametrize("version", [4, 6])
FLOATING = {"red/near": "203.0.113.21", "red/far": "203.0.113.22"}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with running(tmp_path_factory.mktemp("routed"), FILES) as found:
        found.lab.wait_in_sync()
        yield found


def pinged(net: Net, port: str, target: str, *how: str) -> tuple[int, int]:
    """Ping as people do; return how many were sent and how many were answered."""
    done = net.lab.exec_port(port, ["ping", "-n", "-W", "2", *how, target])
    found = re.search(r"(\d+) packets transmitted, (\d+) received", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return int(found[1]), int(found[2])


@VERSIONS
@pytest.mark.parametrize("target", ["red/db1", "red/db2"], ids=["same-host", "across-hosts"])
def test_g1_networks_of_a_router_reach_each_other(net: Net, version: int, target: str) -> None:
    assert net.ping("red/near", target, version=version)
    assert net.tcp("red/near", target, 5432, version=version)
    assert net.udp("red/near", target, 53, version=version)
    assert not net.tcp(target, "red/near", 22, version=version)
    assert net.tcp(target, "red/near", 80, version=version)


@VERSIONS
@pytest.mark.parametrize("target", ["red/db1", "red/db2"], ids=["same-host", "across-hosts"])
def test_traceroute_shows_the_own_gateway_first(net: Net, version: int, target: str) -> None:
    assert trace(net, "red/near", net.address(target, version)) == [INSIDE[version][0], net.address(target, version)]


@VERSIONS
def test_s21_routers_answer_pings_near_and_far(net: Net, version: int) -> None:
    for port in ("red/near", "red/far"):
        for own in INSIDE[version]:
            assert pinged(net, port, own, "-c3", "-i0.1") == (3, 3)


@VERSIONS
def test_s23_a_router_refuses_what_it_does_not_serve(net: Net, version: int) -> None:
    unreachable = Told(INSIDE[version][0], 3, 3) if version == 4 else Told(INSIDE[version][0], 1, 4)
    assert told(net, "red/far", INSIDE[version][0]) == unreachable
    with pytest.raises(ConnectionRefusedError):
        seen_as(net, "red/far", INSIDE[version][0], 22)


@VERSIONS
def test_an_address_that_nobody_has_is_told_to_be_unreachable_soon(net: Net, version: int) -> None:
    nobody = "10.0.2.99" if version == 4 else "fd00:2::99"
    began = time.monotonic()
    with inside(net.lab.port_namespace("red/near")):
        assert told_by_socket(version, socket.SOCK_DGRAM, nobody) == "EHOSTUNREACH"
    assert time.monotonic() - began < 4.0


@VERSIONS
@pytest.mark.parametrize("source", ["red/db1", "red/db2", "red/db3", "red/db4"])
def test_g3_who_has_no_floating_ip_leaves_in_the_routers_name(net: Net, version: int, source: str) -> None:
    assert net.ping(source, WORLD[version])
    with server(net, INTERNET, 8080, version) as seen:
        assert seen_as(net, source, WORLD[version], 8080) == ROUTER[version]
    assert seen == [ROUTER[version]]


@VERSIONS
def test_g3_nobody_outside_opens_anything_to_a_private_address(net: Net, version: int) -> None:
    with server(net, "red/db1", 80, version) as seen:
        inner = net.address("red/db1", version)
        for address in (inner, ROUTER[version]):
            with pytest.raises(OSError, match=rf"{errno.EHOSTUNREACH}|timed out|{errno.ECONNREFUSED}"):
                seen_as(net, INTERNET, address, 80, 1.0)
        # The same may be reached from inside.
        assert seen_as(net, "red/db2", inner, 80) == net.address("red/db2", version)
    assert seen == [net.address("red/db2", version)]


@pytest.mark.parametrize("port", FLOATING)
def test_g5_s29_a_floating_ip_stands_for_its_port_both_ways(net: Net, port: str) -> None:
    assert pinged(net, INTERNET, FLOATING[port], "-c3", "-i0.1") == (3, 3)
    with server(net, port, 80):
        assert seen_as(net, INTERNET, FLOATING[port], 80) == WORLD[4]
    with server(net, INTERNET, 8081):
        assert seen_as(net, port, WORLD[4], 8081) == FLOATING[port]
    with server(net, port, 22), pytest.raises(TimeoutError):
        seen_as(net, INTERNET, FLOATING[port], 22, 1.0)


def test_g5_the_routers_own_address_outside_answers(net: Net) -> None:
    assert pinged(net, INTERNET, ROUTER[4], "-c3", "-i0.1") == (3, 3)
    assert pinged(net, INTERNET, ROUTER[6], "-c3", "-i0.1") == (3, 3)


@pytest.mark.parametrize("source", ["red/near", "red/far", "red/db1", "red/db2", "red/db4"])
@pytest.mark.parametrize("target", FLOATING)
def test_g7_inside_everybody_reaches_floating_ips_by_them_and_their_ports_by_their_own(
    net: Net, source: str, target: str
) -> None:
    name = FLOATING.get(source, ROUTER[4])
    with server(net, target, 80):
        assert seen_as(net, source, FLOATING[target], 80) == name
        if source != target:
            assert seen_as(net, source, net.address(target), 80) == net.address(source)


@VERSIONS
@pytest.mark.parametrize("source", ["red/db1", "red/db2"])
def test_errors_of_the_world_find_back_through_translation(net: Net, version: int, source: str) -> None:
    expected = [INSIDE[version][1], UPSTREAM[version], WORLD[version]]
    assert trace(net, source, WORLD[version]) == expected


@pytest.mark.parametrize("source", FLOATING)
def test_errors_of_the_world_find_back_to_floating_ips(net: Net, source: str) -> None:
    assert trace(net, source, WORLD[4]) == [INSIDE[4][0], UPSTREAM[4], WORLD[4]]


def test_from_outside_a_traceroute_shows_the_router(net: Net) -> None:
    beyond = next(iter(net.lab.plan.outside.routers.values())).beyond[0].partition("/")[0]
    shown = [told(net, INTERNET, FLOATING["red/near"], hops=hops) for hops in (1, 2)]
    assert [each.by for each in shown if each is not None] == [beyond, ROUTER[4]]


def test_s35_packets_that_wait_for_a_neighbour_all_arrive(net: Net) -> None:
    """Nobody has asked for the host on the wire yet: three pings at once wait for it, and all are answered."""
    other = "203.0.113.200"
    router = net.lab.port_namespace("@public-router")
    subprocess.run(["ip", "netns", "exec", router, "ip", "addr", "add", f"{other}/24", "dev", "eth0"], check=True)
    for port in ("red/db1", "red/near"):
        assert pinged(net, port, other, "-c3", "-i0", "-l3") == (3, 3)


def test_a_restart_of_the_controller_costs_translated_streams_nothing(net: Net) -> None:
    for _ in until_calm(net):
        with Echoes(net, "red/db2") as masked, Echoes(net, "red/near", number=4244) as floating:
            net.lab.stop_controller()
            masked.goes_on()
            net.lab.start_controller()
            net.lab.wait_in_sync()
            masked.goes_on()
    assert (masked.lost, floating.lost) == ([], [])
    assert (masked.seen, floating.seen) == ({ROUTER[4]}, {FLOATING["red/near"]})
