"""What a packet is at each look-up of a trace: its headers, what the tracker says of it, and all registers, as the flows before left them.

A trace names the flows that were found and tells the packet only where a pass begins; what the flows do to it is done again here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from controller.model.address import parse_mac
from controller.pipeline.fields import BY_NAME, FIELDS, VLAN_PRESENT, Kind
from controller.pipeline.flow import (
    Action,
    Conntrack,
    Flow,
    Group,
    Move,
    Output,
    PopVlan,
    PortNumber,
    Resubmit,
    SetField,
    ToGroup,
)
from controller.pipeline.nat import ForgetConnection, MeasureLength
from tests.ovs.tracing import visited

State = dict[int, int]  # Field index -> value; what is not there is 0.
_INDEX = {name: field.index for name, field in BY_NAME.items()}
TUNNEL_SOURCE, TUNNEL_KEY = _INDEX["tun_src"], _INDEX["tun_id"]
_VLAN, _IN_PORT = _INDEX["vlan_tci"], _INDEX["in_port"]
_UNDERLAY = "underlay"  # The bridge that carries tunnels, which is no part of a program.
_CONNECTION = frozenset(field.index for field in FIELDS if field.name.startswith("ct_"))
_SURVIVING = frozenset(
    field.index
    for field in FIELDS
    if not field.name.startswith(("ct_", "reg", "tun_")) and field.name not in ("in_port", "metadata", "conj_id")
)
_FLAGS = {name: 1 << bit for bit, name in enumerate(("new", "est", "rel", "rpl", "inv", "trk"))}
_FRAGMENTS = {"no": 0, "first": 1, "later": 3}
_WORDS = {
    "arp": (0x0806, None),
    "ip": (0x0800, None),
    "ipv6": (0x86DD, None),
    **{name: (0x0800, number) for name, number in (("icmp", 1), ("tcp", 6), ("udp", 17), ("sctp", 132))},
    **{name: (0x86DD, number) for name, number in (("icmp6", 58), ("tcp6", 6), ("udp6", 17), ("sctp6", 132))},
}
_TRANSPORT = {6: "tcp", 17: "udp", 132: "sctp"}
_NAMES = {
    "dl_src": "eth_src",
    "dl_dst": "eth_dst",
    "dl_type": "eth_type",
    "nw_proto": "ip_proto",
    "nw_src": "ip_src",
    "nw_dst": "ip_dst",
}


class Found(NamedTuple):
    """A look-up of a trace: where, and what was found; None where that was no flow of ours."""

    bridge: str
    table: int
    flow: Flow | None


class LookUp(NamedTuple):
    """A look-up with the packet as it was there."""

    bridge: str
    table: int
    flow: Flow | None
    state: State


class NotFollowed(ValueError):
    """A trace does something that its flows do not say."""


def passes(text: str, flows: Sequence[Flow]) -> Iterator[tuple[str, list[Found]]]:
    """Yield the passes of a trace: the line that tells the packet, and what was found; `flows` are by cookie, from 1 on."""
    parts: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("Flow: "):
            parts.append((line, []))
        elif parts:
            start = line.lstrip()
            # All that says where the packet is: look-ups begin with a number.
            if start[:1].isdigit() or start.startswith(("bridge(", "->", "Resuming")):
                parts[-1][1].append(line)
    everything = visited("\n".join(line for _, lines in parts for line in lines))
    for told, lines in parts:
        found = []
        for _ in range(sum(line.lstrip()[:1].isdigit() for line in lines)):
            bridge, table, cookie = next(everything)
            if bridge != _UNDERLAY:
                found.append(Found(bridge, table, flows[cookie - 1] if cookie else None))
        yield told, found


def state_of(line: str) -> State:
    """Return the packet that a line "Flow: ..." of a trace tells of."""
    said = dict(part.partition("=")[::2] for part in line.removeprefix("Flow: ").split(","))
    state: State = {}
    for word, (ethertype, protocol) in _WORDS.items():
        if word in said:
            state[_INDEX["eth_type"]] = ethertype
            if protocol is not None:
                state[_INDEX["ip_proto"]] = protocol
    for name, value in said.items():
        field = BY_NAME.get(_NAMES.get(name, name))
        if field is None or not value:
            continue
        if field.name == "ct_state":
            state[field.index] = sum(_FLAGS[flag] for flag in value.split("|"))
        else:
            state[field.index] = _number(value, field.kind)
    _add_upper(state, said)
    if "dl_vlan" in said:
        state[_VLAN] = VLAN_PRESENT | int(said["dl_vlan"])
    if not state.get(_INDEX["ct_state"], 0) & _FLAGS["trk"]:
        state = {index: value for index, value in state.items() if index not in _CONNECTION}
    return {index: value for index, value in state.items() if value}


def _add_upper(state: State, said: dict[str, str]) -> None:
    """Add what goes by other names: ports, ICMP of IPv6, and what kind of fragment it is."""
    protocol = state.get(_INDEX["ip_proto"], 0)
    if protocol in _TRANSPORT and "tp_src" in said:
        state[_INDEX[f"{_TRANSPORT[protocol]}_src"]] = int(said["tp_src"])
        state[_INDEX[f"{_TRANSPORT[protocol]}_dst"]] = int(said["tp_dst"])
    if protocol == 58:
        for name in ("type", "code"):
            state[_INDEX[f"icmpv6_{name}"]] = state.pop(_INDEX[f"icmp_{name}"], 0)
    state[_INDEX["ip_frag"]] = _FRAGMENTS[said.get("nw_frag", "no")]


def _number(value: str, kind: Kind) -> int:
    if kind is Kind.PORT and value == PortNumber.LOCAL.name:
        return PortNumber.LOCAL
    if kind is Kind.MAC:
        return parse_mac(value)
    return int(ip_address(value)) if kind in (Kind.IPV4, Kind.IPV6) else int(value, 0)


class Replay:
    """One pass of a packet through the bridges of a host, after what a trace says was found."""

    def __init__(self, groups: dict[int, Group], peers: dict[tuple[str, int], tuple[str, int]]) -> None:
        self._groups = groups
        self._peers = peers  # By bridge and port: those at the other end of a patch.
        self._found: list[Found] = []
        self._next = 0
        self._seen: list[LookUp] = []

    def look_ups(self, state: State, found: list[Found]) -> Iterator[LookUp]:
        """Yield each look-up of a pass that begins with this packet."""
        self._found, self._next, self._seen = found, 0, []
        if found:
            self._table(found[0].bridge, found[0].table, dict(state))
        if self._next != len(found):
            raise NotFollowed(f"nothing leads to {found[self._next]}")
        return iter(self._seen)

    def _table(self, bridge: str, table: int, state: State) -> None:
        while True:
            found = self._found[self._next] if self._next < len(self._found) else None
            if found is None or (found.bridge, found.table) != (bridge, table):
                raise NotFollowed(f"{bridge} {table} should be looked at, and not {found}")
            self._next += 1
            flow = found.flow
            self._seen.append(LookUp(bridge, table, flow, {k: v for k, v in state.items() if v}))
            if flow is None:
                return
            place = next((at for at, each in enumerate(flow.actions) if isinstance(each, MeasureLength)), None)
            if place is not None:
                self._measured(bridge, flow, place, state)
                return
            self._do(bridge, flow.actions, state)
            if flow.goto is None:
                return
            table = flow.goto

    def _measured(self, bridge: str, flow: Flow, place: int, state: State) -> None:
        """Follow both ways of a packet whose length is looked at; a trace tells first of that of a long one."""
        self._do(bridge, flow.actions[:place], state)
        measure = flow.actions[place]
        assert isinstance(measure, MeasureLength)
        for is_long in (True, False):
            held = dict(state)
            held[measure.field] = held.get(measure.field, 0) & ~(1 << measure.bit) | is_long << measure.bit
            self._do(bridge, flow.actions[place + 1 :], held)
            if flow.goto is not None:
                self._table(bridge, flow.goto, held)

    def _do(self, bridge: str, actions: tuple[Action, ...], state: State) -> None:
        for action in actions:
            match action:
                case SetField(field, value, mask):
                    state[field] = value if mask is None else state.get(field, 0) & ~mask | value
                case Move():
                    apply_move(action, state)
                case PopVlan():
                    state[_VLAN] = 0
                case Resubmit(table):
                    self._table(bridge, table, state)
                case ToGroup(number):
                    for bucket in self._groups[number].buckets:
                        self._do(bridge, bucket, dict(state))
                case Output(port):
                    self._leave(bridge, port, state)
                case Conntrack() | ForgetConnection():
                    for index in _CONNECTION:
                        state.pop(index, None)
                case _:
                    pass

    def _leave(self, bridge: str, port: int, state: State) -> None:
        """Follow a packet through a patch port, if it left by one."""
        then = self._found[self._next] if self._next < len(self._found) else None
        if then is None or then.bridge == bridge:
            return
        for (here, number), (there, entered) in self._peers.items():
            if (here, there) == (bridge, then.bridge) and port in (number, PortNumber.NORMAL):
                beyond = {index: value for index, value in state.items() if index in _SURVIVING}
                self._table(there, then.table, beyond | {_IN_PORT: entered})
                return


def apply_move(action: Move, state: State) -> None:
    """Copy bits from one field of a packet to another."""
    ones = (1 << action.bits) - 1
    bits = state.get(action.source, 0) >> action.source_offset & ones
    kept = state.get(action.target, 0) & ~(ones << action.target_offset)
    state[action.target] = kept | bits << action.target_offset
