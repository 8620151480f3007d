"""The edits of a workload that are measured: what is added, moved, changed, and where."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from benchmarks.topology import tenant_file
from benchmarks.workload import Document

_TENANTS = 10  # So many take turns at being edited.
_SPARE, _WANDERER = "spare", "wanderer"


@dataclass(frozen=True, slots=True)
class Place:
    """A tenant that is edited, and the two hosts between which its spare port moves."""

    tenant: str
    home: str
    away: str

    @property
    def spare(self) -> str:
        """The name of the port that comes, moves and goes."""
        return f"{self.tenant}/{_SPARE}"

    @property
    def wanderer(self) -> str:
        """The name of the port that no file puts on a host."""
        return f"{self.tenant}/{_WANDERER}"


@dataclass(frozen=True, slots=True)
class Texts:
    """A tenant's file in every state that is measured."""

    base: str
    spare_at_home: str
    spare_away: str
    rule_changed: str
    wanderer: str
    one_on_each: str  # The spare at home and the wanderer away: whatever host looks, a port elsewhere is new.


def places(document: Document, hosts: Collection[str]) -> list[Place]:
    """Return the tenants to edit: some that have ports on two of these hosts."""
    found: dict[str, dict[str, None]] = {}
    for port in document["ports"]:
        if port["host"] in hosts:
            found.setdefault(port["tenant"], {})[port["host"]] = None
    return [Place(tenant, *list(known)[:2]) for tenant, known in found.items() if len(known) > 1][:_TENANTS]


def texts(document: Document, place: Place) -> Texts:
    """Return the states of a tenant's file."""
    own: Document = {
        kind: [entry for entry in entries if entry.get("tenant") == place.tenant] for kind, entries in document.items()
    }
    return Texts(
        base=tenant_file(own, place.tenant),
        spare_at_home=tenant_file(_with(own, _port(own, place, _SPARE, place.home)), place.tenant),
        spare_away=tenant_file(_with(own, _port(own, place, _SPARE, place.away)), place.tenant),
        rule_changed=tenant_file(_with_rule(own), place.tenant),
        one_on_each=tenant_file(
            _with(own, _port(own, place, _SPARE, place.home), _port(own, place, _WANDERER, place.away)), place.tenant
        ),
        wanderer=tenant_file(_with(own, _port(own, place, _WANDERER, None)), place.tenant),
    )


def with_spares(document: Document, places: Sequence[Place]) -> Document:
    """Return the workload with the spare ports of these tenants at home: what is plugged from the beginning."""
    return _with(document, *(_port(document, place, _SPARE, place.home) for place in places))


def _with(document: Document, *ports: dict[str, Any]) -> Document:
    return document | {"ports": [*document["ports"], *ports]}


def _port(document: Document, place: Place, name: str, host: str | None) -> dict[str, Any]:
    """Return one port more of a tenant's first network, of the group `web`."""
    network = next(each["name"] for each in document["networks"] if each["tenant"] == place.tenant)
    members = [port for port in document["ports"] if port["network"] == network]
    number, last = (1, 0xFFFF) if name == _SPARE else (2, 0xFFFE)
    return members[0] | {
        "name": name,
        "mac": f"fa:16:3e:ff:{last >> 8:02x}:{last & 255:02x}",
        "ip": str(ip_address(members[-1]["ip"]) + number),
        "host": host,
    }


def _with_rule(document: Document) -> Document:
    """Return a tenant with http of its `web` open on three ports, which takes a flow more than one."""
    changed = copy.deepcopy(document)
    changed["groups"][0]["rules"][0]["port_max"] += 2
    return changed
