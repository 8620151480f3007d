"""The VLAN driver of a VM as a process, for kernels with and without VLAN devices.

    python tagging.py /run/netns/NAMESPACE_OF_THE_PORT VLAN

It runs in the namespace of a subport, where it makes `eth0`, a tap: what is sent there leaves by the port's `eth0` with the tag, and
what the port gets with the tag comes without it. It is in the background once both are joined, stays with the port's `eth0` when that
becomes another one, and ends with its own tap. Mininet runs it under the system's Python, so it needs the standard library alone.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

DEVICE = "eth0"

_NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET, linux/sched.h
_SET_TAP = 0x400454CA  # TUNSETIFF, linux/if_tun.h
_TAP, _PLAIN = 0x0002, 0x1000  # IFF_TAP, IFF_NO_PI
_EVERYTHING = 0x0003  # ETH_P_ALL, linux/if_ether.h
_PACKET, _MEMBERSHIP, _TELL = 263, 1, 8  # SOL_PACKET, PACKET_ADD_MEMBERSHIP and PACKET_AUXDATA, linux/if_packet.h
_PROMISCUOUS = 1  # PACKET_MR_PROMISC
_HAS_TAG = 1 << 4  # TP_STATUS_VLAN_VALID
_TOLD = struct.Struct("=IIIHHHH")  # tpacket_auxdata: status, lengths, offsets, tag, its ethertype
_ADDRESSES = 12  # Bytes of a frame in front of its tag.
_LONGEST = 1 << 16
_AGAIN_S = 0.005
_AWAY = (errno.ENETDOWN, errno.ENXIO, errno.ENODEV)

_libc = ctypes.CDLL(None, use_errno=True)


def tap() -> int:
    """Return a new tap of the own namespace, open."""
    made = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(made, _SET_TAP, struct.pack("16sH22x", DEVICE.encode(), _TAP | _PLAIN))
    return made


def wire(namespace: Path) -> socket.socket:
    """Return a socket that hears and sends everything on the port's device; raise OSError while there is none."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    finally:
        _enter(home)
        os.close(home)
        os.close(there)
    try:
        made.setsockopt(_PACKET, _TELL, 1)
        made.bind((DEVICE, _EVERYTHING))
        # A subport may have another MAC than its port.
        number = _number(made)
        made.setsockopt(_PACKET, _MEMBERSHIP, struct.pack("=iHH8x", number, _PROMISCUOUS, 0))
    except OSError:
        made.close()
        raise
    return made


def relay(device: int, port: socket.socket, vlan: int) -> None:
    """Carry frames between the two until the port's device is away, which raises OSError; end with the own device."""
    tag = struct.pack(">HH", 0x8100, vlan)
    waits = select.poll()
    waits.register(device, select.POLLIN)
    waits.register(port, select.POLLIN)
    while True:
        for ready, _ in waits.poll():
            if ready == device:
                try:
                    frame = os.read(device, _LONGEST)
                except OSError:
                    sys.exit(0)
                _send(port, frame[:_ADDRESSES] + tag + frame[_ADDRESSES:])
                continue
            frame, told, _, address = port.recvmsg(_LONGEST, socket.CMSG_SPACE(_TOLD.size))
            if address[2] != socket.PACKET_OUTGOING and _tag(told) == vlan:
                _write(device, frame)


def _send(port: socket.socket, frame: bytes) -> None:
    try:
        port.send(frame)
    except OSError as reason:
        # Anything else is about this frame: it is too long, or there is no room for it.
        if reason.errno in _AWAY:
            raise


def _write(device: int, frame: bytes) -> None:
    try:
        os.write(device, frame)
    except OSError as reason:
        if reason.errno != errno.EIO:  # While it is down.
            sys.exit(0)


def _tag(told: list[tuple[int, int, bytes]]) -> int | None:
    """Return the VLAN that a frame had when it came, None if it had none."""
    for level, kind, data in told:
        if (level, kind) == (_PACKET, _TELL):
            status, _, _, _, _, tag, _ = _TOLD.unpack_from(data)
            return tag & 0xFFF if status & _HAS_TAG else None
    return None


def _number(made: socket.socket) -> int:
    request = struct.pack("16s24x", DEVICE.encode())
    found: int = struct.unpack("16xi20x", fcntl.ioctl(made, 0x8933, request))[0]  # SIOCGIFINDEX, linux/sockios.h
    return found


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _NETWORK_NAMESPACE):
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def main(namespace: Path, vlan: int) -> None:
    """Join the two, go into the background, and keep them joined."""
    device = tap()
    port: socket.socket | None = wire(namespace)
    if os.fork():
        os._exit(0)  # Whoever started it waits for this.
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    while namespace.exists():
        try:
            port = port or wire(namespace)
            relay(device, port, vlan)
        except OSError:
            if port is not None:
                port.close()
            port = None
            time.sleep(_AGAIN_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
