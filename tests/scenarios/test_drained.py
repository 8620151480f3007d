"""A gateway that is drained: the routers that it leads out go by another one, and no packet of a stream is lost on the way there.

The wire's switch is the test's: what comes from upstream goes to the host that sent in that MAC's name last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from controller.graph.fabric import Fabric
from controller.graph.queries import drained, gateways
from controller.model.address import outer_mac
from controller.pipeline.claims import copied
from controller.pipeline.flow import Program
from controller.pipeline.plan import pipeline
from controller.pipeline.programs import Programs
from controller.pipeline.rollout import phases, roles
from tests.ovs.fabric import FabricTwin
from tests.pipeline.changes import changed
from tests.scenarios.test_gateways import ORDER, topology
from tests.scenarios.test_outside import FLOAT3, HEARD, ROUTER, into, on_wire, out

pytestmark = pytest.mark.ovs

SOURCES = {"red/web3": ("red/main", ROUTER), "red/own3": (f"red/{FLOAT3}", FLOAT3)}


@dataclass
class Draining:
    """A fabric on its way to a drained gateway, or back: the programs now, and the steps that are left."""

    net: FabricTwin
    held: dict[int, Program]
    steps: list[dict[int, Program]]  # Of each phase, what its bridges hold then.


def draining(net: FabricTwin, host: str, *, back: bool = False) -> Draining:
    programs = Programs()
    programs.enter(net.topology)
    for each in HEARD:
        programs.learn(each.network, each.address, each.mac)
    for name, known in net.bindings.items():
        for bridge, ports in known.ports.items():
            for interface, number in ports.items():
                programs.bind(name, bridge, interface, number)
    programs.drain(host, back)
    programs.ask_for(net.bindings)
    programs.settle()
    programs.take()
    held = {dpid: copied(each, each.host, each.bridge, dpid) for dpid, each in programs.programs.items()}
    programs.drain(host, not back)
    programs.settle()
    now, steps = dict(held), []
    for phase in phases(programs.take(), roles(pipeline())):
        steps.append({dpid: changed(now[dpid], delta) for dpid, delta in phase.items()})
        now.update(steps[-1])
    return Draining(net, held, steps)


def moments(change: Draining, *, reverse: bool) -> Iterator[bool]:
    """Go through every moment of a change, one switch after the other; yield whether the outside is told before the next."""
    change.net.load(change.held.values())
    yield False
    for number, step in enumerate(change.steps, 1):
        for left, dpid in reversed(list(enumerate(sorted(step, reverse=reverse)))):
            change.net.load([step[dpid]])
            yield number == len(change.steps) - 1 and not left


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricTwin]:
    with FabricTwin(tmp_path_factory.mktemp("drained"), topology()) as running:
        yield running


@pytest.mark.parametrize("reverse", [False, True], ids=["", "the last switch first"])
@pytest.mark.parametrize("back", [False, True], ids=["drained", "undrained"])
@pytest.mark.parametrize("source", SOURCES)
def test_no_packet_of_a_stream_is_lost_while_a_gateway_is_drained(
    net: FabricTwin, source: str, back: bool, reverse: bool
) -> None:
    owner, address = SOURCES[source]
    second = ORDER[0 if back else 1]
    net.forget()
    learned: str | None = None
    for is_told in moments(draining(net, ORDER[0], back=back), reverse=reverse):
        # An answer that is under way since before this moment, to where the wire's switch takes the MAC to be.
        if learned is not None:
            assert list(into(net, owner, address, at=learned)) == [source]
        assert not out(net, source)
        assert on_wire(net)[1:3] == (outer_mac(owner), address)
        [tunnelled] = net.underlay
        learned = next(name for name, host in net.topology.hosts.items() if host.tunnel_ip == tunnelled.dst)
        assert list(into(net, owner, address, at=learned)) == [source]
        if is_told:
            learned = second
            assert list(into(net, owner, address, at=learned)) == [source]
    assert learned == second


@pytest.mark.parametrize("back", [False, True], ids=["drained", "undrained"])
def test_who_comes_from_outside_reaches_a_floating_ip_all_the_time(net: FabricTwin, back: bool) -> None:
    """Nobody inside speaks, so that the wire's switch learns by the announcement alone."""
    first, second = ORDER if not back else ORDER[::-1]
    net.forget()
    where = first
    for port, is_told in enumerate(moments(draining(net, ORDER[0], back=back), reverse=False), 2000):
        assert list(into(net, f"red/{FLOAT3}", FLOAT3, sport=port, at=where)) == ["red/own3"]
        where = second if is_told else where
    assert where == second


def test_it_comes_last_in_every_routers_order_and_leads_out_all_the_same_if_nobody_else_does(net: FabricTwin) -> None:
    memo = Fabric(net.topology).memo
    memo.set(drained, (ORDER[0],), True)
    memo.settle()
    assert gateways(memo, "red/main") == ORDER[::-1]
    change = draining(net, ORDER[0])
    for _ in moments(change, reverse=False):
        net.forget()
    net.kill(ORDER[1])
    try:
        assert not out(net, "red/web3")
        assert list(into(net, "red/main", ROUTER, at=ORDER[0])) == ["red/web3"]
    finally:
        net.kill(ORDER[1], is_dead=False)
