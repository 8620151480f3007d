"""Whose addresses are whose: what an address is to rules that name groups and address groups."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import NamedTuple

from controller.graph.queries import (
    address_group,
    attachers,
    group,
    groups_in,
    members,
    networks_of_space,
    placed,
    ports_in,
    space_of,
    spaces_in,
    tenants,
)
from controller.memo import Memo, query
from controller.model.entities import EVERYBODY, AddressGroup, Port, Prefix, SecurityGroup


class Identity(NamedTuple):
    """A prefix that is known to belong to members of these groups."""

    prefix: Prefix
    groups: frozenset[str]


Spot = tuple[int, int, int]  # A prefix as IP version, length and number: quicker to look up than the prefix itself.


_ADDRESSES = "addresses "


def addresses_name(name: str) -> str:
    """Return how an address group is called among the groups that an address belongs to."""
    return _ADDRESSES + name


@query
def groups_used(memo: Memo, tenant: str) -> frozenset[str]:
    """Return the groups that a tenant's ports are in, those of other tenants included."""
    return frozenset(name for groups in {each.groups for each in ports_in(memo, tenant) or ()} for name in groups)


@query
def addresses_asked(memo: Memo, tenant: str) -> frozenset[str]:
    """Return the address groups that some rule of a tenant's ports names."""
    used = (group(memo, name) for name in groups_used(memo, tenant))
    rules = (rule for each in used if each is not None for rule in (*each.ingress, *each.egress))
    return frozenset(name for rule in rules for name in rule.addresses)


@query
def addresses_of_space(memo: Memo, space: str) -> frozenset[str]:
    """Return the address groups that rules of an address space's ports name."""
    users = {tenant for name in networks_of_space(memo, space) for tenant in attachers(memo, name)}
    return frozenset().union(*(addresses_asked(memo, tenant) for tenant in users))


@query
def identities(memo: Memo, space: str) -> Mapping[Spot, Identity]:
    """Return whose addresses are whose in an address space.

    An address that several ports may use (a VRRP address, a subnet of a router VM) belongs to the groups of all of
    them, and so does every address inside a wider prefix: the longest match tells all groups. Address groups are told of likewise.
    """
    claims: dict[Spot, frozenset[str]] = {}
    sets: dict[tuple[str, ...], frozenset[str]] = {}

    def claim(spot: Spot, names: tuple[str, ...]) -> None:
        found = sets.get(names)
        if found is None:
            found = sets[names] = frozenset(names)
        claims[spot] = claims[spot] | found if spot in claims else found

    for name in networks_of_space(memo, space):
        for each, _ in members(memo, name):
            if each.groups:
                for spot in _spots(each):
                    claim(spot, each.groups)
    for name in addresses_of_space(memo, space):
        listed = address_group(memo, name)
        for prefix in () if listed is None else listed.prefixes:
            claim((prefix.version, prefix.prefixlen, int(prefix.network_address)), (addresses_name(name),))
    before: Mapping[Spot, Identity] = memo.previous() or {}
    found = {}
    for spot, groups in _with_wider(claims).items():
        known = before.get(spot)
        same = known is not None and known.groups == groups
        found[spot] = known if known is not None and same else Identity(_prefix(spot), groups)
    return found


@query
def combinations_in(memo: Memo, space: str) -> frozenset[frozenset[str]]:
    """Return every combination of groups that some address of a space belongs to."""
    return frozenset(identity.groups for identity in identities(memo, space).values())


@query
def spaces_of_groups(memo: Memo, tenant: str) -> Mapping[str, frozenset[str]]:
    """Return group -> the address spaces in which a tenant's placed ports are members of it."""
    found: dict[str, set[str]] = {}
    for name, ports in placed(memo, tenant).items():
        space = space_of(memo, name)
        for each, _ in ports:
            for member_of in each.groups:
                found.setdefault(member_of, set()).add(space)
    return {name: frozenset(where) for name, where in found.items()}


@query
def users_asking(memo: Memo, tenant: str, addresses: str) -> frozenset[str]:
    """Return the tenants whose ports may be in a group of this tenant that names an address group."""
    found = (group(memo, name) for name in groups_in(memo, tenant) or ())
    asking = (
        each
        for each in found
        if each is not None and any(addresses in rule.addresses for rule in (*each.ingress, *each.egress))
    )
    return frozenset(user for each in asking for user in _users(memo, each))


@query
def spaces_asking(memo: Memo, tenant: str, addresses: str) -> frozenset[str]:
    """Return the address spaces of a tenant's ports, if rules of these name an address group."""
    if addresses not in addresses_asked(memo, tenant):
        return frozenset()
    return frozenset(space_of(memo, name) for name in placed(memo, tenant))


@query
def combinations_with(memo: Memo, name: str) -> frozenset[frozenset[str]]:
    """Return the combinations that a group, or an address group by its `addresses_name`, is part of."""
    addresses = name.removeprefix(_ADDRESSES)
    shared = group(memo, name) if addresses == name else address_group(memo, addresses)
    spaces: set[str] = set()
    for tenant in () if shared is None else _users(memo, shared):
        if addresses == name:
            spaces |= spaces_of_groups(memo, tenant).get(name, frozenset())
        else:
            # A group that names it may be lent to tenants with whom the address group itself is not shared.
            spaces.update(*(spaces_asking(memo, user, addresses) for user in users_asking(memo, tenant, addresses)))
    return frozenset(each for space in spaces for each in combinations_in(memo, space) if name in each)


def _users(memo: Memo, shared: SecurityGroup | AddressGroup) -> tuple[str, ...]:
    """Return the tenants that may use a group or an address group."""
    return tenants(memo) or () if EVERYBODY in shared.share else (shared.tenant, *shared.share)


@query
def classes_in(memo: Memo, tenant: str) -> frozenset[frozenset[str]]:
    """Return every combination of groups that a port of the tenant, or an address of its spaces, has."""
    own = {frozenset(groups) for groups in {each.groups for each in ports_in(memo, tenant) or ()} if groups}
    spaces = spaces_in(memo, tenant)
    return frozenset(own.union(*(combinations_in(memo, space) for space in spaces)))


_BITS = {4: 32, 6: 128}  # Of an address, by IP version.


def _spots(of: Port) -> list[Spot]:
    """Return all addresses that a port may use: its own, then the further allowed ones."""
    # There are many ports, and most have one address: this is much quicker than to ask an address for its version.
    own = [(4, 32, int(ip)) if isinstance(ip, IPv4Address) else (6, 128, int(ip)) for ip in of.ips]
    if not of.allowed:
        return own
    return [*own, *((each.ip.version, each.ip.prefixlen, int(each.ip.network_address)) for each in of.allowed)]


def _prefix(spot: Spot) -> Prefix:
    version, length, number = spot
    return IPv4Network((number, length)) if version == 4 else IPv6Network((number, length))


def _with_wider(claims: dict[Spot, frozenset[str]]) -> dict[Spot, frozenset[str]]:
    """Return the groups of each prefix with those of the prefixes around it."""
    lengths = sorted({(version, length) for version, length, _ in claims if length < _BITS[version]})
    if not lengths:
        return claims
    found = {}
    for (version, length, number), own in claims.items():
        groups = own
        for its, shorter in lengths:
            if its == version and shorter < length:
                free = _BITS[version] - shorter
                around = claims.get((version, shorter, number >> free << free))
                if around is not None and not around <= groups:
                    groups = groups | around
        found[version, length, number] = groups
    return found
