"""Neighbours that were heard: which of them a host is to know, and the notes by which its switch remembers them.

A controller that starts anew has heard nobody yet, and flows to neighbours must not go because of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from controller.graph import neighbours, queries
from controller.memo import Memo, query
from controller.model.address import format_mac, parse_mac
from controller.model.entities import Address

_WORD = "neighbour"


class Neighbour(NamedTuple):
    """A host that no file names: the name of its network, or external network, its address and its MAC."""

    network: str
    address: Address
    mac: int


def neighbour_note(neighbour: Neighbour) -> str:
    """Return the text by which a switch remembers a neighbour.

    >>> neighbour_note(Neighbour("public", ip_address("203.0.113.1"), 0x020000000001))
    'neighbour public 203.0.113.1 02:00:00:00:00:01'
    """
    return f"{_WORD} {neighbour.network} {neighbour.address} {format_mac(neighbour.mac)}"


def read_neighbours(notes: Iterable[str]) -> Iterator[Neighbour]:
    """Yield the neighbours that notes tell of; what is no such note tells nothing.

    >>> next(read_neighbours(["port red/a", "neighbour public 203.0.113.1 02:00:00:00:00:01"])).network
    'public'
    """
    for text in notes:
        words = text.split(" ")
        if len(words) == 4 and words[0] == _WORD:
            try:
                yield Neighbour(words[1], ip_address(words[2]), parse_mac(words[3]))
            except ValueError:
                continue


def learn(memo: Memo, network: str, address: Address, mac: int | None) -> None:
    """Set the inputs to what was heard of a neighbour; None: nobody has the address."""
    memo.set(neighbours.neighbour, (network, address), mac)
    former = neighbours.neighbours_in(memo, network) or ()
    known = tuple(each for each in former if each != address) + (() if mac is None else (address,))
    if (address in former) != (mac is not None):
        memo.set(neighbours.neighbours_in, (network,), known or None)
        names = {*(neighbours.networks_with(memo) or ()), network} - (set() if known else {network})
        memo.set(neighbours.networks_with, (), tuple(sorted(names)) or None)


@query
def _reaches(memo: Memo, host: str, network: str) -> bool:
    """Whether a host has a way to a network's neighbours: it has the network, or a wire to the external one."""
    external = queries.external_network(memo, network)
    if external is None:
        return network in queries.networks_on(memo, host)
    return external.physical_network in queries.physical_networks_of(memo, host)


@query
def heard_on(memo: Memo, host: str) -> tuple[tuple[str, Address], ...]:
    """Return the network and the address of each neighbour that a host is to know."""
    names = [name for name in neighbours.networks_with(memo) or () if _reaches(memo, host, name)]
    return tuple((name, address) for name in names for address in neighbours.neighbours_in(memo, name) or ())
