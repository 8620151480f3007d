"""Which host has which of our addresses on external networks at the moment, as the hosts themselves see it.

Flows do not depend on it: gateways take over by themselves. It is for who is to be told, and for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controller.graph.queries import (
    floating_ip,
    floating_ips_in,
    gateways,
    hosts,
    is_programmed,
    router,
    routers_in,
)
from controller.graph.ways_out import own_host
from controller.memo import Input, Memo, query
from controller.model.entities import Address

present: Input[bool | None] = Input("whether a host's switch is connected")
unheard: Input[frozenset[str] | None] = Input("the hosts of whom a host hears no signs of life")


class Home(NamedTuple):
    """An address of ours on an external network, and whose it is: the router or floating IP with the MAC `outer_mac`."""

    external: str
    address: Address
    owner: str


@query
def is_cut_off(memo: Memo, host_name: str) -> bool:
    """Return whether a gateway hears nobody: then it is not everybody else who is dead."""
    others = {each for each in hosts(memo) or () if each != host_name and is_programmed(memo, each)}
    return bool(others) and (unheard(memo, host_name) or frozenset()).issuperset(others)


@query
def leading(memo: Memo, router_name: str) -> str | None:
    """Return the gateway that leads a router out: the last in order that hears nothing of those before it; None: nobody tells.

    Should two think that they do, the later one has come to it, unless it is cut off from everybody.
    """
    order = gateways(memo, router_name)
    found = [
        name
        for place, name in enumerate(order)
        if present(memo, name) and (unheard(memo, name) or frozenset()).issuperset(order[:place])
    ]
    connected = [name for name in found if not is_cut_off(memo, name)]
    chosen = connected or found
    return chosen[-1] if chosen else None


@query
def home_of(memo: Memo, floating_name: str) -> str | None:
    """Return the host that has a floating IP; None while nobody tells."""
    found = floating_ip(memo, floating_name)
    where = own_host(memo, floating_name)
    if where is not None:
        return where if present(memo, where) else None
    return None if found is None else leading(memo, found.router)


@query
def homes_in(memo: Memo, tenant: str) -> Mapping[Home, str]:
    """Return where a tenant's addresses outside are, of those of which somebody tells."""
    found: dict[Home, str] = {}
    for name in routers_in(memo, tenant) or ():
        each, where = router(memo, name), leading(memo, name)
        if each is not None and each.external is not None and where is not None:
            found.update((Home(each.external, address, name), where) for address in each.addresses)
    for name in floating_ips_in(memo, tenant) or ():
        floating, where = floating_ip(memo, name), home_of(memo, name)
        if floating is not None and where is not None:
            found[Home(floating.external, floating.address, name)] = where
    return found
