"""Ways out of the fabric while it runs: which host has which address of ours outside, the outside is told so, and hosts are drained.

Gateways take over by themselves when they no longer hear those before them, and the controller hears of it from their switches: the
port by which a host listens for another one is no longer alive. Whoever is outside hears it by announcements that the new host sends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from controller.answers.neighbours import announce
from controller.answers.undeliverable import tag
from controller.engine.rounds import TIMES, Rounds
from controller.graph.homes import Home
from controller.model.address import outer_mac
from controller.model.entities import ExternalNetwork, Host, Topology
from controller.model.ids import integration_dpid
from controller.model.liveness import watched_by
from controller.model.names import liveness_port, patch_to_physical
from controller.observed import Observed
from controller.pipeline.flow import Action, Output
from controller.pipeline.numbers import DRAINED
from controller.pipeline.programs import Programs
from controller.wire.packet_out import packet_out


def onto_wire(observed: Observed, host: Host, external: ExternalNetwork) -> tuple[Action, ...] | None:
    """Return the actions that put a frame on an external network from a host's br-int, None where there is no way."""
    patch = patch_to_physical(external.physical_network)
    number = observed.number(host.name, host.integration_bridge, patch)
    return None if number is None else (*tag(external.vlan), Output(number))


def _is_declared(topology: Topology, home: Home) -> bool:
    router, floating = topology.routers.get(home.owner), topology.floating_ips.get(home.owner)
    if router is not None:
        return router.external == home.external and home.address in router.addresses
    return floating is not None and (floating.external, floating.address) == (home.external, home.address)


class Outward:
    """Where each address was last, which are being announced, and which hosts are drained.

    What a controller finds when it starts is announced once: who had it before may have died while no controller was there.
    """

    def __init__(self, observed: Observed, programs: Programs) -> None:
        self._observed = observed
        self._programs = programs
        self._met: Topology | None = None
        self._found: frozenset[str] = frozenset()  # Who had addresses outside when the controller started.
        self._silent: dict[str, frozenset[str]] = {}  # By host, the interfaces of its br-int that are not alive.
        self._known: dict[str, Mapping[Home, str]] = {}  # By tenant, what was computed last.
        self._last: dict[Home, str] = {}
        self._rounds: Rounds[Home] = Rounds()
        self._drained: dict[str, bool] = {}

    # What happens.

    def held(self, host: str, notes: Collection[str]) -> None:
        """Take what a host's switch remembers; what has been said since goes before."""
        self.drain(host, self._drained.get(host, DRAINED in notes))

    def drain(self, host: str, is_drained: bool) -> None:
        """Have a host lead out only if nobody else can, or as its place is."""
        self._drained[host] = is_drained
        self._programs.drain(host, is_drained)

    def came(self, host: str) -> None:
        """Note that a host's switch is there."""
        self._programs.reach(host, True)

    def left(self, host: str) -> None:
        """Note that a host's switch is gone. What it heard last may not be so any more."""
        self._programs.reach(host, False)

    def silent(self, host: str, interfaces: frozenset[str]) -> None:
        """Note which interfaces of a host's br-int are not alive: by some of them it listens for others."""
        self._silent[host] = interfaces
        if self._met is not None:
            self._programs.hear(host, self._unheard(self._met, host))

    def meet(self, topology: Topology) -> None:
        """Take the topology in force."""
        if topology is self._met:
            return
        if self._met is None:
            self._found = frozenset([*topology.routers, *topology.floating_ips])
        self._met = topology
        for host in [host for host in self._silent if host not in topology.hosts]:
            del self._silent[host]
            self._programs.hear(host, frozenset())
        for host in [host for host in self._drained if host not in topology.hosts]:
            self.drain(host, False)
            del self._drained[host]
        for host in self._silent:
            self._programs.hear(host, self._unheard(topology, host))

    # What follows.

    def follow(self, topology: Topology, send: Callable[[int, bytes], bool]) -> None:
        """Announce what has come to another host, or is new, and what is due again. Who has it now is to be ready for it."""
        now = time.monotonic()
        homes = self._programs.at_home()
        for tenant in {*self._known, *homes}:
            before, after = self._known.get(tenant, {}), homes.get(tenant, {})
            if before is not after:
                self._compare(topology, before, after, now)
        self._known = dict(homes)
        for home in self._rounds.due(now):
            self._announce(topology, home, send)

    def deadlines(self) -> list[float]:
        """Return when something is due, in the time of `time.monotonic`."""
        return self._rounds.deadlines()

    def is_drained(self, host: str) -> bool:
        """Return whether a host leads out only if nobody else can."""
        return self._drained.get(host, False)

    def _unheard(self, topology: Topology, host: str) -> frozenset[str]:
        interfaces = self._silent.get(host, frozenset())
        return frozenset(other for other in watched_by(topology, host) if liveness_port(other) in interfaces)

    def _compare(self, topology: Topology, before: Mapping[Home, str], after: Mapping[Home, str], now: float) -> None:
        for home, host in after.items():
            was = self._last.get(home)
            if was != host:
                self._last[home] = host
                is_found = was is None and home.owner in self._found
                self._rounds.begin(home, now, 1 if is_found else TIMES)
        for home in before.keys() - after.keys():
            self._rounds.drop(home)
            if not _is_declared(topology, home):
                # Somebody else may have the address before it comes back. That nobody tells where it is means less.
                del self._last[home]
                self._found -= {home.owner}

    def _announce(self, topology: Topology, home: Home, send: Callable[[int, bytes], bool]) -> None:
        host, external = topology.hosts.get(self._last[home]), topology.external_networks.get(home.external)
        actions = None if host is None or external is None else onto_wire(self._observed, host, external)
        if host is not None and actions is not None:
            message = packet_out(announce(home.address, outer_mac(home.owner)), actions)
            send(integration_dpid(host.id), message)
