"""Real packets through the lab: that the policy is enforced, and that nothing is lost while the controller is away."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
from types import TracebackType
from typing import Any, Self

from benchmarks.workload import Document
from controller.lab.lab import Lab
from controller.lab.namespaces import inside

_PATIENCE_S = 3.0
_REFUSED_S = 0.5
_HTTP, _NOT_OPEN = 80, 81
_PINGS_PER_S = 100


class NotEnforced(Exception):
    """The switches let through what the files refuse, or refuse what they allow."""


def two_hosts(document: Document, lab: Lab) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two plugged ports of one network on two hosts, the second of the group `web`."""
    plugged = set(lab.plugged)
    ports = [port for port in document["ports"] if _name(port) in plugged]
    for server in ports:
        if server["groups"][0].endswith("-web"):
            for client in ports:
                if client["network"] == server["network"] and client["host"] != server["host"]:
                    return client, server
    raise ValueError("no network of the workload is on two hosts")


def check_policy(lab: Lab, document: Document) -> None:
    """Open an allowed and a refused connection between two hosts; raise NotEnforced if either ends otherwise."""
    client, server = two_hosts(document, lab)
    check_connections(lab, _name(client), _name(server), server["ip"], _HTTP, _NOT_OPEN)


def check_connections(lab: Lab, client: str, server: str, address: str, allowed: int, refused: int) -> None:
    """Open two TCP connections from a port to another; raise NotEnforced if the allowed one fails or the refused one does not."""
    with contextlib.ExitStack() as stack:
        with inside(lab.port_namespace(server)):
            for number in (allowed, refused):
                stack.enter_context(socket.create_server((address, number)))
        with inside(lab.port_namespace(client)):
            if not _connects(address, allowed, _PATIENCE_S):
                raise NotEnforced(f"{client} does not reach {server} at tcp/{allowed}, which is allowed")
            if _connects(address, refused, _REFUSED_S):
                raise NotEnforced(f"{client} reaches {server} at tcp/{refused}, which nothing allows")


def _connects(address: str, port: int, seconds: float) -> bool:
    try:
        socket.create_connection((address, port), seconds).close()
    except TimeoutError:
        return False
    return True


class Pings:
    """A context in which one port pings another a hundred times a second; afterwards `sent` and `lost` say how it went."""

    def __init__(self, lab: Lab, document: Document) -> None:
        client, server = two_hosts(document, lab)
        words = ["ping", "-n", "-q", "-i", str(1 / _PINGS_PER_S), "-W", "1", server["ip"]]
        self._command = lab.port_command(_name(client), words)
        self.sent = 0
        self.lost = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        said, _ = self._process.communicate(timeout=_PATIENCE_S)
        found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        if found is None:
            raise NotEnforced(f"ping said nothing: {said}")
        self.sent = int(found[1])
        # The last echo may be on its way when ping is told to end.
        self.lost = max(0, self.sent - int(found[2]) - 1)


def _name(port: dict[str, Any]) -> str:
    return f"{port['tenant']}/{port['name']}"
