"""The longest datagram that its network carries, and one a byte longer, which no tunnel takes: no trace knows how long a packet is."""

from __future__ import annotations

from controller.proof import packet as wire
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from tests.ovs.fabric import FabricTwin
from tests.ovs.frames import frame
from tests.proof.compare import is_foreign
from tests.scenarios.frames import large


def lengths_disagree(oracle: Oracle, twin: FabricTwin, packet: Packet) -> str | None:
    """Return how oracle and switches disagree about a bridged datagram that just fits its network, or just does not; None if they agree."""
    topology = oracle.topology
    network = topology.networks[topology.ports[packet.source].network]
    if packet.protocol != wire.UDP or packet.tagged or not network.type.is_tunnel or network.mtu is None:
        return None
    if packet.is_dhcp_request or packet.is_dhcp_reply or is_foreign(twin, packet.source):
        return None
    allowed = [name for name, decision in oracle.receivers(packet).items() if decision.allowed]
    here = twin.location[packet.source]
    for length in (network.mtu, network.mtu + 1):
        sent = large(frame(packet), length)
        expected = {name: [sent] for name in allowed if length == network.mtu or twin.location[name] == here}
        twin.forget()
        seen = twin.send(packet.source, sent)
        if seen != expected:
            return f"{packet} of {length} bytes: expected by {sorted(expected)}, seen by {sorted(seen)}"
    return None
