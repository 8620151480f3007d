"""What `weft explain` tells of one port: where it is, which rules judge it with what they let in, and what was dropped, when and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from controller.config.suggest import instead
from controller.engine.counters import (
    CLASS,
    PORT,
    Hits,
    Key,
    by_rule,
    drops_of,
    has_rates,
    port_of,
    rule_key,
)
from controller.engine.seats import Seat
from controller.model.address import format_mac
from controller.model.entities import Direction, HostKind, Port, Rule, Topology
from controller.model.ids import integration_dpid
from controller.model.names import interface_name, parent_of
from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Flow
from controller.pipeline.reasons import EVERYTHING_ALLOWED, REASONS, is_drop, is_rule
from controller.pipeline.registers import JUDGED
from controller.pipeline.tables import Bridge
from controller.pipeline.view import class_name, policy_class
from controller.proof.rules import rule_text
from controller.switch.status import Reading, State

if TYPE_CHECKING:
    from controller.engine.engine import Engine

_JUDGED = BY_NAME[JUDGED.field].index


def explain(engine: Engine, name: str, deadline_s: float) -> dict[str, Any]:
    """Return all that is known of a port and what was counted for it."""
    topology = engine.intent.topology
    if topology is None or engine.switches is None:
        return {"error": "no topology is in force"}
    port = topology.ports.get(name)
    if port is None:
        return {"unknown": "port", "word": name, "hint": instead(name, topology.ports)}
    told = _what_it_is(topology, port) | _floating(engine, topology, port) | _where(engine, topology, port)
    if told["number"] is None:
        unread = told["unbound"] if told["state"] == State.DOWN else None
        return told | {"unread": unread, "directions": {}, "drops": [], "host_drops": []}
    host = topology.hosts[told["host"]]
    dpid = integration_dpid(host.id)
    reading = engine.switches.count([dpid], _wanted(port), deadline_s, meters=has_rates(topology))[dpid]
    drops = list(
        drops_of(engine, Seat(host.name, host.integration_bridge, Bridge.INTEGRATION), reading, time.monotonic())
    )
    drops.sort(key=lambda drop: drop["last"]["at_most_s"] if drop["last"] else float("inf"))
    own = [drop for drop in drops if drop["port"] == port.name]
    hits = by_rule([(host.name, reading)])
    return told | {
        "unread": reading.error,
        "counted_for": _alike(engine, topology, port, host.name),
        "directions": {
            direction.value: {
                "rules": _rules(topology, port, direction, hits, reading),
                "else": _otherwise(port, direction, own, hits),
            }
            for direction in Direction
        }
        if port.port_security
        else {},
        "drops": own,  # The newest first.
        "host_drops": [drop for drop in drops if drop["port"] is None],
    }


def _what_it_is(topology: Topology, port: Port) -> dict[str, Any]:
    network = topology.networks[port.network]
    return {
        "port": port.name,
        "place": str(port.place),
        "network": network.name,
        "type": network.type.value,
        "segment": network.segment,
        "vlan": port.vlan,  # Of its frames on its parent's interface, if it is a subport.
        "mac": format_mac(port.mac),
        "addresses": [str(address) for address in port.ips],
        "allowed_addresses": [
            str(each.ip) if each.mac is None else f"{each.ip} at {format_mac(each.mac)}" for each in port.allowed
        ],
        "port_security": port.port_security,
        "groups": list(port.groups),
        "is_stateless": any(topology.groups[name].stateless for name in port.groups),
        "is_dry": bool(port.groups) and not any(topology.groups[name].enforce for name in port.groups),
    }


def _floating(engine: Engine, topology: Topology, port: Port) -> dict[str, Any]:
    """Return the floating IPs of a port, and the hosts that have them."""
    own = [(name, each) for name, each in topology.floating_ips.items() if each.port == port.name]
    return {
        "floating_ips": [
            {"address": str(each.address), "fixed": str(each.fixed), "host": engine.outward.home_of(name)}
            for name, each in own
        ]
    }


def _where(engine: Engine, topology: Topology, port: Port) -> dict[str, Any]:
    """Return the host, the interface and the OpenFlow number of a port, and what is missing of them."""
    interface = interface_name(port.name)
    name = port.host or engine.observed.host_of(interface)
    host = topology.hosts.get(name) if name else None
    number = state = why = None
    if host is None:
        why = f"no interface {interface} and no iface-id {parent_of(port.name)} has been seen on any host"
    elif host.kind is HostKind.VTEP:
        why = f"{host.name} is a foreign VTEP, which Weft does not program"
    else:
        number = engine.observed.number(host.name, host.integration_bridge, interface)
        known = engine.switches.statuses() if engine.switches else {}
        found = known.get(integration_dpid(host.id))
        state = (found.state if found else State.DOWN).value
        if number is None and state == State.DOWN:
            why = f"the switch of {host.name} is not connected"
        elif number is None:
            why = f"no interface {interface} and no iface-id {parent_of(port.name)} has been seen on {host.name}"
        else:
            interface = engine.observed.called(host.name, host.integration_bridge, number) or interface
    return {
        "host": host.name if host else None,
        "bridge": host.integration_bridge if host else None,
        "interface": interface,
        "number": number,
        "state": state,
        "unbound": why,
    }


def _wanted(port: Port) -> Callable[[Flow], bool]:
    """Return which flows say something of a port on its own host: its own drops, those of nobody, and the rules of its class."""
    mine = policy_class(port)

    def is_wanted(flow: Flow) -> bool:
        if is_drop(flow):
            return flow.origin.what == PORT + port.name or port_of(flow) is None
        return is_rule(flow) and any(field == _JUDGED and value == mine for field, value, _ in flow.match)

    return is_wanted


def _alike(engine: Engine, topology: Topology, port: Port, host: str) -> list[str]:
    """Return the ports of a host that are judged together with a port, which is one of them: those of the same groups."""
    found = []
    for other in topology.ports.values():
        if other.port_security and set(other.groups) == set(port.groups):
            interface = interface_name(other.name)
            where = other.host or engine.observed.host_of(interface)
            bridge = topology.hosts[host].integration_bridge
            if where == host and engine.observed.number(host, bridge, interface) is not None:
                found.append(other.name)
    return found


def _rules(
    topology: Topology, port: Port, direction: Direction, hits: Mapping[Key, Hits], reading: Reading
) -> list[dict[str, Any]]:
    """Return the rules of a port in one direction, in the order of the files, each with what it has let in."""
    opener = next(
        (
            rule_key(flow)
            for flow, _ in reading.flows
            if flow.kind == EVERYTHING_ALLOWED and rule_key(flow)[2] == direction
        ),
        None,
    )
    told: list[dict[str, Any]] = []
    said: dict[Rule, Rule] = {}
    for group, rule in _in_order(topology, port, direction):
        key: Key = (f"{group} {direction} rule", rule, direction.value)
        counted, note = hits.get(key), None
        if counted is None and opener is not None:
            note = "not looked at, because another rule allows everything"
        elif rule in said and said[rule] is not rule:
            note = f"says what {said[rule].place} says, which counts"
        elif counted is None and reading.error is None:
            note = (
                "nobody is its far side at present"
                if rule.groups or rule.addresses
                else "another rule allows all of it, and counts"
            )
        said.setdefault(rule, rule)
        told.append(
            {
                "group": group,
                "rule": rule_text(rule),
                "place": str(rule.place),
                "would_drop": not rule.enforce,
                "packets": counted.packets if counted and not note else None,
                "bytes": counted.bytes if counted and not note else None,
                "note": note,
            }
        )
    if not port.groups and opener is not None and (found := hits.get(opener)) is not None:
        told.append(found.tell(lambda origin: origin) | {"note": None})
    return told


def _in_order(topology: Topology, port: Port, direction: Direction) -> list[tuple[str, Rule]]:
    groups = [topology.groups[name] for name in port.groups]
    groups.sort(key=lambda group: (group.place.file, group.place.line))
    return [
        (group.name, rule)
        for group in groups
        for rule in (group.ingress if direction is Direction.INGRESS else group.egress)
    ]


def _otherwise(
    port: Port, direction: Direction, drops: list[dict[str, Any]], hits: Mapping[Key, Hits]
) -> dict[str, int]:
    """Return what no rule of a direction allowed: refused to the port, and what passes because no group of its ports is enforced."""
    kinds = {reason.kind for reason in REASONS if reason.direction is direction and reason.drops}
    passed = hits.get((CLASS + class_name(port.groups), None, direction.value))
    return {
        "refused": sum(drop["packets"] for drop in drops if drop["reason"] in kinds),
        "would_be_refused": passed.packets if passed else 0,
    }
