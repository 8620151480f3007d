"""What is observed of the hosts: which interface has which number on which bridge, and so where each port is.

Observation never changes intent: a port that the files pin to a host stays there, and is only reported when it shows up
elsewhere.

An interface of br-int counts under its canonical name, `model.names.interface_name(PORT)`: `tap1` with the iface-id
"red/web1" is `red.web1`. Where an iface-id is set it alone counts, whatever the interface is called; where none is set, or no
database is read, the interface's own name does. An interface that OpenFlow tells of before the host's database, which is
read, stands for nothing until the database has told: it may be marked as not in use. Of two interfaces of a host that stand
for one port, the one with an iface-id wins, and of two such ones that with the higher number: Open vSwitch hands numbers out
upwards.

Of two hosts that claim one port, the newer claim wins. A claim dates from when its host was last known not to have the
interface. So a switch that comes back with what it had makes no new claim, and one that comes back with more cannot take it
from a host that got it meanwhile, unless that host's own switch is gone. Claims that a controller finds when it first
hears of a host are of unknown age: older than every known one. Among them, the host that held the port before the controller
started wins (`remember`), of two the one to which the port had moved last, and otherwise the one that told first, so that nothing
moves because a switch reconnects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from controller.model.entities import HostKind, Port, Topology
from controller.model.names import NOBODY, interface_name, parent_of, ports_by_interface
from controller.pipeline.flow import Bindings

Age = tuple[int, int]  # What a claim is dated with: in which way, and by what number.
_UNKNOWN: Age = (0, 0)
_REMEMBERED, _SEEN = 1, 2  # By how often the port had moved when its host got it; by the event.


class Claim(NamedTuple):
    """That a host has a port's interface, and since when at the earliest."""

    since: Age
    host: str


@dataclass(slots=True)
class _Host:
    """What one host has told."""

    told: dict[str, Mapping[str, int]] = field(default_factory=dict)  # bridge -> interface, as it is called -> number
    numbers: dict[str, Mapping[str, int]] = field(default_factory=dict)  # bridge -> canonical name -> number
    integration: str | None = None  # The bridge whose interfaces are ports'.
    names: dict[str, str | None] | None = None  # Interface -> canonical name, None for nobody's; None: never told.
    identified: frozenset[str] = frozenset()  # The interfaces that have an iface-id.
    rivals: dict[str, tuple[str, ...]] = field(default_factory=dict)  # Canonical name -> interfaces, the winner last.
    remembered: Mapping[str, int] = field(default_factory=dict)  # Canonical name -> how often its port had moved.
    left: int | None = None  # When its switch was lost, if it is.


class Observed:
    """Port numbers per host and bridge, and the order in which hosts claimed interfaces.

    One thread uses it. What an event costs depends on the host that it is about, not on the fabric.
    """

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}
        self._claims: dict[str, list[Claim]] = {}  # Canonical name -> who has it, the newest last.
        self._remembering: dict[str, set[str]] = {}  # Canonical name -> the hosts that remember it.
        self._clock = 0

    # What happens.

    def update(self, host: str, bridge: str, ports: Mapping[str, int], *, is_integration: bool) -> set[str]:
        """Note a connected bridge's ports as its switch lists them now.

        Args:
            host: The host's name.
            bridge: The bridge's name.
            ports: Interface as it is called -> OpenFlow number, all that the bridge has.
            is_integration: Whether its interfaces are those of ports.

        Returns:
            The canonical names of the interfaces that came, went or changed their number.
        """
        seen = self._hosts.setdefault(host, _Host())
        self._clock += 1
        since = _SEEN, self._clock
        if is_integration:
            if seen.integration is None:
                since = _UNKNOWN
            elif seen.left is not None:
                since = _SEEN, seen.left
            seen.integration, seen.left = bridge, None
        seen.told[bridge] = dict(ports)
        return self._settle(host, seen, bridge, since)

    def name(self, host: str, names: Mapping[str, str | None]) -> set[str]:
        """Note what a host's OVSDB says now of all of its interfaces.

        Args:
            host: The host's name.
            names: Interface -> iface-id (`TENANT/PORT`), `NOBODY` for one that is not in use, None for one without iface-id.

        Returns:
            The canonical names of the interfaces on br-int that came, went or changed their number by it.
        """
        seen = self._hosts.setdefault(host, _Host())
        self._clock += 1
        since = _UNKNOWN if seen.names is None else (_SEEN, self._clock if seen.left is None else seen.left)
        seen.identified = frozenset(interface for interface, port in names.items() if port)
        seen.names = {interface: _canonical(interface, port) for interface, port in names.items()}
        return set() if seen.integration is None else self._settle(host, seen, seen.integration, since)

    def disconnected(self, host: str) -> None:
        """Note that the switch of a host's br-int is gone. Its ports stay: the data plane outlives the connection."""
        seen = self._hosts.get(host)
        if seen is not None and seen.left is None:
            self._clock += 1
            seen.left = self._clock

    def remember(self, host: str, interfaces: Mapping[str, int]) -> None:
        """Note which canonical names a host had when its switch was programmed last, as that tells, and how often each had moved.

        It dates the claims that are found when the host first tells its ports, so it has to come before.
        """
        seen = self._hosts.setdefault(host, _Host())
        self._unremember(host, seen)
        seen.remembered = dict(interfaces)
        for interface in interfaces:
            self._remembering.setdefault(interface, set()).add(host)

    def _unremember(self, host: str, seen: _Host) -> None:
        for interface in seen.remembered:
            self._remembering[interface].discard(host)
            if not self._remembering[interface]:
                del self._remembering[interface]

    def forget(self, host: str) -> set[str]:
        """Drop all that is known of a host that the files no longer name; return the canonical names that it had."""
        seen = self._hosts.pop(host, _Host())
        self._unremember(host, seen)
        had = set(seen.numbers.get(seen.integration or "", {}))
        for interface in had:
            self._withdraw(interface, host)
        return had

    # What is so.

    def host_of(self, interface: str) -> str | None:
        """Return the host with the newest claim to a canonical name."""
        claims = self._claims.get(interface)
        return claims[-1].host if claims else None

    def claims(self, interface: str) -> list[str]:
        """Return the hosts that claim a canonical name, the newest last."""
        return [claim.host for claim in self._claims.get(interface, ())]

    def is_dated(self, interface: str) -> bool:
        """Return whether a canonical name is claimed, and not just because the host that has it told first."""
        claims = self._claims.get(interface)
        return claims is not None and claims[-1].since > _UNKNOWN

    def remembered(self, interface: str) -> Mapping[str, int]:
        """Return the hosts that remember a canonical name, and how often its port had moved when they got it."""
        return {host: self._hosts[host].remembered[interface] for host in self._remembering.get(interface, ())}

    def number(self, host: str, bridge: str, interface: str) -> int | None:
        """Return the OpenFlow number of a canonical name, None where it is not."""
        seen = self._hosts.get(host)
        return seen.numbers.get(bridge, {}).get(interface) if seen else None

    def called(self, host: str, bridge: str, number: int) -> str | None:
        """Return what the interface with an OpenFlow number is called on its host, None where there is none."""
        seen = self._hosts.get(host)
        told = seen.told.get(bridge, {}) if seen else {}
        return next((interface for interface, its_number in told.items() if its_number == number), None)

    def has(self, host: str, bridge: str | None = None) -> bool:
        """Return whether a host has told its ports, or those of this bridge."""
        seen = self._hosts.get(host)
        if seen is None:
            return False
        return bool(seen.told) if bridge is None else bridge in seen.told

    def is_named(self, host: str) -> bool:
        """Return whether a host's OVSDB has been heard."""
        seen = self._hosts.get(host)
        return seen is not None and seen.names is not None

    def bindings(self, host: str) -> Bindings:
        """Return the port numbers of a host's bridges, by canonical name."""
        seen = self._hosts.get(host)
        return Bindings(seen.numbers if seen else {})

    # For people; these look at the whole fabric.

    def locations(self, topology: Topology) -> dict[str, str]:
        """Return where each port without a host is; of two hosts that claim one, the newer. Subports are where their parents are."""
        return {port.name: hosts[-1] for port, hosts in self._claimed(topology) if port.host is None}

    def misplaced(self, topology: Topology) -> list[str]:
        """Return, in words, which interfaces get no flows although they claim a port."""
        found = []
        for port, hosts in self._claimed(topology):
            for host in hosts:
                if port.host is not None and host != port.host:
                    found.append(f"port {port.name} showed up on {host}, but {port.place} pins it to {port.host}")
                elif port.host is None and host != hosts[-1]:
                    found.append(f"port {port.name} is on {hosts[-1]} now, {host} still has its interface")
        names = ports_by_interface(topology.ports)
        for host, seen in list(self._hosts.items()):
            for interface, (*losers, winner) in list(seen.rivals.items()):
                if interface in names and host in topology.hosts:
                    losing = " and ".join(losers)
                    found.append(f"port {names[interface]} is {winner} on {host}, where {losing} would be it as well")
        return found

    def unplugged(self, topology: Topology) -> list[str]:
        """Return the ports whose interface is on no programmed host where they may be."""
        claimed = {port.name: hosts for port, hosts in self._claimed(topology)}
        missing = []
        for port in topology.ports.values():
            hosts = claimed.get(port.parent or port.name, [])
            if port.host and topology.hosts[port.host].kind is HostKind.VTEP:
                continue
            if not (port.host in hosts if port.host else hosts):
                missing.append(port.name)
        return missing

    def _claimed(self, topology: Topology) -> Iterator[tuple[Port, list[str]]]:
        names = ports_by_interface(topology.ports)
        for interface, claims in list(self._claims.items()):
            known = [claim.host for claim in list(claims) if claim.host in topology.hosts]
            if interface in names and known:
                yield topology.ports[names[interface]], known

    # How the one follows from the other.

    def _settle(self, host: str, seen: _Host, bridge: str, since: Age) -> set[str]:
        """Work a bridge's numbers out anew; return the canonical names whose number is another now."""
        before = seen.numbers.get(bridge, {})
        after: Mapping[str, int] = seen.told[bridge]
        if bridge == seen.integration:
            after = _by_canonical_name(seen)
            for gone in before.keys() - after.keys():
                self._withdraw(gone, host)
            for new in after.keys() - before.keys():
                is_known = since == _UNKNOWN and new in seen.remembered
                self._claim(new, Claim((_REMEMBERED, seen.remembered[new]) if is_known else since, host))
        seen.numbers[bridge] = after
        return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}

    def _claim(self, interface: str, claim: Claim) -> None:
        claims = self._claims.setdefault(interface, [])
        if claims and self._hosts[claims[-1].host].left is not None:
            # Whoever had it is gone, and here it is: a host that failed, and its VM started elsewhere.
            claims.append(Claim((_SEEN, self._clock), claim.host))
            return
        # What is as old as others comes before them, so that who told first keeps it.
        place = sum(other.since < claim.since for other in claims)
        claims.insert(place, claim)

    def _withdraw(self, interface: str, host: str) -> None:
        claims = self._claims[interface]
        claims[:] = [claim for claim in claims if claim.host != host]
        if not claims:
            del self._claims[interface]


def _canonical(interface: str, port: str | None) -> str | None:
    """Return what an interface counts as that has this iface-id, None for nothing."""
    if port is None:
        return interface
    # A subport has no interface: what claims to be one is nobody's.
    return None if port == NOBODY or port != parent_of(port) else interface_name(port)


def _by_canonical_name(seen: _Host) -> dict[str, int]:
    """Return the numbers of br-int by canonical name, and note interfaces that stand for the same."""
    found: dict[str, list[tuple[bool, int, str]]] = {}
    for interface, number in seen.told[seen.integration or ""].items():
        canonical = interface if seen.names is None else seen.names.get(interface)
        if canonical is not None:
            found.setdefault(canonical, []).append((interface in seen.identified, number, interface))
    seen.rivals = {
        name: tuple(interface for _, _, interface in sorted(rivals))
        for name, rivals in found.items()
        if len(rivals) > 1
    }
    return {name: max(rivals)[1] for name, rivals in found.items()}
