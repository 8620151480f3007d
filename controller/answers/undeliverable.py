"""Packets that a router cannot pass on, and those for itself that nothing listens to: what their senders are told, and by which way.

The router speaks as the sender sees it: by the MAC and the address that it has on the sender's network. What is for a port of the host
goes there past all tables, as it is about a packet that policy has let out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from controller.answers.asked import Answerer, Asked, PacketOut
from controller.answers.icmp import Own, error
from controller.model.address import outer_mac, router_mac
from controller.model.entities import Address, ExternalNetwork, Network, Port, Router, Topology
from controller.model.ids import key
from controller.pipeline.fields import ETH_IPV4, VLAN_PRESENT
from controller.pipeline.flow import Action, Output, PushVlan, Resubmit, set_field
from controller.pipeline.plan import pipeline
from controller.pipeline.questions import Question
from controller.pipeline.registers import FROM, FROM_TUNNEL, NETWORK, SPACE

_MAC = slice(0, 6)  # Of a frame, where it goes to,
_FROM_MAC = slice(6, 12)  # and where it comes from.
_KIND = slice(12, 14)


def answer(asked: Asked) -> Iterable[PacketOut]:
    """Yield what tells the sender of a packet what became of it."""
    frame = _as_sent(asked)
    own = own_at(asked, frame)
    mtu = way_mtu(asked.topology, router_of(asked), _target(frame)) if asked.question is Question.TOO_BIG else 0
    told = None if own is None else error(asked.question, frame, own, mtu or 0)
    if told is not None:
        yield to_sender(asked, told)


def external_of(asked: Asked) -> ExternalNetwork | None:
    """Return the external network that the packet is in, None where it is in none."""
    number = asked.register(NETWORK)
    return next(
        (each for each in asked.topology.external_networks.values() if key("network", each.name) == number), None
    )


def router_of(asked: Asked) -> Router | None:
    """Return the router that the packet is at: its network's, or that of its address space."""
    if asked.router is not None:
        return asked.router
    number, routers = asked.register(SPACE), asked.topology.routers.values()
    return next((each for each in routers if key("space", space_name(each)) == number), None)


def space_name(router: Router) -> str:
    """Return the name of the address space that a router makes.

    >>> import types; space_name(types.SimpleNamespace(name="red/main"))
    'red/@main'
    """
    return router.name.replace("/", "/@")


def own_at(asked: Asked, frame: bytes) -> Own | None:
    """Return the router as who sent a frame to it sees it; None where no router of the files is."""
    mac = int.from_bytes(frame[_MAC], "big")
    network = _network(asked)
    if network is not None:
        return Own(mac, network.gateways, network.cidrs)
    external = external_of(asked)
    if external is None:
        return None
    router = _router_by_mac(asked.topology, external, mac)
    return None if router is None else Own(mac, router.addresses, external.cidrs)


def to_sender(asked: Asked, frame: bytes) -> PacketOut:
    """Return the packet-out that takes a frame where the packet came from."""
    if asked.port is not None:
        return asked.back(frame)
    if asked.register(FROM) == FROM_TUNNEL and asked.network is not None:
        # Another host's: as if it were of this host, it finds its way by its MAC.
        known = [NETWORK.load(key("network", asked.network.name)), SPACE.load(asked.register(SPACE))]
        return PacketOut(frame, (*known, Resubmit(pipeline().tables["forward"].number)))
    external = external_of(asked)
    vlan = external.vlan if external is not None else asked.network.segment if asked.network is not None else None
    return PacketOut(frame, (*tag(vlan), Output(asked.in_port)))


def tag(vlan: int | None) -> tuple[Action, ...]:
    """Return the actions that give a frame its tag on a physical network."""
    return () if vlan is None else (PushVlan(), set_field("vlan_tci", VLAN_PRESENT | vlan))


def way_mtu(topology: Topology, router: Router | None, target: Address | None) -> int | None:
    """Return the MTU of the network by which a router passes on what is for an address; None where it has no way."""
    if router is None or target is None:
        return None
    floating = topology.floating_ips.values()
    inner = next((each.fixed for each in floating if each.address == target and each.router == router.name), target)
    direct = _direct_mtu(topology, router, inner)
    if direct is not None:
        return direct
    routes = [each for each in router.routes if each.to.version == inner.version and inner in each.to]
    if routes:
        return _direct_mtu(topology, router, max(routes, key=lambda each: each.to.prefixlen).via)
    external = topology.external_networks.get(router.external or "")
    return None if external is None else external.mtu


def _direct_mtu(topology: Topology, router: Router, address: Address) -> int | None:
    """Return the MTU of the network of a router that has an address, None if none has it."""
    external = topology.external_networks.get(router.external or "")
    networks = (topology.networks.get(name) for name in router.networks)
    around = (each for each in (*networks, external) if each is not None)
    return next((each.mtu for each in around if any(address in cidr for cidr in each.cidrs)), None)


def _network(asked: Asked) -> Network | None:
    """Return the network of who sent the packet: a port's own, though the packet may be on its way in another."""
    return asked.network if asked.port is None else asked.topology.networks.get(asked.port.network)


def _as_sent(asked: Asked) -> bytes:
    """Return the packet with the MACs that it had when it came to the router."""
    port, packet = asked.port, asked.packet
    if port is None:
        return packet
    gateway = router_mac(port.network).to_bytes(6, "big")
    return packet if packet[_MAC] == gateway else gateway + _mac_of(port) + packet[12:]


def _mac_of(port: Port) -> bytes:
    return port.mac.to_bytes(6, "big")


def _router_by_mac(topology: Topology, external: ExternalNetwork, mac: int) -> Router | None:
    """Return the router with a MAC on an external network: its own, or that of a floating IP of its."""
    for router in topology.routers.values():
        if router.external == external.name and outer_mac(router.name) == mac:
            return router
    floating = (each for each in topology.floating_ips.values() if each.external == external.name)
    owner = next((each.router for each in floating if outer_mac(each.name) == mac), "")
    return topology.routers.get(owner)


def _target(frame: bytes) -> Address | None:
    if int.from_bytes(frame[_KIND], "big") == ETH_IPV4:
        return IPv4Address(frame[30:34]) if len(frame) >= 34 else None
    return IPv6Address(frame[38:54]) if len(frame) >= 54 else None


_ASKED: Final = (Question.EXPIRED, Question.NO_ROUTE, Question.NO_HOST, Question.NO_SERVICE, Question.TOO_BIG)
ANSWERS: Mapping[Question, Answerer] = dict.fromkeys(_ASKED, answer)
