"""A fabric where a VM may roam: three hosts, `red/vm` pinned nowhere, its peers pinned; and a stream that may be away."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
import struct
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

from controller import control
from controller.lab.namespaces import inside, ip
from controller.lab.plan import port_commands
from controller.pipeline.numbers import read_places
from controller.wire.announce import announcements
from tests.lab.net import ANY_PROTOCOL, Net
from tests.scenarios.labs import PATIENCE_S, Stream, wait_until

FABRIC = """\
fabric: roaming
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
  hv3: {tunnel_ip: 172.31.0.3}
tenants:
  red: {segments: 1000-1099}
"""
RED = """\
networks:
  web: {cidr: [10.0.1.0/24, 'fd00:1::/64']}
security_groups:
  vm:
    ingress:
      - {protocol: tcp, ports: 80, from: {cidr: 10.0.1.12/32}}
      - {protocol: udp, ports: 4242}
      - {protocol: icmp}
  peers:
    ingress: any
ports:
  vm: {network: web, ip: [10.0.1.11, 'fd00:1::11'], security_groups: [vm]}
  peer: {network: web, ip: [10.0.1.12, 'fd00:1::12'], host: hv3, security_groups: [peers]}
  near: {network: web, ip: [10.0.1.13, 'fd00:1::13'], host: hv1, security_groups: [peers]}
"""
FILES = {"fabric.yaml": FABRIC, "tenants/red.yaml": RED}

# The same with databases that are read, where interfaces may have any name.
NAMED = FILES | {
    "fabric.yaml": re.sub(r"  (hv.): {(.*)}", r"  \1: {\2, ovsdb: 'unix:LABDIR/\1/db.sock'}", FABRIC),
}

# The same on a wire between the hosts that Weft does not program.
WIRED = {
    "fabric.yaml": FABRIC.replace(
        "tenants:", "physical_networks:\n  lan: {hosts: [hv1, hv2, hv3], vlans: 100-199}\ntenants:"
    ).replace("{segments: 1000-1099}", "{vlans: {lan: 100-199}}"),
    "tenants/red.yaml": RED.replace("web: {", "web: {type: vlan, physical_network: lan, segment: 101, "),
}


def ports(net: Net) -> dict[str, Any]:
    """What the controller says of ports; nothing while it does not answer."""
    with contextlib.suppress(OSError):
        return dict(control.request(net.lab.control, {"do": "status"})["ports"])
    return {}


def wait_refused(net: Net, *texts: str) -> None:
    """Wait until the controller refuses exactly these interfaces, in these words."""
    wait_until(lambda: ports(net).get("refused") == list(texts), f"refused: {texts}")


def keepers(net: Net, port: str) -> set[str]:
    """Return the hosts whose switches remember that they have a port: what a controller that starts anew goes by."""
    found = set()
    for host in net.lab.plan.hosts:
        said = net.lab.exec_host(host, ["ovs-ofctl", "dump-flows", "br-int"], check=True).stdout
        notes = (bytes.fromhex(note.replace(".", "")) for note in re.findall(r"note:([0-9a-f.]+)", said))
        if port in read_places(note.rstrip(b"\0").decode() for note in notes):
            found.add(host)
    return found


class RoamingStream(Stream):
    """A stream one of whose ends moves: what cannot even be sent while it is away is lost as well."""

    def _send(self) -> None:
        while not self._over.wait(1 / self.RATE):
            with contextlib.suppress(OSError):
                self._sender.send(struct.pack("!I", self.sent))
            self.sent += 1


class Conversation:
    """A TCP connection between two ports that is used again and again: what one end says, the other repeats."""

    def __init__(self, net: Net, client: str, server: str, number: int) -> None:
        with inside(net.lab.port_namespace(server)):
            self._listener = socket.create_server(("", number))
        with inside(net.lab.port_namespace(client)):
            self._client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._client.settimeout(PATIENCE_S)
        self._client.connect((net.address(server), number))
        self._server, _ = self._listener.accept()
        self._server.settimeout(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._client, self._server, self._listener):
            each.close()

    def exchange(self) -> None:
        """Let a few words go there and back."""
        for word in (b"one", b"two", b"three"):
            self._client.sendall(word)
            assert self._server.recv(64) == word
            self._server.sendall(word)
            assert self._client.recv(64) == word


def rename(net: Net, port: str, interface: str) -> None:
    """Give a port's interface on its host another name, as if it had been plugged in so; its iface-id says what it is."""
    planned = net.lab.plan.ports[port]
    switch = net.lab.switch(planned.host)
    switch.configure([("del-port", planned.bridge, planned.interface)])
    with inside(net.lab.host_namespace(planned.host)):
        ip([f"link set {planned.interface} down", f"link set {planned.interface} name {interface}"])
        ip([f"link set {interface} up"])
    switch.configure(port_commands(dataclasses.replace(planned, interface=interface)))


class Stranger:
    """A second interface on a host's br-int that says it is a port, with the port's MAC and IPv4 address."""

    def __init__(self, net: Net, host: str, interface: str, port: str, status: str = "active") -> None:
        self._net, self._host, self._interface, self._port, self._status = net, host, interface, port, status
        self._mac = bytes.fromhex(net.lab.plan.ports[port].mac.replace(":", ""))

    def __enter__(self) -> Self:
        add = ("add-port", "br-int", self._interface, "--", "set", "interface", self._interface, "type=internal")
        said = (f'external_ids:iface-id="{self._port}"', f"external_ids:iface-status={self._status}")
        self._net.lab.switch(self._host).configure([(*add, *said)])
        with inside(self._net.lab.host_namespace(self._host)):
            ip([f"link set {self._interface} address {self._net.lab.plan.ports[self._port].mac} up"])
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ANY_PROTOCOL))
            self._socket.bind((self._interface, ANY_PROTOCOL))
        self._socket.setblocking(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._net.lab.switch(self._host).configure([("--if-exists", "del-port", "br-int", self._interface)])

    def become(self, status: str) -> None:
        """Say that the interface is `active` or `inactive` now."""
        change = ("set", "interface", self._interface, f"external_ids:iface-status={status}")
        self._net.lab.switch(self._host).configure([change])

    def shout(self) -> None:
        """Send a gratuitous ARP, as a port may that is where it should be."""
        for frame in announcements(int.from_bytes(self._mac, "big"), [ip_address(self._net.address(self._port))]):
            self._socket.send(frame)

    def is_mine(self, frame: bytes) -> bool:
        """Whether a frame bears the port's MAC as its source."""
        return frame[6:12] == self._mac

    def heard(self) -> list[bytes]:
        """Return what has been received since the last call."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, address = self._socket.recvfrom(1 << 16)
                if address[2] != socket.PACKET_OUTGOING:
                    found.append(frame)
        return found
