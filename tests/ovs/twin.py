"""A private Open vSwitch with the dummy datapath: real flow tables, real conntrack, no root, no network.

One process stands for all hosts of a fabric. Frames are injected at dummy ports and what a port sends is read from
its capture file, so that a test sees what a wire would. Interfaces carry names that are unique in the process, so
a fabric names its ports `HOST-INTERFACE`.

    with Twin(directory) as twin:
        twin.add_bridge("br-int", {"p1": 1, "p2": 2})
        twin.install("br-int", ["flow add in_port=1,actions=output:2"])
        twin.inject("p1", frame)
        twin.settle()
        assert twin.sent("p2") == [frame]
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from controller.pipeline.flow import Program
from controller.pipeline.text import bundle_lines, meter_text
from tests.ovs.unixctl import Unixctl

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")

_SENTINEL_BRIDGE = "br-sentinel"
_SENTINEL_FRAME = bytes.fromhex("ffffffffffff02000000000188b5") + bytes(46)
_PCAP_HEADER = 24
_DEADLINE = 20.0
_QUEUE = 99  # Frames that may be left at a dummy port at the most.
AT_ONCE = 64  # Frames that may wait at a dummy port: it drops what comes when a hundred do.


class Twin:
    """A context manager around `ovsdb-server` and `ovs-vswitchd`, both private to one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self._offsets: dict[str, int] = {}
        self._sentinels = 0
        self._queued: Counter[str] = Counter()  # Frames that have arrived since the last wait, by port.
        self._control: Unixctl | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def control(self) -> Unixctl:
        """The daemon's control socket."""
        assert self._control is not None, "the twin is not running"
        return self._control

    def stop(self) -> None:
        """End both daemons, which only this object knows."""
        if self._control is not None:
            self._control.close()
            self._control = None
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def restart_switch(self) -> None:
        """Let ovs-vswitchd crash and start it again: flows, connections and what it was told at run time are gone."""
        self.control.close()
        process = self._processes.pop()
        process.kill()
        process.wait()
        (self.directory / "switch.ctl").unlink()
        self._offsets.clear()
        self._sentinels = 0
        self._queued.clear()
        self._start_switch()
        # What is in the database is there again once the next change of it is done.
        self.configure(
            ["--if-exists", "del-br", _SENTINEL_BRIDGE], ["remove", "open_vswitch", ".", "external_ids", "x"]
        )

    def configure(self, *commands: Iterable[str]) -> None:
        """Run ovs-vsctl commands in one transaction and wait until the switch has done them."""
        words = [word for command in commands for word in ("--", *command)]
        self._run("ovs-vsctl", f"--db=unix:{self.directory}/db.sock", "--timeout=20", *words)

    def add_bridge(self, bridge: str, ports: Mapping[str, int] | None = None) -> None:
        """Add a bridge that forwards nothing by itself, with dummy ports by name and number."""
        self.configure(*bridge_commands(bridge), *self.port_commands(bridge, ports or {}))

    def port_commands(self, bridge: str, ports: Mapping[str, int]) -> list[list[str]]:
        """Return the commands that add dummy ports whose frames are captured."""
        return [
            interface_command(bridge, name, number, "dummy", f"options:tx_pcap={self._capture(name)}")
            for name, number in ports.items()
        ]

    def install(self, bridge: str, program: Program | Iterable[str]) -> None:
        """Put a program, or the lines of an ovs-ofctl bundle file, into a bridge in one bundle."""
        lines = bundle_lines(program) if isinstance(program, Program) else program
        if isinstance(program, Program):
            self.meter(bridge, program)
        self.ofctl("bundle", bridge, "-", text="\n".join(lines) + "\n")
        # Packets would take the ways of before until the cache of the datapath has been looked through.
        self.control.call("revalidator/purge")

    def meter(self, bridge: str, program: Program) -> None:
        """Add or change the meters of a program, which no bundle takes."""
        held = set(re.findall(r"meter=(\d+)", self.ofctl("dump-meters", bridge))) if program.meters else set()
        for meter in program.meters.values():
            self.ofctl("mod-meter" if str(meter.id) in held else "add-meter", bridge, meter_text(meter))

    def ofctl(self, command: str, bridge: str, *arguments: str, text: str | None = None) -> str:
        """Run one ovs-ofctl command against a bridge."""
        target = f"unix:{self.directory}/{bridge}.mgmt"
        return self._run("ovs-ofctl", "-O", "OpenFlow14", command, target, *arguments, text=text)

    def flows(self, bridge: str, *, statistics: bool = False) -> list[str]:
        """Return the flows of a bridge as dump-flows prints them."""
        option = "--stats" if statistics else "--no-stats"
        target = f"unix:{self.directory}/{bridge}.mgmt"
        lines = self._run("ovs-ofctl", "-O", "OpenFlow14", "--no-names", option, "dump-flows", target)
        return [line.strip() for line in lines.splitlines() if "actions=" in line]

    def trace(self, bridge: str, packet: str, *options: str) -> str:
        """Return what `ofproto/trace` prints for a packet in flow syntax."""
        return self.control.call("ofproto/trace", bridge, packet, *options)

    def inject(self, port: str, *frames: bytes) -> None:
        """Let frames arrive at a dummy port, at most `AT_ONCE` before it is waited for them."""
        self._queued[port] += len(frames)
        self.control.call("netdev-dummy/receive", port, *(frame.hex() for frame in frames))

    def settle(self) -> None:
        """Wait until every frame injected so far has been worked off.

        The daemon takes frames in one thread, a turn for all ports in which each gives one, and a command between two turns. As
        many sentinel frames on a bridge of its own as the longest queue has therefore arrive in a turn that ends all work injected
        before them, and a command waits for its end.
        """
        if not self._sentinels:
            self.add_bridge(_SENTINEL_BRIDGE, {"sentinel-in": 1, "sentinel-out": 2})
            self.install(_SENTINEL_BRIDGE, ["flow add in_port=1,actions=output:2"])
        self._sentinels += 1
        waiting = min(max(self._queued.values(), default=1), _QUEUE)
        self._queued.clear()
        self.control.call("netdev-dummy/receive", "sentinel-in", *[_SENTINEL_FRAME.hex()] * waiting)
        deadline = time.monotonic() + _DEADLINE
        while waiting > 0:
            waiting -= len(self.sent("sentinel-out"))
            assert time.monotonic() < deadline, "a sentinel frame did not arrive"
            self.control.call("version")
        self.control.call("version")

    def sent(self, port: str) -> list[bytes]:
        """Return the frames that a dummy port sent since the last call."""
        path = self._capture(port)
        offset = self._offsets.get(port, _PCAP_HEADER)
        with path.open("rb") as capture:
            capture.seek(offset)
            data = capture.read()
        frames = []
        position = 0
        while position + 16 <= len(data):
            length = struct.unpack_from("<I", data, position + 8)[0]
            frames.append(data[position + 16 : position + 16 + length])
            position += 16 + length
        self._offsets[port] = offset + position
        return frames

    def flush_conntrack(self) -> None:
        """Forget all connections."""
        self.control.call("dpctl/flush-conntrack")

    def _capture(self, port: str) -> Path:
        return self.directory / f"{port.replace('/', '_')}.pcap"

    def _start(self) -> None:
        self._run("ovsdb-tool", "create", f"{self.directory}/conf.db", str(SCHEMA))
        self._spawn(
            "ovsdb-server",
            f"{self.directory}/conf.db",
            f"--remote=punix:{self.directory}/db.sock",
            f"--unixctl={self.directory}/db.ctl",
        )
        self._await(self.directory / "db.sock")
        self._run("ovs-vsctl", f"--db=unix:{self.directory}/db.sock", "--no-wait", "init")
        self._start_switch()

    def _start_switch(self) -> None:
        self._spawn(
            "ovs-vswitchd",
            f"unix:{self.directory}/db.sock",
            "--enable-dummy",
            "--disable-system",
            "--disable-system-route",
            f"--unixctl={self.directory}/switch.ctl",
        )
        self._await(self.directory / "switch.ctl")
        self._control = Unixctl(self.directory / "switch.ctl")

    def _spawn(self, program: str, *arguments: str) -> None:
        log = self.directory / f"{program}.log"
        with (self.directory / f"{program}.out").open("wb") as output:
            process = subprocess.Popen(
                [program, *arguments, "--no-chdir", f"--log-file={log}", "-vconsole:off"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)

    def _await(self, path: Path) -> None:
        """Wait until somebody listens at a socket, which has its name a moment before."""
        deadline = time.monotonic() + _DEADLINE
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(path)) == 0:
                    return
            dead = [process.args for process in self._processes if process.poll() is not None]
            assert not dead, f"{dead} ended at once"
            assert time.monotonic() < deadline, f"nobody listens at {path}"
            time.sleep(0.002)

    def _run(self, *command: str, text: str | None = None) -> str:
        done = subprocess.run(
            command, env=self._environment(), input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{' '.join(command[:6])}: {done.stderr.strip()}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        private = {name: str(self.directory) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")}
        return os.environ | private


def bridge_commands(bridge: str) -> list[list[str]]:
    """Return the commands that add a bridge as Weft runs it: closed by default, OpenFlow 1.4."""
    return [
        ["add-br", bridge],
        ["set", "bridge", bridge, "fail_mode=secure", "protocols=OpenFlow14", "datapath_type=dummy"],
        ["set", "bridge", bridge, "other_config:disable-in-band=true"],
    ]


def interface_command(bridge: str, name: str, number: int, kind: str, *options: str) -> list[str]:
    """Return the command that adds one port with its number."""
    settings = [f"type={kind}", f"ofport_request={number}", *options]
    return ["add-port", bridge, name, "--", "set", "interface", name, *settings]


def patch_commands(one: tuple[str, str, int], other: tuple[str, str, int]) -> list[list[str]]:
    """Return the commands that join two bridges, each given as (bridge, port, number)."""
    return [
        interface_command(*one, "patch", f"options:peer={other[1]}"),
        interface_command(*other, "patch", f"options:peer={one[1]}"),
    ]
