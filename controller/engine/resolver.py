"""Neighbours that no file names, resolved: packets that wait, what is heard, and the flows that follow.

    questions' thread ─ want, hear ─► queue ─► this thread: Neighbours, and the clock ─┬─► packet-outs: who has it? and what waited
                                        ▲                                              └─ learned ─► engine ─► flows ─┐
                                        └───────────────────── settled ◄──────────────────────────────────────────────┘

It has a thread of its own: who asks a second apart must not wait while programs are computed, and the engine must not be woken by each
packet of a scan.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from controller.answers import neighbours as frames
from controller.answers.asked import Asked, PacketOut
from controller.answers.undeliverable import nobody_there
from controller.answers.ways import next_hops, place_of
from controller.engine.neighbours import Neighbours, Spot
from controller.engine.outward import onto_wire
from controller.graph.queries import space_name
from controller.model.address import format_mac, router_mac, wire_mac
from controller.model.entities import ExternalNetwork, Host, HostKind, Network, Topology
from controller.model.ids import integration_dpid, key
from controller.pipeline.fields import BY_NAME, CT_TRACKED
from controller.pipeline.flow import Action, Resubmit, SetField
from controller.pipeline.heard import read_neighbours
from controller.pipeline.plan import pipeline
from controller.pipeline.questions import Question
from controller.pipeline.registers import NETWORK, QUESTION, SCRATCH, SPACE
from controller.pipeline.stamps import look_up
from controller.wire.packet_out import packet_out

if TYPE_CHECKING:
    from controller.engine.engine import Engine

LOG = logging.getLogger(__name__)

_ROOM = 1024  # What may wait for this thread, which is quick.
_OUTPOSTS = 3  # Hosts that ask for an upstream gateway where no host is one of the fabric's gateways.
_REGISTERS = frozenset(declared.index for name, declared in BY_NAME.items() if name[:3] == "reg" and name[3:].isdigit())
_QUESTION, _CT_STATE = BY_NAME[QUESTION.field].index, BY_NAME["ct_state"].index

_Item = Callable[[float], None]


class Resolver:
    """Has neighbours asked for, tells the engine who they are, and sends on what waited for them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._neighbours: Neighbours[Asked] = Neighbours(self)
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="neighbours", daemon=True)
        # The engine's thread has these.
        self._met: Topology | None = None
        self._known: dict[Spot, int] = {}
        self._learned: list[tuple[Spot, int | None]] = []
        engine.questions.register(Question.NEIGHBOUR, self.want)
        engine.questions.register(Question.HEARD, self.hear)

    # What others call.

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self, deadline_s: float) -> None:
        """Stop; what waits is lost."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(deadline_s)

    def want(self, asked: Asked) -> Iterable[PacketOut]:
        """Take a packet whose neighbour nobody knows; it is not answered here."""
        found = next_hops(asked)
        if found is not None and self._queue.qsize() < _ROOM:
            spots = [Spot(found[0], address) for address in found[1]]
            self._queue.put(lambda now: self._want(spots, asked, now))
        return ()

    def hear(self, asked: Asked) -> Iterable[PacketOut]:
        """Take what a neighbour says of itself."""
        place, told = place_of(asked), frames.heard(asked.packet)
        if place is not None and told is not None and self._queue.qsize() < _ROOM:
            self._queue.put(lambda now: self._neighbours.hear(place.name, told, now))
        return ()

    def tell(self) -> list[dict[str, Any]]:
        """Return who is known, as JSON has it; any thread may ask."""
        known = sorted(dict(self._known).items(), key=str)
        return [{"network": spot.network, "address": str(spot.address), "mac": format_mac(mac)} for spot, mac in known]

    # What the engine's thread calls.

    def held(self, host: str, notes: Sequence[str]) -> None:
        """Take what the switch of a host that has come remembers: its flows are computed with that."""
        topology = self._engine.intent.topology
        told = []
        for each in read_neighbours(notes):
            if topology is None or not (
                each.network in topology.networks or each.network in topology.external_networks
            ):
                continue
            spot = Spot(each.network, each.address)
            told.append((spot, each.mac))
            if spot not in self._known:
                self._set(spot, each.mac)

        def remember(now: float) -> None:
            for spot, mac in told:
                self._neighbours.remember(spot, mac, host, now)
            self._neighbours.hurry(now)

        self._queue.put(remember)

    def note(self, spot: Spot, mac: int | None) -> None:
        """Have programs follow what was learned; `follow` is due when switches have them."""
        self._set(spot, mac)
        self._learned.append((spot, mac))

    def meet(self, topology: Topology) -> None:
        """Take the topology that is in force."""
        if topology is self._met:
            return
        self._met = topology
        # Of an external network that no router leads out by, hosts let nothing onto the wire, and nobody needs the gateway.
        used = {router.external for router in topology.routers.values() if router.external is not None}
        gateways = {Spot(name, hop) for name in used for hop in topology.external_networks[name].gateways}
        networks = {*topology.networks, *topology.external_networks}
        self._queue.put(lambda now: self._neighbours.expect(gateways, networks, now))

    def follow(self) -> None:
        """Take that switches hold, as far as they can be reached, what follows from all that was learned."""
        learned, self._learned = self._learned, []

        def settle(now: float) -> None:
            for spot, mac in learned:
                self._neighbours.settle(spot, mac, now)

        if learned:
            self._queue.put(settle)

    def _set(self, spot: Spot, mac: int | None) -> None:
        self._engine.programs.learn(spot.network, spot.address, mac)
        if mac is None:
            self._known.pop(spot, None)
        else:
            self._known[spot] = mac

    # What the thread does.

    def _run(self) -> None:
        while True:
            due = self._neighbours.deadline()
            try:
                item = self._queue.get(timeout=None if due is None else max(0.0, due - time.monotonic()))
            except queue.Empty:
                item = self._neighbours.advance
            if item is None:
                return
            try:
                item(time.monotonic())
                self._neighbours.advance(time.monotonic())
            except Exception:
                # A defect of ours costs what it was about, and not the others their neighbours.
                LOG.exception("what is known of neighbours could not be brought up to date")

    def _want(self, spots: Sequence[Spot], asked: Asked, now: float) -> None:
        spot = next((each for each in spots if not self._neighbours.knows(each)), spots[0])
        # Of what comes from elsewhere the switch knows the tenant's address space alone.
        asker = asked.register(SPACE) if asked.port is None else asked.port.name
        self._neighbours.want(spot, asked.host.name, asked, now, asker)

    def ask(self, spot: Spot, hosts: Collection[str]) -> bool:
        """Ask for a neighbour from hosts; from an external network's own in any case."""
        topology = self._engine.intent.topology
        if topology is None:
            return False
        external = topology.external_networks.get(spot.network)
        place = external or topology.networks.get(spot.network)
        wanted = [*(_outposts(topology, external) if external is not None else ()), *hosts]
        known = [topology.hosts[name] for name in dict.fromkeys(wanted) if name in topology.hosts]
        sent = [self._ask_from(topology, host, place, spot) for host in known if place is not None]
        return any(sent)

    def learned(self, spot: Spot, mac: int | None) -> None:
        """Have flows follow what is known of a neighbour."""
        LOG.info("%s of %s is %s", spot.address, spot.network, "gone" if mac is None else format_mac(mac))
        self._engine.learned(spot, mac)

    def pass_on(self, packet: Asked) -> None:
        """Send a packet to where its neighbour is looked up, as it came there the first time."""
        self._send(packet.host, PacketOut(packet.packet, _again(packet), packet.in_port))

    def refuse(self, packet: Asked) -> None:
        """Tell a packet's sender that nobody is there."""
        for out in nobody_there(packet):
            self._send(packet.host, out)

    def _ask_from(self, topology: Topology, host: Host, place: Network | ExternalNetwork, spot: Spot) -> bool:
        if isinstance(place, ExternalNetwork):
            actions = onto_wire(self._engine.observed, host, place)
            if actions is None:
                return False
        else:
            number_of_network, space = key("network", place.name), key("space", _space(topology, place))
            forward = Resubmit(pipeline().tables["forward"].number)
            actions = (NETWORK.load(number_of_network), SPACE.load(space), forward)
        return self._send(host, PacketOut(_question(place, host, spot), actions))

    def _send(self, host: Host, out: PacketOut) -> bool:
        switches = self._engine.switches
        message = packet_out(out.frame, out.actions, out.in_port)
        return switches is not None and switches.send(integration_dpid(host.id), message)


def _question(place: Network | ExternalNetwork, host: Host, spot: Spot) -> bytes:
    """Return the frame by which a host asks.

    On a wire it asks by a MAC of its own, and by no address of the router's: switches and neighbours there would take the router to be at
    this host. In a tunnel network the router is on every host.
    """
    if isinstance(place, ExternalNetwork) or place.type.is_provider:
        return frames.ask(spot.address, wire_mac(place.name, host.name))
    near = zip(place.cidrs, place.gateways, strict=True)
    source = next((own for cidr, own in near if spot.address in cidr), None)
    return frames.ask(spot.address, router_mac(place.name), source)


def _outposts(topology: Topology, external: ExternalNetwork) -> list[str]:
    """Return the hosts that ask for who is on an external network: the fabric's gateways that have a wire to it, or else some others."""
    physical = topology.physical_networks[external.physical_network]
    wired = [topology.hosts[name] for name in physical.hosts if topology.hosts[name].kind is HostKind.OVS]
    gateways = [host.name for host in wired if host.gateway]
    return gateways or [host.name for host in wired[:_OUTPOSTS]]


def _space(topology: Topology, network: Network) -> str:
    router = next((each for each in topology.routers.values() if network.name in each.networks), None)
    return network.name if router is None else space_name(router.name)


def _again(asked: Asked) -> tuple[Action, ...]:
    """Return the actions that give a packet its registers back and look its neighbour up where that was done the first time."""
    kept = {index: value for index, value in asked.fields.items() if index in _REGISTERS}
    kept[_QUESTION] = kept.get(_QUESTION, 0) & ~QUESTION.mask
    loads = (SetField(index, value) for index, value in kept.items() if value)
    # A static route that has been chosen is no longer needed where a neighbour is looked up by the destination.
    inner = "hops" if asked.register(SCRATCH) else "resolve"
    table = "outside" if isinstance(place_of(asked), ExternalNetwork) else inner
    number = pipeline().tables[table].number
    # What the tracker told is no register. Without it the connection would not be kept, and its first answer would be a stranger's.
    is_tracked = table == inner and asked.fields.get(_CT_STATE, 0) & CT_TRACKED
    return (*loads, look_up(number) if is_tracked else Resubmit(number))
