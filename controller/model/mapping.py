"""A mapping made of one part per tenant, so that what changes for one tenant is exchanged without touching the others."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from itertools import chain
from typing import TypeVar

Entity = TypeVar("Entity")


class ByTenant(Mapping[str, Entity]):
    """Entities by qualified name (`red/web1`), in the order of the tenants and then of each tenant's file.

    It holds the parts that it is given, which nobody may change afterwards: a part that two topologies share is one object, which
    makes them quick to compare. Every name in a part begins with its tenant's.

    >>> ports = ByTenant({"red": {"red/a": 1, "red/b": 2}, "blue": {"blue/a": 3}})
    >>> list(ports), ports["blue/a"], len(ports)
    (['red/a', 'red/b', 'blue/a'], 3, 3)
    """

    __slots__ = ("_length", "parts")

    def __init__(self, parts: Mapping[str, Mapping[str, Entity]]) -> None:
        self.parts = dict(parts)
        self._length = sum(map(len, self.parts.values()))

    def part(self, tenant: str) -> Mapping[str, Entity]:
        """Return the tenant's entities by qualified name: the very mapping that was given, an empty one for a stranger."""
        found = self.parts.get(tenant)
        return {} if found is None else found

    def differing(self, other: ByTenant[Entity]) -> set[str]:
        """Return the tenants whose parts are not one object in both; what else they hold is equal, places included."""
        mine, theirs = self.parts, other.parts
        changed = {tenant for tenant, part in mine.items() if theirs.get(tenant) is not part}
        return changed | (theirs.keys() - mine.keys())

    def __getitem__(self, name: str) -> Entity:
        # A KeyError names what was asked for, as a dictionary's would.
        part = self.parts.get(name.partition("/")[0])
        if part is None:
            raise KeyError(name)
        return part[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.parts.get(name.partition("/")[0], ())

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.parts.values())

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ByTenant):
            return Mapping.__eq__(self, other)
        # Dictionaries compare their values by identity first, so parts that are shared cost nothing.
        return self.parts == other.parts or self._filled() == other._filled()

    def items(self) -> ItemsView[str, Entity]:
        """Return names and entities, part by part."""
        return _Items(self)

    def values(self) -> ValuesView[Entity]:
        """Return the entities, part by part."""
        return _Values(self)

    def __repr__(self) -> str:
        return f"ByTenant({self.parts!r})"

    def _filled(self) -> dict[str, Mapping[str, Entity]]:
        """Return the parts that hold something: a tenant who has nothing is like one who is not there."""
        return {tenant: part for tenant, part in self.parts.items() if part}


class _Items(ItemsView[str, Entity]):
    """Names and entities without a look-up for each."""

    __slots__ = ()
    _mapping: ByTenant[Entity]

    def __iter__(self) -> Iterator[tuple[str, Entity]]:
        return chain.from_iterable(part.items() for part in self._mapping.parts.values())


class _Values(ValuesView[Entity]):
    """Entities without a look-up for each."""

    __slots__ = ()
    _mapping: ByTenant[Entity]

    def __iter__(self) -> Iterator[Entity]:
        return chain.from_iterable(part.values() for part in self._mapping.parts.values())
