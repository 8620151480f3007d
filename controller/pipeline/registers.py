"""The registers of br-int: what each bit of the packet's scratch memory means.

Registers do not survive a patch port (ovs-fields(7)), so they are br-int's alone; between bridges a network travels as
a VLAN tag. Wide keys are hashes of names (`controller.model.ids.key`), the same on every host.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import SetField
from controller.pipeline.nat import MeasureLength


@dataclass(frozen=True, slots=True)
class Register:
    """A run of bits in a register: `bits` bits of `field` from bit `offset` on."""

    name: str
    field: str
    offset: int
    bits: int
    meaning: str

    def __post_init__(self) -> None:
        if self.offset + self.bits > BY_NAME[self.field].bits:
            raise ValueError(f"register {self.name} does not fit {self.field}")

    @property
    def mask(self) -> int:
        """The bits of the field that are ours."""
        return ((1 << self.bits) - 1) << self.offset

    def is_(self, value: int) -> tuple[int, int]:
        """Return the match condition that this register holds `value`."""
        return value << self.offset, self.mask

    def load(self, value: int) -> SetField:
        """Return the action that writes `value` here."""
        if not 0 <= value < 1 << self.bits:
            raise ValueError(f"{value:#x} does not fit register {self.name}")
        declared = BY_NAME[self.field]
        return SetField(declared.index, value << self.offset, None if self.mask == declared.ones else self.mask)


NETWORK = Register("network", "reg0", 0, 32, "key of the network that the packet is in")
SOURCE = Register("source", "reg1", 0, 32, "key of the local port that sent the packet; 0 if it came from elsewhere")
TARGET = Register(
    "target",
    "reg2",
    0,
    32,
    "OpenFlow number of the local port that gets the packet, below a subport's tag; with bit 31, key of a set of ports",
)
SPACE = Register("space", "reg3", 0, 32, "key of the address space, the scope of addresses and of connections")
SOURCE_CLASS = Register(
    "source_class", "reg4", 0, 32, "class (combination of groups) of the sender; 0 is free of policy"
)
TARGET_CLASS = Register("target_class", "reg5", 0, 32, "class of the receiver; 0 is free of policy")
ZONE = Register("zone", "reg6", 0, 16, "conntrack zone of the address space on this host")
FROM = Register("from", "reg6", 16, 2, "where the packet came from: 0 a local port, 1 a tunnel, 2 a physical network")
VERDICT = Register(
    "verdict", "reg6", 18, 2, "what policy says: 0 refused, 1 let in before, 2 allowed, 3 would be refused"
)
FRESH = Register("fresh", "reg6", 20, 1, "1 once rules were met: the connection's stamps are to be written")
LATER = Register("later", "reg6", 21, 1, "1 if rules let a later fragment by: the tracker has to see the first with it")
PEER = Register("peer", "reg7", 0, 32, "what the far address is, looked up for rules that name groups; 0 unknown")
JUDGED = Register("judged", "reg8", 0, 32, "class whose policy is asked: the sender's or the receiver's")
EGRESS_KEY = Register("egress_key", "reg9", 0, 32, "stamp of the opener's policy, as it let the connection out")
EGRESS_PEER = Register("egress_peer", "reg10", 0, 32, "what the answerer's address was then")
INGRESS_KEY = Register("ingress_key", "reg11", 0, 32, "stamp of the answerer's policy, as it let the connection in")
INGRESS_PEER = Register("ingress_peer", "reg12", 0, 32, "what the opener's address was then")
OWNER = Register(
    "owner", "reg15", 0, 32, "key of the port whose address a flow answers for; no packet has a use for it"
)
ASKS = Register("asks", "reg6", 22, 1, "1 if the packet is a DHCP client's question, which every port may ask")
QUESTION = Register("question", "reg6", 23, 5, "what the controller is asked; only in packets that it gets")
TOO_LONG = Register(
    "too_long",
    "reg6",
    28,
    1,
    "1 if the packet does not fit the network that it is routed into, or the tunnel that it is to leave by, or may have to",
)
SCRATCH = Register(
    "scratch",
    "reg13",
    0,
    32,
    "what a switch is made to look at whole, or a static route's next hop; 0 behind the table that reads it",
)
PORTS = Register(
    "ports", "reg14", 0, 32, "ports of a datagram that may be DHCP's, or the one that an answer gets back; else 0"
)

REGISTERS = (
    *(NETWORK, SOURCE, TARGET, SPACE, SOURCE_CLASS, TARGET_CLASS, ZONE, FROM, VERDICT, FRESH, LATER, PEER),
    *(JUDGED, EGRESS_KEY, EGRESS_PEER, INGRESS_KEY, INGRESS_PEER, OWNER, ASKS, QUESTION, TOO_LONG, SCRATCH, PORTS),
)

REFUSED, KNOWN, ALLOWED, WOULD_REFUSE = range(4)  # What `VERDICT` holds.

_ETHERNET = 14  # Bytes of the header that an MTU does not count.

FROM_PORT, FROM_TUNNEL, FROM_PHYSICAL = 0, 1, 2
NO_CLASS = 0
# The bit of `TARGET` that all keys of sets have, and no single port: numbers have 16 bits, tags 12.
SET_OF_PORTS = 1 << 31
_TAG_AT = 16  # In `TARGET`.


def measure(mtu: int) -> MeasureLength:
    """Return the action that writes into `TOO_LONG` whether an IP packet is longer than this."""
    return MeasureLength(mtu + _ETHERNET, BY_NAME[TOO_LONG.field].index, TOO_LONG.offset)


def target_of(number: int, vlan: int) -> int:
    """Return what `TARGET` holds for the port with an OpenFlow number or, with a tag, for its subport."""
    return vlan << _TAG_AT | number


def number_of_target(target: int) -> tuple[int, int]:
    """Return the OpenFlow number and the tag (0 for none) of a single port that `TARGET` holds."""
    return target & (1 << _TAG_AT) - 1, target >> _TAG_AT


class RegisterClash(ValueError):
    """Two registers share bits."""


def check_registers(registers: tuple[Register, ...]) -> None:
    """Raise RegisterClash if two registers share a bit."""
    used: dict[str, int] = {}
    for register in registers:
        if used.get(register.field, 0) & register.mask:
            raise RegisterClash(f"register {register.name} overlaps another in {register.field}")
        used[register.field] = used.get(register.field, 0) | register.mask


check_registers(REGISTERS)
