"""One packet, two judges, by traces: what the oracle says, and where `ofproto/trace` lets the packet come out.

No packet is sent, so that a million can be judged. What the trackers say is told with each trace: answers and errors come with
what the packet before them made the trackers keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from controller.model.address import format_mac, router_mac
from controller.model.entities import Place, Port
from controller.pipeline.flow import Flow
from controller.pipeline.plan import pipeline
from controller.pipeline.tables import Bridge
from controller.proof import packet as wire
from controller.proof.oracle import Answerer, Oracle
from controller.proof.packet import Packet
from tests.ovs.tracing import Changes, changes_between, written_already
from tests.proof.compare import answer_to, chosen, is_foreign, siblings
from tests.proof.passage import Entry, Memory, Opener, Passage, Sent, Tracer
from tests.proof.samples import dice

Received = dict[str, list[Changes]]
_NOTHING, _ANYTHING, _ONE_BIT = range(3)


@dataclass(frozen=True, slots=True)
class Finding:
    """A disagreement: about which packet, in which state, what was expected and what was seen, and the passage that shows it."""

    sent: Sent
    when: str
    expected: Received
    seen: Received
    passage: Passage

    def __str__(self) -> str:
        return f"{self.when}: the oracle says {_short(self.expected)}, the switches {_short(self.seen)}"


# Who opened a connection is no stamp: answers to somebody else are nobody's (`ct_label[112..127]`).
_OWNER = 0xFFFF << 112


class Judge:
    """Oracle and traces of one running fabric."""

    def __init__(self, oracle: Oracle, tracer: Tracer) -> None:
        self.oracle = oracle
        self.tracer = tracer
        self.packets = 0
        self.followed = self.asked_again = 0  # Packets after an answer, and those of them that met the rules once more.
        self.watch: Callable[[Passage], None] | None = None  # Is shown every passage.

    def disagreements(self, packet: Packet, random: Random | None = None) -> Iterator[Finding]:
        """Yield how oracle and traces disagree about a packet, as the first one and later in its connection.

        With `random` some of what may follow is left to chance, without it all of it is judged.
        """
        # The two kinds of tracker keep different things of an SCTP association: either must do.
        knowing = [True, False] if packet.protocol == wire.SCTP else [True]
        for knows_sctp in knowing if random is None else [random.choice(knowing)]:
            yield from self._connection(Sent(packet, knows_sctp=knows_sctp), random)

    def _connection(self, first: Sent, random: Random | None) -> Iterator[Finding]:
        packet = first.packet
        expected = self._expected(packet)
        passage, wrong = self._judged(first, expected, "the first packet")
        yield from wrong
        expected = chosen(self.oracle, packet, expected, self._seen(packet, passage))
        if packet.version is None or packet.tagged or Opener.of(packet) is None:
            return
        # The guard knows DHCP by its ports, which later fragments lack; nobody asks in so many words that they are needed.
        is_dhcp = packet.is_dhcp_request or packet.is_dhcp_reply
        if not (is_dhcp or is_untracked(packet) or packet.opens_nothing) and _happens(random, 0.15):
            yield from self._later_fragment(first)
        if packet.protocol in wire.WITH_PORTS and _happens(random, 0.2):
            # The fragments of a datagram share a next hop of several, which need not be that of whole packets: no ports are hashed.
            apart = self._expected(packet)
            yield from self._judged(replace(first, fragment="first"), apart, "a first fragment")[1]
        for name in expected:
            # What a router answered is over.
            answer = None if name == packet.source else answer_to(self.oracle, packet, name)
            if answer is not None:
                yield from self._conversation(first, answer, expected, passage.memory)
        if expected and not is_foreign(self.tracer.twin, packet.source) and _happens(random, 0.3):
            yield from self._carried_along(first, passage.memory)
        if not packet.opens_nothing and not is_untracked(packet) and _happens(random, 0.4):
            for memory in self._forgeries(first, passage.memory, random):
                yield from self._unstamped(first, expected, memory)

    def _later_fragment(self, first: Sent) -> Iterator[Finding]:
        """Judge a later fragment of the packet: it passes where the packet does.

        Where connections are tracked it may seem to pass elsewhere as well: the tracker keeps it back, which no trace shows.
        """
        piece = replace(first.packet, later_fragment=True)
        expected = self._expected(piece)
        passage = self._walk(replace(first, packet=piece), None)
        seen = self._seen(piece, passage)
        kept_back = {name for name in seen if not (self._is_stateless(name) and self._is_stateless(piece.source))}
        passed = {name: seen[name] for name in seen if name in expected or name not in kept_back}
        if passed != chosen(self.oracle, piece, expected, passed):
            yield Finding(Sent(piece), "a later fragment", expected, seen, passage)

    def _conversation(self, first: Sent, answer: Packet, expected: Received, memory: Memory) -> Iterator[Finding]:
        """Judge what follows a packet that was allowed: an answer, an error, and the opener's next packet."""
        back = self._back(first.packet, answer)
        if back is None:
            return
        answered = replace(first, packet=answer)
        passage, wrong = self._judged(answered, back, f"the answer to {first.packet}", memory)
        yield from wrong
        later, wrong = self._judged(first, expected, "the packet after the answer", passage.memory)
        yield from wrong
        if answer.protocol != wire.SCTP:
            self.followed += 1
            self.asked_again += later.commits > 0
        # Rules that are asked again look at an SCTP packet's own ports, which an error about it does not carry.
        if answer.protocol in (wire.TCP, wire.UDP) and not self._is_stateless(first.packet.source, answer.source):
            is_4 = answer.version == 4
            error = replace(
                answer,
                protocol=wire.ICMP if is_4 else wire.ICMPV6,
                icmp_type=3 if is_4 else 1,
                icmp_code=3 if is_4 else 4,
            )
            refused = replace(first, packet=error, is_error=True)
            yield from self._judged(refused, back, f"an ICMP error about {first.packet}", memory)[1]

    def _carried_along(self, first: Sent, memory: Memory) -> Iterator[Finding]:
        """Judge packets that an open connection must not carry along, to other MACs."""
        for sibling in siblings(self.oracle, first.packet):
            if Opener.of(sibling) != Opener.of(first.packet):
                continue
            allowed = self._expected(sibling)
            passage = self._walk(replace(first, packet=sibling), memory)
            seen = self._seen(sibling, passage)
            if any(seen[name] != allowed.get(name) for name in seen):
                yield Finding(Sent(sibling), f"in the connection of {first.packet}", allowed, seen, passage)

    def _forgeries(self, first: Sent, memory: Memory, random: Random | None) -> Iterator[Memory]:
        """Yield what trackers might hold of the connection that no policy has written: nothing, anything, or all but one bit."""
        opener = Opener.of(first.packet, knows_sctp=first.knows_sctp)
        assert opener is not None
        chance = random or dice(opener.dport)
        # A bit beside nothing may well be a stamp; beside a good one it is none.
        kinds = [_NOTHING, _ANYTHING, _ONE_BIT] if memory else [_NOTHING, _ANYTHING]
        for kind in kinds if random is None else [random.choice(kinds)]:
            made = {}
            for host in self.tracer.twin.hosts:
                entry = memory.get(host, Entry(opener, None))
                if kind is _NOTHING:
                    entry = replace(entry, mark=0, label=0)
                elif kind is _ANYTHING:
                    entry = replace(
                        entry, mark=chance.getrandbits(32), label=entry.label & _OWNER | chance.getrandbits(112)
                    )
                elif host in memory:
                    bit = 1 << chance.randrange(32 + 96)
                    entry = replace(entry, mark=entry.mark ^ bit & 0xFFFFFFFF, label=entry.label ^ bit >> 32 & ~_OWNER)
                made[host] = entry
            yield made

    def _unstamped(self, first: Sent, expected: Received, memory: Memory) -> Iterator[Finding]:
        """Judge a connection without good stamps: the rules decide of it as of a new one, for the answers as well."""
        packet = first.packet
        yield from self._judged(first, expected, "in a connection without good stamps", memory)[1]
        for name, decision in self.oracle.receivers(packet).items():
            answer = answer_to(self.oracle, packet, name)
            way_back = None if answer is None else self._way_back(packet, answer)
            if answer is None or way_back is None or packet.is_dhcp_reply or decision.reason.startswith("no path"):
                continue  # Nobody has ever got what this would be an answer to.
            if is_foreign(self.tracer.twin, name) and is_foreign(self.tracer.twin, packet.source):
                continue
            if self._is_stateless(name, packet.source):
                continue
            back: Received = way_back if name in expected else {}
            passage, wrong = self._judged(
                replace(first, packet=answer),
                back,
                f"the answer to {packet} in a connection without good stamps",
                memory,
            )
            if name in expected or not passage.is_turned:
                # An answer that is turned into an opener goes on as a packet of its own, which no trace can show.
                yield from wrong

    def _back(self, packet: Packet, answer: Packet) -> Received | None:
        """Return who gets the answer to a packet that arrived, None if it does not find the way back, as it shows by itself."""
        way_back = self._way_back(packet, answer)
        is_let_in = self.oracle.reply_allowed(packet, answer.source).allowed
        return way_back if is_let_in or way_back is None else {}

    def _way_back(self, packet: Packet, answer: Packet) -> Received | None:
        """Return how the sender of a packet gets the answer if nothing stops that, None if it finds no way."""
        if packet.eth_dst != router_mac(self.oracle.topology.ports[packet.source].network):
            return {packet.source: [()]}
        decision = self.oracle.receivers(answer).get(packet.source)
        if decision is None or decision.reason.startswith("no path"):
            return None
        written = self._written(answer, packet.source)
        # From a host that is not ours it is only flooded.
        return {packet.source: [written]} if written else None

    def _written(self, packet: Packet, name: str) -> Changes:
        """Return what is written into a packet on its way to one of its receivers."""
        seen = self.oracle.received(packet, name)
        return () if seen is packet else changes_between(packet, seen)

    def _is_stateless(self, *names: str) -> bool:
        """Return whether one of these ports judges every packet by itself."""
        topology = self.oracle.topology
        return any(topology.groups[group].stateless for name in names for group in topology.ports[name].groups)

    def _expected(self, packet: Packet) -> Received:
        """Return who gets a packet that opens a connection."""
        allowed = [name for name, decision in self.oracle.receivers(packet).items() if decision.allowed]
        if is_foreign(self.tracer.twin, packet.source):
            # What a foreign VTEP does among its own ports is not ours to judge.
            allowed = [name for name in allowed if not is_foreign(self.tracer.twin, name)]
        expected = {name: [self._written(packet, name)] for name in allowed}
        echo = self.oracle.echoed(packet)
        if echo is not None:
            expected[packet.source] = [changes_between(packet, echo)]
        return expected

    def _judged(
        self, sent: Sent, expected: Received, when: str, memory: Memory | None = None
    ) -> tuple[Passage, list[Finding]]:
        passage = self._walk(sent, memory)
        seen = self._seen(sent.packet, passage)
        if owner := None if memory else self.oracle.answerer(sent.packet):
            expected = expected | {sent.packet.source: [_answer(sent.packet, owner)]}
        expected = chosen(self.oracle, sent.packet, expected, seen)
        if seen == expected and not passage.strange:
            return passage, []
        if passage.strange:
            when = f"{when} ({', '.join(passage.strange)})"
        return passage, [Finding(sent, when, expected, seen, passage)]

    def _walk(self, sent: Sent, memory: Memory | None) -> Passage:
        self.packets += 1
        passage = self.tracer.walk(sent, memory)
        if self.watch is not None:
            self.watch(passage)
        return passage

    def _seen(self, packet: Packet, passage: Passage) -> Received:
        twin = self.tracer.twin
        if not is_foreign(twin, packet.source):
            return passage.received
        return {name: copies for name, copies in passage.received.items() if not is_foreign(twin, name)}

    # Words.

    def report(self, finding: Finding) -> str:
        """Return the disagreement for people: the packet, both answers, the rules' lines, and the way through the tables by name."""
        packet = finding.sent.packet
        decisions = self.oracle.receivers(packet)
        lines = [str(finding), f"  {packet}", f"  fragment: {finding.sent.fragment}", "the oracle says:"]
        for name, decision in decisions.items():
            lines += [f"  {name}: {'allowed' if decision.allowed else 'refused'}, {decision.reason}"]
            lines += _line(decision.place)
        lines.append("the switches say:")
        for host, bridge, table, flow in self.tracer.flows_of(finding.passage):
            lines += self._step(host, bridge, table, flow)
        lines += [f"  {port}" for port in self._ports(packet, decisions)]
        return "\n".join(lines)

    def _step(self, host: str, bridge: str, table: int, flow: Flow | None) -> list[str]:
        ours = self.oracle.topology.hosts[host]
        kind = {ours.integration_bridge: Bridge.INTEGRATION, ours.tunnel_bridge: Bridge.TUNNEL}.get(bridge)
        name = pipeline().table_name(kind or Bridge.PHYSICAL, table)
        if flow is None:
            return [f"  {bridge}@{host} {name}: nothing"]
        return [f"  {bridge}@{host} {name}: {flow.kind}, {flow.origin}", *_line(flow.origin.place)]

    def _ports(self, packet: Packet, names: Iterable[str]) -> list[Port]:
        return [self.oracle.topology.ports[name] for name in dict.fromkeys((packet.source, *names))]


def is_untracked(packet: Packet) -> bool:
    """Return whether no tracker is asked about the packet."""
    return packet.is_icmpv6 and packet.icmp_type in wire.UNTRACKED


def _happens(random: Random | None, chance: float) -> bool:
    return random is None or random.random() < chance


def _answer(packet: Packet, owner: Answerer) -> Changes:
    """Return what is written into a question so that it becomes its answer (RFC 826; RFC 4861, section 4.4)."""
    mac, asker = format_mac(owner.mac), format_mac(packet.eth_src)
    written = {"eth.src": mac, "eth.dst": asker}
    if packet.eth_type == wire.ARP:
        written |= {"arp.op": "2", "arp.sip": str(packet.dst), "arp.tip": str(packet.src)}
        written |= {"arp.sha": mac, "arp.tha": format_mac(packet.hardware or 0)}
    else:
        written |= {"ipv6.src": str(packet.target), "ipv6.dst": str(packet.src)}
        written |= {"icmpv6.type": "136", "icmpv6.code": "0", "nd.tll": mac}
        written |= {
            "nd_ext.nd_options_type": "2",
            "nd_ext.nd_reserved": "0xe0000000" if owner.is_router else "0x60000000",
        }
    had = written_already(packet)
    return tuple(sorted((key, value) for key, value in written.items() if had.get(key) != value))


def _line(place: Place | None) -> list[str]:
    """Return the line of a file that a place names, if there is one."""
    if place is None or not Path(place.file).is_file():
        return []
    lines = Path(place.file).read_text(encoding="utf-8").splitlines()
    return [f"      {place.line}: {lines[place.line - 1].strip()}"] if place.line <= len(lines) else []


def _short(received: Mapping[str, list[Changes]]) -> str:
    if not received:
        return "nobody"
    return ", ".join(
        f"{len(copies)} x {name}" + "".join(f" {dict(copy)}" for copy in copies if copy)
        for name, copies in sorted(received.items())
    )
