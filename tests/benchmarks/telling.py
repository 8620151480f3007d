"""Tells a simulated switch what a controller would, and reads its answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.simulated import SimulatedSwitch
from controller.pipeline.flow import Flow, Group
from controller.wire import dump, message
from controller.wire.message import BundleControl, MessageType
from controller.wire.pack import (
    GroupCommand,
    bucket_bytes,
    flow_add,
    flow_delete,
    group_mod,
    instructions_of,
    match_bytes,
    match_of,
)

Told = tuple[int, int, bytes, bytes]  # table, priority, match, instructions
Step = tuple[MessageType, bytes]


def add(flow: Flow) -> Step:
    return MessageType.FLOW_MOD, flow_add(flow)


def delete(flow: Flow) -> Step:
    return MessageType.FLOW_MOD, flow_delete(flow.table, flow.priority, match_bytes(flow.match))


def add_group(group: Group) -> Step:
    return MessageType.GROUP_MOD, group_mod(GroupCommand.ADD, group.id, bucket_bytes(group))


def stage(switch: SimulatedSwitch, steps: Iterable[Step]) -> None:
    """Open a bundle and fill it."""
    switch.answer(message.bundle_control(BundleControl.OPEN, 1, 1))
    switch.answer(b"".join(message.in_bundle(1, xid, kind, body) for xid, (kind, body) in enumerate(steps, 2)))


def commit(switch: SimulatedSwitch, *steps: Step) -> None:
    stage(switch, steps)
    (reply,) = frames(switch.answer(message.bundle_control(BundleControl.COMMIT, 1, 9)))
    assert dump.kind_and_xid(reply) == (MessageType.BUNDLE_CONTROL, 9)


def told(*flows: Flow) -> set[Told]:
    """What a dump must say of these flows."""
    packed = [(flow.table, flow.priority, flow_add(flow)) for flow in flows]
    return {(table, priority, match_of(body), instructions_of(body)) for table, priority, body in packed}


def dumped(switch: SimulatedSwitch) -> set[Told]:
    parts = list(frames(switch.answer(message.dump_flows(5))))
    assert [dump.has_more(part) for part in parts] == [True] * (len(parts) - 1) + [False]
    held = [flow for part in parts for flow in dump.flows(part)]
    return {(flow.table, flow.priority, flow.match, flow.instructions) for flow in held}


def dumped_groups(switch: SimulatedSwitch) -> dict[int, bytes]:
    parts = frames(switch.answer(message.dump_groups(5)))
    return {group.id: group.buckets for part in parts for group in dump.groups(part)}


def frames(data: bytes) -> Iterator[bytes]:
    while data:
        length = int.from_bytes(data[2:4], "big")
        yield data[:length]
        data = data[length:]
