"""Narrow numbers: the local VLAN tag of each tunnel network and the conntrack zone of each address space, per host.

They are taken near the hash of their owner's name and stay while the owner is on the host, whatever else changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.graph.fabric import Fabric
from controller.model.ids import allocate

_ZONES = 65535  # Zone 0 is the tracker's default, which others on the host may use.


@dataclass(frozen=True, slots=True)
class Numbers:
    """Host -> network -> tag, and host -> address space -> zone."""

    tags: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    zones: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def allocate_numbers(fabric: Fabric, previous: Numbers | None = None) -> Numbers:
    """Return the numbers of every programmed host; those of `previous` stay with their owners.

    Raises `controller.model.ids.Exhausted` when a host has more networks than local VLANs.
    """
    before = previous or Numbers()
    tags: dict[str, dict[str, int]] = {}
    zones: dict[str, dict[str, int]] = {}
    for host in filter(fabric.is_programmed, fabric.topology.hosts):
        networks = fabric.networks_on(host)
        vlans = fabric.topology.hosts[host].local_vlans
        kept = {name: tag - vlans.first for name, tag in before.tags.get(host, {}).items() if tag in vlans}
        tunnelled = [name for name in networks if fabric.topology.networks[name].type.is_tunnel]
        found = allocate(tunnelled, len(vlans), kind="tag", kept=kept)
        tags[host] = {name: number + vlans.first for name, number in found.items()}
        kept = {name: zone - 1 for name, zone in before.zones.get(host, {}).items()}
        spaces = {fabric.spaces[name] for name in networks}
        zones[host] = {name: number + 1 for name, number in allocate(spaces, _ZONES, kind="zone", kept=kept).items()}
    return Numbers(tags, zones)
