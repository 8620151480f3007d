"""A tenant's connections are limited on a lab's hosts, whatever becomes of their switches."""

from __future__ import annotations

import re
import socket
import time
from contextlib import ExitStack

import pytest

from controller import control
from controller.lab.limits import log_of
from controller.lab.namespaces import inside
from controller.lab.state import read_state
from tests.faults.site import restart_switch
from tests.lab.conftest import Bring
from tests.lab.net import Net
from tests.scenarios.labs import wait_until, write

pytestmark = pytest.mark.lab

FABRIC = """\
fabric: limits
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
tenants:
  red: {segments: 5000-5099LIMIT}
  blue: {segments: 5100-5199}
"""
TENANT = """\
networks:
  web: {cidr: 10.0.1.0/24}
security_groups:
  web:
    ingress:
      - {protocol: tcp, ports: 4000}
ports:
  client: {network: web, host: hv1, ip: 10.0.1.11}
  server: {network: web, host: hv2, ip: 10.0.1.12, security_groups: [web]}
"""
LIMIT = 5


def limited(count: int | None) -> str:
    return FABRIC.replace("LIMIT", "" if count is None else f", connections: {count}")


def limits(net: Net, host: str) -> list[int]:
    """The limits that a host's switch has."""
    said = net.lab.exec_host(host, ["ovs-appctl", "dpctl/ct-get-limits"], check=True).stdout
    return [int(found) for found in re.findall(r"^zone=\d+,limit=(\d+)", said, re.MULTILINE)]


def opened(net: Net, tenant: str, count: int) -> int:
    """Return how many of so many TCP connections come about at once."""
    with ExitStack() as stack:
        with inside(net.lab.port_namespace(f"{tenant}/server")):
            server = stack.enter_context(socket.create_server(("10.0.1.12", 4000), backlog=2 * count))
        server.setblocking(False)
        with inside(net.lab.port_namespace(f"{tenant}/client")):
            clients = [stack.enter_context(socket.socket()) for _ in range(count)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("10.0.1.12", 4000))
        # A SYN is sent again after 1 s and 3 s: who has no answer then is refused.
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline and not all(map(is_open, clients)):
            time.sleep(0.05)
        return sum(map(is_open, clients))


def is_open(client: socket.socket) -> bool:
    try:
        client.getpeername()
    except OSError:
        return False
    return True


def test_a_limit_holds_through_changes_of_the_files_and_restarts_of_the_switch(lab: Bring) -> None:
    net = lab({"fabric.yaml": limited(None), "tenants/red.yaml": TENANT, "tenants/blue.yaml": TENANT})
    write(net.lab.folder / "fabric.yaml", limited(LIMIT))
    wait_until(lambda: limits(net, "hv1") == limits(net, "hv2") == [LIMIT], "the first limit is in force")
    assert opened(net, "red", LIMIT + 3) == LIMIT
    assert opened(net, "blue", LIMIT + 3) == LIMIT + 3

    restart_switch(net, "hv1")
    wait_until(lambda: limits(net, "hv1") == [LIMIT], "the limit is in force after a restart")

    write(net.lab.folder / "fabric.yaml", limited(LIMIT + 1))
    assert control.request(net.lab.control, {"do": "apply", "wait": True})["accepted"]
    wait_until(lambda: limits(net, "hv1") == limits(net, "hv2") == [LIMIT + 1], "the new limit is in force")


def test_who_keeps_the_limits_ends_with_the_lab_and_says_what_was_done(lab: Bring) -> None:
    net = lab({"fabric.yaml": limited(LIMIT), "tenants/red.yaml": TENANT, "tenants/blue.yaml": TENANT})
    state = read_state(net.lab.directory)
    keepers = [process for process in state.processes if process.what.startswith("limits of ")]
    assert len(keepers) == 2
    wait_until(lambda: limits(net, "hv1") == [LIMIT], "the limit is in force")
    assert f"(red/web): at most {LIMIT} connections, none before" in log_of(state, "hv1").read_text(encoding="utf-8")
    net.lab.fail_host("hv1")
    net.lab.recover_host("hv1")
    wait_until(lambda: limits(net, "hv1") == [LIMIT], "the limit is in force after a power failure")
    state = read_state(net.lab.directory)
    net.lab.down()
    assert not [process for process in (*keepers, *state.processes) if process.is_alive]
