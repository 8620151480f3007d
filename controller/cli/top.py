"""`weft top`: the rules that let most in and the ports of which most is dropped, again and again until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from controller.cli.ask import ask, control_option, name_option
from controller.cli.completion import complete_hosts
from controller.cli.explain import last_drop
from controller.cli.output import Exit, leave, output_option, print_json, print_table

_PERIOD_S = 2.0
_APART_S = 1.0  # Between the two readings that a rate takes.
_SHOWN = 20

Reading = Mapping[str, Any]


@click.command(short_help="Show which rules let most in, and whose packets are dropped and why.")
@control_option
@name_option
@click.option("--host", metavar="HOST", shell_complete=complete_hosts, help="Only what this host counted.")
@click.option("--tenant", metavar="TENANT", help="Only this tenant's rules and ports.")
@click.option("-n", "count", type=click.IntRange(min=1), default=_SHOWN, show_default=True, help="Lines of each table.")
@click.option(
    "--by",
    type=click.Choice(["drops", "hits", "rate"]),
    default="rate",
    show_default=True,
    help="drops: those first, by their total; hits: rules by their total; rate: both by packets a second.",
)
@click.option(
    "--once", is_flag=True, help="Print one reading and leave; with --by rate two, a second apart, are compared."
)
@output_option
def command(
    control: Path | None,
    name: str | None,
    host: str | None,
    tenant: str | None,
    count: int,
    by: str,
    once: bool,
    output: str,
) -> None:
    """Show rules with the packets that they let in and drops with their ports and reasons, summed over hosts.

    Hits are packets that met a rule: those that open a connection. Leaves with 3 if a switch could not be read.
    """

    def read() -> Reading:
        answer = ask(control, name, "counters", host=host, tenant=tenant)
        if "unknown" in answer:
            _refuse(answer)
        return answer

    earlier = None
    if once:
        if by == "rate":
            earlier = read()
            time.sleep(_APART_S)
        raise SystemExit(_show(read(), earlier, by, count, output))
    try:
        while True:
            answer = read()
            if output == "text":
                click.clear()
            _show(answer, earlier, by, count, output)
            earlier = answer
            time.sleep(_PERIOD_S)
    except KeyboardInterrupt:
        raise SystemExit(Exit.FINE) from None


def _refuse(answer: Mapping[str, Any]) -> None:
    from controller.config.suggest import instead

    leave(Exit.BAD_INPUT, f'no {answer["unknown"]} "{answer["word"]}"; {instead(answer["word"], answer["known"])}')


def _show(answer: Reading, earlier: Reading | None, by: str, count: int, output: str) -> Exit:
    rules = _sorted(_with_rates(answer, earlier, "rules", _RULE), by)[:count]
    drops = _sorted(_with_rates(answer, earlier, "drops", _DROP), by)[:count]
    unread = [switch for switch in answer["switches"] if switch["error"]]
    if output == "json":
        print_json({"switches": answer["switches"], "rules": rules, "drops": drops})
    else:
        tables = [(_RULE_HEADERS, map(_rule_row, rules)), (_DROP_HEADERS, map(_drop_row, drops))]
        for headers, rows in reversed(tables) if by == "drops" else tables:
            print_table(headers, rows)
            click.echo()
        for switch in unread:
            click.echo(f"{switch['bridge']}@{switch['host']} could not be read: {switch['error']}")
    return Exit.TROUBLE if unread else Exit.FINE


# What makes an entry of one reading that of the next.
_RULE = ("group", "direction", "rule", "would_drop")
_DROP = ("host", "bridge", "port", "reason", "text")


def _with_rates(answer: Reading, earlier: Reading | None, what: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the entries of a kind with their packets a second since an earlier reading, None without one."""
    if earlier is None:
        return [{**entry, "rate": None} for entry in answer[what]]
    seconds = max(answer["at"] - earlier["at"], 0.001)
    before = {tuple(entry[name] for name in names): int(entry["packets"]) for entry in earlier[what]}

    def rate(entry: Mapping[str, Any]) -> float:
        now = int(entry["packets"])
        was = before.get(tuple(entry[name] for name in names), 0)
        # What counts less than before counts anew.
        return float(round((now - was if now >= was else now) / seconds, 1))

    return [{**entry, "rate": rate(entry)} for entry in answer[what]]


def _sorted(entries: Iterable[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    def weight(entry: Mapping[str, Any]) -> tuple[float, int]:
        return (entry["rate"] or 0.0 if by == "rate" else 0.0), entry["packets"]

    return sorted(entries, key=weight, reverse=True)


_RULE_HEADERS = ("PACKETS/S", "HITS", "HOSTS", "GROUP", "RULE", "PLACE")
_DROP_HEADERS = ("PACKETS/S", "DROPS", "HOST", "PORT", "REASON", "THE LAST")


def _rule_row(rule: Mapping[str, Any]) -> Sequence[str]:
    remark = " (would drop)" if rule["would_drop"] else ""
    words = rule["rule"] if rule["group"] else f"{rule['direction']}, {rule['rule']}"
    counts = str(rule["packets"]), str(rule["hosts"])
    return _rate(rule), *counts, rule["group"] or "-", f"{words}{remark}", rule["place"] or "-"


def _drop_row(drop: Mapping[str, Any]) -> Sequence[str]:
    where = (drop["host"], drop["port"]) if drop["port"] else (f"{drop['host']} {drop['bridge']}", "-")
    reason = drop["reason"] if drop["port"] else f"{drop['reason']}: {drop['text']}"
    passed = "" if drop["dropped"] else " (passed)"
    return _rate(drop), str(drop["packets"]), *where, f"{reason}{passed}", last_drop(drop["last"])


def _rate(entry: Mapping[str, Any]) -> str:
    return "-" if entry["rate"] is None else f"{entry['rate']:g}"
