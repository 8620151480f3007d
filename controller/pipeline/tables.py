"""The map of the bridges: stages, tables with their contracts, features, and the pipeline they add up to.

A feature declares its tables by stage and slot; a table declares what may be matched, what may be written and where
a packet may go next. Table numbers follow from stage and slot. `Pipeline` puts the features together and refuses two
tables in one slot, an unknown next table, a way back, and (through `Pipeline.check`) every flow outside its table's contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from controller.pipeline.fields import BY_NAME, FIELDS
from controller.pipeline.flow import Action, Conntrack, Flow, Move, Resubmit, SetField
from controller.pipeline.nat import ChooseWay, MeasureLength

if TYPE_CHECKING:
    pass

SLOTS = 8


class Bridge(StrEnum):
    """The three kinds of bridges of a host."""

    INTEGRATION = "br-int"
    TUNNEL = "br-tun"
    PHYSICAL = "br-PHYSNET"


class Stage(Enum):
    """The stages of each bridge in the order in which packets pass them; the second value is what happens there."""

    CLASSIFY = (Bridge.INTEGRATION, 0, "where a packet comes from becomes registers; what no file names ends here")
    SOURCE_GUARD = (Bridge.INTEGRATION, 1, "a port may use its own addresses only")
    RESPOND = (Bridge.INTEGRATION, 2, "ARP and neighbour discovery are answered from the files")
    EGRESS_POLICY = (Bridge.INTEGRATION, 3, "connections are tracked; new ones meet the sender's rules")
    ARRIVE = (Bridge.INTEGRATION, 4, "what comes from outside finds the address that it means")
    ROUTE = (Bridge.INTEGRATION, 5, "what is sent to a router finds its way by its destination's address")
    OUTSIDE = (Bridge.INTEGRATION, 6, "what leaves the fabric goes in a name that is known there, or to a gateway")
    RESOLVE = (Bridge.INTEGRATION, 7, "the next hop's address becomes a MAC; what nobody can pass on is told of")
    FORWARD = (Bridge.INTEGRATION, 8, "the destination address becomes a local port, a set of ports or the way out")
    INGRESS_POLICY = (Bridge.INTEGRATION, 9, "new connections meet the receiver's rules")
    DELIVER = (Bridge.INTEGRATION, 10, "the connection is kept and the packet leaves through its port")
    STAMPS = (Bridge.INTEGRATION, 11, "asked from either policy stage: has present policy let this connection in?")
    RULES = (Bridge.INTEGRATION, 12, "asked where it has not: what do the rules say of the connection's first packet?")
    FAR_RULES = (
        Bridge.INTEGRATION,
        13,
        "asked where those do not decide: what do rules say of the address at the other end?",
    )
    PACKETS = (Bridge.INTEGRATION, 14, "asked of ports with stateless groups: what do the rules say of this packet?")
    TUNNEL_CLASSIFY = (Bridge.TUNNEL, 0, "from br-int or from a tunnel")
    FROM_TUNNEL = (Bridge.TUNNEL, 1, "the key and the sender become a local tag")
    TO_TUNNEL = (Bridge.TUNNEL, 2, "the tag and the destination become a key and a VTEP")
    PHYSICAL_CLASSIFY = (Bridge.PHYSICAL, 0, "only the VLANs of known networks pass between br-int and the wire")

    def __init__(self, bridge: Bridge, position: int, meaning: str) -> None:
        self.bridge = bridge
        self.position = position  # Within the bridge.
        self.meaning = meaning


@dataclass(frozen=True, slots=True)
class Table:
    """One table and its contract.

    `matches` and `writes` are field names; `next` holds table names or stages (a stage means its first table). `purpose` says
    what the table decides; `miss` what happens to a packet that no flow wants.
    """

    name: str
    stage: Stage
    slot: int
    matches: tuple[str, ...]
    writes: tuple[str, ...]
    next: tuple[str | Stage, ...]
    purpose: str
    miss: str

    @property
    def number(self) -> int:
        """The table's number in its bridge."""
        return self.stage.position * SLOTS + self.slot


class Scope(Enum):
    """What a feature writes flows for; a function of a scope gets the builder and what stands here.

    The flows of a scope are made anew when something changes that its function looked at. Those of rules, a class, an address and an
    identity know no host: they are made once, for every host that needs them.
    """

    HOST = "view.HostView: what every host has"
    NETWORK = "view.NetworkView: what a network needs on a host"
    PORT = "view.PortView: what a plugged port needs on its host"
    MAC = "view.NetworkView, MAC: what a MAC of a network needs on a host"
    RULES = "(groups): the rules of ports of one combination of groups, as far as they name no groups"
    CLASS = "(groups): what else these ports need"
    ADDRESS = "(network, known.Known): what an address of a network needs"
    PLACED = "(network, handed.Placed): what the place of an address needs on hosts that cannot reach its network"
    SPACE = "(view.HostView, address space): what the address space of a router needs on a host"
    UNREACHED = "view.NetworkView: what a network of a router needs on a host that cannot reach it"
    ROUTER = "outer.RouterView: what a router that leads out needs on a host that knows it"
    FLOATING = "outer.FloatingView: what a floating IP needs on a host that knows its router"
    EXTERNAL = "outer.ExternalView: what an external network needs on a host that leads out to it"
    OUTER = "outer.ExternalView, ways_out.Outer: what an address of ours needs on a host that leads out to its external network"
    NEIGHBOUR = (
        "(view.HostView, network, address): what a neighbour that was heard needs on a host that can reach it;"
        " the network may be an external one"
    )
    IDENTITY = (
        "(address space, identities.Identity, Direction, stateless?): what an address is to the rules of one direction"
    )


@dataclass(frozen=True, slots=True)
class Feature:
    """What one file of `features/` declares: its tables, the kinds of its flows in one line each, and their makers by scope.

    `sends` are the kinds that put packets on their way to other hosts, `leaves` those that hand them to another bridge of the same
    host, `allows` those that let new connections pass, `recalls` those that say which stamps are good, `tells` those that say who a far
    address is, `copies` those that hand copies to the ports of a class: a change of several hosts is ordered by them
    (`controller.pipeline.rollout`).
    """

    name: str
    summary: str
    tables: tuple[Table, ...]
    kinds: Mapping[str, str]
    flows: Mapping[Scope, Callable[..., None]]
    sends: frozenset[str] = frozenset()
    leaves: frozenset[str] = frozenset()
    allows: frozenset[str] = frozenset()
    recalls: frozenset[str] = frozenset()
    tells: frozenset[str] = frozenset()
    copies: frozenset[str] = frozenset()


class ContractError(ValueError):
    """A feature or a flow breaks a declaration: a defect of the pipeline, never of a user's file."""


@dataclass(frozen=True, slots=True)
class _Contract:
    """A table's declaration, resolved to indices and numbers."""

    name: str
    matches: frozenset[int]
    writes: frozenset[int]
    next: frozenset[int]


@dataclass(slots=True)
class Pipeline:
    """All features together: the tables of each bridge, and the check of each flow against its table."""

    features: tuple[Feature, ...]
    tables: dict[str, Table] = field(default_factory=dict)
    _contracts: dict[tuple[Bridge, int], _Contract] = field(default_factory=dict)
    _numbers: dict[tuple[str | Stage, Bridge], int] = field(default_factory=dict)
    _shapes: set[object] = field(default_factory=set)

    def __post_init__(self) -> None:
        taken: dict[tuple[Bridge, int], Table] = {}
        for table in (table for feature in self.features for table in feature.tables):
            place = table.stage.bridge, table.number
            if not 0 <= table.slot < SLOTS or place in taken or table.name in self.tables:
                raise ContractError(f"table {table.name} clashes in slot {table.slot} of {table.stage.name}")
            taken[place] = self.tables[table.name] = table
        for place, table in taken.items():
            onward = frozenset(self.resolve(target, table.stage.bridge) for target in table.next)
            if any(number <= table.number for number in onward):
                raise ContractError(f"table {table.name} leads backwards")
            self._contracts[place] = _Contract(
                table.name,
                frozenset(BY_NAME[name].index for name in table.matches),
                frozenset(BY_NAME[name].index for name in table.writes),
                onward,
            )

    def resolve(self, target: str | Stage, bridge: Bridge) -> int:
        """Return the number of a table, given by name or as the first of a stage; raise ContractError if there is none."""
        number = self._numbers.get((target, bridge))
        if number is None:
            number = self._numbers[target, bridge] = self._resolve(target, bridge)
        return number

    def _resolve(self, target: str | Stage, bridge: Bridge) -> int:
        if isinstance(target, Stage):
            found = [table for table in self.tables.values() if table.stage is target]
            if not found or target.bridge is not bridge:
                raise ContractError(f"stage {target.name} has no table in {bridge}")
            return min(table.number for table in found)
        if target not in self.tables or self.tables[target].stage.bridge is not bridge:
            raise ContractError(f"there is no table {target} in {bridge}")
        return self.tables[target].number

    def table_name(self, bridge: Bridge, number: int) -> str:
        """Return the table's name, or its number as text where nothing is declared."""
        contract = self._contracts.get((bridge, number))
        return contract.name if contract else str(number)

    def tables_of(self, bridge: Bridge) -> list[Table]:
        """Return a bridge's tables in the order of their numbers."""
        return sorted((t for t in self.tables.values() if t.stage.bridge is bridge), key=lambda table: table.number)

    def check(self, bridge: Bridge, flow: Flow) -> None:
        """Raise ContractError if the flow is outside its table's contract. Flows of one shape are checked once."""
        shape = (
            bridge,
            flow.table,
            tuple([condition[0] for condition in flow.match]),
            tuple([_shape(action) for action in flow.actions]),
            flow.goto,
        )
        if shape in self._shapes:
            return
        contract = self._contracts.get((bridge, flow.table))
        if contract is None:
            raise ContractError(f"{flow.origin}: {bridge} has no table {flow.table}")
        strange = [FIELDS[index].name for index, _, _ in flow.match if index not in contract.matches]
        if strange:
            raise ContractError(f"{flow.origin}: table {contract.name} does not declare matches on {strange}")
        written, onward = effects(flow.actions)
        strange = [FIELDS[index].name for index in written if index not in contract.writes]
        if strange:
            raise ContractError(f"{flow.origin}: table {contract.name} does not declare writes to {strange}")
        targets = onward if flow.goto is None else [*onward, flow.goto]
        if any(number not in contract.next for number in targets):
            raise ContractError(f"{flow.origin}: table {contract.name} does not declare a way to {targets}")
        self._shapes.add(shape)


def effects(actions: Iterable[Action]) -> tuple[list[int], list[int]]:
    """Return the fields that actions write and the tables that they lead to."""
    written: list[int] = []
    onward: list[int] = []
    for action in actions:
        match action:
            case SetField():
                written.append(action.field)
            case Move():
                written.append(action.target)
            case ChooseWay() | MeasureLength():
                written.append(action.field)
            case Resubmit():
                onward.append(action.table)
            case Conntrack():
                written.extend(map(_target, action.actions))
                if action.table is not None:
                    onward.append(action.table)
            case _:
                pass
    return written, onward


def _target(action: SetField | Move) -> int:
    return action.target if isinstance(action, Move) else action.field


def _shape(action: Action) -> object:
    match action:
        case SetField():
            return SetField, action.field
        case Move():
            return Move, action.target
        case ChooseWay() | MeasureLength():
            return type(action), action.field
        case Resubmit():
            return Resubmit, action.table
        case Conntrack():
            return Conntrack, action.table, tuple(map(_target, action.actions))
        case _:
            return type(action)
