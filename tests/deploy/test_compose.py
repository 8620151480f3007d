"""The quickstart in containers, with a real engine: built from the checkout, brought up, used, broken a little."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.engine import Engine, NoEngine, wait_for

# One engine serves all tests of this file, in one process.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.xdist_group("containers")]

# What a port does on TCP: say its name to whoever connects, or connect and print the name that was said.
LISTEN = """
import socketserver, sys
class Tell(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(sys.argv[1].encode())
socketserver.ThreadingTCPServer(("", int(sys.argv[2])), Tell).serve_forever()
"""
ASK = """
import socket, sys
try:
    print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).recv(99).decode())
except TimeoutError:
    print("silence")
"""


class Fabric:
    """The running containers, as a user meets them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def wait_healthy(self) -> None:
        try:
            wait_for(lambda: set(self.engine.health().values()) == {"healthy"}, 90, "every container to be healthy")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.engine.health()}\n{self.engine.logs()}") from None

    def pings(self, source: str, address: str) -> bool:
        # The first packet to a host may wait for the underlay's ARP.
        return self.engine.inside(source, "ping", "-c1", "-w3", address).returncode == 0

    def listen(self, port: str, number: int) -> None:
        self.engine.compose("exec", "-d", port, "python3", "-c", LISTEN, port, str(number))
        wait_for(lambda: self.ask(port, "127.0.0.1", number) == port, 20, f"{port} to listen")

    def ask(self, source: str, address: str, number: int) -> str:
        done = self.engine.inside(source, "python3", "-c", ASK, address, str(number))
        return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]

    def is_in_service(self, host: str) -> bool:
        return self.engine.inside(host, "healthy").returncode == 0


@pytest.fixture(scope="module")
def fabric() -> Iterator[Fabric]:
    try:
        engine = Engine()
        with engine:
            engine.compose("up", "--detach", "--no-build", seconds=120)
            running = Fabric(engine)
            running.wait_healthy()
            yield running
    except NoEngine as reason:
        pytest.skip(str(reason))


def test_the_controller_says_that_every_switch_is_in_sync(fabric: Fabric) -> None:
    status = fabric.engine.inside("controller", "weft", "status")
    assert status.returncode == 0
    assert "7 ports bound" in status.stdout


@pytest.mark.parametrize("address", ["10.0.1.11", "fd00:1::11"])
def test_a_ping_that_the_files_allow_crosses_hosts(fabric: Fabric, address: str) -> None:
    assert fabric.pings("red-ops1", address)


def test_a_ping_that_no_rule_allows_gets_no_answer(fabric: Fabric) -> None:
    assert not fabric.pings("red-web1", "10.0.1.21")


def test_a_database_answers_its_web_servers_only_and_on_its_port_only(fabric: Fabric) -> None:
    fabric.listen("red-db1", 3306)
    fabric.listen("red-db1", 22)
    assert fabric.ask("red-web1", "10.0.1.21", 3306) == "red-db1"
    assert fabric.ask("red-web1", "10.0.1.21", 22) == "silence"
    assert fabric.ask("red-ops1", "10.0.1.21", 3306) == "silence"


def test_the_same_address_is_another_machine_for_another_tenant(fabric: Fabric) -> None:
    for port in ("red-web2", "blue-web2"):
        fabric.listen(port, 80)
    assert fabric.ask("red-web1", "10.0.1.12", 80) == "red-web2"
    assert fabric.ask("blue-web1", "10.0.1.12", 80) == "blue-web2"


def test_the_network_outlives_its_controller(fabric: Fabric) -> None:
    fabric.engine.compose("stop", "controller")
    try:
        wait_for(lambda: not fabric.is_in_service("hv1"), 30, "the host to miss its controller")
        assert fabric.pings("red-ops1", "10.0.1.11")
        assert not fabric.pings("red-web1", "10.0.1.21")
    finally:
        fabric.engine.compose("start", "controller")
    fabric.wait_healthy()


def test_a_port_that_starts_again_is_plugged_again(fabric: Fabric) -> None:
    fabric.engine.compose("restart", "--timeout", "1", "red-web1")
    wait_for(lambda: fabric.pings("red-ops1", "10.0.1.11"), 30, "the port to be back")


def test_a_host_that_starts_again_carries_its_ports_again(fabric: Fabric) -> None:
    fabric.engine.compose("restart", "--timeout", "1", "hv1")
    wait_for(lambda: fabric.pings("red-ops1", "10.0.1.11"), 60, "the host and its port to be back")
    fabric.wait_healthy()
