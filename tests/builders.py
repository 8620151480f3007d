"""Topologies in few words, for tests that are about networks and not about files.

fabric(
    host("hv1"), host("hv2"),
    network("red/web", "10.0.1.0/24"),
    group("red/web", ingress=[allow("tcp", 80)]),
    port("red/a", "red/web", "10.0.1.11", host="hv1", groups=["red/web"]),
)

A way out:

fabric(
    host("hv1", gateway=True), physical_network("physnet1", "hv1"),
    external_network("public", "203.0.113.0/24", physical="physnet1", vlan=100),
    network("red/web", "10.0.1.0/24"),
    port("red/a", "red/web", "10.0.1.11", host="hv1"),
    router("red/main", "red/web", external="public", address="203.0.113.10", routes=[("192.0.2.0/24", "10.0.1.11")]),
    floating_ip("203.0.113.20", "red/a", "10.0.1.11", router="red/main", external="public"),
)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

from controller.model.address import derived_mac, parse_mac
from controller.model.entities import (
    TUNNEL_OVERHEAD,
    AddressGroup,
    AllowedAddress,
    Direction,
    ExternalNetwork,
    FloatingIp,
    Host,
    HostKind,
    Ipv6Mode,
    Network,
    NetworkType,
    PhysicalNetwork,
    Place,
    PolicyTest,
    Port,
    Range,
    Route,
    Router,
    Rule,
    SecurityGroup,
    Tenant,
    Topology,
    Verdict,
)
from controller.model.ids import host_id, key

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "any": None}
Entity = (
    Host
    | PhysicalNetwork
    | ExternalNetwork
    | Network
    | SecurityGroup
    | AddressGroup
    | Port
    | Router
    | FloatingIp
    | PolicyTest
)


def fabric(*entities: Entity, overlay: str = "vxlan") -> Topology:
    """Return the topology of these entities; tenants follow from names."""
    networks = {entity.name: entity for entity in entities if isinstance(entity, Network)}
    ports = {entity.name: entity for entity in entities if isinstance(entity, Port)}
    owners = [entity.tenant for entity in networks.values()] + [entity.tenant for entity in ports.values()]
    return Topology(
        name="test",
        overlay=NetworkType(overlay),
        mtu=1500,
        hosts={entity.name: entity for entity in entities if isinstance(entity, Host)},
        physical_networks={entity.name: entity for entity in entities if isinstance(entity, PhysicalNetwork)},
        tenants={name: Tenant(name, (Range(1, 16777215),), {}, None, None, at(name)) for name in dict.fromkeys(owners)},
        networks=networks,
        groups={entity.name: entity for entity in entities if isinstance(entity, SecurityGroup)},
        ports=ports,
        tests=tuple(entity for entity in entities if isinstance(entity, PolicyTest)),
        address_groups={entity.name: entity for entity in entities if isinstance(entity, AddressGroup)},
        external_networks={entity.name: entity for entity in entities if isinstance(entity, ExternalNetwork)},
        routers={entity.name: entity for entity in entities if isinstance(entity, Router)},
        floating_ips={entity.name: entity for entity in entities if isinstance(entity, FloatingIp)},
    )


def at(tenant: str, line: int = 1) -> Place:
    return Place(f"tenants/{tenant}.yaml", line, 1)


def host(
    name: str, tunnel_ip: str | None = None, *, vtep: bool = False, datapath: str = "system", gateway: bool = False
) -> Host:
    """A hypervisor, or a foreign VTEP; its tunnel address follows from the digits of its name unless given."""
    digits = int("".join(filter(str.isdigit, name)) or 0)
    return Host(
        name=name,
        id=host_id(name),
        tunnel_ip=ip_address(tunnel_ip or f"172.31.0.{digits}"),
        kind=HostKind.VTEP if vtep else HostKind.OVS,
        datapath=datapath,
        local_vlans=Range(1, 4094),
        integration_bridge="br-int",
        tunnel_bridge="br-tun",
        gateway=gateway,
        place=Place("fabric.yaml", 1, 1),
    )


def physical_network(name: str, *hosts: str) -> PhysicalNetwork:
    return PhysicalNetwork(name, hosts, (Range(1, 4094),), Place("fabric.yaml", 1, 1))


def external_network(
    name: str,
    *cidrs: str,
    physical: str,
    vlan: int | None = None,
    gateways: Sequence[str] | None = None,
    pool: Sequence[tuple[str, str]] | None = None,
    mtu: int = 1500,
) -> ExternalNetwork:
    """A way out. Its gateways are the first host addresses unless given, and its pool all that follow them."""
    prefixes = tuple(map(ip_network, cidrs))
    # The last address of an IPv4 prefix is its broadcast address.
    rest = tuple((prefix[2], prefix[-2 if prefix.version == 4 else -1]) for prefix in prefixes)
    return ExternalNetwork(
        name=name,
        physical_network=physical,
        vlan=vlan,
        cidrs=prefixes,
        gateways=tuple(prefix[1] for prefix in prefixes) if gateways is None else tuple(map(ip_address, gateways)),
        pool=rest if pool is None else tuple((ip_address(first), ip_address(last)) for first, last in pool),
        mtu=mtu,
        place=Place("fabric.yaml", 1, 1),
    )


def network(
    name: str,
    *cidrs: str,
    kind: str = "vxlan",
    segment: int | None = None,
    physical: str | None = None,
    gateways: Sequence[str] | None = None,
    dhcp: bool = False,
    dns: Sequence[str] = (),
    domain: str | None = None,
    lease: int = 86400,
    ipv6: str = "dhcp",
) -> Network:
    """A network; a segment follows from its name where its type has one and none is given. What tells addresses is off."""
    wanted = NetworkType(kind)
    if segment is None and wanted not in (NetworkType.LOCAL, NetworkType.FLAT):
        segment = key("segment", name, 24) if wanted.is_tunnel else key("segment", name, 11)
    tenant = name.partition("/")[0]
    prefixes = tuple(map(ip_network, cidrs))
    return Network(
        name=name,
        tenant=tenant,
        type=wanted,
        segment=segment,
        physical_network=physical,
        cidrs=prefixes,
        gateways=tuple(prefix[1] for prefix in prefixes) if gateways is None else tuple(map(ip_address, gateways)),
        mtu=1500 - TUNNEL_OVERHEAD.get(wanted, 0),
        share=(),
        place=at(tenant),
        dhcp=dhcp,
        dns=tuple(map(ip_address, dns)),
        domain=domain,
        lease=lease,
        ipv6=Ipv6Mode(ipv6),
    )


def router(
    name: str,
    *networks: str,
    external: str | None = None,
    snat: bool | None = None,
    address: str | Sequence[str] = (),
    routes: Sequence[tuple[str, str]] = (),
) -> Router:
    """A router of networks; `address` holds its own on the external network, `routes` (to, via). It masks unless told not to."""
    tenant = name.partition("/")[0]
    return Router(
        name=name,
        tenant=tenant,
        networks=networks,
        external=external,
        snat=external is not None if snat is None else snat,
        routes=tuple(Route(ip_network(to), ip_address(via), at(tenant)) for to, via in routes),
        addresses=tuple(map(ip_address, (address,) if isinstance(address, str) else address)),
        place=at(tenant),
    )


def floating_ip(address: str, of: str, fixed: str, *, router: str, external: str) -> FloatingIp:
    """An address of an external network that stands for a port's; its tenant is the port's."""
    tenant = of.partition("/")[0]
    return FloatingIp(
        name=f"{tenant}/{address}",
        tenant=tenant,
        address=ip_address(address),
        external=external,
        router=router,
        port=of,
        fixed=ip_address(fixed),
        place=at(tenant),
    )


def allow(
    protocol: str | int = "any",
    *ports: int | tuple[int, int],
    far: str | Iterable[str] = (),
    ethertype: int | None = None,
    icmp_type: int | None = None,
    icmp_code: int | None = None,
    line: int = 1,
    tenant: str = "red",
    addresses: Sequence[str] = (),
    enforce: bool = True,
    log: bool = False,
) -> Rule:
    """A rule of either direction. `far` holds prefixes (with a slash and a digit after it) and group names, `addresses` address groups."""
    names = (far,) if isinstance(far, str) else tuple(far)
    cidrs = tuple(name for name in names if name.rpartition("/")[2].isdigit())
    return Rule(
        direction=Direction.INGRESS,
        ethertype=ethertype,
        protocol=PROTOCOLS[protocol] if isinstance(protocol, str) else protocol,
        ports=tuple(Range(p, p) if isinstance(p, int) else Range(*p) for p in ports),
        icmp_type=icmp_type,
        icmp_code=icmp_code,
        cidrs=tuple(map(ip_network, cidrs)),
        groups=tuple(name for name in names if name not in cidrs),
        place=at(tenant, line),
        addresses=tuple(addresses),
        enforce=enforce,
        log=log,
    )


def group(
    name: str,
    *,
    ingress: Sequence[Rule] = (),
    egress: Sequence[Rule] | None = None,
    enforce: bool = True,
    stateless: bool = False,
    log: bool = False,
) -> SecurityGroup:
    """A security group; without `egress` everything goes out."""
    tenant = name.partition("/")[0]
    out = [allow(tenant=tenant)] if egress is None else egress
    return SecurityGroup(
        name,
        tenant,
        tuple(replace(rule, direction=Direction.INGRESS) for rule in ingress),
        tuple(replace(rule, direction=Direction.EGRESS) for rule in out),
        at(tenant),
        enforce=enforce,
        stateless=stateless,
        log=log,
    )


def address_group(name: str, *prefixes: str) -> AddressGroup:
    """An address group of prefixes and addresses."""
    tenant = name.partition("/")[0]
    return AddressGroup(name, tenant, tuple(map(ip_network, prefixes)), (), at(tenant))


def subport(of_port: Port, vlan: int, of: str, *ips: str, groups: Sequence[str] | None = None) -> Port:
    """A subport of a port, in another network; what is not given is the port's."""
    return replace(
        of_port,
        name=f"{of_port.name}:{vlan}",
        network=of,
        ips=tuple(map(ip_address, ips)),
        groups=of_port.groups if groups is None else tuple(groups),
        allowed=(),
        parent=of_port.name,
        vlan=vlan,
    )


def port(
    name: str,
    of: str,
    *ips: str,
    host: str | None = None,
    groups: Sequence[str] = (),
    secure: bool = True,
    mac: str | None = None,
    allowed: Sequence[tuple[str, str | None]] = (),
    new_connections: int | None = None,
    ethertypes: Sequence[int] = (),
) -> Port:
    """A port; `allowed` holds further (address or prefix, MAC or None)."""
    tenant = name.partition("/")[0]
    further = (AllowedAddress(ip_network(ip), None if own is None else parse_mac(own)) for ip, own in allowed)
    return Port(
        name=name,
        tenant=tenant,
        network=of,
        mac=parse_mac(mac) if mac else derived_mac(name),
        ips=tuple(map(ip_address, ips)),
        host=host,
        groups=tuple(groups),
        port_security=secure,
        allowed=tuple(further),
        place=at(tenant),
        new_connections=new_connections,
        ethertypes=tuple(ethertypes),
    )


def expect(
    verdict: str, source: str, target: str, protocol: str = "any", port: int | None = None, *, reply: bool = True
) -> PolicyTest:
    """A test as tenants write it: `expect("allow", "red/a", "red/b", "tcp", 80)`."""
    tenant = source.partition("/")[0]
    return PolicyTest(tenant, source, target, PROTOCOLS[protocol], port, Verdict(verdict), reply, at(tenant))
