"""A packet's way through a whole fabric by `ofproto/trace`, host by host, and what every connection tracker on it remembers.

No packet is sent, so that thousands of ways are followed in a second, and a connection can be in any state: the tracker's answer and
what it has kept are told with each packet. What the trackers themselves do is not looked at here, but in `tests.proof.compare`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from controller.model.entities import Address
from controller.model.names import (
    PATCH_TO_TUNNEL,
    interface_name,
    patch_to_physical,
    physical_bridge,
    tunnel_port,
)
from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Flow, Group, PortNumber, Program
from controller.pipeline.text import group_text, raw_text
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.ovs.fabric import UPLINK, WIRE_NUMBER, FabricTwin
from tests.ovs.frames import frame
from tests.ovs.tracing import (
    Changes,
    Commit,
    Encapsulation,
    Exit,
    Outcome,
    UnknownAction,
    changes_between,
    differing,
    entering,
    flow_text,
    ports,
    read,
    rewritten,
    visited,
    written_already,
)
from tests.ovs.vtep import Tunnelled
from tests.proof.patches import patches
from tests.proof.states import TUNNEL_KEY, TUNNEL_SOURCE, Found, LookUp, Replay, passes, state_of

_LOOKUPS = 6  # More than any packet visits the tracker on one host.
_HOPS = 8  # A packet that is still on some wire after so many is in a loop.
_TAG = 5  # Of a frame that its sender tagged, as `tests.ovs.frames` has it.


@dataclass(frozen=True, slots=True)
class Opener:
    """The opening packet of a connection as trackers keep it (ovs-fields(7), "Conntrack Fields")."""

    version: int
    src: Address
    dst: Address
    protocol: int
    sport: int
    dport: int

    @classmethod
    def of(cls, packet: Packet, *, knows_sctp: bool = True) -> Opener | None:
        """Return what is kept of a packet that opens a connection; Open vSwitch's own tracker knows no ports of SCTP."""
        if packet.version is None or packet.protocol is None or packet.src is None or packet.dst is None:
            return None
        numbers = 0, 0
        if packet.protocol in (wire.ICMP, wire.ICMPV6):
            numbers = packet.icmp_type, packet.icmp_code
        elif packet.protocol in wire.WITH_PORTS and (knows_sctp or packet.protocol != wire.SCTP):
            numbers = packet.sport, packet.dport
        return cls(packet.version, packet.src, packet.dst, packet.protocol, *numbers)

    def text(self) -> str:
        """Return the fields in the syntax of ovs-ofctl(8)."""
        address = "ct_nw" if self.version == 4 else "ct_ipv6"
        ends = f"{address}_src={self.src},{address}_dst={self.dst}"
        return f"{ends},ct_nw_proto={self.protocol},ct_tp_src={self.sport},ct_tp_dst={self.dport}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a host's tracker keeps of one connection."""

    opener: Opener
    zone: int | None  # None: wherever it is looked for.
    mark: int = 0
    label: int = 0

    def after(self, commit: Commit) -> Entry:
        """Return the entry after a commit that wrote some bits of it."""
        (mark, marked), (label, labelled) = commit.mark, commit.label
        return replace(self, mark=self.mark & ~marked | mark & marked, label=self.label & ~labelled | label & labelled)


Memory = Mapping[str, Entry]  # By host.


class Trace(NamedTuple):
    """A packet on one host, as it came there, and what its trace printed."""

    host: str
    packet: Packet
    text: str
    tunnel: int = 0  # The key of the tunnel that it came by.


@dataclass(slots=True)
class Passage:
    """Where a packet came out, how it was changed on its way, and what the trackers remember then."""

    packet: Packet
    received: dict[str, list[Changes]] = field(default_factory=dict)
    memory: dict[str, Entry] = field(default_factory=dict)
    traces: list[Trace] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)  # What left by no port of the files.
    commits: int = 0  # How often trackers were told to keep something.
    is_turned: bool = False  # Whether one of them was told that an answer opens a connection of its own.

    def note(self, port: str, changes: Changes) -> None:
        self.received.setdefault(port, []).append(changes)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a packet comes in: an interface, the tag that it bears there, and the tunnel that it comes by."""

    host: str
    packet: Packet  # As it is by now: routers rewrite it.
    bridge: str
    interface: str
    vlan: int | None = None
    tunnel: Encapsulation | None = None
    hops: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet and what the trackers make of it: a packet of its own, or one about a connection that they have."""

    packet: Packet
    fragment: str = "no"
    is_error: bool = False  # An ICMP error about the connection.
    is_invalid: bool = False  # The tracker finds no connection that it can belong to.
    is_unanswered: bool = False  # The tracker knows its connection, but no answer has come yet: it calls it new.
    knows_sctp: bool = True


class Tracer:
    """Traces through the switches of a running fabric, which hold the programs given to `load`."""

    def __init__(self, twin: FabricTwin) -> None:
        self.twin = twin
        self.count = 0
        self._flows: list[Flow] = []  # By cookie, which begins with 1; kept, so that each is itself for good.
        self._cookies: dict[int, int] = {}
        self._groups: dict[str, dict[int, Group]] = {}
        self._loaded: dict[tuple[str, str], list[Flow]] = {}
        self._replays: dict[str, Replay] = {}
        self._names = {host: ports(each.control.call("dpif/show")) for host, each in twin.hosts.items()}
        self._host_at = {host.tunnel_ip: host.name for host in twin.topology.hosts.values()}
        self._port_at = {(where, interface_name(port)): port for port, where in twin.location.items()}

    def load(self, programs: Iterable[Program]) -> None:
        """Replace what all bridges hold, each flow with a cookie of its own, by which traces name it."""
        for program in programs:
            twin = self.twin.hosts[program.host]
            twin.ofctl("del-flows", program.bridge)
            twin.ofctl("del-groups", program.bridge)
            twin.meter(program.bridge, program)
            self._loaded[program.host, program.bridge] = list(program.flows.values())
            self._groups.setdefault(program.host, {}).update(program.groups)
            lines = [f"group add {group_text(group)}" for group in program.groups.values()]
            lines += [f"flow add {raw_text(flow, cookie=self.cookie(flow))}" for flow in program.flows.values()]
            twin.install(program.bridge, lines)

    def walk(self, sent: Sent, memory: Memory | None = None) -> Passage:
        """Follow a packet from its source to wherever it ends; `memory` is what the trackers know of its connection before."""
        twin, packet = self.twin, sent.packet
        passage = Passage(packet, memory=dict(memory or {}))
        host = twin.location[packet.source]
        interface = interface_name(packet.source)
        waiting: list[Arrival] = []
        if host in twin.hosts:
            waiting.append(Arrival(host, packet, twin.topology.hosts[host].integration_bridge, interface))
        else:
            here, copies = twin.foreign[host].send(packet.source, frame(packet))
            for port, _ in here:
                passage.note(port, ())
            for each in copies:
                waiting += self._tunnelled(each, packet, None, passage, 0)
        return self._walk(waiting, sent, memory or {}, passage)

    def enter(self, at: Arrival) -> Passage:
        """Follow a packet that comes in elsewhere than at its source."""
        return self._walk([at], Sent(at.packet), {}, Passage(at.packet))

    def _walk(self, waiting: list[Arrival], sent: Sent, memory: Memory, passage: Passage) -> Passage:
        while waiting:
            waiting += self._visit(waiting.pop(), sent, memory, passage)
        return passage

    def cookie(self, flow: Flow) -> int:
        """Return the number by which traces name a flow; a new one is one that they have not seen."""
        number = self._cookies.get(id(flow))
        if number is None:
            self._flows.append(flow)
            number = self._cookies[id(flow)] = len(self._flows)
        return number

    def flows_of(self, passage: Passage) -> Iterator[tuple[str, str, int, Flow | None]]:
        """Yield every look-up of a passage: host, bridge, table, and the flow that was found there."""
        for trace in passage.traces:
            for bridge, table, cookie in visited(trace.text):
                yield trace.host, bridge, table, self._flows[cookie - 1] if cookie else None

    def passes(self, passage: Passage) -> Iterator[tuple[str, int, str, list[Found]]]:
        """Yield every way of a passage through a host: host, key of the tunnel, the packet as the trace tells it, and what was found."""
        for trace in passage.traces:
            for line, found in passes(trace.text, self._flows):
                yield trace.host, trace.tunnel, line, found

    def look_ups(self, host: str, tunnel: int, line: str, found: list[Found]) -> Iterator[LookUp]:
        """Yield every look-up of one way through a host, with the packet as it was there."""
        if host not in self._replays:
            self._replays[host] = Replay(self._groups.get(host, {}), patches(self.twin, host))
        state = state_of(line)
        if TUNNEL_SOURCE in state:  # A trace does not tell the key.
            state[TUNNEL_KEY] = tunnel
        return self._replays[host].look_ups(state, found)

    def values(self, host: str, kind: tuple[str, str], field: int) -> set[int]:
        """Return what flows of a feature and kind on a host's br-int ask for in a field."""
        flows = self._loaded[host, self.twin.topology.hosts[host].integration_bridge]
        of_kind = (flow for flow in flows if (flow.feature, flow.kind) == kind)
        return {value for flow in of_kind for index, value, _ in flow.match if index == field}

    def tags(self, host: str) -> list[int]:
        """Return the tags that mean a network to a host's br-int, where they come from another bridge."""
        tci = BY_NAME["vlan_tci"].index
        bridge = self.twin.topology.hosts[host].integration_bridge
        matches = [flow.match for flow in self._loaded[host, bridge] if flow.table == 0]
        tagged = [value & 0xFFF for match in matches for index, value, _ in match if index == tci and value & 0xFFF]
        return list(dict.fromkeys(tagged))

    def _visit(self, at: Arrival, sent: Sent, memory: Memory, passage: Passage) -> list[Arrival]:
        """Trace a packet through one host; return where its copies arrive next."""
        assert at.hops < _HOPS, f"a packet goes round and round: {sent.packet}"
        entry = memory.get(at.host)
        text, outcome = self._trace(at, sent, entry)
        if entry is not None and entry.zone is not None and outcome.zones - {entry.zone}:
            # The connection is kept in another zone than the packet is looked up in, so it is not found.
            text, outcome = self._trace(at, sent, None)
        passage.traces.append(Trace(at.host, at.packet, text, at.tunnel.key if at.tunnel is not None else 0))
        for commit in outcome.commits:
            self._keep(at.host, sent, commit, passage)
        leaving: list[Arrival] = []
        for leave in outcome.exits:
            leaving += self._leave(at, leave, passage)
        return leaving

    def _trace(self, at: Arrival, sent: Sent, entry: Entry | None) -> tuple[str, Outcome]:
        """Trace a packet from where it arrives.

        What is told of its connection does not survive a patch port (ovs-fields(7)), so a packet from outside is traced once to
        where it enters br-int, and once more from there.
        """
        vlan = at.vlan
        if sent.packet.tagged:
            assert vlan is None, "a frame with a tag of its own is on a wire"
            vlan = _TAG
        text = self._ask(at, sent, entry, vlan)
        inside = self.twin.topology.hosts[at.host].integration_bridge
        outside, entered, _ = text.partition(f'bridge("{inside}")')
        if at.bridge == inside or not entered:
            return text, read(text, self._names[at.host], vlan)
        vlan = entering(outside, vlan)
        patch = PATCH_TO_TUNNEL if at.tunnel is not None else patch_to_physical(at.interface.removeprefix("wire-"))
        text = self._ask(Arrival(at.host, at.packet, inside, patch, vlan), sent, entry, vlan)
        return outside + text, read(text, self._names[at.host], vlan)

    def _ask(self, at: Arrival, sent: Sent, entry: Entry | None, vlan: int | None) -> str:
        state, told = _state(sent, entry)
        fragment = "later" if sent.packet.later_fragment else sent.fragment
        parts = [f"in_port={self._number(at)}", flow_text(at.packet, fragment), told, _metadata(at.tunnel)]
        if vlan is not None:
            parts.insert(2, f"dl_vlan={vlan}")
        options = ("--ct-next", f"trk,{state}") * (_LOOKUPS if state != "new" else 0)
        self.count += 1
        return self.twin.hosts[at.host].trace(at.bridge, ",".join(filter(None, parts)), *options)

    def _keep(self, host: str, sent: Sent, commit: Commit, passage: Passage) -> None:
        """Remember what a commit says; in another zone, or where it turns the connection round, that is a new entry."""
        known = passage.memory.get(host)
        own = Opener.of(sent.packet, knows_sctp=sent.knows_sctp)
        passage.commits += 1
        passage.is_turned |= commit.turns
        if known is None or known.zone not in (None, commit.zone) or (commit.turns and known.opener != own):
            assert own is not None, f"the tracker cannot keep {sent.packet}"
            known = Entry(own, commit.zone)
        passage.memory[host] = known.after(commit)

    def _leave(self, at: Arrival, leave: Exit, passage: Passage) -> list[Arrival]:
        """Return where one copy arrives next, if it leaves the host, and note it otherwise."""
        twin = self.twin
        port = self._port_at.get((at.host, leave.interface))
        if port is not None:
            tag = _TAG if passage.packet.tagged else None
            changes = self._changes(at, leave, passage)
            passage.note(port, changes if leave.vlan == tag else (*changes, ("vlan", str(leave.vlan))))
            return []
        try:
            packet = rewritten(at.packet, differing(written_already(at.packet), dict(leave.changes)))
        except UnknownAction as written:
            passage.strange.append(f"{written} in what leaves {at.host} by {leave.interface}")
            return []
        if leave.tunnel is not None and leave.interface == UPLINK:
            tunnel = leave.tunnel
            carried = Tunnelled(tunnel.kind, tunnel.key, tunnel.src, tunnel.dst, frame(packet))
            return self._tunnelled(carried, packet, leave.vlan, passage, at.hops + 1)
        for physical in twin.topology.physical_networks.values():
            if leave.interface == f"wire-{physical.name}":
                bridge, others = physical_bridge(physical.name), [each for each in physical.hosts if each != at.host]
                hops = at.hops + 1
                return [Arrival(each, packet, bridge, leave.interface, leave.vlan, None, hops) for each in others]
            if leave.interface == physical_bridge(physical.name):
                return []  # The host's own stack listens on the wire.
        passage.strange.append(f"{leave} from {at.host}")
        return []

    def _changes(self, at: Arrival, leave: Exit, passage: Passage) -> Changes:
        """Return how a copy differs from what was sent at first."""
        if at.packet is passage.packet and not leave.changes:
            return ()
        return differing(written_already(passage.packet), written_already(at.packet) | dict(leave.changes))

    def _tunnelled(
        self, carried: Tunnelled, packet: Packet, vlan: int | None, passage: Passage, hops: int
    ) -> list[Arrival]:
        """Return where a tunnel packet arrives; a VTEP that is not ours hands it out by itself. No tag travels in a tunnel."""
        host = self._host_at[carried.dst]
        tag = () if vlan is None else (("vlan", str(vlan)),)
        if host not in self.twin.hosts:
            for port, _ in self.twin.foreign[host].receive(carried):
                passage.note(port, (*changes_between(passage.packet, packet), *tag))
            return []
        if tag:
            passage.strange.append(f"a tag of {vlan} in what a tunnel to {host} carries")
        tunnel = Encapsulation(carried.kind, carried.key, carried.src, carried.dst)
        bridge = self.twin.topology.hosts[host].tunnel_bridge
        return [Arrival(host, packet, bridge, tunnel_port(carried.kind), None, tunnel, hops)]

    def _number(self, at: Arrival) -> int:
        if at.interface.startswith("wire-"):
            return WIRE_NUMBER
        if at.interface == at.bridge:
            return PortNumber.LOCAL
        number = self.twin.bindings[at.host].number(at.bridge, at.interface)
        assert number is not None, f"{at.interface} of {at.host} is not there"
        return number


def _metadata(tunnel: Encapsulation | None) -> str:
    return f"tun_id={tunnel.key:#x},tun_src={tunnel.src},tun_dst={tunnel.dst}" if tunnel else ""


def _state(sent: Sent, entry: Entry | None) -> tuple[str, str]:
    """Return what the tracker calls a packet, and the fields of the connection that it is told with.

    The fields need a state to stand beside (ovs-fields(7), prerequisites); as long as it lacks `trk`, the packet counts as untracked.
    """
    packet = sent.packet
    if sent.is_invalid:
        return "inv", ""
    if entry is None:
        opener = Opener.of(packet, knows_sctp=sent.knows_sctp)
        if opener is None:
            return "new", ""
        is_known = not (packet.opens_nothing or (packet.is_icmpv6 and packet.icmp_type in wire.UNTRACKED))
        return ("new", f"ct_state=new,{opener.text()}") if is_known else ("inv", "")
    opener = entry.opener
    if sent.is_unanswered:
        return "new", f"ct_state=new,{opener.text()},ct_mark={entry.mark:#x},ct_label={entry.label:#x}"
    state = "rel" if sent.is_error else "est"
    if (packet.src, packet.dst) != (opener.src, opener.dst) or _is_answer(sent, opener):
        state += ",rpl"
    return state, f"ct_state=new,{opener.text()},ct_mark={entry.mark:#x},ct_label={entry.label:#x}"


def _is_answer(sent: Sent, opener: Opener) -> bool:
    """Return whether a packet from an address to itself is an answer, by its ports or its type."""
    own = Opener.of(sent.packet, knows_sctp=sent.knows_sctp)
    return own is not None and own.src == own.dst and (own.sport, own.dport) != (opener.sport, opener.dport)
