"""A change of several hosts where some hand over what is for a wire that they do not have: at no moment is anything lost or misled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from controller.model.address import router_mac
from controller.model.entities import Port, Topology
from controller.pipeline.compile import compile_fabric
from controller.proof.oracle import Oracle
from controller.proof.packet import IPV4, TCP, Packet
from tests.builders import Entity, allow, fabric, group, host, network, physical_network, port, router
from tests.ovs.frames import frame
from tests.ovs.rolling import Change, RollingTwin, plan, walks

pytestmark = pytest.mark.ovs

WAYS = 3
WEB, LAN = "red/web", "red/lan"
WIRE = physical_network("physnet1", "hv2", "hv3", "hv4")
FEWER, MORE = physical_network("physnet1", "hv2", "hv3"), physical_network("physnet1", "hv1", "hv2", "hv3", "hv4")


def town(*entities: Entity) -> Topology:
    return fabric(
        *(host(name) for name in ("hv1", "hv2", "hv3", "hv4")),
        network(WEB, "10.0.1.0/24"),
        network(LAN, "10.0.3.0/24", kind="vlan", segment=110, physical="physnet1"),
        router("red/main", WEB, LAN, routes=[("192.168.0.0/16", "10.0.3.80")]),
        group("red/all", ingress=[allow("tcp", 80, far="red/all")]),
        *entities,
    )


def at(name: str, on: str, address: str, where: str) -> Port:
    behind = [("192.168.0.0/16", None)] if name == "server" else []
    return port(f"red/{name}", on, address, host=where, groups=["red/all"], allowed=behind)


CLIENT, OTHER = at("client", WEB, "10.0.1.7", "hv1"), at("other", LAN, "10.0.3.9", "hv2")

STORIES: dict[str, tuple[Sequence[Entity], Sequence[Entity], Sequence[Entity]]] = {
    "a port on the wire moves": (
        (WIRE, CLIENT, OTHER, at("third", LAN, "10.0.3.10", "hv3")),
        [at("server", LAN, "10.0.3.80", "hv2")],
        [at("server", LAN, "10.0.3.80", "hv3")],
    ),
    "it moves to a host that is new to the router": (
        (WIRE, CLIENT, OTHER),
        [at("server", LAN, "10.0.3.80", "hv3")],
        [at("server", LAN, "10.0.3.80", "hv4")],
    ),
    "the only port on the wire moves": (
        (WIRE, CLIENT),
        [at("server", LAN, "10.0.3.80", "hv4")],
        [at("server", LAN, "10.0.3.80", "hv2")],
    ),
    "who sends moves away from the wire": (
        (WIRE, OTHER, at("server", LAN, "10.0.3.80", "hv3")),
        [at("client", WEB, "10.0.1.7", "hv2")],
        [at("client", WEB, "10.0.1.7", "hv1")],
    ),
    "who sends moves to the wire": (
        (WIRE, OTHER, at("server", LAN, "10.0.3.80", "hv3")),
        [at("client", WEB, "10.0.1.7", "hv1")],
        [at("client", WEB, "10.0.1.7", "hv2")],
    ),
    "a host gets the wire": ((CLIENT, OTHER, at("server", LAN, "10.0.3.80", "hv3")), [FEWER], [MORE]),
}


def packets(*sides: Topology) -> Iterator[Packet]:
    """What ports say to ports of the other network, and to where the static route leads."""
    ports = list({name: port for side in sides for name, port in side.ports.items()}.values())
    for source in ports:
        for target in ports:
            if target.network != source.network:
                hello = Packet(source.name, source.mac, router_mac(source.network), IPV4, source.ips[0], target.ips[0])
                for number in (80, 81):
                    yield replace(hello, protocol=TCP, sport=40000, dport=number)
                if target.allowed:
                    far = target.allowed[0].ip.network_address + 7
                    yield replace(hello, protocol=TCP, sport=40000, dport=80, dst=far)


def wrong(twin: RollingTwin, change: Change, asked: Sequence[Packet]) -> list[str]:
    """Return what a fabric in between does to packets that neither side would do, or fails to do that both do."""
    found = []
    oracles = [Oracle(change.before), Oracle(change.after)]
    for packet in asked:
        known = [
            {name for name, decision in oracle.receivers(packet).items() if decision.allowed} for oracle in oracles
        ]
        reached: set[str] = set()
        for place in sorted(twin.places[packet.source]):
            twin.forget()
            seen = twin.send_from(place, packet.source, frame(packet))
            assert all(got[22] == packet.ttl - 1 for frames in seen.values() for got in frames), "one router has had it"
            assert all(len(frames) == 1 for frames in seen.values())
            reached |= seen.keys()
        missing, leaked = (known[0] & known[1]) - reached, reached - (known[0] | known[1])
        if missing or leaked:
            found.append(f"not to {sorted(missing)}, but to {sorted(leaked)}: {packet}")
    return found


@pytest.mark.parametrize("story", STORIES)
def test_no_moment_of_a_change_is_worse_than_both_its_ends(tmp_path: Path, story: str) -> None:
    stays, goes, comes = STORIES[story]
    before, after = town(*stays, *goes), town(*stays, *comes)
    asked = list(packets(before, after))
    with RollingTwin(tmp_path, before, after) as twin:
        change = plan(before, after, twin.bindings)
        assert change.shares
        # A bridge that is new is not part of a change: it has all that it is to hold once it is there.
        known = {each.dpid for each in change.old}
        new = [each for each in compile_fabric(after, bindings=twin.bindings) if each.dpid not in known]
        for state in walks(change, WAYS):
            assert wrong(twin.loaded([*state, *new]), change, asked) == []


def test_another_order_would_be_noticed(tmp_path: Path) -> None:
    stays, goes, comes = STORIES["it moves to a host that is new to the router"]
    before, after = town(*stays, *goes), town(*stays, *comes)
    with RollingTwin(tmp_path, before, after) as twin:
        change = plan(before, after, twin.bindings)
        change.shares.reverse()
        assert any(wrong(twin.loaded(state), change, list(packets(before, after))) for state in walks(change, WAYS))
