"""DHCP: where the files say what a port's addresses are, its questions for them go to the controller, and to nobody else.

Clients of DHCP and DHCPv6, and router solicitations (RFC 4861, section 4.1). What answers them is `controller.answers`.
"""

from __future__ import annotations

from controller.graph import queries
from controller.pipeline.fields import ETH_IPV4, ETH_IPV6, PROTO_ICMPV6, PROTO_UDP
from controller.pipeline.flow import Origin, Wanted, match
from controller.pipeline.program import Builder
from controller.pipeline.questions import Question, ask, port_meter
from controller.pipeline.registers import ASKS, QUESTION, SOURCE
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, PortView

_ROUTER_SOLICITATION = 133
_SOLICIT = {"eth_type": ETH_IPV6, "ip_proto": PROTO_ICMPV6, "icmpv6_type": _ROUTER_SOLICITATION}
# A client's port and the server's.
_CLIENTS = {ETH_IPV4: (68, 67), ETH_IPV6: (546, 547)}


def _always(builder: Builder, _host: HostView) -> None:
    ours = Origin("Weft: DHCP", None)
    # The source guard knows a client's question when it sees one.
    builder.flow("respond", 400, match(**{ASKS.field: ASKS.is_(1)}), goto="clients", kind="client", origin=ours)
    builder.flow("respond", 300, match(**_SOLICIT), goto="clients", kind="solicitation", origin=ours)
    builder.flow("clients", 0, (), goto=Stage.EGRESS_POLICY, kind="not served", origin=ours)


def _port(builder: Builder, port: PortView) -> None:
    network = port.network.network
    versions = {cidr.version for cidr in network.cidrs}
    is_routed = queries.router_of(builder.memo, network.name) is not None
    asks_for_routers = 6 in versions and (network.dhcp or is_routed)
    if not asks_for_routers and not (network.dhcp and versions):
        return
    meter = port_meter(port.plug.number)
    # What bears another MAC is asked on behalf of somebody whom the files do not know.
    who: dict[str, Wanted] = {SOURCE.field: SOURCE.is_(port.plug.key), "eth_src": port.port.mac}
    for version, ethertype in ((4, ETH_IPV4), (6, ETH_IPV6)):
        if network.dhcp and version in versions:
            if port.plug.is_open:
                _write_open(builder, port, ethertype)
            where = match(**who, eth_type=ethertype, ip_proto=PROTO_UDP)
            question = ask(Question.DHCP, meter)
            builder.flow("clients", 100, where, question, kind="DHCP question", origin=port.origin)
    if asks_for_routers:
        where = match(**who, eth_type=ETH_IPV6, ip_proto=PROTO_ICMPV6)
        question = ask(Question.ROUTER, meter)
        if network.type.is_provider and not is_routed:
            # There may be routers on the wire, of which the files know nothing.
            question.append(QUESTION.load(0))
            onward, kind = Stage.EGRESS_POLICY, "router question, to others as well"
            builder.flow("clients", 100, where, question, onward, kind=kind, origin=port.origin)
        else:
            builder.flow("clients", 100, where, question, kind="router question", origin=port.origin)


def _write_open(builder: Builder, port: PortView, ethertype: int) -> None:
    """Write how a client is known at a port that no guard has looked at."""
    client, server = _CLIENTS[ethertype]
    source: dict[str, Wanted] = {SOURCE.field: SOURCE.is_(port.plug.key), "eth_type": ethertype}
    where = match(**source, ip_proto=PROTO_UDP, udp_src=client, udp_dst=server)
    builder.flow("respond", 250, where, goto="clients", kind="unguarded client", origin=port.origin)


FEATURE = Feature(
    name="dhcp",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="clients",
            stage=Stage.RESPOND,
            slot=2,
            matches=(SOURCE.field, "eth_src", "eth_type", "ip_proto"),
            writes=(QUESTION.field,),
            next=(Stage.EGRESS_POLICY,),
            purpose="what are my addresses, and who is my router? -> the controller answers from the files",
            miss="cannot be reached: the last flow lets everything else go on",
        ),
    ),
    kinds={
        "client": "a question for a DHCP server, of either version",
        "unguarded client": "likewise, from a port without port security",
        "solicitation": "a question for routers",
        "DHCP question": "the files say what the port's addresses are: the controller tells it",
        "router question": "the files say who the router is, or that DHCPv6 tells the addresses: the controller tells it",
        "router question, to others as well": "likewise; on a physical network without a router of ours there may be somebody else's",
        "not served": "on a network without DHCP others may answer: the question goes on as any packet does",
    },
    flows={Scope.HOST: _always, Scope.PORT: _port},
)
