"""`weft flows`: the compiled programs, each flow with the line of YAML that caused it, without any switch.

Nobody has seen the hosts, so port numbers are assumed; for people ports and tables are written by name, which holds on any host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.completion import complete_bridges, complete_hosts
from controller.cli.output import Exit, folder_argument, leave, load_or_exit, output_option, print_json

if TYPE_CHECKING:
    from controller.graph.fabric import Fabric
    from controller.model.entities import Topology
    from controller.pipeline.flow import Flow, Group, Meter, Origin, Program
    from controller.pipeline.tables import Table


_NUMBER = re.compile(r"0x[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class _Listing:
    """A program and the names that its numbers have."""

    program: Program
    tables: dict[int, Table]
    ports: dict[int, str]
    keys: dict[str, str]

    def table_name(self, number: int) -> str:
        table = self.tables.get(number)
        return table.name if table else str(number)

    @property
    def flows(self) -> list[Flow]:
        """The flows as a packet may meet them: by table, the strongest first."""
        return sorted(self.program.flows.values(), key=lambda flow: (flow.table, -flow.priority))


@click.command(short_help="Print the compiled flows, each with the line that caused it.")
@folder_argument
@click.option("--host", metavar="HOST", shell_complete=complete_hosts, help="Only this host's bridges.")
@click.option("--bridge", metavar="BRIDGE", shell_complete=complete_bridges, help="Only bridges of this name.")
@click.option("--raw", is_flag=True, help="Write one bridge's flows as `ovs-ofctl -O OpenFlow14 add-flows` reads them.")
@click.option(
    "--groups", is_flag=True, help="With --raw: the groups, as `ovs-ofctl -O OpenFlow14 add-groups` reads them."
)
@output_option
def command(folder: Path, host: str | None, bridge: str | None, raw: bool, groups: bool, output: str) -> None:
    """Compile the topology in DIR and print every bridge's program, table by table.

    No switch is asked. The controller learns the numbers of ports from the switch; --raw, which must write some, assumes
    them and says which.
    """
    if groups and not raw:
        raise click.UsageError("--groups goes with --raw")
    listings = _compile(load_or_exit(folder), host)
    chosen = [listing for listing in listings if bridge in (None, listing.program.bridge)]
    if not chosen:
        leave(Exit.BAD_INPUT, _unknown("bridge", str(bridge), [listing.program.bridge for listing in listings]))
    if output == "json":
        print_json([_as_json(listing) for listing in chosen])
    elif not raw:
        click.echo("\n\n".join("\n".join(_text(listing)) for listing in chosen))
    elif len(chosen) > 1:
        leave(Exit.BAD_INPUT, "--raw is for one bridge, because a switch takes one program: say --host and --bridge")
    else:
        click.echo("\n".join(_raw_groups(chosen[0]) if groups else _raw(chosen[0])))


def _compile(topology: Topology, host: str | None) -> list[_Listing]:
    from controller.graph.fabric import Fabric
    from controller.pipeline.compile import assumed_bindings, compile_fabric, pipeline

    fabric = Fabric(topology)
    names = [name for name in topology.hosts if fabric.is_programmed(name)]
    if host is not None and host not in names:
        if host in topology.hosts:
            leave(Exit.BAD_INPUT, f'Weft does not program "{host}": it is a foreign VTEP')
        leave(Exit.BAD_INPUT, _unknown("host", host, names))
    keys = _keys(fabric)
    found = []
    for program in compile_fabric(topology, hosts=names if host is None else [host]):
        owner = topology.hosts[program.host]
        kinds = {owner.integration_bridge: "br-int", owner.tunnel_bridge: "br-tun"}
        kind = kinds.get(program.bridge, "br-PHYSNET")
        tables = {table.number: table for table in pipeline().tables.values() if table.stage.bridge == kind}
        bindings = assumed_bindings(fabric, owner).ports.get(program.bridge, {})
        ports = {number: port for port, number in bindings.items()}
        found.append(_Listing(program, tables, ports, keys))
    return found


def _keys(fabric: Fabric) -> dict[str, str]:
    """Return what the numbers in registers stand for, as they are written: number -> name."""
    from controller.graph.queries import space_of
    from controller.model.ids import key
    from controller.pipeline.view import class_key, class_name

    topology = fabric.topology
    found = {f"{class_key(port.groups):#x}": f"class {class_name(port.groups)}" for port in topology.ports.values()}
    for kind, names in (
        ("network", topology.networks),
        ("space", {space_of(fabric.memo, network) for network in topology.networks}),
        ("port", topology.ports),
    ):
        found |= {f"{key(kind, name):#x}": f"{kind} {name}" for name in names}
    return found


def _unknown(what: str, word: str, names: list[str]) -> str:
    from controller.config.suggest import instead

    return f'unknown {what} "{word}"; {instead(word, names)}'


def _title(program: Program) -> str:
    counts = f"{len(program.flows)} flows, {len(program.groups)} groups"
    counts += f", {len(program.meters)} meters" if program.meters else ""
    return f"{program.bridge}@{program.host}, datapath id {program.dpid:016x}: {counts}"


def _text(listing: _Listing) -> Iterator[str]:
    from controller.pipeline.text import flow_text, group_text, meter_text

    port_name = listing.ports.get
    numbers: dict[str, None] = {}
    yield click.style(_title(listing.program), bold=True)
    for number, flows in groupby(listing.flows, key=lambda flow: flow.table):
        table = listing.tables.get(number)
        said = f": {table.purpose}. Else: {table.miss}." if table else ""
        yield ""
        yield click.style(f"# table {number} {listing.table_name(number)}{said}", fg="cyan")
        for flow in flows:
            text = flow_text(flow, table_name=listing.table_name, port_name=port_name)
            numbers.update(dict.fromkeys(_NUMBER.findall(text)))
            yield f"{text}  {click.style(f'# {flow.origin}', dim=True)}"
    if listing.program.groups:
        yield ""
        yield click.style("# groups", fg="cyan")
    for group in listing.program.groups.values():
        text = group_text(group, table_name=listing.table_name, port_name=port_name)
        yield f"{text}  {click.style(f'# {group.origin}', dim=True)}"
    if listing.program.meters:
        yield ""
        yield click.style("# meters", fg="cyan")
    for meter in listing.program.meters.values():
        yield f"{meter_text(meter)}  {click.style(f'# {meter.origin}', dim=True)}"
    named = [f"# {number:<10} {listing.keys[number]}" for number in numbers if number in listing.keys]
    if named:
        yield ""
        yield click.style("# what numbers stand for", fg="cyan")
        yield from named


def _raw(listing: _Listing) -> Iterator[str]:
    from controller.pipeline.text import meter_text, raw_text

    yield f"# {_title(listing.program)}"
    numbers = ", ".join(f"{number} {port}" for number, port in sorted(listing.ports.items()))
    yield f"# Nobody has asked the switch; port numbers are assumed: {numbers}"
    if listing.program.groups:
        yield "# Add the groups first: --raw --groups writes them."
    for meter in listing.program.meters.values():
        yield f"# Add the meter first: {meter_text(meter)}"
    for flow in listing.flows:
        yield f"# {flow.origin}"
        yield raw_text(flow)


def _raw_groups(listing: _Listing) -> Iterator[str]:
    from controller.pipeline.text import group_text

    yield f"# {_title(listing.program)}"
    for group in listing.program.groups.values():
        yield f"# {group.origin}"
        yield group_text(group)


def _as_json(listing: _Listing) -> dict[str, Any]:
    from controller.pipeline.text import flow_text, group_text, meter_text, raw_text

    program = listing.program

    def flow(made: Flow) -> dict[str, Any]:
        return {
            "table": made.table,
            "table_name": listing.table_name(made.table),
            "priority": made.priority,
            "text": flow_text(made, table_name=listing.table_name, port_name=listing.ports.get),
            "raw": raw_text(made),
            "feature": made.feature,
            "kind": made.kind,
            "origin": _origin(made.origin),
        }

    def group(made: Group) -> dict[str, Any]:
        return {"id": made.id, "raw": group_text(made), "feature": made.feature, "origin": _origin(made.origin)}

    def meter(made: Meter) -> dict[str, Any]:
        return {"id": made.id, "raw": meter_text(made), "feature": made.feature, "origin": _origin(made.origin)}

    return {
        "host": program.host,
        "bridge": program.bridge,
        "dpid": f"{program.dpid:016x}",
        "flows": [flow(made) for made in listing.flows],
        "groups": [group(made) for made in program.groups.values()],
        "meters": [meter(made) for made in program.meters.values()],
    }


def _origin(origin: Origin) -> dict[str, Any]:
    place = origin.place
    if place is None:
        return {"what": origin.what, "file": None, "line": None, "column": None}
    return {"what": origin.what, "file": place.file, "line": place.line, "column": place.column}
