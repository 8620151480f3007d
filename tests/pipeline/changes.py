"""Differences between programs, and what is left to do after some of them: the arithmetic of changes, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from controller.pipeline.flow import (
    Action,
    Delta,
    Flow,
    FlowKey,
    Group,
    Match,
    Meter,
    Metered,
    Origin,
    Program,
    ToGroup,
)
from controller.pipeline.rollout import Role

NOBODY = Origin("a test", None)
ROLES = {role.name.lower(): role for role in Role}


def role(flow: Flow) -> Role:
    """A flow of these tests names its role as its kind."""
    return ROLES[flow.kind]


def flow(
    kind: str,
    match: Match = (),
    actions: Iterable[Action] = (),
    goto: int | None = None,
    *,
    table: int = 0,
    priority: int = 100,
) -> Flow:
    return Flow(table, priority, match, tuple(actions), goto, NOBODY, "test", kind)


def program(dpid: int, *flows: Flow, groups: Iterable[Group] = (), meters: Iterable[Meter] = ()) -> Program:
    made = Program(f"hv{dpid}", "br-int", dpid)
    for each in flows:
        made.add(each)
    for group in groups:
        made.add_group(group)
    for meter in meters:
        made.add_meter(meter)
    return made


def difference(before: Program, after: Program) -> Delta:
    """What leads from one program to another."""
    puts = {
        key: flow
        for key, flow in after.flows.items()
        if key not in before.flows or before.flows[key].effect != flow.effect
    }
    groups = {
        number: group
        for number, group in after.groups.items()
        if number not in before.groups or before.groups[number].effect != group.effect
    }
    meters = {
        number: meter
        for number, meter in after.meters.items()
        if number not in before.meters or before.meters[number].effect != meter.effect
    }
    return Delta(
        puts=puts,
        replaced={key: before.flows[key] for key in puts if key in before.flows},
        deletes={key: flow for key, flow in before.flows.items() if key not in after.flows},
        group_puts=groups,
        group_deletes={number: group for number, group in before.groups.items() if number not in after.groups},
        group_replaced={number: before.groups[number] for number in groups if number in before.groups},
        meter_puts=meters,
        meter_deletes={number: meter for number, meter in before.meters.items() if number not in after.meters},
        meter_replaced={number: before.meters[number] for number in meters if number in before.meters},
    )


def differences(before: Iterable[Program], after: Iterable[Program]) -> dict[int, Delta]:
    """The deltas of a fabric; a bridge that is missing on one side is empty there."""
    old, new = ({program.dpid: program for program in side} for side in (before, after))
    nothing = Program("", "", 0)
    return {dpid: difference(old.get(dpid, nothing), new.get(dpid, nothing)) for dpid in old | new}


def changed(program: Program, delta: Delta) -> Program:
    """A program after a delta."""
    flows = {key: flow for key, flow in program.flows.items() if key not in delta.deletes} | delta.puts
    groups = {key: group for key, group in program.groups.items() if key not in delta.group_deletes} | delta.group_puts
    meters = {key: meter for key, meter in program.meters.items() if key not in delta.meter_deletes} | delta.meter_puts
    return replace(program, flows=flows, groups=groups, meters=meters)


def content(program: Program) -> tuple[dict[FlowKey, object], dict[int, object], dict[int, object]]:
    """What a switch would hold."""
    return (
        {key: flow.effect for key, flow in program.flows.items()},
        {number: group.effect for number, group in program.groups.items()},
        {number: meter.effect for number, meter in program.meters.items()},
    )


def dangling(program: Program) -> list[Flow]:
    """The flows that hand packets to a group, or pass a meter, that is not there."""

    def is_missing(action: Action) -> bool:
        if isinstance(action, Metered):
            return action.meter not in program.meters
        return isinstance(action, ToGroup) and action.group not in program.groups

    return [flow for flow in program.flows.values() if any(map(is_missing, flow.actions))]


def amounts(phases: Iterable[Mapping[int, Delta]]) -> list[dict[int, tuple[int, int]]]:
    """How much each phase puts and deletes at each switch."""
    return [{dpid: (len(delta.puts), len(delta.deletes)) for dpid, delta in phase.items()} for phase in phases]
