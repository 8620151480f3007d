"""Announcements as os-ken's own packet library reads them."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address

from os_ken.lib.packet import arp, ethernet, icmpv6, ipv6
from os_ken.lib.packet.packet import Packet
from os_ken.ofproto import ofproto_parser, ofproto_v1_4, ofproto_v1_4_parser
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from controller.model.entities import Port
from controller.wire.announce import announce
from tests.lab.small import port

XID, NUMBER, MAC = 77, 5, "02:00:00:00:00:0a"
LINK_LOCAL = "fe80::ff:fe00:a"
HEAD = 24 + 16  # Of a packet-out with one output.
DATAPATH = ProtocolDesc(ofproto_v1_4.OFP_VERSION)


def with_addresses(*addresses: str) -> Port:
    return dataclasses.replace(
        port("red/web1", "red/web", "10.0.1.11", "hv1"), mac=0x02000000000A, ips=tuple(map(ip_address, addresses))
    )


def frames(stream: bytes) -> list[bytes]:
    """Cut a stream into packet-outs, each of them what os-ken would have sent; return the frames in them."""
    found = []
    while stream:
        _, _, length, _ = ofproto_parser.header(stream)
        found.append(stream[HEAD:length])
        actions = [ofproto_v1_4_parser.OFPActionOutput(ofproto_v1_4.OFPP_TABLE, 0)]
        theirs = ofproto_v1_4_parser.OFPPacketOut(
            DATAPATH, ofproto_v1_4.OFP_NO_BUFFER, in_port=NUMBER, actions=actions, data=found[-1]
        )
        theirs.set_xid(XID)
        theirs.serialize()
        assert stream[:length] == bytes(theirs.buf)
        stream = stream[length:]
    return found


def packets(port: Port) -> list[Packet]:
    return [Packet(data) for data in frames(announce(port, NUMBER, XID))]


def test_an_ipv4_address_is_announced_by_a_gratuitous_arp() -> None:
    (packet,) = packets(with_addresses("10.0.1.11"))
    frame, said = packet.get_protocol(ethernet.ethernet), packet.get_protocol(arp.arp)
    assert (frame.src, frame.dst) == (MAC, "ff:ff:ff:ff:ff:ff")
    assert (said.opcode, said.src_mac, said.src_ip) == (arp.ARP_REQUEST, MAC, "10.0.1.11")
    assert (said.dst_mac, said.dst_ip) == ("00:00:00:00:00:00", "10.0.1.11")
    assert len(packet.data) == 60


def test_an_ipv6_address_and_the_link_local_one_are_announced_by_unsolicited_advertisements() -> None:
    for packet, address in zip(packets(with_addresses("fd00::b")), ("fd00::b", LINK_LOCAL), strict=True):
        frame, ip, said = (packet.get_protocol(each) for each in (ethernet.ethernet, ipv6.ipv6, icmpv6.icmpv6))
        assert (frame.src, frame.dst) == (MAC, "33:33:00:00:00:01")
        assert (ip.src, ip.dst, ip.hop_limit, ip.payload_length) == (address, "ff02::1", 255, 32)
        assert (said.type_, said.data.dst, said.data.option.hw_src) == (icmpv6.ND_NEIGHBOR_ADVERT, address, MAC)
        assert said.data.res == 0b001  # Override, neither router nor solicited.


def test_checksums_are_those_that_os_ken_computes() -> None:
    for packet in packets(with_addresses("fd00::b")):
        data = bytes(packet.data)
        said = packet.get_protocol(icmpv6.icmpv6)
        said.csum = 0
        packet.serialize()
        assert bytes(packet.data) == data


def test_all_addresses_are_announced_and_a_port_without_one_says_nothing() -> None:
    assert len(packets(with_addresses("10.0.1.11", "fd00::b", "10.0.1.12", "fd00::c"))) == 5
    assert announce(with_addresses(), NUMBER, XID) == b""
