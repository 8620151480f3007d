"""Who reaches whom by way of the outside: out to the internet, in from there, and from everywhere to floating IPs.

What leaves must leave in the right name as well: each question says which address its target shall see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_interface

from controller.lab.beyond import INTERNET, OutsidePlan
from controller.lab.prober import Probe
from controller.lab.reach import Question, judged, kinds_between, unnamed_number
from controller.model.entities import Address, FloatingIp, Port, Topology
from controller.proof.oracle import Oracle


def outside_questions(topology: Topology, location: Mapping[str, str], outside: OutsidePlan) -> list[Question]:
    """Return all questions about the outside of a lab, with the oracle's answers."""
    if not outside.names:
        return []
    asking = _Asking(topology, Oracle(topology, location), outside)
    ports = [topology.ports[name] for name in location if name in topology.ports]
    floating = [each for each in topology.floating_ips.values() if each.port in location]
    found: list[Question] = []
    for port in ports:
        found += asking.out(port)
        found += asking.into_private(port)
    for each in floating:
        found += asking.into(each)
        for port in ports:
            found += asking.around(port, each)
    return found


class _Asking:
    """What every question needs."""

    def __init__(self, topology: Topology, oracle: Oracle, outside: OutsidePlan) -> None:
        self._topology = topology
        self._oracle = oracle
        self._internet = [ip_interface(each).ip for each in outside.addresses]
        self._routed = {prefix for prefix, _ in outside.routes}
        self._unnamed = unnamed_number(topology)

    def out(self, port: Port) -> Iterator[Question]:
        """Yield whether a port reaches the internet, and in whose name."""
        for address in self._internet:
            mine = next((ip for ip in port.ips if ip.version == address.version), None)
            if mine is not None:
                yield from self._ask(port, None, mine, address, str(address), INTERNET, self._name(port, mine))

    def into(self, floating: FloatingIp) -> Iterator[Question]:
        """Yield whether the internet reaches a floating IP."""
        target = self._topology.ports[floating.port]
        for address in self._internet:
            if address.version == floating.address.version:
                by = str(floating.address)
                yield from self._ask(None, target, address, floating.address, by, by, str(address))

    def into_private(self, port: Port) -> Iterator[Question]:
        """Yield whether the internet reaches a port's own address."""
        network = self._topology.networks[port.network]
        cidrs = network.cidrs
        for ip in port.ips:
            # Of prefixes that several tenants use, the lab's routers outside know the way to one.
            is_routed = any(ip.version == cidr.version and ip in cidr and str(cidr) in self._routed for cidr in cidrs)
            # Who is on the network's own wire may have any address, the internet's as well; but that is not there.
            is_hidden = network.type.is_provider and self._name(port, ip) != str(ip)
            for address in self._internet:
                if address.version == ip.version:
                    for question in self._ask(None, port, address, ip, str(ip), "", str(address)):
                        if is_routed and question.expected and is_hidden:
                            yield replace(
                                question, expected=False, reason=f"the internet is not on the wire of {network.name}"
                            )
                        elif is_routed or not question.expected:
                            yield question

    def around(self, port: Port, floating: FloatingIp) -> Iterator[Question]:
        """Yield whether a port reaches a floating IP, which may be its own."""
        target = self._topology.ports[floating.port]
        mine = next((ip for ip in port.ips if ip.version == floating.address.version), None)
        if mine is not None:
            by = str(floating.address)
            yield from self._ask(port, target, mine, floating.address, by, by, self._name(port, mine))

    def _ask(
        self, source: Port | None, target: Port | None, src: Address, dst: Address, asked: str, by: str, seen: str
    ) -> Iterator[Question]:
        """Yield a question of each kind; `asked` is what the oracle is asked for, a port's name where that has the address."""
        sender = source.name if source is not None else str(src)
        # From outside the oracle knows the ways to a port by all of its addresses; to one, it is asked by that.
        receiver = target.name if source is None and target is not None else asked
        names = {(sender, each) for each in (receiver, asked, target.name if target is not None else asked)}
        ways = self._oracle.ways(sender, receiver, dst.version)
        for kind, number in kinds_between(self._topology, source, target, names, self._unnamed):
            decision, way = judged(self._oracle, ways, src, dst, kind, number)
            yield Question(
                source.name if source is not None else INTERNET,
                target.name if target is not None else INTERNET,
                Probe(source.name if source is not None else INTERNET, str(dst), kind, number),
                decision is not None and decision.allowed,
                decision.reason if decision is not None else f"there is no way to {dst}",
                by,
                str(way.seen[0]) if way is not None and way.seen is not None else seen,
            )

    def _name(self, port: Port, mine: Address) -> str:
        """Return the address that hosts outside see a port's packets come from."""
        own = (each for each in self._topology.floating_ips.values() if (each.port, each.fixed) == (port.name, mine))
        floating = next(own, None)
        if floating is not None:
            return str(floating.address)
        router = next((each for each in self._topology.routers.values() if port.network in each.networks), None)
        if router is None or not router.snat:
            return str(mine)
        return next((str(each) for each in router.addresses if each.version == mine.version), "")
