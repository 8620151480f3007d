"""The figures as people read them, and as JSON for whoever compares runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Machine, Timing
from benchmarks.offline import Offline
from benchmarks.online import Online
from benchmarks.workload import Size


@dataclass(frozen=True, slots=True)
class Result:
    """All figures of one workload; `online` is None where no switches were asked for."""

    name: str
    size: Size
    offline: Offline
    online: Online | None


Row = tuple[str, Callable[[Offline], str]]
OnlineRow = tuple[str, Callable[[Online], str]]

_OFFLINE: tuple[Row, ...] = (
    ("read the files", lambda it: _time(it.load)),
    ("compile", lambda it: _time(it.compile)),
    ("pack", lambda it: _time(it.pack)),
    ("flows a host, at most (br-int and br-tun)", lambda it: f"{it.flows_per_host:,}"),
    ("groups a host, at most", lambda it: f"{it.groups_per_host:,}"),
    ("bytes to all switches", lambda it: f"{it.bundle_bytes / 1e6:.1f} MB"),
)

_ONLINE: tuple[OnlineRow, ...] = (
    ("prepared bytes into all switches at once", lambda it: _time(it.raw.all_hosts)),
    ("  flows a second into one switch", lambda it: f"{it.raw.flows_per_s:,.0f}"),
    ("files saved until every switch in sync", lambda it: _time(it.cold.files)),
    ("  times the prepared bytes", lambda it: f"{it.cold_to_raw:.1f}"),
    (
        "  CPU: controller + all ovs-vswitchd",
        lambda it: f"{it.cold.files_controller_cpu_s:.2f} + {it.cold.files_switches_cpu_s:.2f} s",
    ),
    ("controller started until every switch in sync", lambda it: _time(it.cold.process)),
    ("  until it answers", lambda it: _time(it.cold.process_answers)),
    ("  CPU: controller", lambda it: f"{it.cold.process_cpu_s:.2f} s"),
    ("peak memory: controller", lambda it: f"{it.cold.controller_peak_mib:.0f} MiB"),
    ("peak memory: one ovs-vswitchd, at most", lambda it: f"{it.cold.switch_peak_mib:.0f} MiB"),
    ("one port added", lambda it: _time(it.edits.port_added)),
    ("  if the controller has to notice by itself", lambda it: _time(it.edits.port_added_noticed)),
    ("one port deleted", lambda it: _time(it.edits.port_deleted)),
    ("interface of a known port plugged", lambda it: _time(it.edits.port_plugged)),
    ("one rule changed", lambda it: _time(it.edits.rule_changed)),
    ("  of each, the price of asking", lambda it: _time(it.edits.asking)),
    ("controller killed and restarted until in sync", lambda it: _time(it.restart.in_sync)),
    ("  flows written to the switches", lambda it: f"{it.restart.flow_mods}"),
    ("  pings lost of those sent, 100 a second", lambda it: f"{it.restart.pings_lost} of {it.restart.pings_sent}"),
)


def print_results(results: list[Result], machine: Machine) -> None:
    """Print one table, a column per workload, and where the figures come from."""
    table = Table(title="best run (median)", title_justify="left", show_edge=False)
    table.add_column("")
    for result in results:
        table.add_column(f"{result.name}", justify="right")
    table.add_row("ports / hosts", *(f"{result.size.ports:,} / {result.size.hosts}" for result in results))
    for label, offline in _OFFLINE:
        table.add_row(label, *(offline(result.offline) for result in results))
    if any(result.online for result in results):
        for label, online in _ONLINE:
            table.add_row(label, *(online(result.online) if result.online else "-" for result in results))
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    facts = f"{machine.processor}, {machine.cores} cores, {machine.system}, Linux {machine.kernel}"
    versions = f"Open vSwitch {machine.open_vswitch}, Python {machine.python}, os-ken {machine.os_ken}"
    console.print(f"{facts}; {versions}; load average at the start {machine.load}", highlight=False, soft_wrap=True)


def write_json(results: list[Result], machine: Machine, command: str, path: Path) -> None:
    """Write all figures, every single run among them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "command": command,
        "machine": dataclasses.asdict(machine),
        "workloads": {result.name: _as_json(result) for result in results},
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _as_json(result: Result) -> Mapping[str, Any]:
    document = dataclasses.asdict(result)
    document["flows_per_host"] = result.offline.flows_per_host
    document["groups_per_host"] = result.offline.groups_per_host
    if result.online:
        document["cold_to_raw"] = round(result.online.cold_to_raw, 2)
        document["raw_flows_per_s"] = round(result.online.raw.flows_per_s)
    return document


def _time(timing: Timing) -> str:
    return f"{_seconds(timing.best_s)} ({_seconds(timing.median_s)})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
