"""What ports say to each other in security stories: a request in few words, its answer, and whether both arrived.

talk.passes("red/a", "red/b", "tcp 80")              the request reached that port alone, and its answer came back
talk.passes("red/a", "red/b", "icmp", version=6)     an echo; `icmp 13` is another type, `icmp 3/4` one with a code
talk.passes("red/a", "red/b", "112")                 a protocol by its number

A frame is worked off wholly before the next one is sent, so that what has not arrived then never will.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import ip_address

from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.builders import PROTOCOLS
from tests.ovs.fabric import Deliveries, FabricTwin
from tests.ovs.frames import Step, frame
from tests.scenarios.frames import own

ECHOES = {(4, 8): 0, (4, 13): 14, (6, 128): 129}

_sources = itertools.count(20000)


def request(
    topology: Topology, source: str, target: str, what: str, *, version: int = 4, src: str | None = None
) -> Packet:
    """Return what opens a conversation of this kind, from a source port that no other conversation has."""
    a, b = topology.ports[source], topology.ports[target]
    name, _, rest = what.partition(" ")
    number = PROTOCOLS.get(name)
    protocol = int(name) if number is None else number
    plain = Packet(
        source,
        a.mac,
        b.mac,
        wire.IPV4 if version == 4 else wire.IPV6,
        ip_address(src) if src else own(a, version),
        own(b, version),
        protocol,
        next(_sources),
    )
    if protocol == wire.ICMP and version == 6:
        plain = replace(plain, protocol=wire.ICMPV6)
    if plain.protocol in (wire.ICMP, wire.ICMPV6):
        kind, _, code = rest.partition("/")
        echo = wire.ECHO_REQUEST if version == 4 else wire.ECHO_REQUEST_6
        return replace(plain, icmp_type=int(kind or echo), icmp_code=int(code or 0))
    return replace(plain, dport=int(rest or 0))


def answer_to(packet: Packet, by: str) -> Packet:
    """Return the packet by which the receiver answers."""
    back = replace(packet, source=by, eth_src=packet.eth_dst, eth_dst=packet.eth_src, src=packet.dst, dst=packet.src)
    if packet.protocol in wire.WITH_PORTS:
        return replace(back, sport=packet.dport, dport=packet.sport)
    return replace(back, icmp_type=ECHOES.get((packet.version or 0, packet.icmp_type), packet.icmp_type))


class Talk:
    """A fabric of dummy switches whose ports talk, and whose files change."""

    def __init__(self, net: FabricTwin) -> None:
        self.net = net

    @property
    def topology(self) -> Topology:
        """What is in force."""
        return self.net.topology

    def enforce(self, topology: Topology) -> None:
        """Put a topology with the same hosts and ports into force; open connections stay."""
        self.net.topology = topology
        self.net.load(compile_fabric(topology, bindings=self.net.bindings))

    def passes(self, source: str, target: str, what: str, *, version: int = 4) -> bool:
        """Whether a request of this kind reaches the target; if it does, its answer must come back, and nobody else hear."""
        return self.carries(request(self.topology, source, target, what, version=version), target)

    def carries(self, packet: Packet, target: str) -> bool:
        """Whether this packet opens a conversation with the target."""
        sent = frame(packet)
        if not any(packet.protocol == known for known in (*wire.WITH_PORTS, wire.ICMP, wire.ICMPV6)):
            self.net.forget()  # Such a connection is a pair of addresses: an earlier one would be this one.
        arrived = self.net.send(packet.source, sent)
        assert arrived in ({}, {target: [sent]}), f"{packet}: {sorted(arrived)}"
        if not arrived:
            return False
        if not packet.opens_nothing:
            answer = answer_to(packet, target)
            back = frame(answer, Step.ACCEPT)
            assert self.net.send(target, back) == {packet.source: [back]}, f"no answer: {answer}"
        return True

    def send(self, packet: Packet) -> Deliveries:
        """Send one packet and return who received it."""
        return self.net.send(packet.source, frame(packet))
