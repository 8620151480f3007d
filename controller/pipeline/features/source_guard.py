"""Source guard: a port sends from its own MAC and addresses, and is no DHCP server and no router."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from controller.graph.queries import host_prefix
from controller.model.address import link_local
from controller.model.entities import Prefix
from controller.pipeline.fields import ETH_ARP, ETH_IPV4, ETH_IPV6, PROTO_ICMPV6, PROTO_UDP
from controller.pipeline.flow import Origin, Wanted, match, move
from controller.pipeline.program import Builder
from controller.pipeline.registers import ASKS, PORTS, SCRATCH, SOURCE
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, PortView, macs_of
from controller.pipeline.whole import look_at_whole

_ROUTER_SOLICITATION, _ROUTER_ADVERTISEMENT, _SOLICITATION, _ADVERTISEMENT, _REDIRECT = 133, 134, 135, 136, 137
_LISTENER_REPORT, _LISTENER_DONE, _LISTENER_REPORT_2 = 131, 132, 143
_ARP_REQUEST = 1
_DHCP_SERVER, _DHCP_CLIENT, _DHCP6_SERVER, _DHCP6_CLIENT = 67, 68, 547, 546
_EVERYTHING: dict[int, Prefix] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
_ONES = 0xFFFFFFFF
_DHCP_REQUEST = {"eth_type": ETH_IPV4, "ip_proto": PROTO_UDP, "udp_src": _DHCP_CLIENT, "udp_dst": _DHCP_SERVER}
_ICMPV6 = {"eth_type": ETH_IPV6, "ip_proto": PROTO_ICMPV6}
# Neighbour discovery's fields need the code as well as the type (ovs-fields(7), prerequisite ND).
_SOLICIT = _ICMPV6 | {"icmpv6_type": _SOLICITATION, "icmpv6_code": 0}
_ADVERTISE = _ICMPV6 | {"icmpv6_type": _ADVERTISEMENT, "icmpv6_code": 0}


def _guard(builder: Builder, port: PortView) -> None:
    if port.port.port_security:
        _write_ipv4(builder, port)
        _write_ipv6(builder, port)
        for ethertype in port.port.ethertypes:
            further = match(**{SOURCE.field: SOURCE.is_(port.plug.key)}, eth_type=ethertype)
            kind = "further ethertype"
            builder.flow("source_guard", 100, further, goto=Stage.EGRESS_POLICY, kind=kind, origin=port.origin)
        forged = match(**{SOURCE.field: SOURCE.is_(port.plug.key)})
        builder.flow("source_guard", 1, forged, kind="forged address", origin=port.origin)


def _write_always(builder: Builder, _host: HostView) -> None:
    """Write what holds for every guarded port: it may ask for an address, and is no DHCP server, no router, no neighbour that hides."""
    ours = Origin("Weft: source guard", None)
    # The frame's MAC is one of the port's: that has been looked at first.
    for where, fields in (
        (match(eth_type=ETH_IPV4), ("ip_src",)),
        (match(eth_type=ETH_ARP), ("arp_spa",)),
        (match(**_ICMPV6), ("icmpv6_type", "icmpv6_code")),
    ):
        look = look_at_whole(*fields)
        builder.flow("whole", 100, where, look, "source_guard", kind="looked at whole", origin=ours)
    builder.flow("whole", 0, (), goto="source_guard", kind="looked at", origin=ours)
    _write_dhcp(builder, ours)
    for kind in (_ROUTER_ADVERTISEMENT, _REDIRECT):
        builder.flow("nd_guard", 400, match(**_ICMPV6, icmpv6_type=kind), kind="router", origin=ours)
    for kind in (_ROUTER_SOLICITATION, _LISTENER_REPORT, _LISTENER_DONE, _LISTENER_REPORT_2):
        where = match(**_ICMPV6, icmpv6_type=kind, ipv6_src=0)
        builder.flow("nd_guard", 300, where, goto=Stage.RESPOND, kind="unspecified source", origin=ours)
    builder.flow("nd_guard", 200, match(eth_type=ETH_IPV6, ipv6_src=0), kind="unspecified source", origin=ours)
    for message in (_SOLICIT, _ADVERTISE):
        # A switch that meets an option twice, or no target at all, sees neither target nor options; a kernel takes the first.
        unreadable = match(**message, nd_target=0)
        builder.flow("nd_guard", 400, unreadable, kind="unreadable neighbour", origin=ours)
    for kind in (_SOLICITATION, _ADVERTISEMENT):
        builder.flow("nd_guard", 50, match(**_ICMPV6, icmpv6_type=kind), kind="forged neighbour", origin=ours)
    builder.flow("nd_guard", 0, (), goto="service", kind="own IPv6 source", origin=ours)


def _write_dhcp(builder: Builder, ours: Origin) -> None:
    """Write that clients may ask, and that servers may not answer."""
    nameless = match(eth_type=ETH_IPV4, ip_proto=PROTO_UDP, ip_src=0)
    ports = [move("udp_src", PORTS.field), move("udp_dst", PORTS.field, 16)]
    look = [*look_at_whole("ip_dst"), *ports]
    # Below the flows of own addresses: where the files say nothing of them, no address is one as good as any.
    builder.flow("source_guard", 90, nameless, look, "asking", kind="no address yet", origin=ours)
    asks = [ASKS.load(1), PORTS.load(0)]
    request = match(**{PORTS.field: _DHCP_SERVER << 16 | _DHCP_CLIENT}, eth_type=ETH_IPV4, ip_dst=_ONES)
    builder.flow("asking", 100, request, asks, Stage.RESPOND, kind="DHCP client", origin=ours)
    for ethertype, server, client in (
        (ETH_IPV4, _DHCP_SERVER, _DHCP_CLIENT),
        (ETH_IPV6, _DHCP6_SERVER, _DHCP6_CLIENT),
    ):
        for port in (server, client):
            where = match(eth_type=ethertype, ip_proto=PROTO_UDP, udp_dst=port)
            builder.flow("service", 100, where, ports, "dhcp", kind="to a DHCP port", origin=ours)
        answer = match(**{PORTS.field: client << 16 | server}, eth_type=ethertype)
        builder.flow("dhcp", 100, answer, kind="DHCP server", origin=ours)
        request = match(**{PORTS.field: server << 16 | client}, eth_type=ethertype)
        builder.flow("dhcp", 100, request, asks, Stage.RESPOND, kind="DHCP client", origin=ours)
    builder.flow("service", 0, (), goto=Stage.RESPOND, kind="own source", origin=ours)
    builder.flow("dhcp", 0, (), [PORTS.load(0)], Stage.RESPOND, kind="own source", origin=ours)


def _write_ipv4(builder: Builder, port: PortView) -> None:
    who: dict[str, Wanted] = {SOURCE.field: SOURCE.is_(port.plug.key)}
    for mac in macs_of(port.port):
        probe = match(**who, eth_src=mac, eth_type=ETH_ARP, arp_op=_ARP_REQUEST, arp_sha=mac, arp_spa=0)
        builder.flow("source_guard", 100, probe, goto=Stage.RESPOND, kind="ARP probe", origin=port.origin)
    for mac, prefix in _pairs(port, 4):
        here = who | {"eth_src": mac}
        own = match(**here, eth_type=ETH_IPV4, ip_src=prefix)
        builder.flow("source_guard", 100, own, goto="service", kind="own IPv4 source", origin=port.origin)
        arp = match(**here, eth_type=ETH_ARP, arp_sha=mac, arp_spa=prefix)
        builder.flow("source_guard", 100, arp, goto=Stage.RESPOND, kind="own ARP", origin=port.origin)


def _write_ipv6(builder: Builder, port: PortView) -> None:
    who = {SOURCE.field: SOURCE.is_(port.plug.key)}
    pairs = list(_pairs(port, 6))
    for mac, prefix in pairs:
        own = match(**who, eth_src=mac, eth_type=ETH_IPV6, ipv6_src=prefix)
        builder.flow("source_guard", 100, own, goto="nd_guard", kind="own IPv6 source", origin=port.origin)
        for option in (mac, 0):
            where = match(**who, **_ADVERTISE, nd_target=prefix, nd_tll=option)
            builder.flow("nd_guard", 100, where, goto=Stage.EGRESS_POLICY, kind="own advertisement", origin=port.origin)
        probe = match(**who, **_SOLICIT, ipv6_src=0, nd_target=prefix)
        builder.flow("nd_guard", 300, probe, goto=Stage.RESPOND, kind="duplicate address detection", origin=port.origin)
    for mac in sorted({mac for mac, _ in pairs}):
        unspecified = match(**who, eth_src=mac, eth_type=ETH_IPV6, ipv6_src=0)
        builder.flow("source_guard", 110, unspecified, goto="nd_guard", kind="unspecified source", origin=port.origin)
        for option in (mac, 0):
            where = match(**who, **_SOLICIT, nd_sll=option)
            builder.flow("nd_guard", 100, where, goto=Stage.RESPOND, kind="own solicitation", origin=port.origin)


def _pairs(port: PortView, version: int) -> Iterator[tuple[int, Prefix]]:
    """Yield the (MAC, prefix) pairs of one IP version that the port may use.

    On a network without cidr the files say nothing of addresses, so the MAC alone is guarded. A port with an IPv6
    address also has the link-local address that follows from its MAC (RFC 4291, appendix A).
    """
    mine = port.port
    found: list[tuple[int, Prefix]] = []
    if not port.network.network.cidrs:
        found.append((mine.mac, _EVERYTHING[version]))
    found += [(mine.mac, host_prefix(address)) for address in mine.ips if address.version == version]
    for allowed in mine.allowed:
        if allowed.ip.version == version:
            found.append((mine.mac if allowed.mac is None else allowed.mac, allowed.ip))
    if version == 6:
        found += [(mac, host_prefix(link_local(mac))) for mac in sorted({mac for mac, _ in found})]
    yield from dict.fromkeys(found)


FEATURE = Feature(
    name="source_guard",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="whole",
            stage=Stage.SOURCE_GUARD,
            slot=0,
            matches=("eth_type", "ip_proto"),
            writes=(SCRATCH.field,),
            next=("source_guard",),
            purpose="what the guard tells senders by is looked at whole: in parts it would cost the datapath a mask for each length",
            miss="cannot be reached: the last flow lets everything else go on",
        ),
        Table(
            name="source_guard",
            stage=Stage.SOURCE_GUARD,
            slot=1,
            matches=(
                *("reg1", "eth_src", "eth_type", "ip_proto", "ip_src", "ipv6_src"),
                *("arp_op", "arp_sha", "arp_spa"),
            ),
            writes=(SCRATCH.field, PORTS.field),
            next=("nd_guard", "asking", "service", Stage.RESPOND, Stage.EGRESS_POLICY),
            purpose="source port, MAC and address belong together; the MAC is one of the port's",
            miss="dropped: a forged address, or an ethertype other than IP and ARP",
        ),
        Table(
            name="nd_guard",
            stage=Stage.SOURCE_GUARD,
            slot=2,
            matches=(
                *("reg1", "eth_type", "ip_proto", "ipv6_src", "icmpv6_type", "icmpv6_code"),
                *("nd_target", "nd_sll", "nd_tll"),
            ),
            writes=(),
            next=("service", Stage.RESPOND, Stage.EGRESS_POLICY),
            purpose="neighbour discovery speaks of the port's own addresses only",
            miss="cannot be reached: the last flow lets other IPv6 go on",
        ),
        Table(
            name="asking",
            stage=Stage.SOURCE_GUARD,
            slot=3,
            matches=(PORTS.field, "eth_type", "ip_dst"),
            writes=(ASKS.field, PORTS.field),
            next=(Stage.RESPOND,),
            purpose="who has no address yet may ask for one",
            miss="dropped: a datagram from nobody",
        ),
        Table(
            name="service",
            stage=Stage.SOURCE_GUARD,
            slot=4,
            matches=("eth_type", "ip_proto", "udp_dst"),
            writes=(PORTS.field,),
            next=("dhcp", Stage.RESPOND),
            purpose="the port of a service that not everybody may offer is told by the one it is sent to",
            miss="cannot be reached: the last flow lets everything else go on",
        ),
        Table(
            name="dhcp",
            stage=Stage.SOURCE_GUARD,
            slot=5,
            matches=(PORTS.field, "eth_type"),
            writes=(ASKS.field, PORTS.field),
            next=(Stage.RESPOND,),
            purpose="everybody is a DHCP client, and no port a DHCP server",
            miss="cannot be reached: the last flow lets everything else go on",
        ),
    ),
    kinds={
        "forged address": "an address that is not the port's, or an ethertype other than IP and ARP",
        "further ethertype": "the files let this ethertype through for the port",
        "looked at whole": "an address, or an ICMPv6 type and code, that decides whether the sender may send this",
        "looked at": "everything else",
        "no address yet": "a datagram from a port that has no address: where it goes is looked at, and its ports",
        "to a DHCP port": "a datagram for a DHCP client's or server's port: both ports are looked at",
        "own source": "the source is the port's own, and no DHCP server",
        "DHCP server": "a DHCP or DHCPv6 server's message from a port",
        "DHCP client": "a client asks for its address, whether it has one or not",
        "ARP probe": "the port asks whether an address is free (RFC 5227)",
        "own IPv4 source": "IPv4 from an address of the port",
        "own ARP": "ARP that speaks of an address of the port",
        "own IPv6 source": "IPv6 from an address of the port, its link-local one included",
        "own solicitation": "a neighbour solicitation with the port's MAC or none",
        "own advertisement": "a neighbour advertisement of an address of the port",
        "duplicate address detection": "the port asks whether one of its addresses is free (RFC 4862, section 5.4)",
        "unspecified source": "IPv6 without a source address is for detection, routers and multicast listeners only",
        "unreadable neighbour": "neighbour discovery without a target, or with an option twice, which hides what it says",
        "forged neighbour": "neighbour discovery that speaks of somebody else",
        "router": "a router advertisement or redirect from a port",
    },
    flows={Scope.HOST: _write_always, Scope.PORT: _guard},
    allows=frozenset(
        {
            *("DHCP client", "ARP probe", "own IPv4 source", "own ARP", "own IPv6 source"),
            *("own solicitation", "own advertisement", "duplicate address detection"),
        }
    ),
)
