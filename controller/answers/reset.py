"""What ends a connection that an address does not serve: TCP's reset and SCTP's abort.

(RFC 9293, section 3.10.7.1; RFC 9260, sections 5.1 and 8.4; RFC 3309's checksum.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from controller.answers.datagram import Datagram, checksum_over
from controller.pipeline.fields import PROTO_TCP

_TCP = struct.Struct(">HHIIBBHHH")
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_WORDS = 5 << 4  # Of a TCP header without options.

_SCTP = struct.Struct(">HHII")
_INIT, _ABORT, _SHUTDOWN_ACK, _ERROR, _COOKIE_ACK, _SHUTDOWN_COMPLETE = 1, 6, 8, 9, 11, 14
_STALE_COOKIE: Final = 3  # A cause of an error.
_REFLECTED = 1  # The tag is that of the packet that is answered, for want of one of our own.


def tcp_reset(packet: Datagram) -> bytes | None:
    """Return the segment that resets what a segment is about, None where that is a reset itself."""
    body = packet.body
    if len(body) < _TCP.size:
        return None
    source, target, sequence, acknowledged, offset, flags, *_ = _TCP.unpack_from(body)
    head = (offset >> 4) * 4
    if flags & _RST or not _TCP.size <= head <= len(body):
        return None
    if flags & _ACK:
        fields = (target, source, acknowledged, 0, _WORDS, _RST, 0)
    else:
        length = len(body) - head + bool(flags & _SYN) + bool(flags & _FIN)
        fields = (target, source, 0, (sequence + length) & 0xFFFFFFFF, _WORDS, _RST | _ACK, 0)
    total = checksum_over(packet.target, packet.source, PROTO_TCP, _TCP.pack(*fields, 0, 0))
    return _TCP.pack(*fields, total, 0)


def sctp_abort(packet: Datagram) -> bytes | None:
    """Return the packet that aborts what a packet is about, None where that asks for no answer."""
    body = packet.body
    if len(body) < _SCTP.size + 4:
        return None
    source, target, tag, _ = _SCTP.unpack_from(body)
    chunks = list(_chunks(body[_SCTP.size :]))
    kinds = [kind for kind, _ in chunks]
    if not kinds or _ABORT in kinds or _SHUTDOWN_COMPLETE in kinds or _COOKIE_ACK in kinds or _has_stale_cookie(chunks):
        return None
    answer, flags = _ABORT, _REFLECTED
    if kinds[0] == _INIT:
        # It comes alone, and tells the tag that its sender wants to see.
        value = chunks[0][1]
        if tag or len(chunks) > 1 or len(value) < 16 or not any(value[:4]):
            return None
        tag, flags = int.from_bytes(value[:4], "big"), 0
    elif _SHUTDOWN_ACK in kinds:
        answer = _SHUTDOWN_COMPLETE
    chunk = bytes((answer, flags, 0, 4))
    total = crc32c(_SCTP.pack(target, source, tag, 0) + chunk)
    # The sum is sent with its lowest byte first.
    return struct.pack(">HHI", target, source, tag) + total.to_bytes(4, "little") + chunk


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the value of each chunk that is whole."""
    while len(data) >= 4:
        length = int.from_bytes(data[2:4], "big")
        if not 4 <= length <= len(data):
            return
        yield data[0], data[4:length]
        data = data[(length + 3) & ~3 :]


def _has_stale_cookie(chunks: list[tuple[int, bytes]]) -> bool:
    return any(kind == _ERROR and int.from_bytes(value[:2], "big") == _STALE_COOKIE for kind, value in chunks)


def _entry(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
    return number


_TABLE = tuple(map(_entry, range(256)))


def crc32c(data: bytes) -> int:
    """Return the CRC that SCTP has as its checksum (RFC 9260, appendix A).

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    total = 0xFFFFFFFF
    for byte in data:
        total = total >> 8 ^ _TABLE[(total ^ byte) & 0xFF]
    return total ^ 0xFFFFFFFF
