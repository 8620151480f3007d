"""Flows, groups and programs as ovs-ofctl writes them: with names for people, with numbers for `ovs-ofctl add-flows`.

The field names, their order of precedence and the number formats are those of `ovs-ofctl dump-flows`, so that
what `weft flows` prints and what a switch reports can be laid side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import assert_never

from controller.model.address import format_mac
from controller.pipeline.fields import (
    BY_NAME,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIELDS,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
    VLAN_MASK,
    VLAN_PRESENT,
    Field,
    Kind,
)
from controller.pipeline.flow import (
    Action,
    Conjunction,
    Conntrack,
    Flow,
    Group,
    Match,
    Meter,
    Metered,
    Move,
    Note,
    Output,
    OutputField,
    PopVlan,
    PortNumber,
    Program,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
    ToGroup,
)
from controller.pipeline.nat import ChooseWay, DecrementTtl, ForgetConnection, ForgetEntrance, MeasureLength, Translate

_ETHERTYPES = {ETH_IPV4: "ip", ETH_ARP: "arp", ETH_IPV6: "ipv6"}
_PROTOCOLS = {
    (ETH_IPV4, PROTO_ICMP): "icmp",
    (ETH_IPV4, PROTO_TCP): "tcp",
    (ETH_IPV4, PROTO_UDP): "udp",
    (ETH_IPV4, PROTO_SCTP): "sctp",
    (ETH_IPV6, PROTO_ICMPV6): "icmp6",
    (ETH_IPV6, PROTO_TCP): "tcp6",
    (ETH_IPV6, PROTO_UDP): "udp6",
    (ETH_IPV6, PROTO_SCTP): "sctp6",
}

# What dump-flows calls fields in a match; in actions they keep their own names.
_IN_MATCH = {
    "eth_src": "dl_src",
    "eth_dst": "dl_dst",
    "eth_type": "dl_type",
    "ip_proto": "nw_proto",
    "ip_frag": "nw_frag",
    "ip_src": "nw_src",
    "ip_dst": "nw_dst",
    "tcp_src": "tp_src",
    "tcp_dst": "tp_dst",
    "udp_src": "tp_src",
    "udp_dst": "tp_dst",
    "sctp_src": "tp_src",
    "sctp_dst": "tp_dst",
    "icmpv6_type": "icmp_type",
    "icmpv6_code": "icmp_code",
}

# A bit for "is a fragment", a bit for "is not the first" (ovs-fields(7)); dump-flows has words for their combinations.
_FRAGMENTS = {(0, 3): "no", (1, 1): "yes", (1, 3): "first", (3, 3): "later", (0, 2): "not_later"}

_PRIORITY_SHIFT = 13  # The tag's priority stands above the bit that says that there is a tag.

_CT_FLAGS = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")

_ETH_TYPE, _IP_PROTO, _IP_FRAG = (BY_NAME[name].index for name in ("eth_type", "ip_proto", "ip_frag"))


@dataclass(frozen=True, slots=True)
class _Names:
    """How table and port numbers are written."""

    table: Callable[[int], str]
    port: Callable[[int], str | None]

    def port_text(self, number: int) -> str:
        name = self.port(number)
        if name is not None:
            return f'"{name}"'
        return PortNumber(number).name if number in _RESERVED else str(number)


_RESERVED = frozenset(PortNumber)
_NUMBERS = _Names(str, lambda _number: None)


def flow_text(flow: Flow, *, table_name: Callable[[int], str], port_name: Callable[[int], str | None]) -> str:
    """Return the flow for people: tables and ports by name, a port without a name by number.

    >>> from controller.pipeline.flow import Flow, Origin, match
    >>> flow = Flow(0, 9, match(in_port=1, eth_type=ETH_IPV4), (), 5, Origin("port red/web1", None), "classify")
    >>> flow_text(flow, table_name={0: "classify", 5: "guard"}.__getitem__, port_name={1: "red.web1"}.get)
    'table=classify, priority=9, ip, in_port="red.web1" actions=goto_table:guard'
    """
    names = _Names(table_name, port_name)
    head = [f"table={table_name(flow.table)}", f"priority={flow.priority}", *_conditions(flow.match, names)]
    return f"{', '.join(head)} actions={_instructions(flow, names)}"


def raw_text(flow: Flow, *, cookie: int | None = None) -> str:
    """Return the flow exactly as `ovs-ofctl -O OpenFlow14 add-flows` accepts it."""
    head = [] if cookie is None else [f"cookie={cookie:#x}"]
    head += [f"table={flow.table}", f"priority={flow.priority}", *_conditions(flow.match, _NUMBERS)]
    return f"{','.join(head)},actions={_instructions(flow, _NUMBERS)}"


def group_text(
    group: Group,
    *,
    table_name: Callable[[int], str] = _NUMBERS.table,
    port_name: Callable[[int], str | None] = _NUMBERS.port,
) -> str:
    """Return the group as `ovs-ofctl add-groups` accepts it, unless names are given."""
    names = _Names(table_name, port_name)
    watched = group.watch or (None,) * len(group.buckets)
    buckets = (
        f"bucket={'' if port is None else f'watch_port:{names.port_text(port)},'}actions={_actions(bucket, names) or 'drop'}"
        for bucket, port in zip(group.buckets, watched, strict=True)
    )
    return ",".join((f"group_id={group.id}", "type=ff" if group.watch else "type=all", *buckets))


def meter_text(meter: Meter) -> str:
    """Return the meter as `ovs-ofctl -O OpenFlow14 add-meter` accepts it.

    >>> from controller.pipeline.flow import Origin
    >>> meter_text(Meter(5, 100, 50, Origin("port red/web1", None), "limit"))
    'meter=5,pktps,burst,band=type=drop,rate=100,burst_size=50'
    """
    return f"meter={meter.id},{meter.unit},burst,band=type=drop,rate={meter.rate},burst_size={meter.burst}"


def bundle_lines(program: Program) -> Iterator[str]:
    """Yield the program as `ovs-ofctl -O OpenFlow14 bundle` reads it, groups before the flows that use them.

    Its meters are not among the lines: no bundle takes them.
    """
    for group in program.groups.values():
        yield f"group add {group_text(group)}"
    for flow in program.flows.values():
        yield f"flow add {raw_text(flow)}"


def match_text(match: Match, *, port_name: Callable[[int], str | None] = _NUMBERS.port, separator: str = ",") -> str:
    """Return the conditions of a match, which is also how `ofproto/trace` takes a packet."""
    return separator.join(_conditions(match, _Names(str, port_name)))


def _conditions(match: Match, names: _Names) -> Iterator[str]:
    """Yield the conditions, the protocol's short name first: ovs-ofctl wants it before what depends on it."""
    exact = {index: value for index, value, mask in match if mask is None}
    ethertype, protocol = exact.get(_ETH_TYPE), exact.get(_IP_PROTO)
    covered: set[int] = set()
    if ethertype is not None and protocol is not None and (ethertype, protocol) in _PROTOCOLS:
        yield _PROTOCOLS[ethertype, protocol]
        covered = {_ETH_TYPE, _IP_PROTO}
    elif ethertype in _ETHERTYPES:
        yield _ETHERTYPES[ethertype]
        covered = {_ETH_TYPE}
    elif ethertype is not None:
        yield f"dl_type={ethertype:#06x}"
        covered = {_ETH_TYPE}
    for index, value, mask in match:
        if index not in covered:
            yield _condition(FIELDS[index], value, mask, names)


def _condition(field: Field, value: int, mask: int | None, names: _Names) -> str:
    name = _IN_MATCH.get(field.name, field.name)
    if field.kind is Kind.VLAN:
        return _vlan_condition(value, mask)
    if field.index == _IP_FRAG:
        word = _FRAGMENTS.get((value, 3 if mask is None else mask & 3))
        return f"{name}={word}" if word else f"{name}={_value(field, value, mask, names)}"
    return f"{name}={_value(field, value, mask, names)}"


def _vlan_condition(value: int, mask: int | None) -> str:
    if mask == VLAN_MASK and value & VLAN_PRESENT:
        return f"dl_vlan={value ^ VLAN_PRESENT}"
    if mask is None and value & VLAN_PRESENT:
        return f"dl_vlan={value & VLAN_MASK ^ VLAN_PRESENT},dl_vlan_pcp={value >> _PRIORITY_SHIFT}"
    return f"vlan_tci={value:#06x}" if mask is None else f"vlan_tci={value:#06x}/{mask:#06x}"


def _value(field: Field, value: int, mask: int | None, names: _Names) -> str:
    """Return a value with its mask in the form that the field's kind calls for."""
    if mask is None:
        return _exact(field, value, names)
    match field.kind:
        case Kind.CT_STATE:
            bits = (bit for bit in range(len(_CT_FLAGS)) if mask >> bit & 1)
            return "".join(f"{'+' if value >> bit & 1 else '-'}{_CT_FLAGS[bit]}" for bit in bits)
        case Kind.MAC:
            return f"{format_mac(value)}/{format_mac(mask)}"
        case Kind.IPV4 | Kind.IPV6:
            length = _prefix_length(mask, field.bits)
            return f"{_exact(field, value, names)}/{_exact(field, mask, names) if length is None else length}"
        case Kind.DECIMAL | Kind.HEXADECIMAL | Kind.PORT | Kind.VLAN:
            return f"{value:#x}/{mask:#x}"
        case _:
            assert_never(field.kind)


def _exact(field: Field, value: int, names: _Names) -> str:
    match field.kind:
        case Kind.PORT:
            return names.port_text(value)
        case Kind.MAC:
            return format_mac(value)
        case Kind.IPV4:
            return str(IPv4Address(value))
        case Kind.IPV6:
            return str(IPv6Address(value))
        case Kind.DECIMAL:
            return str(value)
        case Kind.HEXADECIMAL | Kind.CT_STATE | Kind.VLAN:
            return f"{value:#x}"
        case _:
            assert_never(field.kind)


def _prefix_length(mask: int, bits: int) -> int | None:
    """Return the number of leading ones, or None when the mask is not a prefix."""
    length = mask.bit_count()
    return length if mask == ((1 << length) - 1) << (bits - length) else None


def _instructions(flow: Flow, names: _Names) -> str:
    parts = [_action(action, names) for action in flow.actions]
    if flow.goto is not None:
        parts.append(f"goto_table:{names.table(flow.goto)}")
    return ",".join(parts) or "drop"


def _actions(actions: tuple[Action, ...], names: _Names) -> str:
    return ",".join(_action(action, names) for action in actions)


def _action(action: Action, names: _Names) -> str:
    match action:
        case Output(port):
            return _output(port, names)
        case OutputField(index):
            return f"output:{_subfield(index, 0, FIELDS[index].bits)}"
        case SetField():
            return _set_field(action, names)
        case Move():
            source = _subfield(action.source, action.source_offset, action.bits)
            target = _subfield(action.target, action.target_offset, action.bits)
            return f"move:{source}->{target}"
        case PushVlan():
            return "push_vlan:0x8100"
        case PopVlan():
            return "pop_vlan"
        case ToGroup(group):
            return f"group:{group}"
        case Resubmit(table):
            return f"resubmit(,{names.table(table)})"
        case Conntrack():
            return _conntrack(action, names)
        case Conjunction(number, clause, clauses):
            return f"conjunction({number},{clause}/{clauses})"
        case Note(data):
            return f"note:{data.hex('.')}"
        case Metered(meter):
            return f"meter:{meter}"
        case ToController():
            return _to_controller(action)
        case DecrementTtl():
            return "dec_ttl"
        case ForgetConnection():
            return "ct_clear"
        case ForgetEntrance():
            return "set_field:0->in_port"
        case MeasureLength(longest, index, bit):
            return f"check_pkt_larger({longest})->{_subfield(index, bit, 1)}"
        case ChooseWay(ways, index, bits):
            return f"multipath(symmetric_l3l4+udp,0,modulo_n,{ways},0,{_subfield(index, 0, bits)})"
        case _:
            assert_never(action)


def _output(port: int, names: _Names) -> str:
    text = names.port_text(port)
    return text if port in _RESERVED and not text.startswith('"') else f"output:{text}"


def _to_controller(action: ToController) -> str:
    parts = [f"max_len={action.max_length}"]
    parts += [f"userdata={action.userdata.hex('.')}"] if action.userdata else []
    parts += [] if action.meter is None else [f"meter_id={action.meter}"]
    return f"controller({','.join(parts)})"


def _set_field(action: SetField, names: _Names) -> str:
    field = FIELDS[action.field]
    if field.kind is Kind.VLAN and action.mask in (None, VLAN_MASK) and action.value & VLAN_PRESENT:
        return f"set_field:{action.value & VLAN_MASK}->vlan_vid"
    return f"set_field:{_value(field, action.value, action.mask, names)}->{field.name}"


def _subfield(index: int, offset: int, bits: int) -> str:
    field = FIELDS[index]
    if bits == field.bits:
        return f"{field.name}[]"
    return f"{field.name}[{offset}]" if bits == 1 else f"{field.name}[{offset}..{offset + bits - 1}]"


def _conntrack(action: Conntrack, names: _Names) -> str:
    parts = ["commit"] if action.commit else []
    if action.table is not None:
        parts.append(f"table={names.table(action.table)}")
    if action.zone_field is not None:
        parts.append(f"zone={_subfield(action.zone_field, 0, 16)}")
    elif action.zone:
        parts.append(f"zone={action.zone}")
    if action.nat is not None:
        parts.append(_translation(action.nat))
    if action.actions:
        parts.append(f"exec({_actions(action.actions, names)})")
    return f"ct({','.join(parts)})"


def _translation(action: Translate) -> str:
    if action.address is None:
        return "nat"
    address = str(action.address) if action.address.version == 4 else f"[{action.address}]"
    return f"nat({'src' if action.is_source else 'dst'}={address})"
