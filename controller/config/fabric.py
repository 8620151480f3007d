"""The operator's part of the topology: hosts, physical networks, tenants and their grants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.config.declared import Declared
from controller.config.external import build_external_networks
from controller.config.schema_fabric import FabricFile
from controller.config.schema_fabric import Host as DeclaredHost
from controller.config.source import Reporter, Spot
from controller.model import ids
from controller.model.entities import ExternalNetwork, Host, HostKind, NetworkType, PhysicalNetwork, Range, Tenant
from controller.model.names import INTERFACE_LENGTH, physical_bridge

# What only a host that Weft programs can have.
_OURS = ("datapath", "local_vlans", "bridges", "gateway", "ovsdb")


@dataclass(frozen=True, slots=True)
class Fabric:
    """The checked content of fabric.yaml, and the file to point into."""

    name: str
    overlay: NetworkType
    mtu: int
    masks: int
    hosts: Mapping[str, Host]
    physical_networks: Mapping[str, PhysicalNetwork]
    external_networks: Mapping[str, ExternalNetwork]
    led_out: frozenset[str]  # The external networks that some gateway host carries.
    tenants: Mapping[str, Tenant]
    declared: Declared[FabricFile]

    def knows(self, section: str, name: str) -> bool:
        """Whether the name stands in the section, even if its entry was refused."""
        entries: Mapping[str, object] = {
            "hosts": self.hosts,
            "physical_networks": self.physical_networks,
            "external_networks": self.external_networks,
            "tenants": self.tenants,
        }[section]
        return name in entries or self.declared.hides(section, name)

    @property
    def has_ipv6_underlay(self) -> bool:
        """Whether tunnels travel over IPv6."""
        return any(host.tunnel_ip.version == 6 for host in self.hosts.values())


def build_fabric(declared: Declared[FabricFile], reporter: Reporter) -> Fabric:
    """Return the operator's part, and report what is wrong with it."""
    content = declared.content
    hosts = {name: _host(declared, name, host) for name, host in content.hosts.items()}
    physical_networks = {
        name: PhysicalNetwork(name, network.hosts, network.vlans, declared.place("physical_networks", name))
        for name, network in content.physical_networks.items()
    }
    tenants = {
        name: Tenant(
            name=name,
            segments=each.segments,
            vlans=each.vlans,
            ports=each.ports,
            rules=each.rules,
            place=declared.place("tenants", name),
            connections=each.connections,
        )
        for name, each in content.tenants.items()
    }
    external_networks = build_external_networks(declared, physical_networks, reporter)
    gateways = {name for name, host in hosts.items() if host.gateway}
    carried = {name for name, network in physical_networks.items() if not gateways.isdisjoint(network.hosts)}
    fabric = Fabric(
        name=content.fabric,
        overlay=content.overlay,
        mtu=content.mtu,
        masks=content.masks,
        hosts=hosts,
        physical_networks=physical_networks,
        external_networks=external_networks,
        led_out=frozenset(name for name, each in external_networks.items() if each.physical_network in carried),
        tenants=tenants,
        declared=declared,
    )
    _check_hosts(fabric, reporter)
    _check_physical_networks(fabric, reporter)
    _check_datapath_ids(fabric, reporter)
    _check_segment_grants(fabric, reporter)
    _check_vlan_grants(fabric, reporter)
    return fabric


def _host(declared: Declared[FabricFile], name: str, host: DeclaredHost) -> Host:
    return Host(
        name=name,
        id=ids.host_id(name) if host.id is None else host.id,
        tunnel_ip=host.tunnel_ip,
        kind=host.kind,
        datapath=str(host.datapath),
        local_vlans=host.local_vlans,
        integration_bridge=host.bridges.integration,
        tunnel_bridge=host.bridges.tunnel,
        gateway=host.gateway,
        place=declared.place("hosts", name),
        ovsdb=host.ovsdb,
    )


def _check_hosts(fabric: Fabric, reporter: Reporter) -> None:
    content = fabric.declared.content
    by_id: dict[int, str] = {}
    by_address: dict[object, str] = {}
    first: Host | None = None
    for name, host in fabric.hosts.items():
        spot = fabric.declared.spot("hosts", name)
        if (other := by_id.setdefault(host.id, name)) != name:
            where = spot / "id" if content.hosts[name].id is not None else spot.key
            reporter.clash(
                "N033", where, f"hosts {name} and {other} have the same id {host.id}", fabric.hosts[other].place
            )
        if (other := by_address.setdefault(host.tunnel_ip, name)) != name:
            message = f"{host.tunnel_ip} is the tunnel_ip of {other} too"
            reporter.clash("N030", spot / "tunnel_ip", message, fabric.declared.spot("hosts", other, "tunnel_ip"))
        first = first or host
        if host.tunnel_ip.version != first.tunnel_ip.version:
            message = f"{name} has an IPv{host.tunnel_ip.version} tunnel_ip and {first.name} an IPv{first.tunnel_ip.version} one"
            reporter.clash("N027", spot / "tunnel_ip", message, fabric.declared.spot("hosts", first.name, "tunnel_ip"))
        if host.kind is HostKind.VTEP:
            for key in content.hosts[name].model_fields_set.intersection(_OURS):
                reporter.report(
                    "N026", (spot / key).key, f'"{key}" is for hosts that Weft programs, and {name} is a VTEP'
                )
        elif host.integration_bridge == host.tunnel_bridge:
            reporter.report("N033", spot / "bridges", f"both bridges of {name} are called {host.integration_bridge}")


def _check_physical_networks(fabric: Fabric, reporter: Reporter) -> None:
    for name, network in fabric.physical_networks.items():
        spot = fabric.declared.spot("physical_networks", name)
        bridge = physical_bridge(name)
        if len(bridge) > INTERFACE_LENGTH:
            message = f"the bridge {bridge} has more than the {INTERFACE_LENGTH} characters that Linux allows"
            reporter.report("N019", spot.key, message, "give the physical network a shorter name")
        seen: set[str] = set()
        for number, host_name in enumerate(network.hosts):
            item = spot / "hosts" / number
            if not fabric.knows("hosts", host_name):
                reporter.unknown("host", item, host_name, fabric.hosts, fabric.declared.spot("hosts"))
                continue
            if host_name in seen:
                reporter.report("N011", item, f"{host_name} is given twice")
            seen.add(host_name)
            host = fabric.hosts.get(host_name)
            if host is None:
                continue
            if host.kind is HostKind.VTEP:
                reporter.report("N046", item, f"{host_name} is a VTEP: Weft cannot wire it to a physical network")
            elif bridge in (host.integration_bridge, host.tunnel_bridge):
                reporter.clash("N033", item, f"{host_name} has a bridge {bridge} already", host.place)
        _check_disjoint(reporter, ((each, spot / "vlans" / n) for n, each in enumerate(network.vlans)), "VLANs")


def _check_datapath_ids(fabric: Fabric, reporter: Reporter) -> None:
    """Datapath ids are hashes in part: two bridges of the fabric must not share one."""
    seen: dict[int, str] = {}
    for name, network in fabric.physical_networks.items():
        for number, host_name in enumerate(network.hosts):
            host = fabric.hosts.get(host_name)
            if host is None:
                continue
            what = f"{physical_bridge(name)} of {host_name}"
            other = seen.setdefault(ids.physical_dpid(host.id, name), what)
            if other != what:
                item = fabric.declared.spot("physical_networks", name, "hosts", number)
                reporter.report("N033", item, f"{what} and {other} have the same datapath id", "rename one")


def _check_segment_grants(fabric: Fabric, reporter: Reporter) -> None:
    _check_disjoint(
        reporter,
        (
            (each, fabric.declared.spot("tenants", name, "segments", number))
            for name, tenant in fabric.tenants.items()
            for number, each in enumerate(tenant.segments)
        ),
        "segments",
    )


def _check_vlan_grants(fabric: Fabric, reporter: Reporter) -> None:
    granted: dict[str, list[tuple[Range, Spot]]] = {}
    for name, tenant in fabric.tenants.items():
        for physical_network, vlans in tenant.vlans.items():
            spot = fabric.declared.spot("tenants", name, "vlans", physical_network)
            if not fabric.knows("physical_networks", physical_network):
                home = fabric.declared.spot("physical_networks")
                reporter.unknown("physical network", spot.key, physical_network, fabric.physical_networks, home)
                continue
            granted.setdefault(physical_network, []).extend((each, spot / n) for n, each in enumerate(vlans))
            owned = fabric.physical_networks.get(physical_network)
            for number, each in enumerate(vlans if owned else ()):
                if owned and not _covers(owned.vlans, each):
                    vlans_text = ", ".join(map(str, owned.vlans)) or "none"
                    reporter.clash(
                        "N040",
                        spot / number,
                        f"{physical_network} has VLANs {vlans_text}, not all of {each}",
                        owned.place,
                    )
    for physical_network, ranges in granted.items():
        _check_disjoint(reporter, ranges, f"VLANs of {physical_network}")


def _covers(ranges: Iterable[Range], wanted: Range) -> bool:
    """Whether every number of `wanted` lies in one of the ranges."""
    first = wanted.first
    for each in sorted(ranges, key=lambda part: part.first):
        if each.first <= first <= each.last:
            first = each.last + 1
    return first > wanted.last


def _check_disjoint(reporter: Reporter, ranges: Iterable[tuple[Range, Spot]], what: str) -> None:
    """Report ranges that share a number: the later one in the file is the newcomer."""
    numbered = [(each.first, each.last, order, spot) for order, (each, spot) in enumerate(ranges)]
    numbered.sort(key=lambda item: item[:3])
    widest: tuple[int, int, int, Spot] | None = None
    for item in numbered:
        if widest is not None and item[0] <= widest[1]:
            old, new = sorted((widest, item), key=lambda each: each[2])
            shared = Range(item[0], min(item[1], widest[1]))
            reporter.clash("N041", new[3], f"{what} {shared} are granted already", old[3])
        if widest is None or item[1] > widest[1]:
            widest = item
