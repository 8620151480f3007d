"""What a topology consists of: the frozen entities that every other room reads.

Names are qualified (`red/web1`) wherever a tenant owns the thing; hosts, physical networks and tenants
have bare names. A `Topology` is complete and consistent by construction: `controller.config` refuses
everything else, so that readers never check again.

    Topology ── Host, PhysicalNetwork, Tenant           from fabric.yaml
             └─ Network, SecurityGroup ─ Rule, Port      from tenants/TENANT.yaml
             └─ AddressGroup                             prefixes that rules name
             └─ Router ─ Route, FloatingIp               ways between networks, and out by an ExternalNetwork
             └─ PolicyTest                               what the tenant wants to stay true

Two entities are equal when they mean the same, wherever they stand: a line more in a file changes no entity but its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

DEFAULT_MASKS = 4096  # that all rules of a fabric may make a datapath hold
EVERYBODY = "*"  # The only name in a group's `share` that is shared with all tenants, those to come as well.

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the files something is said; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class NetworkType(StrEnum):
    """How a network's frames travel between hosts."""

    LOCAL = "local"
    FLAT = "flat"
    VLAN = "vlan"
    VXLAN = "vxlan"
    GRE = "gre"
    GENEVE = "geneve"

    @property
    def is_tunnel(self) -> bool:
        """Whether frames travel encapsulated between VTEPs."""
        return self in TUNNEL_TYPES

    @property
    def is_provider(self) -> bool:
        """Whether frames travel on a physical network."""
        return self in (NetworkType.FLAT, NetworkType.VLAN)


TUNNEL_TYPES = (NetworkType.VXLAN, NetworkType.GRE, NetworkType.GENEVE)

# Bytes that each encapsulation adds to the inner IP packet over an IPv4 underlay: outer IPv4, the
# tunnel's own headers and the inner Ethernet header (RFC 7348, RFC 2784 and 2890, RFC 8926).
TUNNEL_OVERHEAD = {NetworkType.VXLAN: 50, NetworkType.GRE: 42, NetworkType.GENEVE: 50}


class HostKind(StrEnum):
    """Whether Weft programs the host (`ovs`) or only sends tunnels to it (`vtep`)."""

    OVS = "ovs"
    VTEP = "vtep"


class Ipv6Mode(StrEnum):
    """How hosts of a network get their IPv6 addresses (RFC 4862, RFC 8415): by DHCPv6, or made from the MAC."""

    DHCP = "dhcp"
    SLAAC = "slaac"
    STATELESS = "stateless"  # Made from the MAC; DHCPv6 tells everything else.

    @property
    def is_from_mac(self) -> bool:
        """Whether a port's address is its prefix and its MAC (RFC 4291, appendix A)."""
        return self is not Ipv6Mode.DHCP


class Verdict(StrEnum):
    """What a policy test expects."""

    ALLOW = "allow"
    DENY = "deny"


class Direction(StrEnum):
    """The way of a packet as the port's owner sees it."""

    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True)
class Range:
    """Whole numbers from `first` to `last`, both included (ports, VLANs, segments)."""

    first: int
    last: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Host:
    """A hypervisor with its Open vSwitch, or a foreign VTEP (`kind: vtep`).

    `id` is 48 bits wide, given in the file or derived from the name; datapath ids follow from it.
    """

    name: str
    id: int
    tunnel_ip: Address
    kind: HostKind
    datapath: str  # "system" or "netdev"
    local_vlans: Range
    integration_bridge: str
    tunnel_bridge: str
    gateway: bool
    place: Place = field(compare=False)
    ovsdb: str | None = None  # Where its database listens, as Open vSwitch writes it; None: it is not read.


@dataclass(frozen=True, slots=True)
class PhysicalNetwork:
    """A network outside the fabric that some hosts are wired to by their bridge `br-NAME`."""

    name: str
    hosts: tuple[str, ...]
    vlans: tuple[Range, ...]
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Tenant:
    """An owner of networks and ports, and what the operator grants it; `None` means no limit."""

    name: str
    segments: tuple[Range, ...]
    vlans: Mapping[str, tuple[Range, ...]]  # physical network -> VLANs
    ports: int | None
    rules: int | None
    place: Place = field(compare=False)
    connections: int | None = None  # tracked connections in one address space on one host


@dataclass(frozen=True, slots=True)
class Network:
    """A layer-2 segment. `segment` is the VNI, key or VLAN; None for `local` and `flat`."""

    name: str
    tenant: str
    type: NetworkType
    segment: int | None
    physical_network: str | None
    cidrs: tuple[Prefix, ...]
    gateways: tuple[Address, ...]  # one per cidr, same order
    mtu: int
    share: tuple[str, ...]  # tenants that may attach ports
    place: Place = field(compare=False)
    dhcp: bool = False  # whether ports are told their addresses
    dns: tuple[Address, ...] = ()
    domain: str | None = None
    lease: int = 86400  # seconds
    ipv6: Ipv6Mode = Ipv6Mode.DHCP


@dataclass(frozen=True, slots=True)
class ExternalNetwork:
    """A way out of the fabric: a flat network (`vlan` None) or a VLAN of a physical network, whose hosts are others'.

    `gateways` are the next hops beyond it, at most one of each IP version; `pool` holds the first and last addresses that routers and
    floating IPs may have.
    """

    name: str
    physical_network: str
    vlan: int | None
    cidrs: tuple[Prefix, ...]
    gateways: tuple[Address, ...]
    pool: tuple[tuple[Address, Address], ...]
    mtu: int
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Route:
    """A static route of a router: what is for `to` goes to the host that has `via` on one of the router's networks.

    Several with one `to` share its flows among them.
    """

    to: Prefix
    via: Address
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Router:
    """What joins networks of a tenant, on every host, and leads out by an external network.

    `addresses` are its own on the external network, one of each prefix there; with `snat` all that has no floating IP leaves in their name.
    """

    name: str
    tenant: str
    networks: tuple[str, ...]
    external: str | None
    snat: bool
    routes: tuple[Route, ...]
    addresses: tuple[Address, ...]
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class FloatingIp:
    """An address of an external network that stands for `fixed`, an address of a port; `router` leads between the two."""

    name: str  # TENANT/ADDRESS
    tenant: str
    address: Address
    external: str
    router: str
    port: str
    fixed: Address
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a security group: what it allows in its direction.

    `ethertype` is 4, 6 or None for both; `protocol` an IP protocol number or None for any. `ports` is empty
    for all. `cidrs`, `groups` and `addresses` (names of address groups) are the far side; all empty means anyone.

    A rule that is not enforced allows nothing: what it alone would have allowed still passes, and is counted as "would drop".
    """

    direction: Direction
    ethertype: int | None
    protocol: int | None
    ports: tuple[Range, ...]
    icmp_type: int | None
    icmp_code: int | None
    cidrs: tuple[Prefix, ...]
    groups: tuple[str, ...]
    place: Place = field(compare=False)
    addresses: tuple[str, ...] = ()
    enforce: bool = True
    log: bool = False

    @property
    def is_from_anyone(self) -> bool:
        """Whether the far side is not restricted."""
        return not self.cidrs and not self.groups and not self.addresses


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """Rules that ports share; what no rule allows is refused. `egress: any` is one rule without limits.

    A port all of whose groups are not enforced drops nothing by rules. A stateless group judges every packet by itself, answers too.
    """

    name: str
    tenant: str
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]
    place: Place = field(compare=False)
    enforce: bool = True
    stateless: bool = False
    log: bool = False
    share: tuple[str, ...] = ()  # tenants that may name the group in rules, and whose ports may join it; or `EVERYBODY`


@dataclass(frozen=True, slots=True)
class AddressGroup:
    """A named set of prefixes that rules have as their far side; they are in order, each once."""

    name: str
    tenant: str
    prefixes: tuple[Prefix, ...]
    share: tuple[str, ...]  # tenants that may name it in rules, or `EVERYBODY`
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class AllowedAddress:
    """A further address that a port may use. `ip` is a prefix (one address or a subnet); `mac` None means the port's own."""

    ip: Prefix
    mac: int | None


@dataclass(frozen=True, slots=True)
class Port:
    """A VM's or container's attachment. `mac` is 48 bits; `host` None binds where the interface shows up.

    A subport of a VLAN-aware VM, `TENANT/PORT:VLAN`, has no interface: its frames bear the tag `vlan` on that of its `parent`.
    """

    name: str
    tenant: str
    network: str
    mac: int
    ips: tuple[Address, ...]
    host: str | None
    groups: tuple[str, ...]
    port_security: bool
    allowed: tuple[AllowedAddress, ...]
    place: Place = field(compare=False)
    new_connections: int | None = None  # how many may open in a second
    ethertypes: tuple[int, ...] = ()  # let through besides IPv4, IPv6 and ARP
    parent: str | None = None
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """An expectation. `source` and `target` are port names, or one of them is an address as text.

    `port` is the destination port; `reply` False says that only the first packet is asked about.
    """

    tenant: str
    source: str
    target: str
    protocol: int | None
    port: int | None
    expect: Verdict
    reply: bool
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything the files say, checked. Mappings are in the files' order.

    Those of the tenants' entities are `ByTenant` where files are read: the parts of tenants whose files did not change are the same
    objects in one topology and the next.
    """

    name: str
    overlay: NetworkType
    mtu: int
    hosts: Mapping[str, Host]
    physical_networks: Mapping[str, PhysicalNetwork]
    tenants: Mapping[str, Tenant]
    networks: Mapping[str, Network] = field(default_factory=dict)
    groups: Mapping[str, SecurityGroup] = field(default_factory=dict)
    ports: Mapping[str, Port] = field(default_factory=dict)
    tests: tuple[PolicyTest, ...] = ()
    address_groups: Mapping[str, AddressGroup] = field(default_factory=dict)
    external_networks: Mapping[str, ExternalNetwork] = field(default_factory=dict)
    routers: Mapping[str, Router] = field(default_factory=dict)
    floating_ips: Mapping[str, FloatingIp] = field(default_factory=dict)
    masks: int = DEFAULT_MASKS  # that all tenants' rules may make a datapath hold
