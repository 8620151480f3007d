"""Who claims the numbered things of a bridge, its groups and its meters: several parts may claim one, as long as they agree.

The first claim is in force, the others are spare: should the first go, one of them takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from controller.pipeline.flow import Delta, Group, Meter, Program

Numbered = TypeVar("Numbered", Group, Meter)


class Change(NamedTuple, Generic[Numbered]):
    """What has changed: what came, what went, and what was there before in the place of what came."""

    puts: dict[int, Numbered]
    deletes: dict[int, Numbered]
    replaced: dict[int, Numbered]


def of_groups(delta: Delta) -> Change[Group]:
    """Return what a delta changes of groups."""
    return Change(delta.group_puts, delta.group_deletes, delta.group_replaced)


def of_meters(delta: Delta) -> Change[Meter]:
    """Return what a delta changes of meters."""
    return Change(delta.meter_puts, delta.meter_deletes, delta.meter_replaced)


def copied(program: Program, host: str, bridge: str, dpid: int) -> Program:
    """Return a program of another bridge that holds the same."""
    return Program(host, bridge, dpid, dict(program.flows), dict(program.groups), dict(program.meters))


@dataclass(slots=True)
class Claims(Generic[Numbered]):
    """What claims groups, or meters, besides those in force. `held` are those in force, `change` is None while the bridge is new."""

    spare: dict[int, list[Numbered]] = field(default_factory=dict)

    def add(self, thing: Numbered, held: dict[int, Numbered], change: Change[Numbered] | None) -> None:
        """Note one more claim."""
        number = thing.id
        if number in held:
            self.spare.setdefault(number, []).append(thing)
            return
        held[number] = thing
        if change is None:
            return
        former = change.deletes.pop(number, None)
        if former is None or former.effect != thing.effect:
            change.puts[number] = thing
            if former is not None:
                change.replaced[number] = former

    def remove(self, thing: Numbered, held: dict[int, Numbered], change: Change[Numbered] | None) -> None:
        """Take one claim away."""
        number = thing.id
        spare = self.spare.get(number)
        if spare is not None:
            if held[number] is thing:
                _put(spare.pop(), held, change)
            else:
                spare.remove(thing)
            if not spare:
                del self.spare[number]
            return
        del held[number]
        if change is None:
            return
        was_put = change.puts.pop(number, None)
        former = change.replaced.pop(number, None)
        if was_put is None:
            change.deletes[number] = thing
        elif former is not None:
            change.deletes[number] = former

    def clashes(self, held: dict[int, Numbered], what: str) -> Iterator[str]:
        """Yield how claims of one number differ."""
        for number, things in self.spare.items():
            for thing in things:
                if thing.effect != held[number].effect:
                    yield f"{held[number].origin} and {thing.origin} share {what} {number}"


def _put(thing: Numbered, held: dict[int, Numbered], change: Change[Numbered] | None) -> None:
    former = held[thing.id]
    held[thing.id] = thing
    if former.effect != thing.effect and change is not None:
        change.puts[thing.id] = thing
        change.replaced.setdefault(thing.id, former)
