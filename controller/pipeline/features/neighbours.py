"""Neighbours: ARP requests and IPv6 neighbour solicitations for known addresses are answered on the asker's host."""

from __future__ import annotations

from ipaddress import IPv4Address

from controller.graph import queries
from controller.memo import Memo
from controller.model.ids import key
from controller.pipeline.fields import ETH_ARP, ETH_IPV6, PROTO_ICMPV6
from controller.pipeline.flow import Action, Origin, match, move, set_field
from controller.pipeline.known import Known
from controller.pipeline.program import Builder
from controller.pipeline.registers import ASKS, NETWORK, OWNER, SOURCE
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, PortView

_ARP_REQUEST, _ARP_REPLY = 1, 2
_SOLICITATION, _ADVERTISEMENT = 135, 136
_TARGET_LINK_LAYER_OPTION = 2
_SOLICITED_OVERRIDE, _ROUTER = 0x60000000, 0x80000000
_SOLICIT = {"eth_type": ETH_IPV6, "ip_proto": PROTO_ICMPV6, "icmpv6_type": _SOLICITATION, "icmpv6_code": 0}


def _always(builder: Builder, _host: HostView) -> None:
    ours = Origin("Weft: neighbours", None)
    probe = match(eth_type=ETH_ARP, arp_op=_ARP_REQUEST, arp_spa=0)
    builder.flow("respond", 300, probe, goto=Stage.EGRESS_POLICY, kind="probe", origin=ours)
    detection = match(**_SOLICIT, ipv6_src=0)
    builder.flow("respond", 300, detection, goto=Stage.EGRESS_POLICY, kind="probe", origin=ours)
    builder.flow("respond", 0, (), goto=Stage.EGRESS_POLICY, kind="not asked", origin=ours)
    _write_advertisement(builder, ours)


def _own_addresses(builder: Builder, port: PortView) -> None:
    for address in port.port.ips:
        if isinstance(address, IPv4Address):
            source = {SOURCE.field: SOURCE.is_(port.plug.key)}
            own = match(**source, eth_type=ETH_ARP, arp_op=_ARP_REQUEST, arp_tpa=int(address))
            builder.flow("respond", 200, own, goto=Stage.EGRESS_POLICY, kind="own address", origin=port.origin)


def _answer(builder: Builder, network: str, known: Known) -> None:
    here = {NETWORK.field: NETWORK.is_(key("network", network))}
    if not known.is_answered:
        return
    address = known.address
    # The packet has no use for it: by it the flow differs when the address's owner does (`controller.pipeline.released`).
    told = owner_of(known)
    origin = origin_of(builder.memo, known)
    if isinstance(address, IPv4Address):
        asked = match(**here, eth_type=ETH_ARP, arp_op=_ARP_REQUEST, arp_tpa=int(address))
        actions = (
            told,
            move("eth_src", "eth_dst"),
            set_field("eth_src", known.mac),
            set_field("arp_op", _ARP_REPLY),
            move("arp_sha", "arp_tha"),
            move("arp_spa", "arp_tpa"),
            set_field("arp_sha", known.mac),
            set_field("arp_spa", int(address)),
        )
        builder.flow("respond", 100, asked, actions, "back", kind="ARP answer", origin=origin)
        return
    asked = match(**here, **_SOLICIT, nd_target=int(address))
    actions_v6 = (
        told,
        move("eth_src", "eth_dst"),
        set_field("eth_src", known.mac),
        move("ipv6_src", "ipv6_dst"),
        set_field("ipv6_src", int(address)),
        set_field("nd_options_type", _TARGET_LINK_LAYER_OPTION),
        set_field("nd_reserved", _SOLICITED_OVERRIDE | (_ROUTER if known.is_router else 0)),
        set_field("icmpv6_type", _ADVERTISEMENT),
    )
    builder.flow("respond", 100, asked, actions_v6, "advertise", kind="ND answer", origin=origin)


def owner_of(known: Known) -> Action:
    """Return the action that tells whose an address is."""
    return OWNER.load(key("router" if known.is_router else "port", known.owner))


def origin_of(memo: Memo, known: Known) -> Origin:
    """Return the origin of flows about an address."""
    owner = queries.router(memo, known.owner) if known.is_router else queries.port(memo, known.owner)
    return Origin(f"{'router' if known.is_router else 'port'} {known.owner}", None if owner is None else owner.place)


def _write_advertisement(builder: Builder, origin: Origin) -> None:
    """Write the second half of an ND answer: nd_tll can be written only where type 136 has been matched."""
    where = match(eth_type=ETH_IPV6, ip_proto=PROTO_ICMPV6, icmpv6_type=_ADVERTISEMENT, icmpv6_code=0)
    builder.flow("advertise", 100, where, [move("eth_src", "nd_tll")], "back", kind="ND answer", origin=origin)


FEATURE = Feature(
    name="neighbours",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="respond",
            stage=Stage.RESPOND,
            slot=0,
            matches=(
                *("reg0", "reg1", "eth_type", "arp_op", "arp_spa", "arp_tpa"),
                *("ip_proto", "ipv6_src", "icmpv6_type", "icmpv6_code", "nd_target"),
                *(ASKS.field, "udp_src", "udp_dst"),
            ),
            writes=(
                *("eth_src", "eth_dst", "arp_op", "arp_sha", "arp_tha", "arp_spa", "arp_tpa"),
                *("ipv6_src", "ipv6_dst", "nd_options_type", "nd_reserved", "icmpv6_type", "reg15"),
            ),
            next=("advertise", "clients", "back", Stage.EGRESS_POLICY),
            purpose="who has this address? -> the answer, sent back at once",
            miss="cannot be reached: the last flow lets everything else go on",
        ),
        Table(
            name="advertise",
            stage=Stage.RESPOND,
            slot=1,
            matches=("eth_type", "ip_proto", "icmpv6_type", "icmpv6_code"),
            writes=("nd_tll",),
            next=("back",),
            purpose="the MAC goes into a neighbour advertisement's option",
            miss="dropped: only answers come here",
        ),
    ),
    kinds={
        "probe": "a check for a duplicate address must reach the address's owner, so it is not answered here",
        "own address": "a port that announces or checks its own address is not answered, the others hear it",
        "ARP answer": "an ARP request for a known address (RFC 826)",
        "ND answer": "a neighbour solicitation for a known address (RFC 4861, section 7.2.4)",
        "not asked": "everything else goes on",
    },
    flows={Scope.HOST: _always, Scope.PORT: _own_addresses, Scope.ADDRESS: _answer},
    sends=frozenset({"ARP answer", "ND answer"}),
)
