"""The source guard from the model alone: what a guarded port may send; the oracle's first truth table in code."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from controller.model.address import format_mac, is_multicast_mac, link_local
from controller.model.entities import Address, Network, Port, Prefix
from controller.proof import packet as wire
from controller.proof.packet import Packet

_NOWHERE, _EVERYONE, _UNSPECIFIED = IPv4Address(0), IPv4Address(0xFFFFFFFF), IPv6Address(0)
_NO_TARGET = "a neighbour message without a target"
_FROM_UNSPECIFIED = (
    wire.ROUTER_SOLICITATION,
    wire.LISTENER_REPORT,
    wire.LISTENER_DONE,
    wire.LISTENER_REPORT_2,
)


def malformed(packet: Packet) -> str | None:
    """Return why no port at all may send this frame, or None."""
    if packet.tagged:
        return "a frame with a VLAN tag belongs to no network"
    if is_multicast_mac(packet.eth_src):
        return f"source MAC {format_mac(packet.eth_src)} is a group address"
    return None


class Guard:
    """One port's MACs and addresses, and the judgement of what it sends."""

    def __init__(self, port: Port, network: Network) -> None:
        self._port = port
        self._has_cidr = bool(network.cidrs)
        self._macs = {port.mac, *(allowed.mac for allowed in port.allowed if allowed.mac is not None)}
        self._exact: set[tuple[int, Address]] = {(port.mac, address) for address in port.ips}
        self._wide: list[tuple[int, Prefix]] = []
        for allowed in port.allowed:
            mac = port.mac if allowed.mac is None else allowed.mac
            if allowed.ip.prefixlen == allowed.ip.max_prefixlen:
                self._exact.add((mac, allowed.ip.network_address))
            else:
                self._wide.append((mac, allowed.ip))
        self._macs6 = {mac for mac, address in self._exact if address.version == 6}
        self._macs6.update(mac for mac, prefix in self._wide if prefix.version == 6)
        if not self._has_cidr:
            self._macs6.add(port.mac)
        self._exact.update((mac, link_local(mac)) for mac in self._macs6)

    def owns(self, mac: int, address: Address | None) -> bool:
        """Return whether the port may use this address with this MAC."""
        if address is None:
            return False
        if not self._has_cidr and mac == self._port.mac:
            return True
        return (mac, address) in self._exact or any(
            mac == with_mac and prefix.version == address.version and address in prefix
            for with_mac, prefix in self._wide
        )

    def refusal(self, packet: Packet) -> str | None:
        """Return why the guard stops the packet, or None."""
        wrong = malformed(packet)
        if wrong is not None:
            return wrong
        if packet.eth_src not in self._macs:
            return f"source MAC {format_mac(packet.eth_src)} is not of {self._port.name}"
        if packet.eth_type == wire.ARP:
            return self._arp(packet)
        if packet.version is None:
            if packet.eth_type in self._port.ethertypes:
                return None
            return f"ethertype {packet.eth_type:#06x} is neither IP nor ARP, and {self._port.name} does not name it"
        if packet.is_dhcp_reply:
            return "ports are no DHCP servers"
        return self._ipv4(packet) if packet.version == 4 else self._ipv6(packet)

    def _arp(self, packet: Packet) -> str | None:
        if packet.hardware != packet.eth_src:
            return "ARP names another MAC than the frame's"
        if packet.src == _NOWHERE and packet.arp_op == wire.ARP_REQUEST:
            return None
        return None if self.owns(packet.eth_src, packet.src) else self._not_mine(packet)

    def _ipv4(self, packet: Packet) -> str | None:
        if packet.is_dhcp_request and packet.src == _NOWHERE and packet.dst == _EVERYONE:
            return None
        return None if self.owns(packet.eth_src, packet.src) else self._not_mine(packet)

    def _ipv6(self, packet: Packet) -> str | None:
        if packet.is_icmpv6 and packet.icmp_type in (wire.ROUTER_ADVERTISEMENT, wire.REDIRECT):
            return "ports are no routers"
        if packet.src == _UNSPECIFIED:
            return self._unspecified(packet)
        if not self.owns(packet.eth_src, packet.src):
            return self._not_mine(packet)
        if packet.is_icmpv6 and packet.icmp_type in (wire.NEIGHBOUR_SOLICITATION, wire.NEIGHBOUR_ADVERTISEMENT):
            return self._neighbour(packet)
        return None

    def _unspecified(self, packet: Packet) -> str | None:
        if packet.has_no_target:
            return _NO_TARGET
        if packet.eth_src in self._macs6 and packet.is_icmpv6:
            if packet.icmp_type in _FROM_UNSPECIFIED:
                return None
            if packet.is_solicitation and any(self.owns(mac, packet.target) for mac in self._macs6):
                return None
        return "IPv6 without a source address is for address detection, routers and listeners only"

    def _neighbour(self, packet: Packet) -> str | None:
        if packet.has_no_target:
            return _NO_TARGET
        macs = self._macs6 if packet.hardware is None else self._macs6 & {packet.hardware}
        if packet.is_solicitation and macs:
            return None
        if packet.is_advertisement and any(self.owns(mac, packet.target) for mac in macs):
            return None
        return f"a neighbour message that does not speak of {self._port.name}"

    def _not_mine(self, packet: Packet) -> str:
        return f"{packet.src} with MAC {format_mac(packet.eth_src)} is not of {self._port.name}"
