"""From the fabric to flows: every feature writes its flows for every host, network, port, MAC, class and address.

    queries of the fabric ─► facts of the hosts ─► what a host consists of ─► parts: the flows of one scope of one thing

A part is computed anew only when something changes that its features looked at (`controller.memo`); a host's programs are the sum
of its parts (`controller.pipeline.programs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controller.graph import queries, ways_out
from controller.graph.identities import Identity, Spot, identities
from controller.memo import Memo, emitting, query
from controller.model.entities import Address, Direction, Port
from controller.pipeline.handed import Placed, hands_over, placed_addresses
from controller.pipeline.heard import heard_on
from controller.pipeline.known import Known, known_addresses
from controller.pipeline.outer import ExternalView, FloatingView, RouterView
from controller.pipeline.plan import pipeline
from controller.pipeline.policy import named_on
from controller.pipeline.program import INTEGRATION, NOTHING, TUNNEL, Builder, Part, join
from controller.pipeline.tables import Bridge, Scope
from controller.pipeline.view import (
    Groups,
    HostView,
    NetworkView,
    PortView,
    classes_on,
    plug,
    share,
    shares,
)

# The features declare queries of their own, and a part may read only what was declared before it: so they are imported here.
_PIPELINE = pipeline()
_MAKERS = {scope: [(each, each.flows[scope]) for each in _PIPELINE.features if scope in each.flows] for scope in Scope}


class _Made(NamedTuple):
    """The flows of one subject of many, which are made again when it is another, and for no other reason."""

    subject: Identity | Known | Placed
    part: Part


# What a host consists of. Nothing here reads a part: parts change without their owners being looked at again.


@query
def host_parts(memo: Memo, host: str) -> None:
    """Require all parts of a host's programs, none where Weft writes no flows."""
    if not queries.is_programmed(memo, host):
        return
    memo.require(host_part, host)
    for network in queries.networks_on(memo, host):
        memo.require(network_parts, host, network)
    for groups in sorted(classes_on(memo, host)):
        memo.require(rules_part, host, groups)
        memo.require(class_part, host, groups)
    for network in queries.unreached_by(memo, host):
        memo.require(unreached_part, host, network)
        if hands_over(memo, host, network):
            memo.require(placed_part, host, network)
    for name in ways_out.routers_on(memo, host):
        memo.require(router_part, host, name)
        for floating in ways_out.floating_of_router(memo, name):
            memo.require(floating_part, host, floating)
    for name in ways_out.externals_on(memo, host):
        memo.require(external_part, host, name)
        for outer in ways_out.outer_of(memo, name):
            memo.require(outer_part, host, name, outer)
    for space in queries.spaces_on(memo, host):
        if queries.router_of_space(space) is not None:
            memo.require(space_part, host, space)
        for direction in Direction:
            for is_stateless in (False, True):
                memo.require(identities_part, host, space, direction, is_stateless)
    memo.require(neighbour_parts, host)


@query
def neighbour_parts(memo: Memo, host: str) -> None:
    """Require the parts of the neighbours that a host is to know."""
    for network, address in heard_on(memo, host):
        memo.require(neighbour_part, host, network, address)


@query
def network_parts(memo: Memo, host: str, network: str) -> None:
    """Require the parts of a network on a host."""
    memo.require(network_part, host, network)
    memo.require(addresses_part, host, network)
    for port in queries.ports_on(memo, host, network):
        memo.require(port_part, host, network, port.name)
    for number in range(shares(memo, network)):
        memo.require(mac_parts, host, network, number)


@query
def mac_parts(memo: Memo, host: str, network: str, number: int) -> None:
    """Require the parts of a share of a network's MACs on a host."""
    for mac in share(memo, network, number):
        memo.require(mac_part, host, network, mac)


# Flows that are alike on every host.


@query
def _rule_flows(memo: Memo, groups: Groups) -> Part:
    return _part(memo, Scope.RULES, groups)


@query
def _class_flows(memo: Memo, groups: Groups) -> Part:
    return _part(memo, Scope.CLASS, groups)


@query
def _address_flows(memo: Memo, network: str) -> Mapping[tuple[str, int], _Made]:
    """Return what the addresses of a network need."""
    return _kept(memo, Scope.ADDRESS, network, known_addresses(memo, network))


@query
def _addresses(memo: Memo, network: str) -> Part:
    return join(made.part for made in _address_flows(memo, network).values())


@query
def _placed_flows(memo: Memo, network: str) -> Mapping[tuple[str, int], _Made]:
    """Return what the places of a network's addresses need."""
    return _kept(memo, Scope.PLACED, network, placed_addresses(memo, network))


@query
def _places(memo: Memo, network: str) -> Part:
    return join(made.part for made in _placed_flows(memo, network).values())


@query
def _identity_flows(
    memo: Memo, space: str, direction: Direction, is_stateless: bool, named: frozenset[str]
) -> Mapping[Spot, _Made]:
    """Return what an address space's identities in these groups need; those that were here before keep what they have."""
    before: Mapping[Spot, _Made] = memo.previous() or {}
    found = {}
    for spot, identity in identities(memo, space).items():
        if not named.isdisjoint(identity.groups):
            known = before.get(spot)
            if known is None or known.subject != identity:
                built = _built(memo, Scope.IDENTITY, space, identity, direction, is_stateless)
                known = _Made(identity, built.part(None))
            found[spot] = known
    return found


@query
def _identities(memo: Memo, space: str, direction: Direction, is_stateless: bool, named: frozenset[str]) -> Part:
    return join(made.part for made in _identity_flows(memo, space, direction, is_stateless, named).values())


# The parts, each with its host first.


@emitting
def host_part(memo: Memo, host: str) -> Part:
    """Return what every host has."""
    view = HostView(memo, host)
    builder = Builder(_PIPELINE, memo)
    _write(builder, Scope.HOST, view)
    builder.write_misses(Bridge.INTEGRATION, INTEGRATION)
    builder.write_misses(Bridge.TUNNEL, TUNNEL)
    for name in queries.physical_networks_of(memo, host):
        builder.write_misses(Bridge.PHYSICAL, name)
    return builder.part(memo.previous())


@emitting
def network_part(memo: Memo, host: str, network: str) -> Part:
    """Return what a network needs on a host."""
    return _part(memo, Scope.NETWORK, NetworkView(HostView(memo, host), network))


@emitting
def port_part(memo: Memo, host: str, network: str, port: str) -> Part:
    """Return what a port needs on its host; nothing until it is plugged in."""
    found, entity = plug(memo, host, port), queries.port(memo, port)
    if found is None or not isinstance(entity, Port):
        return NOTHING
    return _part(memo, Scope.PORT, PortView(NetworkView(HostView(memo, host), network), found, entity))


@emitting
def mac_part(memo: Memo, host: str, network: str, mac: int) -> Part:
    """Return what a MAC of a network needs on a host."""
    return _part(memo, Scope.MAC, NetworkView(HostView(memo, host), network), mac)


@emitting
def neighbour_part(memo: Memo, host: str, network: str, address: Address) -> Part:
    """Return what a neighbour that was heard needs on a host."""
    return _part(memo, Scope.NEIGHBOUR, HostView(memo, host), network, address)


@emitting
def identities_part(memo: Memo, host: str, space: str, direction: Direction, is_stateless: bool) -> Part:
    """Return what tells the owners of an address space's addresses, as far as rules of the host's ports ask for it."""
    named = named_on(memo, host, space, direction, is_stateless)
    return _identities(memo, space, direction, is_stateless, named) if named else NOTHING


@emitting
def rules_part(memo: Memo, _host: str, groups: Groups) -> Part:
    """Return the rules of a class that do not change with who is in which group; the host has such ports."""
    return _rule_flows(memo, groups)


@emitting
def space_part(memo: Memo, host: str, space: str) -> Part:
    """Return what the address space of a router needs on a host."""
    return _part(memo, Scope.SPACE, HostView(memo, host), space)


@emitting
def unreached_part(memo: Memo, host: str, network: str) -> Part:
    """Return what a network of a router needs on a host that cannot reach it."""
    return _part(memo, Scope.UNREACHED, NetworkView(HostView(memo, host), network))


@emitting
def placed_part(memo: Memo, _host: str, network: str) -> Part:
    """Return what the places of a network's addresses need; the host is not wired to the network."""
    return _places(memo, network)


@emitting
def router_part(memo: Memo, host: str, router: str) -> Part:
    """Return what a router that leads out needs on a host that knows it."""
    return _part(memo, Scope.ROUTER, RouterView(HostView(memo, host), router))


@emitting
def floating_part(memo: Memo, host: str, floating: str) -> Part:
    """Return what a floating IP needs on a host that knows its router."""
    return _part(memo, Scope.FLOATING, FloatingView(HostView(memo, host), floating))


@emitting
def external_part(memo: Memo, host: str, external: str) -> Part:
    """Return what an external network needs on a host that leads out to it."""
    return _part(memo, Scope.EXTERNAL, ExternalView(HostView(memo, host), external))


@emitting
def outer_part(memo: Memo, host: str, external: str, outer: ways_out.Outer) -> Part:
    """Return what an address of ours on an external network needs on a host that leads out to it."""
    return _part(memo, Scope.OUTER, ExternalView(HostView(memo, host), external), outer)


@emitting
def class_part(memo: Memo, _host: str, groups: Groups) -> Part:
    """Return what else the ports of a class need."""
    return _class_flows(memo, groups)


@emitting
def addresses_part(memo: Memo, _host: str, network: str) -> Part:
    """Return what the addresses of a network need; the host has the network."""
    return _addresses(memo, network)


def _kept(
    memo: Memo, scope: Scope, network: str, subjects: Mapping[tuple[str, int], Known | Placed]
) -> dict[tuple[str, int], _Made]:
    """Return what each of a network's subjects needs; those that were here before keep what they have."""
    before: Mapping[tuple[str, int], _Made] = memo.previous() or {}
    found = {}
    for spot, subject in subjects.items():
        made = before.get(spot)
        if made is None or made.subject != subject:
            made = _Made(subject, _built(memo, scope, network, subject).part(None))
        found[spot] = made
    return found


def _part(memo: Memo, scope: Scope, *subject: object) -> Part:
    return _built(memo, scope, *subject).part(memo.previous())


def _built(memo: Memo, scope: Scope, *subject: object) -> Builder:
    builder = Builder(_PIPELINE, memo)
    _write(builder, scope, *subject)
    return builder


def _write(builder: Builder, scope: Scope, *subject: object) -> None:
    for feature, make in _MAKERS[scope]:
        builder.feature = feature
        make(builder, *subject)
