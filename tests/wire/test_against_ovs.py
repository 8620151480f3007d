"""Open vSwitch takes every flow we pack and gives back the very same bytes: what makes comparing bytes comparing flows."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.pipeline.fields import BY_NAME, CT_INVALID, CT_TRACKED, FIELDS, VLAN_PRESENT
from controller.pipeline.flow import (
    Action,
    Condition,
    Conjunction,
    Conntrack,
    Flow,
    Group,
    Match,
    Meter,
    Metered,
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
    match,
    move,
    set_field,
)
from controller.pipeline.nat import ChooseWay, DecrementTtl, ForgetConnection, ForgetEntrance, MeasureLength, Translate
from controller.wire import dump, message, pack
from controller.wire.message import BundleControl, MessageType
from tests.ovs.twin import Twin
from tests.wire.flows import ORIGIN

pytestmark = pytest.mark.ovs

ALWAYS = ["eth_src", "eth_dst", "tun_id", "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "metadata", "ct_zone"]
ALWAYS += [
    "ct_mark",
    "ct_label",
    "ct_state",
    "vlan_tci",
    "in_port",
    "conj_id",
    *(f"reg{number}" for number in range(16)),
]
ONLY_WHOLE = {
    "in_port",
    "ct_zone",
    "conj_id",
    "nw_ttl",
    "arp_op",
    "icmp_type",
    "icmp_code",
    "icmpv6_code",
    "nd_options_type",
    "nd_reserved",
}
IPV4, IPV6 = ["ip_src", "ip_dst", "nw_ttl"], ["ipv6_src", "ipv6_dst", "nw_ttl"]

_TRACKED = (CT_TRACKED, CT_TRACKED | CT_INVALID)

# What a packet is, and what may be matched then.
KINDS: list[tuple[Match, list[str]]] = [
    ((), []),
    (match(eth_type=0x0800), [*IPV4, "ip_frag"]),
    (match(eth_type=0x0800, ip_proto=6), [*IPV4, "tcp_src", "tcp_dst"]),
    (match(eth_type=0x0800, ip_proto=17), [*IPV4, "udp_src", "udp_dst"]),
    (match(eth_type=0x0800, ip_proto=132), [*IPV4, "sctp_src", "sctp_dst"]),
    (match(eth_type=0x0800, ip_proto=1), [*IPV4, "icmp_type", "icmp_code"]),
    (match(eth_type=0x86DD, ip_proto=6), [*IPV6, "tcp_src", "tcp_dst"]),
    (match(eth_type=0x86DD, ip_proto=58), [*IPV6, "icmpv6_code"]),
    (
        match(eth_type=0x86DD, ip_proto=58, icmpv6_type=135, icmpv6_code=0),
        ["ipv6_src", "nd_target", "nd_sll", "nd_reserved", "nd_options_type"],
    ),
    (
        match(eth_type=0x86DD, ip_proto=58, icmpv6_type=136, icmpv6_code=0),
        ["ipv6_dst", "nd_target", "nd_tll", "nd_reserved", "nd_options_type"],
    ),
    (match(eth_type=0x0806), ["arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"]),
    (match(eth_type=0x0800, ct_state=_TRACKED), ["ct_nw_src", "ct_nw_dst", *IPV4]),
    (match(eth_type=0x86DD, ct_state=_TRACKED), ["ct_ipv6_src", "ct_ipv6_dst", *IPV6]),
    (match(ct_state=_TRACKED, ct_nw_proto=6), ["ct_tp_src", "ct_tp_dst"]),
]


@st.composite
def valid_conditions(draw: st.DrawFn, name: str) -> Condition | None:
    field = BY_NAME[name]
    ones = {"ct_state": 0x3F, "arp_op": 0xFF, "ip_frag": 3, "vlan_tci": 0x1FFF}.get(name, field.ones)
    value = draw(st.integers(0, 0xFEFF if name == "in_port" else ones))
    if name in ONLY_WHOLE or (name != "ct_state" and draw(st.booleans())):
        return (field.index, value | (VLAN_PRESENT if name == "vlan_tci" else 0), None)
    # Open vSwitch knows that a packet the tracker calls invalid cannot be committed, and refuses such a flow.
    mask = draw(st.integers(0, ones)) & (~CT_INVALID if name == "ct_state" else ones)
    return next(iter(match(**{name: (value, mask)})), None)


@st.composite
def valid_matches(draw: st.DrawFn) -> Match:
    kind, more = draw(st.sampled_from(KINDS))
    given = {part[0] for part in kind}
    names = draw(st.lists(st.sampled_from([*ALWAYS, *more, *more]), unique=True, max_size=9))
    names = [name for name in names if BY_NAME[name].index not in given]
    parts = [draw(valid_conditions(name)) for name in names]
    return tuple(sorted([*kind, *(part for part in parts if part is not None)]))


@st.composite
def settable(draw: st.DrawFn, names: list[str]) -> SetField:
    name = draw(st.sampled_from(names))
    ones = BY_NAME[name].ones
    mask = draw(st.none() | st.integers(1, ones))
    return set_field(name, draw(st.integers(0, ones)) & (ones if mask is None else mask), mask)


METER = Meter(5, 100, 50, ORIGIN, "deliver")
FREE = ["tun_id", "tun_src", "tun_dst", "metadata", "reg0", "reg15", "eth_src", "eth_dst", "tun_ipv6_dst"]
ACTIONS: st.SearchStrategy[tuple[Action, ...]] = st.one_of(
    st.tuples(st.integers(1, 0xFEFF).map(Output)),
    st.sampled_from(["reg2", "reg15"]).map(lambda name: (OutputField(BY_NAME[name].index),)),
    st.sampled_from(
        [(Output(PortNumber.IN_PORT),), (Output(PortNumber.CONTROLLER),), (PushVlan(), PopVlan()), (ToGroup(1),)],
    ),
    st.integers(1, 4095).map(lambda vid: (PushVlan(), set_field("vlan_tci", VLAN_PRESENT | vid))),
    st.tuples(settable(FREE)),
    st.sampled_from([(move("eth_src", "eth_dst"),), (move("reg1", "reg2"),), (move("reg1", "metadata", 32),)]),
    st.integers(1, 253).map(lambda table: (Resubmit(table),)),
    st.tuples(
        st.builds(
            Conntrack,
            commit=st.just(True),
            zone=st.integers(0, 65535),
            zone_field=st.none() | st.just(BY_NAME["reg6"].index),
            table=st.none() | st.integers(1, 253),
            actions=st.lists(settable(["ct_mark", "ct_label"]) | st.just(move("reg1", "ct_label", 96)), max_size=2).map(
                tuple
            ),
        )
    ),
    st.tuples(st.builds(Conntrack, zone=st.integers(0, 65535), table=st.none() | st.integers(1, 253))),
    st.tuples(st.binary(min_size=1, max_size=40).map(Note)),
    st.tuples(
        st.builds(
            ToController,
            userdata=st.binary(min_size=1, max_size=20),
            max_length=st.integers(0, 65535),
            meter=st.none() | st.just(METER.id),
        )
    ),
    st.integers(0, 65535).map(lambda length: (ToController(b"", length, METER.id),)),
)
CONJUNCTIONS = st.builds(Conjunction, st.integers(0, 0xFFFFFFFF), st.integers(1, 3), st.integers(3, 64))


def action_lists() -> st.SearchStrategy[tuple[Action, ...]]:
    plain = st.lists(ACTIONS, max_size=4, unique_by=lambda part: type(part[0]).__name__).map(
        lambda parts: tuple(action for part in parts for action in part)
    )
    first = st.sampled_from([(), (Metered(METER.id),)])
    return st.builds(lambda meter, rest: (*meter, *rest), first, plain) | st.tuples(CONJUNCTIONS)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    wanted, actions = draw(valid_matches()), draw(action_lists())
    if not any(part[0] == BY_NAME["eth_type"].index and part[1] in (0x0800, 0x86DD) for part in wanted):
        actions = tuple(action for action in actions if not isinstance(action, Conntrack))
    has_conjunction = any(isinstance(action, Conjunction) for action in actions)
    goto = None if has_conjunction else draw(st.none() | st.integers(1, 253))
    feature = draw(st.sampled_from(["classify", "deliver"]))
    return Flow(0, draw(st.integers(0, 65535)), wanted, actions, goto, ORIGIN, feature)


class Wire:
    """A bare OpenFlow connection with a bridge."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rb")
        self.socket.sendall(message.frame(MessageType.HELLO, 1))

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def ask(self, data: bytes, is_last: Callable[[bytes], bool]) -> list[bytes]:
        """Send, and return all that arrives up to the last answer."""
        self.socket.sendall(data)
        frames: list[bytes] = []
        while not frames or not is_last(frames[-1]):
            head = self.stream.read(message.HEADER.size)
            frames.append(head + self.stream.read(message.HEADER.unpack(head)[2] - len(head)))
        return frames

    def bundle(self, *bodies: tuple[MessageType, bytes]) -> list[str]:
        """Commit these in one bundle; return the names of the errors."""
        wrapped = [message.in_bundle(1, xid, kind, body) for xid, (kind, body) in enumerate(bodies, 100)]
        data = message.bundle_control(BundleControl.OPEN, 1, 2) + b"".join(wrapped)
        data += message.bundle_control(BundleControl.COMMIT, 1, 3) + message.barrier(4)
        frames = self.ask(data, lambda frame: frame[1] == MessageType.BARRIER_REPLY)
        return [dump.error(frame).name for frame in frames if frame[1] == MessageType.ERROR]

    def flows(self) -> list[dump.HeldFlow]:
        def is_last(frame: bytes) -> bool:
            return frame[1] == MessageType.MULTIPART_REPLY and not dump.has_more(frame)

        frames = self.ask(message.dump_flows(5), is_last)
        return [flow for frame in frames if frame[1] == MessageType.MULTIPART_REPLY for flow in dump.flows(frame)]

    def meter(self, command: pack.MeterCommand, number: int, config: bytes = b"\0\0") -> list[str]:
        """Send a meter-mod; return the names of the errors."""
        data = message.frame(MessageType.METER_MOD, 7, pack.meter_mod(command, number, config)) + message.barrier(8)
        frames = self.ask(data, lambda frame: frame[1] == MessageType.BARRIER_REPLY)
        return [dump.error(frame).name for frame in frames if frame[1] == MessageType.ERROR]

    def meters(self) -> list[dump.HeldMeter]:
        frames = self.ask(message.dump_meters(9), lambda frame: frame[1] == MessageType.MULTIPART_REPLY)
        return dump.meters(frames[-1])

    def groups(self) -> list[dump.HeldGroup]:
        frames = self.ask(message.dump_groups(6), lambda frame: frame[1] == MessageType.MULTIPART_REPLY)
        return dump.groups(frames[-1])


EVERYTHING = (MessageType.FLOW_MOD, pack.flow_delete(255, 0, pack.match_bytes(())).replace(b"\xff\x04", b"\xff\x03", 1))
GROUP = Group(1, ((Output(1),), (set_field("tun_id", 7), set_field("tun_dst", 8), Output(2))), ORIGIN, "deliver")


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with Twin(tmp_path_factory.mktemp("ovs")) as twin:
        twin.add_bridge("br0")
        connection = Wire(twin.directory / "br0.mgmt")
        group = pack.group_mod(pack.GroupCommand.ADD, 1, pack.bucket_bytes(GROUP))
        assert connection.bundle((MessageType.GROUP_MOD, group)) == []
        assert connection.meter(pack.MeterCommand.ADD, METER.id, pack.meter_config(METER)) == []
        yield connection
        connection.close()


def held(flow: Flow) -> dump.HeldFlow:
    packed = pack.flow_add(flow)
    head = flow.table, flow.priority, dump.NO_SETTINGS, packed[:8]
    return dump.HeldFlow(*head, pack.match_of(packed), pack.instructions_of(packed))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(wanted=st.lists(flows(), min_size=1, max_size=12, unique_by=lambda flow: (flow.priority, flow.match)))
def test_flows_come_back_as_they_went(wire: Wire, wanted: list[Flow]) -> None:
    assert wire.bundle(EVERYTHING, *((MessageType.FLOW_MOD, pack.flow_add(flow)) for flow in wanted)) == []
    assert sorted(wire.flows()) == sorted(held(flow) for flow in wanted)


def test_every_field_comes_back_as_it_went(wire: Wire) -> None:
    """All fields at once, as far as one packet can have them."""
    for kind, names in KINDS:
        exact = [(BY_NAME[name].index, 1, None) for name in [*ALWAYS, *names] if name != "ct_state"]
        flow = Flow(0, 1, tuple(sorted([*kind, *exact])), (), None, ORIGIN, "classify")
        assert wire.bundle(EVERYTHING, (MessageType.FLOW_MOD, pack.flow_add(flow))) == []
        assert wire.flows() == [held(flow)]
    assert {name for _, names in KINDS for name in [*ALWAYS, *names]} | {
        FIELDS[index].name for kind, _ in KINDS for index, _, _ in kind
    } == set(BY_NAME)


def test_neighbour_discovery_is_answered_in_two_steps(wire: Wire) -> None:
    asked = match(eth_type=0x86DD, ip_proto=58, icmpv6_type=135, icmpv6_code=0, nd_target=1)
    answered = match(eth_type=0x86DD, ip_proto=58, icmpv6_type=136, icmpv6_code=0, nd_target=1)
    first = (
        *(move("eth_src", "eth_dst"), move("ipv6_src", "ipv6_dst"), set_field("ipv6_src", 1)),
        *(set_field("nd_options_type", 2), set_field("nd_reserved", 0xE0000000), set_field("icmpv6_type", 136)),
    )
    last = (set_field("nd_tll", 5), set_field("nw_ttl", 255), Output(PortNumber.IN_PORT))
    wanted = [
        Flow(0, 1, asked, first, 1, ORIGIN, "respond"),
        Flow(1, 1, answered, last, None, ORIGIN, "respond"),
        Flow(
            0, 2, match(eth_type=0x0806), (move("arp_sha", "arp_tha"), set_field("arp_op", 2)), None, ORIGIN, "respond"
        ),
    ]
    assert wire.bundle(EVERYTHING, *((MessageType.FLOW_MOD, pack.flow_add(flow)) for flow in wanted)) == []
    assert sorted(wire.flows()) == sorted(held(flow) for flow in wanted)


ROUTED: list[tuple[int, tuple[Action, ...]]] = [
    (0x0800, (DecrementTtl(), ForgetConnection(), ForgetEntrance(), Output(1))),
    (0x86DD, (ChooseWay(7, BY_NAME["reg13"].index, 8), DecrementTtl())),
    (0x0800, (MeasureLength(1464, BY_NAME["reg6"].index, 28), Output(1))),
    (0x0800, (Conntrack(zone=5, table=8, nat=Translate()),)),
    *(
        (
            kind,
            (Conntrack(True, 5, None, table, (set_field("ct_mark", 7),), Translate(ip_address(address), is_source)),),
        )
        for kind, address in ((0x0800, "192.0.2.1"), (0x86DD, "fd00::1"))
        for is_source in (False, True)
        for table in (None, 9)
    ),
]


@pytest.mark.parametrize(("kind", "actions"), ROUTED)
def test_what_routers_do_comes_back_as_it_went(wire: Wire, kind: int, actions: tuple[Action, ...]) -> None:
    flow = Flow(0, 1, match(eth_type=kind), actions, None, ORIGIN, "router")
    assert wire.bundle(EVERYTHING, (MessageType.FLOW_MOD, pack.flow_add(flow))) == []
    assert wire.flows() == [held(flow)]


@pytest.mark.parametrize(
    ("condition", "meaning"),
    [
        ((0, 0x1FFF), (0, None)),
        ((0x1005, 0x1FFF), (0x1005, None)),
        (0, (0, None)),
        ((0x1000, 0x1000), (0x1000, 0x1000)),
        ((0xE005, 0xFFF0), (0x0000, 0x1FF0)),
    ],
)
def test_a_tag_is_matched_in_its_thirteen_bits(
    wire: Wire, condition: int | tuple[int, int], meaning: tuple[int, int | None]
) -> None:
    loose = Flow(0, 1, match(vlan_tci=condition), (), None, ORIGIN, "classify")
    strict = Flow(0, 1, ((BY_NAME["vlan_tci"].index, *meaning),), (), None, ORIGIN, "classify")
    assert pack.flow_add(loose) == pack.flow_add(strict)
    assert wire.bundle(EVERYTHING, (MessageType.FLOW_MOD, pack.flow_add(loose))) == []
    assert wire.flows() == [held(loose)]


def test_groups_come_back_as_they_went(wire: Wire) -> None:
    assert wire.groups() == [dump.HeldGroup(1, pack.ALL_BUCKETS, pack.bucket_bytes(GROUP))]


def test_fast_failover_comes_back_as_it_went_and_can_change_its_order(wire: Wire) -> None:
    buckets = ((Output(1),), (set_field("reg1", 7), Output(2)))
    first = Group(2, buckets, ORIGIN, "deliver", (20_001, PortNumber.LOCAL))
    commands = [(pack.GroupCommand.ADD, first)]
    # Another host comes first; and all of them get a copy.
    commands += [(pack.GroupCommand.MODIFY, Group(2, buckets[::-1], ORIGIN, "deliver", first.watch[::-1]))]
    commands += [(pack.GroupCommand.MODIFY, Group(2, buckets, ORIGIN, "deliver"))]
    for command, group in commands:
        kind, packed = pack.group_type(group), pack.bucket_bytes(group)
        assert wire.bundle((MessageType.GROUP_MOD, pack.group_mod(command, 2, packed, kind))) == []
        assert dump.HeldGroup(2, kind, packed) in wire.groups()
    assert wire.bundle((MessageType.GROUP_MOD, pack.group_mod(pack.GroupCommand.DELETE, 2))) == []


def test_meters_come_back_as_they_went(wire: Wire) -> None:
    assert wire.meters() == [dump.HeldMeter(METER.id, pack.meter_config(METER))]
    faster = Meter(METER.id, 0xFFFFFFFF, 1, ORIGIN, "deliver")
    for wanted in (faster, METER):
        assert wire.meter(pack.MeterCommand.MODIFY, METER.id, pack.meter_config(wanted)) == []
        assert wire.meters() == [dump.HeldMeter(METER.id, pack.meter_config(wanted))]


def test_a_meter_is_added_once_and_changed_only_where_it_is(wire: Wire) -> None:
    config = pack.meter_config(METER)
    assert wire.meter(pack.MeterCommand.ADD, METER.id, config) == ["OFPMMFC_METER_EXISTS"]
    assert wire.meter(pack.MeterCommand.MODIFY, 99, config) == ["OFPMMFC_UNKNOWN_METER"]
    assert wire.meter(pack.MeterCommand.DELETE, 99) == []


def test_a_meter_that_is_not_first_is_no_flow() -> None:
    late = Flow(0, 1, match(in_port=1), (Output(2), Metered(5)), None, ORIGIN, "classify")
    with pytest.raises(pack.Unpackable, match="before all actions"):
        pack.flow_add(late)


def test_errors_have_names(wire: Wire) -> None:
    orphan = Flow(0, 1, match(tcp_dst=80), (), None, ORIGIN, "classify")
    nowhere = Flow(0, 1, match(in_port=1), (ToGroup(99),), None, ORIGIN, "classify")
    bad = Flow(0, 2, match(in_port=1), (Conjunction(1, 1, 99),), None, ORIGIN, "classify")
    names = wire.bundle(*((MessageType.FLOW_MOD, pack.flow_add(flow)) for flow in (orphan, bad, nowhere)))
    assert names == ["OFPBMC_BAD_PREREQ", "NXBAC_BAD_CONJUNCTION", "OFPBAC_BAD_OUT_GROUP", "OFPBFC_MSG_FAILED"]
