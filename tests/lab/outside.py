"""Machines on a physical network that no file names: each a namespace with an interface on the lab's wire.

with outside(net, "203.0.113.1/24", wire=0) as machine:
    machine.address                       its own address
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_interface

from controller.lab.namespaces import inside, ip
from tests.lab.net import Heard, Net


@dataclass(frozen=True)
class Machine:
    """A machine outside: its namespace, and its address."""

    namespace: str
    address: str

    def run(self, *argv: str) -> str:
        """Run a command in it; return what it said."""
        command = ["ip", "netns", "exec", self.namespace, *argv]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def listen(self) -> Heard:
        """Note every frame that it receives, from now to the end of the `with` block."""
        return Heard(self.namespace)


@contextmanager
def outside(net: Net, address: str, *, wire: int, routes: tuple[str, ...] = ()) -> Iterator[Machine]:
    """Join a machine to a physical network of the lab, the first being 0; `routes` are what `ip route add` takes."""
    host = next(iter(net.lab.plan.hosts))
    home = net.lab.host_namespace(host).partition(".")[0]
    name = f"{home}.outside{wire}"
    version = ip_interface(address).version
    ip([f"netns add {name}"])
    try:
        with inside(home):
            ip(
                [
                    f"link add out{wire} type veth peer name eth0 netns {name}",
                    *(f"link set out{wire} {state}" for state in (f"master net{wire}", "up")),
                ]
            )
        with inside(name):
            ip(
                [
                    "link set lo up",
                    "link set eth0 up",
                    f"address add {address} dev eth0{' nodad' if version == 6 else ''}",
                    *(f"route add {route}" for route in routes),
                ]
            )
        yield Machine(name, str(ip_interface(address).ip))
    finally:
        ip([f"netns delete {name}"])
