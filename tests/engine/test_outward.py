"""The outside is told which host has an address: when it is new, when it has moved, and when a gateway has taken over by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.answers.neighbours import announce
from controller.engine import Engine, outward, rounds
from controller.engine.answers import answer
from controller.graph.fabric import Fabric
from controller.graph.queries import gateways
from controller.model.address import outer_mac
from controller.model.ids import host_id, integration_dpid
from controller.model.names import liveness_port, patch_to_physical
from controller.pipeline.fields import VLAN_PRESENT
from controller.pipeline.flow import Output, PushVlan, set_field
from controller.pipeline.numbers import DRAINED
from controller.pipeline.released import notes_of
from controller.switch.status import State, unseen
from controller.wire.packet_out import packet_out
from tests.engine.test_engine import Recorder, wait_for

FABRIC = """\
fabric: small
hosts:
  hv1: {tunnel_ip: 172.31.0.1, gateway: true}
  hv2: {tunnel_ip: 172.31.0.2, gateway: true}
  hv3: {tunnel_ip: 172.31.0.3}
physical_networks:
  physnet1: {hosts: [hv1, hv2], vlans: 100-199}
external_networks:
  public: {physical_network: physnet1, vlan: 100, cidr: [203.0.113.0/24, "2001:db8::/64"], pool: 203.0.113.10-203.0.113.99}
tenants:
  red: {segments: 1000-1099}
"""
RED: dict[str, Any] = {
    "networks": {"web": {"cidr": "10.0.1.0/24"}},
    "ports": {
        "a": {"network": "web", "ip": "10.0.1.11", "host": "hv1"},
        "b": {"network": "web", "ip": "10.0.1.12", "host": "hv3"},
    },
    "routers": {"main": {"networks": ["web"], "external": "public", "address": "203.0.113.10"}},
    "floating_ips": {"203.0.113.21": {"port": "a"}, "203.0.113.23": {"port": "b"}},
}
HOSTS = ("hv1", "hv2", "hv3")
PATCH = 2
OF_A, OF_B, OF_ROUTER = "203.0.113.21", "203.0.113.23", "203.0.113.10"


class Fabrics(Recorder):
    """Switches that note which frames they are to put on the wire, and with which tag."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[int, bytes]] = []

    def send(self, dpid: int, message: bytes) -> bool:
        self.sent.append((dpid, message))
        return True


class Running:
    """A controller with its files and switches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.red = json.loads(json.dumps(RED))
        (folder / "tenants").mkdir(exist_ok=True)
        (folder / "fabric.yaml").write_text(FABRIC)
        self.switches = Fabrics()
        self.write()
        self.engine = Engine(folder)
        assert self.engine.load().accepted, self.engine.intent.report.problems
        self.engine.attach(self.switches)
        self.engine.start()
        topology = self.engine.intent.topology
        assert topology is not None
        self.order = gateways(Fabric(topology).memo, "red/main")

    def write(self) -> None:
        (self.folder / "tenants" / "red.yaml").write_text(json.dumps(self.red))

    def come(self, *hosts: str, notes: tuple[str, ...] = ()) -> None:
        for number, name in enumerate(hosts):
            listens = {liveness_port(other): 50 + place for place, other in enumerate(HOSTS) if other != name}
            ports = {"patch-tun": 1, patch_to_physical("physnet1"): PATCH, "red.a": 5, "red.b": 6} | listens
            if name == "hv3":
                del ports[patch_to_physical("physnet1")]
            self.engine.held(integration_dpid(host_id(name)), notes if not number else ())
            self.engine.connected(integration_dpid(host_id(name)), ports)
            self.silent(name)
        self.settled()

    def silent(self, host: str, *others: str) -> None:
        """Let a host hear nothing of others."""
        self.engine.silent(integration_dpid(host_id(host)), frozenset(map(liveness_port, others)))

    def settled(self) -> None:
        """Wait until everything that has happened has had its effect."""
        self.engine.reload()

    def corrected(self, host: str, deleted: int) -> None:
        """Have a host's switch found to have held so many flows too many, and in sync now."""
        found = replace(unseen(integration_dpid(host_id(host)), 0.0), state=State.IN_SYNC, deleted=deleted)
        self.engine.changed(found)
        self.settled()

    def told(self, address: str, owner: str, host: str) -> int:
        """Return how often a host has told the outside that it has an address."""
        topology = self.engine.intent.topology
        assert topology is not None
        parsed = next(
            each
            for each in (
                *(home for router in topology.routers.values() for home in router.addresses),
                *(floating.address for floating in topology.floating_ips.values()),
            )
            if str(each) == address
        )
        frame = announce(parsed, outer_mac(owner))
        wanted = packet_out(frame, (PushVlan(), set_field("vlan_tci", VLAN_PRESENT | 100), Output(PATCH)))
        dpid = integration_dpid(host_id(host))
        return sum(each == (dpid, wanted) for each in self.switches.sent)

    def where(self) -> dict[tuple[str, str], int]:
        """Return which host has told which address how often, the hosts that have told none left out."""
        owners = {OF_ROUTER: "red/main", OF_A: f"red/{OF_A}", OF_B: f"red/{OF_B}"}
        counted = {
            (address, name): self.told(address, owner, name) for address, owner in owners.items() for name in HOSTS
        }
        return {key: count for key, count in counted.items() if count}


@pytest.fixture(autouse=True)
def _nobody_waits_for_others_to_fall_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outward, "HOLD_S", 0.0)
    monkeypatch.setattr(outward, "HANDOVER_S", 0.0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Running]]:
    engines: list[Engine] = []

    def begin() -> Running:
        running = Running(tmp_path)
        engines.append(running.engine)
        return running

    yield begin
    for engine in engines:
        engine.close(5.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "INTERVAL_S", 0.02)


def test_what_a_controller_finds_when_it_starts_is_told_once(start: Callable[[], Running]) -> None:
    net = start()
    first = net.order[0]
    net.come(*HOSTS)
    wait_for(lambda: len(net.switches.sent) >= 3)
    assert net.where() == {(OF_ROUTER, first): 1, (OF_A, "hv1"): 1, (OF_B, first): 1}
    net.come("hv3", "hv2", "hv1")
    net.settled()
    assert sum(net.where().values()) == 3, "who connects again has moved nowhere"


def test_a_gateway_that_takes_over_tells_the_outside_and_so_does_the_one_that_comes_back(
    start: Callable[[], Running],
) -> None:
    net = start()
    first, second = net.order
    net.come(*HOSTS)
    net.switches.sent.clear()
    # One host alone that does not hear it any more decides nothing: the second gateway does.
    net.silent("hv3", first)
    net.settled()
    assert net.where() == {}
    net.silent(second, first)
    wait_for(lambda: sum(net.where().values()) == 6)
    assert net.where() == {(OF_ROUTER, second): 3, (OF_B, second): 3}
    net.switches.sent.clear()
    net.silent(second)
    wait_for(lambda: sum(net.where().values()) == 6)
    assert net.where() == {(OF_ROUTER, first): 3, (OF_B, first): 3}


def test_a_gateway_that_dies_with_its_switchs_connection_is_followed_as_well(start: Callable[[], Running]) -> None:
    net = start()
    first, second = net.order
    net.come(*HOSTS)
    net.switches.sent.clear()
    net.engine.disconnected(integration_dpid(host_id(first)))
    net.settled()
    assert net.where() == {}, "no controller is no death"
    net.silent(second, first)
    wait_for(lambda: sum(net.where().values()) == 6)
    assert net.where() == {(OF_ROUTER, second): 3, (OF_B, second): 3}


def test_a_gateway_that_is_cut_off_from_everybody_has_come_to_nothing(start: Callable[[], Running]) -> None:
    net = start()
    first, second = net.order
    net.come(*HOSTS)
    net.switches.sent.clear()
    net.silent(second, first, "hv3")
    net.silent(first, second)
    net.settled()
    assert net.where() == {}, "it has not taken over: the others are alive"
    net.silent(first, second, "hv3")
    wait_for(lambda: sum(net.where().values()) == 6)
    assert net.where() == {(OF_ROUTER, second): 3, (OF_B, second): 3}, (
        "all are cut off from each other: the later one, as ever"
    )


def test_a_floating_ip_follows_its_port_to_another_wired_host(start: Callable[[], Running]) -> None:
    net = start()
    net.come(*HOSTS)
    net.switches.sent.clear()
    net.red["ports"]["a"]["host"] = "hv2"
    net.write()
    net.settled()
    wait_for(lambda: sum(net.where().values()) == 3)
    assert net.where() == {(OF_A, "hv2"): 3}


def test_what_has_come_to_a_host_whose_switch_was_away_is_told_when_it_is_back(start: Callable[[], Running]) -> None:
    net = start()
    net.come(*HOSTS)
    net.engine.disconnected(integration_dpid(host_id("hv1")))
    net.red["ports"]["b"]["host"] = "hv1"
    net.write()
    net.settled()
    wait_for(lambda: not net.engine.outward.deadlines())
    net.switches.sent.clear()
    net.come("hv1")
    wait_for(lambda: net.told(OF_B, f"red/{OF_B}", "hv1") == net.told(OF_A, f"red/{OF_A}", "hv1") == 3)


def test_who_may_have_spoken_for_others_until_a_new_controller_corrected_it_is_contradicted(
    start: Callable[[], Running],
) -> None:
    net = start()
    first, second = net.order
    net.come(*HOSTS)
    wait_for(lambda: not net.engine.outward.deadlines())
    net.switches.sent.clear()
    net.corrected("hv3", 5)
    assert net.where() == {}, "it is not wired"
    net.corrected(first, 0)
    assert net.where() == {}, "it held what it should"
    net.corrected(second, 5)
    of_a = {(OF_A, "hv1"): 3} if first == "hv1" else {}
    wait_for(lambda: net.where() == {(OF_ROUTER, first): 3, (OF_B, first): 3} | of_a)
    net.switches.sent.clear()
    net.corrected(second, 5)
    assert net.where() == {}, "what changes from then on comes by our own hand, in order"


def test_a_new_address_is_told_and_one_that_has_been_away_is_new(start: Callable[[], Running]) -> None:
    net = start()
    net.come(*HOSTS)
    net.switches.sent.clear()
    entry = net.red["floating_ips"].pop(OF_A)
    net.write()
    net.settled()
    assert net.switches.sent == []
    net.red["floating_ips"][OF_A] = entry
    net.write()
    net.settled()
    wait_for(lambda: net.where() == {(OF_A, "hv1"): 3})


def test_a_drained_host_leads_out_last_until_it_is_not(start: Callable[[], Running]) -> None:
    net = start()
    first, second = net.order
    net.come(*HOSTS)
    net.switches.sent.clear()
    told = answer(net.engine, {"do": "drain", "host": first})
    assert (told["drained"], told["change"]["state"], told["change"]["cause"]) == (True, "done", "drain")
    wait_for(lambda: net.where() == {(OF_ROUTER, second): 3, (OF_B, second): 3})
    state = net.engine.status()
    assert state["drained"] == [first]
    [way] = state["routers"]
    assert (way["gateway"], [each["host"] for each in way["gateways"]]) == (second, [second, first])
    assert answer(net.engine, {"do": "drain", "host": first})["change"] is None, "it is so already"
    assert answer(net.engine, {"do": "drain", "host": first, "drained": False})["change"]["state"] == "done"
    assert net.engine.status()["drained"] == []
    for refused in ("hv3", "hv9"):
        assert refused in answer(net.engine, {"do": "drain", "host": refused})["error"]


def test_a_drained_host_stays_so_when_the_controller_starts_anew(start: Callable[[], Running]) -> None:
    net = start()
    first, second = net.order
    net.come(*HOSTS)
    answer(net.engine, {"do": "drain", "host": first})
    dpid = integration_dpid(host_id(first))
    notes = tuple(text for flow in net.switches.programs[dpid].flows.values() for text in notes_of(flow))
    assert DRAINED in notes
    anew = start()
    anew.come(first, *(name for name in HOSTS if name != first), notes=notes)
    assert anew.engine.status()["drained"] == [first]
    assert anew.engine.status()["routers"][0]["gateway"] == second
    # What an operator has said since counts, and not what the switch remembers from before.
    answer(anew.engine, {"do": "drain", "host": first, "drained": False})
    anew.come(first, notes=notes)
    assert anew.engine.status()["drained"] == []


def test_nobody_turns_to_a_drained_host_that_has_not_told_a_new_controller_yet_that_it_is(
    start: Callable[[], Running],
) -> None:
    net = start()
    first, second = net.order
    net.come(second, "hv3")
    assert net.switches.programs == {}, "whether the first gateway is drained is what its switch alone knows"
    net.come(first, notes=(DRAINED,))
    assert net.engine.status()["routers"][0]["gateway"] == second
    assert len({host for host in HOSTS if integration_dpid(host_id(host)) in net.switches.programs}) == 3


def test_the_status_says_who_leads_out_and_when_nobody_does(start: Callable[[], Running]) -> None:
    net = start()
    first, second = net.order
    net.come(*HOSTS)
    state = net.engine.status()
    [way] = state["routers"]
    assert (way["router"], way["gateway"], way["lost"]) == ("red/main", first, False)
    assert {each["address"]: each["host"] for each in state["floating_ips"]} == {OF_A: "hv1", OF_B: first}
    assert answer(net.engine, {"do": "explain", "port": "red/b"})["floating_ips"][0]["host"] == first
    for name in (second, "hv3"):
        net.silent(name, first)
    net.settled()
    [way] = net.engine.status()["routers"]
    assert (way["gateway"], way["lost"]) == (second, False)
    assert {each["host"]: each["alive"] for each in way["gateways"]} == {first: False, second: True}
    net.silent("hv3", first, second)
    net.silent(first, second)
    net.settled()
    [way] = net.engine.status()["routers"]
    assert (way["gateway"], way["lost"]) == (None, True)
