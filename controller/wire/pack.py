"""Flows, groups and meters as bytes of OpenFlow 1.4, as few Python steps each as can be.

A flow's bytes do not depend on the switch they go to: they are made once, kept in the flow, and framed for each switch and
each request (`controller.wire.message`). os-ken's serialiser makes the same bytes fifty times slower; the tests hold the two together.

The cookie is one byte for the feature and seven for a digest of (table, priority, match, instructions), so that what a switch
holds is compared with what it should hold by one number a flow.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from controller.model import ids
from controller.pipeline.fields import FIELDS
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
from controller.pipeline.nat import ChooseWay, DecrementTtl, ForgetConnection, ForgetEntrance, MeasureLength, Translate
from controller.wire.oxm import EXACT, INNER, INNER_MASKED, MASKED, RANK, SIGNIFICANT, SIZES


class Unpackable(ValueError):
    """A flow or group does not fit OpenFlow: it takes more than 65,535 bytes, or a number is too wide."""


class FlowCommand(IntEnum):
    """What a flow-mod does (`ofp_flow_mod_command`), as far as we use it."""

    ADD = 0
    DELETE_STRICT = 4


class GroupCommand(IntEnum):
    """What a group-mod does (`ofp_group_mod_command`, and Open vSwitch's own command that needs no group to be there)."""

    ADD = 0
    MODIFY = 1
    DELETE = 2
    ADD_OR_MODIFY = 0x8000


class MeterCommand(IntEnum):
    """What a meter-mod does (`ofp_meter_mod_command`). Of the first two one is refused, by whether the meter is there."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


ANY_GROUP = 0xFFFFFFFF
MATCH_AT = 40  # Where the match stands in the body of a flow-mod.
ALL_BUCKETS, FAST_FAILOVER = 0, 3  # Group types: every bucket gets a copy; the first that is alive has the packet.

NICIRA = 0x00002320
NOTE = 8  # Nicira's subtype.
_NO_BUFFER = 0xFFFFFFFF
_WHOLE_PACKET = 0xFFFF
_IN_PORT = 0xFFF8  # OFPP_IN_PORT in the 16 bits that Nicira's actions have for it.
_NO_TABLE = 0xFF
_TPID = 0x8100
_COMMIT = 0x0001
_NAT_SOURCE, _NAT_TARGET, _NAT_IPV4, _NAT_IPV6 = 0x0001, 0x0002, 0x0001, 0x0004
_BY_CONNECTION, _MODULO = 3, 0  # Nicira's NX_HASH_FIELDS_SYMMETRIC_L3L4_UDP and NX_MP_ALG_MODULO_N.
_PACKETS_PER_S, _BURST, _DROP = 0x0002, 0x0004, 0x0001
_MAX_LENGTH, _USERDATA, _METER_ID = 0, 3, 5  # Properties of Nicira's controller action.

_PADDING = tuple(bytes(-length % 8) for length in range(8))
_MATCH_HEADER = struct.Struct(">HH").pack
# cookie mask, table, command, idle, hard, priority, buffer, out port, out group, flags, importance: after the cookie.
_FLOW = struct.Struct(">QBBHHHIIIHH").pack
_INSTRUCTION = struct.Struct(">HHI").pack  # Apply-actions pads with 4 bytes; goto-table is a table and 3 bytes.
_OUTPUT = struct.Struct(">HHIH6x").pack
_GROUP_ACTION = struct.Struct(">HHI").pack
_PUSH = struct.Struct(">HHH2x").pack
_PLAIN = struct.Struct(">HH4x").pack
_TLV_ACTION = struct.Struct(">HH").pack
_NXM_IN_PORT = bytes((0, 0, 0, 2))
_EXTENSION = struct.Struct(">HHIH").pack
_OUTPUT_FIELD = struct.Struct(">H4sH6x").pack
_MOVE = struct.Struct(">HHH").pack
_RESUBMIT = struct.Struct(">HB3x").pack
_TRACK = struct.Struct(">H4sHB3xH").pack
_NAT = struct.Struct(">2xHH").pack
_MEASURE = struct.Struct(">HH4s").pack
_CHOOSE = struct.Struct(">HH2xHHI2xH4s").pack
_CONJUNCTION = struct.Struct(">BBI").pack
_BUCKET = struct.Struct(">HHII4x").pack
_GROUP = struct.Struct(">HBxI").pack
_METER = struct.Struct(">H2sI").pack
_METER_CONFIG = struct.Struct(">HHHII4x").pack  # flags; type, length, rate and burst of the band.
_TO_CONTROLLER = struct.Struct(">6x").pack
_PROPERTY = struct.Struct(">HH").pack

_remember = object.__setattr__


def flow_add(flow: Flow) -> bytes:
    """Return the body of the flow-mod that adds the flow; the first 8 bytes are its cookie. Raise Unpackable if it does not fit."""
    if flow.packed is not None:
        return flow.packed
    try:
        packed = _flow_add(flow)
    except (struct.error, OverflowError) as problem:
        raise Unpackable(f"a flow of {flow.origin} does not fit OpenFlow: {problem}") from None
    _remember(flow, "packed", packed)
    return packed


def _flow_add(flow: Flow) -> bytes:
    match = match_bytes(flow.match)
    instructions = instruction_bytes(flow.actions, flow.goto)
    head = _FLOW(
        *(0, flow.table, FlowCommand.ADD, 0, 0, flow.priority),
        *(_NO_BUFFER, PortNumber.ANY, ANY_GROUP, 0, 0),
    )
    rest = head + match + _PADDING[len(match) & 7] + instructions
    return _feature_byte(flow.feature) + blake2b(rest, digest_size=7).digest() + rest


def flow_delete(table: int, priority: int, match: bytes) -> bytes:
    """Return the body of the flow-mod that deletes exactly one flow; `match` as `match_bytes` or a switch gave it."""
    head = _FLOW(
        *(0, table, FlowCommand.DELETE_STRICT, 0, 0, priority),
        *(_NO_BUFFER, PortNumber.ANY, ANY_GROUP, 0, 0),
    )
    return bytes(8) + head + match + _PADDING[len(match) & 7]


def match_of(packed: bytes) -> bytes:
    """Return the match within the body of a flow-mod, without its padding."""
    return packed[MATCH_AT : MATCH_AT + (packed[MATCH_AT + 2] << 8 | packed[MATCH_AT + 3])]


def instructions_of(packed: bytes) -> bytes:
    """Return the instructions within the body of a flow-mod."""
    length = packed[MATCH_AT + 2] << 8 | packed[MATCH_AT + 3]
    return packed[MATCH_AT + (length + 7 & ~7) :]


def match_bytes(match: Match) -> bytes:
    """Return the match with its header and without its padding, in the order that Open vSwitch reports it."""
    parts: list[bytes] = []
    for index, value, mask in sorted(match, key=_rank) if len(match) > 1 else match:
        size, significant = SIZES[index], SIGNIFICANT[index]
        if mask is None or mask & significant == significant:
            parts += EXACT[index], (value & significant).to_bytes(size, "big")
        elif cared_for := mask & significant:
            parts += MASKED[index], (value & cared_for).to_bytes(size, "big"), cared_for.to_bytes(size, "big")
    body = b"".join(parts)
    return _MATCH_HEADER(1, 4 + len(body)) + body


def _rank(condition: tuple[int, int, int | None]) -> int:
    return RANK[condition[0]]


def instruction_bytes(actions: Sequence[Action], goto: int | None) -> bytes:
    """Return meter, if the first action is one, apply-actions, if there are other actions, and goto-table."""
    packed = b""
    if actions and isinstance(first := actions[0], Metered):
        packed, actions = _INSTRUCTION(6, 8, first.meter), actions[1:]
    body = action_bytes(actions)
    if body:
        packed += _INSTRUCTION(4, 8 + len(body), 0) + body
    return packed if goto is None else packed + _INSTRUCTION(1, 8, goto << 24)


def action_bytes(actions: Iterable[Action]) -> bytes:
    """Return the actions one after the other."""
    return b"".join([_PACKERS[type(action)](action) for action in actions])


def bucket_bytes(group: Group) -> bytes:
    """Return the buckets of a group as group-mods carry them and switches report them; raise Unpackable if one does not fit."""
    parts: list[bytes] = []
    try:
        for bucket, port in zip(group.buckets, group.watch or (PortNumber.ANY,) * len(group.buckets), strict=True):
            body = action_bytes(bucket)
            parts += _BUCKET(16 + len(body), 0, port, ANY_GROUP), body
    except (struct.error, OverflowError) as problem:
        raise Unpackable(f"a bucket of {group.origin} does not fit OpenFlow: {problem}") from None
    return b"".join(parts)


def group_type(group: Group) -> int:
    """Return a group's type on the wire."""
    return FAST_FAILOVER if group.watch else ALL_BUCKETS


def group_mod(command: GroupCommand, number: int, buckets: bytes = b"", kind: int = ALL_BUCKETS) -> bytes:
    """Return the body of a group-mod; `buckets` from `bucket_bytes` and `kind` from `group_type`, none for a delete."""
    return _GROUP(command, kind, number) + buckets


def meter_config(meter: Meter) -> bytes:
    """Return flags and bands of a meter as switches report them; raise Unpackable if a number is too wide."""
    try:
        return _METER_CONFIG(_PACKETS_PER_S | _BURST, _DROP, 16, meter.rate, meter.burst)
    except struct.error as problem:
        raise Unpackable(f"a meter of {meter.origin} does not fit OpenFlow: {problem}") from None


def meter_mod(command: MeterCommand, number: int, config: bytes = b"\0\0") -> bytes:
    """Return the body of a meter-mod; `config` from `meter_config`, none for a delete."""
    return _METER(command, config[:2], number) + config[2:]


@lru_cache(maxsize=256)
def _feature_byte(feature: str) -> bytes:
    return ids.key("feature", feature, 8).to_bytes(1, "big")


def _output(action: Output) -> bytes:
    return _OUTPUT(0, 16, action.port, _WHOLE_PACKET if action.port == PortNumber.CONTROLLER else 0)


def _output_field(action: OutputField) -> bytes:
    # From bit 0, all bits: offset << 6 | bits - 1.
    return _extension(15, _OUTPUT_FIELD(FIELDS[action.field].bits - 1, INNER[action.field], _WHOLE_PACKET))


def _to_group(action: ToGroup) -> bytes:
    return _GROUP_ACTION(22, 8, action.group)


def _push_vlan(_action: PushVlan) -> bytes:
    return _PUSH(17, 8, _TPID)


def _pop_vlan(_action: PopVlan) -> bytes:
    return _PLAIN(18, 8)


def _set_field(action: SetField) -> bytes:
    """Set-field writes whole fields in OpenFlow 1.4; a part of one takes Nicira's reg-load2."""
    index, value, mask = action.field, action.value, action.mask
    size, significant = SIZES[index], SIGNIFICANT[index]
    if mask is None or mask & significant == significant:
        body = EXACT[index] + (value & significant).to_bytes(size, "big")
        padding = _PADDING[(4 + len(body)) & 7]
        return _TLV_ACTION(25, 4 + len(body) + len(padding)) + body + padding
    value_and_mask = (value & mask).to_bytes(size, "big") + mask.to_bytes(size, "big")
    return _extension(33, INNER_MASKED[index] + value_and_mask)


def _extension(subtype: int, body: bytes) -> bytes:
    padding = _PADDING[(10 + len(body)) & 7]
    return _EXTENSION(0xFFFF, 10 + len(body) + len(padding), NICIRA, subtype) + body + padding


def _move(action: Move) -> bytes:
    offsets = _MOVE(action.bits, action.source_offset, action.target_offset)
    return _extension(6, offsets + INNER[action.source] + INNER[action.target])


def _resubmit(action: Resubmit) -> bytes:
    return _extension(14, _RESUBMIT(_IN_PORT, action.table))


def _conntrack(action: Conntrack) -> bytes:
    if action.zone_field is None:
        source, zone = bytes(4), action.zone
    else:
        source, zone = INNER[action.zone_field], 16 - 1  # From bit 0, 16 bits: offset << 6 | bits - 1.
    table = _NO_TABLE if action.table is None else action.table
    flags = _COMMIT if action.commit else 0
    translation = b"" if action.nat is None else _translation(action.nat)
    return _extension(35, _TRACK(flags, source, zone, table, 0) + translation + action_bytes(action.actions))


def _translation(action: Translate) -> bytes:
    if action.address is None:
        return _extension(36, _NAT(0, 0))
    present = _NAT_IPV4 if action.address.version == 4 else _NAT_IPV6
    return _extension(36, _NAT(_NAT_SOURCE if action.is_source else _NAT_TARGET, present) + action.address.packed)


def _decrement_ttl(_action: DecrementTtl) -> bytes:
    return _PLAIN(24, 8)


def _forget_connection(_action: ForgetConnection) -> bytes:
    return _extension(43, b"")


def _forget_entrance(_action: ForgetEntrance) -> bytes:
    # By NXM's name of the field: OpenFlow's own may not be written.
    return _TLV_ACTION(25, 16) + _NXM_IN_PORT + bytes(8)


def _measure_length(action: MeasureLength) -> bytes:
    return _extension(49, _MEASURE(action.longest, action.bit, INNER[action.field]))


def _choose_way(action: ChooseWay) -> bytes:
    numbers = _BY_CONNECTION, 0, _MODULO, action.ways - 1, 0
    return _extension(10, _CHOOSE(*numbers, action.bits - 1, INNER[action.field]))


def _conjunction(action: Conjunction) -> bytes:
    return _extension(34, _CONJUNCTION(action.clause - 1, action.clauses, action.id))


def _note(action: Note) -> bytes:
    return _extension(NOTE, action.data)


def _metered(_action: Metered) -> bytes:
    raise Unpackable("a meter comes before all actions of a flow, and in no group")


def _to_controller(action: ToController) -> bytes:
    properties = [_TO_CONTROLLER()]
    if action.max_length != _WHOLE_PACKET:
        # Open vSwitch counts the padding of this one in its length.
        properties.append(_property(_MAX_LENGTH, action.max_length.to_bytes(2, "big") + bytes(2)))
    if action.userdata:
        properties.append(_property(_USERDATA, action.userdata))
    if action.meter is not None:
        properties.append(_property(_METER_ID, action.meter.to_bytes(4, "big")))
    return _extension(37, b"".join(properties))


def _property(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return _PROPERTY(kind, length) + value + _PADDING[length & 7]


_PACKERS: dict[type, Callable[[Any], bytes]] = {
    Output: _output,
    OutputField: _output_field,
    SetField: _set_field,
    Move: _move,
    PushVlan: _push_vlan,
    PopVlan: _pop_vlan,
    ToGroup: _to_group,
    Resubmit: _resubmit,
    Conntrack: _conntrack,
    Conjunction: _conjunction,
    Note: _note,
    Metered: _metered,
    ToController: _to_controller,
    DecrementTtl: _decrement_ttl,
    ForgetConnection: _forget_connection,
    ForgetEntrance: _forget_entrance,
    ChooseWay: _choose_way,
    MeasureLength: _measure_length,
}
