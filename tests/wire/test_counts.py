"""Requests for counters as os-ken makes them, and replies as os-ken packs them."""

from __future__ import annotations

from typing import Any

import pytest
from os_ken.ofproto import ofproto_v1_4, ofproto_v1_4_parser
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from controller.pipeline.flow import match
from controller.wire import counts
from controller.wire.counts import Counted
from controller.wire.dump import Malformed
from controller.wire.pack import flow_add
from tests.switch.harness import flow

XID = 77
DATAPATH = ProtocolDesc(ofproto_v1_4.OFP_VERSION)
parser, ofproto = ofproto_v1_4_parser, ofproto_v1_4
DROP = flow(3, 100, match(reg5=7))


def serialized(theirs: Any) -> bytes:
    theirs.set_xid(XID)
    theirs.serialize()
    return bytes(theirs.buf)


def request(table: int, cookie: int, mask: int) -> bytes:
    everyone = ofproto.OFPP_ANY, ofproto.OFPG_ANY
    return serialized(parser.OFPFlowStatsRequest(DATAPATH, 0, table, *everyone, cookie, mask, parser.OFPMatch()))


def reply(*flows: bytes) -> bytes:
    return bytes(16) + b"".join(flows)


def told(cookie: bytes, packets: int, table: int = 3) -> bytes:
    body = flow_add(DROP)[40:]
    head = (48 + len(body)).to_bytes(2, "big") + bytes([table, 0]) + (90).to_bytes(4, "big") + bytes(4)
    counters = packets.to_bytes(8, "big") + (60 * packets).to_bytes(8, "big")
    return head + (100).to_bytes(2, "big") + bytes(10) + cookie + counters + body


def test_requests_are_those_of_os_ken() -> None:
    assert counts.ask_table(XID, 9) == request(9, 0, 0)
    assert counts.ask_flow(XID, 9, bytes(range(8))) == request(9, 0x0001020304050607, 2**64 - 1)
    assert counts.ask_meters(XID) == serialized(parser.OFPMeterStatsRequest(DATAPATH, 0, ofproto.OFPM_ALL))


def test_a_wanted_flow_is_read_among_others() -> None:
    cookie = flow_add(DROP)[:8]
    frame = reply(told(bytes(8), 1), told(cookie, 5), told(bytes(8), 2))
    assert list(counts.flows(frame, {cookie: DROP})) == [(DROP, Counted(5, 300, 90))]


def test_a_flow_with_our_cookie_elsewhere_is_not_ours() -> None:
    cookie = flow_add(DROP)[:8]
    assert list(counts.flows(reply(told(cookie, 5, table=4)), {cookie: DROP})) == []


def test_what_a_meter_s_bands_dropped_is_summed() -> None:
    bands = [parser.OFPMeterBandStats(3, 180), parser.OFPMeterBandStats(4, 240)]
    data = bytearray()
    for band in bands:
        data += band.packet_band_count.to_bytes(8, "big") + band.byte_band_count.to_bytes(8, "big")
    head = (5).to_bytes(4, "big") + (40 + len(data)).to_bytes(2, "big") + bytes(26) + (90).to_bytes(4, "big") + bytes(4)
    theirs = parser.OFPMeterStats.parser(head + bytes(data), 0)
    assert (theirs.meter_id, theirs.duration_sec, theirs.band_stats[1].packet_band_count) == (5, 90, 4)
    assert list(counts.meters(reply(head + bytes(data)))) == [(5, Counted(7, 420, 90))]


@pytest.mark.parametrize("cut", [1, 30, 60])
def test_a_reply_that_is_cut_off_is_malformed(cut: int) -> None:
    cookie = flow_add(DROP)[:8]
    with pytest.raises(Malformed):
        list(counts.flows(reply(told(cookie, 5))[:-cut], {cookie: DROP}))
