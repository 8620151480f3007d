"""The ways by which one end may address another: bridged, routed, out to the world and in from it. What rules say is not asked here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address

from controller.model.entities import Address, Place, Port, Router, Topology
from controller.proof.routers import Routers, Step, is_routed
from controller.proof.segments import Segments
from controller.proof.verdict import Decision, Way

_NOBODY = 0  # The MAC of no port.


class Ways:
    """All ways in one topology."""

    def __init__(self, topology: Topology, segments: Segments, routers: Routers) -> None:
        self._topology = topology
        self._segments = segments
        self._routers = routers

    def between(
        self, source: str, target: str, version: int | None = None, *, floating: bool = False
    ) -> list[Way] | Decision:
        """Return the pairs of addresses by which `source` may address `target`, or why there is none.

        Either may be an address as text: that of a port, a floating IP, or one beyond what the files say. Between ports those through the
        outside count as well if `floating`.
        """
        sender, receiver = self._topology.ports.get(source), self._topology.ports.get(target)
        if sender is None:
            return self._from_address(ip_address(source), target)
        if receiver is None:
            return self._to_address(sender, ip_address(target))
        found = self._between(sender, receiver, version)
        around = self._around(sender, receiver, version) if floating else []
        return around or found if isinstance(found, Decision) else [*found, *around]

    def no_path(self, source: Port, target: Port, mac: int | None = None) -> str | None:
        """Return why nothing that one port sends reaches the other by its own address, bridged or routed; or None.

        What is routed goes to a MAC, the target's own unless another is given.
        """
        if source.network != target.network:
            router = self._routers.of(source.network)
            if router is None or router is not self._routers.of(target.network):
                return (
                    f"{source.name} is in network {source.network}, {target.name} in {target.network}"
                    ", and no router joins them"
                )
            if not self._segments.is_programmed(source):
                return self._unserved(source)
            at, reason = self._segments.router_host(source, target.network, target.mac if mac is None else mac)
            return reason or self._segments.no_path_from(at, source, target)
        return self._segments.no_path(source, target)

    def no_way_back(self, way: Way, *, is_routed: bool = False) -> str | None:
        """Return why answers to what came this way find no path, or None; `is_routed` even if both ends are on one network."""
        source, target = way.source, way.target
        if target is None:
            return None
        if is_routed and not self._segments.is_programmed(target):
            return self._unserved(target)
        if way.seen is None and source is not None:
            return self.no_path(target, source)
        router = self._routers.of(target.network)
        if (
            source is not None
            and way.seen is not None
            and way.seen[0] == way.src
            and router is self._routers.of(source.network)
        ):
            # They come from another address than was asked, so that nobody takes them for answers.
            return f"{target.name} answers {way.src} inside, not as {way.dst}"
        is_bridged = way.seen is None and self._topology.networks[target.network].type.is_provider
        return None if is_bridged or self._segments.is_programmed(target) else self._unserved(target)

    def _unserved(self, port: Port) -> str:
        return f"Weft does not program {self._segments.host(port)}, so no router serves {port.name} there"

    def _between(
        self, sender: Port, receiver: Port, version: int | None, src: Address | None = None, dst: Address | None = None
    ) -> list[Way] | Decision:
        """Return the ways by addresses that the ports have, or those given, which they are allowed."""
        reason = self.no_path(sender, receiver)
        if reason is not None:
            return _no_path(reason, sender.place)
        mine: Iterable[Address] = sender.ips if src is None else (src,)
        theirs: Iterable[Address] = receiver.ips if dst is None else (dst,)
        found = [
            Way(sender, receiver, a.version, a, b)
            for a in mine
            for b in theirs
            if a.version == b.version and version in (None, a.version)
        ]
        if not found and not self._topology.networks[sender.network].cidrs and sender.network == receiver.network:
            found = [Way(sender, receiver, each, src, dst) for each in (4, 6) if version in (None, each)]
        return found or Decision(False, f"{sender.name} and {receiver.name} share no IP version", None, sender.place)

    def _to_address(self, sender: Port, dst: Address) -> list[Way] | Decision:
        """Return the ways to an address: one of the sender's own network, or of whatever its router leads to."""
        mine = _of_version(sender, dst.version)
        router = self._router_at(sender)
        is_near = self._is_near(sender, dst)
        own = self._routers.pinged(sender.network, dst) if router is not None else None
        if router is not None and (own is not None or (not is_near and self._steps(router, dst))):
            if not mine:
                return Decision(False, f"{sender.name} has no IPv{dst.version} address", None, sender.place)
            if own is not None:
                return [Way(sender, None, dst.version, src, dst, router=own.name) for src in mine]
            return self._routed(sender, router, dst, mine)
        owner = self._segments.owner(sender.network, dst)
        if owner is not None:
            return self._between(sender, owner, dst.version, dst=dst)
        network = self._topology.networks[sender.network]
        if network.type.is_provider and is_near:
            found = [Way(sender, None, dst.version, src, dst) for src in mine]
            return found or Decision(False, f"{sender.name} has no IPv{dst.version} address", None, sender.place)
        leads = (
            "and no router leads elsewhere" if router is None else f"and router {router.name} leads nowhere else to it"
        )
        return _no_path(f"no port of {network.name} has {dst}, {leads}", sender.place)

    def _routed(self, sender: Port, router: Router, dst: Address, mine: list[Address]) -> list[Way] | Decision:
        """Return the ways through the sender's router. Where routes share them, what one of them loses is a way with a refusal."""
        found = [way for src in mine for way in self._through(sender, router, src, dst)]
        if all(way.refusal for way in found):
            return _no_path(found[0].refusal or "", sender.place)
        return found

    def _through(self, sender: Port, router: Router, src: Address, dst: Address) -> Iterator[Way]:
        for step in self._steps(router, dst):
            if step.network is None:
                yield self._out(sender, router, src, dst)
                continue
            port = self._next(step)
            reason = None
            if port is not None:
                reason = self.no_path(sender, port)
            elif not self._topology.networks[step.network].type.is_provider:
                reason = f"no port of {step.network} has {step.next_hop}"
            else:
                _, reason = self._segments.router_host(sender, step.network, _NOBODY)
            yield Way(sender, port, dst.version, src, dst, refusal=reason)

    def _out(self, sender: Port, router: Router, src: Address, dst: Address) -> Way:
        """Return the way out of a router, which may end at a floating IP or another router, or at nobody whom the files know."""
        outward = Way(sender, None, dst.version, src, dst)
        name, reason = self._routers.leaving(router, sender, src)
        if name is None:
            return replace(outward, refusal=reason)
        floating, other = self._routers.floating(dst), self._routers.with_outer(dst)
        if floating is not None and self._routers.meets(router, self._topology.routers[floating.router], dst.version):
            port, closed = self._routers.entering(floating, name)
            return replace(outward, target=port, seen=(name, floating.fixed), refusal=closed)
        if other is None or not self._routers.meets(router, other, dst.version):
            return outward
        absent = None if self._routers.gateways(other) else f"no gateway of {other.external} has {dst}"
        return replace(outward, router=other.name, refusal=absent)

    def _around(self, sender: Port, receiver: Port, version: int | None) -> list[Way]:
        """Return the ways out of the sender's router and in again, by the receiver's floating IPs, or where nothing is translated."""
        router, other = self._router_at(sender), self._routers.of(receiver.network)
        if router is None:
            return []
        outer = [floating.address for floating in self._routers.floating_ips_of(receiver)]
        found = [
            self._out(sender, router, src, dst)
            for dst in outer
            for src in _of_version(sender, dst.version)
            if version in (None, dst.version) and self._leads_out(router, dst)
        ]
        if other is not None and other is not router:
            for dst in self._open_ips(other, receiver):
                if self._leads_out(router, dst) and self._routers.meets(router, other, dst.version):
                    for src in _of_version(sender, dst.version):
                        name, _ = self._routers.leaving(router, sender, src)
                        if name is None or self._routers.forged(other, name) is not None:
                            continue
                        if version in (None, dst.version):
                            found.append(Way(sender, receiver, dst.version, src, dst, seen=(name, dst)))
        return [way for way in found if way.refusal is None and way.target is receiver]

    def _from_address(self, src: Address, target: str) -> list[Way] | Decision:
        """Return the ways from an address: of ports that may use it, of a machine on a wire, and from outside."""
        receiver = self._topology.ports.get(target)
        if receiver is None:
            return Decision(False, f"no path: {src} and {target} are both not ports of the files")
        own = self._routers.pinged(receiver.network, src)
        if own is not None:
            return _no_path(
                f"{src} is router {own.name}'s own address, and routers open no connections", receiver.place
            )
        router = self._routers.of(receiver.network)
        networks = [receiver.network, *(router.networks if router is not None else ())]
        for name in networks:
            port = self._segments.with_address(name, src)
            if port is not None:
                return self._between(port, receiver, src.version, src=src)
        claimants = {port.name: port for name in networks for port in self._segments.claimants(name, src)}
        tried = [self._between(port, receiver, src.version, src=src) for port in claimants.values()]
        found = [way for each in tried if not isinstance(each, Decision) for way in each]
        found += self._from_beyond(src, receiver, router)
        refusals = [each for each in tried if isinstance(each, Decision)]
        return found or (refusals[0] if refusals else self._shut(src, receiver, router))

    def _from_beyond(self, src: Address, receiver: Port, router: Router | None) -> Iterator[Way]:
        """Yield the ways from whoever has an address that no port has."""
        mine = _of_version(receiver, src.version)
        at = None if router is None else self._connected(router, src)
        if self._topology.networks[at or receiver.network].type.is_provider:
            for ip in mine:
                yield Way(None, receiver, src.version, src, ip)
        floating = self._routers.floating(src)
        if floating is not None:
            sender = self._topology.ports[floating.port]
            around = self._around(sender, receiver, src.version)
            yield from (way for way in around if way.seen is not None and way.seen[0] == src)
        elif at is None and router is not None and self._leads_out(router, src):
            for each in self._routers.floating_ips_of(receiver):
                if each.address.version == src.version and self._routers.entering(each, src)[1] is None:
                    yield Way(None, receiver, src.version, src, each.address, seen=(src, each.fixed))
            if self._routers.forged(router, src) is None:
                for ip in self._open_ips(router, receiver):
                    if ip.version == src.version:
                        yield Way(None, receiver, src.version, src, ip)

    def _shut(self, src: Address, receiver: Port, router: Router | None) -> Decision:
        """Return why nothing comes from an address."""
        at = receiver.network if router is None else self._connected(router, src) or receiver.network
        if self._topology.networks[at].type.is_provider:
            return Decision(False, f"{receiver.name} has no IPv{src.version} address", None, receiver.place)
        if router is not None and self._leads_out(router, src) and router.snat:
            reason = f"router {router.name} lets in what is for floating IPs, and {receiver.name} has none that {src} reaches"
            return _no_path(reason, receiver.place)
        return _no_path(f"no port of {at} has {src}, and no router leads there", receiver.place)

    # What is asked again and again.

    def _router_at(self, port: Port) -> Router | None:
        """Return the router that serves a port where it is."""
        return self._routers.of(port.network) if self._segments.is_programmed(port) else None

    def _is_near(self, port: Port, address: Address) -> bool:
        """Return whether an address is of the port's own network, so that no router is asked."""
        cidrs = self._topology.networks[port.network].cidrs
        return any(cidr.version == address.version and address in cidr for cidr in cidrs)

    def _steps(self, router: Router, address: Address) -> list[Step]:
        return self._routers.steps(router, address) if is_routed(address) else []

    def _leads_out(self, router: Router, address: Address) -> bool:
        return any(step.network is None for step in self._steps(router, address))

    def _connected(self, router: Router, address: Address) -> str | None:
        """Return the network of a router that an address is in."""
        steps = self._steps(router, address)
        return steps[0].network if len(steps) == 1 and steps[0].next_hop == address else None

    def _next(self, step: Step) -> Port | None:
        """Return a port that may be next on a way, the first of several; None if it is none of the files'."""
        return None if step.network is None else self._segments.owner(step.network, step.next_hop)

    def _open_ips(self, router: Router, port: Port) -> list[Address]:
        """Return the addresses of a port that a router leads to from outside: where nothing is masked, those that are no others there."""
        if router.snat or self._routers.no_exit(router, port, floating=False) is not None:
            return []
        return [ip for ip in port.ips if not self._routers.has_floating(port, ip)]


def _of_version(port: Port, version: int) -> list[Address]:
    return [ip for ip in port.ips if ip.version == version]


def _no_path(reason: str, place: Place) -> Decision:
    return Decision(False, f"no path: {reason}", None, place)
