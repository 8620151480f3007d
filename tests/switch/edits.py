"""Changes of a program as the engine makes them: in place, with the delta that tells of them."""

from __future__ import annotations

from controller.pipeline.flow import Delta, Flow, Group, Meter, Program


def put(program: Program, *parts: Flow | Group | Meter) -> Delta:
    """Add or replace flows, groups and meters."""
    delta = Delta()
    for part in parts:
        if isinstance(part, Group):
            delta.group_puts[part.id] = program.groups[part.id] = part
            continue
        if isinstance(part, Meter):
            if part.id in program.meters:
                delta.meter_replaced[part.id] = program.meters[part.id]
            delta.meter_puts[part.id] = program.meters[part.id] = part
            continue
        if part.key in program.flows:
            delta.replaced[part.key] = program.flows[part.key]
        delta.puts[part.key] = program.flows[part.key] = part
    return delta


def drop(program: Program, *parts: Flow | Group | Meter) -> Delta:
    """Take flows, groups and meters away."""
    delta = Delta()
    for part in parts:
        if isinstance(part, Group):
            delta.group_deletes[part.id] = program.groups.pop(part.id)
        elif isinstance(part, Meter):
            delta.meter_deletes[part.id] = program.meters.pop(part.id)
        else:
            delta.deletes[part.key] = program.flows.pop(part.key)
    return delta
