"""The map of the bridges refuses what it does not declare."""

from __future__ import annotations

import pytest

from controller.model.ids import key
from controller.pipeline.compile import pipeline
from controller.pipeline.flow import Action, Flow, Match, Origin, Output, Resubmit, match, set_field
from controller.pipeline.program import MISS
from controller.pipeline.registers import REGISTERS, Register, RegisterClash, check_registers
from controller.pipeline.tables import SLOTS, Bridge, ContractError, Feature, Pipeline, Stage, Table

OURS = Origin("a test", None)
FIRST = Stage.FORWARD.position * SLOTS  # The number of the stage's first table.
SECOND = FIRST + 1


def table(name: str, slot: int, **changes: tuple[str | Stage, ...]) -> Table:
    return Table(name, Stage.FORWARD, slot, ("reg0",), ("reg2",), changes.get("next", ()), "decides", "dropped")


def feature(*tables: Table) -> Feature:
    return Feature("test", "a test", tables, {}, {})


def flow(where: Match, *actions: Action, number: int = FIRST, goto: int | None = None) -> Flow:
    return Flow(number, 1, where, actions, goto, OURS, "test")


@pytest.fixture
def plan() -> Pipeline:
    return Pipeline((feature(table("first", 0, next=("second",)), table("second", 1)),))


def test_two_tables_cannot_share_a_slot() -> None:
    with pytest.raises(ContractError, match="clashes in slot 0"):
        Pipeline((feature(table("first", 0)), feature(table("second", 0))))


def test_a_table_cannot_lead_backwards() -> None:
    with pytest.raises(ContractError, match="leads backwards"):
        Pipeline((feature(table("first", 0), table("second", 1, next=("first",))),))


def test_a_table_cannot_lead_to_another_bridge() -> None:
    with pytest.raises(ContractError, match="no table in br-int"):
        Pipeline((feature(table("first", 0, next=(Stage.TO_TUNNEL,))),))


def test_a_flow_within_its_contract_passes(plan: Pipeline) -> None:
    plan.check(Bridge.INTEGRATION, flow(match(reg0=1), set_field("reg2", 1), Output(1), goto=SECOND))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (flow(match(reg1=1)), "matches on"),
        (flow(match(reg0=1), set_field("reg3", 1)), "writes to"),
        (flow(match(reg0=1), Resubmit(42)), "a way to"),
        (flow(match(reg0=1), number=SECOND, goto=SECOND + 1), "a way to"),
        (flow(match(reg0=1), number=99), "has no table 99"),
    ],
)
def test_a_flow_outside_its_contract_fails(plan: Pipeline, wrong: Flow, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        plan.check(Bridge.INTEGRATION, wrong)


def test_two_registers_cannot_share_a_bit() -> None:
    with pytest.raises(RegisterClash):
        check_registers((*REGISTERS, Register("intruder", "reg6", 10, 8, "overlaps the zone")))


def test_a_register_must_fit_its_field() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Register("wide", "reg8", 20, 16, "too wide")


def test_every_feature_can_be_told_by_eight_bits_of_its_cookie() -> None:
    names = [MISS, *(found.name for found in pipeline().features)]
    assert len({key("feature", name, 8) for name in names}) == len(names)


def test_every_table_says_what_happens_to_what_nobody_wants() -> None:
    assert all(found.miss and found.purpose for found in pipeline().tables.values())
