"""What can come to which table at all, whatever is sent: the flows are followed with sets of packets instead of packets.

The sets are rather too large than too small, so that what is in none of them cannot come.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from copy import copy

from controller.pipeline.fields import (
    BY_NAME,
    CT_ESTABLISHED,
    CT_INVALID,
    CT_NEW,
    CT_REPLY,
    CT_TRACKED,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIELDS,
)
from controller.pipeline.flow import (
    Action,
    Conjunction,
    Conntrack,
    Flow,
    Group,
    Move,
    Output,
    PopVlan,
    PortNumber,
    Program,
    PushVlan,
    Resubmit,
    SetField,
    ToGroup,
)
from controller.pipeline.nat import ChooseWay, ForgetConnection, MeasureLength
from controller.pipeline.plan import pipeline
from controller.pipeline.registers import ASKS, JUDGED, VERDICT
from tests.ovs.fabric import WIRE_NUMBER
from tests.proof.cubes import ONES, Cube, Key, key, less, meet, of_match, only, without
from tests.proof.live import Live
from tests.proof.passage import Tracer
from tests.proof.patches import Peers, patches

_INDEX = {name: field.index for name, field in BY_NAME.items()}
VLAN, _STATE, _IN_PORT = _INDEX["vlan_tci"], _INDEX["ct_state"], _INDEX["in_port"]
_TUNNEL = _INDEX["tun_src"], _INDEX["tun_id"]
TRACKING = frozenset(field.index for field in FIELDS if field.name.startswith("ct_"))
TRANSLATED = frozenset(
    field.index
    for field in FIELDS
    if field.name.startswith(("ip_src", "ip_dst", "ipv6_src", "ipv6_dst", "tcp_", "udp_", "sctp_", "icmp"))
)
_OWN = frozenset(field.index for field in FIELDS if field.name.startswith(("ct_", "reg")))
# What a packet bears from where it comes in, as long as no flow writes it.
NARROWED = frozenset(
    field.index
    for field in FIELDS
    if field.name in ("eth_src", "eth_dst", "arp_op", "arp_spa", "arp_tpa", "nd_target")
    or field.name.startswith(("icmp", "ip_src", "ip_dst", "ipv6_"))
)
UNTRACKED: Cube = {index: (0, ONES[index]) for index in TRACKING}
# What no packet is: a later fragment that is no fragment, or that has ports, a bit that says nothing of fragments (ovs-fields(7), ip_frag),
# and connections that begin with an answer, or of ICMPv6 with anything but an echo, of which trackers know none (lib/conntrack.c).
IMPOSSIBLE: tuple[Cube, ...] = (
    {_INDEX["ip_frag"]: (2, 3)},
    *({_INDEX["ip_frag"]: (1 << bit, 1 << bit)} for bit in range(2, 8)),
    *(
        {_INDEX["ip_frag"]: (2, 2), _INDEX[port]: (1 << bit, 1 << bit)}
        for port in ("tcp_dst", "udp_dst", "sctp_dst")
        for bit in range(16)
    ),
    {_INDEX["ct_nw_proto"]: (1, 0xFF), _INDEX["ct_tp_src"]: (9, 0xFFFF)},
    *({_INDEX["ct_nw_proto"]: (58, 0xFF), _INDEX["ct_tp_src"]: (~128 & 1 << bit, 1 << bit)} for bit in range(16)),
)
# Nothing is known of these behind the tables that have decided by them: they would multiply.
_FORGOTTEN = frozenset(
    _INDEX[name]
    for name in (
        *("ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst", "ct_nw_proto", "ct_tp_src", "ct_tp_dst"),
        *(
            "tcp_dst",
            "udp_dst",
            "sctp_dst",
            "ip_src",
            "ip_dst",
            "ipv6_src",
            "ipv6_dst",
            "ip_frag",
            "ct_mark",
            "ct_label",
        ),
        *("reg8", "reg9", "reg10", "reg11", "reg12", "eth_src"),
    )
)
_ANEW = tuple(pipeline().tables[name].number for name in ("egress_verdict", "forward", "ingress_verdict", "commit"))
_JUDGED = (_ANEW[1], _ANEW[3])
_FLAGS, _VERDICT = _INDEX[VERDICT.field], VERDICT.mask | ASKS.mask
_REGISTERS = frozenset(field.index for field in FIELDS if field.name.startswith("reg"))
_TYPE, _TYPES, _OTHER_TYPE = (
    _INDEX["eth_type"],
    (ETH_IPV4, ETH_IPV6, ETH_ARP),
    0xFFFF,
)  # Stands for all that flows do not name.
_FRAGMENT, _FRAGMENTS = _INDEX["ip_frag"], (0, 1, 3)
# What the tracker can say (ovs-fields(7), ct_state).
_STATES = (
    (CT_TRACKED | CT_NEW, CT_TRACKED | CT_NEW | CT_INVALID | CT_ESTABLISHED | CT_REPLY),
    (CT_TRACKED, CT_TRACKED | CT_NEW | CT_INVALID | CT_REPLY),
    (CT_TRACKED | CT_REPLY, CT_TRACKED | CT_NEW | CT_INVALID | CT_REPLY),
    (CT_TRACKED | CT_INVALID, CT_TRACKED | CT_NEW | CT_INVALID),
)


def reach_of(tracer: Tracer, host: str, programs: Iterable[Program]) -> Reach:
    """Return what can come to the tables of a running host, by any port of its bridges."""
    twin = tracer.twin
    peers = patches(twin, host)
    entity = twin.topology.hosts[host]
    found = Reach(programs, peers)
    for bridge, ports in twin.bindings[host].ports.items():
        numbers = [number for number in ports.values() if (bridge, number) not in peers]
        if bridge not in (entity.integration_bridge, entity.tunnel_bridge):
            numbers.append(WIRE_NUMBER)
        for number in numbers:
            found.start(bridge, number, is_tunnel=bridge == entity.tunnel_bridge)
        found.start(bridge, PortNumber.LOCAL)
    return found


class Reach:
    """The packets that can come to each table of one host's bridges."""

    def __init__(self, programs: Iterable[Program], peers: Peers) -> None:
        self.peers = peers
        self.tables: dict[tuple[str, int], list[tuple[Flow, Cube]]] = {}
        self.groups: dict[str, dict[int, Group]] = {}
        self._matched: dict[str, Live] = {}
        self.whole: dict[str, Live] = {}  # What is read for any reason.
        self._asked: set[tuple[str, int]] = set()
        self._bits: dict[tuple[str, int], dict[int, int]] = {}
        self._chains: dict[tuple[str, int], frozenset[int]] = {}
        self._written: dict[tuple[str, int], frozenset[int]] = {}
        self._at: dict[tuple[str, int], dict[Key, list[Cube]]] = {}
        self._starts: list[tuple[str, Cube]] = []
        self._is_detailed = (
            False  # Whether what a table has found out is known behind it, and not only what it has written.
        )
        for program in programs:
            self._matched[program.bridge] = Live(program, to_match=True)
            self.whole[program.bridge] = Live(program)
            self.groups[program.bridge] = program.groups
            for flow in sorted(program.flows.values(), key=lambda flow: -flow.priority):
                self.tables.setdefault((program.bridge, flow.table), []).append((flow, of_match(flow.match)))
                self._asked |= {
                    (program.bridge, action.table) for action in flow.actions if isinstance(action, Resubmit)
                }

    def start(self, bridge: str, number: int, *, is_tunnel: bool = False) -> None:
        """Let anything come in by a port."""
        cube = {index: (0, ONES[index]) for index in _OWN} | {_IN_PORT: (number, ONES[_IN_PORT])}
        if not is_tunnel:
            cube |= {index: (0, ONES[index]) for index in _TUNNEL}
        for ethertype in (*_TYPES, _OTHER_TYPE):
            for fragment in _FRAGMENTS if ethertype in (ETH_IPV4, ETH_IPV6) else (0,):
                told = {_FRAGMENT: (fragment, ONES[_FRAGMENT]), _TYPE: (ethertype, ONES[_TYPE])}
                self._starts.append((bridge, cube | told))
                self._table(bridge, 0, cube | told)

    def narrowed(self, told: Cube) -> Reach:
        """Return the same of nothing but packets that come in as such."""
        found = copy(self)
        found._at = {}
        for bridge, cube in self._starts:
            narrow = meet(cube, told)
            if narrow is not None:
                found._table(bridge, 0, narrow)
        return found

    def followed(self, roots: tuple[Iterable[tuple[str, int]], Container[str]], told: Cube) -> Reach:
        """Return the same, in more detail, of nothing but such packets as come to these tables, or into these bridges."""
        places, entered = roots
        found = copy(self)
        found._at, found._is_detailed = {}, True
        begun = [((bridge, 0), cube) for bridge, cube in self._starts if bridge in entered]
        for place, cube in (*((root, each) for root in places for each in self.at(*root)), *begun):
            narrow = meet(cube, told)
            if narrow is not None:
                found._table(*place, narrow)
        return found

    def at(self, bridge: str, table: int) -> Iterator[Cube]:
        """Yield what can come to a table."""
        for known in self._at.get((bridge, table), {}):
            yield dict(known)

    def flows(self, bridge: str, table: int) -> list[tuple[Flow, Cube]]:
        """Return the flows of a table by falling priority, each with what it asks for."""
        return self.tables.get((bridge, table), [])

    def chain(self, bridge: str, table: int) -> frozenset[int]:
        """Return the tables that a look-up in a table may come to until it ends."""
        place = bridge, table
        if place not in self._chains:
            found = {table}
            for flow, _ in self.flows(bridge, table):
                found |= self.chain(bridge, flow.goto) if flow.goto is not None else set()
            self._chains[place] = frozenset(found)
        return self._chains[place]

    def is_asked(self, bridge: str, table: int) -> bool:
        """Return whether look-ups of a table end where they were asked for, so that no outcome is one as well."""
        return bool(self.whole[bridge].leaving.get(table)) or (bridge, table) in self._asked

    def _table(self, bridge: str, table: int, whole: Cube) -> list[Cube]:
        """Return what becomes of packets that are looked up in a table, until the look-up ends."""
        seen = only(whole, self._looked_at(bridge, table))
        entered = whole.get(_IN_PORT, (0, 0))
        if (bridge, entered[0]) in self.peers:
            seen[_IN_PORT] = entered  # Nothing goes back by the patch that it came by.
        if bridge == "br-int" and table in _ANEW:
            seen = {index: held for index, held in seen.items() if index not in _FORGOTTEN}
            if table in _JUDGED and _FLAGS in seen:
                value, mask = seen[_FLAGS]
                seen[_FLAGS] = value & ~_VERDICT, mask & ~_VERDICT
        written = self.written(bridge, table)
        there = self._at.setdefault((bridge, table), {})
        known = key(seen)
        if known not in there:
            there[known] = []  # A table never leads back to itself.
            found: dict[Key, Cube] = {}
            for flow, part in pieces(self.flows(bridge, table), seen):
                for end in [part] if flow is None else self._flow(bridge, flow, part):
                    left = {index: held for index, held in end.items() if self._is_detailed or index in written}
                    found[key(left)] = left
            there[known] = list(found.values())
        kept = {index: held for index, held in whole.items() if index not in written}
        return [kept | end for end in there[known]]

    def _looked_at(self, bridge: str, table: int) -> dict[int, int]:
        """Return the bits that tell packets apart which come to a table: what is read, registers whole, and what is written."""
        place = bridge, table
        if place not in self._bits:
            bits = dict(self._matched[bridge].entering.get(table, {}))
            bits |= dict.fromkeys((*self.written(bridge, table), _INDEX[JUDGED.field]), -1)
            self._bits[place] = {index: -1 if index in _REGISTERS else mask for index, mask in bits.items()}
        return self._bits[place]

    def _flow(self, bridge: str, flow: Flow, cube: Cube) -> list[Cube]:
        cubes = self._do(bridge, flow.actions, [dict(cube)])
        if flow.goto is None:
            return cubes
        return [end for each in cubes for end in self._table(bridge, flow.goto, each)]

    def _do(self, bridge: str, actions: Iterable[Action], cubes: list[Cube]) -> list[Cube]:
        for action in actions:
            match action:
                case Resubmit(table):
                    cubes = [dict(end) for cube in cubes for end in self._table(bridge, table, cube)]
                case ToGroup(number):
                    for bucket in self.groups[bridge][number].buckets:
                        self._do(bridge, bucket, [dict(cube) for cube in cubes])
                case Output(port):
                    for cube in cubes:
                        self._leave(bridge, port, cube)
                case Conntrack(table=table):
                    for cube in cubes:
                        if action.nat is not None:
                            for index in TRANSLATED:
                                cube.pop(index, None)
                        for answer in answers(cube) if table is not None else ():
                            self._table(bridge, table or 0, answer)
                        cube.update(UNTRACKED)
                case _:
                    for cube in cubes:
                        change(cube, action)
        return cubes

    def _leave(self, bridge: str, port: int, cube: Cube) -> None:
        for (here, number), (there, entered) in self.peers.items():
            # Nothing goes back to where it came from, unless it is sent back by that name.
            is_back = cube.get(_IN_PORT) == (number, ONES[_IN_PORT])
            if here == bridge and (port == PortNumber.IN_PORT if is_back else port in (number, PortNumber.NORMAL)):
                beyond = {index: held for index, held in cube.items() if index not in _OWN}
                beyond |= {index: (0, ONES[index]) for index in _OWN}
                self._table(there, 0, beyond | {_IN_PORT: (entered, ONES[_IN_PORT])})

    def written(self, bridge: str, table: int) -> frozenset[int]:
        """Return the fields that a look-up in a table, or what follows it, may write."""
        place = bridge, table
        if place not in self._written:
            found: set[int] = set()
            for flow, _ in self.flows(bridge, table):
                for action in flow.actions:
                    match action:
                        case SetField(field) | MeasureLength(field=field) | ChooseWay(field=field):
                            found.add(field)
                        case Move(target=target):
                            found.add(target)
                        case Resubmit(other):
                            found |= self.written(bridge, other)
                        case PopVlan() | PushVlan():
                            found.add(VLAN)
                        case Conntrack(nat=nat):
                            found |= TRACKING if nat is None else TRACKING | TRANSLATED
                        case ForgetConnection():
                            found |= TRACKING
                        case _:
                            pass
                if flow.goto is not None:
                    found |= self.written(bridge, flow.goto)
            self._written[place] = frozenset(found)
        return self._written[place]


def named_type(ethertype: int) -> int:
    """Return the EtherType as sets of packets tell it: one stands for all that flows do not name."""
    return ethertype if ethertype in _TYPES else _OTHER_TYPE


def pieces(flows: Iterable[tuple[Flow, Cube]], cube: Cube) -> Iterator[tuple[Flow | None, Cube]]:
    """Yield which flows a set of packets may find, and which part of it each; None where it may find nothing."""
    left = [cube]
    above: list[Cube] = []  # What could not be taken away as long as so little was known.
    for flow, wanted in flows:
        if any(isinstance(action, Conjunction) for action in flow.actions):
            continue
        here, rest, is_whole = [], [], True
        for each in left:
            part = meet(each, wanted)
            others = each if part is None else less(each, wanted)
            if part is not None:
                here.append(part)
                is_whole = is_whole and others is not each
            if others is not None:
                rest.append(others)
        left = rest
        for each in above if here else ():
            here = without(here, each)
        yield from ((flow, part) for part in here)
        if not is_whole:
            above.append(wanted)
        if not left:
            return
    yield from ((None, each) for each in left)


def answers(cube: Cube) -> list[Cube]:
    """Return what packets are once the tracker has been asked; whom it has told of before it tells the same."""
    if cube.get(_STATE, (0, 0))[0] & CT_TRACKED:
        return [dict(cube)]
    fresh = {index: held for index, held in cube.items() if index not in TRACKING}
    # What is new may bear stamps as well: a connection is so until it is answered (`tests.ovs.test_twin` shows it).
    return [fresh | {_STATE: state} for state in _STATES]


def change(cube: Cube, action: Action) -> None:
    """Do to a set of packets what an action does to each that stays where it is."""
    match action:
        case SetField(field, value, mask):
            bits = ONES[field] if mask is None else mask
            held, known = cube.get(field, (0, 0))
            cube[field] = held & ~bits | value, known | bits
        case Move():
            _move(cube, action)
        case PopVlan() | PushVlan():
            cube[VLAN] = 0, ONES[VLAN]
        case MeasureLength(field=field, bit=bit):
            _unknown(cube, field, 1 << bit)
        case ChooseWay(field=field, bits=bits):
            _unknown(cube, field, (1 << bits) - 1)
        case ForgetConnection():
            cube.update(UNTRACKED)
        case _:
            pass


def _unknown(cube: Cube, field: int, bits: int) -> None:
    held, known = cube.get(field, (0, 0))
    cube[field] = held & ~bits, known & ~bits


def _move(cube: Cube, action: Move) -> None:
    ones = (1 << action.bits) - 1
    value, mask = cube.get(action.source, (0, 0))
    value, mask = value >> action.source_offset & ones, mask >> action.source_offset & ones
    there = ones << action.target_offset
    held, known = cube.get(action.target, (0, 0))
    known = known & ~there | mask << action.target_offset
    cube[action.target] = (held & ~there | value << action.target_offset) & known, known
