"""The operator's part of the format: `fabric.yaml`. See `controller.config.schema`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from controller.config import scalars
from controller.config.kinds import (
    Numbers,
    OneOrMany,
    Whole,
    Word,
    members,
    words,
)
from controller.config.terms import (
    MAX_VLAN,
    Addresses,
    Few,
    Flag,
    Interface,
    IpAddress,
    Name,
    Quota,
    Segments,
    Strict,
    Subnet,
    Vlans,
)
from controller.model.entities import (
    DEFAULT_MASKS,
    TUNNEL_TYPES,
    HostKind,
    NetworkType,
    Range,
)


class Datapath(StrEnum):
    """Where Open vSwitch forwards packets: in the kernel or in its own process."""

    SYSTEM = "system"
    NETDEV = "netdev"


class Bridges(Strict):
    """The names of a host's two bridges."""

    integration: Interface = Field(default="br-int", alias="int", description="The bridge that joins the host's ports.")
    tunnel: Interface = Field(
        default="br-tun", alias="tun", description="The bridge that joins the host to other hosts."
    )


class Host(Strict):
    """A hypervisor with its Open vSwitch, or a VTEP that is not ours."""

    tunnel_ip: IpAddress = Field(
        description="Where the host sends and receives tunnels; all hosts have one IP version."
    )
    id: Annotated[int, Whole("a host id", 1, (1 << 48) - 1)] | None = Field(
        default=None,
        description="The host's number, from which its bridges' datapath ids follow. By default a hash of the name.",
    )
    kind: Annotated[HostKind, members(HostKind)] = Field(
        default=HostKind.OVS,
        description="`ovs`: Weft programs its bridges. `vtep`: Weft only sends tunnels to it and accepts them from it; "
        "security groups are not enforced there, but its ports count as members where other ports' rules name groups.",
    )
    datapath: Annotated[Datapath, members(Datapath)] = Field(
        default=Datapath.SYSTEM,
        description="`system`: the kernel's datapath. `netdev`: Open vSwitch's own, in user space.",
    )
    local_vlans: Annotated[Range, Numbers("a VLAN", 1, MAX_VLAN)] = Field(
        default=Range(1, MAX_VLAN),
        description="The VLANs that stand for networks between the host's bridges; never on a wire. By default all.",
    )
    bridges: Bridges = Field(default=Bridges(), description="Other names for the host's bridges.")
    gateway: Flag = Field(default=False, description="Whether the host may carry north-south traffic.")
    ovsdb: Annotated[str | None, Word(scalars.database, "`unix:/PATH`, `tcp:ADDRESS:PORT` or `ssl:ADDRESS:PORT`")] = (
        Field(
            default=None,
            description="The host's Open vSwitch database. With it, `external_ids:iface-id=TENANT/PORT` binds a port "
            "whatever its interface is called; without it, the interface's name does.",
        )
    )


class PhysicalNetwork(Strict):
    """A network outside the fabric, reached through the bridge `br-NAME` on each of its hosts."""

    hosts: Annotated[tuple[Name, ...], OneOrMany()] = Field(description="The hosts that are wired to it.")
    vlans: Vlans = Field(
        default=(), description="The VLANs that tenants may be granted. Without it only flat networks use it."
    )


class ExternalNetwork(Strict):
    """A way out of the fabric: a physical network, or a VLAN of it, whose hosts are others'."""

    physical_network: Name = Field(
        description="Where its frames travel. Of that network's hosts, those with `gateway: true` carry what leaves without a floating IP."
    )
    vlan: Annotated[int, Whole("a VLAN", 1, MAX_VLAN)] | None = Field(
        default=None, description="The VLAN of its frames; no tenant may be granted it. By default they have no tag."
    )
    cidr: Annotated[tuple[Subnet, ...], Field(min_length=1, max_length=64), OneOrMany()] = Field(
        description="Its prefixes, IPv4 and IPv6."
    )
    gateway: Annotated[tuple[IpAddress, ...], Few, OneOrMany()] = Field(
        default=(),
        description="The next hop to everywhere else, at most one of each IP version. By default routers reach only what is on it, and "
        "what their routes say.",
    )
    pool: Annotated[tuple[Addresses, ...], Few, OneOrMany()] = Field(
        default=(),
        description="The addresses that routers and floating IPs may have; nobody else does. By default, in each prefix, all host "
        "addresses but the gateway.",
    )
    mtu: Annotated[int, Whole("an MTU", 576, 65535)] | None = Field(
        default=None, description="The MTU of its hosts. By default the fabric's."
    )


class Tenant(Strict):
    """Who owns networks and ports, and what it may use."""

    segments: Segments = Field(
        default=(), description="The VNIs and tunnel keys of its networks; no other tenant has them."
    )
    vlans: dict[Name, Vlans] = Field(
        default={},
        description="Physical network -> the VLANs of its networks there; no other tenant has them. A flat network needs its physical "
        "network to be named here too; an empty list grants no VLAN.",
    )
    ports: Quota | None = Field(default=None, description="How many ports it may have. By default no limit.")
    rules: Quota | None = Field(
        default=None, description="How many rules its security groups may have. By default no limit."
    )
    connections: Annotated[int, Whole("a number of connections", 1, 10_000_000)] | None = Field(
        default=None,
        description="How many connections may be tracked at a time in each of its address spaces on each host, and as many be "
        "translated for each router that leads out there; what would open one more is dropped. "
        "By default no limit of its own. It holds on hosts where `weft host limits --watch` runs.",
    )


class FabricFile(Strict):
    """`fabric.yaml`: the operator's part of a topology."""

    fabric: Name = Field(description="The topology's name.")
    overlay: Annotated[NetworkType, words(*TUNNEL_TYPES, NetworkType.VLAN)] = Field(
        default=NetworkType.VXLAN, description="The type of a network that names none."
    )
    mtu: Annotated[int, Whole("an MTU", 576, 65535)] = Field(
        default=1500,
        description="The MTU of the underlay. A network's follows from it: what the tunnel adds is taken off.",
    )
    masks: Annotated[int, Whole("a number of masks", 1, 1_000_000)] = Field(
        default=DEFAULT_MASKS,
        description="How many masks all tenants' rules together may make a datapath hold, each counted once. A datapath may have to try "
        "all that it holds for a packet; rules that need more are refused.",
    )
    hosts: dict[Name, Host] = Field(default={}, description="The hosts by name.")
    physical_networks: dict[Name, PhysicalNetwork] = Field(default={}, description="The physical networks by name.")
    external_networks: dict[Name, ExternalNetwork] = Field(
        default={}, description="The ways out of the fabric by name; all tenants' routers may use them."
    )
    tenants: dict[Name, Tenant] = Field(
        default={}, description="The tenants by name. Each may have a file `tenants/NAME.yaml`."
    )
