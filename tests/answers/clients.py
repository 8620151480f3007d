"""Clients of DHCP and DHCPv6, and what they hear: messages written and read by the tests' own hand.

web1 = Client("red/web1", fabric(...))
web1.asks(DISCOVER)                      -> Heard(kind=OFFER, yours=10.0.1.11, ...)
web1.asks_6(SOLICIT, (CLIENT_ID, ID))    -> Heard6(kind=ADVERTISE, ...)
web1.solicits()                          -> the advertisement, as tcpdump reads it
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from controller.answers import datagram, udp
from controller.answers.asked import Asked
from controller.answers.registry import answerers
from controller.model.address import BROADCAST_MAC, link_local
from controller.model.entities import Address, Topology
from controller.pipeline.flow import Output
from controller.pipeline.questions import Question

IN_PORT = 7
ID = b"\0\x01\0\x01somebody"


@dataclass(frozen=True)
class Heard:
    """A DHCP server's message, and where it was sent."""

    kind: int
    yours: str
    target: str
    mac: int
    source: str
    length: int
    options: Mapping[int, bytes]

    def addresses(self, option: int) -> list[str]:
        """The addresses in an option."""
        data = self.options.get(option, b"")
        return [str(IPv4Address(data[at : at + 4])) for at in range(0, len(data), 4)]

    def number(self, option: int) -> int:
        """The number in an option."""
        return int.from_bytes(self.options[option], "big")

    @property
    def routes(self) -> list[tuple[str, str]]:
        """The classless static routes (RFC 3442)."""
        found, data = [], self.options.get(121, b"")
        while data:
            size = (data[0] + 7) // 8
            prefix = IPv4Address(data[1 : 1 + size].ljust(4, b"\0"))
            found.append((f"{prefix}/{data[0]}", str(IPv4Address(data[1 + size : 5 + size]))))
            data = data[5 + size :]
        return found


@dataclass(frozen=True)
class Heard6:
    """A DHCPv6 server's message, and to whom it was sent."""

    kind: int
    target: str
    mac: int
    options: list[tuple[int, bytes]]

    def first(self, option: int) -> bytes:
        """What the first option of a code holds."""
        return next(data for code, data in self.options if code == option)

    def has(self, option: int) -> bool:
        """Whether there is such an option."""
        return any(code == option for code, _ in self.options)

    def given(self) -> dict[str, int]:
        """The addresses of all associations, and for how long they are valid."""
        found = {}
        for code, data in self.options:
            for inner, each in split(data[12:]) if code == 3 else []:
                if inner == 5:
                    found[str(IPv6Address(each[:16]))] = int.from_bytes(each[20:24], "big")
        return found

    def statuses(self) -> list[int]:
        """The status codes of associations, and of the whole."""
        inner = [each for code, data in self.options if code in (3, 25) for each in split(data[12:])]
        inner += [each for code, data in self.options if code == 4 for each in split(data[4:])]
        return [int.from_bytes(data[:2], "big") for code, data in [*self.options, *inner] if code == 13]


def split(data: bytes) -> list[tuple[int, bytes]]:
    """Return DHCPv6's options."""
    found = []
    while data:
        code, length = struct.unpack_from(">HH", data)
        found.append((code, data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def join(*options: tuple[int, bytes]) -> bytes:
    """Return DHCPv6's options as bytes."""
    return b"".join(struct.pack(">HH", code, len(data)) + data for code, data in options)


def addresses(name: int, *each: str) -> tuple[int, bytes]:
    """Return an association with the addresses that a client thinks it has."""
    inner = [(5, ip_address(address).packed + bytes(8)) for address in each]
    return 3, struct.pack(">III", name, 0, 0) + join(*inner)


@dataclass
class Client:
    """A port that asks; `frames` are the answers to it, whole."""

    name: str
    topology: Topology
    frames: list[bytes] = field(default_factory=list)

    def asks(
        self,
        kind: int,
        *,
        current: str = "0.0.0.0",  # noqa: S104 - an address in a packet, nobody listens.
        wanted: str | None = None,
        server: str | None = None,
        broadcast: bool = False,
        mac: int | None = None,
        more: Mapping[int, bytes] | None = None,
    ) -> Heard | None:
        """Send a DHCP message; return what comes back."""
        options = {53: bytes([kind]), **(more or {})}
        if wanted is not None:
            options[50] = ip_address(wanted).packed
        if server is not None:
            options[54] = ip_address(server).packed
        own = self.mac if mac is None else mac
        head = struct.pack(">BBBBIHH", 1, 1, 6, 0, 0x12345678, 3, 0x8000 if broadcast else 0)
        head += ip_address(current).packed + bytes(12) + own.to_bytes(6, "big").ljust(16, b"\0") + bytes(192)
        data = head + bytes((99, 130, 83, 99)) + b"".join(bytes((c, len(d))) + d for c, d in options.items()) + b"\xff"
        sent = udp.packet(ip_address(current), ip_address("255.255.255.255"), udp.Message(68, 67, data))
        found = self.ask(Question.DHCP, datagram.framed(BROADCAST_MAC, self.mac, sent))
        return _heard(*found[0]) if found else None

    def asks_6(self, kind: int, *options: tuple[int, bytes]) -> Heard6 | None:
        """Send a DHCPv6 message; return what comes back."""
        data = bytes([kind]) + b"abc" + join(*options)
        sent = udp.packet(link_local(self.mac), ip_address("ff02::1:2"), udp.Message(546, 547, data))
        found = self.ask(Question.DHCP, datagram.framed(0x333300010002, self.mac, sent))
        if not found:
            return None
        packet, message = found[0]
        assert (message.source, message.target, message.data[1:4]) == (547, 546, b"abc")
        return Heard6(message.data[0], str(packet.target), packet.target_mac, split(message.data[4:]))

    def solicits(self, source: Address | None = None, hops: int = 255) -> bytes | None:
        """Send a router solicitation; return the frame that comes back."""
        own, everybody = source or IPv6Address(0), ip_address("ff02::2")
        message = datagram.icmp(own, everybody, 133, 0, bytes(4))
        sent = datagram.datagram(own, everybody, 58, message, hops=hops)
        self._hear(Question.ROUTER, datagram.framed(0x333300000002, self.mac, sent))
        return self.frames[-1] if self.frames else None

    def ask(self, question: Question, frame: bytes) -> list[tuple[datagram.Datagram, udp.Message]]:
        """Send a frame; return the UDP messages that come back, checked."""
        self._hear(question, frame)
        found = []
        for heard in self.frames:
            packet = datagram.read(heard)
            assert packet is not None
            message = udp.read(packet.body)
            assert message is not None
            assert datagram.checksum_over(packet.source, packet.target, 17, packet.body) == 0
            found.append((packet, message))
        return found

    def _hear(self, question: Question, frame: bytes) -> None:
        port = self.topology.ports[self.name]
        network = self.topology.networks[port.network]
        router = next((each for each in self.topology.routers.values() if network.name in each.networks), None)
        host = self.topology.hosts[port.host or ""]
        asked = Asked(
            question=question,
            topology=self.topology,
            host=host,
            in_port=IN_PORT,
            port=port,
            network=network,
            router=router,
            fields={},
            packet=frame,
        )
        outs = list(answerers()[question](asked))
        assert all(out.actions == (Output(IN_PORT),) for out in outs), "answers go straight back"
        self.frames = [out.frame for out in outs]

    @property
    def mac(self) -> int:
        """The port's own MAC."""
        return self.topology.ports[self.name].mac


def _heard(packet: datagram.Datagram, message: udp.Message) -> Heard:
    data = message.data
    assert (message.source, message.target) == (67, 68)
    assert data[:8] == bytes((2, 1, 6, 0)) + (0x12345678).to_bytes(4, "big")
    options: dict[int, bytes] = {}
    at = 240
    while data[at] != 255:
        options[data[at]] = options.get(data[at], b"") + data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    addresses = str(IPv4Address(data[16:20])), str(packet.target)
    kind = options[53][0]
    return Heard(kind, *addresses, packet.target_mac, str(packet.source), len(data), options)
