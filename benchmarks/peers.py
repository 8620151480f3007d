"""What others take for the same workloads, measured on machines of the same make; see docs/benchmarks.md.

OVN speaks Geneve here; its times are medians of changes that every host has confirmed. Neutron's Open vSwitch agent was measured with one
host's share of the ports, and where it took now less and now more, both are given.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cold import COLD, RESTART
from benchmarks.members import JOINED, LARGE

Span = tuple[float, float]

OVN_OLD, OVN, NEUTRON = "OVN 23.03", "OVN 26.03.2", "Neutron 29"
PEERS = (OVN, OVN_OLD, NEUTRON)


@dataclass(frozen=True, slots=True)
class Work:
    """A work that all were measured with: the name of Weft's figure, what it is in words, and the peers' seconds (or counts)."""

    workload: str
    name: str
    words: str
    peers: dict[str, Span]
    is_count: bool = False


def _work(workload: str, name: str, words: str, old: float, new: float, neutron: Span | None = None) -> Work:
    peers = {OVN: (new, new), OVN_OLD: (old, old)}
    return Work(workload, name, words, peers | ({NEUTRON: neutron} if neutron else {}))


_COLD = "configuration written until every host in sync"
_ADDED, _REMOVED, _RULE = "one port added", "one port removed", "one rule changed"
_PLUGGED = "interface of a known port plugged, until up"
_RESTARTED = "controller killed and started until in sync"
_FLOWS = "OpenFlow flows a host"

WORKS: tuple[Work, ...] = (
    _work("200", COLD, _COLD, 0.56, 0.65, (1.8, 1.9)),
    _work("200", "port added", _ADDED, 0.047, 0.040, (0.1, 2.1)),
    _work("200", "port removed", _REMOVED, 0.070, 0.030),
    _work("200", "interface plugged", _PLUGGED, 0.104, 0.038),
    _work("200", "rule changed", _RULE, 0.024, 0.014, (0.4, 0.6)),
    _work("200", RESTART, _RESTARTED, 0.2, 0.4, (0.5, 5.6)),
    Work("200", "flows a host, at most", _FLOWS, {OVN: (12e3, 12e3), OVN_OLD: (1e4, 1e4), NEUTRON: (7395, 7395)}, True),
    _work("1000", COLD, _COLD, 7.7, 6.8, (20, 28)),
    _work("1000", "port added", _ADDED, 0.341, 0.122, (0.3, 2.1)),
    _work("1000", "port removed", _REMOVED, 0.615, 0.088),
    _work("1000", "interface plugged", _PLUGGED, 1.095, 0.105),
    _work("1000", "rule changed", _RULE, 0.144, 0.029, (1.0, 1.3)),
    _work("1000", RESTART, _RESTARTED, 1.6, 4.1, (65, 65)),
    Work(
        "1000",
        "flows a host, at most",
        _FLOWS,
        {OVN: (87e3, 87e3), OVN_OLD: (78e3, 78e3), NEUTRON: (76403, 76403)},
        True,
    ),
    Work(LARGE, "port added", _ADDED, {OVN: (0.221, 0.221), NEUTRON: (0.3, 66)}),
    Work(LARGE, JOINED, "one member more in a remote group", {OVN: (0.221, 0.221), NEUTRON: (59, 70)}),
    Work(LARGE, "port removed", _REMOVED, {OVN: (0.165, 0.165)}),
    Work(LARGE, "rule changed", _RULE, {OVN: (0.046, 0.046), NEUTRON: (52, 67)}),
    Work(LARGE, "flows a host, at most", _FLOWS, {OVN: (26.6e3, 26.6e3), NEUTRON: (72e3, 79e3)}, True),
)
