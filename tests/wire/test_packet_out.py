"""Packet-outs are the bytes that os-ken would send, whatever the switch is to do with the packet."""

from __future__ import annotations

import pytest
from os_ken.ofproto import ofproto_v1_4, ofproto_v1_4_parser
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from controller.pipeline.fields import VLAN_PRESENT
from controller.pipeline.flow import Output, PortNumber, PushVlan, Resubmit, set_field
from controller.wire.packet_out import TooLong, packet_out

DATAPATH = ProtocolDesc(ofproto_v1_4.OFP_VERSION)
PACKET = bytes(range(60))


def theirs(in_port: int, *actions: object) -> bytes:
    """What os-ken makes of the same."""
    message = ofproto_v1_4_parser.OFPPacketOut(
        DATAPATH, ofproto_v1_4.OFP_NO_BUFFER, in_port=in_port, actions=list(actions), data=PACKET
    )
    message.set_xid(0)
    message.serialize()
    return bytes(message.buf)


def test_a_packet_goes_straight_to_a_port() -> None:
    expected = theirs(ofproto_v1_4.OFPP_CONTROLLER, ofproto_v1_4_parser.OFPActionOutput(7, 0))
    assert packet_out(PACKET, [Output(7)]) == expected


def test_a_packet_to_a_subport_gets_its_tag() -> None:
    parser = ofproto_v1_4_parser
    tag = parser.OFPActionSetField(vlan_vid=VLAN_PRESENT | 5)
    expected = theirs(ofproto_v1_4.OFPP_CONTROLLER, parser.OFPActionPushVlan(), tag, parser.OFPActionOutput(7, 0))
    assert packet_out(PACKET, [PushVlan(), set_field("vlan_tci", VLAN_PRESENT | 5), Output(7)]) == expected


def test_a_packet_goes_through_tables_with_registers_as_if_a_port_had_sent_it() -> None:
    parser = ofproto_v1_4_parser
    resubmit = parser.NXActionResubmitTable(in_port=0xFFF8, table_id=40)
    expected = theirs(9, parser.OFPActionSetField(reg0=1001), resubmit)
    assert packet_out(PACKET, [set_field("reg0", 1001), Resubmit(40)], in_port=9) == expected


def test_a_packet_that_fits_no_message_is_not_sent() -> None:
    with pytest.raises(TooLong):
        packet_out(bytes(0xFFFF), [Output(PortNumber.IN_PORT)])
