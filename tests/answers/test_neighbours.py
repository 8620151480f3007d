"""Asking for a router who has an address, and what is made of what is heard."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from os_ken.lib.packet import arp, icmpv6, ipv6
from os_ken.lib.packet.ethernet import ethernet
from os_ken.lib.packet.packet import Packet

from controller.answers.datagram import datagram, framed, icmp
from controller.answers.neighbours import Heard, announce, ask, heard
from controller.model.address import format_mac
from tests.answers.packets import ip, read, tcpdump

MAC, THEIRS = 0x020000000001, 0x0200000000FE
GATEWAY, GATEWAY_V6 = ip_address("203.0.113.1"), ip_address("2001:db8::ab:cdef")
OWN, OWN_V6 = ip_address("203.0.113.10"), ip_address("2001:db8::10")
EVERYBODY = "ff:ff:ff:ff:ff:ff"


def test_arp_asks_everybody_in_the_routers_name() -> None:
    packet = read(ask(GATEWAY, MAC, OWN))
    frame, said = packet.get_protocol(ethernet), packet.get_protocol(arp.arp)
    assert (frame.src, frame.dst, said.opcode) == (format_mac(MAC), EVERYBODY, arp.ARP_REQUEST)
    assert (said.src_mac, said.src_ip, said.dst_ip) == (format_mac(MAC), str(OWN), str(GATEWAY))


def test_arp_without_an_address_of_its_own_probes_so_that_nobody_learns_from_it() -> None:
    assert int(ip_address(read(ask(GATEWAY, MAC)).get_protocol(arp.arp).src_ip)) == 0


@pytest.mark.parametrize(("source", "sender"), [(OWN_V6, str(OWN_V6)), (None, "fe80::ff:fe00:1")])
def test_neighbour_discovery_asks_the_group_of_the_address(source: None, sender: str) -> None:
    packet = read(ask(GATEWAY_V6, MAC, source))
    frame, around, said = (packet.get_protocol(each) for each in (ethernet, ipv6.ipv6, icmpv6.icmpv6))
    assert (frame.dst, around.src, around.dst) == ("33:33:ff:ab:cd:ef", sender, "ff02::1:ffab:cdef")
    assert (around.hop_limit, said.type_, said.data.dst) == (255, 135, str(GATEWAY_V6))
    assert said.data.option.hw_src == format_mac(MAC)


def test_an_address_that_has_moved_is_announced() -> None:
    said = read(announce(OWN, MAC)).get_protocol(arp.arp)
    assert (said.opcode, said.src_ip, said.dst_ip) == (arp.ARP_REQUEST, str(OWN), str(OWN))
    packet = read(announce(OWN_V6, MAC))
    advertised = packet.get_protocol(icmpv6.icmpv6)
    assert (packet.get_protocol(ethernet).dst, packet.get_protocol(ipv6.ipv6).dst) == ("33:33:00:00:00:01", "ff02::1")
    assert (advertised.type_, advertised.data.res, advertised.data.dst) == (136, 0b101, str(OWN_V6))


def test_tcpdump_finds_the_checksums_right(tmp_path: Path) -> None:
    for line in tcpdump([ask(GATEWAY_V6, MAC), ask(GATEWAY_V6, MAC, OWN_V6), announce(OWN_V6, MAC)], tmp_path):
        assert "[icmp6 sum ok]" in line


def arp_packet(operation: int = arp.ARP_REPLY, mac: int = THEIRS, address: str = str(GATEWAY)) -> bytes:
    packet = Packet()
    packet.add_protocol(ethernet(format_mac(MAC), format_mac(mac), 0x0806))
    packet.add_protocol(
        arp.arp(opcode=operation, src_mac=format_mac(mac), src_ip=address, dst_mac=format_mac(MAC), dst_ip=str(OWN))
    )
    packet.serialize()
    return bytes(packet.data)


def advertisement(
    flags: int = 0b011,
    *,
    mac: int | None = THEIRS,
    target: str = str(GATEWAY_V6),
    to: str = str(OWN_V6),
    hops: int = 255,
    code: int = 0,
) -> bytes:
    option = None if mac is None else icmpv6.nd_option_tla(hw_src=format_mac(mac))
    said = icmpv6.icmpv6(136, code, 0, icmpv6.nd_neighbor(res=flags, dst=target, option=option))
    return ip(said, source=str(GATEWAY_V6), target=to, protocol=58, hop_limit=hops)


def with_options(options: bytes) -> bytes:
    said = icmp(GATEWAY_V6, OWN_V6, 136, 0, bytes((0x60, 0, 0, 0)) + GATEWAY_V6.packed + options)
    return framed(MAC, THEIRS, datagram(GATEWAY_V6, OWN_V6, 58, said, hops=255))


def test_options_that_it_does_not_know_hide_nothing() -> None:
    unknown, own = bytes((99, 2)) + bytes(14), bytes((2, 1)) + THEIRS.to_bytes(6, "big")
    assert heard(with_options(unknown + own)) == Heard(GATEWAY_V6, THEIRS)


def test_a_reply_tells_of_its_sender() -> None:
    assert heard(arp_packet()) == Heard(GATEWAY, THEIRS)


def test_a_request_and_a_gratuitous_one_tell_of_their_sender() -> None:
    assert heard(arp_packet(arp.ARP_REQUEST)) == Heard(GATEWAY, THEIRS)
    assert heard(announce(GATEWAY, THEIRS)) == Heard(GATEWAY, THEIRS)


def test_an_advertisement_tells_of_its_target() -> None:
    assert heard(advertisement()) == Heard(GATEWAY_V6, THEIRS)
    assert heard(announce(GATEWAY_V6, THEIRS)) == Heard(GATEWAY_V6, THEIRS)


def test_an_advertisement_without_its_mac_has_it_in_its_frame() -> None:
    assert heard(advertisement(mac=None)) == Heard(GATEWAY_V6, 0x02000000000A)


def test_an_advertisement_that_must_not_override_is_weak() -> None:
    assert heard(advertisement(0b010)) == Heard(GATEWAY_V6, THEIRS, is_weak=True)


NOTHING = {
    "a probe": ask(GATEWAY, THEIRS),
    "ARP from a group": arp_packet(mac=0x0300000000FE),
    "ARP from nobody": arp_packet(mac=0),
    "ARP for a group": arp_packet(address="224.0.0.1"),
    "reverse ARP": arp_packet(3),
    "half an ARP packet": arp_packet()[:40],
    "an advertisement from afar": advertisement(hops=254),
    "an advertisement with a code": advertisement(code=1),
    "an answer to nobody": advertisement(0b011, to="ff02::1"),
    "an advertisement for a group": advertisement(target="ff02::1"),
    "a group's MAC": advertisement(mac=0x0300000000FE),
    "a wrong checksum": advertisement()[:-1] + b"\x00",
    "an option without length": with_options(b"\x02\x00" + bytes(6)),
    "an option without end": with_options(b"\x02\x02" + bytes(6)),
    "half an advertisement": advertisement()[:70],
    "a solicitation": ask(GATEWAY_V6, THEIRS),
    "nothing": b"",
}


@pytest.mark.parametrize("what", NOTHING)
def test_nothing_is_believed_of(what: str) -> None:
    assert heard(NOTHING[what]) is None
