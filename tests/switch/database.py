"""A private `ovsdb-server` with Open vSwitch's schema: no switch, no root."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ovs.twin import SCHEMA
from tests.switch.harness import wait_for


class DatabaseServer:
    """A context manager around one server on `unix:`, `tcp:` or (with the folder of a certificate) `ssl:`; br-int is there."""

    def __init__(self, directory: Path, certificates: Path | None = None) -> None:
        self.directory = directory
        self.port = _free_port()
        self._certificates = certificates
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def unix(self) -> str:
        return f"unix:{self.directory}/db.sock"

    @property
    def tcp(self) -> str:
        return f"tcp:127.0.0.1:{self.port}"

    @property
    def ssl(self) -> str:
        return f"ssl:127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        subprocess.run(["ovsdb-tool", "create", str(self.directory / "conf.db"), str(SCHEMA)], check=True)
        self.start()
        try:
            self.vsctl("init", "--", "add-br", "br-int")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it listens."""
        command = ["ovsdb-server", "conf.db", "--remote=punix:db.sock", "--unixctl=ctl", "-vconsole:off"]
        if self._certificates is None:
            command.append(f"--remote=ptcp:{self.port}:127.0.0.1")
        else:
            files = self._certificates
            command.append(f"--remote=pssl:{self.port}:127.0.0.1")
            command += [
                f"--private-key={files}/key.pem",
                f"--certificate={files}/cert.pem",
                f"--ca-cert={files}/ca.pem",
            ]
        environment = os.environ | {"OVS_RUNDIR": str(self.directory)}
        self._process = subprocess.Popen(command, cwd=self.directory, env=environment)
        wait_for((self.directory / "ctl").exists, "the database server listens")

    def stop(self) -> None:
        """End the server; a stopped one as well."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Let the server neither answer nor listen, as one does that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def vsctl(self, *words: str) -> None:
        """Change the database, without a switch to wait for."""
        command = ["ovs-vsctl", f"--db={self.unix}", "--timeout=10", "--no-wait", *words]
        subprocess.run(command, check=True)

    def plug(self, interface: str, iface_id: str, status: str = "active") -> None:
        """Add an interface to br-int as hypervisors do, in one transaction."""
        self.vsctl(
            *("--may-exist", "add-port", "br-int", interface, "--", "set", "interface", interface),
            *(f'external_ids:iface-id="{iface_id}"', f"external_ids:iface-status={status}"),
        )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
