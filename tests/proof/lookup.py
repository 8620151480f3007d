"""What a table finds for a packet: the flow of the highest priority whose match holds, conjunctions included (ovs-actions(7))."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Conjunction, Flow, Match
from tests.proof.states import State

CONJ_ID = BY_NAME["conj_id"].index


def holds(match: Match, state: State) -> bool:
    """Return whether a packet is what a match asks for."""
    for index, value, mask in match:
        held = state.get(index, 0)
        if (held if mask is None else held & mask) != value:
            return False
    return True


def conjunctions(flow: Flow) -> tuple[Conjunction, ...]:
    """Return the conjunctions that a flow is a part of."""
    return tuple(action for action in flow.actions if isinstance(action, Conjunction))


class Lookup:
    """The flows of one table, by falling priority."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        self.flows = sorted(flows, key=lambda flow: -flow.priority)
        self.fields = tuple(sorted({index for flow in self.flows for index, _, _ in flow.match}))

    def other(self, gone: Iterable[Flow], told: Iterable[Flow]) -> Lookup:
        """Return the table without some flows, and with others."""
        left = set(map(id, gone))
        return Lookup([*(flow for flow in self.flows if id(flow) not in left), *told])

    def find(self, state: State) -> Flow | None:
        """Return the flow that a packet meets, None if there is none."""
        for _, flows in groupby(self.flows, key=lambda flow: flow.priority):
            parts: dict[int, set[int]] = {}
            for flow in flows:
                if not holds(flow.match, state):
                    continue
                joint = conjunctions(flow)
                if not joint:
                    return flow
                for each in joint:
                    clauses = parts.setdefault(each.id, set())
                    clauses.add(each.clause)
                    if len(clauses) == each.clauses:
                        found = self._joined(state, each.id)
                        if found is not None:
                            return found
        return None

    def _joined(self, state: State, number: int) -> Flow | None:
        """Return the flow for packets of which all of a conjunction holds."""
        here = state | {CONJ_ID: number}
        for flow in self.flows:
            if any(index == CONJ_ID for index, _, _ in flow.match) and holds(flow.match, here):
                return flow
        return None
