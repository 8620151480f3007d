from __future__ import annotations

import doctest
from ipaddress import IPv4Network

import pytest

from controller.pipeline import flow as flow_module
from controller.pipeline.fields import FIELDS
from controller.pipeline.flow import DuplicateFlow, Flow, Group, Origin, Output, Program, match, set_field

OURS = Origin("a test", None)


def a_flow(*outputs: int, priority: int = 1) -> Flow:
    return Flow(0, priority, match(in_port=1), tuple(Output(number) for number in outputs), None, OURS, "test")


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(flow_module).failed == 0


def test_the_order_in_which_a_match_is_written_does_not_matter() -> None:
    assert match(eth_type=0x800, in_port=1) == match(in_port=1, eth_type=0x800)


def test_bits_outside_a_mask_do_not_matter() -> None:
    assert match(ip_src=(0x0A000005, 0xFFFFFF00)) == match(ip_src=IPv4Network("10.0.0.0/24"))


def test_a_full_mask_is_no_mask_and_an_empty_one_no_condition() -> None:
    assert match(ip_src=(1, 0xFFFFFFFF)) == match(ip_src=1)
    assert match(ip_src=IPv4Network("0.0.0.0/0")) == ()


@pytest.mark.parametrize("value", [70000, -1, (70000, 0xFFFF), (1, 0x1FFFF)])
def test_a_value_that_does_not_fit_is_refused(value: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        match(tcp_dst=value)


def test_an_action_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        set_field("vlan_tci", 1 << 16)


def test_the_same_flow_twice_is_one_flow() -> None:
    program = Program("hv1", "br-int", 1)
    program.add(a_flow(2))
    program.add(a_flow(2))
    assert len(program.flows) == 1


def test_two_flows_that_claim_one_identity_are_a_defect() -> None:
    program = Program("hv1", "br-int", 1)
    program.add(a_flow(2))
    with pytest.raises(DuplicateFlow):
        program.add(a_flow(3))


def test_two_groups_that_claim_one_number_are_a_defect() -> None:
    program = Program("hv1", "br-int", 1)
    program.add_group(Group(7, ((Output(1),),), OURS, "test"))
    with pytest.raises(DuplicateFlow):
        program.add_group(Group(7, ((Output(2),),), OURS, "test"))


def test_no_two_fields_share_a_name() -> None:
    assert len({field.name for field in FIELDS}) == len(FIELDS)
