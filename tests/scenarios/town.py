"""The fabric of security stories: a server with a client on its own host and clients on another; the rules are each story's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controller.model.entities import SecurityGroup, Topology
from tests.builders import fabric, host, network, port

SERVER, NEAR, FAR, OTHER = "red/server", "red/near", "red/far", "red/other"
PORTS = {SERVER: ("hv1", 1), NEAR: ("hv1", 2), FAR: ("hv2", 3), OTHER: ("hv2", 4)}
CLIENTS = (NEAR, FAR, OTHER)

NO_GROUPS: Mapping[str, Sequence[str]] = {}


def town(
    *groups: SecurityGroup,
    members: Mapping[str, Sequence[str]] = NO_GROUPS,
    allowed: Mapping[str, Sequence[tuple[str, str | None]]] | None = None,
    insecure: Sequence[str] = (),
) -> Topology:
    """Return the four ports with these groups; a port without any may speak and is not spoken to."""
    return fabric(
        host("hv1"),
        host("hv2"),
        network("red/n", "10.0.0.0/24", "fd00::/64", segment=5001),
        *groups,
        *(
            port(
                name,
                "red/n",
                f"10.0.0.{number}",
                f"fd00::{number}",
                host=place,
                groups=members.get(name, ()),
                mac=f"02:00:00:00:00:0{number}",
                allowed=(allowed or {}).get(name, ()),
                secure=name not in insecure,
            )
            for name, (place, number) in PORTS.items()
        ),
    )
