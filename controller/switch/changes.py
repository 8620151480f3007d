"""What must be sent so that a switch holds a program: the difference, in the order that never breaks a reference.

    meters ─► ( groups added or changed ─► flows deleted ─► flows added or replaced ─► groups deleted ) ─► meters deleted

What stands in brackets is one bundle. A flow is added after the group it uses and a group goes after the flows that used it. A flow
whose effect changes is one add: OpenFlow replaces what has the same table, priority and match. Every message may be sent twice: what is
there is replaced, and deleting what is not there does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controller.pipeline.flow import Delta, Flow, Group, Meter, ToGroup
from controller.wire import dump, pack
from controller.wire.dump import NO_SETTINGS, HeldFlow, HeldGroup, HeldMeter
from controller.wire.message import MessageType
from controller.wire.pack import GroupCommand

# What a message is about; a number is a group that goes and that is not ours.
Subject = Flow | Group | Meter | HeldFlow | HeldMeter | int
Step = tuple[MessageType, bytes, Subject]


@dataclass(slots=True)
class Changes:
    """A difference: what is not there, what is there and otherwise, and what goes. `formers` are what the altered flows were."""

    new: list[Flow] = field(default_factory=list)
    altered: list[Flow] = field(default_factory=list)
    formers: list[Flow | HeldFlow] = field(default_factory=list)
    deletes: list[Flow | HeldFlow] = field(default_factory=list)
    new_groups: list[Group] = field(default_factory=list)
    altered_groups: list[Group] = field(default_factory=list)
    group_deletes: list[Group | int] = field(default_factory=list)
    new_meters: list[Meter] = field(default_factory=list)
    altered_meters: list[Meter] = field(default_factory=list)
    meter_deletes: list[Meter | HeldMeter] = field(default_factory=list)

    def __len__(self) -> int:
        return self.bundled + len(self.new_meters) + len(self.altered_meters) + len(self.meter_deletes)

    @property
    def bundled(self) -> int:
        """How many of the changes a bundle takes: all but those of meters."""
        groups = len(self.new_groups) + len(self.altered_groups) + len(self.group_deletes)
        return len(self.new) + len(self.altered) + len(self.deletes) + groups

    def steps(self) -> Iterator[Step]:
        """Yield the messages of the bundle in order: type, body, and what each is about."""
        for group in _used_before_users([*self.new_groups, *self.altered_groups]):
            buckets = pack.bucket_bytes(group)
            body = pack.group_mod(GroupCommand.ADD_OR_MODIFY, group.id, buckets, pack.group_type(group))
            yield MessageType.GROUP_MOD, body, group
        for gone in self.deletes:
            match = gone.match if isinstance(gone, HeldFlow) else pack.match_of(pack.flow_add(gone))
            yield MessageType.FLOW_MOD, pack.flow_delete(gone.table, gone.priority, match), gone
        for flows in (self.new, self.altered):
            for flow in flows:
                yield MessageType.FLOW_MOD, pack.flow_add(flow), flow
        for leaving in self.group_deletes:
            number = leaving if isinstance(leaving, int) else leaving.id
            yield MessageType.GROUP_MOD, pack.group_mod(GroupCommand.DELETE, number), leaving


def from_delta(delta: Delta) -> Changes:
    """Return what a delta sends."""
    changes = Changes(deletes=[*delta.deletes.values()], new_groups=[*delta.group_puts.values()])
    for key, flow in delta.puts.items():
        former = delta.replaced.get(key)
        if former is None:
            changes.new.append(flow)
        else:
            changes.altered.append(flow)
            changes.formers.append(former)
    changes.group_deletes = [*delta.group_deletes.values()]
    for number, meter in delta.meter_puts.items():
        (changes.altered_meters if number in delta.meter_replaced else changes.new_meters).append(meter)
    changes.meter_deletes = [*delta.meter_deletes.values()]
    return changes


@dataclass(slots=True)
class Dump:
    """What a switch says it holds: replies to `message.dump_flows` as they came, in any order, groups and meters."""

    frames: list[bytes] = field(default_factory=list)
    groups: list[HeldGroup] = field(default_factory=list)
    meters: list[HeldMeter] = field(default_factory=list)


def from_dump(held: Dump, flows: Sequence[Flow], groups: Iterable[Group], meters: Iterable[Meter]) -> Changes:
    """Return what leads from what a switch said it holds to these flows, groups and meters.

    A flow is in place if the switch returns the very bytes that we would send, cookie included, and no settings of its own.
    """
    changes = Changes()
    _compare_flows(changes, held.frames, flows)
    wanted = {group.id: group for group in groups}
    present = {group.id: (group.type, group.buckets) for group in held.groups}
    for group in wanted.values():
        if group.id not in present:
            changes.new_groups.append(group)
        elif present[group.id] != (pack.group_type(group), pack.bucket_bytes(group)):
            changes.altered_groups.append(group)
    changes.group_deletes = [number for number in present if number not in wanted]
    _compare_meters(changes, held.meters, meters)
    return changes


def _compare_meters(changes: Changes, held: Iterable[HeldMeter], meters: Iterable[Meter]) -> None:
    wanted = {meter.id: meter for meter in meters}
    present = {meter.id: meter for meter in held}
    for number, meter in wanted.items():
        if number not in present:
            changes.new_meters.append(meter)
        elif present[number].config != pack.meter_config(meter):
            changes.altered_meters.append(meter)
    changes.meter_deletes = [meter for number, meter in present.items() if number not in wanted]


def _compare_flows(changes: Changes, frames: Iterable[bytes], flows: Sequence[Flow]) -> None:
    missing: dict[bytes, Flow] | None = None
    doubles: list[Flow] = []
    others: list[HeldFlow] = []
    for frame in frames:
        if missing is None and not dump.is_empty(frame):
            missing, doubles = by_cookie(flows)
        others += dump.flows(frame, missing)
    if missing is None:
        # Nothing is there: the flows can be packed while the switch already works on the first of them.
        changes.new = list(flows)
        return
    # Few flows come this far: those that the switch does not hold exactly, and those that share a cookie by chance.
    rest = {_place(flow): flow for flow in (*missing.values(), *doubles)} if others or doubles else {}
    for held in others:
        flow = rest.pop((held.table, held.priority, held.match), None)
        if flow is None:
            changes.deletes.append(held)
        elif not _is_exact(held, flow):
            changes.altered.append(flow)
            changes.formers.append(held)
    changes.new = list(rest.values()) if others or doubles else list(missing.values())


def by_cookie(flows: Sequence[Flow]) -> tuple[dict[bytes, Flow], list[Flow]]:
    """Return the flows by cookie, and those whose cookie another one has as well."""
    found = {(flow.packed or pack.flow_add(flow))[:8]: flow for flow in flows}
    if len(found) == len(flows):
        return found, []
    return found, [flow for flow in flows if found[pack.flow_add(flow)[:8]] is not flow]


def _place(flow: Flow) -> tuple[int, int, bytes]:
    return flow.table, flow.priority, pack.match_of(pack.flow_add(flow))


def _is_exact(held: HeldFlow, flow: Flow) -> bool:
    packed = pack.flow_add(flow)
    return (packed[:8], pack.instructions_of(packed), NO_SETTINGS) == (held.cookie, held.instructions, held.settings)


def _used_before_users(listed: Sequence[Group]) -> list[Group]:
    """Return the groups so that those that other groups hand packets to come first."""
    if len(listed) < 2:
        return list(listed)
    groups: Mapping[int, Group] = {group.id: group for group in listed}
    ordered: dict[int, Group] = {}
    for start in listed:
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
