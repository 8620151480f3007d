"""What was told to a switch: deltas merged into one, and a program as of the last commit.

A program belongs to the engine and changes in place, ahead of what was sent. What a switch holds is therefore kept here: a
list that is taken at a sync, and the deltas committed since.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from controller.pipeline.claims import Change, Numbered, of_groups, of_meters
from controller.pipeline.flow import Delta, Flow, Group, Meter

_FOLD_AT = 1000  # What was deleted is remembered no longer than this many more changes and as many as there are flows.


def merge(earlier: Delta, later: Delta) -> None:
    """Make `earlier` do what it does and then what `later` does.

    Of every key the last word counts. `replaced` keeps the oldest former flow. A flow that is put and then deleted is still
    deleted, and one that is put as it was before is still put: whoever redoes deltas cannot know which of them are in force.
    """
    for key, flow in later.puts.items():
        former = earlier.deletes.pop(key, None)
        if former is None and key not in earlier.puts:
            former = later.replaced.get(key)
        if former is not None:
            earlier.replaced[key] = former
        earlier.puts[key] = flow
    for key, flow in later.deletes.items():
        earlier.puts.pop(key, None)
        earlier.deletes.setdefault(key, earlier.replaced.pop(key, flow))
    _merge(of_groups(earlier), of_groups(later))
    _merge(of_meters(earlier), of_meters(later))


def _merge(earlier: Change[Numbered], later: Change[Numbered]) -> None:
    for number, thing in later.puts.items():
        former = earlier.deletes.pop(number, None)
        if former is None and number not in earlier.puts:
            former = later.replaced.get(number)
        if former is not None:
            earlier.replaced[number] = former
        earlier.puts[number] = thing
    for number, thing in later.deletes.items():
        earlier.puts.pop(number, None)
        earlier.deletes.setdefault(number, earlier.replaced.pop(number, thing))


def what_matters(delta: Delta) -> Delta:
    """Return a delta of one's own without the puts that do what is done already."""
    same = [
        key for key, former in delta.replaced.items() if key in delta.puts and delta.puts[key].effect == former.effect
    ]
    mine = Delta(**{each.name: dict(getattr(delta, each.name)) for each in fields(Delta)})
    for key in same:
        del mine.puts[key], mine.replaced[key]
    return mine


class Mirror:
    """The flows, groups and meters that a switch holds after its last commit. It costs a pointer a flow, and what changed since."""

    def __init__(self, flows: list[Flow], groups: Iterable[Group], meters: Iterable[Meter]) -> None:
        self._flows = flows
        self._groups = {group.id: group for group in groups}
        self._meters = {meter.id: meter for meter in meters}
        self._since = Delta()

    def apply(self, delta: Delta) -> None:
        """Note that the switch has committed a delta."""
        merge(self._since, delta)
        if len(self._since) > _FOLD_AT + len(self._flows):
            self._fold()

    def flows(self) -> list[Flow]:
        """Return the flows."""
        self._fold()
        return self._flows

    def groups(self) -> dict[int, Group]:
        """Return the groups by id."""
        self._fold()
        return self._groups

    def meters(self) -> dict[int, Meter]:
        """Return the meters by id."""
        self._fold()
        return self._meters

    def _fold(self) -> None:
        since, self._since = self._since, Delta()
        if since.puts or since.deletes:
            gone = since.puts.keys() | since.deletes.keys()
            self._flows = [flow for flow in self._flows if flow.key not in gone]
            self._flows += since.puts.values()
        _renew(self._groups, of_groups(since))
        _renew(self._meters, of_meters(since))


def _renew(held: dict[int, Numbered], change: Change[Numbered]) -> None:
    held.update(change.puts)
    for number in change.deletes:
        held.pop(number, None)
