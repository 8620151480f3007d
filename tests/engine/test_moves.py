"""Which ports are announced, from where, and how often."""

from __future__ import annotations

import dataclasses

import pytest

from controller.engine import rounds
from controller.engine.moves import Moves
from controller.model.entities import Topology
from controller.model.ids import host_id, integration_dpid
from controller.model.names import interface_name
from controller.observed import Observed
from controller.wire.announce import announce, announcements
from tests.lab.small import small

HV1, HV2 = integration_dpid(host_id("hv1")), integration_dpid(host_id("hv2"))


class World:
    """The small fabric, whose ports show up, and the packet-outs that follow."""

    def __init__(self) -> None:
        self.topology: Topology = small()
        self.observed = Observed()
        self.moves = Moves(self.observed)
        self.tell("hv1")
        self.tell("hv2")

    def tell(self, host: str, **numbers: int) -> list[tuple[int, bytes]]:
        """Let a host tell its ports (`blue_web1=5`); return what is sent thereupon."""
        ports = {name.replace("_", "."): number for name, number in numbers.items()}
        touched = self.observed.update(host, "br-int", ports, is_integration=True)
        for port in self.topology.ports.values():
            if port.parent is None and interface_name(port.name) in touched:
                self.moves.note(port, self.topology)
        return self.sent()

    def sent(self) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []

        def send(dpid: int, message: bytes) -> bool:
            found.append((dpid, message))
            return True

        self.moves.announce(self.topology, send)
        return found

    def announcement(self, port: str, number: int) -> bytes:
        return announce(self.topology.ports[port], number)


def test_a_port_that_moves_is_announced_from_where_it_is_now() -> None:
    world = World()
    assert world.tell("hv1", blue_web1=5) == []
    assert world.tell("hv2", blue_web1=8) == [(HV2, world.announcement("blue/web1", 8))]


def test_a_port_that_moves_takes_its_subports_along() -> None:
    world = World()
    subport = dataclasses.replace(world.topology.ports["blue/web1"], name="blue/web1:5", parent="blue/web1", vlan=5)
    world.topology = dataclasses.replace(world.topology, ports={**world.topology.ports, subport.name: subport})
    world.tell("hv1", blue_web1=5)
    moved = [(HV2, world.announcement(name, 8)) for name in ("blue/web1", subport.name)]
    assert world.tell("hv2", blue_web1=8) == moved
    frame = next(announcements(subport.mac, subport.ips))
    assert frame[:12] + bytes.fromhex("81000005") + frame[12:] in moved[1][1]


def test_a_port_that_was_away_in_between_is_announced_and_one_that_comes_back_is_not() -> None:
    world = World()
    world.tell("hv1", blue_web1=5, blue_web2=6)
    world.tell("hv1")
    assert world.tell("hv1", blue_web2=7) == []
    assert world.tell("hv2", blue_web1=8) == [(HV2, world.announcement("blue/web1", 8))]


def test_a_port_that_the_files_pin_to_another_host_is_announced_once_it_is_there() -> None:
    world = World()
    world.tell("hv1", red_web1=5)
    pinned = dataclasses.replace(world.topology.ports["red/web1"], host="hv2")
    world.topology = dataclasses.replace(world.topology, ports={**world.topology.ports, "red/web1": pinned})
    world.moves.note(pinned, world.topology)
    assert world.sent() == []
    assert world.tell("hv2", red_web1=8) == [(HV2, world.announcement("red/web1", 8))]


def test_moves_are_counted_on_from_what_switches_remember() -> None:
    world = World()
    for host, number in (("hv1", 0), ("hv2", 1), ("hv1", 2)):
        world.tell("hv2" if host == "hv1" else "hv1")
        world.tell(host, blue_web1=5)
        assert world.moves.count("blue/web1") == number
    restarted = World()
    restarted.observed.remember("hv1", {"blue.web1": 2})
    restarted.tell("hv1", blue_web1=5)
    assert restarted.moves.count("blue/web1") == 2
    restarted.tell("hv2", blue_web1=8)
    assert restarted.moves.count("blue/web1") == 3


def test_where_a_port_is_counts_more_than_what_a_switch_that_comes_late_remembers() -> None:
    world = World()
    world.observed.remember("hv2", {"blue.web1": 6})
    world.tell("hv1", blue_web1=5)
    assert world.moves.count("blue/web1") == 7


def test_an_announcement_is_repeated_twice_a_second_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.tell("hv1", blue_web1=5)
    assert world.moves.deadlines() == []
    assert len(world.tell("hv2", blue_web1=8)) == 1
    assert len(world.moves.deadlines()) == 1
    assert world.sent() == []
    monkeypatch.setattr(rounds, "INTERVAL_S", 0.0)
    world = World()
    world.tell("hv1", blue_web1=5)
    assert [len(world.tell("hv2", blue_web1=8)), *(len(world.sent()) for _ in range(4))] == [1, 1, 1, 0, 0]


def test_a_port_that_moves_on_is_announced_from_its_last_place_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "INTERVAL_S", 0.0)
    world = World()
    world.tell("hv1", blue_web1=5)
    world.tell("hv2", blue_web1=8)
    assert world.tell("hv2") == [(HV1, world.announcement("blue/web1", 5))]
    assert world.sent() == [(HV1, world.announcement("blue/web1", 5))]
