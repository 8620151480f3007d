"""Hostile: frames that say one thing to a switch and another to a kernel do not pass the source guard."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from controller.proof.packet import IPV6
from tests.builders import allow, fabric, group, host, network, port
from tests.ovs.fabric import FabricTwin
from tests.ovs.frames import checksum
from tests.scenarios.frames import ARP_REPLY, arp, tagged
from tests.scenarios.talk import Talk

pytestmark = pytest.mark.ovs

A, B = "red/a", "red/b"
A_MAC, B_MAC, EVIL = 0x020000000001, 0x020000000002, 0x0200000000EE
A_IP, B_IP, OTHER_IP = IPv6Address("fd00::1"), IPv6Address("fd00::2"), IPv6Address("fd00::3")
NS, NA, RA = 135, 136, 134
SOURCE, TARGET = 1, 2
ICMPV6, FRAGMENT, OPTIONS = 58, 44, 60


@pytest.fixture(scope="module", params=["with addresses", "without addresses"])
def talk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """Two ports on two hosts that may say anything, in a network whose files name addresses or not."""
    named = request.param == "with addresses"
    topology = fabric(
        host("hv1"),
        host("hv2"),
        network("red/n", *(("10.0.0.0/24", "fd00::/64") if named else ())),
        group("red/open", ingress=[allow()]),
        *(
            port(
                name,
                "red/n",
                *((f"10.0.0.{number}", f"fd00::{number}") if named else ()),
                host=f"hv{number}",
                groups=["red/open"],
                mac=f"02:00:00:00:00:0{number}",
            )
            for name, number in ((A, 1), (B, 2))
        ),
    )
    directory: Path = tmp_path_factory.mktemp("guard")
    with FabricTwin(directory, topology) as twin:
        story = Talk(twin)
        story.enforce(topology)
        yield story


def ipv6(payload: bytes, following: int = ICMPV6, src: IPv6Address = A_IP) -> bytes:
    """A frame of a to b."""
    head = struct.pack(">IHBB", 0x60000000, len(payload), following, 255) + src.packed + B_IP.packed
    return B_MAC.to_bytes(6, "big") + A_MAC.to_bytes(6, "big") + struct.pack(">H", IPV6) + head + payload


def neighbour(kind: int, target: IPv6Address | None, *options: tuple[int, int], src: IPv6Address = A_IP) -> bytes:
    """A neighbour message with these options, each a type and a MAC (RFC 4861, section 4.6.1)."""
    data = struct.pack(">BBHI", kind, 0, 0, 0) + (target.packed if target else b"")
    data += b"".join(bytes([name, 1]) + mac.to_bytes(6, "big") for name, mac in options)
    return sealed(data, src)


def sealed(data: bytes, src: IPv6Address = A_IP) -> bytes:
    """An ICMPv6 message with its checksum."""
    seal = checksum(src.packed + B_IP.packed + struct.pack(">II", len(data), ICMPV6) + data)
    return data[:2] + seal + data[4:]


def test_an_honest_solicitation_and_advertisement_pass(talk: Talk) -> None:
    for message in (neighbour(NS, OTHER_IP, (SOURCE, A_MAC)), neighbour(NA, A_IP, (TARGET, A_MAC))):
        assert talk.net.send(A, ipv6(message)) == {B: [ipv6(message)]}


@pytest.mark.parametrize("options", [[EVIL], [EVIL, EVIL], [EVIL, A_MAC], [A_MAC, EVIL]], ids=str)
def test_no_neighbour_message_names_a_strange_mac(talk: Talk, options: list[int]) -> None:
    for kind, target, option in ((NS, OTHER_IP, SOURCE), (NA, A_IP, TARGET)):
        message = neighbour(kind, target, *((option, mac) for mac in options))
        assert talk.net.send(A, ipv6(message)) == {}
    unspecified = IPv6Address("::")
    probe = neighbour(NS, A_IP, *((SOURCE, mac) for mac in options), src=unspecified)
    if len(options) > 1:
        assert talk.net.send(A, ipv6(probe, src=unspecified)) == {}


@pytest.mark.parametrize("kind", [NS, NA])
def test_no_neighbour_message_lacks_its_target(talk: Talk, kind: int) -> None:
    assert talk.net.send(A, ipv6(neighbour(kind, None))) == {}
    assert talk.net.send(A, ipv6(neighbour(kind, IPv6Address("::")))) == {}


def test_extension_headers_hide_no_router(talk: Talk) -> None:
    """Behind options, in an atomic fragment, and where the first fragment has nothing but options."""
    advert = sealed(bytes([RA]) + bytes(15))
    options = bytes([ICMPV6, 0, 1, 4, 0, 0, 0, 0])
    whole, atomic = options + advert, struct.pack(">BBHI", ICMPV6, 0, 0, 1) + advert
    first = struct.pack(">BBHI", OPTIONS, 0, 1, 2) + whole[:8]
    second = struct.pack(">BBHI", OPTIONS, 0, 8, 2) + whole[8:]
    for following, payload in ((0, whole), (OPTIONS, whole), (FRAGMENT, atomic), (FRAGMENT, first), (FRAGMENT, second)):
        assert talk.net.send(A, ipv6(payload, following)) == {}


def test_arp_of_another_shape_speaks_for_nobody(talk: Talk) -> None:
    """ARP that is not of Ethernet and IPv4, RARP, and a sender that the frame does not come from."""
    honest = arp(ARP_REPLY, (A_MAC, "10.0.0.1"), (B_MAC, "10.0.0.2"), eth_dst=B_MAC)
    assert talk.net.send(A, honest) == {B: [honest]}
    strange_hardware = honest[:14] + b"\0\6" + honest[16:]
    reverse = honest[:12] + b"\x80\x35" + honest[14:]
    for forged in (
        strange_hardware,
        reverse,
        arp(ARP_REPLY, (EVIL, "10.0.0.1"), (B_MAC, "10.0.0.2"), eth_src=A_MAC, eth_dst=B_MAC),
        arp(ARP_REPLY, (A_MAC, "10.0.0.1"), (B_MAC, "10.0.0.2"), eth_src=EVIL, eth_dst=B_MAC),
    ):
        assert talk.net.send(A, forged) == {}


def echo() -> bytes:
    """An honest frame of a to b."""
    return ipv6(sealed(bytes([128, 0, 0, 0, 0, 1, 0, 1]) + b"from weft"))


@pytest.mark.parametrize("tags", [[0], [5], [0xE000], [5, 6]], ids=str)
def test_no_frame_of_a_port_carries_a_tag(talk: Talk, tags: list[int]) -> None:
    """A priority tag (VLAN 0), a VLAN, a priority, two tags, also as a provider's tag (IEEE 802.1ad)."""
    sent = echo()
    assert talk.net.send(A, sent) == {B: [sent]}
    for tag in tags:
        sent = tagged(sent, tag)
    assert talk.net.send(A, sent) == {}
    assert talk.net.send(A, sent[:12] + b"\x88\xa8" + sent[14:]) == {}


def test_headers_that_lie_pass_nowhere(talk: Talk) -> None:
    """IPv6 in a frame of IPv4's type, a packet that is cut off in its addresses."""
    sent = echo()
    for forged in (sent[:12] + b"\x08\x00" + sent[14:], sent[:40]):
        assert talk.net.send(A, forged) == {}
