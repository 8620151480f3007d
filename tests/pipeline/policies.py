"""Small policies as flows, and who gets through them: one port of 0 to 15 and one peer of 0 to 3 make a packet."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from controller.pipeline.flow import Conjunction, Flow, Match, Program, match
from tests.pipeline.changes import flow, program

Masked = tuple[int, int]  # the first port of a block, and the mask of four bits
Packet = tuple[int, int]
PACKETS = list(product(range(16), range(4)))
ALLOWED = 9


def block(first: int, bits: int) -> Masked:
    """The block of 2 ** bits ports that this one is in."""
    mask = 0xF & ~((1 << bits) - 1)
    return first & mask, mask


def ports(masked: Masked) -> Match:
    value, mask = masked
    return match(tcp_dst=(value, mask | 0xFFF0), ip_proto=6)


def direct(masked: Masked, peer: int | None = None) -> Flow:
    """A rule of one flow."""
    value, mask = masked
    wanted = {} if peer is None else {"reg7": peer}
    return flow("allow", match(tcp_dst=(value, mask | 0xFFF0), ip_proto=6, **wanted), goto=ALLOWED, priority=200)


def joint(number: int, blocks: Iterable[Masked], peers: Iterable[int]) -> list[Flow]:
    """A rule of several flows; those of several rules are put together by `policy`."""
    parts = [flow("allow", ports(each), [Conjunction(number, 1, 2)]) for each in blocks]
    parts += [flow("allow", match(reg7=peer), [Conjunction(number, 2, 2)]) for peer in peers]
    return [*parts, flow("allow", match(conj_id=number), goto=ALLOWED, priority=200)]


def policy(dpid: int, flows: Iterable[Flow]) -> Program:
    """A bridge's rules; parts of several conjunctions with one match are one flow."""
    found: dict[Match, list[Flow]] = {}
    for each in flows:
        found.setdefault(each.match, []).append(each)
    made = []
    for same in found.values():
        actions = {action for each in same for action in each.actions if isinstance(action, Conjunction)}
        ordered = sorted(actions, key=lambda part: (part.id, part.clause))
        made.append(flow("allow", same[0].match, ordered, same[0].goto, priority=same[0].priority))
    return program(dpid, *made)


def allowed(holds: Program, packet: Packet) -> bool:
    """Whether the flows let a packet pass, conjunctions as ovs-actions(7) has them."""
    fields = {match(tcp_dst=0)[0][0]: packet[0], match(ip_proto=0)[0][0]: 6, match(reg7=0)[0][0]: packet[1]}
    held: dict[int, set[int]] = {}
    accepting: set[int] = set()
    for each in holds.flows.values():
        number = next((value for index, value, _ in each.match if index not in fields), None)
        if number is not None:
            accepting.add(number)
        elif all(fields[index] & (-1 if mask is None else mask) == value for index, value, mask in each.match):
            if not each.actions:
                return True
            for action in each.actions:
                assert isinstance(action, Conjunction)
                held.setdefault(action.id, set()).add(action.clause)
    return any(held.get(number) == {1, 2} for number in accepting)


def passing(fabric: Iterable[Program]) -> set[Packet]:
    """The packets that pass all of these bridges."""
    bridges = list(fabric)
    return {packet for packet in PACKETS if all(allowed(bridge, packet) for bridge in bridges)}
