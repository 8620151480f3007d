"""One switch with more than 100,000 flows: how fast they get there, and how fast a reconnect is known to need none.

The flows are compiled from a workload, not made up, and the code is the controller's own: sessions, workers and wire of
`controller.switch`, in this process, with a listener of its own and nobody in the engine's place but this module. The switch is
a real `ovs-vswitchd` of a lab.
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

# os-ken's other modules can only be imported after this one.
from os_ken.base.app_manager import AppManager, OSKenApp
from os_ken.controller import ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.controller.ofp_handler import OFPHandler
from os_ken.ofproto import ofproto_v1_4

from benchmarks.figure import Figure, Unit, median
from benchmarks.measure import Timing
from benchmarks.offline import collect_seldom, load, messages
from benchmarks.process import Late
from benchmarks.raw import connect, dump_all, push, stream
from benchmarks.topology import write_topology
from benchmarks.workload import Size, generate
from controller.lab.lab import Lab
from controller.lab.plan import DATAPATH
from controller.lab.switches import Switch
from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Program
from controller.switch import runtime
from controller.switch.options import CONF
from controller.switch.ovsdb import OPENFLOW, command_line
from controller.switch.registry import Switches
from controller.switch.status import State, SwitchStatus

_PATIENCE_S = 60.0
_POLL_S = 0.002
_BRIDGE = "push"
_LISTENS, _NOBODY = 6650, 9  # The bridge's own port for the raw dump, and one where no controller is.


class _App(OSKenApp):  # type: ignore[misc]  # os-ken has no types.
    """Hands os-ken's events to the switch side, as `controller.app` does."""

    OFP_VERSIONS: ClassVar = (ofproto_v1_4.OFP_VERSION,)

    def __init__(self, *args: Any, switches: Switches, **options: Any) -> None:
        super().__init__(*args, **options)
        self._switches = switches

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])  # type: ignore[untyped-decorator]
    def state_changed(self, event: Any) -> None:
        """A switch has finished its handshake, or is gone."""
        if event.state == MAIN_DISPATCHER:
            self._switches.opened(event.datapath)
        else:
            self._switches.closed(event.datapath)


class SwitchSide:
    """A context in which the controller's switch side listens at an address; an observer, too, that wakes who waits."""

    def __init__(self, address: str, host_name: str) -> None:
        self._address = address
        self._changed = threading.Condition()
        self._manager = AppManager()
        self.switches = Switches(self, lambda _dpid: host_name, lambda _dpid, table: str(table))
        self._programs: dict[int, Program] = {}
        self.target = ""  # Where the switches find us, as OVSDB says it.

    def __enter__(self) -> Self:
        runtime.apply_overrides()
        options = ["--ofp-listen-host", self._address, "--ofp-tcp-listen-port", "0"]
        CONF(args=options, project="os_ken", default_config_files=[])
        self._manager.instantiate(_App, switches=self.switches).start()
        handler = self._manager.instantiate(OFPHandler)
        handler.start()
        self.target = f"tcp:{self._address}:{handler.controller.address[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.switches.close(1.0)
        runtime.stop_listening()
        self._manager.close()

    def bring(self, program: Program) -> float:
        """Make a switch hold a program; return the seconds until it has confirmed."""
        self._programs[program.dpid] = program
        start = time.perf_counter()
        self.switches.target(program.dpid, program)
        self.wait(program.dpid, lambda status: _holds(status, len(program.flows)))
        return time.perf_counter() - start

    def wait(self, dpid: int, is_there: Callable[[SwitchStatus], bool]) -> SwitchStatus:
        """Wait until a switch is so far; raise Late if it is not in time."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            status = self.switches.statuses().get(dpid)
            if status is not None and is_there(status):
                return status
            if time.monotonic() > deadline:
                raise Late(f"the switch did not get there in {_PATIENCE_S:.0f} s: {status}")
            with self._changed:
                # What is told is often told a moment before it can be seen.
                self._changed.wait(_POLL_S)

    # What an observer is told.

    def held(self, dpid: int, notes: Sequence[str]) -> None:
        """What a switch remembers of former numbers is of no concern here."""

    def connected(self, dpid: int, _ports: Mapping[str, int]) -> None:
        """A switch that comes back is told what to hold."""
        program = self._programs.get(dpid)
        if program is not None:
            self.switches.target(dpid, program)

    def silent(self, dpid: int, _interfaces: frozenset[str]) -> None:
        """No gateway is measured."""

    def disconnected(self, dpid: int) -> None:
        """That it is gone is seen in its state."""

    def changed(self, _status: SwitchStatus) -> None:
        """Wake who waits."""
        with self._changed:
            self._changed.notify_all()


def measure_push(size: Size, directory: Path, runs: int) -> Iterator[Figure]:
    """Measure the switch of the host that has most flows."""
    folder = directory / "topology"
    write_topology(generate(size), folder)
    topology = load(folder)
    program = _fullest(compile_fabric(topology))
    host = program.host
    collect_seldom()
    others = set(topology.hosts) - {host} | set(topology.ports)
    lab = Lab.up(
        topology, folder, f"bench-{directory.name}", directory=directory / "lab", controller=False, without=others
    )
    try:
        address = next(each["management"] for each in lab.status()["hosts"] if each["name"] == host)
        with SwitchSide(lab.listen.rpartition(":")[0], host) as side, _bridge(lab.switch(host), program, address):
            yield Figure("push", "flows of the switch", len(program.flows), Unit.COUNT)
            _set_controller(lab.switch(host), address, side.target)
            yield from _pushes(side, lab, runs, lambda: _fullest(compile_fabric(topology)))
            yield from _reconnects(side, lab.switch(host), program, address, runs)
    finally:
        lab.down()


def _pushes(side: SwitchSide, lab: Lab, runs: int, compiled: Callable[[], Program]) -> Iterator[Figure]:
    """Push into an empty switch, compiled flows (which are packed on the way) and prepared bytes in turn."""
    fresh: list[float] = []
    again: list[float] = []
    raw: list[float] = []
    program = compiled()
    # The first that many flows cost the switch its memory as well, which neither way shall pay.
    push(lab, {program.host: [stream(messages(program))]})
    for _ in range(runs):
        program = compiled()
        empty = Program(program.host, program.bridge, program.dpid)
        side.bring(empty)
        gc.collect()
        fresh.append(side.bring(program))
        side.bring(empty)
        again.append(side.bring(program))
        raw.append(push(lab, {program.host: [stream(messages(program))]})[0])
    count = len(program.flows)
    limit = count / Timing.of(raw).median_s
    for name, seconds in (("compiled flows into one switch", fresh), ("the same, packed before", again)):
        timing = Timing.of(seconds)
        yield Figure("push", name, count / timing.median_s, Unit.FLOWS_PER_S, limit, timing.runs_s)


def _reconnects(side: SwitchSide, switch: Switch, program: Program, address: str, runs: int) -> Iterator[Figure]:
    """Let the switch come back holding everything; the clock starts before it is told where its controller is."""
    side.bring(program)
    seconds, flow_mods = [], 0
    for _ in range(runs):
        _set_controller(switch, address, _nobody(address))
        side.wait(program.dpid, lambda status: status.state is State.DOWN)
        gc.collect()
        start = time.perf_counter()
        _set_controller(switch, address, side.target)
        status = side.wait(program.dpid, lambda status: _holds(status, len(program.flows)))
        seconds.append(time.perf_counter() - start)
        flow_mods += status.added + status.modified + status.deleted
    with contextlib.closing(connect(address, _LISTENS)) as channel:
        raw = Timing.of(dump_all(channel) for _ in range(runs))
    yield median("push", "reconnect of a switch that holds all flows", Timing.of(seconds), raw)
    yield Figure("push", "reconnect: flow-mods", flow_mods, Unit.COUNT)


def _holds(status: SwitchStatus, flows: int) -> bool:
    return status.state is State.IN_SYNC and status.flows_installed == flows


def _fullest(programs: list[Program]) -> Program:
    return max(programs, key=lambda program: len(program.flows))


def _nobody(address: str) -> str:
    return f"tcp:{address}:{_NOBODY}"


@contextlib.contextmanager
def _bridge(switch: Switch, program: Program, address: str) -> Iterator[None]:
    """Make the bridge that is pushed to. It always has some controller: without one Open vSwitch would drop its flows."""
    settings = [f"datapath_type={DATAPATH}", "fail_mode=secure", f"protocols={OPENFLOW}"]
    dpid = f"other_config:datapath-id={program.dpid:016x}"
    switch.configure(
        [
            ("add-br", _BRIDGE),
            ("set", "bridge", _BRIDGE, *settings, dpid, "other_config:disable-in-band=true"),
            ("set-controller", _BRIDGE, _nobody(address), f"ptcp:{_LISTENS}:{address}"),
        ]
    )
    try:
        yield
    finally:
        switch.configure([("del-br", _BRIDGE)])


def _set_controller(switch: Switch, address: str, target: str) -> None:
    """Tell the switch where its controller is, and do not wait until it has looked."""
    targets = (target, f"ptcp:{_LISTENS}:{address}")
    command = command_line([("set-controller", _BRIDGE, *targets)], switch.database)
    subprocess.run([command[0], "--no-wait", *command[1:]], check=True)
