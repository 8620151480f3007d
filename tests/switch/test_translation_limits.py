"""A flood from outside fills the translations that a tenant has on a host, and nobody else's; what is not translated goes nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.model.address import outer_mac, router_mac
from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from controller.pipeline.heard import Neighbour
from controller.proof import packet as wire
from controller.proof.packet import Packet
from controller.switch.limits import Keeper, Place, Switch
from tests.builders import (
    allow,
    external_network,
    fabric,
    floating_ip,
    group,
    host,
    network,
    physical_network,
    port,
    router,
)
from tests.ovs.fabric import FabricTwin
from tests.ovs.frames import frame

pytestmark = pytest.mark.ovs

UPSTREAM, CLIENT = 0x020000FF0001, ip_address("198.51.100.9")
HEARD = [Neighbour("public", ip_address("203.0.113.1"), UPSTREAM)]
ROOM = 3


def topology() -> Topology:
    """Red and blue lead out by one host; of each a port has a floating IP, and another one is masked. Red has little room."""
    plain = fabric(
        replace(host("hv1"), gateway=True),
        physical_network("physnet1", "hv1"),
        external_network("public", "203.0.113.0/24", physical="physnet1"),
        *(network(f"{tenant}/n", "10.0.0.0/24") for tenant in ("red", "blue")),
        *(group(f"{tenant}/open", ingress=[allow("udp", 80, tenant=tenant)]) for tenant in ("red", "blue")),
        *(
            port(f"{tenant}/{name}", f"{tenant}/n", f"10.0.0.1{n}", host="hv1", groups=[f"{tenant}/open"])
            for tenant in ("red", "blue")
            for n, name in enumerate(("server", "client"))
        ),
        *(
            router(f"{tenant}/main", f"{tenant}/n", external="public", address=f"203.0.113.1{n}")
            for n, tenant in enumerate(("red", "blue"))
        ),
        *(
            floating_ip(f"203.0.113.2{n}", f"{tenant}/server", "10.0.0.10", router=f"{tenant}/main", external="public")
            for n, tenant in enumerate(("red", "blue"))
        ),
    )
    return replace(plain, tenants={**plain.tenants, "red": replace(plain.tenants["red"], connections=ROOM)})


@pytest.fixture
def net(tmp_path: Path) -> Iterator[FabricTwin]:
    with FabricTwin(tmp_path, topology()) as running:
        running.load(compile_fabric(running.topology, bindings=running.bindings, heard=HEARD))
        twin = running.hosts["hv1"]
        place = Place(twin.directory, "br-int", "dummy@ovs-dummy", twin.directory / "switch.ctl")
        with closing(Switch(place)) as switch:
            limited = {change.space: change.after for change in Keeper().apply(switch)}
        assert limited == {"red/@main": ROOM, "red/@main!nat": ROOM}
        yield running


def flood(net: FabricTwin, tenant: str, dport: int, count: int = 8) -> int:
    """Ask a tenant's floating IP so often, each time by a new connection; return how often the port got it."""
    owner = next(each for each in net.topology.floating_ips.values() if each.tenant == tenant)
    heard = 0
    for number in range(count):
        packet = Packet(
            "x", UPSTREAM, outer_mac(owner.name), wire.IPV4, CLIENT, owner.address, wire.UDP, 1000 + number, dport
        )
        found = net.receive_wire("hv1", "physnet1", frame(packet))
        assert found.keys() <= {owner.port}
        assert not net.wires, "what is not translated goes nowhere"
        heard += bool(found)
    return heard


def left(net: FabricTwin, source: str, count: int = 8) -> int:
    """Let a port ask the world so often, each time by a new connection; return how often that left, in another's name."""
    mine = net.topology.ports[source]
    gone = 0
    for number in range(count):
        packet = Packet(
            source, mine.mac, router_mac(mine.network), wire.IPV4, mine.ips[0], CLIENT, wire.UDP, 1000 + number, 53
        )
        net.send(source, frame(packet))
        assert all(sent[26:30] != mine.ips[0].packed for _, sent in net.wires), "it is masked or it stays"
        gone += len(net.wires)
    return gone


def test_a_flood_from_outside_costs_others_nothing(net: FabricTwin) -> None:
    """Rules refuse it, but only after it has been translated."""
    assert flood(net, "red", 81) == 0
    assert flood(net, "red", 80) == 0, "there is no room any more"
    assert flood(net, "blue", 80) == 8
    assert left(net, "blue/client") == 8


def test_so_many_are_translated_and_no_more(net: FabricTwin) -> None:
    assert flood(net, "red", 80) == ROOM
    assert left(net, "red/client") == 0


def test_what_is_not_masked_for_want_of_room_does_not_leave(net: FabricTwin) -> None:
    assert left(net, "red/client") == ROOM
    assert left(net, "red/server") == 0
