"""Frames to the byte, from the oracle's packets. Independent of os-ken and of the pipeline."""

from __future__ import annotations

import struct
from dataclasses import replace
from enum import Enum

from controller.proof import packet as wire
from controller.proof.packet import Packet

PAYLOAD = b"from weft"
_CRC32C = 0x82F63B78
_SOURCE_OPTION, _TARGET_OPTION = 1, 2


class Step(Enum):
    """Where in a connection a packet stands, for protocols that tell: TCP's numbers and flags, SCTP's chunk."""

    OPEN = (1, 0, 0x5002), 1  # SYN; INIT (RFC 9260, section 3.3.2)
    ACCEPT = (1, 2, 0x5012), 2  # SYN and ACK; INIT ACK
    GO_ON = (2, 2, 0x5010), 10  # ACK; COOKIE ECHO


def frame(packet: Packet, step: Step = Step.OPEN) -> bytes:
    """Return the packet as a frame with right checksums."""
    head = packet.eth_dst.to_bytes(6, "big") + packet.eth_src.to_bytes(6, "big")
    if packet.tagged:
        head += bytes.fromhex("81000005")
    head += packet.eth_type.to_bytes(2, "big")
    if packet.eth_type == wire.ARP:
        body = _arp(packet)
    elif packet.version == 4:
        body = _ipv4(packet, _upper(packet, step))
    elif packet.version == 6:
        body = _ipv6(packet, _upper(packet, step))
    else:
        body = PAYLOAD
    return (head + body).ljust(60, b"\0")


def unreachable(packet: Packet, sent: bytes) -> bytes:
    """Return the frame by which the receiver of `sent` says that nobody listens at its port (RFC 792, RFC 4443)."""
    version = packet.version
    error = replace(
        packet,
        eth_src=packet.eth_dst,
        eth_dst=packet.eth_src,
        src=packet.dst,
        dst=packet.src,
        protocol=wire.ICMP if version == 4 else wire.ICMPV6,
    )
    kind = b"\x03\x03" if version == 4 else b"\x01\x04"
    quoted = kind + bytes(6) + sent[14 : 14 + (28 if version == 4 else 48)]
    head = error.eth_dst.to_bytes(6, "big") + error.eth_src.to_bytes(6, "big") + error.eth_type.to_bytes(2, "big")
    if version == 4:
        return (head + _ipv4(error, quoted[:2] + checksum(quoted) + quoted[4:])).ljust(60, b"\0")
    return head + _ipv6(error, _sealed(error, quoted, 2))


def checksum(data: bytes) -> bytes:
    """Return the Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = int(sum(struct.unpack(f">{len(data) // 2}H", data)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def crc32c(data: bytes) -> int:
    """Return the checksum of SCTP (RFC 9260, appendix A)."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (_CRC32C if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


def _ends(packet: Packet) -> bytes:
    assert packet.src is not None
    assert packet.dst is not None
    return packet.src.packed + packet.dst.packed


def _arp(packet: Packet) -> bytes:
    half = len(_ends(packet)) // 2
    sender = (packet.hardware or 0).to_bytes(6, "big") + _ends(packet)[:half]
    return struct.pack(">HHBBH", 1, 0x0800, 6, 4, packet.arp_op) + sender + bytes(6) + _ends(packet)[half:]


def _ipv4(packet: Packet, payload: bytes) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, packet.ttl, packet.protocol or 0, 0) + _ends(
        packet
    )
    return head[:10] + checksum(head) + head[12:] + payload


def _ipv6(packet: Packet, payload: bytes) -> bytes:
    # Neighbours believe what cannot have passed a router (RFC 4861, section 6.1.1).
    hops = 255 if packet.is_icmpv6 and packet.icmp_type in wire.UNTRACKED else packet.ttl
    return struct.pack(">IHBB", 0x60000000, len(payload), packet.protocol or 0, hops) + _ends(packet) + payload


def _upper(packet: Packet, step: Step) -> bytes:
    """Return the transport header and payload."""
    ports = struct.pack(">HH", packet.sport, packet.dport)
    match packet.protocol:
        case wire.TCP:
            data = PAYLOAD if step is Step.GO_ON else b""
            return _sealed(packet, ports + struct.pack(">IIHHHH", *step.value[0], 1024, 0, 0) + data, 16)
        case wire.UDP:
            return _sealed(packet, ports + struct.pack(">HH", 8 + len(PAYLOAD), 0) + PAYLOAD, 6)
        case wire.SCTP:
            chunk = struct.pack(">BBHIIHHI", step.value[1], 0, 20, 7, 65536, 1, 1, 1)
            seal = crc32c(ports + bytes(8) + chunk)
            return ports + bytes(4) + struct.pack("<I", seal) + chunk
        case wire.ICMP:
            data = struct.pack(">BBHHH", packet.icmp_type, packet.icmp_code, 0, packet.sport, 1) + PAYLOAD
            return data[:2] + checksum(data) + data[4:]
        case wire.ICMPV6:
            return _sealed(packet, _icmpv6(packet), 2)
        case _:
            return PAYLOAD


def _icmpv6(packet: Packet) -> bytes:
    head = struct.pack(">BBH", packet.icmp_type, packet.icmp_code, 0)
    if packet.target is None:
        return head + struct.pack(">HH", packet.sport, 1) + PAYLOAD
    kind = _SOURCE_OPTION if packet.icmp_type == wire.NEIGHBOUR_SOLICITATION else _TARGET_OPTION
    option = b"" if packet.hardware is None else bytes([kind, 1]) + packet.hardware.to_bytes(6, "big")
    return head + bytes(4) + packet.target.packed + option


def _sealed(packet: Packet, data: bytes, offset: int) -> bytes:
    """Return the data with the checksum over it and the pseudo header (RFC 768, RFC 8200) at `offset`."""
    numbers = (
        struct.pack(">HH", packet.protocol, len(data))
        if packet.version == 4
        else struct.pack(">II", len(data), packet.protocol)
    )
    seal = checksum(_ends(packet) + numbers + data)
    if packet.protocol == wire.UDP and seal == b"\0\0":
        seal = b"\xff\xff"
    return data[:offset] + seal + data[offset + 2 :]
