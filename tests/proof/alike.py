"""Whether a lie can be noticed at all, or the changed table does the same to all that can come to it, as far as the outcome is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from controller.pipeline.fields import BY_NAME, FIELDS
from controller.pipeline.flow import (
    Action,
    Conntrack,
    Flow,
    Metered,
    Move,
    Output,
    OutputField,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
    ToGroup,
)
from controller.pipeline.nat import ChooseWay, DecrementTtl, ForgetConnection, MeasureLength
from tests.proof.cubes import ONES, Cube, covers, meet, of_match, without
from tests.proof.live import HEADERS, Bits, Live
from tests.proof.lookup import conjunctions
from tests.proof.mutants import Mutant
from tests.proof.narrow import Narrow
from tests.proof.reach import IMPOSSIBLE, TRACKING, Reach, pieces
from tests.proof.ways import MOST, Way

_IN_PORT = BY_NAME["in_port"].index
_VLAN = BY_NAME["vlan_tci"].index
_EVERYTHING: Bits = dict(enumerate(ONES))
Value = object  # A number, or how one follows from what is not known.

NEVER = "nothing that can come to the table is told apart by it"
SAME = "the same becomes of all that can come to the table"
END = "the same becomes of it a few tables later"
NOTHING = "nothing becomes of it either way: other flows drop it as well"
_ENDED = 1 << 16  # Beyond all tables.


@dataclass(slots=True)
class _Event:
    """Something that is done with the packet: what, and what the packet is then, of which these bits are read."""

    what: tuple[object, ...]
    packet: dict[int, Value]
    read: Bits


@dataclass(slots=True)
class _Run:
    """The actions of one flow, done to a set of packets."""

    cube: Cube
    reach: Reach
    bridge: str
    packet: dict[int, Value] = field(default_factory=dict)
    events: list[_Event] = field(default_factory=list)

    @property
    def live(self) -> Live:
        return self.reach.whole[self.bridge]

    def value(self, index: int) -> Value:
        return self.packet[index] if index in self.packet else initial(self.cube, index)

    def flow(self, flow: Flow | None, table: int) -> list[_Event]:
        for action in () if flow is None else flow.actions:
            self._do(action)
        if flow is not None and flow.goto is not None:
            self._note(("goto", flow.goto), self.live.entering.get(flow.goto, {}))
        else:
            self._note(("end",), self.live.leaving.get(table, {}))
        return self.events

    def _note(self, what: tuple[object, ...], read: Bits) -> None:
        self.events.append(_Event(what, dict(self.packet), read))

    def _do(self, action: Action) -> None:
        match action:
            case SetField(index, value, mask):
                held = self.value(index)
                if mask is None:
                    self.packet[index] = value
                elif isinstance(held, int):
                    self.packet[index] = held & ~mask | value
                else:
                    self.packet[index] = ("set", held, value, mask)
            case Move():
                self._move(action)
            case PopVlan():
                self.packet[_VLAN] = 0
            case PushVlan():
                self.packet[_VLAN] = "pushed"
            case MeasureLength(field=index) | ChooseWay(field=index):
                self.packet[index] = (action, self.value(index))
            case ForgetConnection():
                self.packet.update(dict.fromkeys(TRACKING, 0))
            case Resubmit(table):
                self._note(("resubmit", table), self.live.entering.get(table, {}))
                for index in self.reach.written(self.bridge, table):
                    self.packet[index] = ("after", len(self.events), index)
            case ToGroup(number):
                self._note(("group", number), _EVERYTHING)
            case Output(port):
                if self.value(_IN_PORT) != port:  # Nothing goes back to where it came from.
                    self._note(("output", port), HEADERS)
            case OutputField(index):
                self._note(("output", self.value(index)), HEADERS)
            case Conntrack():
                self._track(action)
            case ToController():
                self._note((action,), _EVERYTHING)
            case Metered() | DecrementTtl():
                self._note((action,), {})
            case _:
                pass

    def _track(self, action: Conntrack) -> None:
        kept = tuple(
            (each.target, each.target_offset, self._bits(each)) if isinstance(each, Move) else each
            for each in action.actions
        )
        zone = action.zone if action.zone_field is None else self.value(action.zone_field)
        if isinstance(zone, int):
            zone &= 0xFFFF
        what = ("ct", action.commit, zone, action.table, kept, action.nat)
        self._note(what, self.live.entering.get(action.table, {}) if action.table is not None else {})
        self.packet.update(dict.fromkeys(TRACKING, 0))

    def _bits(self, action: Move) -> Value:
        held = self.value(action.source)
        if isinstance(held, int):
            return held >> action.source_offset & (1 << action.bits) - 1
        if action.source_offset == 0 and action.bits == FIELDS[action.source].bits:
            return held
        return ("bits", held, action.source_offset, action.bits)

    def _move(self, action: Move) -> None:
        bits, held = self._bits(action), self.value(action.target)
        if action.bits == FIELDS[action.target].bits:
            self.packet[action.target] = bits
        elif isinstance(bits, int) and isinstance(held, int):
            ones = (1 << action.bits) - 1 << action.target_offset
            self.packet[action.target] = held & ~ones | bits << action.target_offset
        else:
            self.packet[action.target] = ("moved", held, bits, action.target_offset, action.bits)


def initial(cube: Cube, index: int) -> Value:
    """Return what is known of a field: a number, or that it is what it came as."""
    value, mask = cube.get(index, (0, 0))
    return value if mask == ONES[index] else ("as it came", index)


class Alike:
    """Judges lies about the tables of one host."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self._cubes: dict[tuple[str, int], list[Cube]] = {}
        self.narrow = Narrow(reach)

    def reason(self, lie: Mutant, table: Iterable[Flow]) -> str | None:
        """Return why nobody can notice a lie about a table that holds these flows, None if somebody may."""
        if any(conjunctions(flow) for flow in (*lie.gone, *lie.told)):
            return None
        reason = NEVER
        for one, other, cube, excluded in self._differences(lie, sorted(table, key=lambda flow: -flow.priority)):
            found = self._compared(lie, one, other, cube, excluded)
            if found is None:
                return None
            reason = next((each for each in (NOTHING, END) if each in (found, reason)), found)
        return reason

    def cannot_come(self, lie: Mutant, table: Iterable[Flow]) -> bool:
        """Return whether nothing that a lie tells apart can come to the table, as it shows when it is asked again from the beginning."""
        if any(conjunctions(flow) for flow in (*lie.gone, *lie.told)):
            return False
        place, flows = (lie.program.bridge, lie.original.table), sorted(table, key=lambda flow: -flow.priority)
        for _, _, cube in self.differences(lie, flows):
            left = self.narrow.those(*place, cube)
            if any(self._compared(lie, *told) is None for told in self._differences(lie, flows, left)):
                return False
        return True

    def differences(self, lie: Mutant, table: Iterable[Flow]) -> Iterator[tuple[Flow | None, Flow | None, Cube]]:
        """Yield what may come to the table and is done something else to, for people who look for packets."""
        for one, other, cube, excluded in self._differences(lie, sorted(table, key=lambda flow: -flow.priority)):
            if self._compared(lie, one, other, cube, excluded) is None:
                yield one, other, cube

    def _compared(
        self, lie: Mutant, one: Flow | None, other: Flow | None, cube: Cube, excluded: list[Cube]
    ) -> str | None:
        bridge, table = lie.program.bridge, lie.original.table
        runs = [_Run(cube, self.reach, bridge).flow(flow, table) for flow in (one, other)]
        if len(runs[0]) == len(runs[1]) and all(_is_like(cube, *pair) for pair in zip(*runs, strict=True)):
            return SAME
        if _Together(self.reach, bridge, table, excluded).end_alike(one, other, cube):
            return END
        ways = (Way(self.reach, tuple(excluded)).goes_on(bridge, flow, cube, table) for flow in (one, other))
        return None if any(ways) else NOTHING

    def _differences(
        self, lie: Mutant, before: list[Flow], cubes: Iterable[Cube] | None = None
    ) -> Iterator[tuple[Flow | None, Flow | None, Cube, list[Cube]]]:
        """Yield a flow that may be found now, another that is found with the lie, for which packets, and which of them are none.

        Of all packets that can come, or of those in these sets.
        """
        place = lie.program.bridge, lie.original.table
        if cubes is None:
            if place not in self._cubes:
                self._cubes[place] = list(self.reach.at(*place))
            cubes = self._cubes[place]
        changed = [of_match(flow.match) for flow in (*lie.gone, *lie.told)]
        gone = set(map(id, lie.gone))
        after = [flow for flow in before if id(flow) not in gone]
        wanted = {id(flow): of_match(flow.match) for flow in (*before, *lie.told)}
        for cube in cubes:
            if all(meet(cube, each) is None for each in changed):
                continue
            for flow, part in pieces(((each, wanted[id(each)]) for each in before), cube):
                priority = -1 if flow is None else flow.priority
                others = [each for each in lie.told if each.priority >= priority]
                if id(flow) in gone:
                    lower = [each for each in after if each.priority <= priority]
                    others = sorted([*lie.told, *lower], key=lambda each: -each.priority)
                for other, piece in pieces(((each, wanted[id(each)]) for each in others), part):
                    if other is None and id(flow) not in gone:
                        continue
                    # What meets a flow above either of the two is not what is asked about.
                    least = -1 if other is None else other.priority
                    above = [wanted[id(each)] for each in before if each.priority > priority]
                    rest = (each for each in (*after, *lie.told) if each is not other and each.priority > least)
                    above += [wanted[id(each)] for each in rest]
                    left = [piece]
                    for each in (*IMPOSSIBLE, *above, *IMPOSSIBLE):
                        left = without(left, each)
                    yield from ((flow, other, each, above) for each in left)


def _is_like(cube: Cube, one: _Event, other: _Event) -> bool:
    """Return whether two events are the same as far as the packet is read then."""
    if one.what != other.what:
        return False
    for index in one.packet.keys() | other.packet.keys():
        bits = one.read.get(index, 0)
        if not bits:
            continue
        mine, theirs = (event.packet.get(index, initial(cube, index)) for event in (one, other))
        if isinstance(mine, int) and isinstance(theirs, int):
            if (mine ^ theirs) & bits:
                return False
        elif mine != theirs:
            return False
    return True


@dataclass(slots=True)
class _Position:
    """Where a packet is, and as what."""

    table: int
    packet: dict[int, Value]


class _Unknown(Exception):
    """It cannot be told in a few steps."""


class _Together:
    """Follows what two flows make of the same packets, until both are at one table as the same, or at their end."""

    def __init__(self, reach: Reach, bridge: str, table: int, excluded: list[Cube]) -> None:
        self._reach = reach
        self._live = reach.whole[bridge]
        self._bridge = bridge
        self._table = table
        self._excluded = excluded
        self._left = MOST

    def end_alike(self, one: Flow | None, other: Flow | None, cube: Cube) -> bool:
        """Return whether both make the same of these packets in the end; False also where that is not found out."""
        try:
            first, second = (self._after(flow, cube, {}) for flow in (one, other))
            if self._are_alike(first, second, cube, self._table, ()):
                return True
            # What the tables that may have asked for this one look at next is all that there is.
            beyond = list(self._beyond(cube))
            return bool(beyond) and all(self._are_alike(first, second, cube, self._table, then) for then in beyond)
        except _Unknown:
            return False

    def _beyond(self, cube: Cube) -> Iterator[tuple[int, ...]]:
        """Yield which tables a flow has looked at next that may have asked for a look-up which ends here."""
        for (bridge, table), flows in self._reach.tables.items():
            for flow, wanted in flows if bridge == self._bridge else ():
                for place, action in enumerate(flow.actions):
                    if not (isinstance(action, Resubmit) and self._table in self._reach.chain(bridge, action.table)):
                        continue
                    # What the flow asked for still holds of what nobody has written since.
                    written = self._reach.written(bridge, table)
                    if meet(cube, {index: held for index, held in wanted.items() if index not in written}) is None:
                        continue
                    rest = flow.actions[place + 1 :]
                    if not all(isinstance(each, Resubmit) for each in rest):
                        raise _Unknown
                    tables = [each.table for each in rest if isinstance(each, Resubmit)]
                    yield (*tables, *(() if flow.goto is None else (flow.goto,)))

    def _after(self, flow: Flow | None, cube: Cube, packet: dict[int, Value]) -> _Position:
        run = _Run(cube, self._reach, self._bridge, dict(packet))
        [*before, last] = run.flow(flow, self._table)
        if before:
            raise _Unknown
        return _Position(int(str(last.what[1])) if last.what[0] == "goto" else _ENDED, run.packet)

    def _are_alike(self, one: _Position, other: _Position, cube: Cube, begun: int, then: tuple[int, ...]) -> bool:
        """Return whether packets at two positions of a look-up that has begun at a table fare alike, also in what is looked at then."""
        if one.table == other.table:
            is_end = one.table == _ENDED
            read = self._live.leaving.get(begun, {}) if is_end else self._live.entering.get(one.table, {})
            first, second = (_Event((), each.packet, read) for each in (one, other))
            if _is_like(cube, first, second):
                return True
            if is_end and then:
                one, other = (_Position(then[0], each.packet) for each in (one, other))
                return self._are_alike(one, other, cube, then[0], then[1:])
            if is_end:
                return False
        behind, ahead = (one, other) if one.table <= other.table else (other, one)
        for flow, part in self._pieces(behind, cube):
            self._left -= 1
            if self._left < 0:
                raise _Unknown
            if not self._are_alike(self._after(flow, part, behind.packet), ahead, part, begun, then):
                return False
        return True

    def _pieces(self, at: _Position, cube: Cube) -> Iterator[tuple[Flow | None, Cube]]:
        """Yield which flows packets may find where they are, and which packets each."""
        left = [cube]
        for flow, wanted in self._reach.flows(self._bridge, at.table):
            if conjunctions(flow):
                raise _Unknown
            asked = self._asked(at.packet, wanted, cube)
            if asked is None:
                continue
            here = [part for each in left if (part := meet(each, asked)) is not None]
            yield from ((flow, part) for part in here if not any(covers(out, part) for out in self._excluded))
            left = without(left, asked)
            if not left:
                return
        yield from ((None, each) for each in left)

    def _asked(self, packet: dict[int, Value], wanted: Cube, cube: Cube) -> Cube | None:
        """Return what a match asks of the packets as they were at first; None if it cannot hold."""
        asked: Cube = {}
        for index, (value, mask) in wanted.items():
            held = packet.get(index, initial(cube, index))
            if isinstance(held, int):
                if (held ^ value) & mask:
                    return None
            elif held == ("as it came", index):
                asked[index] = value, mask
            else:
                raise _Unknown
        return asked
