"""IP datagrams in Ethernet frames, read as far as an answer needs them, and written with right checksums.

Frames are untagged, as br-int has them. (RFC 791, RFC 8200, RFC 1071.)
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from controller.model.entities import Address
from controller.pipeline.fields import ETH_IPV4, ETH_IPV6, PROTO_ICMPV6

ETHERNET: Final = 14  # Bytes of an Ethernet header.
NOTHING_MORE: Final = 59  # IPv6's "no next header".

_SHORTEST = 60  # Bytes of an Ethernet frame without its checksum.
_HOPS = 64  # What RFC 1122 and RFC 8200's hosts start with.
_DONT_FRAGMENT, _MORE, _OFFSET = 0x4000, 0x2000, 0x1FFF
_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _OPTIONS = 0, 43, 44, 51, 60
_EXTENSIONS = (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _OPTIONS)


class Datagram(NamedTuple):
    """A datagram and the frame's addresses.

    `whole` begins with the IP header and ends where that says, or where the frame does; `body` is what `protocol` carries.
    `protocol_at` is the byte of `whole` that names the protocol. Of a later fragment, the body is not the protocol's beginning.
    """

    target_mac: int
    source_mac: int
    source: Address
    target: Address
    protocol: int
    protocol_at: int
    whole: bytes
    body: bytes
    is_fragment: bool = False
    is_later_fragment: bool = False
    hops: int = _HOPS

    @property
    def is_cut_off(self) -> bool:
        """Whether the frame ends before the datagram does."""
        if self.source.version == 4:
            return len(self.whole) < int.from_bytes(self.whole[2:4], "big")
        return len(self.whole) < _IPV6.size + int.from_bytes(self.whole[4:6], "big")


def read(frame: bytes) -> Datagram | None:
    """Return the datagram in a frame, None if there is none whose headers are whole."""
    macs = int.from_bytes(frame[:6], "big"), int.from_bytes(frame[6:12], "big")
    kind = int.from_bytes(frame[12:ETHERNET], "big")
    if kind == ETH_IPV4:
        return _read_ipv4(*macs, frame[ETHERNET:])
    return _read_ipv6(*macs, frame[ETHERNET:]) if kind == ETH_IPV6 else None


def _read_ipv4(target_mac: int, source_mac: int, data: bytes) -> Datagram | None:
    if len(data) < _IPV4.size:
        return None
    first, _, length, _, flags, hops, protocol, _, source, target = _IPV4.unpack_from(data)
    head = 4 * (first & 15)
    if first >> 4 != 4 or not _IPV4.size <= head <= length or head > len(data):
        return None
    whole = data[:length]
    return Datagram(
        *(target_mac, source_mac, IPv4Address(source), IPv4Address(target), protocol, 9, whole, whole[head:]),
        is_fragment=bool(flags & (_MORE | _OFFSET)),
        is_later_fragment=bool(flags & _OFFSET),
        hops=hops,
    )


def _read_ipv6(target_mac: int, source_mac: int, data: bytes) -> Datagram | None:
    if len(data) < _IPV6.size:
        return None
    first, length, protocol, hops, source, target = _IPV6.unpack_from(data)
    if first >> 28 != 6:
        return None
    whole = data[: _IPV6.size + length]
    named_at, at = 6, _IPV6.size
    is_fragment = is_later = False
    while protocol in _EXTENSIONS and not is_later:
        if at + 8 > len(whole):
            return None
        size = 8 * (whole[at + 1] + 1)
        if protocol == _FRAGMENT:
            size, position = 8, int.from_bytes(whole[at + 2 : at + 4], "big")
            is_later = bool(position >> 3)
            is_fragment = is_fragment or is_later or bool(position & 1)
        elif protocol == _AUTHENTICATION:
            size = 4 * (whole[at + 1] + 2)
        protocol, named_at, at = whole[at], at, at + size
    if at > len(whole):
        return None
    return Datagram(
        *(target_mac, source_mac, IPv6Address(source), IPv6Address(target), protocol, named_at, whole, whole[at:]),
        is_fragment=is_fragment,
        is_later_fragment=is_later,
        hops=hops,
    )


def ethernet(target_mac: int, source_mac: int, kind: int, data: bytes) -> bytes:
    """Return a frame, as long as Ethernet wants it at least."""
    head = target_mac.to_bytes(6, "big") + source_mac.to_bytes(6, "big") + kind.to_bytes(2, "big")
    return (head + data).ljust(_SHORTEST, b"\0")


def datagram(
    source: Address, target: Address, protocol: int, body: bytes, *, traffic: int = 0, hops: int = _HOPS
) -> bytes:
    """Return a datagram; `traffic` is the byte for its class. Both addresses have one version."""
    if source.version == 4:
        # It must not be fragmented, and so needs no identification (RFC 6864, section 4).
        length = _IPV4.size + len(body)
        fields = (0x45, traffic, length, 0, _DONT_FRAGMENT, hops, protocol)
        blank = _IPV4.pack(*fields, 0, source.packed, target.packed)
        return _IPV4.pack(*fields, checksum(blank), source.packed, target.packed) + body
    return _IPV6.pack(6 << 28 | traffic << 20, len(body), protocol, hops, source.packed, target.packed) + body


def framed(target_mac: int, source_mac: int, whole: bytes) -> bytes:
    """Return the frame that carries a datagram."""
    return ethernet(target_mac, source_mac, ETH_IPV4 if whole[0] >> 4 == 4 else ETH_IPV6, whole)


def redirected(frame: bytes, target: Address) -> bytes:
    """Return a frame with another destination in its IP header, of the version that it has."""
    if isinstance(target, IPv6Address):
        return frame[: ETHERNET + 24] + target.packed + frame[ETHERNET + 40 :]
    end = ETHERNET + 4 * (frame[ETHERNET] & 15)
    head = bytearray(frame[ETHERNET:end])
    head[16:20], head[10:12] = target.packed, bytes(2)
    head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
    return frame[:ETHERNET] + bytes(head) + frame[end:]


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071).

    >>> hex(checksum(bytes.fromhex("0001f203f4f5f6f7")))
    '0x220d'
    """
    # The sum with end-around carry is the remainder by 2^16 - 1, of whose two zeros only data of zeros has the one that is 0.
    total = int.from_bytes(data + b"\0" * (len(data) & 1), "big")
    remainder = total % 0xFFFF
    return 0 if total and not remainder else 0xFFFF - remainder


def checksum_over(source: Address, target: Address, protocol: int, body: bytes) -> int:
    """Return the checksum of what a protocol carries, with the pseudo header of either version before it."""
    layout = ">HH" if source.version == 4 else ">II"
    pair = (protocol, len(body)) if source.version == 4 else (len(body), protocol)
    tail = struct.pack(layout, *pair)
    return checksum(source.packed + target.packed + tail + body)


def icmp(source: Address, target: Address, kind: int, code: int, rest: bytes) -> bytes:
    """Return a message of the ICMP of the addresses' version, `rest` being what stands behind its checksum."""
    blank = bytes((kind, code, 0, 0)) + rest
    total = checksum(blank) if source.version == 4 else checksum_over(source, target, PROTO_ICMPV6, blank)
    return blank[:2] + total.to_bytes(2, "big") + rest
