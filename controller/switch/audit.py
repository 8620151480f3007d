"""What an audit found, in words."""

from __future__ import annotations

from collections.abc import Sequence

from controller.switch.changes import Changes, Subject
from controller.switch.status import Findings
from controller.switch.words import Words

_TOLD = 200  # Of each sort; a switch that lost everything needs no list of it.


def findings(changes: Changes, words: Words) -> tuple[Findings, Findings, Findings]:
    """Return what is wrong with the flows, the groups and the meters of a switch that these changes would put right."""

    def told(missing: Sequence[Subject], altered: Sequence[Subject], foreign: Sequence[Subject]) -> Findings:
        first, second, third = (tuple(map(words.tell, each[:_TOLD])) for each in (missing, altered, foreign))
        return Findings(first, second, third, len(missing) + len(altered) + len(foreign))

    return (
        told(changes.new, changes.altered, changes.deletes),
        told(changes.new_groups, changes.altered_groups, changes.group_deletes),
        told(changes.new_meters, changes.altered_meters, changes.meter_deletes),
    )
