#!/opt/weft/bin/python
"""Plug port containers into the switch of a host container.

    port container                      volume /run/weft                      host container
    "red/web1", its namespace ════════► plugs/hv1.sock ═════════════════════► veth: red.web1 ── eth0 in that namespace
    addresses on eth0         ◄════════ "plugged" ◄══════════════════════════ ovs-vsctl add-port br-int red.web1

Neither side may create or enter a namespace, which would take SYS_ADMIN. The port hands over a descriptor of the one it
is in, and NET_ADMIN suffices to put a wire's end there. The connection is the plug: when either side goes, the kernel
closes it, and the other side notices.

    plug host NAME           serve the plugs of a host
    plug port TENANT/PORT    be a port: plug in, stay, plug in again when the host was away
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

from controller import config
from controller.lab.namespaces import fill_in_checksums, ip
from controller.lab.plan import LabError, LabPlan, PortPlan, plan_lab, port_commands
from controller.switch.access import HostError
from controller.switch.ovsdb import transact

TOPOLOGY = Path("/topology")
PLUGS = Path("/run/weft/plugs")

_PLUGGED = b"plugged"
_LONGEST = 1 << 12
_PATIENCE = 0.5  # Between two attempts.


def main(arguments: list[str]) -> None:
    """Be a host's plugs or a port, until the container is stopped."""
    match arguments:
        case ["host", name]:
            serve(name)
        case ["port", name]:
            stay_plugged(name)
        case _:
            sys.exit(__doc__)


def read_plan() -> LabPlan:
    """Return the plan of the topology as its files are now."""
    loaded = config.load(TOPOLOGY)
    if loaded.topology is None:
        raise LabError("\n".join(map(config.render, loaded.problems)))
    return plan_lab(loaded.topology)


def serve(host: str) -> None:
    """Take plugs at the host's socket, each in a thread of its own."""
    path = PLUGS / f"{host}.sock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(str(path))
        door.listen()
        tell(f"{host}: ready for ports")
        while True:
            plug, _ = door.accept()
            threading.Thread(target=_hold, args=(plug,), daemon=True).start()


def _hold(plug: socket.socket) -> None:
    """Keep one port plugged for as long as its connection lasts."""
    with plug, contextlib.suppress(ConnectionError):
        message, descriptors, _, _ = socket.recv_fds(plug, _LONGEST, 1)
        name = message.decode()
        try:
            port = read_plan().ports.get(name)
            if port is None or not descriptors:
                raise LabError(f"no port {name} in the topology" if descriptors else "no namespace came with the name")
            _wire(port, f"/proc/{os.getpid()}/fd/{descriptors[0]}")
        except LabError as error:
            plug.send(str(error).encode()[:_LONGEST])
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        try:
            transact(port_commands(port))
            tell(f"{name}: plugged")
            plug.send(_PLUGGED)
            plug.recv(1)  # Nothing is ever sent: this ends when the port does.
        except HostError as error:
            plug.send(str(error).encode()[:_LONGEST])
        finally:
            transact([("--if-exists", "del-port", port.bridge, port.interface)])
            ip([f"link delete {port.interface}"], forced=True)
            tell(f"{name}: unplugged")


def _wire(port: PortPlan, namespace: str) -> None:
    """Lay a wire from this host to a namespace; it must not be there yet, or somebody else is this port."""
    mtu = f"mtu {port.mtu}"
    far = f"name eth0 address {port.mac} {mtu} netns {namespace}"
    ip([f"link add {port.interface} {mtu} type veth peer {far}", f"link set {port.interface} up"])


def stay_plugged(name: str) -> None:
    """Plug this container in as a port, again and again."""
    said = ""
    while True:
        try:
            _plug_in(name)
            what = "unplugged"
        except (LabError, OSError) as error:
            what = str(error)
        if what != said:
            tell(f"{name}: {what}; trying again")
            said = what
        time.sleep(_PATIENCE)


def _plug_in(name: str) -> None:
    port = read_plan().ports.get(name)
    if port is None:
        raise LabError("no such port in the topology")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as plug,
        Path("/proc/self/ns/net").open("rb") as namespace,
    ):
        plug.connect(str(PLUGS / f"{port.host}.sock"))
        socket.send_fds(plug, [name.encode()], [namespace.fileno()])
        answer = plug.recv(_LONGEST)
        if answer != _PLUGGED:
            raise LabError(answer.decode() or f"{port.host} has gone")
        fill_in_checksums("eth0")
        # Up comes last: what waits for the link finds the addresses there.
        ip([*(f"addr add {address} dev eth0" for address in port.addresses), "link set eth0 up"])
        tell(f"{name}: plugged into {port.host}, {', '.join(port.addresses)}")
        plug.recv(1)


def tell(line: str) -> None:
    """Write a line to the container's log."""
    print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
