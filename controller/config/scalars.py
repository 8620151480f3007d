"""The words of the format: text in, typed value out, `Refused` for everything else.

All scalars reach this module as they stand in the file, so that `no`, `022` and `10:20:30:40:50:10` mean what they look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeVar

from controller.config.problem import quote
from controller.config.suggest import nearest
from controller.config.tree import EMPTY
from controller.model.address import is_multicast_mac
from controller.model.address import parse_mac as parse_any_mac
from controller.model.entities import Address, Prefix, Range

NAME_PATTERN = "^[a-z][a-z0-9-]{0,30}$"
REFERENCE_PATTERN = "^([a-z][a-z0-9-]{0,30}/)?[a-z][a-z0-9-]{0,30}$"
INTERFACE_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$"
ADDRESS_PATTERN = "^[0-9A-Fa-f.:]+$"
MAC_PATTERN = "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"
VLAN_PATTERN = "^[1-9][0-9]{0,3}$"
PORT_PATTERN = f"{REFERENCE_PATTERN.removesuffix('$')}(:[1-9][0-9]{{0,3}})?$"
OWN_PORT_PATTERN = f"{NAME_PATTERN.removesuffix('$')}(:[1-9][0-9]{{0,3}})?$"

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
ETHERTYPE_BOUNDS = (0x0600, 0xFFFF)
ETHERTYPES = {
    "wake-on-lan": 0x0842,
    "mpls": 0x8847,
    "pppoe-discovery": 0x8863,
    "pppoe-session": 0x8864,
    "eapol": 0x888E,
    "profinet": 0x8892,
    "ethercat": 0x88A4,
    "lldp": 0x88CC,
    "ptp": 0x88F7,
}
# What no list of ethertypes can open or close, and what decides of it instead.
_RULES_DECIDE = "security groups decide what of it passes"
_VLANS_DECIDE = "a port's frames carry no VLAN tag, and its network says which VLAN they travel in"
_NO_CHOICE = {
    0x0800: ("IPv4", _RULES_DECIDE),
    0x0806: ("ARP", "it always passes with the port's own addresses"),
    0x86DD: ("IPv6", _RULES_DECIDE),
    0x8100: ("a VLAN tag", _VLANS_DECIDE),
    0x88A8: ("a VLAN tag", _VLANS_DECIDE),
}
_NAMED_NO_CHOICE = {"ipv4": 0x0800, "arp": 0x0806, "ipv6": 0x86DD, "vlan": 0x8100}

_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}

MAX_VLAN = 4094

_NUMBER = re.compile(r"[0-9]{1,18}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,8}")
_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_MAC = re.compile(MAC_PATTERN)
_PORT = re.compile(PORT_PATTERN)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_MAX_DOMAIN = 253  # RFC 1035, without the lengths of the labels.
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_CACHED = 8192
_MAX_ADDRESS_TEXT = 64

Choice = TypeVar("Choice", bound=StrEnum)


class Refused(ValueError):
    """A text that is not what its key asks for."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def text(value: object, what: str) -> str:
    """Return the value if it is text."""
    if isinstance(value, str):
        return value
    if value is EMPTY:
        raise Refused("N018", f"{what} is expected, and nothing is given")
    kind = "a list" if isinstance(value, list) else "a mapping"
    raise Refused("N018", f"{what} is expected, not {kind}")


def whole_number(value: object, what: str, low: int, high: int) -> int:
    """Return a decimal number within bounds; leading zeros mean nothing."""
    given = text(value, what)
    if not _NUMBER.fullmatch(given):
        raise Refused("N022", f"{quote(given)} is not {what}: a whole number from {low} to {high}")
    number = int(given)
    if not low <= number <= high:
        raise Refused("N022", f"{given} is not {what}: it lies outside {low}-{high}")
    return number


def number_range(value: object, what: str, low: int, high: int) -> Range:
    """Return the range that `5` or `5-9` says."""
    given = text(value, f"{what} or a range `a-b`")
    found = _RANGE.fullmatch(given)
    if not found:
        number = whole_number(given, f"{what} or a range `a-b`", low, high)
        return Range(number, number)
    first, last = (whole_number(part, what, low, high) for part in found.groups())
    if last < first:
        raise Refused("N021", f"the range ends ({last}) before it begins ({first})", f"did you mean {last}-{first}?")
    return Range(first, last)


def rate(value: object, what: str, low: int, high: int) -> int:
    """Return how often in a second `1000/s` or `1000` says."""
    given = text(value, what)
    number, slash, unit = given.partition("/")
    if slash and unit != "s":
        raise Refused(
            "N022", f"{quote(given)} is not {what}: a whole number from {low} to {high} per second, like 1000/s"
        )
    return whole_number(number, what, low, high)


def ethertype(value: object) -> int:
    """Return the number of an ethertype that is neither IP nor ARP nor a VLAN tag."""
    given = text(value, "an ethertype")
    number = ETHERTYPES.get(given, _NAMED_NO_CHOICE.get(given))
    if number is None:
        number = _ethertype_number(given)
    if number in _NO_CHOICE:
        name, reason = _NO_CHOICE[number]
        raise Refused("N028", f"{given} is {name}: {reason}", "leave it out")
    return number


def _ethertype_number(given: str) -> int:
    low, high = ETHERTYPE_BOUNDS
    if _HEXADECIMAL.fullmatch(given):
        number = int(given, 16)
    elif _NUMBER.fullmatch(given):
        number = int(given)
    else:
        near = nearest(given, ETHERTYPES)
        hint = f"did you mean {near}?" if near else f"a number like 0x88cc, or one of {', '.join(ETHERTYPES)}"
        raise Refused("N020", f"{quote(given)} is not an ethertype", hint)
    if not low <= number <= high:
        raise Refused("N022", f"{given} is not an ethertype: it lies outside {low:#06x}-{high:#06x}")
    return number


def switch(value: object) -> bool:
    """Return the truth value that `true` or `false` says."""
    given = text(value, "true or false")
    if given in ("true", "false"):
        return given == "true"
    meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(given.lower(), given.lower())
    hint = f"did you mean {meant}?" if meant in ("true", "false") else None
    raise Refused("N020", f"{quote(given)} is neither true nor false", hint)


def choice(kinds: Iterable[Choice], value: object) -> Choice:
    """Return the word's member among `kinds`."""
    words = {str(kind): kind for kind in kinds}
    given = text(value, f"one of {', '.join(words)}")
    if given in words:
        return words[given]
    near = nearest(given, words)
    hint = f"did you mean {near}?" if near else f"one of {', '.join(words)}"
    raise Refused("N020", f"{quote(given)} is not a choice here", hint)


def protocol(value: object) -> int | None:
    """Return the IP protocol's number, None for `any`."""
    given = text(value, "a protocol")
    if given == "any":
        return None
    if given in PROTOCOLS:
        return PROTOCOLS[given]
    if _NUMBER.fullmatch(given):
        return whole_number(given, "a protocol number", 0, 255)
    near = nearest(given, [*PROTOCOLS, "any"])
    hint = f"did you mean {near}?" if near else f"one of {', '.join(PROTOCOLS)}, any, or a number"
    raise Refused("N020", f"{quote(given)} is not a protocol", hint)


def protocol_name(number: int | None) -> str:
    """Return how the format writes a protocol."""
    return "any" if number is None else _PROTOCOL_NAMES.get(number, str(number))


def mac(value: object) -> int:
    """Return a unicast MAC address as a number."""
    given = text(value, "a MAC address")
    if not _MAC.match(given) or len(given) != 17:
        raise Refused("N025", f"{quote(given)} is not a MAC address like fa:16:3e:00:00:01")
    number = parse_any_mac(given)
    if is_multicast_mac(number):
        raise Refused("N025", f"{given} is a group address: a port's MAC has an even first byte")
    if not number:
        raise Refused("N025", f"{given} is not an address that an interface can have")
    return number


def address(value: object) -> Address:
    """Return an address that an interface can have."""
    given = text(value, "an IP address")
    if "/" in given:
        raise Refused("N023", f"{quote(given)} is a prefix, and an address is expected", "leave the length out")
    found = _address(given)
    if reason := unusable(found):
        raise Refused("N052", f"{given} is {reason}: no interface can have it")
    return found


def address_text(value: object) -> str:
    """Return the text of an address that an interface can have, where it is the name of an entry."""
    given = text(value, "an IP address")
    address(given)
    return given


def address_range(value: object) -> tuple[Address, Address]:
    """Return the first and the last address that `A-B`, or one address alone, says."""
    given = text(value, "an address or a range `A-B`")
    first, dash, last = given.partition("-")
    low = address(first)
    high = address(last) if dash else low
    if low.version != high.version:
        raise Refused("N027", f"the range begins with IPv{low.version} and ends with IPv{high.version}")
    if int(high) < int(low):
        raise Refused("N021", f"the range ends ({high}) before it begins ({low})", f"did you mean {high}-{low}?")
    return low, high


def destination(value: object) -> Prefix:
    """Return what a route may lead to: any prefix or address beyond a router."""
    found = any_prefix(value)
    if found.is_multicast or found.is_loopback or (found.version == 6 and found.is_link_local):
        raise Refused("N052", f"{found} is nothing that a router leads to")
    return found


def domain(value: object) -> str:
    """Return a DNS domain name in small letters."""
    given = text(value, "a domain name")
    if len(given) > _MAX_DOMAIN or not all(map(_LABEL.fullmatch, given.split("."))):
        raise Refused("N057", f"{quote(given)} is not a domain name like example.org")
    return given.lower()


def duration(value: object, what: str, low: int, high: int) -> int:
    """Return how many seconds `90`, `90s`, `30m`, `12h` or `1d` says."""
    given = text(value, what)
    number, unit = (given[:-1], given[-1:]) if given[-1:] in _SECONDS else (given, "s")
    if not _NUMBER.fullmatch(number):
        raise Refused("N022", f"{quote(given)} is not {what}: a whole number and s, m, h or d, like 12h")
    seconds = int(number) * _SECONDS[unit]
    if not low <= seconds <= high:
        raise Refused("N022", f"{given} is not {what}: it lies outside {low}-{high} seconds")
    return seconds


def database(value: object) -> str:
    """Return where an OVSDB server listens, as Open vSwitch writes it."""
    given = text(value, "a database")
    scheme, _, rest = given.partition(":")
    hint = "write unix:/PATH, tcp:ADDRESS:PORT or ssl:ADDRESS:PORT"
    if scheme == "unix" and rest.startswith("/") and "\0" not in rest:
        return given
    if scheme not in ("tcp", "ssl"):
        raise Refused("N020", f"{quote(given)} is not where a database can be", hint)
    where, _, port = rest.rpartition(":")
    if ":" in where and not (where.startswith("[") and where.endswith("]")):
        raise Refused("N023", f"{quote(given)} leaves open where the address ends", "write it like tcp:[fd00::1]:6640")
    host = address(where.removeprefix("[").removesuffix("]"))
    number = whole_number(port, "a TCP port", 1, 65535)
    return f"{scheme}:[{host}]:{number}" if host.version == 6 else f"{scheme}:{host}:{number}"


def unusable(found: Address) -> str | None:
    """Return why no interface can have the address."""
    if found.is_multicast:
        return "a multicast address"
    if found.is_loopback:
        return "a loopback address"
    if found.is_unspecified or (found.version == 4 and int(found) >> 24 == 0):
        return "an unspecified address"
    if found.version == 6 and found.is_link_local:
        return "a link-local address, which every port has by itself"
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        return "an IPv4-mapped address"
    return "the broadcast address" if found.version == 4 and int(found) == 0xFFFFFFFF else None


def prefix(value: object) -> Prefix:
    """Return a subnet that a network can have: with a length, and without bits behind it."""
    given = text(value, "a prefix")
    if "/" not in given:
        raise Refused("N023", f"{quote(given)} has no prefix length", "write it like 10.0.1.0/24")
    found = any_prefix(given)
    first, last = found.network_address, found.broadcast_address
    reason = unusable(first) or (unusable(last) if found.num_addresses > 1 and found.version == 6 else None)
    if reason is None and found.version == 4 and any(found.overlaps(each) for each in _NO_SUBNETS):
        reason = "not a range of unicast addresses"
    if reason is None and found.version == 6 and found.prefixlen < 8:
        reason = "wider than any network"
    if reason:
        raise Refused("N052", f"{given} cannot be a network's prefix: it is {reason}")
    return found


def any_prefix(value: object) -> Prefix:
    """Return what a rule may name: a prefix, or an address for the prefix of itself alone."""
    given = text(value, "a prefix")
    if given in _EVERYWHERE:
        raise Refused("N023", f"{quote(given)} is not a prefix", "everywhere is 0.0.0.0/0, and ::/0 for IPv6")
    return _prefix(given)


def vlan(value: object) -> int:
    """Return a VLAN as it stands in front of a subport: it is a key, so one number has one spelling."""
    number = whole_number(value, "a VLAN", 1, MAX_VLAN)
    if str(number) != value:
        raise Refused("N022", f"{value} is not how a VLAN is written here", f"write {number}")
    return number


def target(value: object) -> str:
    """Return a port's name, `TENANT/PORT`, a subport's with `:VLAN` behind it, or an address in its shortest form."""
    given = text(value, "a port or an address")
    if _PORT.match(given) and not given.endswith("\n"):
        return given
    if "." in given or ":" in given:
        return str(address(given))
    raise Refused("N019", f"{quote(given)} is neither a port, a TENANT/PORT nor an address")


_EVERYWHERE = frozenset(("default", "any", "all"))
_NO_SUBNETS = tuple(IPv4Network(each) for each in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"))


@lru_cache(_CACHED)
def _address(given: str) -> Address:
    if len(given) <= _MAX_ADDRESS_TEXT and "%" not in given:
        try:
            return IPv6Address(given) if ":" in given else IPv4Address(given)
        except ValueError:
            pass
    raise Refused("N023", f"{quote(given)} is not an IP address")


@lru_cache(_CACHED)
def _prefix(given: str) -> Prefix:
    base, slash, length = given.partition("/")
    start = _address(base)
    if not slash:
        return ip_network(start)
    if not length.isascii() or not length.isdigit() or len(length) > 3 or int(length) > start.max_prefixlen:
        raise Refused("N023", f"{quote(length)} is not a prefix length from 0 to {start.max_prefixlen}")
    size = start.max_prefixlen - int(length)
    if int(start) & ((1 << size) - 1):
        right = ip_network((int(start) >> size << size, int(length))) if start.version == 4 else None
        right = right or IPv6Network((int(start) >> size << size, int(length)))
        raise Refused("N024", f"{given} has bits set behind its length", f"did you mean {right}?")
    return IPv4Network((int(start), int(length))) if start.version == 4 else IPv6Network((int(start), int(length)))
