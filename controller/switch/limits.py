"""How many connections the tracker keeps in each zone of this machine's switch: what its notes say, told to its daemon.

br-int's ledger ──notes──► zone, space, limit ──┐
                                                ├─► the difference ──► dpctl/ct-set-limits, dpctl/ct-del-limits
dpctl/ct-get-limits ───────► zone, limit, count ┘

OpenFlow cannot say it, and up to Open vSwitch 3.2 no database can: the daemon is told at run time, on the machine itself, and has
forgotten it when it starts again. So somebody has to stay there: `watch`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import NamedTuple

from controller.model.names import PATCH_TO_TUNNEL
from controller.pipeline.numbers import ZoneNote, read_zones
from controller.pipeline.plan import pipeline
from controller.switch.access import MARK, HostError
from controller.switch.management import ManagementSocket
from controller.switch.ovsdb import read_database
from controller.switch.unixctl import ControlSocket
from controller.wire.dump import Malformed

POLL_S = 1.0

_RUN = Path("/var/run/openvswitch")
_ANSWER_S = 5.0
_LEDGER = pipeline().tables["ledger"].number
_HELD = re.compile(r"^zone=(\d+),limit=(\d+),count=(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where this machine's switch is: its br-int, the datapath of that, and the directory of the sockets."""

    directory: Path
    bridge: str
    datapath: str
    control: Path | None = None  # If it is not where the daemon's pid file says.

    @property
    def control_socket(self) -> Path:
        """The daemon's control socket, whose name bears the number of its process."""
        if self.control is not None:
            return self.control
        pid = (self.directory / "ovs-vswitchd.pid").read_text(encoding="ascii").strip()
        return self.directory / f"ovs-vswitchd.{pid}.ctl"

    @property
    def management_socket(self) -> Path:
        """The bridge's own socket for OpenFlow."""
        return self.directory / f"{self.bridge}.mgmt"


class Change(NamedTuple):
    """A zone whose limit was another before; None is no limit. `space` is None if no note names the zone any more."""

    zone: int
    space: str | None
    before: int | None
    after: int | None


class Held(NamedTuple):
    """A zone's limit in the daemon, and how many of its connections count against it."""

    limit: int
    connections: int


def find_switch(db: str | None = None, control: Path | None = None) -> Place:
    """Return where the switch is that `weft host init` has set up; raise HostError if there is none."""
    database = read_database(db)
    patch = database.ports.get(PATCH_TO_TUNNEL)
    if patch is None or MARK not in patch.external_ids:
        raise HostError("this Open vSwitch has no bridges of Weft; `weft host init` makes them")
    kind = database.bridges[patch.bridge].columns["datapath_type"] or "system"
    if db is not None and db.startswith("unix:"):
        directory = Path(db.removeprefix("unix:")).parent
    else:
        directory = Path(os.environ.get("OVS_RUNDIR", _RUN))
    # Bridges of one type share a datapath, which Open vSwitch calls by the type.
    return Place(directory, patch.bridge, f"{kind}@ovs-{kind}", control)


class Switch:
    """Connections to one run of the daemon: when it ends, so do they."""

    def __init__(self, place: Place) -> None:
        self._datapath = place.datapath
        with contextlib.ExitStack() as stack, _told():
            self._control = ControlSocket(place.control_socket, _ANSWER_S)
            stack.callback(self._control.close)
            self._bridge = ManagementSocket(place.management_socket, _ANSWER_S)
            stack.pop_all()

    def notes(self) -> Mapping[int, ZoneNote]:
        """Return the zones that the switch remembers."""
        with _told():
            return read_zones(self._bridge.notes(_LEDGER))

    def limits(self) -> Mapping[int, Held]:
        """Return the zones that have a limit of their own."""
        with _told():
            text = self._control.call("dpctl/ct-get-limits", self._datapath)
        return {int(zone): Held(int(limit), int(count)) for zone, limit, count in _HELD.findall(text)}

    def limit(self, limits: Mapping[int, int]) -> None:
        """Set zones' limits."""
        with _told():
            words = [f"zone={zone},limit={limit}" for zone, limit in limits.items()]
            self._control.call("dpctl/ct-set-limits", self._datapath, *words)

    def free(self, zones: Sequence[int]) -> None:
        """Take zones' limits away."""
        with _told():
            self._control.call("dpctl/ct-del-limits", self._datapath, f"zone={','.join(map(str, zones))}")

    def close(self) -> None:
        """End the connections."""
        self._control.close()
        self._bridge.close()


class Keeper:
    """Keeps a switch's limits as its notes say, and knows what was said before."""

    def __init__(self) -> None:
        self._notes: Mapping[int, ZoneNote] = {}

    def apply(self, switch: Switch) -> list[Change]:
        """Bring the limits about that are wanted; return what had to be changed.

        A limit goes if its zone's note has none, or if the note is gone that had it; limits of other zones are nobody's business here.
        A switch without a single note has just started, or was emptied: until its controller has filled it, its last notes hold. So
        the limits are there again before the first connection is.
        """
        before = self._notes
        notes = switch.notes() or before
        held = switch.limits()
        wanted = {zone: note.limit for zone, note in notes.items() if note.limit is not None}
        ours = notes.keys() | {zone for zone, note in before.items() if note.limit is not None}
        sets = {zone: limit for zone, limit in wanted.items() if zone not in held or held[zone].limit != limit}
        gone = [zone for zone in held if zone in ours and zone not in wanted]
        if sets:
            switch.limit(sets)
        if gone:
            switch.free(gone)
        self._notes = notes
        changed = sorted([*sets, *gone])
        return [
            Change(
                zone,
                notes[zone].space if zone in notes else None,
                held[zone].limit if zone in held else None,
                wanted.get(zone),
            )
            for zone in changed
        ]


def watch(
    find: Callable[[], Place],
    stopped: Event,
    tell: Callable[[Sequence[Change]], None],
    complain: Callable[[str], None],
    poll_s: float = POLL_S,
) -> None:
    """Keep the limits until `stopped`, through restarts of the daemon, which may not run yet.

    Args:
        find: Where the switch is; asked anew when it has been away.
        stopped: Set when it is time to leave.
        tell: Called with what was changed.
        complain: Called with what is in the way, once for as long as it is the same.
        poll_s: How often to look, in seconds.
    """
    keeper, switch, trouble = Keeper(), None, ""
    try:
        while not stopped.is_set():
            try:
                switch = switch or Switch(find())
                changes = keeper.apply(switch)
                trouble = ""
                if changes:
                    tell(changes)
            except HostError as problem:
                if switch is not None:
                    switch.close()
                    switch = None
                if trouble != str(problem):
                    trouble = str(problem)
                    complain(trouble)
            stopped.wait(poll_s)
    finally:
        if switch is not None:
            switch.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have whatever is wrong with a switch told in one way."""
    try:
        yield
    except (OSError, Malformed) as problem:
        where = f"{problem.filename}: " if isinstance(problem, OSError) and problem.filename else ""
        said = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise HostError(f"the switch does not answer: {where}{said}") from problem
