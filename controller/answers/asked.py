"""A question with all that an answer may follow from, and the packets that answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controller.model.entities import Host, Network, Port, Router, Topology
from controller.pipeline.fields import BY_NAME, VLAN_PRESENT
from controller.pipeline.flow import Action, Output, PortNumber, PushVlan, set_field
from controller.pipeline.questions import Question
from controller.pipeline.registers import Register


class PacketOut(NamedTuple):
    """A frame, and what the switch shall do with it.

    `actions` may write registers and go through tables (`Resubmit`), as those of a flow may.
    """

    frame: bytes
    actions: tuple[Action, ...]
    in_port: int = PortNumber.CONTROLLER  # What the tables shall take it for having come from.


@dataclass(frozen=True, slots=True)
class Asked:
    """What a switch asks.

    Attributes:
        question: What is asked.
        topology: The files in force.
        host: The host whose br-int asks.
        in_port: The OpenFlow number of the interface there that the packet came from.
        port: The port of the files that sent it, or the subport; None for what came from elsewhere.
        network: The network that the packet is in, None where no network of the files is.
        router: The router that has the network, if one does.
        fields: Fields and registers as the switch had them when it asked, by the field's index; those that were 0 are left out.
        packet: The frame, as far as it is there. What flows had rewritten is rewritten, and a subport's tag is off.
    """

    question: Question
    topology: Topology
    host: Host
    in_port: int
    port: Port | None
    network: Network | None
    router: Router | None
    fields: Mapping[int, int]
    packet: bytes

    def register(self, register: Register) -> int:
        """Return what a register held."""
        return (self.fields.get(BY_NAME[register.field].index, 0) & register.mask) >> register.offset

    def back(self, frame: bytes) -> PacketOut:
        """Return the packet-out that hands a frame to who sent the packet, with a subport's tag."""
        return PacketOut(frame, (*tagged(self.port), Output(self.in_port)))


Answerer = Callable[[Asked], Iterable[PacketOut]]


def tagged(port: Port | None) -> tuple[Action, ...]:
    """Return the actions that give a frame the tag that it bears on the interface of a port."""
    if port is None or port.vlan is None:
        return ()
    return PushVlan(), set_field("vlan_tci", VLAN_PRESENT | port.vlan)
