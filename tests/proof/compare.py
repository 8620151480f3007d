"""One packet, two judges: what the oracle says and what Open vSwitch does with the compiled flows."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from controller.model.address import is_multicast_mac, router_mac
from controller.model.entities import Topology
from controller.proof import packet as wire
from controller.proof.oracle import Answerer, Oracle
from controller.proof.packet import Packet
from tests.ovs.fabric import Deliveries, FabricTwin
from tests.ovs.frames import Step, checksum, frame, unreachable
from tests.proof.outside import inner_mac

_Got = TypeVar("_Got")


def disagreement(oracle: Oracle, twin: FabricTwin, packet: Packet) -> str | None:
    """Return how oracle and switches disagree about a packet, or None.

    The packet is sent twice, so that a connection that one receiver opened is no door to the others; what is allowed is answered,
    and refused by an ICMP error, so that both are seen to pass; then nothing else must pass along
    (it may well be refused, where it stands in no connection).
    """
    sent = frame(packet)
    foreign = is_foreign(twin, packet.source)
    decisions = oracle.receivers(packet)
    expected = {
        name: [frame(received(oracle, twin, packet, name))] for name, decision in decisions.items() if decision.allowed
    }
    if foreign:  # What a foreign VTEP does among its own ports is not ours to judge.
        expected = {name: frames for name, frames in expected.items() if not is_foreign(twin, name)}
    echo = oracle.echoed(packet)
    if echo is not None:
        expected[packet.source] = [frame(_echoed(oracle, twin, packet, echo))]
    owner = oracle.answerer(packet)
    twin.forget()
    for when in ("first", "second"):
        seen = twin.send(packet.source, sent)
        if foreign:
            seen = {name: frames for name, frames in seen.items() if not is_foreign(twin, name)}
        if owner is not None:
            wrong = _answer_is_wrong(packet, owner, seen.pop(packet.source, []))
            if wrong is not None:
                return _report(oracle, twin, packet, f"{when}: {wrong}")
        expected = chosen(oracle, packet, expected, seen)  # The second goes where the first went.
        if seen != expected:
            return _report(oracle, twin, packet, f"{when}: expected {_told(expected)}, seen {_told(seen)}")
    if echo is not None:
        return None
    return _conversation(oracle, twin, packet, expected) or _carried(oracle, twin, packet, expected)


def _conversation(oracle: Oracle, twin: FabricTwin, packet: Packet, expected: Deliveries) -> str | None:
    """Answer what was delivered, and return what is wrong with what follows, or None."""
    for name in expected:
        reply = answer_to(oracle, packet, name)
        if reply is None or not oracle.reply_allowed(packet, name).allowed:
            continue
        back = oracle.receivers(reply)
        if packet.source not in back or back[packet.source].reason.startswith("no path"):
            continue  # Nobody finds the way back, which a packet by itself shows.
        arrives = received(oracle, twin, reply, packet.source)
        if packet.protocol == wire.UDP:
            got = oracle.received(packet, name)
            # Who translates the error's addresses does so in what it quotes as well.
            translated = frame(replace(got, src=packet.src, dst=packet.dst))
            seen = twin.send(name, _error(reply, frame(got)))
            if seen != {packet.source: [_error(arrives, translated)]}:
                return _report(oracle, twin, packet, f"ICMP error of {name}: seen {_told(seen)}")
        seen = twin.send(name, frame(reply, Step.ACCEPT))
        if seen != {packet.source: [frame(arrives, Step.ACCEPT)]}:
            return _report(oracle, twin, packet, f"reply {reply}: expected {arrives}, seen {_told(seen)}")
        seen = twin.send(packet.source, frame(packet, Step.GO_ON))
        if seen != {name: [frame(received(oracle, twin, packet, name), Step.GO_ON)]}:
            return _report(oracle, twin, packet, f"after the reply: seen {_told(seen)}")
    return None


def _carried(oracle: Oracle, twin: FabricTwin, packet: Packet, expected: Deliveries) -> str | None:
    """Return which packet passes that an open connection must not carry along, or None."""
    for sibling in siblings(oracle, packet) if expected and not is_foreign(twin, packet.source) else ():
        verdicts = oracle.receivers(sibling)
        wanted = {
            name: [frame(received(oracle, twin, sibling, name), Step.GO_ON)]
            for name, verdict in verdicts.items()
            if verdict.allowed
        }
        seen = twin.send(sibling.source, frame(sibling, Step.GO_ON))
        if any(name not in wanted or frames != wanted[name] for name, frames in seen.items()):
            return _report(oracle, twin, sibling, f"after {packet}: expected {_told(wanted)}, seen {_told(seen)}")
    return None


def received(oracle: Oracle, twin: FabricTwin, packet: Packet, name: str) -> Packet:
    """Return what a port gets of a packet; the oracle does not say which gateway routes it when it has been outside."""
    seen = oracle.received(packet, name)
    if (seen.src, seen.dst) == (packet.src, packet.dst):
        return seen
    return replace(seen, eth_src=inner_mac(oracle, twin, oracle.topology.ports[name]))


def _echoed(oracle: Oracle, twin: FabricTwin, packet: Packet, echo: Packet) -> Packet:
    """Return a router's answer as its asker gets it: from its address outside it comes in as everything from there."""
    source = oracle.topology.ports[packet.source]
    router = next(each for each in oracle.topology.routers.values() if source.network in each.networks)
    inside = [ip for name in router.networks for ip in oracle.topology.networks[name].gateways]
    if packet.dst in inside or (packet.dst is not None and packet.dst.is_link_local):
        return echo
    is_floating = any(
        (each.port, each.fixed) == (source.name, packet.src) for each in oracle.topology.floating_ips.values()
    )
    return replace(echo, eth_src=inner_mac(oracle, twin, source, is_floating=is_floating))


def siblings(oracle: Oracle, packet: Packet) -> Iterator[Packet]:
    """Yield what an open connection must not carry along: other ports, and the same under another receiver's MAC."""
    if packet.protocol in wire.WITH_PORTS:
        yield replace(packet, sport=packet.sport ^ 1 or 1, dport=packet.dport ^ 1 or 1)
    if packet.version is not None and not is_multicast_mac(packet.eth_dst):
        network = oracle.topology.ports[packet.source].network
        for port in oracle.topology.ports.values():
            if port.network == network and port.mac not in (packet.eth_dst, packet.eth_src):
                yield replace(packet, eth_dst=port.mac)


def chosen(oracle: Oracle, packet: Packet, expected: dict[str, _Got], seen: Mapping[str, _Got]) -> dict[str, _Got]:
    """Return what is expected of a packet that several routes share: one next hop has it, and which is not ours to say."""
    if not oracle.is_split(packet):
        return expected
    ports, by_hop = oracle.topology.ports, dict[tuple[str, int], dict[str, _Got]]()
    for name in oracle.receivers(packet):
        got = by_hop.setdefault((ports[name].network, oracle.received(packet, name).eth_dst), {})
        if name in expected:
            got[name] = expected[name]
    routes = _routes_for(oracle.topology, packet)
    nobody: list[dict[str, _Got]] = [{}] * (routes - len(by_hop))  # Next hops that no port has, or the sender itself.
    return next((got for got in (*by_hop.values(), *nobody) if got.keys() == seen.keys()), expected)


def _routes_for(topology: Topology, packet: Packet) -> int:
    """Return how many static routes share a packet."""
    network = topology.ports[packet.source].network
    routes = next(router.routes for router in topology.routers.values() if network in router.networks)
    found = [route.to for route in routes if route.to.version == packet.version and packet.dst in route.to]
    return found.count(max(found, key=lambda prefix: prefix.prefixlen))


def is_foreign(twin: FabricTwin, port: str) -> bool:
    return not twin.graph.is_programmed(twin.location[port])


def answer_to(oracle: Oracle, packet: Packet, name: str) -> Packet | None:
    """Return the receiver's answer, if both use their own MACs and addresses and the protocol has answers."""
    source, receiver = oracle.topology.ports[packet.source], oracle.topology.ports[name]
    seen = oracle.received(packet, name)
    if packet.eth_src != source.mac or seen.eth_dst != receiver.mac or packet.protocol is None:
        return None
    if packet.src not in source.ips or seen.dst not in receiver.ips:
        return None
    if packet.is_dhcp_request or packet.is_dhcp_reply:  # Ports are no DHCP servers, and what asks one is no answer.
        return None
    kind = packet.icmp_type
    if packet.protocol in (wire.ICMP, wire.ICMPV6):
        answers = {(4, 8): 0, (4, 13): 14, (6, 128): 129}
        if packet.opens_nothing or (packet.version or 0, kind) not in answers:
            return None
        kind = answers[packet.version or 0, kind]
    return replace(
        seen,
        source=name,
        eth_src=receiver.mac,
        # What came from a router goes back to it, whichever host it came from.
        eth_dst=packet.eth_src if seen is packet else router_mac(receiver.network),
        src=seen.dst,
        dst=seen.src,
        # An echo's identifier stands in `sport` in both ways.
        sport=packet.dport if packet.protocol in wire.WITH_PORTS else packet.sport,
        dport=packet.sport if packet.protocol in wire.WITH_PORTS else packet.dport,
        icmp_type=kind,
        icmp_code=0,  # Of an answer, whatever the question had (RFC 792, RFC 4443).
        ttl=64,
    )


def _error(answer: Packet, quoted: bytes) -> bytes:
    """Return the ICMP error that goes where an answer goes."""
    asked = replace(answer, eth_src=answer.eth_dst, eth_dst=answer.eth_src, src=answer.dst, dst=answer.src)
    return unreachable(asked, quoted)


def _answer_is_wrong(packet: Packet, owner: Answerer, answers: list[bytes]) -> str | None:
    """Return what is wrong with the answer to an ARP request or a neighbour solicitation, or None."""
    if len(answers) != 1:
        return f"{len(answers)} answers instead of one for {owner.name}"
    [answer] = answers
    mac, asker = owner.mac.to_bytes(6, "big"), packet.eth_src.to_bytes(6, "big")
    if answer[:12] != asker + mac:
        return f"answer from or to a wrong MAC: {answer.hex()}"
    assert packet.src is not None
    if packet.eth_type == wire.ARP:
        assert packet.dst is not None
        asking = (packet.hardware or 0).to_bytes(6, "big")
        wanted = b"\x00\x02" + mac + packet.dst.packed + asking + packet.src.packed
        return None if answer[20:42] == wanted else f"wrong ARP answer {answer.hex()}"
    assert packet.target is not None
    message = answer[54 : 54 + int.from_bytes(answer[18:20], "big")]
    if answer[22:54] != packet.target.packed + packet.src.packed:
        return f"neighbour advertisement with wrong addresses {answer.hex()}"
    if message[:2] != b"\x88\x00" or message[8:24] != packet.target.packed:
        return f"not an advertisement of {packet.target}: {answer.hex()}"
    if packet.hardware is not None and message[24:32] != b"\x02\x01" + mac:
        return f"neighbour advertisement with a wrong option {answer.hex()}"
    if checksum(answer[22:54] + struct.pack(">II", len(message), wire.ICMPV6) + message) != b"\0\0":
        return f"neighbour advertisement with a wrong checksum {answer.hex()}"
    return None


def _told(deliveries: Deliveries) -> str:
    return (
        ", ".join(f"{len(frames)} x {name} {frames[0].hex()}" for name, frames in sorted(deliveries.items()))
        or "nobody"
    )


def _report(oracle: Oracle, twin: FabricTwin, packet: Packet, what: str) -> str:
    reasons = [
        f"  {name}: {decision.allowed}, {decision.reason}" for name, decision in oracle.receivers(packet).items()
    ]
    ports = [str(oracle.topology.ports[name]) for name in dict.fromkeys((packet.source, *oracle.receivers(packet)))]
    lines = (what, str(packet), "the oracle says:", *reasons, *ports, twin.trace(packet.source, frame(packet)))
    return "\n".join(lines)
