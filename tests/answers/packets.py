"""Packets as hosts send them, made by os-ken's packet library, and what tcpdump says of packets."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from os_ken.lib.packet import ethernet, ipv4, ipv6
from os_ken.lib.packet.packet import Packet

HOST, ROUTER = "02:00:00:00:00:0a", "02:00:00:00:00:01"
FAR, FAR_V6 = "192.0.2.7", "2001:db8:7::7"


def ip(*uppers: Any, source: str, target: str, protocol: int, to: str = ROUTER, **fields: Any) -> bytes:
    """Return the frame of a datagram with these headers and bytes in it."""
    packet = Packet()
    version = ip_address(source).version
    kind = 0x0800 if version == 4 else 0x86DD
    packet.add_protocol(ethernet.ethernet(to, HOST, kind))
    if version == 4:
        packet.add_protocol(ipv4.ipv4(src=source, dst=target, proto=protocol, **fields))
    else:
        packet.add_protocol(ipv6.ipv6(src=source, dst=target, nxt=protocol, **fields))
    for upper in uppers:
        packet.add_protocol(upper)
    packet.serialize()
    return bytes(packet.data)


def read(frame: bytes) -> Packet:
    """Return a frame as os-ken reads it."""
    return Packet(frame)


def tcpdump(frames: Iterable[bytes], folder: Path) -> list[str]:
    """Return what tcpdump says of each frame; it checks checksums."""
    capture = folder / "frames.pcap"
    records = (struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames)
    capture.write_bytes(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))
    done = subprocess.run(
        ["tcpdump", "-nnvvte", "-r", str(capture)], capture_output=True, text=True, check=True, timeout=30
    )
    lines: list[str] = []
    for line in done.stdout.splitlines():
        if line[:1].isspace() and lines:
            lines[-1] += line
        else:
            lines.append(line)
    return lines
