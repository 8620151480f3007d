"""What comes out on the wires of external networks, and what somebody there may send: oracle against Open vSwitch."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace

from controller.graph import queries
from controller.model.address import outer_mac, router_mac, wire_mac
from controller.model.entities import HostKind, Port
from controller.proof import packet as wire
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from tests.ovs.fabric import Deliveries, FabricTwin
from tests.ovs.frames import Step, frame, unreachable
from tests.proof.outward import HEARD, SOMEBODY

_WORLD = {each.mac.to_bytes(6, "big") for each in HEARD}
_ADDRESSES = 12  # Bytes in front of a tag.
_ANSWERS = {(4, 8): 0, (4, 13): 14, (6, 128): 129}
Seen = tuple[
    Deliveries, list[tuple[str, bytes]]
]  # What ports got, and what went to the world: (physical network, frame).


def wrong_outside(oracle: Oracle, twin: FabricTwin, packet: Packet) -> str | None:
    """Return how oracle and switches disagree about what leaves of a port's packet, and what is answered; or None."""
    leaving = oracle.outside(packet)
    twin.forget()
    expected = [] if leaving is None else [_on_wire(oracle, *leaving)]
    for when in ("first", "second"):
        twin.send(packet.source, frame(packet))
        seen = _to_world(twin)
        if seen != expected:
            return _report(twin, packet, f"{when} to the world: expected {_words(expected)}, seen {_words(seen)}")
    if leaving is None or not _is_answered(oracle, packet):
        return None
    return _answered_outside(oracle, twin, packet, *leaving)


def _answered_outside(oracle: Oracle, twin: FabricTwin, packet: Packet, external: str, left: Packet) -> str | None:
    """Answer from the world, and return what is wrong with what follows, or None."""
    source = oracle.topology.ports[packet.source]
    answer = answering(left, SOMEBODY, left.eth_dst, left.eth_src)
    if answer is None:
        return None
    is_own = any(each.address == left.src for each in oracle.topology.floating_ips.values())
    back = replace(answer, src=answer.src, dst=packet.src, eth_dst=source.mac, ttl=answer.ttl - 1)
    back = replace(back, eth_src=inner_mac(oracle, twin, source, is_floating=is_own))
    if packet.protocol == wire.UDP:
        # An error quotes what its sender got, and is told of what the port had sent.
        quoted = frame(replace(left, src=packet.src))
        error, told = unreachable(_turned(answer), frame(left)), unreachable(_turned(back), quoted)
        deliveries, _ = arrive(oracle, twin, external, error)
        if deliveries != {source.name: [told]}:
            return _report(twin, packet, f"ICMP error: expected {told.hex()}, seen {deliveries}")
    deliveries, _ = arrive(oracle, twin, external, frame(answer, Step.ACCEPT))
    if deliveries != {source.name: [frame(back, Step.ACCEPT)]}:
        return _report(twin, packet, f"answer {answer}: expected {back}, seen {deliveries}")
    twin.send(packet.source, frame(packet, Step.GO_ON))
    expected = [_on_wire(oracle, external, left, Step.GO_ON)]
    seen = _to_world(twin)
    return None if seen == expected else _report(twin, packet, f"after the answer: seen {_words(seen)}")


def wrong_inside(oracle: Oracle, twin: FabricTwin, external: str, packet: Packet) -> str | None:
    """Return how oracle and switches disagree about who gets what somebody outside sends, and what is answered; or None."""
    arriving = oracle.inside(external, packet)
    found = {
        name: replace(seen, eth_src=_entering_mac(oracle, twin, name, packet, seen)) for name, seen in arriving.items()
    }
    expected = {name: [frame(seen)] for name, seen in found.items()}
    echo = _echo(oracle, twin, packet)
    outward = [] if echo is None else [_on_wire(oracle, external, echo)]
    twin.forget()
    for when in ("first", "second"):
        deliveries, left = arrive(oracle, twin, external, frame(packet))
        if deliveries != expected or left != outward:
            what = f"expected {expected}, {_words(outward)}; seen {deliveries}, {_words(left)}"
            return _report(twin, packet, f"{when} from {external}: {what}")
    for name, seen in found.items():
        wrong = _answered_inside(oracle, twin, name, external, packet, seen)
        if wrong is not None:
            return wrong
    return None


def _answered_inside(
    oracle: Oracle, twin: FabricTwin, name: str, external: str, packet: Packet, seen: Packet
) -> str | None:
    port = oracle.topology.ports[name]
    answer = answering(seen, name, port.mac, seen.eth_src)
    if answer is None or seen.eth_dst != port.mac or seen.dst not in port.ips or not _is_programmed(twin, port):
        return None
    answer = replace(answer, eth_dst=router_mac(port.network))
    left = replace(
        answer, eth_src=packet.eth_dst, eth_dst=packet.eth_src, src=packet.dst, dst=packet.src, ttl=answer.ttl - 1
    )
    twin.send(name, frame(answer, Step.ACCEPT))
    expected, out = [_on_wire(oracle, external, left, Step.ACCEPT)], _to_world(twin)
    if out != expected:
        return _report(twin, packet, f"answer of {name}: expected {_words(expected)}, seen {_words(out)}")
    deliveries, _ = arrive(oracle, twin, external, frame(packet, Step.GO_ON))
    wanted = {name: [frame(seen, Step.GO_ON)]}
    return None if deliveries == wanted else _report(twin, packet, f"after the answer: seen {deliveries}")


def _turned(packet: Packet) -> Packet:
    return replace(packet, eth_src=packet.eth_dst, eth_dst=packet.eth_src, src=packet.dst, dst=packet.src)


def answering(seen: Packet, source: str, mac: int, asker: int) -> Packet | None:
    """Return what answers a packet as it was seen, None if nothing does."""
    kind = seen.icmp_type
    if seen.protocol in (wire.ICMP, wire.ICMPV6):
        if (seen.version or 0, kind) not in _ANSWERS:
            return None
        kind = _ANSWERS[seen.version or 0, kind]
    has_ports = seen.protocol in wire.WITH_PORTS
    return replace(
        seen,
        source=source,
        eth_src=mac,
        eth_dst=asker,
        src=seen.dst,
        dst=seen.src,
        sport=seen.dport if has_ports else seen.sport,
        dport=seen.sport if has_ports else seen.dport,
        icmp_type=kind,
        icmp_code=0,
        ttl=64,
    )


def arrive(oracle: Oracle, twin: FabricTwin, external: str, sent: bytes) -> Seen:
    """Let a frame come from the wire, whose switches flood it, to every host there."""
    found = oracle.topology.external_networks[external]
    deliveries: Deliveries = {}
    left: list[tuple[str, bytes]] = []
    for host in oracle.topology.physical_networks[found.physical_network].hosts:
        got = twin.receive_wire(host, found.physical_network, _tagged(sent, found.vlan))
        for name, frames in got.items():
            deliveries.setdefault(name, []).extend(frames)
        left += _to_world(twin)
    return deliveries, left


def _to_world(twin: FabricTwin) -> list[tuple[str, bytes]]:
    return [(name, sent) for name, sent in twin.wires if sent[:6] in _WORLD]


def _on_wire(oracle: Oracle, external: str, packet: Packet, step: Step = Step.OPEN) -> tuple[str, bytes]:
    found = oracle.topology.external_networks[external]
    return found.physical_network, _tagged(frame(packet, step), found.vlan)


def _tagged(sent: bytes, vlan: int | None) -> bytes:
    return sent if vlan is None else sent[:_ADDRESSES] + struct.pack(">HH", 0x8100, vlan) + sent[_ADDRESSES:]


def _is_answered(oracle: Oracle, packet: Packet) -> bool:
    """Return whether the sender uses an address that is its own beyond doubt."""
    source = oracle.topology.ports[packet.source]
    mates = (port for port in oracle.topology.ports.values() if port.network == source.network)
    shared = any(
        allowed.ip.version == packet.version and packet.src in allowed.ip for port in mates for allowed in port.allowed
    )
    return packet.src in source.ips and packet.eth_src == source.mac and not shared and not packet.opens_nothing


def _entering_mac(oracle: Oracle, twin: FabricTwin, name: str, packet: Packet, seen: Packet) -> int:
    return inner_mac(oracle, twin, oracle.topology.ports[name], is_floating=seen.dst != packet.dst)


def inner_mac(oracle: Oracle, twin: FabricTwin, port: Port, *, is_floating: bool = True) -> int:
    """Return the MAC from which a port gets what comes from outside: by its own host, if that has its floating IP, or by a gateway."""
    network = oracle.topology.networks[port.network]
    if not network.type.is_provider:
        return router_mac(port.network)
    router = next(each for each in oracle.topology.routers.values() if port.network in each.networks)
    external = oracle.topology.external_networks[router.external or ""]
    wired = oracle.topology.physical_networks[external.physical_network].hosts
    here = twin.location[port.name]
    return wire_mac(port.network, here if is_floating and here in wired else leading(twin, router.name))


def leading(twin: FabricTwin, router: str) -> str:
    """Return the gateway that leads a router out."""
    return queries.gateways(twin.graph.memo, router)[0]


def _is_programmed(twin: FabricTwin, port: Port) -> bool:
    return twin.topology.hosts[twin.location[port.name]].kind is HostKind.OVS


def _echo(oracle: Oracle, twin: FabricTwin, packet: Packet) -> Packet | None:
    """Return what a router answers to a ping of its own outer address from outside."""
    asked = (packet.protocol, packet.icmp_type, packet.icmp_code)
    if packet.version is None or asked != (*wire.ECHO[packet.version], 0):
        return None
    for router in oracle.topology.routers.values():
        if packet.dst in router.addresses and packet.eth_dst == outer_mac(router.name):
            has_gateway = bool(queries.gateways(twin.graph.memo, router.name))
            return answering(packet, SOMEBODY, packet.eth_dst, packet.eth_src) if has_gateway else None
    return None


def _words(frames: Iterable[tuple[str, bytes]]) -> str:
    return ", ".join(f"{sent.hex()} on {name}" for name, sent in frames) or "nothing"


def _report(twin: FabricTwin, packet: Packet, what: str) -> str:
    topology = twin.topology
    told = [*topology.routers.values(), *topology.floating_ips.values(), *topology.networks.values()]
    names = [f"gateways {host.name}" for host in topology.hosts.values() if host.gateway]
    if packet.source:
        names += [str(topology.ports[packet.source]), twin.trace(packet.source, frame(packet))]
    return "\n".join((what, str(packet), *map(str, told), *names))
