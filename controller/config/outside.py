"""Who has which address on external networks. The files' word comes first; routers get what is left of the pools, and keep it.

The pools are common to all tenants, so this is done once for all of them. As long as nobody claims what has been given out, only the
routers of tenants whose ways changed are looked at; else all are, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from controller.config.problem import Problems
from controller.config.routers import SECTION
from controller.config.source import Reporter
from controller.config.tenant import Part
from controller.config.ways import NO_WAYS, Ways
from controller.model import ids
from controller.model.entities import Address, ExternalNetwork, Prefix, Router, Topology

# Only so many addresses of a prefix are ever given out: searching a /64 must end.
_MAX_POOL = 1 << 16

_GIVEN = ""

Externals = Mapping[str, ExternalNetwork]


class Outside:
    """The routers of all tenants with their addresses, by tenant, and who has which address: a tenant's router, or a file's word."""

    def __init__(self) -> None:
        self.routers: dict[str, Mapping[str, Router]] = {}
        self._ways: dict[str, Ways] = {}
        self._taken: dict[
            str, dict[Address, str]
        ] = {}  # External network -> address -> tenant, `_GIVEN` where a file says so.

    def copy(self) -> Outside:
        """Return one that may follow without this one."""
        other = Outside()
        other.routers, other._ways = dict(self.routers), dict(self._ways)
        other._taken = {external: dict(taken) for external, taken in self._taken.items()}
        return other

    def follow(self, externals: Externals, parts: Mapping[str, Part]) -> bool:
        """Take these parts in place of those known before, where the pools suffice for them. If False, use it no more.

        The external networks and the tenants must be those known before.
        """
        fresh = {name: part.ways for name, part in parts.items() if self._ways.get(name, NO_WAYS) is not part.ways}
        for tenant in fresh:
            self._release(tenant)
        changed = dict(fresh)
        for ways in fresh.values():
            for external, address in ways.claims:
                owner = self._taken.get(external, {}).get(address)
                if owner is not None and owner != _GIVEN and owner not in changed:
                    changed[owner] = self._ways[owner]  # Its router must go elsewhere.
                    self._release(owner)
        for ways in changed.values():
            if not self._claim(ways):
                return False
        before = {name: router for tenant in changed for name, router in self.routers.get(tenant, {}).items()}
        found = _allocated(externals, _routers(changed.values()), before, self._taken, None)
        if found is None:
            return False
        self._ways |= fresh
        for tenant, ways in changed.items():
            self._settle(tenant, ways, found)
        return True

    def start(
        self, externals: Externals, parts: Mapping[str, Part], previous: Topology | None, problems: Problems
    ) -> None:
        """Give out what all tenants need after a topology, and report what is used up."""
        self._ways = {name: part.ways for name, part in parts.items()}
        for ways in self._ways.values():
            self._claim(ways)
        before = {} if previous is None else previous.routers
        found = _allocated(externals, _routers(self._ways.values()), before, self._taken, _Blame(parts, problems))
        for tenant, ways in self._ways.items():
            self._settle(tenant, ways, found or {})

    def keep(self, known: Outside) -> None:
        """Hold what is as it was in the objects that held it."""
        for tenant, routers in self.routers.items():
            if known._ways.get(tenant) is self._ways[tenant] and known.routers.get(tenant) == routers:
                self.routers[tenant] = known.routers[tenant]

    def _release(self, tenant: str) -> None:
        """Take back what a tenant has."""
        for external, address in self._ways.get(tenant, NO_WAYS).claims:
            self._taken[external].pop(address, None)
        for router in self.routers.get(tenant, {}).values():
            for address in router.addresses:
                self._taken[str(router.external)].pop(address, None)

    def _claim(self, ways: Ways) -> bool:
        """Note what a tenant's file gives; return whether nobody has it."""
        is_free = True
        for external, address in ways.claims:
            taken = self._taken.setdefault(external, {})
            is_free = is_free and address not in taken
            taken[address] = _GIVEN
        return is_free

    def _settle(self, tenant: str, ways: Ways, found: Mapping[str, tuple[Address, ...]]) -> None:
        """Note a tenant's routers with the addresses that they got."""
        self.routers[tenant] = {
            name: replace(router, addresses=found[name]) if name in found else router
            for name, router in ways.routers.items()
        }
        for router in self.routers[tenant].values():
            for address in router.addresses:
                self._taken.setdefault(str(router.external), {}).setdefault(address, tenant)


def settle(
    externals: Externals,
    parts: Mapping[str, Part],
    previous: Topology | None,
    known: Outside | None,
    problems: Problems,
) -> Outside:
    """Return the routers of all tenants with their addresses. `known` is what was returned for the topology `previous`."""
    if known is not None and known.follow(externals, parts):
        return known
    fresh = Outside()
    fresh.start(externals, parts, previous, problems)
    if known is not None:
        fresh.keep(known)
    return fresh


class _Blame:
    """Reports a pool that does not suffice to the last router in the files that it has nothing for."""

    def __init__(self, parts: Mapping[str, Part], problems: Problems) -> None:
        self._parts = parts
        self._reporter = Reporter(problems)

    def report(self, external: ExternalNetwork, cidr: Prefix, waiting: list[Router], kept: Mapping[str, int]) -> None:
        """Report that some of these routers get no address of a prefix; those that kept theirs are not the ones too many."""
        late = next((router for router in reversed(waiting) if router.name not in kept), waiting[-1])
        spot = self._parts[late.tenant].declared.spot(SECTION, late.name.partition("/")[2])
        message = f"the pool of {external.name} has no free address of {cidr} for all of the {len(waiting)} routers"
        self._reporter.report("N043", spot / "external", message, f"the pool is at {external.place}")


def _routers(ways: Iterable[Ways]) -> list[Router]:
    """Return the routers that lead outside."""
    return [router for each in ways for router in each.routers.values() if router.external is not None]


def _allocated(
    externals: Externals,
    routers: list[Router],
    before: Mapping[str, Router],
    taken: Mapping[str, Mapping[Address, str]],
    blame: _Blame | None,
) -> dict[str, tuple[Address, ...]] | None:
    """Return the addresses of routers whose files do not give them all, None if the pools do not suffice and nobody is to be blamed."""
    found: dict[str, dict[Prefix, Address]] = {}
    for external, cidr, waiting in _waiting(externals, routers):
        pool = _Pool(external, cidr, taken.get(external.name, {}))
        kept: dict[str, int] = {}
        for router in waiting:
            old = before.get(router.name)
            if old is None or old.external != external.name:
                continue
            number = next((pool.number(address) for address in old.addresses if address in cidr), None)
            if number is not None and pool.is_free(number):
                kept[router.name] = number
        names = [router.name for router in waiting]
        try:
            numbers = ids.allocate(
                names, pool.size, kind=f"address {external.name} {cidr}", kept=kept, is_free=pool.is_free
            )
        except ids.Exhausted:
            if blame is None:
                return None
            blame.report(external, cidr, waiting, kept)
            continue
        for name, number in numbers.items():
            found.setdefault(name, {})[cidr] = pool.address(number)
    given = {router.name: router for router in routers}
    return {name: _in_order(externals, given[name], own) for name, own in found.items()}


def _waiting(externals: Externals, routers: list[Router]) -> Iterator[tuple[ExternalNetwork, Prefix, list[Router]]]:
    """Yield each prefix in which some routers have no address yet."""
    leading: dict[str, list[Router]] = {}
    for router in routers:
        leading.setdefault(str(router.external), []).append(router)
    for name, members in leading.items():
        external = externals.get(name)
        for cidr in () if external is None else external.cidrs:
            waiting = [each for each in members if not any(address in cidr for address in each.addresses)]
            if waiting and external is not None:
                yield external, cidr, waiting


def _in_order(externals: Externals, router: Router, own: Mapping[Prefix, Address]) -> tuple[Address, ...]:
    """Return a router's addresses in the order of the prefixes, given ones and new ones."""
    found = []
    for cidr in externals[str(router.external)].cidrs:
        given = next((address for address in router.addresses if address in cidr), own.get(cidr))
        if given is not None:
            found.append(given)
    return tuple(found)


class _Pool:
    """The addresses of a pool in one prefix, numbered."""

    def __init__(self, external: ExternalNetwork, cidr: Prefix, taken: Mapping[Address, str]) -> None:
        self._spans = [(int(first), int(last)) for first, last in external.pool if first in cidr]
        self._base = cidr.network_address
        self._taken = taken
        self.size = min(sum(last - first + 1 for first, last in self._spans), _MAX_POOL)

    def number(self, address: Address) -> int | None:
        """Return the number of an address, None if it is not given out here."""
        start, wanted = 0, int(address)
        for first, last in self._spans:
            if first <= wanted <= last:
                number = start + wanted - first
                return number if number < self.size else None
            start += last - first + 1
        return None

    def address(self, number: int) -> Address:
        """Return the address of a number."""
        for first, last in self._spans:
            if number <= last - first:
                return self._base + (first + number - int(self._base))
            number -= last - first + 1
        raise IndexError(number)

    def is_free(self, number: int) -> bool:
        """Whether nobody has the address of a number."""
        return self.address(number) not in self._taken
