"""The order in which a change of several switches goes out: phase after phase, each bridge's share in one atomic bundle.

A bundle changes a switch at once, but no two switches change at the same moment. So what a change adds is ready to receive before
anybody sends to it, what it takes away is no longer sent to before it stops receiving, and what is no longer allowed ends
before anything new is allowed:

| phase | what is done |
|---|---|
| tighten | flows go that let connections pass (`controller.pipeline.tightening`), and those of ports that go for good |
| receive | flows and groups come that take packets in and deliver them, and what lets more connections pass |
| send | flows that lead packets to other hosts, answers that tell of them, and who new addresses are, come and change |
| leave | flows that hand packets to another bridge of their host, which knows the rest of the way, come, change and go |
| stop | flows go that led packets to other hosts; where nothing leaves, that is part of sending |
| break | everything else goes |
| release | answers for addresses that change hands, notes of zones and translations, go (`released`), and who had an address |

A port that moves is so made ready where it comes to, then every sender turns to it, then it ends where it was. A flow that is
replaced changes at once: it is due when its successor is, unless it only loses outputs, or receives and its successor sends.
Connections end with the last phase, when nobody is left who could open them again under the address; datapaths follow first (`resting`).
The two bridges that a patch port joins are two switches. What touches one bridge only needs no order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import Enum

from controller.pipeline.choices import group_phase
from controller.pipeline.content import (
    Copy,
    Load,
    copies,
    drops,
    groups_of,
    judged,
    loads,
    loses_copies,
    sender,
)
from controller.pipeline.flow import Delta, Flow, FlowKey
from controller.pipeline.released import changes_hands, ends_apart, ends_translations, told_owner
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
    TELL = "tells rules who a far address is"
    COPY = "hands copies of a packet to the ports of a class"


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
        kinds |= {Role.ALLOW: feature.allows, Role.RECALL: feature.recalls, Role.TELL: feature.tells}
        kinds |= {Role.COPY: feature.copies}
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
    whole = _whole(deltas.values(), role)
    split: list[dict[int, Delta]] = [{} for _ in Phase]
    idle: dict[int, Delta] = {}
    for dpid, delta in deltas.items():
        rest, idle[dpid] = _without_idle(delta)
        for phase, part in enumerate(_split(rest, whole)):
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

    For a moment its datapath still has packets on their way that bear such a class, or are translated as before.
    """
    delta, ends = ends_apart(delta)
    comes = judged(flow for flow in delta.puts.values() if role(flow) is Role.RECALL)
    left = {
        key: flow
        for key, flow in delta.deletes.items()
        if role(flow) in (Role.ALLOW, Role.RECALL) and (classes := judged([flow])) and not classes & comes
    }
    rest = replace(delta, deletes={key: flow for key, flow in delta.deletes.items() if key not in left})
    return rest, replace(ends, deletes=ends.deletes | left)


@dataclass(frozen=True, slots=True)
class _Whole:
    """What a bridge's share of a change depends on, besides itself.

    `comes` are the values that some bridge will write into packets, `searches` are the look-ups that a bridge may cost; with `at_once`
    old and new policy change places in one bundle. Addresses become known in the phase `told`, and unknown in `forgotten`.
    """

    role: Callable[[Flow], Role]
    comes: frozenset[Load]
    searches: int
    at_once: bool
    told: Phase
    forgotten: Phase


def _whole(deltas: Collection[Delta], role: Callable[[Flow], Role]) -> _Whole:
    """Return what the shares of a change have in common.

    Who an address is that nobody knew, a bridge need not know before it is told how to get there. Whose address it was, it may
    know as long as the address is answered for: before that ends, nobody may use it any more.
    """
    comes = frozenset(pair for delta in deltas for pair in loads(delta.puts, delta.group_puts))
    sent = any(
        role(flow) is Role.SEND and key not in delta.replaced for delta in deltas for key, flow in delta.puts.items()
    )
    released = any(told_owner(flow.actions) is not None for delta in deltas for flow in delta.deletes.values())
    return _Whole(
        *(role, comes, SEARCHES // len(deltas), _is_one_sided(deltas, role)),
        told=Phase.SEND if sent else Phase.RECEIVE,
        forgotten=Phase.RELEASE if released else Phase.BREAK,
    )


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


def _split(delta: Delta, whole: _Whole) -> list[Delta]:
    """Return a bridge's share of each phase."""
    parts = [Delta() for _ in Phase]
    due = _policy(delta, whole)
    restamped = judged(flow for flow in delta.puts.values() if whole.role(flow) is Role.RECALL)
    gained = _gained(delta, whole.role)
    at_home = {who[1] for flow in delta.puts.values() if (who := sender(flow)) is not None}
    if any(whole.role(flow) is Role.RECEIVE for flow in delta.puts.values()):
        # Where a port comes to, it is known at once: that costs no bundle more.
        whole = replace(whole, told=Phase.RECEIVE)
    for key, flow in delta.puts.items():
        former = delta.replaced.get(key)
        phase = due.get(key)
        if phase is None:
            phase = _phase_of_put(flow, former, whole, gained)
            if phase is Phase.SEND and former is None and told_owner(flow.actions) in at_home:
                # Whoever asks here for a port that comes to this very bridge finds it.
                phase = Phase.RECEIVE
        part = parts[phase]
        part.puts[key] = flow
        if former is not None:
            part.replaced[key] = former
    for key, flow in delta.deletes.items():
        phase = due.get(key)
        if phase is None:
            phase = _phase_of_delete(flow, whole, restamped, gained)
        parts[phase].deletes[key] = flow
    _place_groups(parts, delta)
    return parts


def _policy(delta: Delta, whole: _Whole) -> dict[FlowKey, Phase]:
    """Return the phases of the flows that decide which connections pass."""
    role, at_once = whole.role, whole.at_once
    due: dict[FlowKey, Phase] = {}
    puts: dict[FlowKey, Flow] = {}
    for key, flow in delta.puts.items():
        if role(flow) is Role.ALLOW:
            former = delta.replaced.get(key)
            if former is not None and role(former) is not Role.ALLOW:
                due[key] = Phase.RECEIVE
            elif drops(flow):
                due[key] = Phase.RECEIVE if at_once else Phase.TIGHTEN
            else:
                puts[key] = flow
    deletes: dict[FlowKey, Flow] = {}
    for key, flow in delta.deletes.items():
        if role(flow) is Role.ALLOW:
            if drops(flow):
                due[key] = Phase.RECEIVE
            else:
                deletes[key] = flow
    if puts or deletes:
        due |= order(puts, delta.replaced, deletes, _stale(delta, whole.comes), whole.searches, at_once=at_once)
    return due


def _phase_of_put(flow: Flow, former: Flow | None, whole: _Whole, gained: AbstractSet[Copy]) -> Phase:
    """Return the phase of a flow that is added or replaced."""
    if changes_hands(former, flow):
        return Phase.RELEASE
    role = whole.role(flow)
    sends = _FIRST.get(role)
    if former is None:
        return whole.told if role is Role.TELL else Phase.RECEIVE if sends is None else sends
    was = whole.role(former)
    if sends is not None:
        # What has led elsewhere until now does so until all that the new way needs is there.
        return max(sends, _FIRST[was]) if was in _FIRST else Phase.BREAK
    waits = was in (Role.RECEIVE, Role.COPY) and loses_copies(flow, former)
    return Phase.BREAK if waits and not (role is Role.COPY and copies(former, flow) <= gained) else Phase.RECEIVE


def _phase_of_delete(flow: Flow, whole: _Whole, restamped: AbstractSet[int], gained: AbstractSet[Copy]) -> Phase:
    """Return the phase of a flow that goes."""
    if changes_hands(flow, None):
        return Phase.RELEASE
    role = whole.role(flow)
    if role is Role.TELL:
        return whole.forgotten
    if (role is Role.RECALL and judged([flow]) <= restamped) or (role is Role.COPY and copies(flow, None) <= gained):
        # With the stamp that takes its place; a class that leaves the host keeps it to the end.
        return Phase.RECEIVE
    who = sender(flow)
    if who is not None and who not in whole.comes:
        # A port that goes for good sends no more from the beginning.
        return Phase.TIGHTEN
    return _LAST.get(role, Phase.BREAK)


def _gained(delta: Delta, role: Callable[[Flow], Role]) -> set[Copy]:
    """Return the copies that ports get by a flow that comes. Who had them by another one until then would get them twice."""
    found: set[Copy] = set()
    for key, flow in delta.puts.items():
        if role(flow) is Role.COPY:
            found |= copies(flow, delta.replaced.get(key))
    return found


def _place_groups(parts: list[Delta], delta: Delta) -> None:
    """Put each group before its users: the ports and hosts in it are ready, or no longer needed (`group_phase`)."""
    users: dict[int, int] = {}
    for phase, part in reversed(list(enumerate(parts))):
        users.update((group, phase) for flow in part.puts.values() for group in groups_of(flow))
    for number, group in delta.group_puts.items():
        former = delta.group_replaced.get(number)
        if former is None:
            phase = min(users.get(number, Phase.RECEIVE), Phase.RECEIVE)
        else:
            phase = group_phase(group, former)
            parts[phase].group_replaced[number] = former
        parts[phase].group_puts[number] = group
    parts[Phase.BREAK].group_deletes.update(delta.group_deletes)


def _stale(delta: Delta, comes: frozenset[Load]) -> set[Load]:
    """Return the values that this bridge no longer gives to packets, because who had them got others or moved away.

    What has gone altogether, and comes nowhere, is not among them: what it was allowed is to end first.
    """
    changed = set(loads(delta.replaced, delta.group_replaced))
    moved = comes.intersection(loads(delta.deletes, delta.group_deletes))
    return (changed | moved).difference(loads(delta.puts, delta.group_puts))


def _joined(split: list[dict[int, Delta]], role: Callable[[Flow], Role]) -> list[dict[int, Delta]]:
    """Return the phases in which something happens; two become one where no bridge has to wait for another."""
    found: list[dict[int, Delta]] = []
    last = Phase.TIGHTEN
    for phase, shares in zip(Phase, split, strict=True):
        if not shares:
            continue
        if found and not _must_wait(last, phase, found, shares, role):
            _join(found[-1], shares)
        else:
            found.append(shares)
        last = phase
    return found


def _must_wait(
    last: Phase, phase: Phase, found: list[dict[int, Delta]], then: dict[int, Delta], role: Callable[[Flow], Role]
) -> bool:
    """Return whether what has been gathered has to be done everywhere before a phase begins.

    Tightening has not if nothing is opened elsewhere. Addresses are released along with the end of ports that send no more by then.
    """
    first = found[-1]
    if phase is Phase.RELEASE and any(map(ends_translations, then.values())):
        # Until a datapath follows its flows it translates as before, and what goes on would outlive its end.
        return True
    if len(first.keys() | then.keys()) == 1:
        return False
    if phase is Phase.RELEASE:
        silent = {who[1] for before in found[:-1] for who in _senders(before, gone=True)}
        return bool(_senders(first, gone=False)) or not _owners(then) <= silent
    if last is not Phase.TIGHTEN:
        return True
    return any(_opens(delta, role) and any(other != dpid for other in first) for dpid, delta in then.items())


def _senders(shares: Mapping[int, Delta], *, gone: bool) -> set[Load]:
    """Return whose packets are taken in by flows that go, or by flows that come."""
    flows = (flow for delta in shares.values() for flow in (delta.deletes if gone else delta.puts).values())
    return {who for flow in flows if (who := sender(flow)) is not None}


def _owners(shares: Mapping[int, Delta]) -> set[int | None]:
    """Return who had the addresses that are released; None stands for a zone, in which nobody may be left."""
    formers = (flow for delta in shares.values() for flow in (*delta.deletes.values(), *delta.replaced.values()))
    return {told_owner(flow.actions) for flow in formers if changes_hands(flow, None)}


def _opens(delta: Delta, role: Callable[[Flow], Role]) -> bool:
    # A good stamp opens nothing: only rules give it.
    comes = any(role(flow) is not Role.RECALL for flow in delta.puts.values())
    return bool(comes or delta.group_puts or any(map(drops, delta.deletes.values())))


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
