"""The town of dummy switches under a whole controller, files and all, whose log of connections is read.

with Logged(directory, "web: {ingress: [{protocol: tcp, ports: 80, log: true}]}", {"server": ["web"]}) as town:
    town.send(NEAR, "tcp 80")              who received it?
    town.lines(1)                          what the log of connections has got since, so many lines at least
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from os_ken.base.app_manager import AppManager
from os_ken.controller.ofp_handler import OFPHandler

from controller.app import LoadedEngine, Weft
from controller.engine.answers import answer
from controller.engine.seats import seats
from controller.model.names import interface_name
from controller.pipeline.samples import METER
from controller.switch import runtime
from controller.switch.options import CONF
from tests.ovs.fabric import FabricTwin
from tests.ovs.frames import frame
from tests.ovs.twin import AT_ONCE
from tests.scenarios.talk import answer_to, request
from tests.scenarios.town import PORTS
from tests.switch.harness import wait_for

Line = dict[str, Any]

_FABRIC = """\
fabric: town
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
tenants:
  red: {segments: 5001-5001}
"""


class Logged:
    """A context manager around the switches, the controller and the log."""

    def __init__(self, directory: Path, groups: str, members: Mapping[str, Sequence[str]]) -> None:
        self.log = directory / "connections.log"
        self._directory = directory
        self._folder = directory / "files"
        (self._folder / "tenants").mkdir(parents=True)
        (self._folder / "fabric.yaml").write_text(_FABRIC)
        self._save(groups, members)
        self._read = 0
        self._manager = AppManager()
        self.packets: list[bytes] = []  # Every packet that a switch has sent the controller.

    def __enter__(self) -> Self:
        runtime.apply_overrides()
        options = ["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", "0", "--topology", str(self._folder)]
        options += ["--control", str(self._directory / "control.sock"), "--connection-log", str(self.log)]
        CONF(args=options, project="os_ken", default_config_files=[])
        self.engine = LoadedEngine()
        topology = self.engine.intent.topology
        assert topology is not None
        (self._directory / "ovs").mkdir()
        self.net = FabricTwin(self._directory / "ovs", topology).__enter__()
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the controller, then the switches."""
        runtime.stop_listening()
        self._manager.close()
        self.net.__exit__(None, None, None)

    def _begin(self) -> None:
        app = self._manager.instantiate(Weft, engine=self.engine)
        self._spy(app)
        handler = self._manager.instantiate(OFPHandler)
        app.start()
        handler.start()
        self._target = "tcp:{}:{}".format(*handler.controller.address)
        for dpid, seat in seats(self.net.topology).items():
            identity = ["set", "bridge", seat.bridge, f"other_config:datapath-id={dpid:016x}"]
            self.net.hosts[seat.host].configure(identity)
        self.lead(self._target)
        wait_for(lambda: self.engine.status()["in_sync"], "every switch in sync")
        self._purge()

    def _spy(self, app: Weft) -> None:
        """Note what comes, on its way to the log."""
        onward = app.switches._on_packet

        def note(dpid: int, packet: bytes) -> None:
            self.packets.append(packet)
            onward(dpid, packet)

        app.switches._on_packet = note

    def lead(self, target: str | None = None) -> None:
        """Let all switches look for their controller there, or where it is."""
        for seat in seats(self.net.topology).values():
            create = ["--id=@c", "create", "controller", f'target="{target or self._target}"', "max_backoff=1000"]
            self.net.hosts[seat.host].configure(create, ["set", "bridge", seat.bridge, "controller=@c"])

    def is_led(self) -> bool:
        """Whether any switch is connected."""
        return any(switch["state"] != "down" for switch in self.engine.status()["switches"])

    def edit(self, groups: str, members: Mapping[str, Sequence[str]]) -> None:
        """Change the files, and wait until every switch has confirmed."""
        self._save(groups, members)
        told = answer(self.engine, {"do": "apply", "wait": True})
        assert told["accepted"], told
        wait_for(lambda: self.engine.status()["in_sync"], "every switch in sync")
        self._purge()

    def send(self, source: str, target: str, *requests: str, version: int = 4) -> list[str]:
        """Send packets that open connections; return who received each, nobody as an empty name."""
        made = [request(self.net.topology, source, target, what, version=version) for what in requests]
        return [next(iter(self.net.send(source, frame(each))), "") for each in made]

    def flood(self, source: str, target: str, what: str, count: int) -> int:
        """Send as many packets as fast as a host of both ports takes them; return how many arrived."""
        made = (request(self.net.topology, source, target, what) for _ in range(count))
        frames = [frame(each) for each in made]
        twin = self.net.hosts[self.net.location[source]]
        for first in range(0, count, AT_ONCE):
            twin.inject(interface_name(source), *frames[first : first + AT_ONCE])
            twin.settle()
        return len(set(twin.sent(interface_name(target))).intersection(frames))

    def converse(self, source: str, target: str, what: str, times: int) -> bool:
        """Send one packet so often, each answered; return whether all of them and their answers arrived."""
        asked = request(self.net.topology, source, target, what)
        sent, back = frame(asked), frame(answer_to(asked, target))
        return all(
            self.net.send(source, sent) == {target: [sent]} and self.net.send(target, back) == {source: [back]}
            for _ in range(times)
        )

    def lines(self, count: int) -> list[Line]:
        """Return the lines that have been written since the last call, once there are so many, without their times."""
        wait_for(lambda: len(self._unread()) >= count, f"{count} lines")
        lines = self._unread()
        self._read += len(lines)
        return [{name: value for name, value in json.loads(line).items() if name != "time"} for line in lines]

    def _unread(self) -> list[str]:
        # Places are as the files were named, here by a folder of this test's.
        told = self.log.read_text().replace(f"{self._folder}/", "") if self.log.exists() else ""
        return told.splitlines()[self._read :]

    def meters(self) -> list[str]:
        """The hosts whose switch has the meter of samples."""
        return [
            name for name, twin in self.net.hosts.items() if f"meter={METER} " in twin.ofctl("dump-meters", "br-int")
        ]

    def _save(self, groups: str, members: Mapping[str, Sequence[str]]) -> None:
        (self._folder / "tenants" / "red.yaml").write_text("".join(_tenant(groups.splitlines(), members)))

    def _purge(self) -> None:
        for twin in self.net.hosts.values():
            twin.control.call("revalidator/purge")


def _tenant(groups: Sequence[str], members: Mapping[str, Sequence[str]]) -> Iterable[str]:
    yield "networks:\n  n: {cidr: [10.0.0.0/24, 'fd00::/64'], gateway: [10.0.0.254, 'fd00::ff'], segment: 5001}\nsecurity_groups:\n"
    yield from (f"  {line}\n" for line in groups)
    yield "ports:\n"
    for name, (host, number) in PORTS.items():
        bare = name.partition("/")[2]
        joined = ", ".join(members.get(bare, ()))
        addresses = f"[10.0.0.{number}, 'fd00::{number}'], mac: '02:00:00:00:00:0{number}'"
        yield f"  {bare}: {{network: n, ip: {addresses}, host: {host}, security_groups: [{joined}]}}\n"
