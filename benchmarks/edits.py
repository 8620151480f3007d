"""One thing changed at a time, often: from the saved file, or the plugged interface, until the switches have confirmed.

The tenants that are edited take turns. Each clock starts before a file is written (as an editor does, beside the old one, and renamed);
nobody tells the controller, which has to notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.figure import Figure, median_and_p99
from benchmarks.measure import Timing
from benchmarks.site import Site
from benchmarks.variants import Place, Texts, texts
from benchmarks.workload import Document


@dataclass(frozen=True, slots=True)
class Edits:
    """What changes took. `interface_*` begin before `ovs-vsctl` is started, which takes `plugging` of its own."""

    port_added: Timing
    port_moved: Timing
    port_removed: Timing
    rule_changed: Timing
    interface_plugged: Timing
    interface_moved: Timing
    plugging: Timing

    def figures(self, workload: str, limit: Timing) -> Iterator[Figure]:
        """Yield the figures; `limit` is what a bundle with one flow for each switch needs."""
        yield from median_and_p99(workload, "port added", self.port_added, limit)
        yield from median_and_p99(workload, "port removed", self.port_removed, limit)
        yield from median_and_p99(workload, "port moved", self.port_moved, limit)
        yield from median_and_p99(workload, "rule changed", self.rule_changed, limit)
        yield from median_and_p99(workload, "interface plugged", self.interface_plugged, self.plugging)
        yield from median_and_p99(workload, "interface moved to another host", self.interface_moved, self.plugging)


def measure_edits(site: Site, document: Document, places: Sequence[Place], count: int) -> Edits:
    """Make every edit `count` times; the controller runs and is in sync. The files are as before afterwards."""
    states = [(place, texts(document, place)) for place in places]
    added, moved, removed, rules = [], [], [], []
    for number in range(count):
        place, state = states[number % len(states)]
        added.append(save(site, place, state.spare_at_home))
        moved.append(save(site, place, state.spare_away))
        removed.append(save(site, place, state.base))
        rules.append(save(site, place, state.rule_changed))
        rules.append(save(site, place, state.base))
    site.check_counts()
    interfaces = _measure_interfaces(site, *states[0], count)
    save(site, states[0][0], states[0][1].base)
    site.check_counts()
    return Edits(*map(Timing.of, (added, moved, removed, rules, *interfaces)))


def save(site: Site, place: Place, text: str) -> float:
    """Save a tenant's file; return the seconds until every switch that it concerns has confirmed."""
    return site.controller.confirm(lambda: site.save(place.tenant, text))


def _measure_interfaces(site: Site, place: Place, state: Texts, count: int) -> tuple[list[float], ...]:
    """Plug in a port that the files name, and move the interface of one that they put on no host."""
    plugged, moved, plugging = [], [], []

    def plug(how: Callable[[], None]) -> None:
        start = time.perf_counter()
        how()
        plugging.append(time.perf_counter() - start)

    save(site, place, state.spare_at_home)
    for _ in range(count):
        site.unplug(place.home, place.spare)
        site.controller.wait_unbound([place.spare])
        plugged.append(site.controller.confirm(lambda: plug(lambda: site.replug(place.spare))))
    here, there = place.home, place.away
    site.plug(here, place.wanderer)
    save(site, place, state.wanderer)
    for _ in range(count):
        moved.append(site.controller.confirm(lambda: plug(lambda: site.plug(there, place.wanderer))))  # noqa: B023
        # The newer claim wins; the older one goes afterwards, as when a virtual machine has migrated.
        site.unplug(here, place.wanderer)
        here, there = there, here
        site.controller.wait_unclaimed()
    site.unplug(here, place.wanderer)
    return plugged, moved, plugging
