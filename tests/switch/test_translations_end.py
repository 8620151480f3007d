"""When an address outside stands for somebody else, what was translated by it ends: on a fake switch, and in the order of a change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.graph.fabric import Fabric
from controller.graph.queries import space_name
from controller.model.entities import Topology
from controller.model.ids import host_id, integration_dpid
from controller.pipeline.compile import assumed_bindings, compile_fabric
from controller.pipeline.flow import Program
from controller.pipeline.numbers import Numbers, read_notes, translation
from controller.pipeline.released import ends_translations, notes_of
from controller.switch.fake import FakeSwitch
from controller.switch.status import State
from controller.wire import flush
from controller.wire.flush import Flush
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
from tests.ovs.rolling import plan
from tests.pipeline.changes import difference
from tests.switch.harness import PATIENCE_S, Control

ONE = integration_dpid(host_id("hv1"))
FLOAT, OTHER, OWN = "203.0.113.21", "203.0.113.22", "203.0.113.10"
A, B = "10.0.0.11", "10.0.0.12"


def town(fixed: str | None = A, *, own: str = OWN, address: str = FLOAT, snat: bool = True) -> Topology:
    """One host, which leads out, and a floating IP for one of two ports, or for none."""
    who = {A: "red/a", B: "red/b"}
    floating = [floating_ip(address, who[fixed], fixed, router="red/main", external="public")] if fixed else []
    return fabric(
        replace(host("hv1"), gateway=True),
        physical_network("physnet1", "hv1"),
        external_network("public", "203.0.113.0/24", physical="physnet1"),
        network("red/n", "10.0.0.0/24"),
        router("red/main", "red/n", external="public", address=own, snat=snat),
        group("red/open", ingress=[allow()]),
        *(port(name, "red/n", ip, host="hv1", groups=["red/open"]) for ip, name in who.items()),
        *floating,
    )


def inside(topology: Topology, numbers: Numbers | None = None) -> Program:
    told = {"hv1": numbers} if numbers else None
    return next(each for each in compile_fabric(topology, hosts=["hv1"], numbers=told) if each.dpid == ONE)


def numbers(program: Program) -> Numbers:
    return read_notes(note for flow in program.flows.values() for note in notes_of(flow))


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with Control(tmp_path, ONE) as running:
        yield running


@pytest.fixture
def switch(control: Control) -> Iterator[FakeSwitch]:
    with FakeSwitch(control.address, ONE) as fake:
        yield fake


CHANGES = pytest.mark.parametrize(
    ("after", "ended"),
    [
        (town(B), [FLOAT, A]),
        (town(None), [FLOAT, A]),
        (town(A, address=OTHER), [FLOAT, A]),
        (town(own="203.0.113.11"), [None]),
        (town(snat=False), [None]),
        (town(), []),
    ],
    ids=["another port", "nobody", "another address", "the router's own", "no masking", "the same"],
)


@CHANGES
def test_what_was_translated_ends(
    control: Control, switch: FakeSwitch, after: Topology, ended: list[str | None]
) -> None:
    ours = inside(town())
    control.bring(ours)
    assert switch.flushed == []
    new = inside(after, numbers(ours))
    delta = difference(ours, new)
    ours.flows, ours.groups, ours.meters = dict(new.flows), dict(new.groups), dict(new.meters)
    assert control.switches.wait({ONE: control.switches.change(ONE, delta)}, PATIENCE_S) == set()
    assert set(switch.flushed) == wanted(ours, ended)


@CHANGES
def test_what_a_controller_left_undone_the_next_one_does(
    control: Control, switch: FakeSwitch, after: Topology, ended: list[str | None]
) -> None:
    ours = inside(town())
    control.bring(ours)
    switch.close()
    control.reach(ONE, State.DOWN)
    control.recorder.programs[ONE] = inside(after, numbers(ours))
    switch.connect()
    control.reach(ONE, State.IN_SYNC)
    assert set(switch.flushed) == wanted(ours, ended)


@CHANGES
def test_the_end_comes_when_nobody_translates_that_way_any_more(after: Topology, ended: list[str | None]) -> None:
    """In a change of its own, though the host is the only one: a datapath follows its flows a little later."""
    bindings = {"hv1": assumed_bindings(Fabric(after), after.hosts["hv1"])}
    shares = plan(town(), after, bindings).shares
    found = [any(map(ends_translations, share.values())) for share in shares]
    assert found == [False] * (len(shares) - 1) + [True] if ended else not shares
    assert len(shares) != 1


def wanted(program: Program, ended: list[str | None]) -> set[bytes]:
    zones = numbers(program).zones
    zone = zones[translation("red/main")]
    assert zone != zones[space_name("red/main")]
    found = [Flush(zone, None if each is None else ip_address(each)) for each in ended]
    return {body for each in found for body in flush.messages(each)}
