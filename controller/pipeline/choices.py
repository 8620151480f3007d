"""When groups change while a change of several switches goes out (`controller.pipeline.rollout`).

Copies that are added are there before anybody sends, copies that end are there until after. Of hosts to choose from, which gateways are,
another comes first: where packets are sent to them, all senders turn at once. Where packets are left to those that come before this
host, it is ready to have them before anybody turns to it, and gives them up when everybody has turned away.
"""

from __future__ import annotations

from controller.pipeline.flow import Group
from controller.pipeline.tightening import Phase


def group_phase(group: Group, former: Group) -> Phase:
    """Return the phase in which a group replaces another."""
    if not group.watch:
        return Phase.BREAK if set(group.buckets) < set(former.buckets) else Phase.RECEIVE
    if all(former.buckets) and all(group.buckets):
        return Phase.SEND
    return Phase.BREAK if len(group.buckets) > len(former.buckets) else Phase.RECEIVE
