"""What the files say to a port that asks: its addresses, who routes for it, what it is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import NamedTuple

from controller.model.address import link_local, router_mac
from controller.model.entities import Network, Port, Router
from controller.model.ids import key

_FIRST_LINK_ADDRESS = int(IPv4Address("169.254.1.0"))  # The first 256 are reserved (RFC 3927, section 2.1).
_LINK_BITS = 14


class Interface(NamedTuple):
    """An IPv4 address of a port, its subnet, and the address there that routers have, or would have."""

    address: IPv4Address
    subnet: IPv4Network
    gateway: IPv4Address | None


def interface(network: Network, port: Port) -> Interface | None:
    """Return the first IPv4 address of a port, None if it has none."""
    address = next((each for each in port.ips if isinstance(each, IPv4Address)), None)
    gateways = dict(zip(network.cidrs, network.gateways, strict=False))
    for subnet in network.cidrs:
        if address is not None and isinstance(subnet, IPv4Network) and address in subnet:
            gateway = gateways.get(subnet)
            return Interface(address, subnet, gateway if isinstance(gateway, IPv4Address) else None)
    return None


def addresses_6(port: Port) -> list[IPv6Address]:
    """Return the IPv6 addresses of a port."""
    return [each for each in port.ips if isinstance(each, IPv6Address)]


def dns_4(network: Network) -> list[IPv4Address]:
    """Return the name servers of a network that IPv4 reaches."""
    return [each for each in network.dns if isinstance(each, IPv4Address)]


def dns_6(network: Network) -> list[IPv6Address]:
    """Return the name servers of a network that IPv6 reaches."""
    return [each for each in network.dns if isinstance(each, IPv6Address)]


def speaker(network: Network) -> tuple[int, IPv6Address]:
    """Return the MAC that answers a network's ports, and its link-local address: the router's, whether there is one or not."""
    mac = router_mac(network.name)
    return mac, link_local(mac)


def server(network: Network, mine: Interface | None) -> IPv4Address:
    """Return the address by which a port knows its DHCP server.

    It is the router's, which the port can reach. Where the port has that address itself, or there is none, it is an address of the link,
    which never changes, and is reached by broadcast only.
    """
    if mine is not None and mine.gateway is not None and mine.gateway != mine.address:
        return mine.gateway
    return IPv4Address(_FIRST_LINK_ADDRESS + key("DHCP server", network.name, _LINK_BITS))


def leads_on(network: Network, router: Router | None) -> bool:
    """Return whether a network's gateway leads on: a router of the files, or on a wire one of others'."""
    return router is not None or network.type.is_provider


def routes(
    network: Network, mine: Interface, router: Router | None
) -> Iterator[tuple[IPv4Network, IPv4Address | None]]:
    """Yield what leads where from a port, besides its own subnet: prefix and next hop, None for what is on the link.

    A static route of the router whose next hop is on the network needs no detour by the router. Of those that share what they lead on, the
    router keeps the choice.
    """
    subnets = [each for each in network.cidrs if isinstance(each, IPv4Network)]
    yield from ((each, None) for each in subnets if each != mine.subnet)
    if not leads_on(network, router) or mine.gateway is None:
        return
    static = () if router is None else router.routes
    ways = Counter(route.to for route in static)
    for route in static:
        to, via = route.to, route.via
        if not isinstance(to, IPv4Network) or not isinstance(via, IPv4Address) or not to.prefixlen:
            continue
        if ways[to] == 1 and via != mine.address and any(via in subnet for subnet in subnets):
            yield to, via
    yield IPv4Network("0.0.0.0/0"), mine.gateway


def host_name(port: Port) -> str:
    """Return what a port is called as a host, which the files' names are fit for.

    >>> from tests.builders import port
    >>> host_name(port("red/web1", "red/n")), host_name(port("red/vm:5", "red/n"))
    ('web1', 'vm-5')
    """
    return port.name.partition("/")[2].replace(":", "-")


def labels(name: str) -> bytes:
    r"""Return a domain name as DNS writes it (RFC 1035, section 3.1).

    >>> labels("example.org")
    b'\x07example\x03org\x00'
    """
    parts = [part.encode("idna") for part in name.rstrip(".").split(".")]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
