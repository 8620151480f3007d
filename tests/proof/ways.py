"""Whether anything comes of packets at all, until something may be seen of them."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Conntrack, Flow, Move, Output, PopVlan, PushVlan, Resubmit, SetField
from tests.proof.cubes import ONES, Cube, covers
from tests.proof.lookup import conjunctions
from tests.proof.reach import TRACKING, UNTRACKED, Reach, answers, change, pieces

_IN_PORT, _VLAN = (BY_NAME[name].index for name in ("in_port", "vlan_tci"))
MOST = 2000  # Steps for one question.


class Way:
    """What becomes of packets, until something may be seen of them: a copy leaves, a tracker keeps something, who asked is answered."""

    def __init__(self, reach: Reach, excluded: tuple[Cube, ...]) -> None:
        self._reach = reach
        self._excluded = excluded
        self._left = MOST

    def goes_on(self, bridge: str, flow: Flow | None, cube: Cube, table: int, *, is_inner: bool = False) -> bool:
        """Return whether anything may come of packets that meet a flow."""
        if flow is None:
            return not is_inner and self._reach.is_asked(bridge, table)
        cube = dict(cube)
        for action in flow.actions:
            match action:
                case SetField(field=index) | Move(target=index):
                    change(cube, action)
                    self._forget({index})
                case PopVlan() | PushVlan():
                    change(cube, action)
                    self._forget({_VLAN})
                case Output(port) if cube.get(_IN_PORT) == (port, ONES[_IN_PORT]):
                    pass  # Nothing goes back to where it came from.
                case Resubmit(other):
                    if self._table(bridge, other, cube, is_inner=True):
                        return True
                    written = self._reach.written(bridge, other)
                    cube = {index: held for index, held in cube.items() if index not in written}
                    self._forget(written)
                case Conntrack(commit=False, nat=None, table=int() as other):
                    self._forget(TRACKING)
                    if any(self._table(bridge, other, each) for each in answers(cube)):
                        return True
                    cube.update(UNTRACKED)
                case _:
                    return True
        if flow.goto is None:
            return not is_inner and self._reach.is_asked(bridge, table)
        return self._table(bridge, flow.goto, cube, is_inner=is_inner)

    def _forget(self, written: AbstractSet[int]) -> None:
        """Say no more what packets are not by fields that are written."""
        self._excluded = tuple(out for out in self._excluded if not written & out.keys())

    def _table(self, bridge: str, table: int, cube: Cube, *, is_inner: bool = False) -> bool:
        """Return whether anything may come of packets in a table; of an inner look-up its asker sees the end."""
        for flow, part in pieces(self._reach.flows(bridge, table), cube):
            self._left -= 1
            if self._left < 0 or any(map(conjunctions, (each for each, _ in self._reach.flows(bridge, table)))):
                return True
            if any(covers(out, part) for out in self._excluded):
                continue
            excluded = self._excluded
            if self.goes_on(bridge, flow, part, table, is_inner=is_inner):
                return True
            self._excluded = excluded
        return False
