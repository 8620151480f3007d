"""Numbers that stand for names: wide ones are hashes, narrow ones are allocated and then kept.

A wide number (32 or 48 bits: class, network, port, group, datapath id) is the same on every host and after
every restart, because it is a hash of the name alone. A narrow number (local VLAN, conntrack zone,
segment, address) is taken near the name's hash, so that a computation from nothing almost always ends where a
long-lived one did, and never moves while its owner lives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

_INTEGRATION = 0x0001
_TUNNEL = 0x0002
_PHYSICAL = 0x8000


@lru_cache(maxsize=1 << 17)
def key(kind: str, name: str, bits: int = 32) -> int:
    """Return a number of `bits` bits, never 0, that follows from `kind` and `name` alone.

    >>> key("network", "red/web") == key("network", "red/web")
    True
    """
    digest = hashlib.blake2b(f"{kind}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % ((1 << bits) - 1) + 1


def host_id(name: str) -> int:
    """Return the 48-bit id of a host whose file gives none."""
    return key("host", name, 48)


def integration_dpid(host: int) -> int:
    """Return the datapath id of br-int on the host with this id. The high 16 bits are never zero, which OVS's own are."""
    return _INTEGRATION << 48 | host


def host_of_dpid(dpid: int) -> int:
    """Return the id of the host that has a bridge with this datapath id.

    >>> host_of_dpid(integration_dpid(7)) == host_of_dpid(tunnel_dpid(7)) == 7
    True
    """
    return dpid & (1 << 48) - 1


def tunnel_dpid(host: int) -> int:
    """Return the datapath id of br-tun on the host with this id."""
    return _TUNNEL << 48 | host


def physical_dpid(host: int, physical_network: str) -> int:
    """Return the datapath id of br-PHYSNET on the host with this id."""
    return (_PHYSICAL | key("physnet", physical_network, 15)) << 48 | host


class Exhausted(ValueError):
    """There are more names than numbers."""


def allocate(
    names: Iterable[str],
    size: int,
    *,
    kind: str,
    kept: Mapping[str, int] | None = None,
    is_free: Callable[[int], bool] | None = None,
) -> dict[str, int]:
    """Give each name a distinct number from 0 to `size` - 1.

    `kept` numbers stay with their names. Others take the first free number from their hash on, in the order
    of their names, so that the result depends on the set of names and on `kept` alone. `is_free` may
    rule numbers out. Raises `Exhausted` when the numbers do not suffice.
    """
    wanted = sorted(set(names))
    kept = kept or {}
    numbers = {name: kept[name] for name in wanted if name in kept}
    taken = set(numbers.values())
    for name in wanted:
        if name in numbers:
            continue
        start = key(kind, name, 62) % size if size else 0
        for step in range(size):
            number = (start + step) % size
            if number not in taken and (is_free is None or is_free(number)):
                numbers[name] = number
                taken.add(number)
                break
        else:
            raise Exhausted(f"no free {kind} number for {name}: all {size} are taken")
    return numbers
