"""Ways out of the fabric while it runs: which host has which address of ours outside, the outside is told so, and hosts are drained.

Gateways take over by themselves when they no longer hear those before them, and the controller hears of it from their switches: the
port by which a host listens for another one is no longer alive. Whoever is outside hears it by announcements that the new host sends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from controller.answers.neighbours import announce
from controller.answers.undeliverable import tag
from controller.engine.delivery import HANDOVER_S
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

# A host that is cut off hears one of the others die after the other: only then it is known that it is not they who died.
HOLD_S = 0.2


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
    Who had it before and is there gives it up only when its switch is in sync: then it is announced again.
    """

    def __init__(self, observed: Observed, programs: Programs) -> None:
        self._observed = observed
        self._programs = programs
        self._met: Topology | None = None
        self._found: frozenset[str] = frozenset()  # Who had addresses outside when the controller started.
        self._silent: dict[str, frozenset[str]] = {}  # By host, the interfaces of its br-int that are not alive.
        self._known: dict[str, Mapping[Home, str]] = {}  # By tenant, what was computed last.
        self._last: dict[Home, str] = {}
        self._settled_at = 0.0  # When those who fell silent together have all been heard of.
        self._rounds: Rounds[Home] = Rounds()
        self._drained: dict[str, bool] = {}
        self._present: set[str] = set()
        self._gone: set[str] = set()  # Whose switch was there, and is not.
        # For people: router -> the hosts by which it may lead out, and the one that does. None: it is to be looked at again.
        self._ways: dict[str, tuple[tuple[str, ...], str | None]] | None = None

    # What happens.

    def held(self, host: str, notes: Collection[str]) -> None:
        """Take what a host's switch remembers; what has been said since goes before."""
        self.drain(host, self._drained.get(host, DRAINED in notes))

    def drain(self, host: str, is_drained: bool) -> None:
        """Have a host lead out only if nobody else can, or as its place is."""
        self._drained[host], self._ways = is_drained, None
        self._programs.drain(host, is_drained)

    def came(self, host: str) -> None:
        """Note that a host's switch is there.

        What was announced while it was away nobody outside has heard, and what is there may have learned something else since.
        """
        self._present.add(host)
        if host in self._gone:
            self._gone.discard(host)
            for home in [home for home, where in self._last.items() if where == host]:
                self._rounds.begin(home, time.monotonic())
        self._ways = None
        self._programs.reach(host, True)

    def left(self, host: str) -> None:
        """Note that a host's switch is gone. What it heard last may not be so any more."""
        self._present.discard(host)
        self._gone.add(host)
        self._ways = None
        self._programs.reach(host, False)

    def corrected(self, host: str) -> None:
        """Note that a host's switch, which held something else than it should when it came, does no more.

        So far it may have spoken for addresses that others have by now, after they had said so; its datapath may a moment longer.
        """
        quiet_at = time.monotonic() + HANDOVER_S
        for home, where in self._last.items():
            if where != host and self._is_wired(host, home.external):
                self._rounds.begin(home, quiet_at)

    def silent(self, host: str, interfaces: frozenset[str]) -> None:
        """Note which interfaces of a host's br-int are not alive: by some of them it listens for others."""
        if interfaces - self._silent.get(host, frozenset()):
            self._settled_at = time.monotonic() + HOLD_S
        self._silent[host], self._ways = interfaces, None
        if self._met is not None:
            self._programs.hear(host, self._unheard(self._met, host))

    def meet(self, topology: Topology) -> None:
        """Take the topology in force."""
        if topology is self._met:
            return
        if self._met is None:
            self._found = frozenset([*topology.routers, *topology.floating_ips])
        self._met, self._ways = topology, None
        for host in [host for host in self._silent if host not in topology.hosts]:
            del self._silent[host]
            self._programs.hear(host, frozenset())
        for host in [host for host in self._drained if host not in topology.hosts]:
            self.drain(host, False)
            del self._drained[host]
        for host in self._silent:
            self._programs.hear(host, self._unheard(topology, host))

    # What follows.

    def follow(self, topology: Topology, send: Callable[[int, bytes], bool]) -> bool:
        """Announce what has come to another host, or is new, and what is due again. Who has it now is to be ready for it.

        Return whether something has come from one host to another.
        """
        now = time.monotonic()
        homes, has_moved = self._programs.at_home(), False
        for tenant in {*self._known, *homes}:
            before, after = self._known.get(tenant, {}), homes.get(tenant, {})
            if before is not after:
                has_moved |= self._compare(topology, before, after, now)
        self._known = dict(homes)
        for home in self._rounds.due(now):
            self._announce(topology, home, send)
        if self._ways is None:
            leading_out = (name for name, router in topology.routers.items() if router.external is not None)
            self._ways = {name: self._programs.leads(name) for name in leading_out}
        return has_moved

    def deadlines(self) -> list[float]:
        """Return when something is due, in the time of `time.monotonic`."""
        return self._rounds.deadlines()

    # For people; any thread may ask.

    def drained(self) -> list[str]:
        """Return the hosts that lead out only if nobody else can, in name order."""
        return sorted(host for host, is_drained in self._drained.copy().items() if is_drained)

    def home_of(self, owner: str) -> str | None:
        """Return the host that has the address of a router or a floating IP outside, None while nobody tells."""
        return next((host for home, host in self._last.copy().items() if home.owner == owner), None)

    def tell_routers(self, topology: Topology) -> list[dict[str, Any]]:
        """Return the routers that lead out, and by whom, as JSON has it."""
        ways, lives = self._ways or {}, {}
        told = []
        for name, (order, leading) in sorted(ways.items()):
            for host in order:
                if host not in lives:
                    lives[host] = self._is_alive(topology, host)
            is_lost = not any(lives[host] is not False for host in order)
            gateways = [{"host": host, "alive": lives[host]} for host in order]
            told.append(
                {"router": name, "gateway": None if is_lost else leading, "lost": is_lost, "gateways": gateways}
            )
        return told

    def tell_floating(self, topology: Topology) -> list[dict[str, Any]]:
        """Return the floating IPs and the hosts that have them, as JSON has it."""
        where = {home.owner: host for home, host in self._last.copy().items()}
        return [
            {"address": str(each.address), "port": each.port, "host": where.get(name)}
            for name, each in topology.floating_ips.items()
        ]

    def _is_alive(self, topology: Topology, host: str) -> bool | None:
        """Return whether any other host hears a gateway; None if none listens that we know of."""
        interface, heard = liveness_port(host), None
        for other in self._present.copy():
            known = topology.hosts.get(other)
            if other == host or known is None:
                continue
            if self._observed.number(other, known.integration_bridge, interface) is not None:
                if interface not in self._silent.get(other, ()):
                    return True
                heard = False
        return heard

    # How it follows.

    def _is_wired(self, host: str, external: str) -> bool:
        hosts, externals = (self._met.hosts, self._met.external_networks) if self._met is not None else ({}, {})
        return (
            host in hosts
            and external in externals
            and onto_wire(self._observed, hosts[host], externals[external]) is not None
        )

    def _unheard(self, topology: Topology, host: str) -> frozenset[str]:
        interfaces = self._silent.get(host, frozenset())
        return frozenset(other for other in watched_by(topology, host) if liveness_port(other) in interfaces)

    def _compare(self, topology: Topology, before: Mapping[Home, str], after: Mapping[Home, str], now: float) -> bool:
        has_moved = False
        for home, host in after.items():
            was = self._last.get(home)
            if was != host:
                has_moved |= was is not None
                self._last[home] = host
                is_found = was is None and home.owner in self._found
                self._rounds.begin(home, max(now, self._settled_at), 1 if is_found else TIMES)
        for home in before.keys() - after.keys():
            self._rounds.drop(home)
            if not _is_declared(topology, home):
                # Somebody else may have the address before it comes back. That nobody tells where it is means less.
                del self._last[home]
                self._found -= {home.owner}
        return has_moved

    def _announce(self, topology: Topology, home: Home, send: Callable[[int, bytes], bool]) -> None:
        host, external = topology.hosts.get(self._last[home]), topology.external_networks.get(home.external)
        actions = None if host is None or external is None else onto_wire(self._observed, host, external)
        if host is not None and actions is not None:
            message = packet_out(announce(home.address, outer_mac(home.owner)), actions)
            send(integration_dpid(host.id), message)
