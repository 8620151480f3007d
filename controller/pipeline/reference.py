"""The pipeline's reference page, made from the declarations of tables, registers and features."""

from __future__ import annotations

from collections.abc import Iterator

from controller.pipeline.compile import pipeline
from controller.pipeline.registers import REGISTERS
from controller.pipeline.tables import Bridge, Pipeline, Stage, Table

_OPENING = """\
# The pipeline

This page is made from the declarations in `controller/pipeline/features/` by `make docs`; do not edit it by hand.

A packet passes the stages of a bridge from top to bottom and never goes back. Flows match only what their table
declares; a flow outside that contract does not compile. What no flow wants is counted and dropped by the last flow of the table, and
`fail_mode=secure` drops it in a bridge that has no flows at all.
"""

_BRIDGES = {
    Bridge.INTEGRATION: "joins the ports of a host. Its tables know networks, ports and classes by registers.",
    Bridge.TUNNEL: "joins hosts. A network travels here as its local VLAN tag.",
    Bridge.PHYSICAL: "joins a host to a physical network; there is one for each.",
}


def pipeline_reference() -> str:
    """Return the page as Markdown."""
    plan = pipeline()
    parts = [_OPENING, "".join(_registers())]
    parts += ["".join(_bridge(plan, bridge)) for bridge in Bridge]
    parts.append("".join(_features(plan)))
    return "\n".join(parts)


def _registers() -> Iterator[str]:
    yield "## Registers\n\nRegisters are br-int's alone: they do not survive a patch port.\n\n"
    yield "| register | bits | meaning |\n|---|---|---|\n"
    for register in REGISTERS:
        last = register.offset + register.bits - 1
        yield f"| `{register.name}` | `{register.field}[{register.offset}..{last}]` | {register.meaning} |\n"


def _bridge(plan: Pipeline, bridge: Bridge) -> Iterator[str]:
    yield f"## {bridge}\n\n`{bridge}` {_BRIDGES[bridge]}\n"
    for stage in (stage for stage in Stage if stage.bridge is bridge):
        tables = [table for table in plan.tables_of(bridge) if table.stage is stage]
        if not tables:
            continue
        yield f"\n### {stage.name.lower().replace('_', ' ')}\n\n{stage.meaning[0].upper()}{stage.meaning[1:]}.\n\n"
        yield "| table | name | decides | next | nobody wants it |\n|--:|---|---|---|---|\n"
        for table in tables:
            onward = ", ".join(_next(plan, table)) or "out"
            yield f"| {table.number} | `{table.name}` | {table.purpose} | {onward} | {table.miss} |\n"


def _next(plan: Pipeline, table: Table) -> Iterator[str]:
    bridge = table.stage.bridge
    for target in table.next:
        yield f"`{plan.table_name(bridge, plan.resolve(target, bridge))}`"


def _features(plan: Pipeline) -> Iterator[str]:
    yield "## Features and their flows\n"
    for feature in plan.features:
        yield f"\n### {feature.name}\n\n{feature.summary}\n\n| flow | why |\n|---|---|\n"
        for kind, why in feature.kinds.items():
            yield f"| {kind} | {why} |\n"
