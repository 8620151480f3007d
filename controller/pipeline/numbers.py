"""Narrow numbers: the local VLAN tag of each tunnel network and the conntrack zone of each address space, per host.

They are taken near the hash of their owner's name and stay while the owner is on the host, whatever else changes. The switch itself
remembers them (`features/ledger.py`), so that a controller that starts anew finds them there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from controller.graph.queries import host, network, networks_of_space, networks_on, space_name, space_of, spaces_on
from controller.graph.ways_out import is_outside, routers_on
from controller.memo import Input, Memo, query
from controller.model.entities import Address
from controller.model.ids import Exhausted, allocate, key

_ZONES = 65535  # Zone 0 is the tracker's default, which others on the host may use.
_PLACE = re.compile(r"port (\S+)(?: (\d{1,9}))?")
_NOTE = re.compile(r"(?:tag (\d{1,4}) )?zone (\d{1,5}) (?:limit (\d{1,10}) )?(\S+) (\S+)")


@dataclass(frozen=True, slots=True)
class Numbers:
    """One host's numbers: network -> tag, address space -> zone, and network -> zone of its address space."""

    tags: Mapping[str, int] = field(default_factory=dict)
    zones: Mapping[str, int] = field(default_factory=dict)
    networks: Mapping[str, int] = field(default_factory=dict)


# What a switch told of the numbers that it was programmed with; they hold for names that have no number yet.
remembered: Input[Numbers | None] = Input("numbers that a switch remembers")
moves: Input[int | None] = Input("how often a port without host has come to another host, as far as anybody remembers")


def note(tag: int | None, zone: int, network_name: str, space: str, limit: int | None = None) -> str:
    """Return the text by which a switch remembers a network's numbers, and how many connections its zone may hold.

    >>> note(17, 4, "red/web", "red/app")
    'tag 17 zone 4 red/web red/app'
    >>> note(17, 4, "red/web", "red/app", 5000)
    'tag 17 zone 4 limit 5000 red/web red/app'
    """
    start = "" if tag is None else f"tag {tag} "
    word = "" if limit is None else f"limit {limit} "
    return f"{start}zone {zone} {word}{network_name} {space}"


def read_notes(notes: Iterable[str]) -> Numbers:
    """Return the numbers that notes tell of; what is no such note tells nothing. One number may be told for several names."""
    tags: dict[str, int] = {}
    zones: dict[str, int] = {}
    networks: dict[str, int] = {}
    for text in notes:
        found = _NOTE.fullmatch(text)
        if found is not None:
            tag, zone, _limit, network_name, space = found.groups()
            if tag is not None:
                tags.setdefault(network_name, int(tag))
            zones.setdefault(space, int(zone))
            networks.setdefault(network_name, int(zone))
    return Numbers(tags, zones, networks)


def noted_zone(text: str) -> int | None:
    """Return the zone that a note tells of, None if it tells of none.

    >>> noted_zone("tag 17 zone 4 red/web red/app")
    4
    """
    found = _NOTE.fullmatch(text)
    return None if found is None else int(found.group(2))


@dataclass(frozen=True, slots=True)
class ZoneNote:
    """A conntrack zone, whose it is, and how many connections it may hold; None is no limit."""

    zone: int
    space: str
    limit: int | None


def read_zones(notes: Iterable[str]) -> Mapping[int, ZoneNote]:
    """Return the zones that notes tell of, by number. Should notes of one zone differ, the least limit counts.

    >>> read_zones(["tag 17 zone 4 limit 5000 red/web red/app", "port red/vm"])
    {4: ZoneNote(zone=4, space='red/app', limit=5000)}
    """
    zones: dict[int, ZoneNote] = {}
    for found in filter(None, map(_NOTE.fullmatch, notes)):
        number, limit = int(found[2]), None if found[3] is None else int(found[3])
        told = zones.setdefault(number, ZoneNote(number, found[5], limit))
        if limit is not None and (told.limit is None or limit < told.limit):
            zones[number] = ZoneNote(number, told.space, limit)
    return zones


def place_note(port: str, moved: int = 0) -> str:
    """Return the text by which a switch remembers that a port without `host:` is on its host, and how often it had moved by then.

    >>> place_note("red/vm"), place_note("red/vm", 3)
    ('port red/vm', 'port red/vm 3')
    """
    return f"port {port} {moved}" if moved else f"port {port}"


def read_places(notes: Iterable[str]) -> Mapping[str, int]:
    """Return the ports that notes tell of, and how often each had moved.

    >>> read_places(["port red/vm 3", "port red/new", "tag 17 zone 4 red/web red/app"])
    {'red/vm': 3, 'red/new': 0}
    """
    return {found[1]: int(found[2] or 0) for found in filter(None, map(_PLACE.fullmatch, notes))}


_TRANSLATED = "translated"


def translated_note(zone: int, address: Address, fixed: Address | None = None) -> str:
    """Return the text by which a switch remembers for whom an address outside stands in a zone: a port's address, or a whole router.

    >>> translated_note(4, ip_address("203.0.113.21"), ip_address("10.0.1.11"))
    'translated 4 203.0.113.21 10.0.1.11'
    """
    return " ".join((_TRANSLATED, str(zone), *(str(each) for each in (address, fixed) if each is not None)))


def read_translated(text: str) -> tuple[int, tuple[Address, ...]] | None:
    """Return the zone and the addresses that such a note tells of, None if it is no such note.

    >>> read_translated("translated 4 203.0.113.10")
    (4, (IPv4Address('203.0.113.10'),))
    """
    word, *rest = text.split(" ")
    if word != _TRANSLATED or len(rest) not in (2, 3):
        return None
    try:
        return int(rest[0]), tuple(map(ip_address, rest[1:]))
    except ValueError:
        return None


DRAINED = "drained"  # The text by which a switch remembers that its host is drained.


@query
def _tunnelled(memo: Memo, host_name: str) -> tuple[str, ...]:
    found = ((name, network(memo, name)) for name in networks_on(memo, host_name))
    return tuple(name for name, each in found if each is not None and each.type.is_tunnel)


@query
def tags(memo: Memo, host_name: str) -> Mapping[str, int]:
    """Return network -> tag for a host; raise `controller.model.ids.Exhausted` when it has more networks than local VLANs."""
    owner = host(memo, host_name)
    if owner is None:
        return {}
    vlans = owner.local_vlans
    told = remembered(memo, host_name) or Numbers()
    names = _tunnelled(memo, host_name)
    before = {name: tag - vlans.first for name, tag in told.tags.items() if tag in vlans}
    lived = {name: tag - vlans.first for name, tag in (memo.previous() or {}).items() if tag in vlans}
    found = _allocate(names, len(vlans), "tag", [lived, before])
    return {name: number + vlans.first for name, number in found.items()}


def translation(router_name: str) -> str:
    """Return the name by which the zone of a router's translated addresses is known, as address spaces are by theirs.

    >>> translation("red/main")
    'red/@main!nat'
    """
    return f"{space_name(router_name)}!nat"


@query
def _zones(memo: Memo, host_name: str) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Return the zones of a host by address space, and by network.

    An address space that is new takes over the zone of one of its networks, whose open connections so notice nothing: when a router
    comes to a network, or goes.
    """
    told = remembered(memo, host_name) or Numbers()
    spaces = {space: networks_of_space(memo, space) for space in spaces_on(memo, host_name)}
    outside = (name for name in routers_on(memo, host_name) if is_outside(memo, host_name, name))
    names = (*spaces, *map(translation, outside))
    lived, of_networks = memo.previous() or ({}, {})
    sources = [lived, told.zones, *(_inherited(spaces, each) for each in (of_networks, told.networks))]
    valid = [{name: zone - 1 for name, zone in each.items() if 0 < zone <= _ZONES} for each in sources]
    found = {name: number + 1 for name, number in _allocate(names, _ZONES, "zone", valid).items()}
    return found, {network: found[space] for space, networks in spaces.items() for network in networks}


def _inherited(spaces: Mapping[str, Iterable[str]], of_networks: Mapping[str, int]) -> dict[str, int]:
    """Return for each address space the zone that the first of its networks had which had any."""
    had = (
        (space, [of_networks[name] for name in networks if name in of_networks]) for space, networks in spaces.items()
    )
    return {space: numbers[0] for space, numbers in had if numbers}


@query
def zones(memo: Memo, host_name: str) -> Mapping[str, int]:
    """Return address space, or `translation` of a router that leads out here, -> conntrack zone for a host."""
    return _zones(memo, host_name)[0]


def _allocate(names: Sequence[str], size: int, kind: str, sources: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return a number for each name, the one that it has where it has one, from the first source that tells one.

    One that is given up in this very change is not handed on at once: while only some bridges have the change, it would mean two things.
    """
    kept = _kept(names, sources)
    leaving = {number for numbers in sources for name, number in numbers.items() if name not in names}
    try:
        return allocate(names, size, kind=kind, kept=kept, is_free=lambda number: number not in leaving)
    except Exhausted:
        return allocate(names, size, kind=kind, kept=kept)


def _kept(names: Iterable[str], sources: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the numbers that these names keep, each for one: what was in force here goes before what a switch remembers."""
    owners: dict[int, str] = {}
    left = set(names)
    for numbers in sources:
        for name in sorted(left & numbers.keys()):
            owners.setdefault(numbers[name], name)
        left -= numbers.keys()
    return {name: number for number, name in owners.items()}


_SHARES = 16  # Who looks at one share of a host's tags does not look again when another one changes.


@query
def _tags_by_share(memo: Memo, host_name: str) -> tuple[Mapping[str, int], ...]:
    found: tuple[dict[str, int], ...] = tuple({} for _ in range(_SHARES))
    for name, number in tags(memo, host_name).items():
        found[key("network", name) % _SHARES][name] = number
    return found


@query
def _share_of_tags(memo: Memo, host_name: str, number: int) -> Mapping[str, int]:
    return _tags_by_share(memo, host_name)[number]


@query
def tag(memo: Memo, host_name: str, network_name: str) -> int:
    """Return a tunnel network's local VLAN tag on a host, 0 where the host does not have it, as when it has just lost it."""
    return _share_of_tags(memo, host_name, key("network", network_name) % _SHARES).get(network_name, 0)


@query
def _zone_of_space(memo: Memo, host_name: str, space: str) -> int:
    return zones(memo, host_name).get(space, 0)


@query
def zone(memo: Memo, host_name: str, network_name: str) -> int:
    """Return the conntrack zone of a network's address space on a host, 0 where the host does not have it."""
    return _zone_of_space(memo, host_name, space_of(memo, network_name))


@query
def check_tags(memo: Memo, host_name: str) -> None:
    """Raise `controller.model.ids.Exhausted` if the host has more tunnel networks than local VLANs, though nothing is compiled for it."""
    owner = host(memo, host_name)
    if owner is not None and len(_tunnelled(memo, host_name)) > len(owner.local_vlans):
        first = _tunnelled(memo, host_name)[len(owner.local_vlans)]
        raise Exhausted(f"no free tag number for {first}: all {len(owner.local_vlans)} are taken")
