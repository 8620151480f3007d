"""A judge of packets and of what follows them who also looks at what has no likeness in random packets: stamps that are nearly good,
answers to somebody else, packets that belong to nothing, who counts what is refused, and packets that come in where none should.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from controller.model.entities import Direction
from controller.model.ids import key
from controller.proof import packet as wire
from controller.proof.oracle import Oracle
from controller.proof.packet import Packet
from controller.proof.verdict import Decision
from tests.proof.compare import answer_to
from tests.proof.passage import Entry, Memory, Opener, Passage, Sent, Tracer
from tests.proof.strangers import Stranger
from tests.proof.traced import Finding, Judge, Received, is_untracked

_ONES = (1 << 32) - 1
_OWNER_AT = 112
_ENDS = (1, 1 << 31)  # The lowest and the highest bit of a stamp.
_TESTED = (22, 23, 80, 95, 3306, 3307)  # Ports of connections that are refused although they nearly bear good stamps.
_WOULD, _DRY, _REFUSED = "would be refused", ("dry rule", "not enforced"), ("egress refused", "ingress refused")


@dataclass(slots=True)
class _Stamps:
    """What policies have written into entries: by port the stamp of each direction, and what the port is to others."""

    out: dict[str, int]
    into: dict[str, int]
    answerer: dict[tuple[str, int], int]  # By port and IP version.
    opener: dict[tuple[str, int], int]


class Thorough(Judge):
    """As `Judge`, with more that follows each packet."""

    def __init__(self, oracle: Oracle, tracer: Tracer) -> None:
        super().__init__(oracle, tracer)
        self.passes = self.commits = self.kept = 0
        self._stamps = _Stamps({}, {}, {}, {})
        self._learned: set[tuple[str, int, int | None]] = set()

    @property
    def trail(self) -> tuple[int, ...]:
        """What judging has left behind: packets that met the rules again, writes to trackers, ways through a bridge, what entries hold.

        The number for the last means nothing but that two are equal.
        """
        return self.asked_again, self.commits, self.passes, self.kept

    def learn(self, packet: Packet) -> None:
        """Note the stamps that trackers keep of a packet that is allowed, for those that are not."""
        pair = packet.source, packet.eth_dst, packet.version
        if packet.protocol != wire.TCP or pair in self._learned:
            return
        expected = self._expected(packet)
        if len(expected) != 1:
            return
        [name], twin = expected, self.tracer.twin
        if answer_to(self.oracle, packet, name) is None:
            return  # An address is somebody else's.
        self._learned.add(pair)
        memory, version = self._walk(Sent(packet), None).memory, packet.version or 0
        sender, receiver = memory.get(twin.location[packet.source]), memory.get(twin.location[name])
        if sender is not None and sender.label & _ONES:
            self._stamps.out[packet.source] = sender.label & _ONES
            if peer := sender.label >> 32 & _ONES:
                self._stamps.answerer[name, version] = peer
        if receiver is not None and receiver.mark:
            self._stamps.into[name] = receiver.mark
            if peer := receiver.label >> 64 & _ONES:
                self._stamps.opener[packet.source, version] = peer

    def judge(self, conversation: Packet | Stranger) -> Iterator[Finding]:
        """Yield how oracle and traces disagree about a packet and what follows it."""
        if isinstance(conversation, Stranger):
            passage = self._noted(self.tracer.enter(conversation.at))
            if passage.received:
                yield Finding(Sent(conversation.packet), "from nobody", {}, passage.received, passage)
            return
        yield from self.disagreements(conversation)

    def disagreements(self, packet: Packet, random: Random | None = None) -> Iterator[Finding]:
        yield from super().disagreements(packet, random)
        if packet.version is None or packet.tagged or Opener.of(packet) is None or is_untracked(packet):
            return
        decisions = self.oracle.receivers(packet)
        yield from self._invalid(packet, decisions)
        if len(decisions) == 1 and not packet.opens_nothing:
            [(name, decision)] = decisions.items()
            yield from self._counted(packet, name, decision)
            yield from self._unstamped_again(packet, name, decision)
            if decision.allowed and packet.protocol != wire.SCTP:  # Of which every packet meets the rules.
                yield from self._somebody_elses(packet, name)
            if not decision.allowed and packet.protocol == wire.TCP and packet.dport in _TESTED:
                yield from self._nearly_good(packet, name, decision)

    def _tracks(self, port: str) -> bool:
        return self.oracle.is_guarded(self.oracle.topology.ports[port]) and not self._is_stateless(port)

    def _invalid(self, packet: Packet, decisions: dict[str, Decision]) -> Iterator[Finding]:
        """Judge a packet that belongs to no connection, by the tracker's word: who tracks does not get it."""
        if any(self._is_stateless(name) for name in (packet.source, *decisions)):
            return  # Rules that know no connections judge it as any other.
        expected: Received = {}
        if not self._tracks(packet.source):
            expected = {name: copies for name, copies in self._expected(packet).items() if not self._tracks(name)}
        yield from self._judged(Sent(packet, is_invalid=True), expected, "of no connection", {})[1]

    def _counted(self, packet: Packet, name: str, decision: Decision) -> Iterator[Finding]:
        """Look who counts a packet that is refused, or that would be."""
        passage = self._walk(Sent(packet), None)
        flows = [flow for *_, flow in self.tracer.flows_of(passage) if flow is not None]
        for direction, port in ((Direction.EGRESS, packet.source), (Direction.INGRESS, name)):
            if decision.reason.startswith(f"{direction} default deny of {port}:"):
                wanted = f"{direction} refused", f"port {port}"
                if wanted not in {(flow.kind, flow.origin.what) for flow in flows}:
                    yield Finding(Sent(packet), f"{wanted} does not count", {}, passage.received, passage)
        if decision.allowed:
            counted = {flow.origin.what for flow in flows if flow.kind.endswith(_WOULD) or flow.kind in _DRY}
            if bool(counted) is not decision.would_drop:
                yield Finding(Sent(packet), f"counted by {counted}", self._expected(packet), passage.received, passage)

    def _unstamped_again(self, packet: Packet, name: str, decision: Decision) -> Iterator[Finding]:
        """Follow a connection without stamps: allowed ones are stamped once, and refused answers are counted."""
        answer, opener = answer_to(self.oracle, packet, name), Opener.of(packet)
        if answer is None or opener is None or not self._tracks(packet.source) or not self._tracks(name):
            return
        if packet.is_dhcp_reply or packet.protocol == wire.SCTP:
            return
        entry = Entry(opener, None, 0, _owner(packet.source) << _OWNER_AT)
        bare: Memory = dict.fromkeys(self.tracer.twin.hosts, entry)
        for sent in (packet, answer):
            passage = self._walk(Sent(sent), bare)
            if not decision.allowed:
                flows = [flow for *_, flow in self.tracer.flows_of(passage) if flow is not None]
                if not any(flow.kind in _REFUSED for flow in flows):
                    yield Finding(Sent(sent), "nobody counts it", {}, passage.received, passage)
                continue
            again = self._walk(Sent(sent), {**bare, **passage.memory})
            if again.commits:
                yield Finding(Sent(sent), "stamped once more", {}, again.received, again)
        if packet.protocol in (wire.TCP, wire.UDP):
            protocol, kind, code = (wire.ICMP, 3, 3) if packet.version == 4 else (wire.ICMPV6, 1, 4)
            # The rules judge an error without ports, which it does not carry; where it comes to is not said here.
            error = replace(answer, protocol=protocol, icmp_type=kind, icmp_code=code)
            self._walk(Sent(error, is_error=True), bare)

    def _somebody_elses(self, packet: Packet, name: str) -> Iterator[Finding]:
        """Judge packets of a connection that another port here has opened: answers are for that one, the opener may go on."""
        ports, twin = self.oracle.topology.ports, self.tracer.twin
        answer = answer_to(self.oracle, packet, name)
        host = twin.location[packet.source]
        memory = self._walk(Sent(packet), None).memory
        if answer is None or host not in memory or not self._tracks(packet.source) or not self._tracks(name):
            return
        entry, own = memory[host], _owner(packet.source)
        others = [_owner(port) for port in ports if twin.location[port] == host and port != packet.source]
        for owner in dict.fromkeys((own ^ 1, own ^ 1 << 15, 1, 1 << 15, *others)):
            label = entry.label & (1 << _OWNER_AT) - 1 | owner << _OWNER_AT
            made = {**memory, host: replace(entry, label=label)}
            yield from self._judged(Sent(packet), self._expected(packet), "of somebody else's connection", made)[1]
            if owner not in (0, own):
                yield from self._judged(Sent(answer), {}, "an answer to somebody else", made)[1]

    def _nearly_good(self, packet: Packet, name: str, decision: Decision) -> Iterator[Finding]:
        """Judge a connection that the rules of one end refuse, and whose entry all but bears the good stamp of that end."""
        if not self._tracks(packet.source) or not self._tracks(name):
            return
        # Who may do everything in a direction needs no stamp for it.
        out, into = self._stamps.out.get(packet.source, 0), self._stamps.into.get(name, 0)
        is_egress = not decision.reason.startswith(f"{Direction.INGRESS} default deny of ")
        far = self._stamps.answerer if is_egress else self._stamps.opener
        good, peer = out if is_egress else into, far.get((name if is_egress else packet.source, packet.version or 0), 0)
        if not good:
            return
        keys = self._stamps.out if is_egress else self._stamps.into
        pairs = [(good ^ bit, peer) for bit in _ENDS] + [(good, peer ^ bit) for bit in _ENDS] + [(good ^ 1, 0), (0, 0)]
        pairs += [(other, 0) for other in dict.fromkeys(keys.values()) if other != good]
        if peer:
            pairs += [(good, other) for other in dict.fromkeys(far.values()) if other != peer]
        opener = Opener.of(packet)
        assert opener is not None
        for stamp, was in pairs:
            entry = Entry(opener, None, into if is_egress else stamp)
            label = (stamp | was << 32) if is_egress else (out | was << 64)
            for owner in (_owner(packet.source), 0):
                made: Memory = dict.fromkeys(self.tracer.twin.hosts, replace(entry, label=label | owner << _OWNER_AT))
                yield from self._judged(Sent(packet), {}, f"{stamp:#x} and {was:#x} are not good stamps", made)[1]

    def _walk(self, sent: Sent, memory: Memory | None) -> Passage:
        return self._noted(super()._walk(sent, memory), is_watched=True)

    def _noted(self, passage: Passage, *, is_watched: bool = False) -> Passage:
        self.commits += passage.commits
        self.kept += sum(hash((host, entry.mark, entry.label)) for host, entry in passage.memory.items())
        self.passes += sum(trace.text.count("Resuming from table") for trace in passage.traces)
        if not is_watched and self.watch is not None:
            self.watch(passage)
        return passage


def _owner(port: str) -> int:
    return key("port", port) & 0xFFFF
