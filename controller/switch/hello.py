"""The first message of a switch: which versions of OpenFlow it offers, and what to do where ours is not among them."""

from __future__ import annotations

import struct
from collections.abc import Collection

_VERSION_BITMAP = 1
_HEADER = 8
_TLS_HANDSHAKE = b"\x16\x03"  # A record's type and the major version (RFC 8446, section 5.1).


def offered(hello: bytes) -> frozenset[int]:
    """Return the wire versions that a hello offers: its bitmap, or every version up to its own.

    >>> sorted(offered(bytes.fromhex("0400000800000001")))
    [1, 2, 3, 4]
    >>> sorted(offered(bytes.fromhex("06000010000000010001000800000060")))
    [5, 6]
    """
    at = _HEADER
    while at + 4 <= len(hello):
        kind, length = struct.unpack_from(">HH", hello, at)
        if kind == _VERSION_BITMAP and length >= 8 and at + length <= len(hello):
            (bits,) = struct.unpack_from(">I", hello, at + 4)
            return frozenset(version for version in range(32) if bits >> version & 1)
        at += max(length, 4) + 7 & ~7
    return frozenset(range(1, hello[0] + 1))


def complaint(hello: bytes, ours: Collection[int]) -> str | None:
    """Return why we cannot speak with the sender of this hello, and what helps; None if we can."""
    theirs = offered(hello)
    if theirs & frozenset(ours):
        return None
    protocols = ",".join(f"OpenFlow1{version - 1}" for version in sorted(ours))
    return f"it offers {_names(theirs)} and needs {_names(ours)}: run `ovs-vsctl set bridge BRIDGE protocols={protocols}` on its host"


def stranger(data: bytes) -> str:
    """Return what is wrong with a connection that begins with these bytes, which are no OpenFlow hello."""
    if data[:2] == _TLS_HANDSHAKE:
        return "it speaks TLS, and the controller was started without certificates"
    return "it does not begin with an OpenFlow hello"


def _names(versions: Collection[int]) -> str:
    return "OpenFlow " + ", ".join(f"1.{version - 1}" for version in sorted(versions)) if versions else "no OpenFlow"
