"""Probes on a wire without any switch: what arrives, what does not, and what only half arrives."""

from __future__ import annotations

import dataclasses
import itertools
import os
import socket
import time
from collections.abc import Iterator, Mapping

import pytest

from controller.lab.namespaces import inside, ip
from controller.lab.prober import BRIEF, EAGER, ICMP, TCP, UDP, Probe, Prober
from controller.lab.reach import Question, observe, questions
from controller.model.entities import Direction, Range, Rule, SecurityGroup, Topology
from tests.lab.small import HERE, small

_numbers = itertools.count()


@pytest.fixture
def wire() -> Iterator[Mapping[str, str]]:
    """Two namespaces joined by a wire: `one` has 192.0.2.1 and fd00::1, `two` has 192.0.2.2 and fd00::2."""
    mark = f"p{os.getpid()}-{next(_numbers)}"
    names = {"one": f"{mark}.one", "two": f"{mark}.two"}
    try:
        ip(f"netns add {name}" for name in names.values())
        ip([f"link add eth0 netns {names['one']} type veth peer name eth0 netns {names['two']}"])
        for number, name in enumerate(names.values(), start=1):
            with inside(name):
                ip(["link set lo up", "link set eth0 up", f"addr add 192.0.2.{number}/24 dev eth0"])
                ip([f"addr add fd00::{number}/64 dev eth0 nodad"])
        yield names
    finally:
        ip((f"netns del {name}" for name in names.values()), forced=True)


@pytest.mark.lab
@pytest.mark.parametrize("address", ["192.0.2.2", "fd00::2"])
@pytest.mark.parametrize(("kind", "number"), [(ICMP, 0), (TCP, 80), (UDP, 53)])
def test_what_arrives_and_is_answered_is_known_by_name(
    wire: Mapping[str, str], kind: str, number: int, address: str
) -> None:
    with Prober(wire) as prober:
        probe = Probe("one", address, kind, number)
        for name in wire:
            prober.attend(name, probe.version, [(TCP, 80), (UDP, 53)])
        outcome = prober.ask([probe], EAGER)[0]
    assert outcome.is_from("two")
    assert outcome.reached == {"two"}


@pytest.mark.lab
def test_silence_of_hundreds_costs_no_more_than_of_one(wire: Mapping[str, str]) -> None:
    with Prober(wire) as prober:
        prober.attend("one", 4, [])
        kinds = ((ICMP, 0), (TCP, 80), (UDP, 53))
        probes = [Probe("one", f"192.0.2.{last}", *kind) for last in range(100, 200) for kind in kinds]
        started = time.monotonic()
        outcomes = prober.ask(probes, BRIEF)
    assert not any(outcome.answered or outcome.reached for outcome in outcomes)
    # One after the other they would take four minutes.
    assert time.monotonic() - started < len(probes) * BRIEF.tries * BRIEF.interval / 10


@pytest.mark.lab
def test_more_probes_than_fit_in_flight_are_all_answered(wire: Mapping[str, str]) -> None:
    with Prober(wire) as prober:
        for name in wire:
            prober.attend(name, 4, [(TCP, 80)])
        probes = [Probe("one", "192.0.2.2", TCP, 80)] * 1500
        heard: list[int] = []
        outcomes = prober.ask(probes, EAGER, heard.append)
    assert all(outcome.is_from("two") for outcome in outcomes)
    assert heard[-1] == len(probes)


@pytest.mark.lab
def test_a_request_without_an_answer_counts_as_unreachable_if_wanted_and_as_reached_if_forbidden(
    wire: Mapping[str, str],
) -> None:
    with inside(wire["two"]):
        ip(["route add blackhole 192.0.2.1/32"])
    wanted = Question("one", "two", Probe("one", "192.0.2.2", UDP, 53), True, "")
    found = observe([wanted], wire)[0]
    assert (found.observed, found.note) == (False, "arrived, but no answer came back")
    assert not found.is_right
    found = observe([dataclasses.replace(wanted, expected=False)], wire)[0]
    assert found.observed
    assert not found.is_right


@pytest.mark.lab
def test_a_server_of_the_users_own_is_said_not_judged(wire: Mapping[str, str]) -> None:
    with inside(wire["two"]):
        server = socket.create_server(("", 80))
    with server:
        found = observe([Question("one", "two", Probe("one", "192.0.2.2", TCP, 80), False, "")], wire)[0]
    assert found.is_right
    assert "server of its own" in found.note


def with_rules(*rules: Rule) -> Topology:
    topology = small()
    group = SecurityGroup("red/web", "red", rules, (anything(Direction.EGRESS),), HERE)
    member = dataclasses.replace(topology.ports["red/web2"], groups=("red/web",))
    return dataclasses.replace(topology, groups={"red/web": group}, ports={**topology.ports, "red/web2": member})


def anything(direction: Direction, protocol: int | None = None, *ports: Range) -> Rule:
    return Rule(direction, None, protocol, ports, None, None, (), (), HERE)


def asked(topology: Topology, source: str, target: str) -> dict[str, bool]:
    location = {name: port.host or "hv1" for name, port in topology.ports.items()}
    found = questions(topology, location)
    return {each.what: each.expected for each in found if (each.source, each.target) == (source, target)}


def test_both_ends_of_a_range_are_asked_about_and_a_number_outside() -> None:
    topology = with_rules(anything(Direction.INGRESS, 6, Range(5000, 5999)))
    found = asked(topology, "red/web1", "red/web2")
    assert found == {"icmp": False, "tcp 5000": True, "tcp 5999": True, "tcp 1999": False, "udp 1999": False}


def test_the_number_that_no_rule_names_is_outside_every_range() -> None:
    topology = with_rules(anything(Direction.INGRESS, 6, Range(1000, 2500)))
    assert asked(topology, "red/web1", "red/web2")["tcp 2501"] is False


def test_a_port_is_not_asked_to_reach_its_own_address_elsewhere() -> None:
    assert asked(small(), "red/web1", "blue/web1") == {}
    assert asked(small(), "red/web1", "blue/web2") == {"icmp": False, "tcp 1999": False, "udp 1999": False}
