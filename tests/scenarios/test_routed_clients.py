"""Routers as people try them: with Debian's traceroute, curl and iperf3."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from controller.lab.beyond import INTERNET
from controller.lab.namespaces import inside
from tests.lab.net import Net
from tests.scenarios.labs import running, wait_until
from tests.scenarios.outward import FILES, INSIDE, ROUTER, UPSTREAM, WORLD, all_alive

pytestmark = pytest.mark.lab

VERSIONS = pytest.mark.parametrize("version", [4, 6])
PLACES = pytest.mark.parametrize("target", ["red/db1", "red/db2"], ids=["same-host", "across-hosts"])
FLOATING = {"red/near": "203.0.113.21", "red/far": "203.0.113.22"}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with running(tmp_path_factory.mktemp("clients"), FILES) as found:
        found.lab.wait_in_sync()
        wait_until(lambda: all_alive(found), "all hosts are alive")
        yield found


def hops(net: Net, port: str, target: str) -> list[str]:
    """Return whom traceroute shows."""
    said = net.lab.exec_port(port, ["traceroute", "-n", "-q1", "-w3", "-m6", target], check=True).stdout
    return re.findall(r"^ *\d+ +(\S+)", said, re.MULTILINE)


@contextmanager
def website(net: Net, port: str) -> Iterator[None]:
    """Have a port serve pages of HTTP; what it shows is who asks."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"hello {self.client_address[0]}".encode())

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    with inside(net.lab.port_namespace(port)):
        served = HTTPServer(("", 80), Page)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    try:
        yield
    finally:
        served.shutdown()
        thread.join()
        served.server_close()


def measured(net: Net, source: str, target: str, address: str, how: Sequence[str]) -> dict[str, Any]:
    """Return what iperf3 says of a second between two ports."""
    # It says that it listens before anybody may call.
    command = net.lab.port_command(target, ["iperf3", "--server", "--one-off", "--forceflush"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        try:
            assert any("listening" in line for line in serving.stdout)
            done = net.lab.exec_port(source, ["iperf3", "--json", "--time", "1", *how, "--client", address])
        finally:
            serving.terminate()
    told: dict[str, Any] = json.loads(done.stdout)
    assert "error" not in told, told["error"]
    end: dict[str, Any] = told["end"]
    return end


@VERSIONS
@PLACES
def test_traceroute_shows_the_router_and_the_target(net: Net, version: int, target: str) -> None:
    address = net.address(target, version)
    wait_until(lambda: hops(net, "red/near", address) == [INSIDE[version][0], address], "all hops are shown")


@VERSIONS
@pytest.mark.parametrize("source", FLOATING)
def test_traceroute_shows_the_way_out(net: Net, version: int, source: str) -> None:
    expected = [INSIDE[version][0], UPSTREAM[version], WORLD[version]]
    wait_until(lambda: hops(net, source, WORLD[version]) == expected, "all hops are shown")


@pytest.mark.parametrize("port", FLOATING)
def test_curl_gets_a_page_by_a_floating_ip(net: Net, port: str) -> None:
    with website(net, port):
        got = net.lab.exec_port(INTERNET, ["curl", "-sS", "--max-time", "10", f"http://{FLOATING[port]}/"], check=True)
    assert got.stdout == f"hello {WORLD[4]}"


def test_curl_gets_a_page_from_outside_in_the_routers_name(net: Net) -> None:
    with website(net, INTERNET):
        got = net.lab.exec_port("red/db2", ["curl", "-sS", "--max-time", "10", f"http://{WORLD[4]}/"], check=True)
    assert got.stdout == f"hello {ROUTER[4]}"


@VERSIONS
@PLACES
def test_iperf3_fills_a_connection(net: Net, version: int, target: str) -> None:
    told = measured(net, "red/near", target, net.address(target, version), [])
    assert told["sum_received"]["bytes"] > 1_000_000


@VERSIONS
@PLACES
def test_iperf3_counts_datagrams(net: Net, version: int, target: str) -> None:
    told = measured(net, "red/near", target, net.address(target, version), ["--udp", "--bitrate", "2M"])
    assert told["sum"]["packets"] > 10
    assert told["sum"]["lost_packets"] == 0
