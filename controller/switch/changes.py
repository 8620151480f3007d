"""What must be sent so that a switch holds a program: the difference, in the order that never breaks a reference.

    groups added or changed ─► flows deleted ─► flows added or replaced ─► groups deleted

A flow is added after the group it uses and a group goes after the flows that used it. A flow whose effect changes is one
add: OpenFlow replaces what has the same table, priority and match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controller.pipeline.flow import Flow, Group, Program, ToGroup
from controller.wire import pack
from controller.wire.dump import HeldFlow, HeldGroup
from controller.wire.message import MessageType
from controller.wire.pack import GroupCommand


@dataclass(frozen=True, slots=True)
class ForeignFlow:
    """A flow that goes and that no program of ours has an object for."""

    table: int
    priority: int
    match: bytes


Subject = Flow | Group | ForeignFlow | int  # What a message is about; a number is a group that goes.
Step = tuple[MessageType, bytes, Subject]


@dataclass(slots=True)
class Changes:
    """A difference. The counts are of flows."""

    group_puts: list[tuple[GroupCommand, Group]] = field(default_factory=list)
    deletes: list[Flow | ForeignFlow] = field(default_factory=list)
    puts: list[Flow] = field(default_factory=list)
    group_deletes: list[int] = field(default_factory=list)
    modified: int = 0

    def __len__(self) -> int:
        return len(self.group_puts) + len(self.deletes) + len(self.puts) + len(self.group_deletes)

    def steps(self) -> Iterator[Step]:
        """Yield the messages in order: type, body, and what each is about."""
        for command, group in self.group_puts:
            yield MessageType.GROUP_MOD, pack.group_mod(command, group.id, pack.bucket_bytes(group)), group
        for flow in self.deletes:
            match = flow.match if isinstance(flow, ForeignFlow) else pack.match_of(pack.flow_add(flow))
            yield MessageType.FLOW_MOD, pack.flow_delete(flow.table, flow.priority, match), flow
        for flow in self.puts:
            yield MessageType.FLOW_MOD, pack.flow_add(flow), flow
        for number in self.group_deletes:
            yield MessageType.GROUP_MOD, pack.group_mod(GroupCommand.DELETE, number), number


def from_dump(held: Sequence[HeldFlow], groups: Iterable[HeldGroup], program: Program) -> Changes:
    """Return what leads from what a switch said it holds to the program.

    A flow is in place if the switch returns the very bytes that we would send: match, instructions and cookie.
    """
    changes = Changes()
    _compare_flows(changes, held, program)
    present = {group.id: (group.type, group.buckets) for group in groups}
    for group in _used_before_users(program.groups):
        if group.id not in present:
            changes.group_puts.append((GroupCommand.ADD, group))
        elif present[group.id] != (pack.ALL_BUCKETS, pack.bucket_bytes(group)):
            changes.group_puts.append((GroupCommand.MODIFY, group))
    changes.group_deletes = [number for number in present if number not in program.groups]
    return changes


def _compare_flows(changes: Changes, held: Sequence[HeldFlow], program: Program) -> None:
    if not held:
        # Nothing to compare: the flows can be packed while the switch already works on the first of them.
        changes.puts = list(program.flows.values())
        return
    wanted: dict[tuple[int, int, bytes], Flow] = {}
    for flow in program.flows.values():
        wanted[flow.table, flow.priority, pack.match_of(pack.flow_add(flow))] = flow
    for table, priority, cookie, match, instructions in held:
        there = wanted.get((table, priority, match))
        if there is None:
            changes.deletes.append(ForeignFlow(table, priority, match))
            continue
        packed = pack.flow_add(there)
        if packed[:8] == cookie and pack.instructions_of(packed) == instructions:
            del wanted[table, priority, match]
        else:
            changes.modified += 1
    changes.puts = list(wanted.values())


def between(before: Program, after: Program) -> Changes:
    """Return what leads from one program of ours, which the switch holds, to another."""
    changes = Changes()
    old = before.flows
    for key, flow in after.flows.items():
        there = old.get(key)
        if there is flow:
            continue
        if there is None:
            changes.puts.append(flow)
        elif there.effect != flow.effect:
            changes.puts.append(flow)
            changes.modified += 1
    if len(old) > len(after.flows) + changes.modified - len(changes.puts):
        changes.deletes = [flow for key, flow in old.items() if key not in after.flows]
    for group in _used_before_users(after.groups):
        present = before.groups.get(group.id)
        if present is None:
            changes.group_puts.append((GroupCommand.ADD, group))
        elif present is not group and present.buckets != group.buckets:
            changes.group_puts.append((GroupCommand.MODIFY, group))
    changes.group_deletes = [number for number in before.groups if number not in after.groups]
    return changes


def _used_before_users(groups: Mapping[int, Group]) -> list[Group]:
    """Return the groups so that those that other groups hand packets to come first."""
    ordered: dict[int, Group] = {}
    for start in groups.values():
        waiting = [start]
        entered: set[int] = set()
        while waiting:
            group = waiting[-1]
            entered.add(group.id)
            missing = [groups[number] for number in _uses(group) if number in groups and number not in ordered]
            if group.id in ordered or all(used.id in entered for used in missing):
                ordered.setdefault(waiting.pop().id, group)
            else:
                waiting.extend(used for used in missing if used.id not in entered)
    return list(ordered.values())


def _uses(group: Group) -> list[int]:
    return [action.group for bucket in group.buckets for action in bucket if isinstance(action, ToGroup)]
