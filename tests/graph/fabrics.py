"""Small fabrics, made of entities without any file."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from controller.model.address import derived_mac
from controller.model.entities import (
    Host,
    HostKind,
    Network,
    NetworkType,
    PhysicalNetwork,
    Place,
    Port,
    Range,
    Tenant,
    Topology,
)
from controller.model.ids import host_id

HERE = Place("tenants/red.yaml", 1, 1)


def host(name: str, address: str, kind: HostKind = HostKind.OVS) -> Host:
    return Host(
        name, host_id(name), ip_address(address), kind, "netdev", Range(1, 4094), "br-int", "br-tun", False, HERE
    )


def network(name: str, kind: NetworkType, segment: int | None, cidr: str, physical: str | None = None) -> Network:
    prefix = ip_network(cidr)
    tenant = name.partition("/")[0]
    return Network(name, tenant, kind, segment, physical, (prefix,), (prefix[1],), 1450, (), HERE)


def port(name: str, where: str, address: str, on: str | None, *groups: str) -> Port:
    tenant = name.partition("/")[0]
    return Port(name, tenant, where, derived_mac(name), (ip_address(address),), on, groups, True, (), HERE)


def campus(name: str = "campus") -> Topology:
    """Two tenants, three hosts and a foreign VTEP, every way of travelling, one port that is nowhere yet."""
    hosts = [host(f"hv{n}", f"172.31.0.{n}") for n in (1, 2, 3)] + [host("rack9", "172.31.0.9", HostKind.VTEP)]
    networks = [
        network("red/web", NetworkType.VXLAN, 1007, "10.0.1.0/24"),
        network("red/db", NetworkType.GENEVE, 1019, "10.0.2.0/24"),
        network("red/dmz", NetworkType.VLAN, 110, "10.0.3.0/24", "physnet1"),
        network("red/scratch", NetworkType.LOCAL, None, "10.0.9.0/24"),
        network("blue/lan", NetworkType.FLAT, None, "192.0.2.0/24", "physnet1"),
        network("blue/web", NetworkType.GRE, 1103, "10.0.1.0/24"),
    ]
    ports = [
        port("red/web1", "red/web", "10.0.1.11", "hv1", "red/web"),
        port("red/web2", "red/web", "10.0.1.12", "hv2", "red/web"),
        port("red/web3", "red/web", "10.0.1.13", "hv1", "red/web", "red/ops"),
        port("red/db1", "red/db", "10.0.2.11", "hv3", "red/db"),
        port("red/db2", "red/db", "10.0.2.12", "hv1", "red/db"),
        port("red/edge1", "red/dmz", "10.0.3.11", "hv2", "red/default"),
        port("red/tmp1", "red/scratch", "10.0.9.11", "hv2", "red/default"),
        port("blue/printer", "blue/lan", "192.0.2.20", "hv3", "blue/default"),
        port("blue/web1", "blue/web", "10.0.1.11", "hv1", "blue/default"),
        port("blue/switch", "blue/web", "10.0.1.99", "rack9", "blue/default"),
        port("blue/laptop-of-the-new-colleague", "blue/web", "10.0.1.40", None, "blue/default"),
    ]
    physical = PhysicalNetwork("physnet1", ("hv2", "hv3"), (Range(100, 199),), HERE)
    tenants = [Tenant(name, (), {}, None, None, HERE) for name in ("red", "blue")]
    return Topology(
        name=name,
        overlay=NetworkType.VXLAN,
        mtu=1500,
        hosts={each.name: each for each in hosts},
        physical_networks={"physnet1": physical},
        tenants={each.name: each for each in tenants},
        networks={each.name: each for each in networks},
        ports={each.name: each for each in ports},
    )
