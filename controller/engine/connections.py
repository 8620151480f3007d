"""A line of the log of connections: what a switch's sample says, in the names of the files.

    {"time": "2026-11-21T16:02:03.123Z", "host": "hv1", "port": "red/web1", "direction": "ingress", "verdict": "allowed",
     "rule": {"group": "red/web", "text": "tcp 80", "place": "tenants/red.yaml:12:5"},
     "protocol": "tcp", "src": "10.0.1.12", "dst": "10.0.1.11", "peer": "red/web2", "sport": 40000, "dport": 80}

Where no rule decided there is a `reason` in place of the `rule`; ICMP has `type` and `code` in place of ports.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from controller.engine.counters import port_of
from controller.engine.plugged import Plugged
from controller.engine.seats import Seat
from controller.graph import queries
from controller.model.entities import Address, Topology
from controller.model.ids import key
from controller.model.names import subport_name
from controller.pipeline.fields import (
    BY_NAME,
    CT_NEW,
    CT_RELATED,
    CT_REPLY,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
)
from controller.pipeline.flow import Flow, ToController
from controller.pipeline.reasons import BY_KIND, is_drop, is_dry
from controller.pipeline.registers import SET_OF_PORTS, SOURCE, TARGET, number_of_target
from controller.proof.rules import rule_text
from controller.wire.sample import Headers, Sample, read_headers

if TYPE_CHECKING:
    from controller.engine.engine import Engine

# How often the flows of a switch are looked through for one that is not known, at most, and for how long one that is not found is
# taken for a third hand's.
_LOOK_S, _STRANGE_S = 0.25, 5.0

_MOST_STRANGERS = 1024

_PROTOCOLS = {PROTO_ICMP: "icmp", PROTO_TCP: "tcp", PROTO_UDP: "udp", PROTO_ICMPV6: "icmpv6", PROTO_SCTP: "sctp"}
_IN_PORT, _CT_STATE = BY_NAME["in_port"].index, BY_NAME["ct_state"].index
_SOURCE, _TARGET = BY_NAME[SOURCE.field].index, BY_NAME[TARGET.field].index

Line = dict[str, Any]


class UnknownFlow(LookupError):
    """No flow of ours has sent a sample: it has just gone, or a third hand has added it."""


class _Samplers:
    """The flows of a switch that sample, by cookie, and those of before, which may have samples under way."""

    def __init__(self) -> None:
        self._now: dict[bytes, Flow] = {}
        self._before: dict[bytes, Flow] = {}
        self._strange: dict[bytes, float] = {}
        self._looked = -_LOOK_S

    def find(self, cookie: bytes) -> Flow | None:
        """Return the flow with a cookie, if it is known."""
        return self._now.get(cookie) or self._before.get(cookie)

    def is_strange(self, cookie: bytes) -> bool:
        """Return whether a flow has been looked for in vain, not long ago."""
        return time.monotonic() - self._strange.get(cookie, -_STRANGE_S) < _STRANGE_S

    def note_stranger(self, cookie: bytes) -> None:
        """Note that a flow has been looked for in vain, if that is not known."""
        if len(self._strange) >= _MOST_STRANGERS:
            self._strange.clear()
        if not self.is_strange(cookie):
            self._strange[cookie] = time.monotonic()

    def wait(self) -> None:
        """Wait until it is time to look through the flows again."""
        time.sleep(max(0.0, self._looked + _LOOK_S - time.monotonic()))

    def learn(self, flows: Iterable[Flow]) -> None:
        """Look through the flows that the switch shall hold by now."""
        found = {each.packed[:8]: each for each in flows if each.packed and _samples(each)}
        self._before, self._now = self._now or self._before, found
        self._looked = time.monotonic()


class Connections:
    """Makes lines of samples. One thread uses it, which is not the engine's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._samplers: dict[int, _Samplers] = {}  # By datapath id.
        self._plugged = Plugged(engine)
        self._owners: dict[str, tuple[Topology, dict[tuple[str, Address], str]]] = {}  # By tenant.

    def line(self, dpid: int, sample: Sample, at: float) -> Line | None:
        """Return the line for a sample that came at a time of `time.time`; None for what is not worth one.

        Raises UnknownFlow.
        """
        flow, seat = self._flow(dpid, sample.cookie), self._engine.seats.get(dpid)
        topology = self._engine.intent.topology
        if seat is None or topology is None:
            raise UnknownFlow
        state = sample.fields.get(_CT_STATE, 0)
        if not is_drop(flow) and state and (not state & CT_NEW or state & CT_RELATED):
            # Rules judge open connections anew when they change, and SCTP's all the time. Those of stateless groups know of none.
            return None
        # Tables of policy are named by the direction that they are asked about.
        direction = self._engine.table_name(dpid, flow.table).partition("_")[0]
        headers = read_headers(sample.packet)
        port = port_of(flow) or self._port(topology, seat, direction, sample)
        told: Line = {"time": _time(at), "host": seat.host, "port": port, "direction": direction}
        told |= self._decision(flow, direction)
        if state & CT_REPLY:
            told["answer"] = True
        return told | _packet(headers) | self._peer(topology, port, direction, headers)

    def _flow(self, dpid: int, cookie: bytes) -> Flow:
        samplers = self._samplers.setdefault(dpid, _Samplers())
        found = samplers.find(cookie)
        if found is None and not samplers.is_strange(cookie):
            samplers.wait()
            program = self._engine.programs.programs.get(dpid)
            samplers.learn(program.snapshot()[0] if program is not None else [])
            found = samplers.find(cookie)
        if found is None:
            samplers.note_stranger(cookie)
            raise UnknownFlow
        return found

    def _port(self, topology: Topology, seat: Seat, direction: str, sample: Sample) -> str | None:
        """Return the port that a rule was asked for; None where a packet is for several."""
        if direction == "egress":
            name = self._plugged.port_at(seat.host, seat.bridge, sample.fields.get(_IN_PORT, 0))
            return self._sender(topology, name, sample.fields.get(_SOURCE, 0))
        target = sample.fields.get(_TARGET, SET_OF_PORTS)
        if target & SET_OF_PORTS:
            return None
        number, vlan = number_of_target(target)
        name = self._plugged.port_at(seat.host, seat.bridge, number)
        return subport_name(name, vlan) if name is not None and vlan else name

    def _sender(self, topology: Topology, name: str | None, source: int) -> str | None:
        """Return which port on an interface has a key: the one that is plugged in, or one of its subports."""
        if name is None or key("port", name) == source:
            return name
        ports = queries.part(topology, "ports", name.partition("/")[0]).values()
        return next((each.name for each in ports if each.parent == name and key("port", each.name) == source), name)

    def _decision(self, flow: Flow, direction: str) -> Line:
        reason = BY_KIND.get((flow.feature, flow.kind))
        if reason is not None:
            return {"verdict": "dropped", "reason": reason.text}
        verdict = "would drop" if is_dry(flow) else "allowed"
        origin = self._engine.locate(flow.origin)
        if origin.rule is None:
            return {"verdict": verdict, "reason": f"no {direction} rule allows it, and its groups are not enforced"}
        rule = {
            "group": origin.what.partition(" ")[0],
            "text": rule_text(origin.rule),
            "place": None if origin.place is None else str(origin.place),
        }
        return {"verdict": verdict, "rule": rule}

    def _peer(self, topology: Topology, port: str | None, direction: str, headers: Headers) -> Line:
        """Return whose the far address is, if it is a port's of the same network."""
        near, far = topology.ports.get(port or ""), headers.target if direction == "egress" else headers.source
        network = None if near is None else topology.networks.get(near.network)
        if network is None or far is None:
            return {}
        for tenant in (network.tenant, *network.share):
            owner = self._owners_of(topology, tenant).get((network.name, far))
            if owner is not None:
                return {"peer": owner}
        return {}

    def _owners_of(self, topology: Topology, tenant: str) -> dict[tuple[str, Address], str]:
        known = self._owners.get(tenant)
        if known is None or known[0] is not topology:
            ports = queries.part(topology, "ports", tenant).values()
            known = topology, {(port.network, address): port.name for port in ports for address in port.ips}
            self._owners[tenant] = known
        return known[1]


def _samples(flow: Flow) -> bool:
    return any(isinstance(action, ToController) for action in flow.actions)


def _packet(headers: Headers) -> Line:
    protocol = headers.protocol
    if headers.source is None or headers.target is None or protocol is None:
        return {"protocol": f"ethertype {headers.ethertype:#06x}" if headers.source is None else None}
    told: Line = {"protocol": _PROTOCOLS.get(protocol, protocol)}
    told |= {"src": str(headers.source), "dst": str(headers.target)}
    first, second = ("sport", "dport") if headers.has_ports else ("type", "code")
    return told if headers.first is None else told | {first: headers.first, second: headers.second}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
