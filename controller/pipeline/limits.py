"""What cannot be told to a switch is refused before it is in force: too long flows, and names that share a number.

A bridge serves all tenants of a host. One flow that a switch cannot take would keep it from everything else that is new,
so the files that ask for it are refused, and what is in force stays. All of this follows from the files alone: hosts that nobody has
seen yet are looked at, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from controller.graph import identities, queries
from controller.memo import Memo, query
from controller.model.entities import Port
from controller.model.ids import key
from controller.pipeline.flow import Origin, Uncompilable
from controller.pipeline.view import class_key, class_name, policy_class

_LONGEST = 0xFFFF  # bytes of an OpenFlow message
_HEADS = 256  # A bundle's header, a flow-mod's, its longest match here and an instruction's take less.
_OUTPUT = 16  # bytes of an action
_TO_VTEP = 16 + 32 + _OUTPUT  # The key, the address (IPv6 at most) and the port.
_BUCKET = 16 + 16 + 16 + 16  # Its head, target and class, and the way on.


class TooLong(Uncompilable):
    """A flow or group has more actions than OpenFlow has bytes for."""


class SharedNumber(Uncompilable):
    """Two names have the same hash, and flows of one would be taken for flows of the other."""


@query
def _check_network(memo: Memo, name: str) -> None:
    """Raise TooLong if a packet to everybody on the network does not fit one message on some host."""
    network = queries.network(memo, name)
    if network is None:
        return
    classes = {host: _classes(ports) for host, ports in queries.members_by_host(memo, name).items()}
    far = (len(classes) - 1) * _TO_VTEP if network.type.is_tunnel else 0
    for host, counts in classes.items():
        size = max(_OUTPUT * max(counts.values()), _BUCKET * (len(counts) + 1), far)
        if size > _LONGEST - _HEADS:
            raise TooLong(
                f"{Origin(f'network {name}', network.place)}: a packet to everybody needs {size:,} bytes of actions on {host}, "
                f"and OpenFlow takes {_LONGEST:,}; spread its ports over more networks"
            )


def _classes(ports: Collection[Port]) -> Counter[int]:
    """Return how many of these ports each class has."""
    found: Counter[int] = Counter()
    # Many ports have few classes, and a class is worked out once.
    alike = {(port.groups, port.ethertypes, port.port_security): port for port in ports}
    counts = Counter((port.groups, port.ethertypes, port.port_security) for port in ports)
    for what, port in alike.items():
        found[policy_class(port)] += counts[what]
    return found


@query
def check_tenant(memo: Memo, tenant: str) -> None:
    """Raise TooLong if a tenant asks for more than a message holds."""
    for name in queries.networks_in(memo, tenant) or ():
        _check_network(memo, name)


@query
def _numbered(memo: Memo, tenant: str) -> frozenset[tuple[str, int, str]]:
    """Return the (kind, number, name) of a tenant's address spaces and classes; files tell of other names."""
    spaces = {("address spaces", key("space", name), name) for name in queries.spaces_in(memo, tenant)}
    classes = identities.classes_in(memo, tenant)
    return frozenset(spaces | {("security groups", class_key(each), class_name(each)) for each in classes})


@query
def check_keys(memo: Memo) -> None:
    """Raise SharedNumber if two address spaces or two classes of ports have one number."""
    owners: dict[tuple[str, int], str] = {}
    for tenant in queries.tenants(memo) or ():
        for kind, number, name in _numbered(memo, tenant):
            other = owners.setdefault((kind, number), name)
            if other != name:
                where = ", ".join(_places(memo, kind, sorted((other, name))))
                raise SharedNumber(f"the {kind} {other} and {name} share the number {number:#x}: rename one ({where})")


def _places(memo: Memo, kind: str, names: Iterable[str]) -> Iterable[str]:
    for name in names:
        # A class is named by its groups, of which one is enough to find it.
        first = name.partition(",")[0]
        found = queries.network(memo, first) if kind == "address spaces" else queries.group(memo, first)
        yield str(found.place) if found is not None else first
