"""Where the cause of a flow stands in the files by now: lines move while flows stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from controller.model.entities import (
    ExternalNetwork,
    FloatingIp,
    Network,
    PhysicalNetwork,
    Place,
    Port,
    Router,
    Rule,
    Topology,
)
from controller.pipeline.flow import Origin

_OF_ROUTER = ": "  # Between a router and what it has, in an origin's words.
_EXTERNAL = "external network "


def locate(topology: Topology, origin: Origin) -> Origin:
    """Return an origin with the place that it has in a topology; as it is where the topology does not know its cause."""
    if origin.place is None:
        return origin
    place = _place(topology, origin)
    return origin if place is None else replace(origin, place=place)


def _place(topology: Topology, origin: Origin) -> Place | None:
    what = origin.what
    kind, _, name = what.partition(" ")
    owners: dict[str, Mapping[str, Port | Network | PhysicalNetwork | FloatingIp | ExternalNetwork]] = {
        "port ": topology.ports,
        "network ": topology.networks,
        "physical network ": topology.physical_networks,
        "floating IP ": topology.floating_ips,
        _EXTERNAL: topology.external_networks,
    }
    for words, known in owners.items():
        if what.startswith(words):
            found = known.get(what.removeprefix(words))
            return None if found is None else found.place
    if kind == "router":
        owner, _, part = name.partition(_OF_ROUTER)
        return _of_router(topology.routers.get(owner), part)
    if origin.rule is not None and kind in topology.groups:
        group = topology.groups[kind]
        return _of_rule(origin.rule, (*group.ingress, *group.egress))
    # An address of ours on an external network.
    external = topology.external_networks.get(what.partition(f" on {_EXTERNAL}")[2])
    return None if external is None else external.place


def _of_router(router: Router | None, part: str) -> Place | None:
    """Return where a router stands, or its first route that these words are about."""
    if router is None or not part:
        return None if router is None else router.place
    texts = ((f"route to {route.to} via {route.via}", route.place) for route in router.routes)
    return next((place for text, place in texts if f"{text} ".startswith(f"{part} ")), None)


def _of_rule(rule: Rule, rules: Iterable[Rule]) -> Place | None:
    """Return where the rule that says the same stands; a place is no part of what a rule says."""
    return next((each.place for each in rules if each == rule), None)
