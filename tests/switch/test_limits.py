"""Limits of tracked connections on a real Open vSwitch: what its notes say holds, through restarts, and nobody else pays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from controller.model.entities import Topology
from controller.switch.limits import Change, Keeper, Place, Switch, watch
from tests.builders import allow, fabric, group, host, network, port
from tests.ovs.fabric import FabricTwin
from tests.scenarios.talk import Talk, answer_to, request
from tests.switch.harness import wait_for

pytestmark = pytest.mark.ovs

TENANTS = ("red", "blue")


def town(**limits: int) -> Topology:
    """A client and a server of each of two tenants on one host, and another server of red's on another; `limits` are of connections."""
    plain = fabric(
        host("hv1"),
        host("hv2"),
        port("red/far", "red/n", "10.0.0.3", "fd00::3", host="hv2", groups=["red/open"]),
        *(network(f"{tenant}/n", "10.0.0.0/24", "fd00::/64") for tenant in TENANTS),
        *(group(f"{tenant}/open", ingress=[allow(tenant=tenant)]) for tenant in TENANTS),
        *(port(f"{tenant}/client", f"{tenant}/n", "10.0.0.1", "fd00::1", host="hv1") for tenant in TENANTS),
        *(
            port(f"{tenant}/server", f"{tenant}/n", "10.0.0.2", "fd00::2", host="hv1", groups=[f"{tenant}/open"])
            for tenant in TENANTS
        ),
    )
    tenants = {name: replace(each, connections=limits.get(name)) for name, each in plain.tenants.items()}
    return replace(plain, tenants=tenants)


class Town:
    """The town on dummy switches, and the limits that one of them has."""

    def __init__(self, net: FabricTwin, on: str = "hv1") -> None:
        self.talk = Talk(net)
        self.twin = net.hosts[on]
        self.place = Place(self.twin.directory, "br-int", "dummy@ovs-dummy", self.twin.directory / "switch.ctl")
        self.keeper = Keeper()

    def apply(self) -> list[Change]:
        """Do what `weft host limits` does."""
        with closing(Switch(self.place)) as switch:
            return self.keeper.apply(switch)

    def limits(self) -> dict[str, int]:
        """Return address space -> limit, as the switch has them."""
        with closing(Switch(self.place)) as switch:
            notes = switch.notes()
            return {notes[zone].space: held.limit for zone, held in switch.limits().items()}

    def opened(self, tenant: str, count: int, server: str = "server") -> int:
        """Let a tenant's client ask its server so often, each time by a new connection; return how often it was answered.

        Who is not answered has not been heard.
        """
        client, server = f"{tenant}/client", f"{tenant}/{server}"
        answered = 0
        for _ in range(count):
            asked = request(self.talk.topology, client, server, "udp 53")
            if self.talk.send(asked):
                assert self.talk.send(answer_to(asked, server)).keys() == {client}
                answered += 1
        return answered

    def entries(self, tenant: str) -> int:
        """Return how many connections the tracker has of a tenant."""
        with closing(Switch(self.place)) as switch:
            zones = {note.space: zone for zone, note in switch.notes().items()}
        text = self.twin.control.call("dpctl/dump-conntrack")
        return sum(f"zone={zones[f'{tenant}/n']}" in line.split(",") for line in text.splitlines())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Town]:
    with FabricTwin(tmp_path, town()) as net:
        yield Town(net)


def test_exactly_so_many_connections_are_kept_and_other_tenants_go_on(place: Town) -> None:
    place.talk.enforce(town(red=5))
    assert [(change.space, change.before, change.after) for change in place.apply()] == [("red/n", None, 5)]
    assert (place.opened("red", 8), place.entries("red")) == (5, 5)
    assert (place.opened("blue", 8), place.entries("blue")) == (8, 8)


def test_what_is_not_kept_is_not_kept_when_it_is_sent_again_and_open_connections_go_on(place: Town) -> None:
    place.talk.enforce(town(red=1))
    place.apply()
    first, second = (request(place.talk.topology, "red/client", "red/server", "udp 53") for _ in range(2))
    assert place.talk.carries(first, "red/server")
    for _ in range(3):
        assert place.talk.send(second) == {}
        assert place.talk.carries(first, "red/server")


def test_what_the_senders_host_does_not_keep_does_not_leave_it(place: Town) -> None:
    place.talk.enforce(town(red=3))
    place.apply()
    assert place.opened("red", 3, "far") == 3
    assert (place.opened("red", 2, "far"), place.talk.net.underlay) == (0, [])


def test_what_the_receivers_host_does_not_keep_is_not_delivered_there(place: Town) -> None:
    there = Town(place.talk.net, "hv2")
    place.talk.enforce(town(red=3))
    there.apply()
    assert (there.opened("red", 5, "far"), there.entries("red")) == (3, 3)
    assert len(place.talk.net.underlay) == 1
    assert place.opened("red", 5) == 5


def test_connections_that_were_open_before_go_on_and_do_not_count(place: Town) -> None:
    place.talk.enforce(town())
    asked = request(place.talk.topology, "red/client", "red/server", "udp 53")
    assert place.talk.carries(asked, "red/server")
    place.talk.enforce(town(red=2))
    place.apply()
    assert place.opened("red", 4) == 2
    assert place.talk.carries(asked, "red/server")


@pytest.mark.parametrize("what", ["tcp 53", "icmp"])
@pytest.mark.parametrize("version", [4, 6])
def test_connections_of_every_kind_count(place: Town, what: str, version: int) -> None:
    place.talk.enforce(town(red=2))
    place.apply()
    assert [place.talk.passes("red/client", "red/server", what, version=version) for _ in range(4)] == [True] * 2 + [
        False
    ] * 2


def test_a_second_time_there_is_nothing_to_do(place: Town) -> None:
    place.talk.enforce(town(red=5, blue=6))
    assert len(place.apply()) == 2
    assert place.apply() == []
    place.keeper = Keeper()
    assert place.apply() == []


def test_a_limit_that_is_raised_lets_more_in_and_one_that_is_taken_away_all(place: Town) -> None:
    place.talk.enforce(town(red=2))
    place.apply()
    assert place.opened("red", 4) == 2
    place.talk.enforce(town(red=3))
    assert [(change.before, change.after) for change in place.apply()] == [(2, 3)]
    assert place.opened("red", 4) == 1
    place.talk.enforce(town())
    assert [(change.before, change.after) for change in place.apply()] == [(3, None)]
    assert place.limits() == {}
    assert place.opened("red", 4) == 4


def test_a_lowered_limit_ends_no_connection_and_lets_none_in(place: Town) -> None:
    place.talk.enforce(town(red=4))
    place.apply()
    place.opened("red", 4)
    place.talk.enforce(town(red=2))
    place.apply()
    assert (place.opened("red", 3), place.entries("red")) == (0, 4)


def test_limits_that_are_not_ours_stay(place: Town) -> None:
    place.twin.control.call("dpctl/ct-set-limits", place.place.datapath, "zone=0,limit=77")
    place.talk.enforce(town(red=2))
    place.apply()
    place.talk.enforce(town())
    place.apply()
    assert "zone=0,limit=77" in place.twin.control.call("dpctl/ct-get-limits", place.place.datapath)


def test_a_zone_that_went_with_its_tenant_loses_the_limit_that_we_set(place: Town) -> None:
    place.talk.enforce(town(red=2, blue=3))
    place.apply()
    everything = place.talk.topology
    ports = {name: each for name, each in everything.ports.items() if not name.startswith("red/")}
    place.talk.enforce(replace(everything, ports=ports))
    assert [(change.space, change.before, change.after) for change in place.apply()] == [(None, 2, None)]
    assert place.limits() == {"blue/n": 3}


def test_a_switch_that_was_emptied_keeps_its_limits(place: Town) -> None:
    place.talk.enforce(town(red=2))
    place.apply()
    place.twin.ofctl("del-flows", "br-int")
    assert place.apply() == []
    assert "limit=2" in place.twin.control.call("dpctl/ct-get-limits", place.place.datapath)


class Watched:
    """What `weft host limits --watch` says."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.complaints: list[str] = []

    def have(self, count: int) -> bool:
        """Whether so many changes have been made."""
        return len(self.changes) == count


@contextmanager
def watching(place: Town) -> Iterator[Watched]:
    """Watch as `weft host limits --watch` does, and look as often as a test has patience for."""
    said, stopped = Watched(), threading.Event()
    arguments = (lambda: place.place, stopped, said.changes.extend, said.complaints.append, 0.02)
    watcher = threading.Thread(target=watch, args=arguments)
    watcher.start()
    try:
        yield said
    finally:
        stopped.set()
        watcher.join(10)
    assert not watcher.is_alive()


def test_a_watcher_sees_the_notes_change(place: Town) -> None:
    with watching(place) as said:
        for changes, limits in enumerate(({"red": 5}, {"red": 6}, {}), 1):
            place.talk.enforce(town(**limits))
            wait_for(partial(said.have, changes))
            assert place.limits() == {f"{tenant}/n": limit for tenant, limit in limits.items()}
    assert [change.after for change in said.changes] == [5, 6, None]
    assert said.complaints == []


def test_a_watcher_sets_the_limits_again_when_the_switch_restarts_before_it_has_a_single_flow(place: Town) -> None:
    place.talk.enforce(town(red=3))
    with watching(place) as said:
        wait_for(lambda: len(said.changes) == 1)
        place.twin.restart_switch()
        wait_for(lambda: len(said.changes) == 2)
        assert said.changes[1] == said.changes[0]
        assert said.complaints
        place.talk.enforce(town(red=3))
        assert (place.opened("red", 5), place.entries("red")) == (3, 3)


def test_a_watcher_puts_right_what_a_third_hand_took_away(place: Town) -> None:
    place.talk.enforce(town(red=3))
    with watching(place) as said:
        wait_for(lambda: len(said.changes) == 1)
        place.twin.control.call("dpctl/ct-del-limits", place.place.datapath, f"zone={said.changes[0].zone}")
        wait_for(lambda: place.limits() == {"red/n": 3})


def test_a_watcher_waits_for_a_switch_that_does_not_run_yet(place: Town) -> None:
    place.talk.enforce(town(red=3))
    there, place.place = place.place, replace(place.place, control=place.twin.directory / "later.ctl")
    with watching(place) as said:
        wait_for(lambda: said.complaints)
        place.place = there
        wait_for(lambda: said.changes)
    assert len(said.complaints) == 1
