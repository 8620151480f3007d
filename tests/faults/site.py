"""A small fabric that things happen to: two tenants with the same addresses, and the processes that are killed and frozen."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from controller import control
from controller.lab.build import carry_underlay, introduce
from controller.lab.namespaces import Process, kill
from tests.lab.net import Net
from tests.scenarios.labs import ask, wait_until, write

FABRIC = """\
fabric: faults
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
  hv3: {tunnel_ip: 172.31.0.3}
tenants:
  red: {segments: 5000-5099}
  blue: {segments: 5100-5199}
"""
WEB = """\
networks:
  web: {segment: SEGMENT, cidr: 10.0.1.0/24}
security_groups:
  web:
    ingress:
      - {protocol: udp, ports: 4000-4999}
      - {protocol: tcp, ports: 4000-4999}
      - {protocol: icmp}
ports:
  w1: {network: web, host: hv1, ip: 10.0.1.11, security_groups: [web]}
  w2: {network: web, host: hv2, ip: 10.0.1.12, security_groups: [web]}
  w3: {network: web, host: hv3, ip: 10.0.1.13, security_groups: [web]}
  w4: {network: web, host: hv2, ip: 10.0.1.14, security_groups: [web]}
"""
RED, BLUE = WEB.replace("SEGMENT", "5001"), WEB.replace("SEGMENT", "5101")
DAEMON = ("--detach", "--no-chdir", "--pidfile", "--log-file", "-vconsole:off")
TENANT = "tenants/red.yaml"
FILES = {"fabric.yaml": FABRIC, TENANT: RED, "tenants/blue.yaml": BLUE}


def ruled(count: int, red: str = RED) -> str:
    """Red's file with so many more rules, each of them a flow or more on every host that has a port of red's."""
    rules = "".join(
        f"      - {{protocol: tcp, ports: {5001 + 2 * number}, from: {{cidr: 10.{number % 250}.0.0/16}}}}\n"
        for number in range(count)
    )
    return red.replace("    ingress:\n", f"    ingress:\n{rules}")


def save(net: Net, red: str) -> None:
    """Save red's file as editors do; nobody tells the controller."""
    write(net.lab.folder / TENANT, red)


def read(net: Net, red: str) -> None:
    """Save red's file and return when it is in force on every switch."""
    save(net, red)
    answer = control.request(net.lab.control, {"do": "apply", "wait": True})
    assert answer.get("accepted"), answer
    net.lab.wait_in_sync()


def pushed(net: Net, red: str) -> dict[str, Any]:
    """Save red's file; return what became of the change once it is over."""
    last = ask(net, "status")["changes"]["last"]
    save(net, red)
    return control.request(net.lab.control, {"do": "wait", "after": last, "deadline": 20})


def status_of(net: Net, host: str, bridge: str = "br-int") -> Mapping[str, Any]:
    """What the controller says of a switch."""
    return next(each for each in ask(net, "status")["switches"] if (each["host"], each["bridge"]) == (host, bridge))


def log_of(net: Net) -> str:
    """What the controller has written so far."""
    return net.lab.log.read_text(encoding="utf-8", errors="replace")


def controller_of(net: Net) -> Process:
    """The lab's controller."""
    process = net.lab._state.controller
    assert process is not None, "the controller does not run"
    return process


def crash_controller(net: Net) -> None:
    """End the controller with SIGKILL, in the middle of whatever it does."""
    kill([controller_of(net)])
    net.lab.stop_controller()


def daemon_of(net: Net, host: str, name: str) -> Process:
    """A daemon of a host, by its own pid file."""
    pid = int((net.lab.switch(host).directory / f"{name}.pid").read_text(encoding="ascii"))
    return Process.of(pid, f"{name} of {net.lab.host_namespace(host)}")


@contextmanager
def frozen(process: Process) -> Iterator[None]:
    """A process that does nothing while the block lasts."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def is_controlled(net: Net) -> bool:
    """Whether the lab's controller runs."""
    process = net.lab._state.controller
    return process is not None and process.is_alive


class SwitchLog:
    """What a host's ovs-vswitchd writes from now on."""

    def __init__(self, net: Net, host: str) -> None:
        self._host = host
        self._path = net.lab.switch(host).directory / "ovs-vswitchd.log"
        self._from = self._path.stat().st_size

    def wait_for(self, words: str) -> None:
        """Wait until it has written this."""
        wait_until(lambda: words.encode() in self._path.read_bytes()[self._from :], f"{self._host} logs {words}")


def restart_switch(net: Net, host: str) -> None:
    """Kill a host's ovs-vswitchd and start it again: its flows, groups and connections are gone; return when it is up.

    The userspace datapath takes the host's own interface on the underlay with it, and so its tunnel address.
    """
    switch = net.lab.switch(host)
    kill([daemon_of(net, host, "ovs-vswitchd")])
    net.lab.exec_host(host, ["ovs-vswitchd", switch.database, "--disable-system", *DAEMON], check=True)
    carry_underlay(net.lab._state, net.lab.plan.hosts[host])
    introduce(net.lab._state)


def restart_database(net: Net, host: str) -> None:
    """Kill a host's ovsdb-server and start it again; return when its switch obeys it."""
    switch = net.lab.switch(host)
    kill([daemon_of(net, host, "ovsdb-server")])
    remote = f"--remote=p{switch.database}"
    net.lab.exec_host(host, ["ovsdb-server", f"{switch.directory}/conf.db", remote, *DAEMON], check=True)
    switch.configure([("set", "bridge", "br-int", "external_ids:touched=again")])
