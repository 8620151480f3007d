"""What two tenants cannot both have: ids, interface names, a flat network of one physical network, an address outside.

As long as nobody has what another has, a load compares the changed tenants' claims with the rest. Once there is a clash all are
compared in the files' order, because the order decides who is blamed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from controller.config.problem import Problems
from controller.config.source import Reporter, Spot
from controller.config.tenant import Keys, Part, clash
from controller.config.ways import Claim
from controller.model.entities import Network, NetworkType


class Claims:
    """Who claims what, while no two claim the same."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}
        self._claimed: set[Hashable] = set()

    def are_apart(self, parts: Mapping[str, Part]) -> bool:
        """Take these parts in place of those known before; return whether no two claim the same. If False, use it no more."""
        before = self._parts
        gone = before.keys() - parts.keys()
        changed = {tenant for tenant, part in parts.items() if before.get(tenant) is not part}
        claimed = self._claimed
        # What a tenant claims before and after is no matter; its keys are compared as sets, because there are many.
        for tenant in (*gone, *changed):
            if tenant in before:
                claimed -= _lost(before[tenant], parts.get(tenant))
        for tenant in changed:
            fresh = _lost(parts[tenant], before.get(tenant))
            if not claimed.isdisjoint(fresh) or len(set(_flat(parts[tenant]))) < len(_flat(parts[tenant])):
                return False
            claimed |= fresh
        self._parts = dict(parts)
        return True


def check_between(parts: Mapping[str, Part], claims: Claims | None, problems: Problems) -> Claims | None:
    """Report what two tenants cannot both have. `claims` is what the last check returned; return what the next one needs."""
    claims = claims or Claims()
    if claims.are_apart(parts):
        return claims
    _report_clashes(parts, problems)
    return None


def _lost(part: Part, other: Part | None) -> set[Hashable]:
    """Return what one part claims and the other does not."""
    if other is None:
        return {*part.keys, *_flat(part), *part.ways.claims}
    keys = set[Hashable]() if part.keys is other.keys else part.keys.keys() - other.keys.keys()
    outside = part.ways.claims.keys() - other.ways.claims.keys()
    return keys.union(set(_flat(part)).difference(_flat(other)), outside)


def _flat(part: Part) -> list[str]:
    """Return the physical networks that a part's flat networks want for themselves."""
    own = (network.physical_network for network in part.networks.values() if network.type is NetworkType.FLAT)
    return [name for name in own if name is not None]


def _report_clashes(parts: Mapping[str, Part], problems: Problems) -> None:
    reporter = Reporter(problems)
    keys: Keys = {}
    flat: dict[str, Network] = {}
    outside: dict[Claim, Spot] = {}
    for part in parts.values():
        for key, name in sorted(part.keys.items(), key=lambda item: (item[0][0], item[1])):
            other = keys.setdefault(key, name)
            if other != name:
                section = {"network": "networks", "group": "security_groups"}.get(key[0], "ports")
                spot = part.declared.spot(section, name.partition("/")[2]).key
                clash(reporter, spot, key[0], name, other)
        for claim, spot in part.ways.claims.items():
            before = outside.setdefault(claim, spot)
            if before is not spot:
                reporter.clash("N030", spot, f"{claim[1]} of {claim[0]} is given already", before)
        for name, network in part.networks.items():
            if network.type is NetworkType.FLAT and network.physical_network is not None:
                first = flat.setdefault(network.physical_network, network)
                if first is not network:
                    spot = part.declared.spot("networks", name.partition("/")[2])
                    message = f"{first.name} is the flat network of {network.physical_network} already: frames without a tag have one owner"
                    reporter.clash("N034", spot / "physical_network", message, first.place)
