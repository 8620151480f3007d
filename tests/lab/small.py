"""A small fabric made from the model alone: two hosts and a foreign VTEP, two tenants with the same addresses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from controller.model import ids
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

HERE = Place("fabric.yaml", 1, 1)


def host(name: str, tunnel_ip: str, kind: HostKind = HostKind.OVS) -> Host:
    bridges = {"integration_bridge": "br-int", "tunnel_bridge": "br-tun"}
    return Host(
        name=name,
        id=ids.host_id(name),
        tunnel_ip=ip_address(tunnel_ip),
        kind=kind,
        datapath="system",
        local_vlans=Range(1, 4094),
        gateway=False,
        place=HERE,
        **bridges,
    )


def network(
    name: str,
    kind: NetworkType,
    segment: int | None = None,
    cidr: str = "10.0.1.0/24",
    physical_network: str | None = None,
) -> Network:
    prefix = ip_network(cidr)
    return Network(
        name=name,
        tenant=name.partition("/")[0],
        type=kind,
        segment=segment,
        physical_network=physical_network,
        cidrs=(prefix,),
        gateways=(prefix[1],),
        mtu=1450 if kind.is_tunnel else 1500,
        share=(),
        place=HERE,
    )


def port(name: str, network: str, ip: str, on: str | None) -> Port:
    return Port(
        name=name,
        tenant=name.partition("/")[0],
        network=network,
        mac=derived_mac(name),
        ips=(ip_address(ip),),
        host=on,
        groups=(),
        port_security=True,
        allowed=(),
        place=HERE,
    )


def small(name: str = "small") -> Topology:
    hosts = [host("hv1", "172.31.0.1"), host("hv2", "172.31.0.2"), host("rack9", "172.31.0.9", HostKind.VTEP)]
    networks = [
        network("red/web", NetworkType.VXLAN, 1000),
        network("blue/web", NetworkType.VXLAN, 1100),
        network("red/lan", NetworkType.FLAT, cidr="192.0.2.0/24", physical_network="physnet1"),
    ]
    ports = [
        port("red/web1", "red/web", "10.0.1.11", "hv1"),
        port("red/web2", "red/web", "10.0.1.12", "hv2"),
        port("red/metal", "red/web", "10.0.1.19", "rack9"),
        port("blue/web1", "blue/web", "10.0.1.11", None),
        port("blue/web2", "blue/web", "10.0.1.12", None),
        port("red/lan1", "red/lan", "192.0.2.11", "hv1"),
        port("red/lan2", "red/lan", "192.0.2.12", "hv2"),
    ]
    return Topology(
        name=name,
        overlay=NetworkType.VXLAN,
        mtu=1500,
        hosts={each.name: each for each in hosts},
        physical_networks={"physnet1": PhysicalNetwork("physnet1", ("hv1", "hv2"), (Range(100, 199),), HERE)},
        tenants={tenant: Tenant(tenant, (), {}, None, None, HERE) for tenant in ("red", "blue")},
        networks={each.name: each for each in networks},
        ports={each.name: each for each in ports},
    )
