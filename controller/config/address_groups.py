"""A tenant's address groups: long lists of prefixes, in order and each once."""

from __future__ import annotations

from controller.config.groups import GroupContext
from controller.config.shared import ADDRESS_GROUPS, check_share, in_model
from controller.config.source import Spot
from controller.model.entities import AddressGroup, Prefix


def build_address_groups(context: GroupContext) -> dict[str, AddressGroup]:
    """Return the tenant's address groups by qualified name, and report what is wrong with them."""
    owner = context.tenant.name
    groups: dict[str, AddressGroup] = {}
    for name, each in context.declared.content.address_groups.items():
        spot = context.declared.spot(ADDRESS_GROUPS, name)
        check_share(context.fabric, owner, spot / "share", each.share, context.reporter)
        groups[f"{owner}/{name}"] = AddressGroup(
            name=f"{owner}/{name}",
            tenant=owner,
            prefixes=_in_order(context, spot / "cidrs", each.cidrs),
            share=in_model(each.share),
            place=context.declared.place(ADDRESS_GROUPS, name),
        )
    return groups


def _in_order(context: GroupContext, spot: Spot, given: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
    """Return the prefixes so that two lists that mean the same are equal, and warn of what is listed twice."""
    # Objects of `ipaddress` are slow to compare and to hash: numbers in their place make thousands of them quick.
    keyed = {(each.version, int(each.network_address), each.prefixlen): each for each in given}
    if len(keyed) < len(given):
        seen: set[Prefix] = set()
        for number, each in enumerate(given):
            if each in seen:
                context.reporter.report("W004", spot / number, f"{each} is in the list already")
            seen.add(each)
    return tuple(keyed[key] for key in sorted(keyed))
