"""`weft explain`: where a port is, which of its rules let in how much, and what was dropped, why and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from controller.cli.ask import ask, control_option, name_option
from controller.cli.completion import complete_ports
from controller.cli.output import Exit, leave, output_option, print_json, print_table

_MARGIN_S = 5.0


@click.command(short_help="Say where a port is, what its rules let in and what was dropped.")
@click.argument("port", metavar="PORT", shell_complete=complete_ports)
@control_option
@name_option
@click.option("--timeout", type=click.FloatRange(min=0), default=5, show_default=True, help="Seconds to wait.")
@output_option
def command(port: str, control: Path | None, name: str | None, timeout: float, output: str) -> None:
    """Explain PORT (TENANT/PORT) by the counters of its own host: its rules in the order of the files, and its drops by reason.

    Leaves with 2 if there is no such port, with 3 if its switch or the controller does not answer.
    """
    answer = ask(control, name, "explain", timeout + _MARGIN_S, port=port, deadline=timeout)
    if "unknown" in answer:
        leave(Exit.BAD_INPUT, f'no port "{port}"; {answer["hint"]}')
    if output == "json":
        print_json(answer)
    else:
        _show(answer)
    raise SystemExit(Exit.TROUBLE if answer["unread"] else Exit.FINE)


def _show(answer: Mapping[str, Any]) -> None:
    for line in _what_it_is(answer):
        click.echo(line)
    for direction, told in answer["directions"].items():
        click.echo()
        click.secho(f"{direction}", bold=True)
        _show_rules(direction, told, is_dry=answer["is_dry"])
    if answer["number"] is not None and not answer["unread"]:
        for title, drops in (
            ("dropped, the newest reason first", answer["drops"]),
            (_of_the_host(answer), answer["host_drops"]),
        ):
            if drops:
                click.echo()
                click.secho(title, bold=True)
                print_table(("  PACKETS", "REASON", "THE LAST", "WHAT"), map(_drop_row, drops))
        if not answer["drops"]:
            click.echo("\nnothing from or to the port was dropped")
    for note in _notes(answer):
        click.echo(f"\n{note}")


def _what_it_is(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"port {answer['port']} ({answer['place']})"
    if answer["number"] is None:
        yield f"  where      {answer['unbound']}"
    else:
        state = "" if answer["state"] == "in sync" else f", which is NOT in sync but {answer['state']}"
        where = f"{answer['interface']} on {answer['bridge']} of {answer['host']}, OpenFlow port {answer['number']}"
        if answer["vlan"] is not None:
            where += f", VLAN tag {answer['vlan']}"
        yield f"  where      {where}{state}"
    segment = "" if answer["segment"] is None else f" {answer['segment']}"
    yield f"  network    {answer['network']} ({answer['type']}{segment})"
    also = [f"and {each}" for each in answer["allowed_addresses"]]
    yield f"  addresses  {' '.join([answer['mac'], *answer['addresses'], *also])}"
    for each in answer["floating_ips"]:
        where = f"on {each['host']}" if each["host"] else "on no host that is connected"
        yield f"  floating   {each['address']} for {each['fixed']}, {where}"
    groups = ", ".join(answer["groups"]) or "none: nothing in, everything out"
    yield f"  groups     {groups if answer['port_security'] else 'port security is off: nothing is judged'}"


def _show_rules(direction: str, told: Mapping[str, Any], *, is_dry: bool) -> None:
    rows = [_rule_row(rule) for rule in told["rules"]]
    last = told["else"]
    if last["refused"] or not is_dry:
        rows.append((f"  {last['refused']}", "-", "everything else is refused (default deny)", ""))
    if last["would_be_refused"] or is_dry:
        rows.append(
            (f"  {last['would_be_refused']}", "-", "everything else passes, and would be refused (not enforced)", "")
        )
    print_table(("  HITS", "GROUP", f"{direction.upper()} RULE", "PLACE"), rows)


def _rule_row(rule: Mapping[str, Any]) -> Sequence[str]:
    hits = "-" if rule["packets"] is None else str(rule["packets"])
    remark = "; not enforced: passes, and would drop" if rule["would_drop"] else ""
    remark += f"; {rule['note']}" if rule["note"] else ""
    text = rule["rule"].partition(" ")[2] or rule["rule"]
    return f"  {hits}", rule["group"] or "-", f"{text}{remark}", rule["place"] or "-"


def _drop_row(drop: Mapping[str, Any]) -> Sequence[str]:
    reason = drop["reason"] if drop["dropped"] else f"{drop['reason']} (passed)"
    return f"  {drop['packets']}", reason, last_drop(drop["last"]), drop["text"]


def last_drop(last: Mapping[str, float] | None) -> str:
    """Return when a counter last grew, as far as that is known.

    >>> last_drop({"at_most_s": 47.2, "at_least_s": 12.0})
    'within the last 48 s, 12 s ago or more'
    """
    if last is None:
        return "-"
    least = f", {_time(last['at_least_s'])} ago or more" if last["at_least_s"] >= 2 else ""
    return f"within the last {_time(last['at_most_s'] + 0.99)}{least}"


def _time(seconds: float) -> str:
    """Return a time in the greatest unit of which it has two."""
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name}"
    return f"{int(seconds)} s"


def _of_the_host(answer: Mapping[str, Any]) -> str:
    return f"dropped on {answer['host']}, of whichever port"


def _notes(answer: Mapping[str, Any]) -> Iterator[str]:
    if answer["unread"] and answer["number"] is not None:
        yield f"the counters of {answer['bridge']}@{answer['host']} could not be read: {answer['unread']}"
    if answer["directions"]:
        alike = len(answer["counted_for"])
        whose = f" to or from its {alike} ports with these groups" if alike > 1 else ""
        which = "every one" if answer["is_stateless"] else "those that open a connection, until it is answered"
        yield f"Hits are packets{whose} on {answer['host']} that a rule let in: {which}."
