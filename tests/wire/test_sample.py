"""Samples as Open vSwitch sends them, and headers of every kind of packet, whole or cut off."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.pipeline.fields import BY_NAME, CT_NEW, CT_TRACKED
from controller.pipeline.flow import Conntrack, Flow, Origin, Output, Resubmit, SetField, ToController, match, set_field
from controller.proof import packet as wire
from controller.proof.packet import Packet
from controller.wire import message, pack
from controller.wire.message import MessageType
from controller.wire.sample import NoSample, Sample, read_headers, read_sample
from tests.ovs.frames import frame
from tests.ovs.twin import Twin

HERE = Origin("port red/web1", None)
PLAIN = Packet(
    source="red/a",
    eth_src=0x020000000001,
    eth_dst=0x020000000002,
    eth_type=wire.IPV4,
    src=ip_address("10.0.0.1"),
    dst=ip_address("10.0.0.2"),
    protocol=wire.TCP,
    sport=40000,
    dport=80,
)
SIX = replace(PLAIN, eth_type=wire.IPV6, src=ip_address("fd00::1"), dst=ip_address("fd00::2"))
WORDS = struct.pack(">HH", 40000, 80) + bytes(4)


def flow(table: int, *actions: ToController | Output | Conntrack | SetField | Resubmit, version: int = 4) -> Flow:
    where = match(eth_type=wire.IPV4 if version == 4 else wire.IPV6)
    return Flow(table, 10, where, actions, None, HERE, "deliver")


class Channel:
    """An OpenFlow connection to a bridge, as a controller's; settled, so that samples come."""

    def __init__(self, twin: Twin) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(f"{twin.directory}/br-int.mgmt")
        self._rest = b""
        self._socket.sendall(message.frame(MessageType.HELLO, 0) + message.only_news(1))

    def close(self) -> None:
        self._socket.close()

    def add(self, *flows: Flow) -> None:
        """Add flows and wait until they are there."""
        for number, each in enumerate(flows):
            self._socket.sendall(message.frame(MessageType.FLOW_MOD, number, pack.flow_add(each)))
        self._socket.sendall(message.barrier(99))
        self.next(MessageType.BARRIER_REPLY)

    def next(self, wanted: MessageType) -> bytes:
        """Return the next message of a type."""
        while True:
            while len(self._rest) < 8 or len(self._rest) < int.from_bytes(self._rest[2:4], "big"):
                self._rest += self._socket.recv(1 << 16)
            length = int.from_bytes(self._rest[2:4], "big")
            found, self._rest = self._rest[:length], self._rest[length:]
            assert found[1] != MessageType.ERROR, found.hex()
            if found[1] == wanted:
                return found

    def sample(self) -> Sample:
        return read_sample(self.next(MessageType.PACKET_IN))


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[Twin]:
    with Twin(tmp_path) as running:
        running.add_bridge("br-int", {"p1": 1, "p2": 2})
        yield running


@pytest.fixture
def channel(twin: Twin) -> Iterator[Channel]:
    found = Channel(twin)
    yield found
    found.close()


@pytest.mark.ovs
@pytest.mark.parametrize("packet", [PLAIN, SIX], ids=["ipv4", "ipv6"])
def test_a_sample_names_the_flow_that_sent_it_and_what_was_known_there(
    twin: Twin, channel: Channel, packet: Packet
) -> None:
    """The flow is one that a resubmit leads to, behind the tracker; the packet itself goes on."""
    version = packet.version or 0
    asks = flow(3, ToController(b"\1", 160), version=version)
    onward = (set_field("reg1", 0xABC), Resubmit(3), Output(2))
    channel.add(flow(0, Conntrack(zone=7, table=1), version=version), flow(1, *onward, version=version), asks)
    twin.inject("p1", frame(packet))
    found = channel.sample()
    assert (found.cookie, found.table) == (pack.flow_add(asks)[:8], 3)
    known = {name: found.fields.get(BY_NAME[name].index) for name in ("in_port", "reg1", "ct_state", "ct_tp_dst")}
    assert known == {"in_port": 1, "reg1": 0xABC, "ct_state": CT_TRACKED | CT_NEW, "ct_tp_dst": 80}
    assert found.packet == frame(packet)
    twin.settle()
    assert twin.sent("p2") == [frame(packet)]


@given(st.binary(max_size=200))
def test_whatever_arrives_is_read_or_refused(data: bytes) -> None:
    with suppress(NoSample):
        read_headers(read_sample(data).packet)


@given(st.binary(max_size=120), st.sampled_from([0x0800, 0x86DD]))
def test_whatever_a_port_sends_has_headers(rest: bytes, ethertype: int) -> None:
    assert read_headers(bytes(12) + ethertype.to_bytes(2, "big") + rest).ethertype == ethertype


@pytest.mark.parametrize("packet", [PLAIN, SIX], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("protocol", [wire.TCP, wire.UDP, wire.SCTP])
def test_ports_are_read(packet: Packet, protocol: int) -> None:
    found = read_headers(frame(replace(packet, protocol=protocol)))
    assert (found.source, found.target, found.protocol) == (packet.src, packet.dst, protocol)
    assert (found.first, found.second, found.has_ports) == (40000, 80, True)


def test_types_and_codes_are_read() -> None:
    four = read_headers(frame(replace(PLAIN, protocol=wire.ICMP, icmp_type=3, icmp_code=4)))
    six = read_headers(frame(replace(SIX, protocol=wire.ICMPV6, icmp_type=128)))
    assert [(each.is_icmp, each.first, each.second) for each in (four, six)] == [(True, 3, 4), (True, 128, 0)]


def test_a_tag_is_passed_over() -> None:
    sent = frame(PLAIN)
    assert read_headers(sent[:12] + bytes.fromhex("81000005") + sent[12:]) == read_headers(sent)


def ipv6(kind: int, rest: bytes) -> bytes:
    sent = frame(SIX)
    return sent[:20] + bytes((kind,)) + sent[21:54] + rest


@pytest.mark.parametrize(
    ("kind", "extension"),
    [
        (0, bytes((wire.UDP, 0)) + bytes(6)),
        (60, bytes((wire.UDP, 1)) + bytes(14)),
        (43, bytes((wire.UDP, 0)) + bytes(6)),
        (44, bytes((wire.UDP, 0, 0, 1)) + bytes(4)),
        (51, bytes((wire.UDP, 2)) + bytes(14)),
        (0, bytes((60, 0)) + bytes(6) + bytes((wire.UDP, 0)) + bytes(6)),
    ],
    ids=["options", "long", "routing", "first fragment", "authentication", "two"],
)
def test_extension_headers_are_passed_over(kind: int, extension: bytes) -> None:
    found = read_headers(ipv6(kind, extension + WORDS))
    assert (found.protocol, found.first, found.second) == (wire.UDP, 40000, 80)


def test_a_later_fragment_names_no_ports() -> None:
    four = bytearray(frame(PLAIN))
    four[20:22] = (0x0010).to_bytes(2, "big")
    six = ipv6(44, bytes((wire.TCP, 0, 1, 0)) + bytes(4) + WORDS)
    for found in (read_headers(bytes(four)), read_headers(six)):
        assert (found.protocol, found.first, found.second) == (wire.TCP, None, None)
