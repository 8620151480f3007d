"""A Linux host that sends packets to a router made of `controller.answers.icmp`, and says what its sockets were told.

It is run by test_linux.py in a network namespace of its own: `python -m tests.answers.linux_sender`.
"""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import threading
from ipaddress import ip_address, ip_network

from controller.answers.datagram import read
from controller.answers.icmp import Own, error
from controller.pipeline.questions import Question

MAC = 0x020000000001
ADDRESSES = ("10.0.1.1", "fd00:1::1")
OWN = Own(MAC, tuple(map(ip_address, ADDRESSES)), (ip_network("10.0.1.0/24"), ip_network("fd00:1::/64")))
FAR = {4: "192.0.2.7", 6: "2001:db8:7::7"}
MTU = 1280
PATIENCE_S = 5.0

SET_UP = """
link set lo up
link add host type veth peer name router
link set host up
link set router up
address add 10.0.1.11/24 dev host
address add fd00:1::b/64 dev host nodad
neighbour add 10.0.1.1 lladdr 02:00:00:00:00:01 dev host
neighbour add fd00:1::1 lladdr 02:00:00:00:00:01 dev host
route add default via 10.0.1.1
route add default via fd00:1::1 dev host
"""

_IP_RECVERR, _IPV6_RECVERR, _IP_MTU, _IPV6_MTU = 11, 25, 14, 24
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _DO = 10, 23, 2


def route(wire: socket.socket) -> None:
    """Answer every packet as a router that has only one way, and that a short one."""
    while True:
        frame, origin = wire.recvfrom(65536)
        packet = read(frame)
        if packet is None or origin[2] == socket.PACKET_OUTGOING or packet.target_mac != MAC:
            continue
        if packet.hops == 1:
            question = Question.EXPIRED
        elif packet.target in OWN.addresses:
            question = Question.NO_SERVICE
        elif len(packet.whole) > MTU:
            question = Question.TOO_BIG
        else:
            last = packet.target.packed[-1]
            question = Question.NO_HOST if last == 8 else Question.NO_ROUTE
        answer = error(question, frame, OWN, MTU)
        if answer is not None:
            wire.send(answer)


def ask(version: int, kind: int, target: str, size: int = 10, hops: int = 64) -> str:
    """Send something and return the name of the error that the socket reports."""
    family, level = (socket.AF_INET, socket.IPPROTO_IP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_IPV6)
    with socket.socket(family, kind) as own:
        own.settimeout(PATIENCE_S)
        own.setsockopt(level, _IP_RECVERR if version == 4 else _IPV6_RECVERR, 1)
        own.setsockopt(level, socket.IP_TTL if version == 4 else socket.IPV6_UNICAST_HOPS, hops)
        own.setsockopt(level, _IP_MTU_DISCOVER if version == 4 else _IPV6_MTU_DISCOVER, _DO)
        try:
            own.connect((target, 33434))
            if kind == socket.SOCK_DGRAM:
                own.send(bytes(size))
                own.recv(1)
        except TimeoutError:
            return "nothing"
        except OSError as told:
            name = errno.errorcode[told.errno or 0]
            if told.errno != errno.EMSGSIZE:
                return name
            return f"{name} {own.getsockopt(level, _IP_MTU if version == 4 else _IPV6_MTU)}"
        return "an answer"


def main() -> None:
    """Set up the wire, ask everything, and print what was told."""
    for line in SET_UP.strip().splitlines():
        subprocess.run(["ip", "-6" if "fd00" in line else "-4", *line.split()], check=True)
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind(("router", 0))
    threading.Thread(target=route, args=(wire,), daemon=True).start()
    found: dict[str, dict[str, str]] = {}
    for version, own in zip((4, 6), ADDRESSES, strict=True):
        far = FAR[version]
        found[str(version)] = {
            "expired": ask(version, socket.SOCK_DGRAM, far, hops=1),
            "no route": ask(version, socket.SOCK_DGRAM, far),
            "no host": ask(version, socket.SOCK_DGRAM, f"{far[:-1]}8"),
            "too big": ask(version, socket.SOCK_DGRAM, f"{far[:-1]}9", size=1400),
            "no port": ask(version, socket.SOCK_DGRAM, own),
            "no listener": ask(version, socket.SOCK_STREAM, own),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
