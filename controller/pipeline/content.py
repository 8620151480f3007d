"""What a flow does, as far as the order of a change asks for it (`controller.pipeline.rollout`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Action, Flow, FlowKey, Group, Output, SetField, ToGroup
from controller.pipeline.registers import JUDGED, SOURCE, SOURCE_CLASS, TARGET_CLASS

Copy = tuple[int, Action]  # A table, and the output that one of its flows does.
Load = tuple[int, int]  # A field, and the value that is written into it.

_JUDGED = BY_NAME[JUDGED.field].index
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
    return all(isinstance(action, Output) for action in flow.actions)


def loses_copies(flow: Flow, former: Flow) -> bool:
    """Return whether a flow only does fewer outputs than the one before it."""
    return flow.goto == former.goto and only_outputs(former) and set(flow.actions) < set(former.actions)


def copies(flow: Flow, beside: Flow | None) -> set[Copy]:
    """Return the outputs of a flow that another one, if there is one, does not do."""
    return {(flow.table, action) for action in set(flow.actions).difference(beside.actions if beside else ())}


def sender(flow: Flow) -> Load | None:
    """Return who sends the packets that a flow takes in, by the value that it writes; None if it does not say that."""
    return next((load for load in written(flow.actions) if load[0] == _SOURCE), None)


def asks_for_sender(flow: Flow) -> bool:
    """Return whether a flow is for one sender's packets alone."""
    return any(index == _SOURCE for index, _, _ in flow.match)
