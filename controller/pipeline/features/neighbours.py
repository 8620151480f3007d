"""Neighbours: ARP requests and IPv6 neighbour solicitations for known addresses are answered on the asker's host."""

from __future__ import annotations

from ipaddress import IPv4Address

from controller.graph import queries
from controller.memo import Memo
from controller.model.ids import key
from controller.pipeline.discovery import ARP_REQUEST, SOLICITATION, WRITES, advertise, answer, question
from controller.pipeline.fields import ETH_ARP
from controller.pipeline.flow import Action, Origin, match
from controller.pipeline.known import Known
from controller.pipeline.program import Builder
from controller.pipeline.registers import ASKS, NETWORK, OWNER, SOURCE
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, PortView


def _always(builder: Builder, _host: HostView) -> None:
    ours = Origin("Weft: neighbours", None)
    probe = match(eth_type=ETH_ARP, arp_op=ARP_REQUEST, arp_spa=0)
    builder.flow("respond", 300, probe, goto=Stage.EGRESS_POLICY, kind="probe", origin=ours)
    detection = match(**SOLICITATION, ipv6_src=0)
    builder.flow("respond", 300, detection, goto=Stage.EGRESS_POLICY, kind="probe", origin=ours)
    builder.flow("respond", 0, (), goto=Stage.EGRESS_POLICY, kind="not asked", origin=ours)
    _write_advertisement(builder, ours)


def _own_addresses(builder: Builder, port: PortView) -> None:
    for address in port.port.ips:
        if isinstance(address, IPv4Address):
            source = {SOURCE.field: SOURCE.is_(port.plug.key)}
            own = match(**source, eth_type=ETH_ARP, arp_op=ARP_REQUEST, arp_tpa=int(address))
            builder.flow("respond", 200, own, goto=Stage.EGRESS_POLICY, kind="own address", origin=port.origin)


def _answer(builder: Builder, network: str, known: Known) -> None:
    here = {NETWORK.field: NETWORK.is_(key("network", network))}
    if not known.is_answered:
        return
    address = known.address
    # The packet has no use for it: by it the flow differs when the address's owner does (`controller.pipeline.released`).
    told = owner_of(known)
    origin = origin_of(builder.memo, known)
    asked = match(**here, **question(address))
    actions = [told, *answer(address, known.mac, is_router=known.is_router)]
    if isinstance(address, IPv4Address):
        builder.flow("respond", 100, asked, actions, "back", kind="ARP answer", origin=origin)
    else:
        builder.flow("respond", 100, asked, actions, "advertise", kind="ND answer", origin=origin)


def owner_of(known: Known) -> Action:
    """Return the action that tells whose an address is."""
    return OWNER.load(key("router" if known.is_router else "port", known.owner))


def origin_of(memo: Memo, known: Known) -> Origin:
    """Return the origin of flows about an address."""
    if known.is_router:
        return Origin(f"router {known.owner}", queries.router_place(memo, known.owner))
    owner = queries.port(memo, known.owner)
    return Origin(f"port {known.owner}", None if owner is None else owner.place)


def _write_advertisement(builder: Builder, origin: Origin) -> None:
    where, tell = advertise()
    builder.flow("advertise", 100, where, [tell], "back", kind="ND answer", origin=origin)


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
            writes=(*WRITES, "reg15"),
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
