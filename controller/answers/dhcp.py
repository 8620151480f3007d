"""Clients of DHCP and of DHCPv6, told apart by the version of IP that they ask in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from controller.answers import datagram, dhcp4, dhcp6, udp
from controller.answers.asked import Answerer, Asked, PacketOut
from controller.pipeline.fields import PROTO_UDP
from controller.pipeline.questions import Question


def answer(asked: Asked) -> Iterator[PacketOut]:
    """Answer a port from the files. What they do not provide for, or no client says, is left unanswered."""
    network, port, packet = asked.network, asked.port, datagram.read(asked.packet)
    if network is None or port is None or packet is None or not network.dhcp or packet.source_mac != port.mac:
        return
    message = udp.read(packet.body) if packet.protocol == PROTO_UDP and not packet.is_fragment else None
    if message is None:
        return
    ports = message.source, message.target
    frames: Iterator[bytes] = iter(())
    if isinstance(packet.source, IPv4Address):
        if ports == (dhcp4.CLIENT_PORT, dhcp4.SERVER_PORT):
            frames = dhcp4.answer(asked, network, port, message.data)
    elif ports == (dhcp6.CLIENT_PORT, dhcp6.SERVER_PORT):
        frames = dhcp6.answer(network, port, packet, message.data)
    yield from map(asked.back, frames)


ANSWERS: Mapping[Question, Answerer] = {Question.DHCP: answer}
