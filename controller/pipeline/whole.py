"""Fields that a switch is made to look at whole, so that hostile packets cost its datapath one mask and not one for each length.

For a packet that no megaflow matches, Open vSwitch keeps as few bits as told the packet apart from what flows ask for. Of addresses
and ports those are a prefix, as long as it takes ("tries" in lib/classifier.c): what differs from a flow in one bit makes a mask for
each bit, and the masks of several fields multiply. What an action reads is looked at whole.
"""

from __future__ import annotations

from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Action, Move
from controller.pipeline.registers import SCRATCH


def look_at_whole(*fields: str) -> list[Action]:
    """Return the actions that make a switch look at these fields whole and leave nothing behind."""
    found: list[Action] = []
    for name in fields:
        field, target = BY_NAME[name], BY_NAME[SCRATCH.field]
        words = range(0, field.bits, target.bits)
        found += [Move(field.index, target.index, min(target.bits, field.bits - first), first) for first in words]
    # Nothing is left in the register: it would go along through the tracker, and each value of it would make megaflows of its own.
    return [*found, SCRATCH.load(0)]
