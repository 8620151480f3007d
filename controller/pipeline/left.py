"""Rules of classes that ports leave for other groups, or come back to: they are there whenever a packet on its way may ask for them.

A packet passes a datapath in several rounds, one for each look into the connection tracker, and each round follows a cached flow
of its own. When flows change, the cached ones are looked through one after another, and until that is done rounds do not fit each other:

* A first round may still give a packet the class that its port has left, while a later one, looked through before, asks for the rules of
  that class. If they have gone by then, the packet is refused, although old and new rules allow it.
* The cached flows of later rounds stay for a while though nobody follows them, and refuse once the rules have gone. If a port gets the
  class again, its first round may lead there before they have been looked through.

So rules of classes that have been left go when datapaths have forgotten who had them. A port that has the class before finds them there.
Nobody gets anything by the rules of a class that nobody has. When it is time for what, `controller.engine.delivery` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from controller.pipeline.content import judged, loads, loads_class
from controller.pipeline.flow import Delta, Flow, FlowKey
from controller.pipeline.rollout import Role

Shares = Mapping[int, Delta]  # What a phase does, by datapath id.


def part(steps: Iterable[Shares], role: Callable[[Flow], Role]) -> tuple[list[dict[int, Delta]], dict[int, Delta]]:
    """Return the phases of a change without the rules of classes that ports have left, and what is to be done to end these."""
    steps = list(steps)
    classes = {dpid: _left(_whole(steps, dpid), role) for step in steps for dpid in step}
    return apart(steps, lambda dpid, deletes: _rules(deletes, classes[dpid], role))


def apart(
    steps: Iterable[Shares], ends_later: Callable[[int, Mapping[FlowKey, Flow]], Mapping[FlowKey, Flow]]
) -> tuple[list[dict[int, Delta]], dict[int, Delta]]:
    """Return the phases of a change without some of the flows that go, and the end of these."""
    now: list[dict[int, Delta]] = []
    later: dict[int, Delta] = {}
    for step in steps:
        shares: dict[int, Delta] = {}
        for dpid, delta in step.items():
            gone = ends_later(dpid, delta.deletes)
            rest = replace(delta, deletes={key: flow for key, flow in delta.deletes.items() if key not in gone})
            if rest:
                shares[dpid] = rest
            if gone:
                later.setdefault(dpid, Delta()).deletes.update(gone)
        if shares:
            now.append(shares)
    return now, later


def come_back(later: Delta, change: Delta) -> tuple[Delta, Delta]:
    """Return what is left to be ended when a change follows, and that change with the rest: what it brings back, and rules of its classes.

    They are still there, so what comes takes their place, and what does not come goes with this change.
    """
    comes = judged(change.puts.values()) | set(loads_class(loads(change.puts, change.group_puts)))
    back = {key: flow for key, flow in later.deletes.items() if key in change.puts or judged([flow]) & comes}
    if not back:
        return later, change
    there = {key: flow for key, flow in back.items() if key in change.puts}
    gone = {key: flow for key, flow in back.items() if key not in change.puts}
    rest = Delta(deletes={key: flow for key, flow in later.deletes.items() if key not in back})
    return rest, replace(change, deletes=change.deletes | gone, replaced=there | change.replaced)


def _whole(steps: Iterable[Shares], dpid: int) -> Delta:
    """Return of a bridge's whole change what says which classes have been left."""
    found = Delta()
    for step in steps:
        if dpid in step:
            found.puts |= step[dpid].puts
            found.replaced |= step[dpid].replaced
            found.deletes |= step[dpid].deletes
            found.group_replaced |= step[dpid].group_replaced
    return found


def _left(change: Delta, role: Callable[[Flow], Role]) -> set[int]:
    """Return the classes that ports of a bridge had before a change and none has afterwards, because they got others.

    A class without a stamp has gone from the bridge. Those whose connections nobody tracks have no stamps and need no time:
    their packets pass in one round.
    """
    gone, comes = (
        judged(flow for flow in flows.values() if role(flow) is Role.RECALL) for flows in (change.deletes, change.puts)
    )
    return (gone - comes) & set(loads_class(loads(change.replaced, change.group_replaced)))


def _rules(
    flows: Mapping[FlowKey, Flow], classes: AbstractSet[int], role: Callable[[Flow], Role]
) -> dict[FlowKey, Flow]:
    """Return those flows that are rules or stamps of these classes."""
    return {
        key: flow
        for key, flow in flows.items()
        if role(flow) in (Role.ALLOW, Role.RECALL) and (about := judged([flow])) and about <= classes
    }
