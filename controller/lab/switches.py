"""A host's own Open vSwitch: `ovsdb-server` and `ovs-vswitchd` in a private directory and a namespace of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from controller.lab.namespaces import Process, inside
from controller.lab.plan import LabError
from controller.switch.access import Command, HostError
from controller.switch.ovsdb import OPENFLOW, transact

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")

_DAEMON = ("--detach", "--no-chdir", "--pidfile", "--log-file", "-vconsole:off")
_START_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Switch:
    """An Open vSwitch of the lab, running or to be started."""

    directory: Path
    namespace: str

    @property
    def database(self) -> str:
        """Its database, as `ovs-vsctl --db` takes it."""
        return f"unix:{self.directory}/db.sock"

    @property
    def environment(self) -> dict[str, str]:
        """An environment in which Open vSwitch's programs find this switch without options."""
        private = {name: str(self.directory) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")}
        return os.environ | private

    def start(self) -> list[Process]:
        """Start both daemons and return them; they are ready for `configure` then."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._run("ovsdb-tool", "create", "conf.db", str(SCHEMA))
        return self.start_again()

    def start_again(self) -> list[Process]:
        """Start both daemons on the database that is there, as after a crash or a power failure, and return them."""
        self._run("ovsdb-server", "conf.db", "--remote=punix:db.sock", *_DAEMON)
        database = self._process("ovsdb-server")
        self._run("ovs-vsctl", "--no-wait", "init")
        # The kernel's datapath has no part in a lab; not looking for it saves its module from being loaded.
        self._run("ovs-vswitchd", self.database, "--disable-system", *_DAEMON)
        return [database, self._process("ovs-vswitchd")]

    def configure(self, commands: Iterable[Command]) -> None:
        """Run `ovs-vsctl` commands in one transaction and wait until the switch has taken them."""
        try:
            transact(commands, self.database)
        except HostError as error:
            raise LabError(f"{self.namespace}: {error}") from None

    def _process(self, daemon: str) -> Process:
        text = (self.directory / f"{daemon}.pid").read_text(encoding="ascii")
        return Process.of(int(text), f"{daemon} of {self.namespace}")

    def _run(self, *command: str) -> None:
        try:
            with inside(self.namespace):
                done = subprocess.run(
                    command,
                    cwd=self.directory,
                    env=self.environment,
                    capture_output=True,
                    text=True,
                    timeout=_START_SECONDS,
                    check=False,
                )
        except FileNotFoundError:
            raise LabError(f"{command[0]} is not installed (Debian: apt install openvswitch-switch)") from None
        if done.returncode:
            raise LabError(f"{self.namespace}: {command[0]}: {done.stderr.strip()}")


def with_version(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command line that reaches our bridges: `ovs-ofctl` alone would offer OpenFlow 1.0, which they refuse.

    >>> with_version(("ovs-ofctl", "dump-flows", "br-int"))
    ('ovs-ofctl', '-O', 'OpenFlow14', 'dump-flows', 'br-int')
    """
    chosen = any(word.startswith(("-O", "--protocols")) for word in argv)
    return (argv[0], "-O", OPENFLOW, *argv[1:]) if argv[:1] == ("ovs-ofctl",) and not chosen else argv
