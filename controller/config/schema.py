"""The format, declared once: keys, kinds of values, defaults, descriptions.

The loader validates with these classes; the JSON Schema for editors, the reference page and the hints of error messages are made
from them. A class's docstring and a field's description are what users read. What several keys must fulfil together is
checked where the model is built, not here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from controller.config import scalars
from controller.config.kinds import (
    EtherType,
    ListOrAny,
    ListOrMapping,
    Numbers,
    OneOrMany,
    Protocol,
    Rate,
    Switch,
    Whole,
    Word,
    members,
    words,
)
from controller.model.entities import (
    DEFAULT_MASKS,
    TUNNEL_TYPES,
    Address,
    HostKind,
    NetworkType,
    Prefix,
    Range,
    Verdict,
)

MAX_VNI = (1 << 24) - 1
MAX_VLAN = 4094


class Datapath(StrEnum):
    """Where Open vSwitch forwards packets: in the kernel or in its own process."""

    SYSTEM = "system"
    NETDEV = "netdev"


class Ethertype(StrEnum):
    """An IP version as rules name it."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


Name = Annotated[str, StringConstraints(pattern=scalars.NAME_PATTERN), Field(title="a name")]
Reference = Annotated[str, StringConstraints(pattern=scalars.REFERENCE_PATTERN), Field(title="a name or `TENANT/NAME`")]
Interface = Annotated[str, StringConstraints(pattern=scalars.INTERFACE_PATTERN), Field(title="an interface name")]
IpAddress = Annotated[Address, Word(scalars.address, "an IP address")]
Subnet = Annotated[Prefix, Word(scalars.prefix, "a prefix")]
FarSide = Annotated[Prefix, Word(scalars.any_prefix, "a prefix or an address")]
Mac = Annotated[int, Word(scalars.mac, "a unicast MAC address", scalars.MAC_PATTERN)]
Flag = Annotated[bool, Switch()]
IpProtocol = Annotated[int | None, Protocol()]
Vlans = Annotated[tuple[Annotated[Range, Numbers("a VLAN", 1, MAX_VLAN)], ...], OneOrMany()]
Segments = Annotated[tuple[Annotated[Range, Numbers("a segment", 1, MAX_VNI)], ...], OneOrMany()]
PortRanges = Annotated[tuple[Annotated[Range, Numbers("a port", 0, 65535)], ...], OneOrMany()]
TransportPort = Annotated[int, Whole("a port", 1, 65535)]
IcmpNumber = Annotated[int, Whole("an ICMP number", 0, 255)]
Quota = Annotated[int, Whole("a quota", 0, 10_000_000)]
Share = Annotated[tuple[Name, ...], OneOrMany()]


# Lists that are compared item by item stay short, so that no file can make the controller slow.
Few = Field(max_length=64)


class Strict(BaseModel):
    """What all parts of the format share: unknown keys are refused, also those that are planned."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    # Keys of the format that this version does not support yet.
    not_yet: ClassVar[tuple[str, ...]] = ()


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
        description="How many connections may be tracked at a time in each of its address spaces on each host; what would open one "
        "more is dropped. By default no limit of its own. It holds on hosts where `weft host limits --watch` runs.",
    )


class FabricFile(Strict):
    """`fabric.yaml`: the operator's part of a topology."""

    not_yet: ClassVar[tuple[str, ...]] = ("external_networks",)

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
    tenants: dict[Name, Tenant] = Field(
        default={}, description="The tenants by name. Each may have a file `tenants/NAME.yaml`."
    )


class Network(Strict):
    """A layer-2 segment."""

    not_yet: ClassVar[tuple[str, ...]] = ("dhcp", "dns")

    type: Annotated[NetworkType, members(NetworkType)] | None = Field(
        default=None,
        description="How frames travel: `local` never leaves a host; `flat` and `vlan` use a physical network; "
        "`vxlan`, `gre` and `geneve` are tunnels. By default the fabric's `overlay`.",
    )
    segment: Annotated[int, Whole("a segment", 1, MAX_VNI)] | None = Field(
        default=None,
        description="VNI, key or VLAN, within the tenant's grant. By default allocated from the grant, then stable.",
    )
    physical_network: Name | None = Field(
        default=None, description="Where a `flat` or `vlan` network's frames travel; needed there."
    )
    cidr: Annotated[tuple[Subnet, ...], Few, OneOrMany()] = Field(
        default=(), description="The network's prefixes, IPv4 and IPv6. Without one it is a pure layer-2 network."
    )
    gateway: Annotated[tuple[IpAddress, ...], Few, OneOrMany()] = Field(
        default=(),
        description="The router's address, at most one per prefix; no port may have it. By default the first host address.",
    )
    share: Share = Field(default=(), description="Tenants that may attach ports, by `network: TENANT/NAME`.")


class Peer(Strict):
    """The far side of a rule: one of the three keys."""

    cidr: FarSide | None = Field(default=None, description="The addresses of the far side.")
    group: Reference | None = Field(
        default=None,
        description="A security group, the own or one that is shared: the addresses of its ports, whosever they are, in the same network.",
    )
    address_group: Reference | None = Field(
        default=None, description="An address group, the own or one that is shared: all that it lists."
    )


class Rule(Strict):
    """What both directions' rules share."""

    protocol: IpProtocol = Field(default=None, description="By default `any`. `icmp` is IPv4's and `icmpv6` IPv6's.")
    ports: PortRanges | None = Field(
        default=None, description="Destination ports, for `tcp`, `udp` and `sctp`. By default all."
    )
    type: IcmpNumber | None = Field(default=None, description="The ICMP type, for `icmp` and `icmpv6`. By default all.")
    code: IcmpNumber | None = Field(default=None, description="The ICMP code of that type. By default all.")
    ethertype: Annotated[Ethertype, members(Ethertype)] | None = Field(
        default=None, description="The IP version. By default what the protocol and the addresses say, else both."
    )
    enforce: Flag = Field(
        default=True,
        description="`false`: the rule does not count as allowing. What it alone allows still passes, and is counted as *would drop*.",
    )
    log: Flag = Field(default=False, description="Whether what opens a connection by this rule is logged.")


class IngressRule(Rule):
    """A kind of packet that may come in."""

    peers: Annotated[tuple[Peer, ...], OneOrMany()] | None = Field(
        default=None, alias="from", description="Who may send. By default anyone."
    )


class EgressRule(Rule):
    """A kind of packet that may go out."""

    peers: Annotated[tuple[Peer, ...], OneOrMany()] | None = Field(
        default=None, alias="to", description="Whom it may be sent to. By default anyone."
    )


class SecurityGroup(Strict):
    """Rules that ports share. What no rule of a port's groups allows is dropped; replies pass, unless the groups are stateless."""

    ingress: Annotated[tuple[IngressRule, ...], ListOrAny()] = Field(
        default=(), description="What may come in. By default nothing."
    )
    egress: Annotated[tuple[EgressRule, ...], ListOrAny()] = Field(
        default=(EgressRule(),), description="What may go out. By default `any`."
    )
    enforce: Flag = Field(
        default=True,
        description="`false`: a port that has groups, and none that is enforced, drops nothing by rules. What no enforced rule allows "
        "passes, and is counted as *would drop*. If any of the port's groups is enforced, everything that no rule allows is dropped, "
        "and this group's rules allow as usual.",
    )
    stateless: Flag = Field(
        default=False,
        description="`true`: connections are not tracked. The rules judge every packet by itself, answers and ICMP errors as well; a rule "
        "with ports lets later fragments of its protocol through, which have none. A port has groups of one kind only.",
    )
    log: Flag = Field(
        default=False,
        description="Whether what opens a connection by any of its rules, and what is dropped at its ports, is logged.",
    )
    share: Share = Field(
        default=(),
        description="Tenants that may name the group as `TENANT/GROUP` in their rules, and whose ports may join it so; `any`: all "
        "tenants, those to come as well.",
    )


class AddressGroup(Strict):
    """A set of prefixes and addresses that rules have as their far side. Without `share` the list alone may stand for it."""

    cidrs: Annotated[tuple[FarSide, ...], OneOrMany()] = Field(
        default=(), description="Prefixes and addresses, IPv4 and IPv6. An empty list allows nobody."
    )
    share: Share = Field(
        default=(),
        description="Tenants that may name it as `TENANT/GROUP` in their rules; `any`: all tenants, those to come as well.",
    )


class AllowedAddress(Strict):
    """A further address that a port may use."""

    ip: FarSide = Field(description="An address (VRRP) or a prefix (a router VM).")
    mac: Mac | None = Field(default=None, description="With this MAC. By default the port's own.")


class Profile(Strict):
    """What a port says itself or takes from its port group; what it says itself wins."""

    not_yet: ClassVar[tuple[str, ...]] = ("qos",)

    network: Reference | None = Field(
        default=None, description="The network; a port needs one, from here or from its port group."
    )
    host: Name | None = Field(
        default=None,
        description="The host it is pinned to. By default it is bound where its interface shows up: the one "
        "with its `external_ids:iface-id`, or of its name, `TENANT.PORT`, or the short form that `weft lab plan` shows.",
    )
    security_groups: Annotated[tuple[Reference, ...], OneOrMany()] | None = Field(
        default=None,
        description="Its groups; an empty list means nothing in and everything out. By default `[default]`.",
    )
    port_security: Flag = Field(
        default=True, description="`false` switches source guard and security groups off for the port."
    )
    allowed_addresses: Annotated[tuple[AllowedAddress, ...], Few, OneOrMany()] = Field(
        default=(), description="Further addresses that the port may use."
    )
    new_connections: Annotated[int, Rate("a rate of connections", 1, 10_000_000)] | None = Field(
        default=None,
        description="How many connections may open at the port in a second; what would open more is dropped. By default no limit.",
    )
    ethertypes: Annotated[tuple[Annotated[int, EtherType()], ...], Few, OneOrMany()] = Field(
        default=(),
        description="Further ethertypes that the port may send and get. IPv4, IPv6 and ARP need not be named; everything else is dropped.",
    )


class PortGroup(Profile):
    """A profile that ports share."""


class Port(Profile):
    """A VM's or container's attachment to a network."""

    not_yet: ClassVar[tuple[str, ...]] = ("qos", "trunk")

    port_group: Name | None = Field(default=None, description="The profile that gives what the port does not say.")
    mac: Mac | None = Field(default=None, description="Its MAC address. By default derived from tenant and name.")
    ip: Annotated[tuple[IpAddress, ...], Few, OneOrMany()] | None = Field(
        default=None,
        description="Its addresses, within the network's prefixes. By default one of each prefix is allocated, then stable; "
        "none on a pure layer-2 network.",
    )


TestEnd = Annotated[str, Word(scalars.target, "a port, `TENANT/PORT` or an address")]


class Test(Strict):
    """An expectation that every change of the files must keep."""

    source: TestEnd = Field(alias="from", description="The sender.")
    target: TestEnd = Field(alias="to", description="The receiver; one of the two must be a port.")
    protocol: IpProtocol = Field(default=None, description="By default `any`.")
    port: TransportPort | None = Field(default=None, description="The destination port, for `tcp`, `udp` and `sctp`.")
    expect: Annotated[Verdict, members(Verdict)] = Field(description="Whether it shall pass.")
    reply: Flag = Field(default=True, description="Whether the answer is asked about too.")


class TenantFile(Strict):
    """`tenants/TENANT.yaml`: one tenant's part of a topology. The tenant is the file's name."""

    not_yet: ClassVar[tuple[str, ...]] = ("routers", "floating_ips", "qos", "mirrors")

    networks: dict[Name, Network] = Field(default={}, description="The tenant's networks by name.")
    security_groups: dict[Name, SecurityGroup] = Field(
        default={},
        description="The tenant's security groups by name. Without a group `default` there is one: in from the same group, everything out.",
    )
    address_groups: dict[Name, Annotated[AddressGroup, ListOrMapping("cidrs")]] = Field(
        default={}, description="The tenant's address groups by name."
    )
    port_groups: dict[Name, PortGroup] = Field(default={}, description="Profiles by name.")
    ports: dict[Name, Port] = Field(default={}, description="The tenant's ports by name.")
    tests: tuple[Test, ...] = Field(default=(), description="What shall stay true.")
