"""Whom a router's neighbours are asked for, how often, and what becomes of packets that wait for them."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

import pytest

from controller.answers.neighbours import Heard
from controller.engine import neighbours
from controller.engine.neighbours import Neighbours, Spot

M1, M2 = 0x0200000000F1, 0x0200000000F2
HOST = Spot("red/lan", ip_address("192.0.2.50"))
GATEWAY = Spot("public", ip_address("203.0.113.1"))
NETWORKS = ("red/lan", "public")


class World:
    """A clock, and all that comes of a router's neighbours, in order. Flows follow at once unless `is_slow`."""

    def __init__(self, *gateways: Spot) -> None:
        self.now = 1000.0
        self.happened: list[str] = []
        self.is_slow = self.is_alone = False
        self.neighbours: Neighbours[str] = Neighbours(self)
        self.neighbours.expect(gateways, NETWORKS, self.now)

    def ask(self, spot: Spot, hosts: Collection[str]) -> bool:
        if not self.is_alone:
            self.happened.append(f"ask {spot.address} {' '.join(hosts)}".strip())
        return not self.is_alone

    def learned(self, spot: Spot, mac: int | None) -> None:
        self.happened.append(f"{spot.address} is {'gone' if mac is None else 'M1' if mac == M1 else 'M2'}")
        if not self.is_slow:
            self.neighbours.settle(spot, mac, self.now)

    def pass_on(self, packet: str) -> None:
        self.happened.append(f"pass {packet}")

    def refuse(self, packet: str) -> None:
        self.happened.append(f"refuse {packet}")

    def want(self, packet: str, spot: Spot = HOST, host: str = "hv1", asker: str = "red/a") -> None:
        self.neighbours.want(spot, host, packet, self.now, asker)

    def hear(self, spot: Spot = HOST, mac: int = M1, *, is_weak: bool = False) -> None:
        self.neighbours.hear(spot.network, Heard(spot.address, mac, is_weak), self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass; what is due is done when it is due."""
        end = self.now + seconds
        while (deadline := self.neighbours.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.neighbours.advance(self.now)
        self.now = end

    def then(self) -> list[str]:
        """Return what has happened since this was last asked."""
        happened, self.happened = self.happened, []
        return happened


def test_packets_wait_for_the_answer_and_go_on_once_and_in_order() -> None:
    world = World()
    for packet in ("1", "2"):
        world.want(packet)
    world.hear()
    world.wait(10)
    assert world.then() == ["ask 192.0.2.50 hv1", "192.0.2.50 is M1", "pass 1", "pass 2"]


def test_packets_wait_for_the_flows_as_well() -> None:
    world = World()
    world.is_slow = True
    world.want("1")
    world.hear()
    world.want("2")
    assert world.then() == ["ask 192.0.2.50 hv1", "192.0.2.50 is M1"]
    world.neighbours.settle(HOST, M1, world.now)
    assert world.then() == ["pass 1", "pass 2"]


def test_flows_for_a_mac_that_is_another_now_release_nothing() -> None:
    world = World()
    world.is_slow = True
    world.want("1")
    world.hear()
    world.wait(2)
    world.hear(mac=M2)
    world.neighbours.settle(HOST, M1, world.now)
    world.neighbours.settle(HOST, None, world.now)
    assert world.then() == ["ask 192.0.2.50 hv1", "192.0.2.50 is M1", "192.0.2.50 is M2"]


def test_one_that_was_under_way_when_flows_came_goes_on_and_later_ones_do_not_go_round() -> None:
    world = World()
    world.want("1")
    world.hear()
    world.want("2")
    world.wait(neighbours.GRACE_S)
    world.want("3")
    assert world.then()[2:] == ["pass 1", "pass 2"]
    assert world.neighbours.counts["known and asked for"] == 1


def test_nobody_answers_three_times_and_senders_are_told() -> None:
    world = World()
    world.want("1")
    world.wait(1.5)
    world.want("2")
    assert world.then() == ["ask 192.0.2.50 hv1"] * 2
    world.wait(10)
    assert world.then() == ["ask 192.0.2.50 hv1", "refuse 1", "refuse 2"]
    assert len(world.neighbours) == 0
    assert world.neighbours.deadline() is None


def test_who_was_given_up_is_asked_for_again_by_the_next_packet() -> None:
    world = World()
    world.want("1")
    world.wait(10)
    world.then()
    world.want("2")
    world.hear()
    assert world.then() == ["ask 192.0.2.50 hv1", "192.0.2.50 is M1", "pass 2"]


def test_hosts_that_wait_ask_together() -> None:
    world = World()
    for number in range(1, 7):
        world.want(str(number), host=f"hv{number}")
    world.wait(1)
    assert world.then() == ["ask 192.0.2.50 hv1", "ask 192.0.2.50 hv1 hv2 hv3 hv4"]


def test_only_the_newest_packets_wait_for_one_neighbour() -> None:
    world = World()
    for number in range(10):
        world.want(str(number))
    world.hear()
    assert world.then()[2:] == ["pass 7", "pass 8", "pass 9"]


def spots(count: int) -> list[Spot]:
    return [Spot("red/lan", ip_address("10.0.0.0") + number) for number in range(count)]


def test_a_scan_of_a_network_waits_for_so_many_and_leaves_other_networks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "WAITING_IN_ALL", 10)
    world = World()
    for spot in spots(200):
        world.want("scan", spot)
    world.want("other", Spot("public", ip_address("203.0.113.50")))
    assert len(world.neighbours) == neighbours.UNKNOWN + 1
    assert world.then()[-1] == "ask 203.0.113.50 hv1"
    world.wait(10)
    assert world.then().count("refuse scan") == 10
    world.want("room again")
    world.hear()
    assert world.then()[-1] == "pass room again"


def test_who_scans_a_network_gives_up_room_for_others_who_ask_there_until_all_have_the_same() -> None:
    world = World()
    scanned, wanted = spots(400)[:200], spots(400)[200:]
    for spot in scanned:
        world.want("scan", spot, asker="red/scanner")
    for spot in wanted:
        world.want("other", spot, asker="red/other")
    told = world.then()
    assert sum(f"ask {spot.address} hv1" in told for spot in wanted) == neighbours.UNKNOWN // 2
    assert told.count("refuse scan") == neighbours.UNKNOWN // 2
    assert len(world.neighbours) == neighbours.UNKNOWN
    world.hear(wanted[0])
    assert world.then()[-1] == "pass other"


def test_of_too_many_neighbours_the_oldest_is_forgotten_and_learned_again_without_a_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "KNOWN", 2)
    world = World()
    for spot in spots(3):
        world.want("1", spot)
        world.hear(spot)
    assert set(world.neighbours.macs()) == set(spots(3)[1:])
    world.then()
    world.want("2", spots(1)[0])
    world.hear(spots(1)[0])
    assert world.then() == ["ask 10.0.0.0 hv1", "10.0.0.1 is gone", "10.0.0.0 is M1", "pass 2"]


def test_nobody_is_believed_whom_nobody_asked_for() -> None:
    world = World()
    world.hear()
    assert world.then() == []
    assert world.neighbours.macs() == {}


def test_an_upstream_gateway_is_asked_for_from_the_start_and_until_it_answers() -> None:
    world = World(GATEWAY)
    world.wait(9)
    assert (
        world.then() == ["ask 203.0.113.1"] * 5
    )  # Three, a rest of five seconds after the third was waited for, and on.
    world.hear(GATEWAY)
    assert world.then() == ["203.0.113.1 is M1"]


def test_a_gateway_is_asked_for_at_once_when_a_host_comes() -> None:
    world = World(GATEWAY)
    world.wait(4)
    world.then()
    world.neighbours.hurry(world.now)
    world.wait(0)
    assert world.then() == ["ask 203.0.113.1"]


def test_a_known_gateway_is_confirmed_and_stays_though_nobody_answers() -> None:
    world = World(GATEWAY)
    world.wait(0)
    world.hear(GATEWAY)
    world.then()
    world.wait(3600)
    assert set(world.then()) == {"ask 203.0.113.1"}
    assert world.neighbours.macs() == {GATEWAY: M1}


def test_a_gateway_that_answers_is_asked_once_in_half_a_minute() -> None:
    world = World(GATEWAY)
    world.wait(0)
    for _ in range(10):
        world.hear(GATEWAY)
        world.wait(neighbours.CONFIRM_S)
    assert world.then() == ["ask 203.0.113.1", "203.0.113.1 is M1", *["ask 203.0.113.1"] * 10]


def test_another_mac_that_answers_for_a_gateway_is_believed() -> None:
    world = World(GATEWAY)
    world.wait(0)
    world.hear(GATEWAY)
    world.wait(5)
    world.hear(GATEWAY, M2)
    assert world.then()[-1] == "203.0.113.1 is M2"


def test_a_weak_answer_is_believed_only_where_nobody_else_answers() -> None:
    world = World(GATEWAY)
    world.wait(0)
    world.hear(GATEWAY)
    world.wait(5)
    world.hear(GATEWAY, M2, is_weak=True)
    assert world.neighbours.macs() == {GATEWAY: M1}
    world.wait(60)
    world.hear(GATEWAY, M2, is_weak=True)
    assert world.neighbours.macs() == {GATEWAY: M2}


def test_two_that_claim_one_address_make_one_change_a_second() -> None:
    world = World()
    world.want("1")
    for _ in range(50):
        world.hear(mac=M1)
        world.hear(mac=M2)
        world.wait(0.1)
    assert sum(" is " in each for each in world.then()) <= 6


def test_a_neighbour_that_is_old_is_asked_for_and_forgotten_if_it_is_gone() -> None:
    world = World()
    world.want("1")
    world.hear()
    world.wait(neighbours.OLD_S)
    world.hear()
    world.then()
    world.wait(neighbours.OLD_S + 10)
    assert world.then() == [*["ask 192.0.2.50 hv1"] * 3, "192.0.2.50 is gone"]
    assert len(world.neighbours) == 0


def test_nobody_is_forgotten_while_nobody_can_ask() -> None:
    world = World()
    world.want("1")
    world.hear()
    world.is_alone = True
    world.wait(3600)
    assert world.neighbours.macs() == {HOST: M1}
    world.is_alone = False
    world.wait(10)
    assert world.then()[-1] == "192.0.2.50 is gone"


def test_what_a_switch_remembers_holds_until_somebody_says_otherwise() -> None:
    world = World(GATEWAY)
    world.is_alone = True
    world.wait(3)
    for spot in (GATEWAY, HOST):
        world.neighbours.remember(spot, M1, "hv1", world.now)
    world.neighbours.remember(HOST, M2, "hv2", world.now)
    assert world.then() == ["203.0.113.1 is M1", "192.0.2.50 is M1"]
    world.is_alone = False
    world.wait(60)
    assert "192.0.2.50 is gone" in world.then()
    assert world.neighbours.macs() == {GATEWAY: M1}


def test_what_a_switch_remembers_is_asked_for_little_by_little() -> None:
    world = World()
    for spot in spots(640):
        world.neighbours.remember(spot, M1, "hv1", world.now)
    world.then()
    world.wait(1)
    assert 100 < len(world.then()) < 300


def test_what_a_switch_remembers_releases_who_waits() -> None:
    world = World()
    world.want("1")
    world.neighbours.remember(HOST, M1, "hv1", world.now)
    assert world.then() == ["ask 192.0.2.50 hv1", "192.0.2.50 is M1", "pass 1"]


def test_neighbours_go_with_their_network() -> None:
    world = World(GATEWAY)
    world.wait(0)
    world.hear(GATEWAY)
    world.want("1")
    world.then()
    world.neighbours.expect([], ["blue/lan"], world.now)
    assert sorted(world.then()) == ["203.0.113.1 is gone", "refuse 1"]
    world.wait(3600)
    assert world.then() == []


def test_a_neighbour_that_becomes_a_gateway_is_confirmed_as_one() -> None:
    world = World()
    world.want("1", GATEWAY)
    world.hear(GATEWAY)
    world.then()
    world.neighbours.expect([GATEWAY], NETWORKS, world.now)
    world.wait(60)
    assert world.neighbours.macs() == {GATEWAY: M1}
    assert world.then()[0] == "ask 203.0.113.1 hv1"


def test_a_neighbour_that_tells_itself_without_end_costs_no_memory() -> None:
    world = World()
    world.want("1")
    for _ in range(1000):
        world.hear()
        world.wait(0.001)
    assert len(world.neighbours._queue) < 5
