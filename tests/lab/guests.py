"""Machines that ask for their addresses: real clients with their own scripts, each with an /etc, a /run and a name of its own.

guest = Guest(net, "red/web1", tmp_path)
guest.run("dhclient", "-1", "eth0")         what the client says
guest.addresses(4), guest.routes(4)         what it has made of it
guest.resolv_conf, guest.name
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.lab.net import Net
from tests.scenarios.labs import wait_until

# What clients write must not reach the machine that the tests run on.
_APART = """
hostname localhost
mount --bind "$0/etc" /etc && mount --bind "$0/run" /run
mount --bind "$0/dhcpcd" /var/lib/dhcpcd && mount --bind "$0/dhclient" /var/lib/dhcp
"""
_ONCE = _APART + '"$@"; code=$?; hostname > "$0/name"; exit $code'
_ON = _APART + 'exec "$@"'
_CLIENT_SECONDS = 60


class Guest:
    """A port as a machine that boots: it has a MAC, and knows nothing else."""

    def __init__(self, net: Net, port: str, folder: Path) -> None:
        self.net = net
        self.port = port
        self._folder = folder / port.replace("/", ".")
        for name in ("run/dhcpcd", "dhcpcd", "dhclient"):
            (self._folder / name).mkdir(parents=True)
        shutil.copytree("/etc", self._folder / "etc", symlinks=True)
        self._running: subprocess.Popen[str] | None = None

    def _command(self, script: str, argv: Collection[str]) -> list[str]:
        apart = ["unshare", "--uts", "--mount", "sh", "-c", script, str(self._folder), *argv]
        return self.net.lab.port_command(self.port, apart)

    def run(self, *argv: str) -> str:
        """Run a client that ends once it has what it wants; return what it said."""
        done = subprocess.run(
            self._command(_ONCE, argv), capture_output=True, text=True, timeout=_CLIENT_SECONDS, check=False
        )
        assert not done.returncode, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @property
    def leases(self) -> Path:
        """Where dhclient keeps what it was given."""
        return self._folder / "dhclient"

    def start(self, *argv: str) -> Path:
        """Start a client that goes on; return the file that it says everything in. The lab ends it."""
        said = self._folder / "said"
        with said.open("w", encoding="utf-8") as out:
            self._running = subprocess.Popen(
                self._command(_ON, argv),
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        return said

    def tell(self, number: signal.Signals) -> None:
        """Send the client that goes on a signal."""
        assert self._running is not None
        self._running.send_signal(number)

    def end(self) -> None:
        """End the client that goes on, without a word to anybody."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    @property
    def name(self) -> str:
        """What the machine was called when the last client ended."""
        return (self._folder / "name").read_text(encoding="utf-8").strip()

    @property
    def resolv_conf(self) -> list[str]:
        """The lines of resolv.conf that say something, in order, each once."""
        lines = (self._folder / "etc" / "resolv.conf").read_text(encoding="utf-8").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def addresses(self, version: int) -> set[str]:
        """The addresses of eth0 that are no link's, once all are known to be nobody else's."""
        wait_until(lambda: not self._tentative(), "addresses are still looked at")
        found = self._told("-d", f"-{version}", "address", "show", "dev", "eth0")[0].get("addr_info", ())
        return {each["local"] for each in found if each["scope"] == "global"}

    def preferred(self, version: int) -> set[str]:
        """Those of the addresses that the kernel takes for what it begins to say."""
        found = self._told(f"-{version}", "address", "show", "dev", "eth0", "scope", "global", "-deprecated")[0]
        return {each["local"] for each in found.get("addr_info", ()) if each}

    def _tentative(self) -> bool:
        told = self._told("-d", "-6", "address", "show", "dev", "eth0")
        return any(each.get("tentative") for link in told for each in link.get("addr_info", ()))

    def routes(self, version: int) -> dict[str, str | None]:
        """The routes through eth0: where they lead, and the next hop if there is one."""
        told = self._told(f"-{version}", "route", "show", "dev", "eth0")
        return {each["dst"]: each.get("gateway") for each in told if not each["dst"].startswith(("fe80:", "ff00:"))}

    def lifetime(self, destination: str) -> int:
        """For how many seconds an IPv6 route stays."""
        told = self._told("-6", "route", "show", "dev", "eth0")
        return int(next(each["expires"] for each in told if each["dst"] == destination))

    @property
    def mtu(self) -> int:
        """The MTU of eth0."""
        return int(self._told("link", "show", "dev", "eth0")[0]["mtu"])

    def set_mtu(self, mtu: int) -> None:
        """Give eth0 an MTU by hand."""
        self.net.lab.exec_port(self.port, ["ip", "link", "set", "eth0", "mtu", str(mtu)], check=True)

    def _told(self, *argv: str) -> list[dict[str, Any]]:
        said = self.net.lab.exec_port(self.port, ["ip", "-j", *argv], check=True).stdout
        told = json.loads(said or "[]")
        # `ip -j` leaves an empty object for every interface that it passes over.
        return [each for each in told if each] or [{}]
