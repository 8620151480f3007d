"""What ends connections to an address that serves none, as RFC 9293 and RFC 9260 have it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from os_ken.lib.packet import ipv4, sctp, tcp

from controller.answers.icmp import Own, error
from controller.answers.reset import crc32c
from controller.pipeline.questions import Question
from tests.answers.packets import ip, read, tcpdump

OWN = Own(0x020000000001, (ip_address("10.0.1.1"), ip_address("fd00:1::1")), (ip_network("10.0.1.0/24"),))
SYN, ACK, RST, FIN, PUSH = tcp.TCP_SYN, tcp.TCP_ACK, tcp.TCP_RST, tcp.TCP_FIN, tcp.TCP_PSH
ENDS = {4: ("10.0.1.11", "10.0.1.1"), 6: ("fd00:1::b", "fd00:1::1")}


def segment(bits: int, data: bytes = b"", version: int = 4, **fields: Any) -> bytes:
    source, target = ENDS[version]
    header = tcp.tcp(src_port=40000, dst_port=179, seq=0xFFFFFFF0, ack=777, bits=bits)
    return ip(header, data, source=source, target=target, protocol=6, **fields)


def association(*chunks: sctp.chunk, tag: int = 55) -> bytes:
    header = sctp.sctp(src_port=40000, dst_port=179, vtag=tag, chunks=list(chunks))
    return ip(header, source="10.0.1.11", target="10.0.1.1", protocol=132)


def answer(frame: bytes) -> bytes | None:
    return error(Question.NO_SERVICE, frame, OWN)


@pytest.mark.parametrize(
    ("flags", "data", "acknowledges"),
    [(SYN, b"", 0xFFFFFFF1), (SYN | FIN, b"", 0xFFFFFFF2), (PUSH, bytes(20), 4), (0, b"", 0xFFFFFFF0)],
    ids=["a request", "both flags", "data past the end of numbers", "nothing"],
)
def test_what_acknowledges_nothing_is_acknowledged_and_reset(flags: int, data: bytes, acknowledges: int) -> None:
    frame = answer(segment(flags, data))
    assert frame is not None
    said, around = read(frame).get_protocol(tcp.tcp), read(frame).get_protocol(ipv4.ipv4)
    assert (said.src_port, said.dst_port, said.seq, said.ack) == (179, 40000, 0, acknowledges)
    assert (said.bits, said.window_size, around.src, around.dst) == (RST | ACK, 0, "10.0.1.1", "10.0.1.11")


@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK])
def test_what_acknowledges_is_reset_where_it_stands(flags: int) -> None:
    frame = answer(segment(flags, bytes(9)))
    assert frame is not None
    said = read(frame).get_protocol(tcp.tcp)
    assert (said.seq, said.ack, said.bits) == (777, 0, RST)


def test_checksums_of_resets_are_right(tmp_path: Path) -> None:
    frames = [answer(segment(flags, version=version)) for flags in (SYN, ACK) for version in (4, 6)]
    lines = tcpdump([frame for frame in frames if frame is not None], tmp_path)
    assert len(lines) == 4
    assert all("(correct)" in line and "Flags [R" in line for line in lines)


SILENT = {
    "a reset": segment(RST),
    "a reset that acknowledges": segment(RST | ACK),
    "a first fragment": segment(SYN, flags=1),
    "half a header": segment(SYN)[:44],
    "an abort": association(sctp.chunk_abort()),
    "a shutdown that is complete": association(sctp.chunk_shutdown_complete()),
    "a cookie's acknowledgement": association(sctp.chunk_cookie_ack()),
    "a stale cookie": association(sctp.chunk_error(causes=[sctp.cause_stale_cookie(b"\0\0\0\0")])),
    "a request with a tag": association(sctp.chunk_init(init_tag=1), tag=1),
    "a request without a tag to answer with": association(sctp.chunk_init(init_tag=0), tag=0),
    "no chunk": association(),
}


@pytest.mark.parametrize("what", SILENT)
def test_nothing_is_said_about(what: str) -> None:
    assert answer(SILENT[what]) is None


def aborted(frame: bytes | None) -> sctp.sctp:
    assert frame is not None
    said = frame[34 : int.from_bytes(frame[16:18], "big") + 14]
    assert int.from_bytes(said[8:12], "little") == crc32c(said[:8] + bytes(4) + said[12:])
    return read(frame).get_protocol(sctp.sctp)


def test_a_request_for_an_association_is_aborted_with_its_tag() -> None:
    said = aborted(answer(association(sctp.chunk_init(init_tag=4711), tag=0)))
    assert (said.src_port, said.dst_port, said.vtag) == (179, 40000, 4711)
    assert isinstance(said.chunks[0], sctp.chunk_abort)
    assert said.chunks[0].tflag == 0


def test_data_out_of_the_blue_is_aborted_with_the_tag_reflected() -> None:
    said = aborted(answer(association(sctp.chunk_data(payload_data=b"hello"))))
    assert isinstance(said.chunks[0], sctp.chunk_abort)
    assert (said.vtag, said.chunks[0].tflag) == (55, 1)


def test_the_end_of_a_shutdown_is_confirmed() -> None:
    said = aborted(answer(association(sctp.chunk_shutdown_ack())))
    assert isinstance(said.chunks[0], sctp.chunk_shutdown_complete)
    assert (said.vtag, said.chunks[0].tflag) == (55, 1)


def test_the_sum_is_the_one_of_the_standard() -> None:
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4.
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
