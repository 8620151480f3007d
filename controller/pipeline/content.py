"""What a flow does, as far as the order of a change asks for it (`controller.pipeline.rollout`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Action, Flow, FlowKey, Group, Output, PopVlan, PushVlan, SetField, ToGroup
from controller.pipeline.registers import JUDGED, SOURCE, SOURCE_CLASS, TARGET_CLASS

Copy = tuple[int, int, int]  # A table, and the port and the tag with which one of its flows puts a packet out.
Load = tuple[int, int]  # A field, and the value that is written into it.

_JUDGED = BY_NAME[JUDGED.field].index
_TAG = BY_NAME["vlan_tci"].index
_SOURCE = BY_NAME[SOURCE.field].index
_CLASSES = frozenset(BY_NAME[register.field].index for register in (SOURCE_CLASS, TARGET_CLASS))


def loads(flows: Mapping[FlowKey, Flow], groups: Mapping[int, Group]) -> Iterator[Load]:
    """Yield the (field, value) pairs that flows and groups write into packets."""
    for flow in flows.values():
        yield from written(flow.actions)
    for group in groups.values():
        for bucket in group.buckets:
            yield from written(bucket)


def written(actions: Iterable[Action]) -> Iterator[Load]:
    """Yield the (field, value) pairs that actions write."""
    for action in actions:
        if isinstance(action, SetField) and action.mask is None:
            yield action.field, action.value
            if action.field in _CLASSES:
                yield _JUDGED, action.value  # Rules ask for a class there, whichever side has it.


def loads_class(pairs: Iterable[Load]) -> Iterator[int]:
    """Yield the classes among the values that are written into packets."""
    return (value for index, value in pairs if index == _JUDGED)


def groups_of(flow: Flow) -> Iterator[int]:
    """Return the groups that a flow hands packets to."""
    return (action.group for action in flow.actions if isinstance(action, ToGroup))


def judged(flows: Iterable[Flow]) -> set[int]:
    """Return the classes that flows are about."""
    return {value for flow in flows for index, value, _ in flow.match if index == _JUDGED}


def drops(flow: Flow) -> bool:
    """Return whether a flow does nothing."""
    return not flow.actions and flow.goto is None


def only_outputs(flow: Flow) -> bool:
    """Return whether a flow does nothing but output packets."""
    return all(
        isinstance(action, Output | PushVlan | PopVlan) or (isinstance(action, SetField) and action.field == _TAG)
        for action in flow.actions
    )


def loses_copies(flow: Flow, former: Flow) -> bool:
    """Return whether a flow only does fewer outputs than the one before it."""
    return flow.goto == former.goto and only_outputs(former) and set(flow.actions) < set(former.actions)


def copies(flow: Flow, beside: Flow | None) -> set[Copy]:
    """Return the copies that a flow makes and another one, if there is one, does not."""
    return set(_copies(flow)).difference(_copies(beside) if beside else ())


def _copies(flow: Flow) -> Iterator[Copy]:
    tag = 0
    for action in flow.actions:
        if isinstance(action, SetField) and action.field == _TAG:
            tag = action.value
        elif isinstance(action, PopVlan):
            tag = 0
        elif isinstance(action, Output):
            yield flow.table, action.port, tag


def sender(flow: Flow) -> Load | None:
    """Return who sends the packets that a flow takes in, by the value that it writes; None if it does not say that."""
    return next((load for load in written(flow.actions) if load[0] == _SOURCE), None)
