"""The controller's switch side in this process, on a port of its own, with a recorder in the engine's place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from os_ken.base.app_manager import AppManager
from os_ken.controller.ofp_handler import OFPHandler

from controller.app import Weft
from controller.model.entities import Place
from controller.pipeline.flow import Action, Flow, Group, Match, Meter, Origin, Output, Program, match
from controller.switch import runtime
from controller.switch.options import CONF
from controller.switch.registry import Switches
from controller.switch.status import State, SwitchStatus
from controller.watch import signature

PATIENCE_S = 20.0
WEB1 = Origin("port red/web1", Place("tenants/red.yaml", 12, 5))


def wait_for(condition: Callable[[], object], what: str = "") -> None:
    """Wait until a condition holds; fail after the deadline."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"did not come about: {what or condition}"
        time.sleep(0.002)


class Recorder:
    """Stands where the engine stands, and remembers what it is told."""

    def __init__(self, known: Iterable[int]) -> None:
        self.folder = Path("/nowhere")
        self.files_at_load = signature(self.folder)
        self.known = set(known)
        self.owners: dict[int, str] = {}
        self.notes: dict[int, Sequence[str]] = {}
        self.ports: dict[int, Mapping[str, int]] = {}
        self.programs: dict[int, Program] = {}  # What a switch that comes is given.
        self.gone: list[int] = []
        self.deaf: dict[int, frozenset[str]] = {}
        self.states: list[State] = []
        self.on_held: Callable[[int], None] = lambda _dpid: None
        self.on_connected: Callable[[int], None] = lambda _dpid: None

    def host_of(self, dpid: int) -> str | None:
        return self.owners.get(dpid, "hv1") if dpid in self.known else None

    def locate(self, origin: Origin) -> Origin:
        return origin

    def table_name(self, _dpid: int, table: int) -> str:
        return {0: "classify", 3: "deliver"}.get(table, str(table))

    def held(self, dpid: int, notes: Sequence[str]) -> None:
        self.notes[dpid] = notes
        self.on_held(dpid)

    def connected(self, dpid: int, ports: Mapping[str, int]) -> None:
        self.ports[dpid] = ports
        self.on_connected(dpid)
        if dpid in self.programs:
            self.switches.target(dpid, self.programs[dpid])

    def silent(self, dpid: int, interfaces: frozenset[str]) -> None:
        self.deaf[dpid] = interfaces

    def disconnected(self, dpid: int) -> None:
        self.gone.append(dpid)

    def changed(self, status: SwitchStatus) -> None:
        self.states.append(status.state)

    def attach(self, switches: Switches, _databases: object = None) -> None:
        self.switches = switches

    def named(self, _host: str, _names: Mapping[str, str]) -> None:
        """It asks for no names."""

    def start(self) -> None:
        """It has no thread."""

    def close(self, _deadline_s: float) -> None:
        """It has nothing to close."""

    def reload_soon(self) -> None:
        """It has no files."""

    def status(self) -> dict[str, Any]:
        return {"in_sync": True}


def listening(pki: Path | None) -> list[str]:
    """The options of a controller that chooses its port, with the certificates in this folder, if any."""
    if pki is None:
        return ["--ofp-tcp-listen-port", "0"]
    files = ["--ctl-privkey", f"{pki}/key.pem", "--ctl-cert", f"{pki}/cert.pem", "--ca-certs", f"{pki}/ca.pem"]
    return ["--ofp-ssl-listen-port", "0", *files]


class Control:
    """os-ken, our app and the listener, running."""

    def __init__(self, directory: Path, *known: int, pki: Path | None = None) -> None:
        self.recorder = Recorder(known)
        self._pki = pki
        self._control = directory / "control.sock"
        self._manager = AppManager()

    def __enter__(self) -> Self:
        runtime.apply_overrides()
        options = ["--ofp-listen-host", "127.0.0.1", "--control", str(self._control), *listening(self._pki)]
        CONF(args=options, project="os_ken", default_config_files=[])
        self.app = self._manager.instantiate(Weft, engine=self.recorder)
        handler = self._manager.instantiate(OFPHandler)
        self.app.start()
        handler.start()
        self.address: tuple[str, int] = handler.controller.address
        self.switches: Switches = self.app.switches
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runtime.stop_listening()
        self._manager.close()

    @property
    def target(self) -> str:
        """Where a bridge's controller is, as OVSDB says it."""
        return f"{'ssl' if self._pki else 'tcp'}:{self.address[0]}:{self.address[1]}"

    def status(self, dpid: int) -> SwitchStatus:
        return self.switches.statuses()[dpid]

    def reach(self, dpid: int, state: State) -> SwitchStatus:
        """Wait until a switch is in a state."""
        wait_for(lambda: dpid in self.switches.statuses() and self.status(dpid).state is state, f"{dpid:x} {state}")
        return self.status(dpid)

    def give(self, program: Program) -> None:
        """Give a switch its program, now and whenever it comes."""
        self.recorder.programs[program.dpid] = program
        self.switches.target(program.dpid, program)

    def bring(self, program: Program) -> SwitchStatus:
        """Give a switch its program and wait until it holds it."""
        self.give(program)
        return self.reach(program.dpid, State.IN_SYNC)


def flow(table: int, priority: int, wanted: Match, *actions: Action, goto: int | None = None) -> Flow:
    return Flow(table, priority, wanted, actions, goto, WEB1, "deliver")


def program(dpid: int, *parts: Flow | Group | Meter) -> Program:
    made = Program("hv1", "br-int", dpid)
    for part in parts:
        if isinstance(part, Flow):
            made.add(part)
        elif isinstance(part, Meter):
            made.add_meter(part)
        else:
            made.add_group(part)
    return made


def some_flows(count: int) -> list[Flow]:
    return [flow(3, 100, match(reg5=number), Output(number % 7 + 1)) for number in range(count)]


def threads_named(part: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if part in thread.name]
