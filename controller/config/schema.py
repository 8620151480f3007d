"""The format, declared once: keys, kinds of values, defaults, descriptions.

The loader validates with these classes; the JSON Schema for editors, the reference page and the hints of error messages are made
from them. A class's docstring and a field's description are what users read. What several keys must fulfil together is
checked where the model is built, not here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from controller.config import scalars
from controller.config.kinds import (
    Duration,
    EtherType,
    ListOrAny,
    ListOrMapping,
    OneOrMany,
    Rate,
    Whole,
    Word,
    WordOrMapping,
    members,
)
from controller.config.terms import (
    MAX_VNI,
    FarSide,
    Few,
    Flag,
    FloatingAddress,
    IcmpNumber,
    IpAddress,
    IpProtocol,
    Mac,
    Many,
    Name,
    PortRanges,
    Reference,
    Share,
    Strict,
    Subnet,
    TransportPort,
)
from controller.model.entities import Ipv6Mode, NetworkType, Prefix, Verdict


class Ethertype(StrEnum):
    """An IP version as rules name it."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class Network(Strict):
    """A layer-2 segment."""

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
    dhcp: Flag | None = Field(
        default=None,
        description="Whether ports are told their addresses, the gateway, the MTU and what follows, by DHCP and IPv6's router "
        "advertisements. By default `true` where there is a cidr.",
    )
    dns: Annotated[tuple[IpAddress, ...], Few, OneOrMany()] = Field(
        default=(), description="The name servers that ports are told of."
    )
    domain: Annotated[str | None, Word(scalars.domain, "a domain name")] = Field(
        default=None, description="The domain that ports are told to look names up in."
    )
    lease: Annotated[int, Duration("a lease", 60, 31_536_000)] = Field(
        default=86400, description="How long a port may keep what it is told without asking again. By default a day."
    )
    ipv6: Annotated[Ipv6Mode, members(Ipv6Mode)] = Field(
        default=Ipv6Mode.DHCP,
        description="How ports get their IPv6 addresses: `dhcp`, or `slaac`, made of a prefix of 64 bits and the MAC, which is their "
        "default address then; `stateless` is the same, and DHCP tells everything else.",
    )
    share: Share = Field(default=(), description="Tenants that may attach ports, by `network: TENANT/NAME`.")


class Route(Strict):
    """A static route of a router."""

    to: Annotated[Prefix, Word(scalars.destination, "a prefix or an address")] = Field(
        description="Where it leads: nothing that the router's own networks hold. Of several routes the one with the longest prefix "
        "counts; several to one prefix share its connections among them."
    )
    via: IpAddress = Field(description="The next hop, on one of the router's networks or on its external network.")


class Router(Strict):
    """What joins networks of a tenant, and leads out by an external network."""

    networks: Annotated[tuple[Name, ...], Many, OneOrMany()] = Field(
        default=(),
        description="The tenant's own networks that it joins, each with a cidr; a network has one router at most, whose address there "
        "is its `gateway`.",
    )
    external: Name | None = Field(
        default=None, description="The external network that it leads out by. By default it leads nowhere."
    )
    snat: Flag | None = Field(
        default=None,
        description="Whether what has no floating IP leaves in the name of the router's own address. By default `true` with an external "
        "network; with `false` ports keep their addresses, for which the hosts outside need a route.",
    )
    address: Annotated[tuple[IpAddress, ...], Few, OneOrMany()] = Field(
        default=(),
        description="Its addresses on the external network, within the pool, at most one per prefix. By default allocated, then stable.",
    )
    routes: Annotated[tuple[Route, ...], Few, OneOrMany()] = Field(
        default=(),
        description="Its static routes. What no route and no network holds goes to the external network's gateway.",
    )


class FloatingIp(Strict):
    """An address of an external network that stands for one of a port's. The name of the port alone may stand for it."""

    port: Annotated[str, StringConstraints(pattern=scalars.OWN_PORT_PATTERN), Field(title="a port")] = Field(
        description="The tenant's port, in a network whose router leads out by that external network."
    )
    ip: IpAddress | None = Field(
        default=None,
        description="Which of the port's addresses it stands for. By default the only one of its IP version.",
    )


class Peer(Strict):
    """The far side of a rule: one of the three keys."""

    cidr: FarSide | None = Field(default=None, description="The addresses of the far side.")
    group: Reference | None = Field(
        default=None,
        description="A security group, the own or one that is shared: the addresses of its ports, whosever they are, in the same "
        "network and in those that its router joins to it.",
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


class Subport(Strict):
    """What a VLAN of a trunk leads to, if the network's name alone does not say all; everything else is as the port's."""

    network: Reference = Field(description="The network; neither the port's own nor that of another of its subports.")
    mac: Mac | None = Field(default=None, description="Its MAC address. By default the port's.")
    ip: Annotated[tuple[IpAddress, ...], Few, OneOrMany()] | None = Field(
        default=None, description="Its addresses, as a port's."
    )
    security_groups: Annotated[tuple[Reference, ...], OneOrMany()] | None = Field(
        default=None, description="Its groups. By default the port's."
    )
    allowed_addresses: Annotated[tuple[AllowedAddress, ...], Few, OneOrMany()] = Field(
        default=(), description="Further addresses that it may use; the port's are not its."
    )


class Port(Profile):
    """A VM's or container's attachment to a network."""

    not_yet: ClassVar[tuple[str, ...]] = ("qos",)

    port_group: Name | None = Field(default=None, description="The profile that gives what the port does not say.")
    mac: Mac | None = Field(default=None, description="Its MAC address. By default derived from tenant and name.")
    ip: Annotated[tuple[IpAddress, ...], Few, OneOrMany()] | None = Field(
        default=None,
        description="Its addresses, within the network's prefixes. By default one of each prefix is allocated, then stable; "
        "none on a pure layer-2 network.",
    )
    trunk: dict[
        Annotated[int, Word(scalars.vlan, "a VLAN", scalars.VLAN_PATTERN)], Annotated[Subport, WordOrMapping("network")]
    ] = Field(
        default={},
        description="The subports of a VLAN-aware VM: its frames with that VLAN tag are in that network. A subport is called "
        "`PORT:VLAN`, counts as a port, and is where its port is; a tag that is no subport's is dropped.",
    )


TestEnd = Annotated[str, Word(scalars.target, "a port, `TENANT/PORT`, a subport `PORT:VLAN` or an address")]


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

    not_yet: ClassVar[tuple[str, ...]] = ("qos", "mirrors")

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
    routers: dict[Name, Router] = Field(default={}, description="The tenant's routers by name.")
    floating_ips: dict[FloatingAddress, Annotated[FloatingIp, WordOrMapping("port")]] = Field(
        default={}, description="Addresses in the pools of external networks, and the ports that they stand for."
    )
    tests: tuple[Test, ...] = Field(default=(), description="What shall stay true.")
