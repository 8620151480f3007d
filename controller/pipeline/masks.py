"""The fabric's budget of masks: the rules of all tenants may make so many, and a topology that needs more is refused."""

from __future__ import annotations

from controller.graph import identities, queries
from controller.memo import Input, Memo, query
from controller.model.entities import DEFAULT_MASKS, Direction, SecurityGroup
from controller.pipeline.costs import Shape, count, shapes
from controller.pipeline.flow import Origin, Uncompilable

mask_limit: Input[int | None] = Input("masks of a fabric")


class TooManyMasks(Uncompilable):
    """The rules of all tenants need more masks than the fabric's operator allows."""


@query
def _shapes_of_class(memo: Memo, names: tuple[str, ...]) -> frozenset[Shape]:
    members = [group for name in names if (group := queries.group(memo, name)) is not None]
    return frozenset().union(*(shapes(members, direction) for direction in Direction))


@query
def _shapes_of_tenant(memo: Memo, tenant: str) -> frozenset[Shape]:
    classes = identities.classes_in(memo, tenant)
    return frozenset().union(*(_shapes_of_class(memo, tuple(sorted(names))) for names in classes))


@query
def check_masks(memo: Memo) -> None:
    """Raise TooManyMasks if the rules of all tenants need more masks than the fabric has."""
    limit = mask_limit(memo)
    most = DEFAULT_MASKS if limit is None else limit
    held: set[Shape] = set()
    for tenant in queries.tenants(memo) or ():
        before = count(held)
        held |= _shapes_of_tenant(memo, tenant)
        if count(held) > most:
            group = _widest(memo, tenant)
            where = (
                Origin(f"group {group.name}", group.place) if group is not None else Origin(f"tenant {tenant}", None)
            )
            raise TooManyMasks(
                f"{where}: the rules of {tenant} add {count(held) - before:,} masks to those of other tenants, and all need "
                f"{count(held):,} where fabric.yaml allows {most:,} (masks)"
            )


def _widest(memo: Memo, tenant: str) -> SecurityGroup | None:
    """Return the group of a tenant's ports whose own rules need the most masks."""
    names = sorted({name for names in identities.classes_in(memo, tenant) for name in names})
    groups = [group for name in names if (group := queries.group(memo, name)) is not None]
    return max(
        groups,
        key=lambda group: len(shapes([group], Direction.INGRESS) | shapes([group], Direction.EGRESS)),
        default=None,
    )
