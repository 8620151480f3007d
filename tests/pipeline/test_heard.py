"""Neighbours that were heard: which hosts know them, what a change of one costs, and that switches remember them."""

from __future__ import annotations

from ipaddress import ip_address

from controller.model.entities import Address
from controller.pipeline.flow import Delta, Note
from controller.pipeline.heard import Neighbour, neighbour_note, read_neighbours
from controller.pipeline.programs import Programs
from controller.pipeline.released import notes_of
from tests.builders import external_network, fabric, host, network, physical_network, port

GATEWAY, STRANGER = ip_address("203.0.113.1"), ip_address("10.0.1.99")
M1, M2 = 0x0200000000F1, 0x0200000000F2

TOPOLOGY = fabric(
    *(host("hv1"), host("hv2"), host("hv3")),
    physical_network("physnet1", "hv1", "hv2"),
    external_network("public", "203.0.113.0/24", physical="physnet1", vlan=100),
    network("red/lan", "10.0.1.0/24"),
    *(port("red/a", "red/lan", "10.0.1.11", host="hv2"), port("red/b", "red/lan", "10.0.1.12", host="hv3")),
)


class World:
    def __init__(self) -> None:
        self.programs = Programs()
        self.programs.enter(TOPOLOGY)
        self.programs.ask_for(TOPOLOGY.hosts)
        self.learn()

    def learn(self, *heard: tuple[str, Address, int | None]) -> dict[int, Delta]:
        for network_name, address, mac in heard:
            self.programs.learn(network_name, address, mac)
        self.programs.settle()
        return self.programs.take()

    def noted(self, host_name: str) -> list[Neighbour]:
        """Return what the ledger of a host's switch remembers."""
        (program, *_) = self.programs.of_host(host_name)
        texts = (text for flow in program.flows.values() for text in notes_of(flow))
        return sorted(read_neighbours(texts), key=str)


def test_hosts_with_a_wire_to_an_external_network_remember_its_neighbours() -> None:
    world = World()
    world.learn(("public", GATEWAY, M1))
    assert world.noted("hv1") == world.noted("hv2") == [("public", GATEWAY, M1)]
    assert world.noted("hv3") == []


def test_hosts_that_have_a_network_remember_its_neighbours() -> None:
    world = World()
    world.learn(("red/lan", STRANGER, M1))
    assert world.noted("hv2") == world.noted("hv3") == [("red/lan", STRANGER, M1)]
    assert world.noted("hv1") == []


def test_several_are_told_apart() -> None:
    world = World()
    other = ip_address("2001:db8::1")
    world.learn(("public", GATEWAY, M1), ("public", other, M2), ("red/lan", STRANGER, M1))
    assert world.noted("hv2") == [("public", GATEWAY, M1), ("public", other, M2), ("red/lan", STRANGER, M1)]


def test_a_neighbour_with_another_mac_is_one_flow_a_host() -> None:
    world = World()
    world.learn(("public", GATEWAY, M1), ("public", ip_address("203.0.113.50"), M1))
    changed = world.learn(("public", GATEWAY, M2))
    assert [len(delta) for delta in changed.values()] == [1, 1]
    actions = [flow.actions for delta in changed.values() for flow in delta.puts.values()]
    assert actions == [(Note(neighbour_note(Neighbour("public", GATEWAY, M2)).encode()),)] * 2


def test_a_neighbour_that_has_gone_leaves_nothing() -> None:
    world = World()
    size = len(world.programs.memo)
    world.learn(("public", GATEWAY, M1))
    world.learn(("public", GATEWAY, M1), ("public", GATEWAY, None))
    assert world.noted("hv1") == []
    assert len(world.programs.memo) == size


def test_notes_that_are_none_tell_nothing() -> None:
    texts = [
        "neighbour public 203.0.113.1",
        "neighbour public nowhere 02:00:00:00:00:01",
        "neighbour a 10.0.0.1 zz",
        "port a",
    ]
    assert list(read_neighbours(texts)) == []
