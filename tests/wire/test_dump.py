"""A switch may answer anything: what is not what it claims to be is refused, never misread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.pipeline.flow import Flow, Output, SetField, match
from controller.wire import dump, message, pack
from controller.wire.errors import SwitchError
from controller.wire.message import MessageType
from controller.wire.pack import Unpackable
from tests.wire.flows import ORIGIN

REPLY = message.frame(MessageType.MULTIPART_REPLY, 7, b"\0\1\0\0\0\0\0\0")


@given(st.binary(max_size=400))
def test_no_bytes_confuse_the_reader(body: bytes) -> None:
    for read in (dump.flows, dump.groups):
        try:
            read(REPLY + body)
        except dump.Malformed:
            continue


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
