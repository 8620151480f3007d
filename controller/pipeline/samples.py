"""Which connections and drops are logged, and the action that tells the controller of them.

A rule with `log` is a flow of its own, above all rules without: what several rules let in is logged if one of them is. Its flow sends the
controller the start of the packet. That the packet is sampled changes nothing for it, and the packets of established connections never come
to a flow that samples. All samples of a host pass one meter, which drops samples and no packets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controller.graph import queries
from controller.memo import Memo, query
from controller.model.entities import Rule, SecurityGroup
from controller.pipeline.flow import Origin, ToController
from controller.pipeline.program import Builder
from controller.pipeline.view import Groups, HostView, classes_on

# Above all ids of meters that are numbers of ports.
METER: Final = 0x10000

# A host that is flooded, or scanned, costs the controller and its log no more than this.
RATE, BURST = 100, 100

# Ethernet with a tag, IPv6 with some extension headers, and the ports: what a log line is made of.
# A switch that keeps no packets for later, as Open vSwitch 3.1, sends the whole one all the same.
LENGTH = 160

_SAMPLE = ToController(b"", LENGTH, METER)
_ORIGIN = Origin("Weft: samples for the log of connections", None)


def is_logged(group: SecurityGroup, rule: Rule) -> bool:
    """Return whether what opens a connection by a group's rule is logged."""
    return rule.log or group.log


def sample(*, wanted: bool) -> list[ToController]:
    """Return the action that sends the controller a sample, if it is wanted."""
    return [_SAMPLE] if wanted else []


@query
def logs_drops(memo: Memo, names: Groups) -> bool:
    """Return whether what default deny drops at ports with these groups is logged."""
    return any(group.log for group in _groups(memo, names))


@query
def _logs(memo: Memo, names: Groups) -> bool:
    """Return whether anything is logged at ports with these groups."""
    return any(
        is_logged(group, rule) for group in _groups(memo, names) for rule in (*group.ingress, *group.egress)
    ) or logs_drops(memo, names)


@query
def _samples_on(memo: Memo, host: str) -> bool:
    """Return whether anything is logged on a host: one rule more that is changes no answer."""
    return any(_logs(memo, names) for names in classes_on(memo, host))


def write_meter(builder: Builder, view: HostView) -> None:
    """Write the meter that a host's samples pass, if there can be any."""
    if _samples_on(builder.memo, view.name):
        builder.meter(METER, RATE, BURST, origin=_ORIGIN)


def _groups(memo: Memo, names: Groups) -> Iterable[SecurityGroup]:
    found = (queries.group(memo, name) for name in names)
    return [each for each in found if each is not None]
