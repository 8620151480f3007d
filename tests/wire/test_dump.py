"""A switch may answer anything: what is not what it claims to be is refused, never misread."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.pipeline.fields import FIELDS
from controller.pipeline.flow import Action, Flow, Note, Output, SetField, match
from controller.wire import dump, message, pack
from controller.wire.errors import SwitchError
from controller.wire.message import MessageType
from controller.wire.oxm import read_match
from controller.wire.pack import Unpackable
from tests.wire.flows import ORIGIN, flows

REPLY = message.frame(MessageType.MULTIPART_REPLY, 7, b"\0\1\0\0\0\0\0\0")


@given(st.binary(max_size=400))
def test_no_bytes_confuse_the_reader(body: bytes) -> None:
    for read in (dump.flows, dump.groups, lambda frame: dump.notes(frame, 0)):
        with suppress(dump.Malformed):
            read(REPLY + body)
    read_match(body)


def reply(flow: Flow, *, counters: bytes = bytes(16)) -> bytes:
    """Return what a switch answers that holds this flow."""
    packed = pack.flow_add(flow)
    contents = packed[pack.MATCH_AT :]
    head = struct.pack(">HBx8xH10x8s", 48 + len(contents), flow.table, flow.priority, packed[:8])
    return REPLY + head + counters + contents


@given(flows(list(FIELDS)), st.binary(min_size=16, max_size=16))
def test_a_flow_that_is_known_is_found_whatever_it_has_counted(flow: Flow, counters: bytes) -> None:
    known = {pack.flow_add(flow)[:8]: flow}
    assert dump.flows(reply(flow, counters=counters), known) == []
    assert known == {}


AGE, PADDING, COUNTERS = range(4, 12), (3, 22, 23), range(32, 48)


@given(flows(list(FIELDS)), st.data())
def test_one_other_bit_is_noticed_though_the_cookie_be_the_same(flow: Flow, data: st.DataObject) -> None:
    frame = bytearray(reply(flow))
    places = [at for at in range(len(frame) - len(REPLY)) if at not in {*AGE, *PADDING, *COUNTERS}]
    frame[len(REPLY) + data.draw(st.sampled_from(places))] ^= 1 << data.draw(st.integers(0, 7))
    known = {pack.flow_add(flow)[:8]: flow}
    with suppress(dump.Malformed):
        dump.flows(bytes(frame), known)
    assert known


@given(flows(list(FIELDS)))
def test_a_match_is_read_as_it_was_written(flow: Flow) -> None:
    packed = pack.match_bytes(flow.match)
    conditions = read_match(packed)
    assert conditions is not None
    assert pack.match_bytes(conditions) == packed


def test_only_the_notes_of_one_table_are_read() -> None:
    def noted(table: int, *texts: str) -> bytes:
        actions: tuple[Action, ...] = (Output(1), *(Note(text.encode()) for text in texts))
        return reply(Flow(table, 1, match(in_port=1), actions, 5, ORIGIN, "deliver"))[len(REPLY) :]

    frame = REPLY + noted(62, "tag 1 a/b") + noted(63, "tag 2 a/b", "zone 3 a/b") + noted(63)
    assert dump.notes(frame, 63) == ["tag 2 a/b", "zone 3 a/b"]


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\1\0"])
def test_a_short_error_is_malformed(body: bytes) -> None:
    with pytest.raises(dump.Malformed):
        dump.error(message.frame(MessageType.ERROR, 7, body))


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (SwitchError(1, 4, 9, None, b""), "OFPBMC_BAD_PREREQ"),
        (SwitchError(1, 17, 13, None, b""), "OFPBFC_MSG_FAILED"),
        (SwitchError(1, 0xFFFF, 15, 0x2320, b""), "NXBAC_BAD_CONJUNCTION"),
        (SwitchError(1, 4, 99, None, b""), "error 4/99"),
        (SwitchError(1, 0xFFFF, 99, 0x2320, b""), "experimenter error 0x2320/99"),
    ],
)
def test_errors_are_named_as_far_as_names_exist(error: SwitchError, name: str) -> None:
    assert error.name == name


def test_the_cookie_tells_feature_and_contents() -> None:
    def cookie(*actions: Output | SetField, feature: str = "deliver", priority: int = 1) -> bytes:
        flow = Flow(0, priority, match(in_port=1), actions, None, ORIGIN, feature)
        return pack.flow_add(flow)[:8]

    assert cookie(Output(1)) == cookie(Output(1))
    assert len({cookie(Output(1)), cookie(Output(2)), cookie(), cookie(Output(1), priority=2)}) == 4
    assert cookie(Output(1))[0] == cookie()[0] != cookie(feature="classify")[0]
    assert cookie(feature="classify")[1:] == cookie()[1:]


def test_a_flow_is_packed_once() -> None:
    flow = Flow(0, 1, match(in_port=1), (Output(2),), None, ORIGIN, "deliver")
    assert pack.flow_add(flow) is pack.flow_add(flow)


def test_what_does_not_fit_a_message_is_refused() -> None:
    def of(actions: int) -> Flow:
        return Flow(0, 1, match(in_port=1), (Output(2),) * actions, None, ORIGIN, "deliver")

    with pytest.raises(Unpackable, match="a flow of a test does not fit OpenFlow"):
        pack.flow_add(of(4096))
    with pytest.raises(Unpackable, match=r"a message of 65,\d+ bytes exceeds OpenFlow's 65,535"):
        message.in_bundle(1, 2, MessageType.FLOW_MOD, pack.flow_add(of(4095)))
