"""Actions of routers, as data: time to live, translation of addresses, the choice among equal ways, lengths."""

from __future__ import annotations

from dataclasses import dataclass

from controller.model.entities import Address


@dataclass(frozen=True, slots=True)
class DecrementTtl:
    """Take one from the time to live, or hop limit. It must be 2 or more: what has less is for the controller."""


@dataclass(frozen=True, slots=True)
class ForgetConnection:
    """Forget what the tracker told of the packet, so that another zone can be asked (NXAST_CT_CLEAR)."""


@dataclass(frozen=True, slots=True)
class ForgetEntrance:
    """Forget by which port the packet came: a switch sends none back to it unless it is told to (NXM_OF_IN_PORT)."""


@dataclass(frozen=True, slots=True)
class Translate:
    """Translate addresses, within a `Conntrack` (NXAST_NAT).

    Without an address: as the packet's connection has it. With one, a new connection gets it as its source (`is_source`) or as
    its destination; ports change only where they must.
    """

    address: Address | None = None
    is_source: bool = False


@dataclass(frozen=True, slots=True)
class ChooseWay:
    """Write a number below `ways` into the low `bits` of a field, the same for all packets of a connection (NXAST_MULTIPATH).

    Addresses and ports decide, whatever the MACs are: so hosts that route a packet one after the other choose alike.
    """

    ways: int
    field: int
    bits: int


@dataclass(frozen=True, slots=True)
class MeasureLength:
    """Write into bit `bit` of a field whether the frame is longer than `longest` bytes (NXAST_CHECK_PKT_LARGER).

    The Ethernet header counts, a tag does not.
    """

    longest: int
    field: int
    bit: int
