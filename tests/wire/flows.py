"""Hypothesis strategies for matches, actions and flows."""

from __future__ import annotations

from hypothesis import strategies as st

from controller.pipeline.fields import BY_NAME, FIELDS, VLAN_PRESENT, Field, Kind
from controller.pipeline.flow import (
    Action,
    Condition,
    Conjunction,
    Conntrack,
    Flow,
    Match,
    Metered,
    Move,
    Note,
    Origin,
    Output,
    OutputField,
    PopVlan,
    PortNumber,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
    ToGroup,
    match,
)

ORIGIN = Origin("a test", None)

# os-ken has no class for these; Open vSwitch itself is asked about them.
_OPENER = ("ct_nw_proto", "ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst", "ct_tp_src", "ct_tp_dst")
ONLY_IN_OVS = ("nd_reserved", "nd_options_type", *_OPENER)


def values(field: Field) -> st.SearchStrategy[int]:
    if field.kind is Kind.VLAN:
        return st.integers(0, 4095).map(lambda vid: vid | VLAN_PRESENT)
    return st.integers(0, 3 if field.name == "ip_frag" else field.ones)


@st.composite
def conditions(draw: st.DrawFn, field: Field) -> Condition:
    value = draw(values(field))
    mask = draw(
        st.none() | st.integers(1, 3 if field.name == "ip_frag" else 0x1FFF if field.name == "vlan_tci" else field.ones)
    )
    parts = match(**{field.name: value if mask is None else (value, mask)})
    return parts[0]


def matches(fields: list[Field]) -> st.SearchStrategy[Match]:
    some = st.lists(st.sampled_from(fields), unique=True, max_size=8)
    return some.flatmap(lambda chosen: st.tuples(*map(conditions, chosen))).map(lambda parts: tuple(sorted(parts)))


@st.composite
def set_fields(draw: st.DrawFn, fields: list[Field]) -> SetField:
    """Masks on 32 bits only: os-ken pads narrower ones longer than it need and cannot write wider ones."""
    field = draw(st.sampled_from(fields))
    value = draw(values(field))
    mask = draw(st.none() | st.integers(1, field.ones)) if field.bits == 32 else None
    return SetField(field.index, value if mask is None else value & mask, mask)


def actions(fields: list[Field], nested: list[Field]) -> st.SearchStrategy[Action]:
    ports = st.integers(1, 0xFEFF) | st.sampled_from(PortNumber)
    registers = st.sampled_from([BY_NAME[f"reg{number}"].index for number in range(16)])
    tables = st.integers(0, 253)
    moves = st.sampled_from([(first, second) for first in fields for second in fields if first.bits == second.bits])
    return st.one_of(
        ports.map(Output),
        registers.map(OutputField),
        set_fields(fields),
        moves.map(lambda pair: Move(pair[0].index, pair[1].index, pair[0].bits)),
        st.just(PushVlan()),
        st.just(PopVlan()),
        st.integers(0, 0xFFFFFF00).map(ToGroup),
        tables.map(Resubmit),
        st.builds(
            Conntrack,
            commit=st.booleans(),
            zone=st.integers(0, 65535),
            zone_field=st.none() | registers,
            table=st.none() | tables,
            actions=st.lists(set_fields(nested), max_size=2).map(tuple),
        ),
        st.builds(Conjunction, id=st.integers(0, 0xFFFFFFFF), clause=st.integers(1, 64), clauses=st.integers(2, 64)),
        st.binary(min_size=1, max_size=40).map(Note),
        st.builds(ToController, st.binary(min_size=1, max_size=20), st.integers(1, 0xFFFE)),
    )


METERS = st.lists(st.integers(1, 0xFFFF0000).map(Metered), max_size=1)


def flows(fields: list[Field]) -> st.SearchStrategy[Flow]:
    nested = [BY_NAME["ct_mark"], BY_NAME["ct_label"]]
    return st.builds(
        Flow,
        table=st.integers(0, 253),
        priority=st.integers(0, 65535),
        match=matches(fields),
        actions=st.builds(lambda first, rest: (*first, *rest), METERS, st.lists(actions(fields, nested), max_size=5)),
        goto=st.none() | st.integers(0, 253),
        origin=st.just(ORIGIN),
        feature=st.sampled_from(["classify", "deliver"]),
    )


KNOWN_TO_OSKEN = [field for field in FIELDS if field.name not in ONLY_IN_OVS]
