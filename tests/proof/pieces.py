"""A long datagram in two fragments through the switches: the trackers keep them until all have come, which no trace shows."""

from __future__ import annotations

from dataclasses import replace

from controller.proof import packet as wire
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from tests.ovs.fabric import Deliveries, FabricTwin
from tests.proof.compare import is_foreign
from tests.proof.hostile import fragments


def pieces_disagree(oracle: Oracle, twin: FabricTwin, packet: Packet) -> str | None:
    """Return how oracle and switches disagree about a datagram that comes in two pieces, or in its second alone; None if they agree.

    The second of a datagram whose first has not come is nobody's where connections are tracked.
    """
    if packet.version != 4 or packet.protocol != wire.UDP or packet.tagged or packet.is_dhcp_request:
        return None
    if packet.is_dhcp_reply or is_foreign(twin, packet.source):
        return None
    decisions = oracle.receivers(packet)
    groups, ports = oracle.topology.groups, oracle.topology.ports
    if any(groups[group].stateless for name in (packet.source, *decisions) for group in ports[name].groups):
        return None
    first, second = fragments(packet, packet.sport)
    alone = list(fragments(replace(packet, dport=packet.dport ^ 1), packet.sport ^ 1 << 14))[1]
    twin.forget()
    got = twin.send(packet.source, alone)
    if got and any(oracle.is_guarded(ports[name]) for name in (packet.source, *got)):
        return f"a second fragment without its first comes to {sorted(got)}: {packet}"
    twin.forget()
    seen: Deliveries = {}
    for piece in (first, second):
        for name, frames in twin.send(packet.source, piece).items():
            seen.setdefault(name, []).extend(frames)
    expected = {name: [first, second] for name, decision in decisions.items() if decision.allowed}
    if seen != expected:
        return f"fragments of {packet}: expected by {sorted(expected)}, seen by {sorted(seen)}"
    return None
