"""Who is on which network, where, and which of them a frame can reach: the fabric without routers, from the model alone."""

from __future__ import annotations

from collections.abc import Mapping

from controller.model.entities import Address, HostKind, NetworkType, Port, Topology
from controller.model.ids import key

Heard = Mapping[tuple[str, Address], int]  # Network and address -> MAC.


class Segments:
    """The networks of one topology with their ports.

    `location` says where ports without a `host:` are, `heard` which MACs answered for addresses that the files leave open.
    """

    def __init__(
        self, topology: Topology, location: Mapping[str, str] | None = None, heard: Heard | None = None
    ) -> None:
        self._topology = topology
        self._heard = heard or {}
        self._host = {port.name: _where(topology, port, location or {}) for port in topology.ports.values()}
        self._ports: dict[str, list[Port]] = {name: [] for name in topology.networks}
        self._allowing: dict[str, list[Port]] = {name: [] for name in topology.networks}
        self._by_mac: dict[tuple[str, int], list[Port]] = {}
        self._by_address: dict[tuple[str, Address], Port] = {}
        for port in topology.ports.values():
            self._ports[port.network].append(port)
            if port.allowed:
                self._allowing[port.network].append(port)
            for mac in dict.fromkeys([port.mac, *(a.mac for a in port.allowed if a.mac is not None)]):
                self._by_mac.setdefault((port.network, mac), []).append(port)
            self._by_address.update(dict.fromkeys(((port.network, address) for address in port.ips), port))

    def host(self, port: Port) -> str | None:
        """Return where a port is; None if nobody knows."""
        return self._host[port.name]

    def is_programmed(self, port: Port) -> bool:
        """Return whether the port is on a host that Weft programs."""
        host = self._host[port.name]
        return host is None or self._topology.hosts[host].kind is HostKind.OVS

    def ports(self, network: str) -> list[Port]:
        """Return the ports of a network."""
        return self._ports[network]

    def with_mac(self, network: str, mac: int) -> list[Port]:
        """Return the ports that may use a MAC."""
        return self._by_mac.get((network, mac), [])

    def with_address(self, network: str, address: Address) -> Port | None:
        """Return the port whose own address this is."""
        return self._by_address.get((network, address))

    def claimants(self, network: str, address: Address) -> list[Port]:
        """Return the ports that are allowed to use an address beside their own ones."""
        return [
            port
            for port in self._allowing[network]
            if any(a.ip.version == address.version and address in a.ip for a in port.allowed)
        ]

    def owner(self, network: str, address: Address) -> Port | None:
        """Return a port that may use the address, rather the one whose own it is."""
        return self.with_address(network, address) or next(iter(self.claimants(network, address)), None)

    def neighbour(self, network: str, address: Address) -> int | None:
        """Return the MAC to which a router sends what is for an address; None if nobody knows just one.

        Those whose own address it is and those that are allowed exactly this address must all name the same. Within a prefix that a
        port may use the files say nothing: who has an address there, and what others have, was heard on the network or is unknown.
        """
        found = self._macs(network, address)
        return found.pop() if len(found) == 1 else self._heard.get((network, address))

    def heard(self, network: str, address: Address) -> int | None:
        """Return the MAC that answered for an address of a network, which may be an external one."""
        return self._heard.get((network, address))

    def _macs(self, network: str, address: Address) -> set[int]:
        """Return the MACs that the files name for an address; none if somebody may use a prefix around it."""
        own = self.with_address(network, address)
        found = set() if own is None else {own.mac}
        for port in self.claimants(network, address):
            for allowed in port.allowed:
                if allowed.ip.version == address.version and address in allowed.ip:
                    if allowed.ip.prefixlen < allowed.ip.max_prefixlen:
                        return set()
                    found.add(port.mac if allowed.mac is None else allowed.mac)
        return found

    def no_path(self, source: Port, target: Port) -> str | None:
        """Return why no frame for the target's network, sent where the source is, reaches the target; or None."""
        return self.no_path_from(self._host[source.name], source, target)

    def no_path_from(self, here: str | None, source: Port, target: Port) -> str | None:
        """Return why no frame of a source reaches the target if a host sends it into the target's network; or None."""
        if source is target:
            return None
        network = self._topology.networks[target.network]
        there = self._host[target.name]
        if network.type is NetworkType.LOCAL and (here is None or here != there):
            return f"{network.name} is local to a host, {source.name} is on {here or 'none'}, {target.name} on {there}"
        if network.physical_network is not None and here != there:
            wired = self._topology.physical_networks[network.physical_network].hosts
            for port, host in ((source, here), (target, there)):
                if host is not None and host not in wired:
                    return f"{host} with {port.name} is not wired to {network.physical_network}"
        return None

    def router_host(self, source: Port, network: str, mac: int) -> tuple[str | None, str | None]:
        """Return the host that routes what a port sends to a MAC of another network, and why there is none; None if either is unknown.

        It is the port's own host, if that is wired to the network. If not, it is the one host of all ports that may use the MAC, or else
        a proxy: of the hosts that are wired the gateways come before the others, in an order that follows from their names.
        """
        here, physical = self._host[source.name], self._topology.networks[network].physical_network
        wired = () if physical is None else self._topology.physical_networks[physical].hosts
        if here is None or physical is None or here in wired:
            return here, None
        places = {self._host[port.name] for port in self.with_mac(network, mac)}
        takers = [name for name in (places if len(places) == 1 else wired) if name is not None]
        takers = [name for name in takers if name in wired and self.reaches(source, name)]

        def order(name: str) -> tuple[bool, int, str]:
            return not self._topology.hosts[name].gateway, key("proxy", f"{network} {name}"), name

        if not takers:
            where = f"{here} with {source.name} is not wired to {physical}"
            return None, f"{where}, and {source.network} reaches no host that is and could route for it"
        return min(takers, key=order), None

    def reaches(self, port: Port, host: str) -> bool:
        """Return whether frames of the port's network travel between the port and another host."""
        network, here = self._topology.networks[port.network], self._host[port.name]
        if here == host:
            return True
        if network.type is NetworkType.LOCAL:
            return False
        if network.physical_network is None:
            return True
        wired = self._topology.physical_networks[network.physical_network].hosts
        return host in wired and (here is None or here in wired)


def _where(topology: Topology, port: Port, location: Mapping[str, str]) -> str | None:
    """Return the host of a port; a subport is where its parent is."""
    found = port.host or location.get(port.name)
    if found is None and port.parent is not None:
        return _where(topology, topology.ports[port.parent], location)
    return found
