"""Which bits of a packet a table, or what comes after it, still reads: what nobody reads may be anything.

Bits count as read that a match asks for, that are copied to where they are read, that a tracker is given to keep, that choose a port,
and all of the headers of what leaves.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.pipeline.fields import BY_NAME, FIELDS
from controller.pipeline.flow import (
    Action,
    Conntrack,
    Flow,
    Group,
    Move,
    Output,
    OutputField,
    Program,
    Resubmit,
    SetField,
    ToGroup,
)
from controller.pipeline.nat import ChooseWay, ForgetConnection, MeasureLength
from tests.proof.cubes import ONES

Bits = dict[int, int]  # Field index -> bits.
HEADERS: Bits = {
    field.index: field.ones
    for field in FIELDS
    if not field.name.startswith(("ct_", "reg")) and field.name not in ("conj_id", "metadata")
}
_BEYOND: Bits = {BY_NAME[name].index: BY_NAME[name].ones for name in ("vlan_tci", "eth_dst")}
_TRACKED = frozenset(field.index for field in FIELDS if field.name.startswith("ct_"))


class Live:
    """What is read of a packet in the tables of one program; `entering` what is where a packet comes to, `leaving` where a look-up ends.

    With `to_match` only what matches of these tables, or of the next bridge's, ask for counts as read, and nothing that is read after a
    look-up has ended.
    """

    def __init__(self, program: Program, *, to_match: bool = False) -> None:
        self._to_match = to_match
        self._sent = _BEYOND if to_match else HEADERS
        self._groups: dict[int, Group] = program.groups
        self._tables: dict[int, list[Flow]] = {}
        for flow in program.flows.values():
            self._tables.setdefault(flow.table, []).append(flow)
        self.entering: dict[int, Bits] = {}
        self.leaving: dict[int, Bits] = {}
        self._changed = True
        while self._changed:  # What is read after a look-up follows from who asked for it: at most a few rounds.
            self._changed = False
            for table in sorted(self._tables, reverse=True):
                self._look_at(table)

    def _look_at(self, table: int) -> None:
        read: Bits = {}
        for flow in self._tables[table]:
            after = self._ending(table)
            if flow.goto is not None:
                self._note(self.leaving, flow.goto, after)
                after = self.entering.get(flow.goto, {})
            before = self._before(flow.actions, after)
            for index, _, mask in flow.match:
                before[index] = before.get(index, 0) | (ONES[index] if mask is None else mask)
            _add(read, before)
        _add(read, self._ending(table))  # What no flow wants ends here as it is.
        self._note(self.entering, table, read)

    def _before(self, actions: Iterable[Action], after: Bits) -> Bits:
        """Return what is read before actions if this is read after them."""
        read = dict(after)
        for action in reversed(tuple(actions)):
            match action:
                case SetField(field, _, mask):
                    _forget(read, field, ONES[field] if mask is None else mask)
                case MeasureLength(field=field, bit=bit):
                    _forget(read, field, 1 << bit)
                case ChooseWay(field=field, bits=bits):
                    _forget(read, field, (1 << bits) - 1)
                    _add(read, HEADERS)
                case Move():
                    _moved(read, action)
                case Resubmit(table):
                    self._note(self.leaving, table, read)
                    if not self._to_match:
                        read = {}
                    _add(read, self.entering.get(table, {}))
                case Conntrack():
                    read = self._tracked(action, read)
                case ForgetConnection():
                    read = {index: bits for index, bits in read.items() if index not in _TRACKED}
                case OutputField(field):
                    _add(read, {field: ONES[field]})
                    _add(read, self._sent)
                case Output():
                    _add(read, self._sent)
                case ToGroup(number):
                    for bucket in self._groups[number].buckets:
                        _add(read, self._before(bucket, {}))
                case _:
                    pass
        return read

    def _tracked(self, action: Conntrack, after: Bits) -> Bits:
        """Return what is read before the tracker is asked, or told."""
        read = {index: bits for index, bits in after.items() if index not in _TRACKED}
        if action.table is not None:
            beyond = self.entering.get(action.table, {})
            _add(read, {index: bits for index, bits in beyond.items() if index not in _TRACKED})
        if action.zone_field is not None:
            _add(read, {action.zone_field: 0xFFFF})
        for each in action.actions:
            if isinstance(each, Move) and not self._to_match:
                _add(read, {each.source: _ones(each.bits, each.source_offset)})
        return read

    def _ending(self, table: int) -> Bits:
        return {} if self._to_match else self.leaving.get(table, {})

    def _note(self, known: dict[int, Bits], table: int, bits: Bits) -> None:
        held = known.setdefault(table, {})
        before = dict(held)
        _add(held, bits)
        self._changed |= held != before


def _moved(read: Bits, action: Move) -> None:
    target = _ones(action.bits, action.target_offset)
    wanted = read.get(action.target, 0) & target
    _forget(read, action.target, target)
    if wanted:
        shifted = wanted >> action.target_offset << action.source_offset
        _add(read, {action.source: shifted})


def _ones(bits: int, offset: int) -> int:
    return (1 << bits) - 1 << offset


def _add(read: Bits, more: Bits) -> None:
    for index, bits in more.items():
        read[index] = read.get(index, 0) | bits


def _forget(read: Bits, index: int, bits: int) -> None:
    left = read.get(index, 0) & ~bits
    if left:
        read[index] = left
    else:
        read.pop(index, None)
