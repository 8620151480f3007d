"""Our packer writes the bytes that os-ken's serialiser writes, for every field and every action."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.base import app_manager  # noqa: F401 - os-ken's other modules need it imported first.
from os_ken.ofproto import ofproto_v1_4
from os_ken.ofproto import ofproto_v1_4_parser as parser
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from controller.model.address import format_mac
from controller.pipeline.fields import BY_NAME, FIELDS, VLAN_MASK, Field, Kind
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
    PushVlan,
    Resubmit,
    SetField,
    ToController,
    ToGroup,
)
from controller.wire import message, pack
from controller.wire.oxm import INNER, RANK
from tests.wire.flows import KNOWN_TO_OSKEN, ORIGIN, conditions, flows

OPENFLOW_14 = ProtocolDesc(version=message.VERSION)

OSKEN_NAMES = {
    "tun_id": "tunnel_id",
    "tun_src": "tun_ipv4_src",
    "tun_dst": "tun_ipv4_dst",
    "vlan_tci": "vlan_vid",
    "ip_src": "ipv4_src",
    "ip_dst": "ipv4_dst",
    "icmp_type": "icmpv4_type",
    "icmp_code": "icmpv4_code",
    "nd_target": "ipv6_nd_target",
    "nd_sll": "ipv6_nd_sll",
    "nd_tll": "ipv6_nd_tll",
}


def osken_name(field: Field) -> str:
    return OSKEN_NAMES.get(field.name, field.name)


def inner_name(field: Field) -> str:
    """The name under which os-ken has the header that Nicira actions carry."""
    if field.name.startswith("nd_"):
        return field.name
    name = osken_name(field)
    return f"{name}_nxm" if INNER[field.index][:2] in (b"\0\0", b"\0\1") and has_two(field) else name


def has_two(field: Field) -> bool:
    return bool(OPENFLOW_14.ofproto.oxm_from_user_header(osken_name(field)) >> 7 == 0x8000)


def as_user(field: Field, value: int) -> Any:
    match field.kind:
        case Kind.MAC:
            return format_mac(value)
        case Kind.IPV4:
            return str(IPv4Address(value))
        case Kind.IPV6:
            return str(IPv6Address(value))
        case _:
            return value


def osken_match(match: Match) -> Any:
    named = []
    for index, value, mask in sorted(match, key=lambda part: RANK[part[0]]):
        field = FIELDS[index]
        whole = 3 if field.name == "ip_frag" else VLAN_MASK if field.name == "vlan_tci" else field.ones
        exact = mask is None or mask & whole == whole
        user = as_user(field, value) if exact else (as_user(field, value), as_user(field, (mask or 0) & whole))
        named.append((osken_name(field), user))
    return parser.OFPMatch(_ordered_fields=named)


def osken_actions(actions: Iterable[Action]) -> list[Any]:
    return [osken_action(action) for action in actions]


def osken_action(action: Action) -> Any:
    match action:
        case Output(port):
            return parser.OFPActionOutput(int(port), 0xFFFF if port == 0xFFFFFFFD else 0)
        case OutputField(index):
            return parser.NXActionOutputReg(FIELDS[index].bits - 1, FIELDS[index].name, 0xFFFF)
        case SetField(index, value, mask) if mask is None or mask == FIELDS[index].ones:
            return parser.OFPActionSetField(**{osken_name(FIELDS[index]): as_user(FIELDS[index], value)})
        case SetField(index, value, mask):
            field = FIELDS[index]
            return parser.NXActionRegLoad2(inner_name(field), as_user(field, value), as_user(field, mask or 0))
        case Move(source, target, bits, first, second):
            names = inner_name(FIELDS[source]), inner_name(FIELDS[target])
            return parser.NXActionRegMove(*names, bits, first, second)
        case PushVlan():
            return parser.OFPActionPushVlan(0x8100)
        case PopVlan():
            return parser.OFPActionPopVlan()
        case ToGroup(group):
            return parser.OFPActionGroup(group)
        case Resubmit(table):
            return parser.NXActionResubmitTable(0xFFF8, table)
        case Conntrack(commit, zone, zone_field, table, nested):
            return parser.NXActionCT(
                flags=int(commit),
                zone_src="" if zone_field is None else FIELDS[zone_field].name,
                zone_ofs_nbits=zone if zone_field is None else 15,
                recirc_table=255 if table is None else table,
                alg=0,
                actions=osken_actions(nested),
            )
        case Conjunction(number, clause, clauses):
            return parser.NXActionConjunction(clause - 1, clauses, number)
        case Note(data):
            return parser.NXActionNote(list(data))
        case ToController(userdata, length, None):
            return parser.NXActionController2(max_len=length, userdata=userdata)
        case _:
            raise ValueError(f"os-ken has no class for {action}")


def osken_flow_mod(flow: Flow) -> bytes:
    """The flow-mod as os-ken writes it, from the cookie's end on: the cookie is ours alone."""
    meters = [action.meter for action in flow.actions if isinstance(action, Metered)]
    instructions = [parser.OFPInstructionMeter(meter) for meter in meters]
    if len(flow.actions) > len(meters):
        instructions.append(parser.OFPInstructionActions(4, osken_actions(flow.actions[len(meters) :])))
    if flow.goto is not None:
        instructions.append(parser.OFPInstructionGotoTable(flow.goto))
    wanted = parser.OFPFlowMod(
        OPENFLOW_14,
        table_id=flow.table,
        priority=flow.priority,
        out_port=0xFFFFFFFF,
        out_group=0xFFFFFFFF,
        match=osken_match(flow.match),
        instructions=instructions,
    )
    wanted.serialize()
    return bytes(wanted.buf[16:])


@given(flows(KNOWN_TO_OSKEN))
def test_a_flow_is_packed_as_osken_packs_it(flow: Flow) -> None:
    assert pack.flow_add(flow)[8:].hex(" ", 4) == osken_flow_mod(flow).hex(" ", 4)


@pytest.mark.parametrize("field", KNOWN_TO_OSKEN, ids=lambda field: field.name)
@given(data=st.data())
def test_every_field_is_matched_as_osken_does(field: Field, data: st.DataObject) -> None:
    flow = Flow(0, 1, (data.draw(conditions(field)),), (), None, ORIGIN, "classify")
    assert pack.flow_add(flow)[8:].hex(" ", 4) == osken_flow_mod(flow).hex(" ", 4)


@pytest.mark.parametrize("watch", [(), (20_001, PortNumber.LOCAL)], ids=["all", "fast failover"])
def test_groups_are_packed_as_osken_packs_them(watch: tuple[int, ...]) -> None:
    actions = ((Output(1),), (SetField(BY_NAME["tun_id"].index, 5001), Output(9)))
    group = Group(7, actions, ORIGIN, "deliver", watch)
    ports = watch or (0xFFFFFFFF, 0xFFFFFFFF)
    buckets = [
        parser.OFPBucket(0, port, 0xFFFFFFFF, osken_actions(bucket), len_=None)
        for bucket, port in zip(group.buckets, ports, strict=True)
    ]
    kind = OPENFLOW_14.ofproto.OFPGT_FF if watch else OPENFLOW_14.ofproto.OFPGT_ALL
    wanted = parser.OFPGroupMod(OPENFLOW_14, 1, kind, 7, buckets)
    wanted.serialize()
    ours = pack.group_mod(pack.GroupCommand.MODIFY, 7, pack.bucket_bytes(group), pack.group_type(group))
    assert ours.hex(" ", 4) == bytes(wanted.buf[8:]).hex(" ", 4)


def test_meters_are_packed_as_osken_packs_them() -> None:
    meter = Meter(7, 100, 50, ORIGIN, "deliver")
    for command in (pack.MeterCommand.ADD, pack.MeterCommand.MODIFY):
        wanted = parser.OFPMeterMod(OPENFLOW_14, command, 0x0006, 7, [parser.OFPMeterBandDrop(100, 50)])
        wanted.serialize()
        ours = pack.meter_mod(command, 7, pack.meter_config(meter))
        assert ours.hex(" ", 4) == bytes(wanted.buf[8:]).hex(" ", 4)
    gone = parser.OFPMeterMod(OPENFLOW_14, pack.MeterCommand.DELETE, 0, 7, [])
    gone.serialize()
    assert pack.meter_mod(pack.MeterCommand.DELETE, 7) == bytes(gone.buf[8:])


def test_bundles_are_framed_as_osken_frames_them() -> None:
    inner = parser.OFPFlowMod(OPENFLOW_14, out_port=0xFFFFFFFF, out_group=0xFFFFFFFF, match=parser.OFPMatch(in_port=3))
    inner.set_xid(77)
    inner.serialize()
    wanted = parser.OFPBundleAddMsg(OPENFLOW_14, 5, 3, inner, [])
    wanted.set_xid(77)
    wanted.serialize()
    assert message.in_bundle(5, 77, message.MessageType.FLOW_MOD, bytes(inner.buf[8:])) == bytes(wanted.buf)
    control = parser.OFPBundleCtrlMsg(OPENFLOW_14, 5, 4, 3, [])
    control.set_xid(78)
    control.serialize()
    assert message.bundle_control(message.BundleControl.COMMIT, 5, 78) == bytes(control.buf)


def test_requests_and_settings_are_osken_s() -> None:
    def of(wanted: Any) -> bytes:
        wanted.set_xid(9)
        wanted.serialize()
        return bytes(wanted.buf)

    assert message.dump_flows(9) == of(parser.OFPFlowStatsRequest(OPENFLOW_14))
    assert message.dump_groups(9) == of(parser.OFPGroupDescStatsRequest(OPENFLOW_14))
    assert message.dump_meters(9) == of(parser.OFPMeterConfigStatsRequest(OPENFLOW_14))
    assert message.barrier(9) == of(parser.OFPBarrierRequest(OPENFLOW_14))
    assert message.config(9) == of(parser.OFPSetConfig(OPENFLOW_14, 3, 0))
    masks = (0, 1 << ofproto_v1_4.OFPR_APPLY_ACTION, 7, 7, 0, 0)
    properties = [parser.OFPAsyncConfigPropReasons(kind, 8, mask) for kind, mask in enumerate(masks)]
    assert message.only_news(9) == of(parser.OFPSetAsync(OPENFLOW_14, properties))
