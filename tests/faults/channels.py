"""What is done to the connections between a lab's switches and its controller."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controller.lab.build import OPENFLOW_PORT
from controller.lab.namespaces import inside, ip
from tests.faults.site import controller_of, status_of
from tests.lab.net import Net
from tests.scenarios.labs import PATIENCE_S, wait_until


def cut(net: Net, host: str) -> None:
    """Let everything between a host and the controller vanish on the way: neither end hears of it."""
    _wire(net, host, "nomaster")


def mend(net: Net, host: str) -> None:
    """Undo `cut`."""
    _wire(net, host, "master mgmt")


def _wire(net: Net, host: str, state: str) -> None:
    with inside(net.lab._state.namespace()):
        ip([f"link set m{net.lab._state.hosts[host]} {state}"])


@dataclass(frozen=True, slots=True)
class Means:
    """What a process has taken: threads, descriptors, and resident memory in KiB."""

    threads: int
    descriptors: int
    memory: int

    @staticmethod
    def of_controller(net: Net) -> Means:
        """Return what the lab's controller has taken by now."""
        folder = Path("/proc") / str(controller_of(net).pid)
        facts = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        threads, memory = int(facts["Threads"]), int(facts["VmRSS"].split()[0])
        return Means(threads, len(list((folder / "fd").iterdir())), memory)


class Flapping:
    """A bridge whose connection is thrown away and made anew, as often as wanted, by its own database."""

    def __init__(self, net: Net, host: str, bridge: str) -> None:
        self._net, self._host, self._bridge = net, host, bridge
        command = ["ovs-vsctl", "--bare", "get", "bridge", bridge, "controller"]
        self._row = net.lab.exec_host(host, command, check=True).stdout.strip("[]\n")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(net.lab.switch(host).directory / "db.sock"))
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._point_to(f"tcp:{self._net.lab.listen}")
        self._socket.close()

    def once(self) -> None:
        """Let the bridge connect anew, by other words for the same address; return once the controller has the new connection."""
        before = status_of(self._net, self._host, self._bridge)["peer"]
        address = self._net.lab.listen.partition(":")[0]
        self._point_to(f"tcp:{address}:{OPENFLOW_PORT}" if self._number % 2 else f"tcp:{address}")
        wait_until(
            lambda: status_of(self._net, self._host, self._bridge)["peer"] not in ("", before), "it is connected again"
        )

    def _point_to(self, target: str) -> None:
        self._number += 1
        where = [["_uuid", "==", ["uuid", self._row]]]
        change = {"op": "update", "table": "Controller", "where": where, "row": {"target": target}}
        request = {"method": "transact", "params": ["Open_vSwitch", change], "id": self._number}
        self._socket.sendall(json.dumps(request).encode())
        answer = self._answer()
        assert answer == [{"count": 1}], answer

    def _answer(self) -> Any:
        """Read until there is one whole message; there is nothing else on this connection but answers."""
        text = ""
        while True:
            text += self._socket.recv(4096).decode()
            try:
                return json.loads(text)["result"]
            except ValueError:
                continue


@contextmanager
def impostor(net: Net, host: str, dpid: str) -> Iterator[str]:
    """A bridge on a host that claims another one's datapath id, while the block lasts; its name."""
    name = "br-impostor"
    settings = "fail_mode=secure", "protocols=OpenFlow14", "datapath_type=netdev", f"other_config:datapath-id={dpid}"
    made = ["add-br", name, "--", "set", "bridge", name, *settings]
    net.lab.exec_host(host, ["ovs-vsctl", *made, "--", "set-controller", name, f"tcp:{net.lab.listen}"], check=True)
    try:
        yield name
    finally:
        net.lab.exec_host(host, ["ovs-vsctl", "del-br", name], check=True)
