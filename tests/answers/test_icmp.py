"""What senders are told by a router, as RFC 1812 and RFC 4443 have it."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from os_ken.lib.packet import icmp, icmpv6, ipv4, ipv6, udp
from os_ken.lib.packet.ethernet import ethernet

from controller.answers.icmp import Own, error
from controller.pipeline.questions import Question
from tests.answers.packets import FAR, FAR_V6, HOST, ROUTER, ip, read, tcpdump

OWN = Own(
    0x020000000001,
    tuple(map(ip_address, ("10.0.1.1", "10.0.9.1", "fd00:1::1"))),
    tuple(map(ip_network, ("10.0.1.0/24", "10.0.9.0/24", "fd00:1::/64"))),
)
ME, ME_V6 = "10.0.1.11", "fd00:1::b"
NAMES = {4: (ME, FAR), 6: (ME_V6, FAR_V6)}
WORD = slice(38, 42)  # What stands behind the checksum of an ICMP error about an IPv4 packet.


def sent(version: int = 4, size: int = 20, **fields: Any) -> bytes:
    source, target = NAMES[version]
    given = {"source": source, "target": target, "protocol": 17, **fields}
    return ip(udp.udp(5000, 33434), bytes(size), **given)


def told(question: Question, frame: bytes, mtu: int = 0) -> bytes:
    answer = error(question, frame, OWN, mtu)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("question", "kind", "code"),
    [
        (Question.EXPIRED, 11, 0),
        (Question.NO_ROUTE, 3, 0),
        (Question.NO_HOST, 3, 1),
        (Question.NO_SERVICE, 3, 3),
        (Question.TOO_BIG, 3, 4),
    ],
    ids=str,
)
def test_an_ipv4_sender_is_told_why(question: Question, kind: int, code: int) -> None:
    packet = read(told(question, sent(size=900), 800))
    frame, around, said = (packet.get_protocol(each) for each in (ethernet, ipv4.ipv4, icmp.icmp))
    assert (frame.src, frame.dst, around.dst) == (ROUTER, HOST, ME)
    assert (said.type, said.code, around.src) == (kind, code, FAR if question is Question.NO_SERVICE else "10.0.1.1")
    assert around.total_length == 576


@pytest.mark.parametrize(
    ("question", "kind", "code"),
    [
        (Question.EXPIRED, 3, 0),
        (Question.NO_ROUTE, 1, 0),
        (Question.NO_HOST, 1, 3),
        (Question.NO_SERVICE, 1, 4),
        (Question.TOO_BIG, 2, 0),
    ],
    ids=str,
)
def test_an_ipv6_sender_is_told_why(question: Question, kind: int, code: int) -> None:
    packet = read(told(question, sent(6, size=1400), 1400))
    frame, around, said = (packet.get_protocol(each) for each in (ethernet, ipv6.ipv6, icmpv6.icmpv6))
    assert (frame.src, frame.dst, around.dst) == (ROUTER, HOST, ME_V6)
    assert (said.type_, said.code, around.src) == (
        kind,
        code,
        FAR_V6 if question is Question.NO_SERVICE else "fd00:1::1",
    )
    assert around.payload_length == 1240


@pytest.mark.parametrize("version", [4, 6])
def test_checksums_are_right_whatever_the_length(version: int, tmp_path: Path) -> None:
    questions = (Question.EXPIRED, Question.NO_SERVICE)
    frames = [told(question, sent(version, size)) for question in questions for size in (0, 1, 33, 700, 1399)]
    lines = tcpdump(frames, tmp_path)
    assert len(lines) == len(frames)
    for line in lines:
        assert "ICMP" in line
        assert not any(word in line for word in ("wrong", "bad", "incorrect"))


def test_the_packet_is_quoted_from_its_header_on_and_without_padding() -> None:
    datagram = sent(size=1)[14:43]
    answer = told(Question.EXPIRED, sent(size=1)[:43].ljust(80, b"\xff"))
    assert answer[42:] == datagram
    assert int.from_bytes(answer[16:18], "big") == 20 + 8 + len(datagram)


def test_a_sender_is_told_by_the_address_on_its_own_subnet() -> None:
    assert read(told(Question.EXPIRED, sent(source="10.0.9.5"))).get_protocol(ipv4.ipv4).src == "10.0.9.1"
    assert read(told(Question.EXPIRED, sent(source="198.51.100.9"))).get_protocol(ipv4.ipv4).src == "10.0.1.1"


def test_a_link_local_sender_is_told_that_the_target_is_beyond_its_scope() -> None:
    packet = read(told(Question.NO_ROUTE, sent(6, source="fe80::5")))
    said = packet.get_protocol(icmpv6.icmpv6)
    assert (said.type_, said.code) == (1, 2)
    assert packet.get_protocol(ipv6.ipv6).src == "fe80::ff:fe00:1"


def test_the_mtu_of_the_way_on_is_told() -> None:
    assert told(Question.TOO_BIG, sent(size=1472), 1450)[WORD] == bytes.fromhex("000005aa")
    assert told(Question.TOO_BIG, sent(6, size=1452), 1450)[58:62] == bytes.fromhex("000005aa")


def test_a_packet_that_fits_is_not_told_to_be_too_big() -> None:
    assert error(Question.TOO_BIG, sent(size=100), OWN, 1450) is None
    assert error(Question.TOO_BIG, sent(size=1472), OWN) is None


def test_a_protocol_that_a_router_does_not_speak_is_said_so() -> None:
    four = read(told(Question.NO_SERVICE, ip(bytes(8), source=ME, target="10.0.1.1", protocol=47)))
    assert (four.get_protocol(icmp.icmp).type, four.get_protocol(icmp.icmp).code) == (3, 2)
    answer = told(Question.NO_SERVICE, ip(bytes(8), source=ME_V6, target="fd00:1::1", protocol=47))
    # Parameter problem, next header: its place in the packet is the header's seventh byte.
    assert (answer[54], answer[55], int.from_bytes(answer[58:62], "big")) == (4, 1, 6)


def test_an_unknown_protocol_behind_options_is_pointed_at() -> None:
    options = bytes((47, 0, 1, 4, 0, 0, 0, 0))
    answer = told(Question.NO_SERVICE, ip(options + bytes(8), source=ME_V6, target="fd00:1::1", protocol=60))
    assert (answer[54], answer[55], int.from_bytes(answer[58:62], "big")) == (4, 1, 40)


SILENT = {
    "an error": ip(icmp.icmp(3, 1, 0, icmp.dest_unreach(data=bytes(28))), source=ME, target=FAR, protocol=1),
    "an unknown ICMP message": ip(icmp.icmp(99, 0, 0, bytes(8)), source=ME, target=FAR, protocol=1),
    "an ICMP message without a type": ip(source=ME, target=FAR, protocol=1),
    "an IPv6 error": ip(icmpv6.icmpv6(1, 0, 0, bytes(48)), source=ME_V6, target=FAR_V6, protocol=58),
    "an IPv6 redirect": ip(icmpv6.icmpv6(137, 0, 0, bytes(36)), source=ME_V6, target=FAR_V6, protocol=58),
    "an IPv6 error behind options": ip(
        bytes((58, 0, 1, 4, 0, 0, 0, 0)) + bytes((1, 0)) + bytes(50), source=ME_V6, target=FAR_V6, protocol=0
    ),
    "a later fragment": sent(offset=100),
    "a later IPv6 fragment": ip(bytes((17, 0, 0, 8, 0, 0, 0, 1)) + bytes(8), source=ME_V6, target=FAR_V6, protocol=44),
    "a broadcast": sent(target="255.255.255.255"),
    "a subnet's broadcast": sent(target="10.0.1.255"),
    "a multicast": sent(target="224.0.0.9"),
    "an IPv6 multicast": sent(6, target="ff05::2"),
    "a frame to all": sent(to="ff:ff:ff:ff:ff:ff"),
    "a frame to a group": sent(6, to="33:33:00:00:00:02"),
    "nobody": sent(source=str(IPv4Address(0))),
    "nobody of IPv6": sent(6, source="::"),
    "loopback": sent(source="127.0.0.1"),
    "loopback of IPv6": sent(6, source="::1"),
    "a group as source": sent(source="224.0.0.1"),
    "an IPv6 group as source": sent(6, source="ff02::1"),
    "everybody as source": sent(source="255.255.255.255"),
    "a subnet's broadcast as source": sent(source="10.0.1.255"),
    "the router itself as source": sent(source="10.0.1.1"),
    "the router's link-local address as source": sent(6, source="fe80::ff:fe00:1"),
    "no IP": bytes(12) + b"\x08\x06" + bytes(46),
    "half a header": sent()[:30],
    "half an IPv6 header": sent(6)[:50],
    "a header that is too short": sent()[:14] + b"\x44" + sent()[15:],
    "options without an end": sent()[:14] + b"\x4f" + sent()[15:40],
    "nothing": b"",
}


@pytest.mark.parametrize("what", SILENT)
def test_nobody_is_told_about(what: str) -> None:
    for question in (Question.EXPIRED, Question.NO_ROUTE, Question.NO_HOST, Question.NO_SERVICE, Question.TOO_BIG):
        assert error(question, SILENT[what], OWN, 1) is None


def test_a_ping_that_expires_is_told_about_and_one_of_the_router_is_not() -> None:
    ping = ip(icmp.icmp(8, 0, 0, icmp.echo(1, 1, bytes(8))), source=ME, target=FAR, protocol=1)
    assert error(Question.EXPIRED, ping, OWN) is not None
    assert error(Question.NO_SERVICE, ping, OWN) is None
    six = ip(icmpv6.icmpv6(128, 0, 0, icmpv6.echo(1, 1, bytes(8))), source=ME_V6, target=FAR_V6, protocol=58)
    assert error(Question.EXPIRED, six, OWN) is not None
    assert error(Question.NO_SERVICE, six, OWN) is None


def test_a_first_fragment_is_told_about() -> None:
    assert error(Question.EXPIRED, sent(flags=1), OWN) is not None
