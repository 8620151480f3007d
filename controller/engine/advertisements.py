"""Router advertisements that nobody has asked for: to every port on a network with IPv6, again and again, and at once when they change.

A switch cannot make packets of itself, so they are packet-outs. Each port is told once in a period, one after the other, so that a
fabric of many ports costs a steady trickle. What they say lasts far longer than the period (`controller.answers.advertisement`): a
controller that is away is not missed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from controller.answers.advertisement import frame, is_due
from controller.answers.asked import tagged
from controller.model.entities import Network, Port, Router, Topology
from controller.model.ids import integration_dpid
from controller.model.names import interface_name
from controller.pipeline.flow import Output
from controller.wire.packet_out import packet_out

if TYPE_CHECKING:
    from controller.engine.engine import Engine

PERIOD_S = 300.0
# The first times round, as hosts that came up before the controller have asked in vain (RFC 4861, section 10).
FIRST_PERIOD_S, FIRST_TIMES = 16.0, 3

_LOOK_S = 1.0  # How soon other files are noticed.
_MOST_AT_ONCE, _PAUSE_S = 50, 0.1  # So that questions are answered meanwhile.

_Teller = tuple[Network, Router | None]


class Advertisements:
    """Whose turn it is to be told, and which networks have something new to say. One thread uses it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._topology: Topology | None = None
        self._tellers: dict[str, _Teller] = {}  # By network, those that are told of routers.
        self._former: dict[str, list[Network]] = {}  # What networks of which there is news have told until then.
        self._news: deque[str] = deque()  # Ports that are told out of turn,
        self._round: deque[str] = deque()  # and those whose turn is to come.
        self._rounds = 0
        self._next = time.monotonic()  # When the next one of the round is due, or the next round.
        self._spacing = 0.0
        self._pause_until = 0.0
        self.sent = 0

    def work(self) -> float:
        """Send what is due; return for how many seconds there will be nothing to do."""
        now = time.monotonic()
        if now < self._pause_until:
            return self._pause_until - now
        topology = self._engine.intent.topology
        if topology is None:
            return _LOOK_S
        if topology is not self._topology:
            self._meet(topology)
        for name in self._due(now, topology):
            port = topology.ports.get(name)
            if port is not None:
                self._tell(topology, port)
        if not self._news:
            self._former.clear()
        rest = _PAUSE_S if self._news else min(max(_PAUSE_S, self._next - now), _LOOK_S)
        self._pause_until = now + rest
        return rest

    def _meet(self, topology: Topology) -> None:
        """Look what other files have changed; nothing is news to somebody who starts."""
        routers = {name: router for router in topology.routers.values() for name in router.networks}
        former, self._tellers = self._tellers, {}
        for name, network in topology.networks.items():
            router = routers.get(name)
            if is_due(network, router):
                self._tellers[name] = network, router
        changed = {name for name, teller in self._tellers.items() if name in former and _differ(former[name], teller)}
        changed |= {name for name in former.keys() - self._tellers.keys() if name in topology.networks}
        if self._topology is not None:
            changed |= self._tellers.keys() - former.keys()
        self._topology = topology
        for name in changed & former.keys():
            self._former.setdefault(name, []).append(former[name][0])
        if changed:
            self._news.extend(port.name for port in topology.ports.values() if port.network in changed)

    def _due(self, now: float, topology: Topology) -> Iterator[str]:
        """Yield the ports that are to be told now."""
        for _ in range(_MOST_AT_ONCE):
            if self._news:
                yield self._news.popleft()
            elif now < self._next:
                return
            elif self._round:
                yield self._round.popleft()
                # Who fell behind, because the machine slept, does not make up for it.
                self._next = max(self._next + self._spacing, now - self._spacing * _MOST_AT_ONCE)
            else:
                self._begin(now, topology)

    def _begin(self, now: float, topology: Topology) -> None:
        period = FIRST_PERIOD_S if self._rounds < FIRST_TIMES else PERIOD_S
        self._rounds += 1
        self._round.extend(port.name for port in topology.ports.values() if port.network in self._tellers)
        self._spacing = max(period, len(self._round) * _PAUSE_S / _MOST_AT_ONCE) / (len(self._round) or 1)
        self._next = now + (0 if self._round else period)

    def _tell(self, topology: Topology, port: Port) -> None:
        """Send a port its network's advertisement. One that says no more who the router is says so by that."""
        switches, observed = self._engine.switches, self._engine.observed
        network, router = self._tellers.get(port.network, (topology.networks[port.network], None))
        interface = interface_name(port.name)
        host = topology.hosts.get(port.host or observed.host_of(interface) or "")
        number = observed.number(host.name, host.integration_bridge, interface) if host is not None else None
        if switches is None or host is None or number is None:
            return
        told = frame(network, router, former=self._former.get(network.name, ()))
        message = packet_out(told, (*tagged(port), Output(number)))
        self.sent += switches.send(integration_dpid(host.id), message)


def _differ(one: _Teller, other: _Teller) -> bool:
    return (one[0] is not other[0] or one[1] is not other[1]) and frame(*one) != frame(*other)
