"""The terms in which the format is declared: names, addresses, numbers, and what all of its parts have in common."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from controller.config import scalars
from controller.config.kinds import Numbers, OneOrMany, Protocol, Switch, Whole, Word
from controller.model.entities import Address, Prefix, Range

MAX_VNI = (1 << 24) - 1
MAX_VLAN = scalars.MAX_VLAN

Name = Annotated[str, StringConstraints(pattern=scalars.NAME_PATTERN), Field(title="a name")]
Reference = Annotated[str, StringConstraints(pattern=scalars.REFERENCE_PATTERN), Field(title="a name or `TENANT/NAME`")]
Interface = Annotated[str, StringConstraints(pattern=scalars.INTERFACE_PATTERN), Field(title="an interface name")]
IpAddress = Annotated[Address, Word(scalars.address, "an IP address")]
FloatingAddress = Annotated[str, Word(scalars.address_text, "an IP address", scalars.ADDRESS_PATTERN)]
Subnet = Annotated[Prefix, Word(scalars.prefix, "a prefix")]
Addresses = Annotated[tuple[Address, Address], Word(scalars.address_range, "an address or a range `A-B`")]
FarSide = Annotated[Prefix, Word(scalars.any_prefix, "a prefix or an address")]
Mac = Annotated[int, Word(scalars.mac, "a unicast MAC address", scalars.MAC_PATTERN)]
Flag = Annotated[bool, Switch()]
IpProtocol = Annotated[int | None, Protocol()]
Vlans = Annotated[tuple[Annotated[Range, Numbers("a VLAN", 1, MAX_VLAN)], ...], OneOrMany()]
Segments = Annotated[tuple[Annotated[Range, Numbers("a segment", 1, MAX_VNI)], ...], OneOrMany()]
PortRanges = Annotated[tuple[Annotated[Range, Numbers("a port", 0, 65535)], ...], OneOrMany()]
TransportPort = Annotated[int, Whole("a port", 1, 65535)]
IcmpNumber = Annotated[int, Whole("an ICMP number", 0, 255)]
Quota = Annotated[int, Whole("a quota", 0, 10_000_000)]
Share = Annotated[tuple[Name, ...], OneOrMany()]

# Lists that are compared item by item stay short, so that no file can make the controller slow.
Few = Field(max_length=64)

# Lists that are looked up or sorted may be longer. A host has local VLANs for not many more networks.
Many = Field(max_length=2_048)


class Strict(BaseModel):
    """What all parts of the format share: unknown keys are refused, also those that are planned."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    # Keys of the format that this version does not support yet.
    not_yet: ClassVar[tuple[str, ...]] = ()
