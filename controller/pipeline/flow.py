"""Flows as data: matches, actions, flows, groups, meters and programs, and nothing that sends them.

A match is a tuple of `(field index, value, mask)` in the order of `fields.FIELDS`; mask None means all bits. Actions are
frozen records. A flow's identity within its bridge is (table, priority, match); a `Program` holds all flows, groups and meters of one
bridge by identity, so that two programs are compared as dictionaries.

>>> from controller.pipeline.fields import ETH_IPV4
>>> flow = Flow(0, 10, match(in_port=1, eth_type=ETH_IPV4), (Output(2),), None, Origin("port red/web1", None), "deliver")
>>> flow.key == (0, 10, match(eth_type=ETH_IPV4, in_port=1))
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from controller.model.entities import Place, Rule
from controller.pipeline.fields import BY_NAME, FIELDS
from controller.pipeline.nat import ChooseWay, DecrementTtl, ForgetConnection, ForgetEntrance, MeasureLength, Translate

Condition = tuple[int, int, int | None]  # field index, value, mask
Match = tuple[Condition, ...]
Wanted = int | tuple[int, int] | IPv4Network | IPv6Network  # how `match` is told a condition
FlowKey = tuple[int, int, Match]  # table, priority, match

_ONES = tuple(declared.ones for declared in FIELDS)
_INDEX = {name: declared.index for name, declared in BY_NAME.items()}


def match(**conditions: Wanted) -> Match:
    """Return the match of these fields, each a value, `(value, mask)` or a prefix.

    Bits outside the mask are cleared and full masks become None, as Open vSwitch does, so that equal meanings are
    equal tuples. A field whose mask is 0 is left out. Raises KeyError for an unknown field and ValueError for a value that does not fit.
    """
    parts: list[Condition] = []
    for name, wanted in conditions.items():
        index = _INDEX[name]
        ones = _ONES[index]
        if isinstance(wanted, int):
            if not 0 <= wanted <= ones:
                raise ValueError(f"{name}={wanted:#x} does not fit {FIELDS[index].bits} bits")
            parts.append((index, wanted, None))
            continue
        value, mask = wanted if isinstance(wanted, tuple) else (int(wanted.network_address), int(wanted.netmask))
        if not 0 <= value <= ones or not 0 <= mask <= ones:
            raise ValueError(f"{name}={value:#x}/{mask:#x} does not fit {FIELDS[index].bits} bits")
        if mask == ones:
            parts.append((index, value, None))
        elif mask:
            parts.append((index, value & mask, mask))
    parts.sort()
    return tuple(parts)


class PortNumber(IntEnum):
    """Reserved port numbers (OpenFlow 1.4, section 7.2.1)."""

    IN_PORT = 0xFFFFFFF8
    NORMAL = 0xFFFFFFFA
    CONTROLLER = 0xFFFFFFFD
    LOCAL = 0xFFFFFFFE
    ANY = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Output:
    """Send the packet out of a port."""

    port: int


@dataclass(frozen=True, slots=True)
class OutputField:
    """Send the packet out of the port whose number a field holds (NXAST_OUTPUT_REG)."""

    field: int


@dataclass(frozen=True, slots=True)
class SetField:
    """Write `value` into a field; `mask` None writes all of it."""

    field: int
    value: int
    mask: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """Copy `bits` bits from one field to another, each from its bit offset (NXAST_REG_MOVE)."""

    source: int
    target: int
    bits: int
    source_offset: int = 0
    target_offset: int = 0


@dataclass(frozen=True, slots=True)
class PushVlan:
    """Push an 802.1Q tag; a `SetField` of vlan_tci with VLAN_PRESENT follows it."""


@dataclass(frozen=True, slots=True)
class PopVlan:
    """Take the outer tag off."""


@dataclass(frozen=True, slots=True)
class ToGroup:
    """Hand the packet to a group."""

    group: int


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Look the packet up in a table and come back (NXAST_RESUBMIT_TABLE with in_port kept)."""

    table: int


@dataclass(frozen=True, slots=True)
class Conntrack:
    """Send the packet through the connection tracker (NXAST_CT).

    `zone` is a number, or `zone_field` the index of the field whose low 16 bits hold it. With `table` a tracked copy goes on there,
    and the packet itself goes on untracked. `actions` run on the entry when `commit` is set.
    """

    commit: bool = False
    zone: int = 0
    zone_field: int | None = None
    table: int | None = None
    actions: tuple[SetField | Move, ...] = ()
    nat: Translate | None = None


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Say that dimension `clause` (from 1) of the `clauses` of conjunction `id` holds (NXAST_CONJUNCTION)."""

    id: int
    clause: int
    clauses: int


@dataclass(frozen=True, slots=True)
class Note:
    """Carry bytes that mean nothing to the switch (NXAST_NOTE)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Metered:
    """Pass the packet through a meter before anything else is done: the first action of a flow, an instruction on the wire."""

    meter: int


@dataclass(frozen=True, slots=True)
class ToController:
    """Send the controller the packet's first `max_length` bytes and, with them, `userdata` (NXAST_CONTROLLER2).

    With `meter` no more of them than the meter lets through; the packet itself goes on in any case.
    """

    userdata: bytes
    max_length: int
    meter: int | None = None

    def __post_init__(self) -> None:
        # Open vSwitch tells an action with neither as another one.
        if not self.userdata and self.meter is None:
            raise ValueError("what goes to the controller needs userdata or a meter")


Action = (
    Output
    | OutputField
    | SetField
    | Move
    | PushVlan
    | PopVlan
    | ToGroup
    | Resubmit
    | Conntrack
    | Conjunction
    | Note
    | Metered
    | ToController
    | DecrementTtl
    | ForgetConnection
    | ForgetEntrance
    | ChooseWay
    | MeasureLength
)


def set_field(name: str, value: int, mask: int | None = None) -> SetField:
    """Return the action that writes `value` into the named field; raise ValueError if it does not fit."""
    declared = BY_NAME[name]
    if not 0 <= value <= declared.ones:
        raise ValueError(f"{name}={value:#x} does not fit {declared.bits} bits")
    return SetField(declared.index, value, None if mask == declared.ones else mask)


def move(source: str, target: str, offset: int = 0) -> Move:
    """Return the action that copies one field whole to another, from bit `offset` of it on; raise ValueError if it does not fit."""
    first, second = BY_NAME[source], BY_NAME[target]
    if first.bits + offset > second.bits:
        raise ValueError(f"{source} does not fit {target} from bit {offset} on")
    return Move(first.index, second.index, first.bits, 0, offset)


@dataclass(frozen=True, slots=True)
class Origin:
    """Why a flow exists: the object in the words of the files, and its place; None for what Weft itself needs.

    A rule has no name in the files; `rule` finds it again when its line has moved.
    """

    what: str
    place: Place | None
    rule: Rule | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.what} ({self.place})" if self.place else self.what


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """One flow. No actions and no `goto` means drop. `feature` names the feature that made it, `kind` which of its kinds it is.

    Compared by identity of the object: programs compare flows by `key` and `effect`.
    """

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...]
    goto: int | None
    origin: Origin
    feature: str
    kind: str = ""
    # The flow's bytes once `controller.wire.pack` made them: a flow that many hosts share is packed once.
    packed: bytes | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def key(self) -> FlowKey:
        """The flow's identity within its bridge."""
        return self.table, self.priority, self.match

    @property
    def effect(self) -> tuple[tuple[Action, ...], int | None, str]:
        """What the flow does, and for which feature: the switch carries all of it (actions, goto, cookie)."""
        return self.actions, self.goto, self.feature


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A group of type `all`: every bucket gets a copy of the packet, in order.

    With `watch` it is one of type `fast failover`: the first bucket whose port of these is alive has the packet.
    """

    id: int
    buckets: tuple[tuple[Action, ...], ...]
    origin: Origin
    feature: str
    watch: tuple[int, ...] = ()

    @property
    def effect(self) -> tuple[object, ...]:
        """What the group does, as far as the switch carries it."""
        return self.buckets, self.watch


@dataclass(frozen=True, slots=True, eq=False)
class Meter:
    """A meter with one band: what comes faster than `rate` a second, after a burst of `burst`, is dropped."""

    id: int
    rate: int
    burst: int
    origin: Origin
    feature: str
    unit: Literal["pktps"] = "pktps"

    @property
    def effect(self) -> tuple[int, int, str]:
        """What the meter does, as far as the switch carries it."""
        return self.rate, self.burst, self.unit


class Uncompilable(ValueError):
    """The files ask for what no switch can be told."""


class DuplicateFlow(Uncompilable):
    """Two flows of one program have the same identity and different effects: a defect of the pipeline."""


@dataclass(slots=True)
class Program:
    """All flows, groups and meters of one bridge: what the switch shall hold, exactly."""

    host: str
    bridge: str
    dpid: int
    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)
    meters: dict[int, Meter] = field(default_factory=dict)

    def add(self, flow: Flow) -> None:
        """Add a flow; the same identity twice must have the same effect, else DuplicateFlow is raised."""
        present = self.flows.setdefault(flow.key, flow)
        if present is not flow and present.effect != flow.effect:
            raise DuplicateFlow(f"{self.bridge}@{self.host}: {present.origin} and {flow.origin} clash: {flow.key}")

    def add_group(self, group: Group) -> None:
        """Add a group; the same id twice must have the same effect, else DuplicateFlow is raised."""
        present = self.groups.setdefault(group.id, group)
        if present is not group and present.effect != group.effect:
            raise DuplicateFlow(
                f"{self.bridge}@{self.host}: {present.origin} and {group.origin} share group {group.id}"
            )

    def add_meter(self, meter: Meter) -> None:
        """Add a meter; the same id twice must have the same rate and burst, else DuplicateFlow is raised."""
        present = self.meters.setdefault(meter.id, meter)
        if present is not meter and present.effect != meter.effect:
            raise DuplicateFlow(
                f"{self.bridge}@{self.host}: {present.origin} and {meter.origin} share meter {meter.id}"
            )

    def snapshot(self) -> tuple[list[Flow], list[Group], list[Meter]]:
        """Return all flows, groups and meters as they are now; safe while the owner of the program changes it in another thread."""
        # Copying a dictionary's values is one step of the interpreter.
        return list(self.flows.values()), list(self.groups.values()), list(self.meters.values())


@dataclass(slots=True)
class Delta:
    """What leads from one state of a bridge's program to the next.

    `puts` are flows that are added or replace what has their key; `replaced` are the former flows of such keys, and
    `group_replaced` the former groups. `deletes` and `group_deletes` are what goes. Meters are as groups are. Doing a delta twice is the
    same as doing it once.
    """

    puts: dict[FlowKey, Flow] = field(default_factory=dict)
    replaced: dict[FlowKey, Flow] = field(default_factory=dict)
    deletes: dict[FlowKey, Flow] = field(default_factory=dict)
    group_puts: dict[int, Group] = field(default_factory=dict)
    group_deletes: dict[int, Group] = field(default_factory=dict)
    group_replaced: dict[int, Group] = field(default_factory=dict)
    meter_puts: dict[int, Meter] = field(default_factory=dict)
    meter_deletes: dict[int, Meter] = field(default_factory=dict)
    meter_replaced: dict[int, Meter] = field(default_factory=dict)

    def __len__(self) -> int:
        groups = len(self.group_puts) + len(self.group_deletes)
        return len(self.puts) + len(self.deletes) + groups + len(self.meter_puts) + len(self.meter_deletes)


@dataclass(frozen=True, slots=True)
class Bindings:
    """What is observed of one host: interface name -> OpenFlow port number, per bridge name."""

    ports: Mapping[str, Mapping[str, int]]

    def number(self, bridge: str, interface: str) -> int | None:
        """Return the port's number, or None while the interface is absent."""
        return self.ports.get(bridge, {}).get(interface)
