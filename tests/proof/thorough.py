"""A judge of packets and of what follows them who also looks at what has no likeness in random packets: stamps that are nearly good,
answers to somebody else, packets that belong to nothing, who counts what is refused, and packets that come in where none should.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from controller.model.address import BROADCAST_MAC
from controller.model.entities import Direction
from controller.model.ids import key
from controller.pipeline.fields import BY_NAME
from controller.pipeline.registers import QUESTION
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
_OWNERS = 1 << _OWNER_AT, 1 << _OWNER_AT + 15
_QUESTION = f"->NXM_NX_REG6[{QUESTION.offset}..{QUESTION.offset + QUESTION.bits - 1}]"
_TESTED = (22, 23, 80, 95, 3306, 3307)  # Ports of connections that are refused although they nearly bear good stamps.
_KNOWN, _MARK = ("ingress_policy", "known"), BY_NAME["ct_mark"].index
_WOULD, _DRY, _REFUSED = "would be refused", ("dry rule", "not enforced"), ("egress refused", "ingress refused")
_COUNTING = (_WOULD, *_DRY, *_REFUSED)


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
        self.passes = self.commits = self.kept = self.asked = self.told = 0
        self._stamps = _Stamps({}, {}, {}, {})
        self._followed: dict[tuple[str, int, int | None, bool], Packet] = {}
        self._learned: set[tuple[str, int, int | None]] = set()

    @property
    def trail(self) -> tuple[int, ...]:
        """What judging has left behind: packets that met the rules again, writes to trackers, ways through a bridge, what entries hold
        and who got what, what the controller is asked, of long packets as well, and who counts what is or would be refused.

        The numbers for the last three mean nothing but that two are equal.
        """
        return self.asked_again, self.commits, self.passes, self.kept, self.asked, self.told

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
            if passage.received and not conversation.may_arrive:
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
                yield from self._once_more(packet, name)
            if not decision.allowed and packet.protocol == wire.TCP and packet.dport in _TESTED:
                yield from self._nearly_good(packet, name, decision)
                self._never_good(packet, name)

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
        if packet.is_dhcp_reply or (decision.allowed and packet.protocol == wire.SCTP):
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
        self._to_others(packet, answer, opener)
        if packet.protocol in (wire.TCP, wire.UDP):
            protocol, kind, code = (wire.ICMP, 3, 3) if packet.version == 4 else (wire.ICMPV6, 1, 4)
            # The rules judge an error without ports, which it does not carry; where it comes to is not said here.
            error = replace(answer, protocol=protocol, icmp_type=kind, icmp_code=code)
            memory = self._walk(Sent(packet), None).memory
            for unstamped in (bare, *({**memory, host: entry} for host in memory)):
                self._walk(Sent(error, is_error=True), unstamped)

    def _to_others(self, packet: Packet, answer: Packet, opener: Opener) -> None:
        """Look what becomes of answers that come to another port of the opener's host, which is said to have opened the connection.

        Of one that bears no stamps, and of one that the answerer has let in.
        """
        ports, location = self.oracle.topology.ports, self.tracer.twin.location
        here = [
            ports[name] for name, host in location.items() if host == location[packet.source] and name != packet.source
        ]
        for port in here:
            if port.network == ports[packet.source].network and port.mac != answer.eth_src:
                owner = _owner(port.name) << _OWNER_AT
                let_in = self._stamps.into.get(answer.source, 0)
                peer = self._stamps.opener.get((packet.source, packet.version or 0), 0)
                for mark, label in ((0, owner), (let_in, owner | peer << 64)):
                    made: Memory = dict.fromkeys(self.tracer.twin.hosts, Entry(opener, None, mark, label))
                    self._walk(Sent(replace(answer, eth_dst=port.mac)), made)

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

    def _once_more(self, packet: Packet, name: str) -> Iterator[Finding]:
        """Follow a packet that comes again before an answer, and a connection of which one stamp is not good: it meets the rules again.

        What is stamped then is seen by the trail.
        """
        if not (self._tracks(packet.source) or self._tracks(name)):
            return
        memory, expected = self._walk(Sent(packet), None).memory, self._expected(packet)
        again = Sent(packet, is_unanswered=True)
        yield from self._judged(again, expected, "once more, before an answer", memory)[1]
        self._walk(replace(again, packet=replace(packet, later_fragment=True)), memory)
        answer = answer_to(self.oracle, packet, name)
        if answer is not None:
            # To whom it comes besides is not said here.
            self._walk(Sent(replace(answer, eth_dst=BROADCAST_MAC)), memory)
        # One packet from each to each will do, as stamps are not of packets.
        ends = packet.source, packet.eth_dst, packet.version, packet.is_dhcp_request
        if self._followed.setdefault(ends, packet) != packet:
            return
        for spoilt in self._others(memory):
            yield from self._judged(Sent(packet), expected, "with somebody else's stamp", spoilt)[1]
        for spoilt in _spoilt(memory):
            yield from self._judged(Sent(packet), expected, "with a stamp that is not good", spoilt)[1]
            if answer is not None and not packet.is_dhcp_reply:
                self._walk(Sent(answer), spoilt)
        for bit in _OWNERS:
            others = {host: replace(entry, label=entry.label ^ bit) for host, entry in memory.items()}
            yield from self._judged(Sent(packet), expected, "of a connection of somebody else", others)[1]

    def _others(self, memory: Memory) -> Iterator[Memory]:
        """Yield what trackers would hold with one stamp that is somebody else's."""
        known = self._stamps
        for place, others in enumerate(
            {*each}
            for each in (known.into.values(), known.out.values(), known.answerer.values(), known.opener.values())
        ):
            for other in sorted(others):
                made = {host: _with_stamp(entry, place, other) for host, entry in memory.items()}
                if made != memory:
                    yield made

    def _nearly_good(self, packet: Packet, name: str, decision: Decision) -> Iterator[Finding]:
        """Judge a connection that the rules of one end refuse, and whose entry all but bears the good stamp of that end."""
        ports = self.oracle.topology.ports
        if not self._tracks(packet.source) or not self._tracks(name):
            return
        if packet.src not in ports[packet.source].ips or packet.dst not in ports[name].ips:
            return  # What stamps say of addresses is known of these.
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
        # Before an answer the best stamps are not enough: what is new meets the rules.
        for sent, (stamp, was) in [
            *((Sent(packet), each) for each in pairs),
            (Sent(packet, is_unanswered=True), (good, peer)),
        ]:
            entry = Entry(opener, None, into if is_egress else stamp)
            label = (stamp | was << 32) if is_egress else (out | was << 64)
            for owner in (_owner(packet.source), 0):
                made: Memory = dict.fromkeys(self.tracer.twin.hosts, replace(entry, label=label | owner << _OWNER_AT))
                yield from self._judged(sent, {}, f"{stamp:#x} and {was:#x} are not good stamps", made)[1]

    def _never_good(self, packet: Packet, name: str) -> None:
        """Look what becomes of a refused connection that bears a stamp, or nearly so, of those who let nobody in: nobody has it."""
        opener, twin = Opener.of(packet), self.tracer.twin
        assert opener is not None
        marks = self.tracer.values(twin.location[name], _KNOWN, _MARK) - {*self._stamps.into.values()}
        out = self._stamps.out.get(packet.source, 0) | _owner(packet.source) << _OWNER_AT
        for mark, peer in [
            pair
            for each in sorted(marks)
            for pair in ((each, 0), *((each ^ bit, 0) for bit in _ENDS), *((each, bit) for bit in _ENDS))
        ]:
            made: Memory = dict.fromkeys(twin.hosts, Entry(opener, None, mark, out | peer << 64))
            for is_unanswered in (False, True):
                self._walk(Sent(packet, is_unanswered=is_unanswered), made)

    def _walk(self, sent: Sent, memory: Memory | None) -> Passage:
        return self._noted(super()._walk(sent, memory), is_watched=True)

    def _noted(self, passage: Passage, *, is_watched: bool = False) -> Passage:
        self.commits += passage.commits
        self.kept += sum(hash((host, entry.mark, entry.label)) for host, entry in passage.memory.items())
        self.kept += sum(hash((name, tuple(copies))) for name, copies in passage.received.items())
        self.asked += sum(hash(question) for trace in passage.traces for question in _questions(trace.text))
        met = (flow for *_, flow in self.tracer.flows_of(passage) if flow is not None)
        self.told += sum(hash((flow.kind, flow.origin.what)) for flow in met if flow.kind.endswith(_COUNTING))
        self.passes += sum(trace.text.count("Resuming from table") for trace in passage.traces)
        if not is_watched and self.watch is not None:
            self.watch(passage)
        return passage


def _questions(text: str) -> list[tuple[int, str]]:
    """Return what a trace says that the controller is asked: the numbers that are written for it before, and by which way."""
    lines = text.splitlines() if "userspace(" in text else ()
    asked = [line.strip() for line in lines if _QUESTION in line]
    return [(line.count("userspace("), str(asked)) for line in lines if line.startswith("Datapath actions: ")]


def _spoilt(memory: Memory) -> Iterator[Memory]:
    """Yield what trackers would hold with one stamp spoilt: with another bit, the lowest or the highest, or none at all."""
    for place in range(4):  # The mark, and what the label holds besides the owner.
        for bits in (*_ENDS, None):
            made = {}
            for host, entry in memory.items():
                held = (entry.mark | entry.label << 32) >> 32 * place & _ONES
                made[host] = _with_stamp(entry, place, 0 if bits is None else held ^ bits)
            if made != memory:
                yield made


def _with_stamp(entry: Entry, place: int, stamp: int) -> Entry:
    """Return an entry with another stamp: the mark, or one of those in the label."""
    if place == 0:
        return replace(entry, mark=stamp)
    at = 32 * (place - 1)
    return replace(entry, label=entry.label & ~(_ONES << at) | stamp << at)


def _owner(port: str) -> int:
    return key("port", port) & 0xFFFF
