"""The order in which a change of several switches goes out: phase after phase, each bridge's share in one atomic bundle.

A bundle changes a switch at once, but no two switches change at the same moment. So what a change adds is ready to receive before
anybody sends to it, what it takes away is no longer sent to before it stops receiving, and what is no longer allowed ends
before anything new is allowed:

| phase | what is done |
|---|---|
| tighten | flows go that let connections pass, with what narrower ones come for them (`controller.pipeline.tightening`) |
| receive | flows and groups come that take packets in and deliver them, and what lets more connections pass |
| send | flows that lead packets to other hosts, and answers that tell of them, come and change |
| leave | flows that hand packets to another bridge of their host, which knows the rest of the way, come, change and go |
| stop | flows go that led packets to other hosts; where nothing leaves, that is part of sending |
| break | everything else goes |
| release | answers for addresses that change hands, and notes of zones, change and go (`controller.pipeline.released`) |

A port that moves is so made ready where it comes to, then every sender turns to it, then it ends where it was. A flow that is
replaced changes at once: it is due when its successor is, unless it only loses outputs, or receives and its successor sends.
Connections end with the last phase, when nobody is left who could open them again under the address that has another owner.
The two bridges that a patch port joins are two switches. What touches one bridge only needs no order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from enum import Enum

from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Action, Delta, Flow, FlowKey, Group, Output, PopVlan, PushVlan, SetField, ToGroup
from controller.pipeline.registers import JUDGED, SOURCE_CLASS, TARGET_CLASS
from controller.pipeline.released import changes_hands
from controller.pipeline.tables import ContractError, Pipeline
from controller.pipeline.tightening import Phase, order

# Look-ups of what rules cover, each about a microsecond, that one change may cost; its bridges have equal shares.
SEARCHES = 400_000


class Role(Enum):
    """What a flow is for when a change of several switches is ordered."""

    RECEIVE = "takes packets in, or concerns its own bridge alone"
    SEND = "puts packets on their way to other hosts, or tells ports of each other"
    LEAVE = "hands packets to another bridge of its host"
    ALLOW = "lets new connections pass, or, if it drops, refuses them"
    RECALL = "says which stamps of connections are good: what policy has let through before"


_JUDGED = BY_NAME[JUDGED.field].index
_TAG = BY_NAME["vlan_tci"].index
_CLASSES = frozenset(BY_NAME[register.field].index for register in (SOURCE_CLASS, TARGET_CLASS))

# The phases in which senders come, and those in which they go.
_FIRST = {Role.SEND: Phase.SEND, Role.LEAVE: Phase.LEAVE}
_LAST = {Role.SEND: Phase.STOP, Role.LEAVE: Phase.LEAVE}


def roles(pipeline: Pipeline) -> Callable[[Flow], Role]:
    """Return what tells a flow's role from what its feature declares; what nobody declares receives.

    Raises `controller.pipeline.tables.ContractError` if a feature declares a kind that it does not have, or one as both.
    """
    declared: dict[tuple[str, str], Role] = {}
    for feature in pipeline.features:
        kinds = {Role.SEND: feature.sends, Role.LEAVE: feature.leaves}
        kinds |= {Role.ALLOW: feature.allows, Role.RECALL: feature.recalls}
        mine = {(feature.name, kind): role for role, found in kinds.items() for kind in found}
        if len(mine) < sum(map(len, kinds.values())) or any(kind not in feature.kinds for _, kind in mine):
            raise ContractError(f"{feature.name} declares roles of kinds that it has not, or two of one kind: {mine}")
        declared |= mine
    return lambda flow: declared.get((flow.feature, flow.kind), Role.RECEIVE)


def phases(deltas: Mapping[int, Delta], role: Callable[[Flow], Role]) -> list[dict[int, Delta]]:
    """Return the phases of a change, dpid -> delta each; done one after the other they are the whole change.

    Each phase is to be confirmed by its switches before the next is sent; within a phase every order is right. There is one phase
    if one bridge changes, and none if nothing does.
    """
    deltas = {dpid: delta for dpid, delta in deltas.items() if delta}
    if len(deltas) < 2:
        return [{dpid: part} for dpid, delta in deltas.items() for part in _alone(delta, role) if part]
    comes = frozenset(pair for delta in deltas.values() for pair in _loads(delta.puts, delta.group_puts))
    at_once = _is_one_sided(deltas.values(), role)
    split: list[dict[int, Delta]] = [{} for _ in Phase]
    idle: dict[int, Delta] = {}
    for dpid, delta in deltas.items():
        rest, idle[dpid] = _without_idle(delta)
        for phase, part in enumerate(_split(rest, role, comes, SEARCHES // len(deltas), at_once=at_once)):
            if part:
                split[phase][dpid] = part
    if not split[Phase.LEAVE]:
        _join(split[Phase.SEND], split[Phase.STOP])
        split[Phase.STOP] = {}
    found = _joined(split, role) or [{}]
    for dpid, delta in idle.items():
        if delta:
            share = next((shares[dpid] for shares in found if dpid in shares), None)
            _append(found[0].setdefault(dpid, Delta()) if share is None else share, delta)
    for dpid, delta in deltas.items():
        if delta.meter_deletes:
            # Flows would go with the meter that they use, so it goes with the last of them.
            share = next((shares[dpid] for shares in reversed(found) if dpid in shares), None)
            _append(
                found[-1].setdefault(dpid, Delta()) if share is None else share,
                Delta(meter_deletes=delta.meter_deletes),
            )
    return found


def _without_idle(delta: Delta) -> tuple[Delta, Delta]:
    """Return what changes, and the rest: what only has another origin than before, and goes along with anything.

    Meters that come are among the rest, too: nobody uses them yet, and those who will come later.
    """
    rest = Delta(deletes=delta.deletes, group_deletes=delta.group_deletes)
    idle = Delta(meter_puts=delta.meter_puts, meter_replaced=delta.meter_replaced)
    for key, flow in delta.puts.items():
        former = delta.replaced.get(key)
        part = rest if former is None or former.effect != flow.effect else idle
        part.puts[key] = flow
        if former is not None:
            part.replaced[key] = former
    for number, group in delta.group_puts.items():
        was = delta.group_replaced.get(number)
        part = rest if was is None or was.effect != group.effect else idle
        part.group_puts[number] = group
        if was is not None:
            part.group_replaced[number] = was
    return rest, idle


def _alone(delta: Delta, role: Callable[[Flow], Role]) -> tuple[Delta, Delta]:
    """Return the change of a bridge that changes alone: first all but the rules of classes that its ports have left.

    For a moment its datapath still has packets on their way that bear such a class.
    """
    comes = _judged(flow for flow in delta.puts.values() if role(flow) is Role.RECALL)
    left = {
        key: flow
        for key, flow in delta.deletes.items()
        if role(flow) in (Role.ALLOW, Role.RECALL) and (classes := _judged([flow])) and not classes & comes
    }
    rest = replace(delta, deletes={key: flow for key, flow in delta.deletes.items() if key not in left})
    return rest, Delta(deletes=left)


def _is_one_sided(deltas: Iterable[Delta], role: Callable[[Flow], Role]) -> bool:
    """Return whether what is allowed changes in one direction of policy alone.

    Each connection is then judged anew on one host only: every mixture of old and new hosts is as the old or as the new, and nothing has
    to be tightened first. In between nobody is refused whom both let through.
    """
    changed: dict[Role, set[str]] = {each: set() for each in Role}
    for delta in deltas:
        for flow in (*delta.puts.values(), *delta.deletes.values(), *delta.replaced.values()):
            changed[role(flow)].add(flow.feature)
    # A feature that has stamps judges one direction.
    return len(changed[Role.ALLOW]) == 1 and changed[Role.ALLOW] <= changed[Role.RECALL]


def _split(
    delta: Delta, role: Callable[[Flow], Role], comes: frozenset[tuple[int, int]], searches: int, *, at_once: bool
) -> list[Delta]:
    """Return a bridge's share of each phase."""
    parts = [Delta() for _ in Phase]
    due = _policy(delta, role, comes, searches, at_once=at_once)
    restamped = _judged(flow for flow in delta.puts.values() if role(flow) is Role.RECALL)
    for key, flow in delta.puts.items():
        former = delta.replaced.get(key)
        phase = due.get(key)
        if phase is None:
            phase = Phase.RELEASE if changes_hands(former, flow) else _phase_of_put(flow, former, role)
        part = parts[phase]
        part.puts[key] = flow
        if former is not None:
            part.replaced[key] = former
    for key, flow in delta.deletes.items():
        phase = due.get(key)
        if phase is None:
            phase = Phase.RELEASE if changes_hands(flow, None) else _LAST.get(role(flow), Phase.BREAK)
            if role(flow) is Role.RECALL and _judged([flow]) <= restamped:
                phase = (
                    Phase.RECEIVE
                )  # With the stamp that takes its place; a class that leaves the host keeps it to the end.
        parts[phase].deletes[key] = flow
    _place_groups(parts, delta)
    return parts


def _policy(
    delta: Delta, role: Callable[[Flow], Role], comes: frozenset[tuple[int, int]], searches: int, *, at_once: bool
) -> dict[FlowKey, Phase]:
    """Return the phases of the flows that decide which connections pass."""
    due: dict[FlowKey, Phase] = {}
    puts: dict[FlowKey, Flow] = {}
    for key, flow in delta.puts.items():
        if role(flow) is Role.ALLOW:
            former = delta.replaced.get(key)
            if former is not None and role(former) is not Role.ALLOW:
                due[key] = Phase.RECEIVE
            elif _drops(flow):
                due[key] = Phase.RECEIVE if at_once else Phase.TIGHTEN
            else:
                puts[key] = flow
    deletes: dict[FlowKey, Flow] = {}
    for key, flow in delta.deletes.items():
        if role(flow) is Role.ALLOW:
            if _drops(flow):
                due[key] = Phase.RECEIVE
            else:
                deletes[key] = flow
    if puts or deletes:
        due |= order(puts, delta.replaced, deletes, _stale(delta, comes), searches, at_once=at_once)
    return due


def _phase_of_put(flow: Flow, former: Flow | None, role: Callable[[Flow], Role]) -> Phase:
    """Return the phase of a flow that is added or replaced."""
    sends = _FIRST.get(role(flow))
    if former is None:
        return Phase.RECEIVE if sends is None else sends
    was = role(former)
    if sends is not None:
        return sends if was in _FIRST else Phase.BREAK
    loses = flow.goto == former.goto and _only_outputs(former) and set(flow.actions) < set(former.actions)
    return Phase.BREAK if loses and was is Role.RECEIVE else Phase.RECEIVE


def _place_groups(parts: list[Delta], delta: Delta) -> None:
    """Put each group before its users: copies that are added before anybody sends, copies that end after."""
    users: dict[int, int] = {}
    for phase, part in reversed(list(enumerate(parts))):
        users.update((group, phase) for flow in part.puts.values() for group in _groups(flow))
    for number, group in delta.group_puts.items():
        former = delta.group_replaced.get(number)
        if former is None:
            phase = min(users.get(number, Phase.RECEIVE), Phase.RECEIVE)
        else:
            phase = Phase.BREAK if set(group.buckets) < set(former.buckets) else Phase.RECEIVE
            parts[phase].group_replaced[number] = former
        parts[phase].group_puts[number] = group
    parts[Phase.BREAK].group_deletes.update(delta.group_deletes)


def _stale(delta: Delta, comes: frozenset[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the values that this bridge no longer gives to packets, because who had them got others or moved away.

    What has gone altogether, and comes nowhere, is not among them: what it was allowed is to end first.
    """
    changed = set(_loads(delta.replaced, delta.group_replaced))
    moved = comes.intersection(_loads(delta.deletes, delta.group_deletes))
    return (changed | moved).difference(_loads(delta.puts, delta.group_puts))


def _loads(flows: Mapping[FlowKey, Flow], groups: Mapping[int, Group]) -> Iterator[tuple[int, int]]:
    """Yield the (field, value) pairs that flows and groups write into packets."""
    for flow in flows.values():
        yield from _written(flow.actions)
    for group in groups.values():
        for bucket in group.buckets:
            yield from _written(bucket)


def _written(actions: Iterable[Action]) -> Iterator[tuple[int, int]]:
    for action in actions:
        if isinstance(action, SetField) and action.mask is None:
            yield action.field, action.value
            if action.field in _CLASSES:
                yield _JUDGED, action.value  # Rules ask for a class there, whichever side has it.


def _groups(flow: Flow) -> Iterator[int]:
    return (action.group for action in flow.actions if isinstance(action, ToGroup))


def _judged(flows: Iterable[Flow]) -> set[int]:
    """Return the classes that flows are about."""
    return {value for flow in flows for index, value, _ in flow.match if index == _JUDGED}


def _drops(flow: Flow) -> bool:
    return not flow.actions and flow.goto is None


def _only_outputs(flow: Flow) -> bool:
    return all(
        isinstance(action, Output | PushVlan | PopVlan) or (isinstance(action, SetField) and action.field == _TAG)
        for action in flow.actions
    )


def _joined(split: list[dict[int, Delta]], role: Callable[[Flow], Role]) -> list[dict[int, Delta]]:
    """Return the phases in which something happens; two become one where no bridge has to wait for another."""
    found: list[dict[int, Delta]] = []
    last = Phase.TIGHTEN
    for phase, shares in zip(Phase, split, strict=True):
        if not shares:
            continue
        if found and not _must_wait(last, found[-1], shares, role):
            _join(found[-1], shares)
        else:
            found.append(shares)
        last = phase
    return found


def _must_wait(phase: Phase, first: dict[int, Delta], then: dict[int, Delta], role: Callable[[Flow], Role]) -> bool:
    """Return whether a phase has to be done everywhere before the next: tightening has not if nothing is opened elsewhere."""
    if len(first.keys() | then.keys()) == 1:
        return False
    if phase is not Phase.TIGHTEN:
        return True
    return any(_opens(delta, role) and any(other != dpid for other in first) for dpid, delta in then.items())


def _opens(delta: Delta, role: Callable[[Flow], Role]) -> bool:
    # A good stamp opens nothing: only rules give it.
    comes = any(role(flow) is not Role.RECALL for flow in delta.puts.values())
    return bool(comes or delta.group_puts or any(map(_drops, delta.deletes.values())))


def _join(phase: dict[int, Delta], more: Mapping[int, Delta]) -> None:
    for dpid, delta in more.items():
        _append(phase.setdefault(dpid, Delta()), delta)


def _append(delta: Delta, more: Delta) -> None:
    delta.puts |= more.puts
    delta.replaced |= more.replaced
    delta.deletes |= more.deletes
    delta.group_puts |= more.group_puts
    delta.group_deletes |= more.group_deletes
    delta.group_replaced |= more.group_replaced
    delta.meter_puts |= more.meter_puts
    delta.meter_deletes |= more.meter_deletes
    delta.meter_replaced |= more.meter_replaced
