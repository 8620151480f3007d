"""Tunnels to the byte: encapsulation of VXLAN, GRE and Geneve, and a VTEP that is not ours and is not Open vSwitch."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from controller.model.address import is_multicast_mac
from controller.model.entities import NetworkType, Topology
from tests.ovs.frames import checksum

_PORTS = {NetworkType.VXLAN: 4789, NetworkType.GENEVE: 6081}
_UDP, _GRE = 17, 47
_KEY_PRESENT = 0x2000
_BRIDGED = 0x6558  # The payload is an Ethernet frame.


@dataclass(frozen=True, slots=True)
class Tunnelled:
    """An encapsulated frame: how, under which key, from and to which VTEP."""

    kind: NetworkType
    key: int
    src: IPv4Address
    dst: IPv4Address
    frame: bytes


def decapsulate(outer: bytes) -> Tunnelled:
    """Return what an underlay frame carries; raise ValueError if it is no tunnel packet."""
    if outer[12:14] != b"\x08\x00":
        raise ValueError("not IPv4")
    src, dst = IPv4Address(outer[26:30]), IPv4Address(outer[30:34])
    data = outer[14 + (outer[14] & 15) * 4 :]
    if outer[23] == _GRE:
        flags, protocol, number = struct.unpack_from(">HHI", data)
        if flags != _KEY_PRESENT or protocol != _BRIDGED:
            raise ValueError("not GRE with a key and a frame")
        return Tunnelled(NetworkType.GRE, number, src, dst, data[8:])
    port = int.from_bytes(data[2:4], "big")
    kind = next((kind for kind, number in _PORTS.items() if number == port), None)
    if outer[23] != _UDP or kind is None:
        raise ValueError("not a tunnel packet")
    options = 4 * (data[8] & 63) if kind is NetworkType.GENEVE else 0
    return Tunnelled(kind, int.from_bytes(data[12:15], "big"), src, dst, data[16 + options :])


def encapsulate(inside: Tunnelled, src_mac: int, dst_mac: int) -> bytes:
    """Return the underlay frame."""
    if inside.kind is NetworkType.GRE:
        protocol, payload = _GRE, struct.pack(">HHI", _KEY_PRESENT, _BRIDGED, inside.key) + inside.frame
    else:
        flags = 0x08000000 if inside.kind is NetworkType.VXLAN else _BRIDGED
        payload = struct.pack(">II", flags, inside.key << 8) + inside.frame
        protocol, payload = _UDP, struct.pack(">HHHH", 50000, _PORTS[inside.kind], 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    head += inside.src.packed + inside.dst.packed
    ethernet = dst_mac.to_bytes(6, "big") + src_mac.to_bytes(6, "big") + b"\x08\x00"
    return ethernet + head[:10] + checksum(head) + head[12:] + payload


class ForeignVtep:
    """A host of kind `vtep`: a bridge per network with a static table of MACs, which floods what it does not know."""

    def __init__(self, topology: Topology, location: Mapping[str, str], name: str) -> None:
        self.name = name
        self._topology = topology
        self._location = location
        self._address = _vtep(topology, name)

    def receive(self, packet: Tunnelled) -> list[tuple[str, bytes]]:
        """Return the (port, frame) pairs that a tunnel packet ends at."""
        return [
            (port, packet.frame)
            for network in self._topology.networks.values()
            if (network.type, network.segment) == (packet.kind, packet.key)
            for port in self._local(network.name, packet.frame)
        ]

    def send(self, source: str, sent: bytes) -> tuple[list[tuple[str, bytes]], list[Tunnelled]]:
        """Return where a frame of a local port ends here, and the tunnel packets that carry it elsewhere."""
        network = self._topology.networks[self._topology.ports[source].network]
        here = [(port, sent) for port in self._local(network.name, sent) if port != source]
        hosts = dict.fromkeys(self._location[port] for port in self._members(network.name))
        owners = [port for port in self._members(network.name) if _target(sent) in self._macs(port)]
        if owners and not is_multicast_mac(_target(sent)):
            hosts = dict.fromkeys(self._location[port] for port in owners)
        assert network.segment is not None
        copies = [
            Tunnelled(network.type, network.segment, self._address, _vtep(self._topology, host), sent)
            for host in hosts
            if host != self.name
        ]
        return here, copies

    def _local(self, network: str, sent: bytes) -> Iterable[str]:
        members = self._members(network)
        mine = [port for port in members if self._location[port] == self.name]
        if is_multicast_mac(_target(sent)):
            return mine
        if any(_target(sent) in self._macs(port) for port in members):
            return [port for port in mine if _target(sent) in self._macs(port)]
        return [port for port in mine if not self._topology.ports[port].port_security]

    def _members(self, network: str) -> list[str]:
        ports = self._topology.ports.values()
        return [port.name for port in ports if port.network == network and port.name in self._location]

    def _macs(self, name: str) -> set[int]:
        port = self._topology.ports[name]
        return {port.mac, *(allowed.mac for allowed in port.allowed if allowed.mac is not None)}


def _target(sent: bytes) -> int:
    return int.from_bytes(sent[:6], "big")


def _vtep(topology: Topology, host: str) -> IPv4Address:
    address = topology.hosts[host].tunnel_ip
    assert isinstance(address, IPv4Address)
    return address
