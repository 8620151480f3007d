"""Addresses and MACs within a network: given ones are checked, missing ones allocated and then kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from controller.config.ports import Draft
from controller.config.source import Reporter, Spot
from controller.config.subnets import first_host, from_mac, is_reserved
from controller.model import ids
from controller.model.address import format_mac, router_mac
from controller.model.entities import Address, Network, Port, Prefix

# Only so many addresses of a prefix are ever given out: searching a /64 must end.
_MAX_POOL = 1 << 16


def address_ports(
    network: Network,
    drafts: list[Draft],
    previous: Mapping[str, Port],
    home: Spot,
    reporter: Reporter,
    others: Collection[Address] = (),
) -> list[Port]:
    """Return the network's ports with their addresses, in the order given, and report what clashes.

    `home` is the network's own spot; `previous` the last good topology's ports, whose addresses stay theirs; `others` what further ports
    of the network have.
    """
    _check_macs(drafts, reporter)
    owners = _given_addresses(network, drafts, reporter)
    waiting = [draft for draft in drafts if draft.given is None]
    if not waiting or not network.cidrs:
        return [draft.port(draft.given or ()) for draft in drafts]
    taken = {*owners, *others}
    taken.update(
        allowed.ip.network_address for draft in drafts for allowed in draft.allowed if allowed.ip.num_addresses == 1
    )
    found: dict[str, tuple[Address, ...]] = {draft.name: () for draft in waiting}
    for cidr, gateway in zip(network.cidrs, network.gateways, strict=True):
        if network.ipv6.is_from_mac and cidr.version == 6:
            for draft in waiting:
                address = _own_address(network, cidr, gateway, draft, owners, others, reporter)
                found[draft.name] = (*found[draft.name], address)
            continue
        names = list(found)
        allocated = _allocate(network, cidr, names, kept_addresses(names, previous, cidr), taken | {gateway})
        if allocated is None:
            message = f"{cidr} has no free address for all of the {len(drafts)} ports of {network.name}"
            reporter.report("N043", home / "cidr" / network.cidrs.index(cidr), message)
            continue
        for name, address in allocated.items():
            found[name] = (*found[name], address)
    return [draft.port(found[draft.name] if draft.given is None else draft.given) for draft in drafts]


def _own_address(
    network: Network,
    cidr: Prefix,
    gateway: Address,
    draft: Draft,
    owners: Mapping[Address, Spot],
    others: Collection[Address],
    reporter: Reporter,
) -> Address:
    """Return the address that a port makes of the prefix and its MAC, and report that somebody has it."""
    address = from_mac(cidr, draft.mac)
    where = (draft.spot / "mac").key
    hint = "give one of the two another address, or the port another mac"
    if address == gateway:
        reporter.report("N051", where, f"{draft.name} makes {address} of its MAC, the gateway of {network.name}", hint)
    elif address in owners or address in others:
        reporter.report("N030", where, f"{draft.name} makes {address} of its MAC, which is given to another port", hint)
    return address


def _check_macs(drafts: Iterable[Draft], reporter: Reporter) -> None:
    owners: dict[int, Draft] = {}
    for draft in drafts:
        if draft.mac == router_mac(draft.network.name):
            message = f"{format_mac(draft.mac)} is the MAC of the gateway of {draft.network.name}"
            reporter.report("N031", draft.spot / "mac", message)
        other = owners.setdefault(draft.mac, draft)
        if other is not draft:
            message = f"{format_mac(draft.mac)} is the MAC of {other.name} in {draft.network.name} too"
            reporter.clash("N031", draft.spot / "mac", message, other.spot / "mac")


def _given_addresses(network: Network, drafts: Iterable[Draft], reporter: Reporter) -> dict[Address, Spot]:
    """Check the addresses that the files give; return who has which."""
    owners: dict[Address, Spot] = {}
    routers = set(network.gateways)
    for draft in drafts:
        for number, address in enumerate(draft.given or ()):
            spot = draft.spot / "ip" / number
            cidr = next((each for each in network.cidrs if address in each), None)
            if cidr is None:
                cidrs = ", ".join(map(str, network.cidrs)) or "it has no cidr"
                message = f"{address} lies outside of network {network.name}"
                reporter.report("N050", spot, message, f"{cidrs} ({network.place})")
            elif address in routers:
                reporter.clash("N051", spot, f"{address} is the gateway of {network.name}", network.place)
            elif is_reserved(cidr, address):
                reporter.report("N051", spot, f"{address} stands for the subnet {cidr} itself")
            elif (other := owners.setdefault(address, spot)) is not spot:
                reporter.clash("N030", spot, f"{address} is given twice in {network.name}", other)
    return owners


def kept_addresses(names: Iterable[str], previous: Mapping[str, Port], cidr: Prefix) -> dict[str, Address]:
    """Return the addresses in the prefix that ports had before."""
    kept: dict[str, Address] = {}
    for name in names:
        port = previous.get(name)
        address = next((each for each in port.ips if each in cidr), None) if port else None
        if address is not None:
            kept[name] = address
    return kept


def _allocate(
    network: Network, cidr: Prefix, names: list[str], kept: Mapping[str, Address], taken: set[Address]
) -> dict[str, Address] | None:
    """Give each name an address of the prefix; None when they do not suffice."""
    base = first_host(cidr)
    last = cidr.broadcast_address
    count = int(last) - int(base) + (0 if cidr.version == 4 and is_reserved(cidr, last) else 1)
    size = min(count, _MAX_POOL)
    used = {int(address) - int(base) for address in taken if address.version == cidr.version}
    numbers: dict[str, int] = {}
    for name, address in kept.items():
        number = int(address) - int(base)
        if 0 <= number < size and number not in used:
            used.add(number)
            numbers[name] = number
    if len(names) > size:
        return None
    try:
        found = ids.allocate(
            names, size, kind=f"address {network.name} {cidr}", kept=numbers, is_free=lambda number: number not in used
        )
    except ids.Exhausted:
        return None
    return {name: base + number for name, number in found.items()}
