"""`weft status`: what the running controller knows of its topology, switches and ports."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from controller.cli.ask import ask, control_option, name_option
from controller.cli.output import Exit, output_option, print_json, print_table

_WATCH_SECONDS = 1.0
_CHANGES_SHOWN = 3
_DRY_SHOWN = 8
_NAMES_SHOWN = 8  # Unbound ports that are named; the others are counted.


@click.command(short_help="Say what the running controller knows of its switches.")
@control_option
@name_option
@click.option("-w", "--watch", is_flag=True, help="Repeat each second until Ctrl-C.")
@output_option
def command(control: Path | None, name: str | None, watch: bool, output: str) -> None:
    """Show each switch: connection, flows desired and installed, the last error with its YAML line.

    Leaves with 0 if every switch is in sync, with 2 if the files as they are now are refused, with 3 if a switch is not in
    sync or no controller answers.
    """
    if not watch:
        raise SystemExit(_show(ask(control, name, "status", counters=True), output))
    try:
        while True:
            answer = ask(control, name, "status", counters=True)
            if output == "text":
                click.clear()
            _show(answer, output)
            time.sleep(_WATCH_SECONDS)
    except KeyboardInterrupt:
        raise SystemExit(Exit.FINE) from None


def _show(answer: Mapping[str, Any], output: str) -> Exit:
    if output == "json":
        print_json(answer)
    else:
        for line in _summary(answer):
            click.echo(line)
        if answer["switches"]:
            click.echo()
            print_table(_HEADERS, (_row(switch) for switch in answer["switches"]))
        for switch in answer["switches"]:
            if switch["last_error"]:
                click.echo(f"\n{switch['bridge']}@{switch['host']}: {switch['last_error']}")
        for problem in answer["refused"]:
            click.echo(f"\n{problem}")
        for line in _changes(answer["changes"]["recent"]):
            click.echo(line)
    if answer["refused"]:
        return Exit.BAD_INPUT
    return Exit.FINE if answer["in_sync"] else Exit.TROUBLE


def _summary(answer: Mapping[str, Any]) -> list[str]:
    ports = answer["ports"]
    state = "in sync" if answer["in_sync"] else "NOT in sync"
    if answer["refused"]:
        state = "the files as they are now are refused, the last good topology stays in force"
    bound = "1 port" if ports["bound"] == 1 else f"{ports['bound']} ports"
    lines = [f"{answer['topology']} ({answer['folder']}): {state}, {bound} bound"]
    for label in ("unbound", "refused"):
        names = ports.get(label) or []
        if names:
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            lines.append(f"{label} ports: {', '.join(map(str, names[:_NAMES_SHOWN]))}{more}")
    lines += _ways_out(answer)
    lines += _counters(answer.get("counters"))
    lines += _questions(answer.get("questions"))
    lines += [f"the database of {host} is not read: {why}" for host, why in answer.get("databases", {}).items()]
    return lines


def _ways_out(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield by whom routers lead out, what leads nowhere first."""
    drained = answer.get("drained") or []
    if drained:
        yield f"drained: {', '.join(drained)}"
    routers = sorted(answer.get("routers") or [], key=lambda each: not each["lost"])
    for each in routers[:_NAMES_SHOWN]:
        others = [_gateway(way, drained) for way in each["gateways"] if way["host"] != each["gateway"]]
        rest = f" ({', '.join(others)})" if others else ""
        if each["lost"]:
            why = (
                f"NO GATEWAY IS ALIVE{rest}" if others else "no host that is wired to its external network is a gateway"
            )
        else:
            why = f"leads out by {each['gateway'] or 'nobody that is connected'}{rest}"
        yield f"router {each['router']}: {why}"
    if len(routers) > _NAMES_SHOWN:
        yield f"and {len(routers) - _NAMES_SHOWN} more routers lead out"
    floating = answer.get("floating_ips") or []
    nowhere = [str(each["address"]) for each in floating if each["host"] is None]
    if nowhere:
        more = f" and {len(nowhere) - _NAMES_SHOWN} more" if len(nowhere) > _NAMES_SHOWN else ""
        yield f"floating IPs that no host has: {', '.join(nowhere[:_NAMES_SHOWN])}{more}"


def _gateway(way: Mapping[str, Any], drained: Collection[str]) -> str:
    is_ready = "is drained" if way["host"] in drained else "stands by"
    return f"{way['host']} {'is dead' if way['alive'] is False else is_ready}"


def _counters(counted: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what was dropped in all, and what was not because a rule or group is not enforced."""
    if counted is None:
        return
    unread = f" (not read: {', '.join(counted['unread'])})" if counted["unread"] else ""
    of = f" of {counted['ports']} ports and others" if counted["ports"] else ""
    yield f"dropped: {counted['dropped']} packets{of}{unread}; `weft top` says why"
    if counted["is_dry"] and not counted["would_drop"]:
        yield "not enforced, and would have dropped nothing so far"
    for entry in sorted(counted["would_drop"], key=lambda entry: -entry["packets"])[:_DRY_SHOWN]:
        place = f" ({entry['place']})" if entry["place"] else ""
        told = f"{entry['group'] or '-'} {entry['direction']} {entry['rule'].removeprefix(entry['direction'] + ' ')}"
        yield f"would have dropped: {entry['packets']} packets, {told}{place}"


def _questions(told: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what ports have asked in vain, if they have."""
    lost = told["lost"] if told else 0
    if lost:
        yield f"questions of ports (DHCP and the like) that were lost, because too many came at once: {lost}"


def _changes(recent: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what became of the last change sets, the newest first."""
    if recent:
        yield "\nlast changes"
    for change in list(recent)[: -_CHANGES_SHOWN - 1 : -1]:
        size = f"{change['flows']} flows and groups on {change['switches']} bridges"
        progress = f", phase {change['phase']} of {change['phases']}" if change["state"] == "under way" else ""
        yield f"  {change['number']} ({change['cause']}): {size}, {change['state']}{progress}, {change['seconds'] * 1000:.0f} ms"
        yield from (f"      {trouble}" for trouble in change["troubles"])


_HEADERS = ("HOST", "BRIDGE", "DPID", "STATE", "PEER", "DESIRED", "INSTALLED", "ADDED", "CHANGED", "DELETED", "SYNC")


def _row(switch: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = switch["sync_seconds"]
    return (
        *(_text(switch[name]) for name in ("host", "bridge", "dpid")),
        *(
            _text(switch[name])
            for name in ("state", "peer", "flows_desired", "flows_installed", "added", "modified", "deleted")
        ),
        "-" if seconds is None else f"{seconds * 1000:.0f} ms",
    )


def _text(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
