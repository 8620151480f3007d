"""What a switch is known to take, by the shape of what it took: a round trip less, and nothing taken on trust for long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.model.ids import host_id, integration_dpid
from controller.pipeline.fields import ETH_IPV4, ETH_IPV6, PROTO_TCP, PROTO_UDP
from controller.pipeline.flow import Action, Delta, Flow, Group, Match, Output, PortNumber, ToGroup, match, set_field
from controller.switch.changes import Changes
from controller.switch.fake import FakeSwitch
from controller.switch.shapes import Shapes
from controller.switch.status import State
from tests.switch.harness import WEB1, Control, flow, program, wait_for

ONE = integration_dpid(host_id("hv1"))


def learnt(*flows: Flow) -> Shapes:
    shapes = Shapes()
    shapes.learn(Changes(new=list(flows)))
    return shapes


def knows(shapes: Shapes, wanted: Match, *actions: Action) -> bool:
    return shapes.cover(Changes(new=[flow(3, 7, wanted, *actions)]))


def test_other_numbers_are_the_same_shape() -> None:
    shapes = learnt(flow(3, 7, match(in_port=1, eth_dst=0xA), set_field("reg1", 5), Output(2)))
    assert knows(shapes, match(in_port=9, eth_dst=0xB), set_field("reg1", 6), Output(3))


def test_what_fields_and_actions_need_is_part_of_the_shape() -> None:
    tcp = match(eth_type=ETH_IPV4, ip_proto=PROTO_TCP, tcp_dst=80)
    shapes = learnt(flow(3, 7, tcp, Output(2)))
    assert knows(shapes, match(eth_type=ETH_IPV4, ip_proto=PROTO_TCP, tcp_dst=443), Output(2))
    assert not knows(shapes, match(eth_type=ETH_IPV4, ip_proto=PROTO_UDP, udp_dst=80), Output(2))
    assert not knows(shapes, match(eth_type=ETH_IPV6, ip_proto=PROTO_TCP, tcp_dst=80), Output(2))
    assert not knows(shapes, match(eth_type=ETH_IPV4, ip_proto=PROTO_TCP, tcp_dst=(80, 0xFFF0)), Output(2))
    assert not knows(shapes, tcp, Output(PortNumber.IN_PORT))
    assert not knows(shapes, tcp, ToGroup(2))


def test_a_group_with_more_buckets_of_a_kind_is_the_same_shape() -> None:
    one = Group(1, ((Output(1),),), WEB1, "forward")
    shapes = Shapes()
    shapes.learn(Changes(new_groups=[one]))
    assert shapes.cover(Changes(altered_groups=[Group(2, ((Output(1),), (Output(2),)), WEB1, "forward")]))
    assert not shapes.cover(Changes(new_groups=[Group(3, ((ToGroup(1),),), WEB1, "forward")]))


def test_what_goes_needs_no_known_shape() -> None:
    assert Shapes().cover(Changes(deletes=[flow(3, 7, match(in_port=1))]))


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with Control(tmp_path, ONE) as running:
        yield running


def put(control: Control, *flows: Flow) -> int:
    ours = control.recorder.programs[ONE]
    ours.flows.update((each.key, each) for each in flows)
    return control.switches.change(ONE, Delta(puts={each.key: each for each in flows}))


def test_what_is_refused_although_its_shape_is_known_is_found_out_and_put_right(control: Control) -> None:
    """The switch takes half of a change that it was trusted with: it is told, asked what it holds, and gets the rest."""
    first, second, third = (flow(3, 7, match(in_port=number), Output(number)) for number in (1, 2, 3))
    with FakeSwitch(control.address, ONE) as switch:
        control.bring(program(ONE))
        assert control.switches.wait({ONE: put(control, first)}, 5) == set()
        refusals = iter([(5, 1)])
        switch.refuse_add = lambda _kind, _body: next(refusals, None)
        version = put(control, second, third)
        assert control.switches.wait({ONE: version}, 5) == {ONE}
        assert State.DEGRADED in control.recorder.states or control.status(ONE).state is State.DEGRADED
        wait_for(lambda: len(switch.flows) == 3 and control.status(ONE).state is State.IN_SYNC, "the rest is there")
