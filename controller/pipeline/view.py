"""What the features read: one host's share of the fabric, with keys and numbers resolved.

A view holds names; what it is asked for, it asks the memo for, so that a flow depends on what its feature looked at and on nothing
else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

from controller.graph import queries
from controller.memo import Input, Memo, query
from controller.model.entities import Host, Network, NetworkType, Port
from controller.model.ids import key
from controller.model.names import PATCH_TO_TUNNEL, interface_name, liveness_port, patch_to_physical
from controller.pipeline.fields import VLAN_PRESENT
from controller.pipeline.flow import Origin
from controller.pipeline.numbers import tag, zone
from controller.pipeline.registers import NO_CLASS, target_of

# The OpenFlow number of an interface: (host, bridge, interface) -> number, None while it is absent.
number_of: Input[int | None] = Input("OpenFlow number")

Groups = tuple[str, ...]  # In name order, then further ethertypes.

_ETHERTYPE = "ethertype "  # Begins a name of a class that is no group's: groups have no spaces in their names.

_SHARE = 64  # MACs in a share of a network's claims, about.


def class_name(groups: Iterable[str]) -> str:
    """Return the name of a combination of groups."""
    return ",".join(sorted(groups))


def class_key(groups: Iterable[str]) -> int:
    """Return the key of a combination of groups; ports without any group have a class as well."""
    return key("class", class_name(groups))


def policy_groups(port: Port) -> Groups:
    """Return what makes the class of a port: its groups, and the further ethertypes that it may send and get."""
    return (*sorted(port.groups), *(f"{_ETHERTYPE}{number:#06x}" for number in port.ethertypes))


def ethertypes_of(names: Groups) -> list[int]:
    """Return the further ethertypes of a class."""
    return [int(name.removeprefix(_ETHERTYPE), 16) for name in names if name.startswith(_ETHERTYPE)]


def policy_class(port: Port) -> int:
    """Return the class that a port's packets are judged by: none where port security is off."""
    return class_key(policy_groups(port)) if port.port_security else NO_CLASS


class Claim(NamedTuple):
    """A port that may use a MAC, and where it is."""

    port: str
    host: str


class Plug(NamedTuple):
    """A port that is plugged in: its OpenFlow number, its key and its class. A port without port security is open.

    A subport has the number of its parent, and the tag `vlan`; any other port has tag 0.
    """

    port: str
    number: int
    key: int
    class_key: int
    is_open: bool
    vlan: int = 0

    @property
    def target(self) -> int:
        """What `TARGET` holds in a packet for the port."""
        return target_of(self.number, self.vlan)


@query
def claims(memo: Memo, network: str) -> tuple[Mapping[int, tuple[Claim, ...]], ...]:
    """Return MAC -> the placed ports of a network that may use it, in one share or, if they are many, several.

    Who looks at a share does not look again when another one changes. A MAC is in the share of its remainder.
    """
    known: dict[int, tuple[Claim, ...]] = {}
    for before in memo.previous() or ():
        known.update(before)
    found: dict[int, tuple[Claim, ...]] = {}
    several: dict[int, list[Claim]] = {}
    for port, host in queries.members(memo, network):
        for mac in macs_of(port) if port.allowed else (port.mac,):
            if mac in found:
                several.setdefault(mac, [*found[mac]]).append(Claim(port.name, host))
            else:
                # Nearly all claims are what they were: the same objects are quick to have, and to compare.
                was = known.get(mac, ())
                found[mac] = was if was == ((port.name, host),) else (Claim(port.name, host),)
    found.update((mac, tuple(claimants)) for mac, claimants in several.items())
    shares: list[dict[int, tuple[Claim, ...]]] = [{} for _ in range(max(1, len(found) // _SHARE))]
    count = len(shares)
    for mac, claimants in found.items():
        shares[mac % count][mac] = claimants
    return tuple(shares)


@query
def shares(memo: Memo, network: str) -> int:
    """Return how many shares the claims to a network's MACs have."""
    return len(claims(memo, network))


@query
def share(memo: Memo, network: str, number: int) -> Mapping[int, tuple[Claim, ...]]:
    """Return one share of the claims to a network's MACs."""
    all_shares = claims(memo, network)
    return all_shares[number] if number < len(all_shares) else {}


@query
def claimants(memo: Memo, network: str, mac: int) -> tuple[Claim, ...]:
    """Return the placed ports of a network that may use a MAC."""
    return share(memo, network, mac % shares(memo, network)).get(mac, ())


@query
def open_hosts(memo: Memo, network: str) -> tuple[str, ...]:
    """Return the hosts with a port of the network that may use any MAC."""
    return tuple(sorted({host for port, host in queries.members(memo, network) if not port.port_security}))


@query
def plug(memo: Memo, host: str, port: str) -> Plug | None:
    """Return how a port is plugged in on a host, None where it is not."""
    owner, entity = queries.host(memo, host), queries.port(memo, port)
    if owner is None or entity is None:
        return None
    number = number_of(memo, host, owner.integration_bridge, interface_name(port))
    if number is None:
        return None
    return Plug(port, number, key("port", port), policy_class(entity), not entity.port_security, entity.vlan or 0)


@query
def plugs(memo: Memo, host: str, network: str) -> tuple[Plug, ...]:
    """Return the ports of a network that are plugged in on a host."""
    found = (plug(memo, host, port.name) for port in queries.ports_on(memo, host, network))
    return tuple(each for each in found if each is not None)


@query
def listens(memo: Memo, host: str, network: str) -> bool:
    """Whether an open port of the network is plugged in on the host: it gets what nobody is known for."""
    return any(each.is_open for each in plugs(memo, host, network))


@query
def classes_at(memo: Memo, host: str, network: str) -> frozenset[Groups]:
    """Return the combinations of groups of a network's ports that are plugged in on a host, under policy."""
    here = {each.port for each in plugs(memo, host, network) if not each.is_open}
    ports = queries.ports_on(memo, host, network)
    return frozenset(policy_groups(port) for port in ports if port.name in here)


@query
def classes_of_space(memo: Memo, host: str, space: str) -> frozenset[Groups]:
    """Return the combinations of groups of a host's ports under policy in one address space."""
    return frozenset().union(*(classes_at(memo, host, name) for name in queries.networks_of_space(memo, space)))


@query
def classes_everywhere(memo: Memo, space: str) -> frozenset[Groups]:
    """Return the combinations of groups of all placed ports under policy in one address space, on whatever host."""
    here = (each for name in queries.networks_of_space(memo, space) for each, _ in queries.members(memo, name))
    return frozenset(tuple(sorted(groups)) for groups in {each.groups for each in here if each.port_security})


@query
def classes_on(memo: Memo, host: str) -> frozenset[Groups]:
    """Return the combinations of groups of a host's ports under policy."""
    return frozenset().union(*(classes_of_space(memo, host, space) for space in queries.spaces_on(memo, host)))


@query
def way_out(memo: Memo, host: str, network: str) -> tuple[int, int] | None:
    """Return the patch port of br-int and the tag (0 for none) that lead out of the host, or None where there is no way."""
    return NetworkView(HostView(memo, host), network).way_out()


def macs_of(port: Port) -> list[int]:
    """Return the MACs that a port may use, its own first, each once."""
    return list(dict.fromkeys([port.mac, *(allowed.mac for allowed in port.allowed if allowed.mac is not None)]))


class HostView:
    """A host that is programmed."""

    __slots__ = ("memo", "name")

    def __init__(self, memo: Memo, name: str) -> None:
        self.memo = memo
        self.name = name

    @property
    def host(self) -> Host:
        """The host as the files describe it."""
        return cast(Host, queries.host(self.memo, self.name))

    def number(self, bridge: str, interface: str) -> int | None:
        """Return the OpenFlow number of an interface, or None while it is absent."""
        return number_of(self.memo, self.name, bridge, interface)

    def liveness(self, other: str) -> int | None:
        """Return the number of the port that tells whether another host is alive, None while it is absent."""
        return self.number(self.host.integration_bridge, liveness_port(other))

    def heard(self) -> list[int]:
        """Return the numbers of the ports that tell whether other hosts are alive, in the hosts' order."""
        others = (name for name in queries.hosts(self.memo) or () if name != self.name)
        return [number for number in map(self.liveness, others) if number is not None]


class NetworkView:
    """A network on a host."""

    __slots__ = ("_network", "memo", "name", "on")

    def __init__(self, on: HostView, name: str) -> None:
        self.on = on
        self.memo = on.memo
        self.name = name
        self._network: Network | None = None

    @property
    def network(self) -> Network:
        """The network as the files describe it."""
        if self._network is None:
            self._network = queries.network(self.memo, self.name)
        return cast(Network, self._network)

    @property
    def key(self) -> int:
        """The network's key, as `NETWORK` holds it."""
        return key("network", self.name)

    @property
    def space(self) -> str:
        """The name of its address space."""
        return queries.space_of(self.memo, self.name)

    @property
    def space_key(self) -> int:
        """The key of its address space, as `SPACE` holds it."""
        return key("space", self.space)

    @property
    def zone(self) -> int:
        """The conntrack zone of its address space here."""
        return zone(self.memo, self.on.name, self.name)

    @property
    def connections(self) -> int | None:
        """How many connections its address space may have here; None is no limit."""
        return queries.connections(self.memo, self.network.tenant)

    @property
    def tag(self) -> int:
        """The local VLAN tag of a tunnel network here."""
        return tag(self.memo, self.on.name, self.name)

    @property
    def plugs(self) -> tuple[Plug, ...]:
        """Its ports that are plugged in here."""
        return plugs(self.memo, self.on.name, self.name)

    @property
    def listens(self) -> bool:
        """Whether an open port of it is plugged in here."""
        return listens(self.memo, self.on.name, self.name)

    @property
    def peers(self) -> list[Host]:
        """The other hosts that have it."""
        return self.hosts(queries.peers(self.memo, self.on.name, self.name))

    @property
    def partners(self) -> list[Host]:
        """The other hosts that may send packets of it here."""
        return self.hosts(queries.partners(self.memo, self.on.name, self.name))

    def hosts(self, names: Iterable[str]) -> list[Host]:
        """Return hosts by name."""
        return [cast(Host, queries.host(self.memo, name)) for name in names]

    def claimants(self, mac: int) -> tuple[Claim, ...]:
        """Return the ports that may use a MAC."""
        return claimants(self.memo, self.name, mac)

    def plugged(self, found: Iterable[Claim]) -> list[Plug]:
        """Return those of these ports that are plugged in here."""
        here = (plug(self.memo, self.on.name, claim.port) for claim in found if claim.host == self.on.name)
        return [each for each in here if each is not None]

    @property
    def leaves(self) -> bool:
        """Whether a packet of the network can leave the host."""
        return way_out(self.memo, self.on.name, self.name) is not None

    def way_out(self) -> tuple[int, int] | None:
        """Return the patch port and the tag (0 for none) that lead out of the host, or None where there is no way."""
        network, bridge = self.network, self.on.host.integration_bridge
        if network.type.is_tunnel:
            number = self.on.number(bridge, PATCH_TO_TUNNEL)
            has_peers = bool(queries.partners(self.memo, self.on.name, self.name))
            return (number, VLAN_PRESENT | self.tag) if has_peers and number is not None else None
        if network.physical_network is None:
            return None
        number = self.on.number(bridge, patch_to_physical(network.physical_network))
        tagged = VLAN_PRESENT | (network.segment or 0) if network.type is NetworkType.VLAN else 0
        return None if number is None else (number, tagged)

    @property
    def origin(self) -> Origin:
        """The origin of what the network needs."""
        return Origin(f"network {self.name}", self.network.place)


class PortView:
    """A port that is plugged in on a host."""

    __slots__ = ("network", "plug", "port")

    def __init__(self, network: NetworkView, found: Plug, port: Port) -> None:
        self.network = network
        self.plug = found
        self.port = port

    @property
    def origin(self) -> Origin:
        """The origin of what the port needs."""
        return Origin(f"port {self.port.name}", self.port.place)
