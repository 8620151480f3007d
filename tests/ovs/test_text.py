"""What Weft writes is what Open vSwitch reads: flows of every shape go into a switch and come back the same."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.pipeline.fields import BY_NAME, Kind
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
    move,
    set_field,
)
from controller.pipeline.nat import ChooseWay, DecrementTtl, ForgetConnection, ForgetEntrance, MeasureLength, Translate
from controller.pipeline.text import flow_text, group_text, meter_text, raw_text
from tests.ovs.dump import parse_flow
from tests.ovs.twin import Twin

HERE = Origin("test", None)
METER = Meter(5, 100, 50, HERE, "test")
Condition = int | tuple[int, int]

pytestmark = pytest.mark.ovs


@pytest.fixture(scope="module")
def bridge() -> Iterator[Twin]:
    with TemporaryDirectory() as directory, Twin(Path(directory)) as running:
        running.add_bridge("br", {"p1": 1})
        running.ofctl("add-meter", "br", meter_text(METER))
        yield running


def field_value(name: str, *, masked: bool) -> st.SearchStrategy[Condition]:
    """Values of a field; prefixes and arbitrary masks where the field can be masked."""
    field = BY_NAME[name]
    value = st.integers(0, field.ones)
    if not masked:
        return value
    prefix = st.integers(1, field.bits).map(lambda length: field.ones - (field.ones >> length))
    # ovs-ofctl takes an IPv6 mask that starts with a decimal digit for a prefix length.
    least = 0xA000 << 112 if field.kind is Kind.IPV6 else 1
    return value | st.tuples(value, prefix | st.integers(least, field.ones))


def some_of(names: dict[str, bool]) -> st.SearchStrategy[dict[str, Condition]]:
    choices = {name: field_value(name, masked=masked) for name, masked in names.items()}
    return st.fixed_dictionaries({}, optional=choices)


STATES = st.integers(1, 0xFF).flatmap(lambda mask: st.tuples(st.integers(0, 0xFF), st.just(mask)))
VLANS = st.integers(0, 4095).map(lambda tag: (0x1000 | tag, 0x1FFF)) | st.sampled_from(
    [(0, 0x1FFF), (0x1000, 0x1000), 0x1005, 0x7005]
)
COMMON = st.fixed_dictionaries(
    {},
    optional={
        "in_port": st.sampled_from([1, 2, 60000, int(PortNumber.LOCAL)]),
        "ct_state": STATES,
        "vlan_tci": VLANS,
        "conj_id": st.integers(0, 0xFFFFFFFF),
    },
)
METADATA = some_of(
    {
        "tun_id": True,
        "tun_src": True,
        "metadata": True,
        "reg0": True,
        "reg15": True,
        "ct_zone": False,
        "ct_mark": True,
        "ct_label": True,
        "eth_src": True,
        "eth_dst": True,
    }
)
FRAGMENTS = st.sampled_from([(0, 3), (1, 1), (1, 3), (3, 3), (0, 2)])


def protocols() -> st.SearchStrategy[dict[str, Condition]]:
    v4, v6 = some_of({"ip_src": True, "ip_dst": True, "nw_ttl": False}), some_of({"ipv6_src": True, "ipv6_dst": True})
    shapes = [
        v4.map(lambda more: {"eth_type": 0x0800, **more}),
        v6.map(lambda more: {"eth_type": 0x86DD, **more}),
        st.builds(lambda proto, more: {"eth_type": 0x0800, "ip_proto": proto, **more}, st.integers(0, 255), v4),
        FRAGMENTS.map(lambda fragment: {"eth_type": 0x0800, "ip_frag": fragment}),
        st.sampled_from([0x88CC, 0x0842, 0x8035]).map(lambda kind: {"eth_type": kind}),
        st.integers(0, 255).map(lambda operation: {"eth_type": 0x0806, "arp_op": operation}),
        some_of({"arp_spa": True, "arp_tpa": True, "arp_sha": True, "arp_tha": True}).map(
            lambda more: {"eth_type": 0x0806, **more}
        ),
        some_of({"icmp_type": False, "icmp_code": False}).map(lambda more: {"eth_type": 0x0800, "ip_proto": 1, **more}),
        some_of({"icmpv6_type": False, "icmpv6_code": False}).map(
            lambda more: {"eth_type": 0x86DD, "ip_proto": 58, **more}
        ),
        some_of({"nd_target": True, "nd_sll": True}).map(
            lambda more: {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135, "icmpv6_code": 0, **more}
        ),
        some_of({"nd_target": True, "nd_tll": True}).map(
            lambda more: {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 136, "icmpv6_code": 0, **more}
        ),
    ]
    for ethertype, addresses in ((0x0800, v4), (0x86DD, v6)):
        for number, name in ((6, "tcp"), (17, "udp"), (132, "sctp")):
            ports = some_of({f"{name}_src": True, f"{name}_dst": True})
            head = {"eth_type": ethertype, "ip_proto": number}
            shapes.append(st.builds(lambda a, b, head=head: {**head, **a, **b}, addresses, ports))
    return st.one_of(shapes)


MATCHES = st.builds(
    lambda *parts: match(**{k: v for part in parts for k, v in part.items()}), COMMON, METADATA, protocols()
)


@settings(max_examples=60, deadline=None)
@given(matches=st.lists(MATCHES, min_size=1, max_size=30, unique=True), priority=st.integers(0, 0xFFFF))
def test_a_match_comes_back_as_it_was_written(bridge: Twin, matches: list[Match], priority: int) -> None:
    flows = [Flow(3, priority, wanted, (Output(1),), None, HERE, "test") for wanted in matches]
    bridge.ofctl("del-flows", "br")
    bridge.install("br", [f"flow add {raw_text(flow)}" for flow in flows])
    assert {parse_flow(line)[0] for line in bridge.flows("br")} == {flow.key for flow in flows}


REG0, REG1, CT_MARK, CT_LABEL = (BY_NAME[name].index for name in ("reg0", "reg1", "ct_mark", "ct_label"))
IPV4 = match(eth_type=0x0800)
IPV6 = match(eth_type=0x86DD)
ND = match(eth_type=0x86DD, ip_proto=58, icmpv6_type=136, icmpv6_code=0)

# (match, actions, goto) -> what dump-flows makes of it.
INSTRUCTIONS: list[tuple[Match, tuple[Action, ...], int | None, str]] = [
    ((), (), None, "drop"),
    ((), (), 7, "goto_table:7"),
    ((), (Output(2), Output(PortNumber.IN_PORT)), None, "output:2,IN_PORT"),
    ((), (Output(PortNumber.CONTROLLER),), None, "CONTROLLER:65535"),
    ((), (OutputField(REG0),), None, "output:NXM_NX_REG0[]"),
    ((), (set_field("reg0", 5), set_field("metadata", 9)), 4, "set_field:0x5->reg0,set_field:0x9->metadata,goto_table:4"),
    ((), (SetField(REG0, 0x100, 0xFF00),), 4, "load:0x1->NXM_NX_REG0[8..15],goto_table:4"),
    ((), (PushVlan(), set_field("vlan_tci", 0x1005)), 4, "push_vlan:0x8100,set_field:4101->vlan_vid,goto_table:4"),
    (match(vlan_tci=(0x1005, 0x1FFF)), (PopVlan(), Output(1)), None, "pop_vlan,output:1"),
    ((), (set_field("tun_id", 5001), set_field("tun_dst", 0xC0000202)), 4,
     "set_field:0x1389->tun_id,set_field:192.0.2.2->tun_dst,goto_table:4"),
    ((), (set_field("eth_src", 2), set_field("eth_dst", 3)), 4,
     "set_field:00:00:00:00:00:02->eth_src,set_field:00:00:00:00:00:03->eth_dst,goto_table:4"),
    (IPV4, (move("ip_src", "ip_dst"),), 4, "move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[],goto_table:4"),
    ((), (Move(REG0, REG1, 16, 0, 16),), 4, "move:NXM_NX_REG0[0..15]->NXM_NX_REG1[16..31],goto_table:4"),
    ((), (Resubmit(9), Output(1)), None, "resubmit(,9),output:1"),
    (IPV4, (Conntrack(zone=5, table=8),), None, "ct(table=8,zone=5)"),
    (IPV4, (Conntrack(zone_field=REG0, table=8),), None, "ct(table=8,zone=NXM_NX_REG0[0..15])"),
    (IPV4, (Conntrack(),), None, "ct()"),
    (IPV4, (Conntrack(True, 5, None, 8, (SetField(CT_MARK, 1), SetField(CT_LABEL, 7))),), None,
     "ct(commit,table=8,zone=5,exec(set_field:0x1->ct_mark,set_field:0x7->ct_label))"),
    (IPV4, (Conntrack(zone=5, table=8, nat=Translate()),), None, "ct(table=8,zone=5,nat)"),
    (IPV4, (Conntrack(True, 5, None, 8, nat=Translate(ip_address("192.0.2.1"), True)),), None,
     "ct(commit,table=8,zone=5,nat(src=192.0.2.1))"),
    (IPV6, (Conntrack(True, 5, None, 8, nat=Translate(ip_address("fd00::1"))),), None,
     "ct(commit,table=8,zone=5,nat(dst=fd00::1))"),
    (IPV4, (DecrementTtl(), ForgetConnection(), ForgetEntrance()), 4, "dec_ttl,ct_clear,set_field:0->in_port,goto_table:4"),
    (IPV4, (MeasureLength(1464, REG0, 28),), 4, "check_pkt_larger(1464)->NXM_NX_REG0[28],goto_table:4"),
    (IPV4, (ChooseWay(3, REG0, 8),), 4, "multipath(symmetric_l3l4+udp,0,modulo_n,3,0,NXM_NX_REG0[0..7]),goto_table:4"),
    (IPV4, (Conjunction(77, 1, 2), Conjunction(78, 2, 3)), None, "conjunction(77,1/2),conjunction(78,2/3)"),
    ((), (Note(bytes(range(6))),), None, "note:00.01.02.03.04.05"),
    ((), (Metered(METER.id), Output(2)), 4, "meter:5,output:2,goto_table:4"),
    ((), (ToController(b"\1\2", 128, METER.id), Output(2)), None, "controller(max_len=128,userdata=01.02,meter_id=5),output:2"),
    ((), (ToController(b"\1\2", 128),), 4, "controller(max_len=128,userdata=01.02),goto_table:4"),
    (ND, (set_field("nd_tll", 2), set_field("nd_reserved", 0xE0000000), set_field("nd_options_type", 2)), 4,
     "set_field:00:00:00:00:00:02->nd_tll,set_field:3758096384->nd_reserved,set_field:2->nd_options_type,goto_table:4"),
    (match(eth_type=0x0806), (set_field("arp_op", 2), set_field("arp_spa", 0x0A000001)), 4,
     "set_field:2->arp_op,set_field:10.0.0.1->arp_spa,goto_table:4"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("conditions", "actions", "goto", "dumped"), INSTRUCTIONS, ids=[row[3] for row in INSTRUCTIONS]
)
def test_an_action_comes_back_as_open_vswitch_names_it(
    bridge: Twin, conditions: Match, actions: tuple[Action, ...], goto: int | None, dumped: str
) -> None:
    bridge.ofctl("del-flows", "br")
    bridge.install("br", [f"flow add {raw_text(Flow(2, 5, conditions, actions, goto, HERE, 'test'))}"])
    [line] = bridge.flows("br")
    assert parse_flow(line) == ((2, 5, conditions), dumped)


def test_a_group_copies_to_each_bucket(bridge: Twin) -> None:
    group = Group(4, ((set_field("reg0", 1), Output(1)), (Resubmit(5),), ()), HERE, "flood")
    flow = Flow(0, 5, (), (ToGroup(4),), None, HERE, "flood")
    bridge.ofctl("del-flows", "br")
    bridge.install("br", [f"group add {group_text(group)}", f"flow add {raw_text(flow)}"])
    assert bridge.flows("br") == ["priority=5 actions=group:4"]
    dumped = bridge.ofctl("dump-groups", "br").split("\n", 1)[1].strip()
    # Bucket numbers are the switch's own.
    assert [bucket.partition("actions=")[2] for bucket in dumped.split(",bucket=")[1:]] == [
        "set_field:0x1->reg0,output:1",
        "resubmit(,5)",
        "drop",
    ]
    bridge.ofctl("del-groups", "br")


def test_a_group_of_fast_failover_watches_a_port_for_each_bucket(bridge: Twin) -> None:
    group = Group(4, ((Output(1),), ()), HERE, "choice", (7, 1))
    bridge.install("br", [f"group add {group_text(group)}"])
    dumped = bridge.ofctl("dump-groups", "br").split("\n", 1)[1].strip()
    assert "type=ff" in dumped
    assert [bucket.partition("watch_port:")[2] for bucket in dumped.split(",bucket=")[1:]] == [
        "7,actions=output:1",
        "1,actions=drop",
    ]
    bridge.ofctl("del-groups", "br")


def test_a_meter_comes_back_as_it_was_written(bridge: Twin) -> None:
    dumped = bridge.ofctl("dump-meters", "br").split("\n", 1)[1].split()
    assert ",".join(dumped).replace("bands=,", "band=") == meter_text(METER)


def test_people_read_names() -> None:
    conditions = match(
        in_port=1, vlan_tci=(0, 0x1FFF), eth_type=0x0800, ct_state=(0x21, 0x31), ip_src=(0x0A000000, 0xFF000000)
    )
    actions = (Conntrack(True, 7, table=9), Resubmit(9), Output(1), Output(3))
    flow = Flow(0, 100, conditions, actions, None, HERE, "test")
    text = flow_text(flow, table_name={0: "classify", 9: "deliver"}.__getitem__, port_name={1: "red.web1"}.get)
    assert text == (
        'table=classify, priority=100, ip, in_port="red.web1", ct_state=+new-inv+trk, vlan_tci=0x0000/0x1fff, nw_src=10.0.0.0/8'
        ' actions=ct(commit,table=deliver,zone=7),resubmit(,deliver),output:"red.web1",output:3'
    )
