"""What one host hands another to be routed there: to whom, where the addresses are that it is for, and who may speak so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controller.graph import queries
from controller.memo import Memo, query
from controller.model.entities import Address, Prefix
from controller.model.ids import key
from controller.pipeline.known import Spot, known_addresses
from controller.pipeline.view import NetworkView, claims


def at_host(host: str) -> int:
    """Return what `SCRATCH` holds in a packet that is to be handed to a host."""
    return key("handover", f"host {host}")


def beyond_wire(network: str) -> int:
    """Return what `SCRATCH` holds in a packet for a network that the host is not wired to: a proxy has it, unless a host is found."""
    return key("handover", f"network {network}")


class Placed(NamedTuple):
    """An address of a network, the port that has it, and the one host where all are that may use the MAC of it."""

    address: Address
    owner: str
    host: str


@query
def placed_addresses(memo: Memo, network: str) -> Mapping[Spot, Placed]:
    """Return the addresses of a network that are on one host each, as far as the files and the places of interfaces say."""
    before: Mapping[Spot, Placed] = memo.previous() or {}
    shares = claims(memo, network)
    found = {}
    for spot, known in known_addresses(memo, network).items():
        if known.is_routed:
            claimants = shares[known.mac % len(shares)].get(known.mac, ())
            hosts = {claim.host for claim in claimants}
            if len(hosts) == 1:
                now = Placed(known.address, known.owner, hosts.pop())
                # Nearly all are where they were: the same objects are quick to compare.
                was = before.get(spot)
                found[spot] = was if was is not None and was == now else now
    return found


@query
def place_of(memo: Memo, network: str, address: Address) -> str | None:
    """Return the host where an address of a network is; None if nobody is known to have it, or several hosts may."""
    return next((each.host for each in placed_addresses(memo, network).values() if each.address == address), None)


@query
def hands_over(memo: Memo, host: str, network: str) -> bool:
    """Return whether a host's ports have something to hand over for a network that the host is not wired to."""
    return any(host in queries.hosts_of(memo, source) for source in queries.handing(memo, network))


@query
def takers(memo: Memo, host: str, source: str) -> tuple[str, ...]:
    """Return the hosts to which a host hands what its ports in the network `source` send to networks that it is not wired to."""
    if host not in queries.hosts_of(memo, source):
        return ()
    found: set[str] = set()
    for name in queries.beyond(memo, source):
        if not queries.is_carried(memo, host, name):
            there = (each for each in queries.hosts_of(memo, name) if queries.is_carried(memo, each, source))
            found.update(there, queries.proxies(memo, name, source))
    return tuple(sorted(found))


@query
def takes(memo: Memo, host: str, source: str) -> bool:
    """Return whether a host is handed packets of the network `source`, for a network that others are not wired to."""
    wanted = queries.beyond(memo, source)
    return queries.is_carried(memo, host, source) and any(queries.is_carried(memo, host, name) for name in wanted)


@query
def takes_for(memo: Memo, host: str, network: str) -> bool:
    """Return whether a host that is wired to a network is handed packets for it."""
    return any(takes(memo, host, source) for source in queries.handing(memo, network))


def led_out_by(view: NetworkView) -> tuple[str, ...]:
    """Return the hosts that lead a network's packets out of the fabric as long as they are alive, as its host here sees them."""
    name = queries.router_of(view.memo, view.name)
    gateways = () if name is None else queries.gateways(view.memo, name)
    before = gateways[: gateways.index(view.on.name)] if view.on.name in gateways else gateways
    # On a wire a MAC that is not there would be flooded.
    return tuple(each for each in before if queries.is_carried(view.memo, each, view.name))


def speakers(view: NetworkView) -> list[Prefix] | None:
    """Return the prefixes that a network's own ports send from, where others may send as well; None where it need not be looked at.

    On a wire, and behind a VTEP that is not ours, nobody guards sources: what comes from there speaks for its own network at most.
    """
    memo, members = view.memo, queries.members(view.memo, view.name)
    is_shared = view.network.type.is_provider or not all(queries.is_programmed(memo, where) for _, where in members)
    if not is_shared or not all(port.port_security for port, _ in members):
        return None
    further = [allowed.ip for port, _ in members for allowed in port.allowed]
    behind = [route.to for route in queries.routes_via(memo, view.name)]
    return list(dict.fromkeys([*view.network.cidrs, *further, *behind]))
