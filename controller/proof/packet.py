"""A packet as the oracle sees it: what one port sends, with the fields that decide where it may go."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller.model.entities import Address

IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
WITH_PORTS = (TCP, UDP, SCTP)

ARP_REQUEST = 1
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, REDIRECT = range(133, 138)
ECHO_REQUEST, TIMESTAMP_REQUEST, INFORMATION_REQUEST, ECHO_REQUEST_6 = 8, 13, 15, 128
ECHO_REPLY, ECHO_REPLY_6 = 0, 129
ECHO = {4: (ICMP, ECHO_REQUEST), 6: (ICMPV6, ECHO_REQUEST_6)}  # What `ping` sends, by the IP version.
QUESTIONS = (ECHO_REQUEST, TIMESTAMP_REQUEST, INFORMATION_REQUEST)
LISTENER_QUERY, LISTENER_REPORT, LISTENER_DONE, LISTENER_REPORT_2 = 130, 131, 132, 143

# Neighbour discovery and multicast listener messages of IPv6, which are no part of a connection.
UNTRACKED = frozenset((*range(LISTENER_QUERY, REDIRECT + 1), LISTENER_REPORT_2))


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame that the port `source` sends.

    `src` and `dst` are the IP addresses, or ARP's protocol addresses. `hardware` is ARP's sender hardware address, or the
    link-layer address option of a neighbour message (None if it carries none). `target` is a neighbour message's target.
    `ttl` is what IP says of its time to live. `tagged`: it bears a VLAN tag that is no subport's.
    A `later_fragment` carries no ports and no ICMP type: those that it has here are of the packet that it is a piece of.
    """

    source: str
    eth_src: int
    eth_dst: int
    eth_type: int
    src: Address | None = None
    dst: Address | None = None
    protocol: int | None = None
    sport: int = 0
    dport: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    arp_op: int = 0
    hardware: int | None = None
    target: Address | None = None
    tagged: bool = False
    later_fragment: bool = False
    ttl: int = 64

    @property
    def as_seen(self) -> Packet:
        """What a switch that keeps no fragments sees of it: of a later one neither ports nor the ICMP type."""
        return replace(self, sport=0, dport=0, icmp_type=0, icmp_code=0) if self.later_fragment else self

    @property
    def version(self) -> int | None:
        """4 or 6 for IP, None for everything else."""
        return {IPV4: 4, IPV6: 6}.get(self.eth_type)

    @property
    def is_icmpv6(self) -> bool:
        """Whether this is ICMP of IPv6."""
        return self.eth_type == IPV6 and self.protocol == ICMPV6

    @property
    def is_solicitation(self) -> bool:
        """Whether this asks for a neighbour's MAC (RFC 4861, section 4.3)."""
        return self.is_icmpv6 and self.icmp_type == NEIGHBOUR_SOLICITATION and self.icmp_code == 0

    @property
    def is_advertisement(self) -> bool:
        """Whether this tells a neighbour's MAC (RFC 4861, section 4.4)."""
        return self.is_icmpv6 and self.icmp_type == NEIGHBOUR_ADVERTISEMENT and self.icmp_code == 0

    @property
    def has_no_target(self) -> bool:
        """Whether this is neighbour discovery that speaks of no address."""
        return (self.is_solicitation or self.is_advertisement) and not (self.target and int(self.target))

    @property
    def opens_nothing(self) -> bool:
        """Whether this is ICMP that starts no connection: an error, an answer or a type that no tracker knows."""
        if self.is_icmpv6:
            return self.icmp_type != ECHO_REQUEST_6 and self.icmp_type not in UNTRACKED
        return self.eth_type == IPV4 and self.protocol == ICMP and self.icmp_type not in QUESTIONS

    @property
    def is_dhcp_request(self) -> bool:
        """Whether a DHCP or DHCPv6 client speaks to servers."""
        ports = {IPV4: (68, 67), IPV6: (546, 547)}.get(self.eth_type)
        return self.protocol == UDP and (self.sport, self.dport) == ports

    @property
    def is_dhcp_reply(self) -> bool:
        """Whether a DHCP or DHCPv6 server speaks to a client."""
        ports = {IPV4: (67, 68), IPV6: (547, 546)}.get(self.eth_type)
        return self.protocol == UDP and (self.sport, self.dport) == ports
