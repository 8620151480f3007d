"""Changes of a program as the engine makes them: in place, with the delta that tells of them."""

from __future__ import annotations

from controller.pipeline.flow import Delta, Flow, Group, Program


def put(program: Program, *parts: Flow | Group) -> Delta:
    """Add or replace flows and groups."""
    delta = Delta()
    for part in parts:
        if isinstance(part, Group):
            delta.group_puts[part.id] = program.groups[part.id] = part
            continue
        if part.key in program.flows:
            delta.replaced[part.key] = program.flows[part.key]
        delta.puts[part.key] = program.flows[part.key] = part
    return delta


def drop(program: Program, *parts: Flow | Group) -> Delta:
    """Take flows and groups away."""
    delta = Delta()
    for part in parts:
        if isinstance(part, Group):
            delta.group_deletes[part.id] = program.groups.pop(part.id)
        else:
            delta.deletes[part.key] = program.flows.pop(part.key)
    return delta
