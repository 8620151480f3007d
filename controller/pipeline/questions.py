"""What a switch asks the controller: packets whose answers OpenFlow cannot make.

A packet-in tells what is asked by the register `QUESTION`, and who asks by the others. Every local port has a meter of its own for what
it asks, so that one that floods leaves the others theirs; what comes from elsewhere shares one for the host, but for what is heard
on external networks, which no tenant may drown.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from controller.pipeline.flow import Action, Origin, ToController
from controller.pipeline.program import Builder
from controller.pipeline.registers import QUESTION
from controller.pipeline.view import PortView

# Above the meters of new connections, which are numbers of ports, and that of samples.
_PORT_METERS: Final = 0x20000
HOST_METER: Final = 0x30000
OUTSIDE_METER: Final = 0x30001

PORT_RATE, PORT_BURST = (
    50,
    50,
)  # A second: a client asks a handful of times when it starts, a traceroute three times a hop.
HOST_RATE, HOST_BURST = 500, 500
_WHOLE = 0xFFFF


class Question(IntEnum):
    """What is asked; 0 is a sample, which asks nothing."""

    DHCP = 1  # A client's message, of either version: what are my address and my router?
    ROUTER = 2  # A router solicitation.
    EXPIRED = 3  # The packet's time to live has ended here: its sender is to be told.
    NO_ROUTE = 4  # Nothing leads to its destination.
    NO_HOST = 5  # It is in a network of the router, and nobody has it.
    NO_SERVICE = 6  # It is one of the router's own addresses, which offers nothing.
    TOO_BIG = 7  # It does not fit the way on.
    NEIGHBOUR = 8  # Which MAC has the destination, in the network that the packet is in? The packet waits for it.
    HEARD = 9  # A neighbour's answer, or its own announcement.


def port_meter(number: int) -> int:
    """Return the meter of what the port with this OpenFlow number asks."""
    return _PORT_METERS + number


def write_port_meter(builder: Builder, port: PortView) -> None:
    """Write the meter of what a port asks."""
    builder.meter(port_meter(port.plug.number), PORT_RATE, PORT_BURST, origin=port.origin)


def write_host_meter(builder: Builder, origin: Origin) -> None:
    """Write the meters of what is asked about packets from elsewhere."""
    builder.meter(HOST_METER, HOST_RATE, HOST_BURST, origin=origin)
    builder.meter(OUTSIDE_METER, HOST_RATE, HOST_BURST, origin=origin)


def tell(meter: int) -> list[Action]:
    """Return the actions that give the controller the whole packet; `QUESTION` says why."""
    return [ToController(b"", _WHOLE, meter)]


def ask(question: Question, meter: int) -> list[Action]:
    """Return the actions that ask the controller about the whole packet."""
    return [QUESTION.load(question), *tell(meter)]
