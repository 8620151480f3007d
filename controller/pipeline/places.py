"""Where the cause of a flow stands in the files by now: lines move while flows stay as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller.model.entities import Place, Rule, Topology
from controller.pipeline.flow import Origin


def locate(topology: Topology, origin: Origin) -> Origin:
    """Return an origin with the place that it has in a topology; as it is where the topology does not know its cause."""
    if origin.place is None:
        return origin
    kind, _, name = origin.what.partition(" ")
    place: Place | None = None
    if kind == "port" and name in topology.ports:
        place = topology.ports[name].place
    elif kind == "network" and name in topology.networks:
        place = topology.networks[name].place
    elif origin.what.startswith("physical network "):
        physical = topology.physical_networks.get(origin.what.removeprefix("physical network "))
        place = physical.place if physical else None
    elif origin.rule is not None and kind in topology.groups:
        group = topology.groups[kind]
        place = _of_rule(origin.rule, (*group.ingress, *group.egress))
    return origin if place is None else replace(origin, place=place)


def _of_rule(rule: Rule, rules: Iterable[Rule]) -> Place | None:
    """Return where the rule that says the same stands; a place is no part of what a rule says."""
    return next((each.place for each in rules if each == rule), None)
