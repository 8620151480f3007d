"""What tenants let others use: groups and address groups. The owner shares, the other names, and it takes both.

A tenant's part is made of its own file and of what it was told of others' groups. Each answer is kept with the part, so that the part
is made anew when an answer becomes another one, and not whenever an owner's file changes. That it costs what it must is why groups
are asked for here, one by one, while networks, whose addresses are given out together, join their users' parts into one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from controller.config.declared import Declared
from controller.config.fabric import Fabric
from controller.config.schema import TenantFile
from controller.config.source import Reporter, Spot
from controller.model.entities import EVERYBODY, Place

GROUPS = "security_groups"
ADDRESS_GROUPS = "address_groups"
_ANY = "any"  # How the files write that all tenants are meant.

Answer = TypeVar("Answer")


class Standing(StrEnum):
    """What may be said to a tenant of another's group."""

    SHARED = "shared"
    WITHHELD = "withheld"  # Not shared, or not there: which of the two is the owner's business.
    HIDDEN = "hidden"  # The owner's file, or the entry, was refused: nobody is blamed for naming it.
    STRANGER = "stranger"  # There is no such tenant.


@dataclass(frozen=True, slots=True)
class Thing:
    """A group or address group by the section that it stands in, its owner and its name."""

    section: str
    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


class Others:
    """All tenants' files, to ask what one tenant may know of another's."""

    def __init__(self, fabric: Fabric, tenants: Mapping[str, Declared[TenantFile]]) -> None:
        self._fabric = fabric
        self._tenants = tenants

    def hides(self, section: str, owner: str, name: str) -> bool:
        """Whether nothing can be said of a missing entry, because it, or its tenant, was refused."""
        declared = self._tenants.get(owner)
        return self._fabric.declared.hides("tenants", owner) if declared is None else declared.hides(section, name)

    def standing(self, tenant: str, thing: Thing) -> Standing:
        """Return whether the tenant may use the thing."""
        declared = self._tenants.get(thing.owner)
        if declared is None and not self._fabric.knows("tenants", thing.owner):
            return Standing.STRANGER
        entry = getattr(declared.content, thing.section).get(thing.name) if declared else None
        if entry is not None and (tenant in entry.share or _ANY in entry.share):
            return Standing.SHARED
        return Standing.HIDDEN if self.hides(thing.section, thing.owner, thing.name) else Standing.WITHHELD

    def is_stateless(self, _tenant: str, thing: Thing) -> bool:
        """Whether a group that is shared tracks no connections."""
        return self._tenants[thing.owner].content.security_groups[thing.name].stateless

    def place(self, _tenant: str, thing: Thing) -> Place:
        """Return where a thing that is shared stands."""
        return self._tenants[thing.owner].place(thing.section, thing.name)


Question = Callable[[Others, str, Thing], Any]
Told = Mapping[tuple[Question, Thing], object]


class Loan:
    """What one tenant is told of others' groups while its part is made."""

    def __init__(self, tenant: str, others: Others) -> None:
        self._tenant = tenant
        self._others = others
        self.told: dict[tuple[Question, Thing], object] = {}

    def standing(self, thing: Thing) -> Standing:
        """Return whether the tenant may use the thing."""
        return self._ask(Others.standing, thing)

    def is_stateless(self, thing: Thing) -> bool:
        """Whether a group that is shared tracks no connections."""
        return self._ask(Others.is_stateless, thing)

    def place(self, thing: Thing) -> Place:
        """Return where a thing that is shared stands."""
        return self._ask(Others.place, thing)

    def _ask(self, question: Callable[[Others, str, Thing], Answer], thing: Thing) -> Answer:
        answer = question(self._others, self._tenant, thing)
        self.told[question, thing] = answer
        return answer


def lenders(told: Told) -> frozenset[str]:
    """Return the tenants of whose things something was told."""
    return frozenset(thing.owner for _, thing in told)


def still_holds(told: Told, tenant: str, others: Others) -> bool:
    """Whether a tenant would be told the same now. What is shared is asked first: nothing else may be known of what is not."""
    standings = ((thing, answer) for (question, thing), answer in told.items() if question is Others.standing)
    if any(others.standing(tenant, thing) is not answer for thing, answer in standings):
        return False
    return all(question(others, tenant, thing) == answer for (question, thing), answer in told.items())


def in_model(share: Iterable[str]) -> tuple[str, ...]:
    """Return who shares in a group, as the model writes it."""
    names = sorted(set(share))
    return (EVERYBODY,) if _ANY in names else tuple(names)


def check_share(
    fabric: Fabric, tenant: str, spot: Spot, share: Iterable[str], reporter: Reporter, *, takes_any: bool = True
) -> None:
    """Report names in a `share` that are no other tenants."""
    for number, other in enumerate(share):
        if takes_any and other == _ANY:
            continue
        if other == tenant:
            reporter.report("N026", spot / number, "a tenant need not share with itself")
        elif not fabric.knows("tenants", other):
            reporter.unknown("tenant", spot / number, other, fabric.tenants, fabric.declared.spot("tenants"))
