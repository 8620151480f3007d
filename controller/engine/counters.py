"""What rules have let in and what was dropped, by rule, port and reason, as `weft top` and `weft status` show it.

Any thread may ask; the switches are read in it, beside the engine's own.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from controller.engine.seats import Seat
from controller.model.entities import Rule, Topology
from controller.model.names import interface_name
from controller.pipeline.flow import Flow, Origin
from controller.pipeline.plan import pipeline
from controller.pipeline.program import MISS
from controller.pipeline.reasons import BY_KIND, TOO_MANY, is_drop, is_dry, is_rule, miss_text
from controller.pipeline.tables import Bridge
from controller.proof.rules import rule_text
from controller.switch.status import Count, Reading

if TYPE_CHECKING:
    from controller.engine.engine import Engine

PORT = "port "  # How the origin of a port's flow begins.
CLASS = "ports of "  # How the origin of a flow of a class of ports begins.
_STATUS_S = 2.0  # How long `weft status` waits for counters.


@dataclass(slots=True)
class Hits:
    """What the flows of one rule have counted together."""

    origin: Origin
    direction: str
    is_dry: bool
    packets: int = 0
    bytes: int = 0
    hosts: set[str] = field(default_factory=set)

    def add(self, host: str, count: Count) -> None:
        """Add what a flow of the rule has counted on a host."""
        self.packets += count.packets
        self.bytes += count.bytes
        self.hosts.add(host)

    @property
    def group(self) -> str | None:
        """The group that has the rule; of a default deny all groups of the ports, and None for ports without any."""
        what = self.origin.what
        if self.origin.rule is not None:
            return what.partition(" ")[0]
        return what.removeprefix(CLASS) if what.startswith(CLASS) else None

    @property
    def text(self) -> str:
        """The rule in the words of the files."""
        if self.origin.rule is not None:
            return rule_text(self.origin.rule)
        return f"{self.direction} default deny" if self.is_dry else f"{self.direction} any"

    def tell(self, locate: Callable[[Origin], Origin]) -> dict[str, Any]:
        """Return it as JSON has it."""
        place = locate(self.origin).place
        return {
            "group": self.group,
            "direction": self.direction,
            "rule": self.text,
            "place": None if place is None else str(place),
            "would_drop": self.is_dry,
            "hosts": len(self.hosts),
            "packets": self.packets,
            "bytes": self.bytes,
        }


Key = tuple[str, Rule | None, str]


def counters(engine: Engine, host: str | None, tenant: str | None, deadline_s: float) -> dict[str, Any]:
    """Return what all rules and drops have counted, or those of a host or a tenant."""
    topology = engine.intent.topology
    if topology is None or engine.switches is None:
        return {"error": "no topology is in force"}
    for what, word, known in (
        ("host", host, {seat.host for seat in engine.seats.values()}),
        ("tenant", tenant, topology.tenants),
    ):
        if word is not None and word not in known:
            return {"unknown": what, "word": word, "known": sorted(known)}
    seats = {dpid: seat for dpid, seat in engine.seats.items() if host in (None, seat.host)}
    readings = engine.switches.count(
        seats, lambda flow: is_rule(flow) or is_drop(flow), deadline_s, meters=has_rates(topology)
    )
    now = time.monotonic()
    hits = by_rule((seats[dpid].host, reading) for dpid, reading in readings.items())
    drops = [drop for dpid, reading in readings.items() for drop in drops_of(engine, seats[dpid], reading, now)]
    return {
        "at": now,
        "switches": [_tell_switch(seats[dpid], reading) for dpid, reading in readings.items()],
        "rules": [each.tell(engine.locate) for each in hits.values() if tenant in (None, _tenant(each.group))],
        "drops": [drop for drop in drops if tenant in (None, _tenant(drop["port"]))],
    }


def totals(engine: Engine) -> dict[str, Any] | None:
    """Return what `weft status` tells of drops: how many there were, and what dry enforcement would have dropped."""
    topology = engine.intent.topology
    if topology is None or engine.switches is None:
        return None
    seats = dict(engine.seats)
    readings = engine.switches.count(seats, _is_told_by_status, _STATUS_S, meters=has_rates(topology))
    drops = [drop for dpid, reading in readings.items() for drop in drops_of(engine, seats[dpid], reading, 0.0)]
    dropped = [drop for drop in drops if drop["dropped"]]
    hits = by_rule((seats[dpid].host, reading) for dpid, reading in readings.items())
    return {
        "dropped": sum(drop["packets"] for drop in dropped),
        "ports": len({drop["port"] for drop in dropped if drop["port"] is not None}),
        "is_dry": _is_anything_dry(topology),
        "would_drop": [each.tell(engine.locate) for each in hits.values() if each.packets],
        "unread": [str(seats[dpid]) for dpid, reading in readings.items() if reading.error is not None],
    }


def by_rule(readings: Iterable[tuple[str, Reading]]) -> dict[Key, Hits]:
    """Return what was counted by rule, over all hosts."""
    found: dict[Key, Hits] = {}
    for host, reading in readings:
        for flow, count in reading.flows:
            if is_rule(flow):
                hits = found.get(key := rule_key(flow))
                if hits is None:
                    hits = found[key] = Hits(flow.origin, key[2], is_dry(flow))
                hits.add(host, count)
    return found


def rule_key(flow: Flow) -> Key:
    """Return what a flow's rule is known by."""
    return flow.origin.what, flow.origin.rule, _directions()[flow.table]


@functools.cache
def _directions() -> Mapping[int, str]:
    """Return the first word of each table's name: tables of policy are named by the direction that they are asked about."""
    return {table.number: table.name.partition("_")[0] for table in pipeline().tables_of(Bridge.INTEGRATION)}


def drops_of(engine: Engine, seat: Seat, reading: Reading, now: float) -> Iterator[dict[str, Any]]:
    """Yield what a bridge has dropped, or would have, as JSON has it; what has counted nothing is left out."""
    found: dict[tuple[str | None, str, str, bool], list[Count]] = {}
    for flow, count in reading.flows:
        if count.packets and is_drop(flow):
            found.setdefault((port_of(flow), *_reason(flow)), []).append(count)
    names = _numbers(engine, seat) if reading.drops else {}
    for number, count in reading.drops.items():
        if count.packets and number in names:
            found.setdefault((names[number], TOO_MANY.kind, TOO_MANY.text, True), []).append(count)
    for (port, kind, text, is_dropped), counts in found.items():
        yield {
            "host": seat.host,
            "bridge": seat.bridge,
            "port": port,
            "reason": kind,
            "text": text,
            "dropped": is_dropped,
            "packets": sum(count.packets for count in counts),
            "bytes": sum(count.bytes for count in counts),
            "last": _last(counts, now),
        }


def port_of(flow: Flow) -> str | None:
    """Return the port that a drop is of; None where none can be named."""
    return flow.origin.what.removeprefix(PORT) if flow.origin.what.startswith(PORT) else None


def has_rates(topology: Topology) -> bool:
    """Return whether any port may open so many connections a second only, which is what meters are for."""
    return any(port.new_connections is not None for port in topology.ports.values())


def _reason(flow: Flow) -> tuple[str, str, bool]:
    """Return why a flow drops: the kind, a line for people, and whether it does."""
    reason = BY_KIND.get((flow.feature, flow.kind))
    if reason is not None:
        return reason.kind, reason.text, reason.drops
    if flow.feature == MISS:
        return "nobody wants it", miss_text(flow), True
    return flow.kind, _texts().get((flow.feature, flow.kind), flow.origin.what), True


@functools.cache
def _texts() -> Mapping[tuple[str, str], str]:
    return {(feature.name, kind): text for feature in pipeline().features for kind, text in feature.kinds.items()}


def _last(counts: Iterable[Count], now: float) -> dict[str, float] | None:
    """Return how long ago the newest of these drops was, at most and at least."""
    grown = [count.grew for count in counts if count.grew is not None]
    if not grown:
        return None
    after, before = max(each.after for each in grown), max(each.before for each in grown)
    return {"at_most_s": round(now - after, 1), "at_least_s": round(max(0.0, now - before), 1)}


def _numbers(engine: Engine, seat: Seat) -> dict[int, str]:
    """Return the ports with a limited rate by their OpenFlow number on a bridge."""
    topology = engine.intent.topology
    if topology is None or seat.kind is not Bridge.INTEGRATION:
        return {}
    found = {
        engine.observed.number(seat.host, seat.bridge, interface_name(port.name)): port.name
        for port in topology.ports.values()
        if port.new_connections is not None and port.parent is None  # Its subports share its meter.
    }
    return {number: name for number, name in found.items() if number is not None}


def _tenant(name: str | None) -> str | None:
    return None if name is None else name.partition("/")[0]


def _tell_switch(seat: Seat, reading: Reading) -> dict[str, Any]:
    return {"host": seat.host, "bridge": seat.bridge, "error": reading.error}


def _is_told_by_status(flow: Flow) -> bool:
    return is_drop(flow) or (is_rule(flow) and is_dry(flow))


def _is_anything_dry(topology: Topology) -> bool:
    """Return whether any group or rule is not enforced."""
    return any(
        not group.enforce or not all(rule.enforce for rule in (*group.ingress, *group.egress))
        for group in topology.groups.values()
    )
