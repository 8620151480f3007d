"""Names that a host's interfaces and bridges carry, as functions of the topology's own names.

Linux allows an interface 15 characters. A port's interface is `TENANT.PORT` where that fits; names of the format
hold neither `.` nor `_`, so that the two shapes below cannot meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from controller.model.entities import NetworkType

INTERFACE_LENGTH = 15

NOBODY = ""  # In place of an iface-id: the interface stands for no port, whatever its name is.

PATCH_TO_TUNNEL = "patch-tun"  # on br-int
PATCH_TO_INTEGRATION = "patch-int"  # on br-tun


def parent_of(port: str) -> str:
    """Return the port that has an interface: the parent of a subport (`TENANT/PORT:VLAN`), and any other port itself.

    >>> parent_of("red/vm1:5"), parent_of("red/vm1")
    ('red/vm1', 'red/vm1')
    """
    return port.partition(":")[0]


def subport_name(parent: str, vlan: int) -> str:
    """Return the name of the subport whose frames bear a VLAN tag on its parent's interface."""
    return f"{parent}:{vlan}"


def interface_name(port: str) -> str:
    """Return the interface name of a port, `TENANT/PORT`, that pins no other; of a subport it is its parent's.

    >>> interface_name("red/web1")
    'red.web1'
    >>> interface_name("red/web1:5")
    'red.web1'
    >>> interface_name("engineering/frontend-1")
    'fronten_531cb57'
    """
    port = parent_of(port)
    tenant, _, name = port.partition("/")
    plain = f"{tenant}.{name}"
    if len(plain) <= INTERFACE_LENGTH:
        return plain
    digest = hashlib.blake2b(port.encode(), digest_size=4).hexdigest()
    return f"{name[:7]}_{digest[:7]}"


def ports_by_interface(ports: Iterable[str]) -> Mapping[str, str]:
    """Return interface name -> port name, without subports."""
    return {interface_name(port): port for port in ports if port == parent_of(port)}


def physical_bridge(physical_network: str) -> str:
    """Return the bridge that joins a host to a physical network."""
    return f"br-{physical_network}"


def patch_to_physical(physical_network: str) -> str:
    """Return the port of br-int that leads to the physical network's bridge."""
    return _short("pp-", physical_network)


def patch_from_physical(physical_network: str) -> str:
    """Return the port of the physical network's bridge that leads to br-int."""
    return _short("pi-", physical_network)


def liveness_port(host: str) -> str:
    """Return the port of br-int by which a host knows whether another one is alive."""
    return _short("live-", host)


def _short(prefix: str, name: str) -> str:
    if len(prefix) + len(name) <= INTERFACE_LENGTH:
        return prefix + name
    digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()[:6]
    return f"{prefix}{name[: INTERFACE_LENGTH - len(prefix) - 7]}_{digest}"


def tunnel_port(kind: NetworkType) -> str:
    """Return the flow-based tunnel port of br-tun for a type of network."""
    return kind.value
