"""Packets that a router cannot pass on, and those for itself that nothing listens to: what their senders are told, and by which way.

The router speaks as the sender sees it: by the MAC and the address that it has on the sender's network. What is for a port of the host
goes there past all tables, as it is about a packet that policy has let out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from controller.answers.asked import Answerer, Asked, PacketOut
from controller.answers.datagram import Datagram, read, redirected
from controller.answers.icmp import Own, error
from controller.answers.ways import external_of, mtu_of
from controller.model.address import outer_mac, router_mac, wire_mac
from controller.model.entities import ExternalNetwork, FloatingIp, Network, Port, Router, Topology
from controller.model.ids import key
from controller.pipeline.fields import VLAN_PRESENT
from controller.pipeline.flow import Action, Output, PushVlan, Resubmit, set_field
from controller.pipeline.plan import pipeline
from controller.pipeline.questions import Question
from controller.pipeline.registers import FROM, FROM_PHYSICAL, FROM_TUNNEL, NETWORK, SPACE, ZONE

_TARGET, _SOURCE = slice(0, 6), slice(6, 12)  # The MACs in a frame.


def answer(asked: Asked) -> Iterable[PacketOut]:
    """Yield what tells the sender of a packet what became of it."""
    router = _left_by(asked)
    if router is not None:
        yield from _told_outside(asked, router)
        return
    sender = _passed_on_for(asked)
    if sender is not None:
        yield from _told_at_home(asked, sender)
        return
    frame = _as_seen(asked, _as_sent(asked))
    own = None if frame is None else own_at(asked, frame)
    # What is too big is so for the tunnel of the network that it is in, which need not be its sender's.
    told = None if own is None or frame is None else error(asked.question, frame, own, mtu_of(asked, own.mac))
    if told is not None:
        yield to_sender(asked, told)
        external = external_of(asked) if asked.port is None else None
        if external is not None and _router_by_mac(asked.topology, external, int.from_bytes(told[_TARGET], "big")):
            # One of our addresses speaks to another. If it is on this very host, the wire leads to nobody.
            yield _from_wire(external, told)


def _as_seen(asked: Asked, frame: bytes) -> bytes | None:
    """Return a packet from outside with the address that it was sent to; None if that is not known any more.

    What was translated on its way in bears an address of the inside, which is not the outside's to know.
    """
    external, packet = external_of(asked) if asked.port is None else None, read(frame)
    if external is None or packet is None:
        return frame
    mac = int.from_bytes(frame[_TARGET], "big")
    floating = _floating_by_mac(asked.topology, mac)
    if floating is not None and packet.target == floating.fixed:
        return redirected(frame, floating.address)
    router = _router_by_mac(asked.topology, external, mac)
    is_masked = router is not None and router.snat and packet.target not in router.addresses
    return None if is_masked and floating is None else frame


def _left_by(asked: Asked) -> Router | None:
    """Return the router by which a packet is on its way out already, in whomever's name; None if it is not."""
    external = external_of(asked)
    if external is None or _router_by_mac(asked.topology, external, int.from_bytes(asked.packet[_TARGET], "big")):
        return None
    return _router_by_mac(asked.topology, external, int.from_bytes(asked.packet[_SOURCE], "big"))


def _told_outside(asked: Asked, router: Router) -> Iterable[PacketOut]:
    """Yield what tells a sender whose packet may bear another name by now: it comes as if from the wire, and the tracker knows for whom."""
    external = external_of(asked)
    if external is not None:
        own = Own(wire_mac(external.name, asked.host.name), router.addresses, external.cidrs, is_for_others=True)
        told = error(asked.question, asked.packet, own)
        if told is not None:
            yield _from_wire(external, told)


def _from_wire(external: ExternalNetwork, frame: bytes) -> PacketOut:
    """Return the packet-out that has br-int take a frame for one of an external network."""
    arrived = [NETWORK.load(key("external", external.name)), FROM.load(FROM_PHYSICAL)]
    return PacketOut(frame, (*arrived, Resubmit(pipeline().tables["arriving"].number)))


def own_at(asked: Asked, frame: bytes) -> Own | None:
    """Return the router as who sent a frame to it sees it; None where no router of the files is."""
    mac = int.from_bytes(frame[_TARGET], "big")
    network = _network(asked)
    if network is not None:
        # What another host or a wire has sent and a router has rewritten already does not tell any more where it came from.
        if int.from_bytes(frame[_SOURCE], "big") in _ours(asked, network.name):
            return None
        return Own(mac, network.gateways, network.cidrs)
    external = external_of(asked)
    if external is None:
        return None
    router = _router_by_mac(asked.topology, external, mac)
    if router is None:
        return None
    floating, packet = _floating_by_mac(asked.topology, mac), read(frame)
    if floating is not None and packet is not None and packet.source in router.addresses:
        # Whom the router itself has masked bears its address, and can be told by the one that it speaks to alone.
        return Own(mac, (floating.address,), external.cidrs)
    return Own(mac, router.addresses, external.cidrs)


def nobody_there(asked: Asked) -> Iterable[PacketOut]:
    """Yield what tells a packet's sender that nobody has answered for the neighbour that it needs.

    It may be a port whose own host has handed the packet over to this one.
    """
    packet, asks = read(asked.packet), replace(asked, question=Question.NO_HOST)
    sender = None if packet is None else _port_with(asked, packet)
    if asked.port is None and asked.network is not None:
        if sender is not None and sender.network != asked.network.name:
            yield from _told_at_home(asks, sender)
    # Any other sender elsewhere inside cannot be told in words that it knows.
    elif _left_by(asked) is not None or (
        asked.port is not None and (sender is not None or not asked.port.port_security)
    ):
        yield from answer(asks)


def _port_with(asked: Asked, packet: Datagram) -> Port | None:
    """Return the port of the router's networks that has the source of a packet."""
    names = () if asked.router is None else asked.router.networks
    ports = (each for each in asked.topology.ports.values() if each.network in names)
    return next((each for each in ports if packet.source in each.ips), None)


def _passed_on_for(asked: Asked) -> Port | None:
    """Return the port whose packet another one, a router itself, has passed on to ours; None if its sender is who asks.

    By way of that one it would not hear: who passes an error of ours on speaks by our address, which is not its own to use.
    """
    packet = read(asked.packet)
    sender = None if packet is None else _port_with(asked, packet)
    if sender is None or packet is None:
        return None
    if asked.port is not None:
        return None if sender is asked.port else sender
    is_told = asked.network is not None and asked.register(FROM) == FROM_TUNNEL
    passers = () if asked.network is None else (sender.mac, *_ours(asked, asked.network.name))
    return sender if is_told and packet.source_mac not in passers else None


def _told_at_home(asked: Asked, sender: Port) -> Iterable[PacketOut]:
    """Yield what tells a port by its address, in its own network: of the frame that it sent nothing is left."""
    network = asked.topology.networks[sender.network]
    mac = wire_mac(network.name, asked.host.name) if network.type.is_provider else router_mac(network.name)
    frame = mac.to_bytes(6, "big") + sender.mac.to_bytes(6, "big") + asked.packet[12:]
    told = error(asked.question, frame, Own(mac, network.gateways, network.cidrs), mtu_of(asked, mac))
    if told is not None:
        yield _into(asked, network, told)


def to_sender(asked: Asked, frame: bytes) -> PacketOut:
    """Return the packet-out that takes a frame where the packet came from."""
    if asked.port is not None:
        return asked.back(frame)
    if asked.register(FROM) == FROM_TUNNEL and asked.network is not None:
        # Another host's: as if it were of this host, it finds its way by its MAC.
        return _into(asked, asked.network, frame)
    external = external_of(asked)
    vlan = external.vlan if external is not None else asked.network.segment if asked.network is not None else None
    return PacketOut(frame, (*tag(vlan), Output(asked.in_port)))


def _into(asked: Asked, network: Network, frame: bytes) -> PacketOut:
    """Return the packet-out that lets a frame find its way in a network of the packet's address space."""
    same = [register.load(asked.register(register)) for register in (SPACE, ZONE)]
    known = [NETWORK.load(key("network", network.name)), *same]
    return PacketOut(frame, (*known, Resubmit(pipeline().tables["forward"].number)))


def tag(vlan: int | None) -> tuple[Action, ...]:
    """Return the actions that give a frame its tag on a physical network."""
    return () if vlan is None else (PushVlan(), set_field("vlan_tci", VLAN_PRESENT | vlan))


def _network(asked: Asked) -> Network | None:
    """Return the network of who sent the packet: a port's own, though the packet may be on its way in another."""
    return asked.network if asked.port is None else asked.topology.networks.get(asked.port.network)


def _as_sent(asked: Asked) -> bytes:
    """Return the packet with the MACs that it had when it came to the router."""
    port, packet = asked.port, asked.packet
    if port is None:
        return packet
    gateway = router_mac(port.network).to_bytes(6, "big")
    # On its way already, it has a MAC of the router's as its source, and may be in another network.
    is_here = asked.register(NETWORK) == key("network", port.network)
    if (
        is_here
        and packet[_TARGET] == gateway
        and int.from_bytes(packet[_SOURCE], "big") not in _ours(asked, port.network)
    ):
        return packet
    return gateway + port.mac.to_bytes(6, "big") + packet[12:]


def _ours(asked: Asked, network: str) -> tuple[int, int]:
    """Return the MACs from which the host sends into a network what is routed."""
    return router_mac(network), wire_mac(network, asked.host.name)


def _floating_by_mac(topology: Topology, mac: int) -> FloatingIp | None:
    """Return the floating IP with a MAC."""
    return next((each for each in topology.floating_ips.values() if outer_mac(each.name) == mac), None)


def _router_by_mac(topology: Topology, external: ExternalNetwork, mac: int) -> Router | None:
    """Return the router with a MAC on an external network: its own, or that of a floating IP of its."""
    for router in topology.routers.values():
        if router.external == external.name and outer_mac(router.name) == mac:
            return router
    floating = (each for each in topology.floating_ips.values() if each.external == external.name)
    owner = next((each.router for each in floating if outer_mac(each.name) == mac), "")
    return topology.routers.get(owner)


_ASKED: Final = (Question.EXPIRED, Question.NO_ROUTE, Question.NO_HOST, Question.NO_SERVICE, Question.TOO_BIG)
ANSWERS: Mapping[Question, Answerer] = dict.fromkeys(_ASKED, answer)
