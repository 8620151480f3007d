"""A host's bridges as Weft wants them, brought about through OVSDB.

`set_up_host` reads what is there, works out the difference and writes it in one transaction; where nothing differs it
writes nothing, so that running it on a working host costs no packet. What Weft makes carries `external_ids:weft`,
and only that is ever removed. A bridge that was there before (usually `br-PHYSNET` with the uplink in it) is adopted: it gets
our settings and our patch port, and keeps everything else.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.model import ids, liveness, names
from controller.model.entities import TUNNEL_TYPES, Host, HostKind, NetworkType, Topology
from controller.switch.access import MARK, Command, HostError, manager_commands, require_certificate, ssl_commands
from controller.switch.tls import Files

OPENFLOW = "OpenFlow14"
ADOPTED = "weft-adopted"  # On a bridge that somebody else made.

# How a bridge talks to its controller. A silent controller is noticed within 5 s and looked for every second. Packet-ins
# are the exception; the limits, off by default, share the queue fairly by port when a tenant provokes them.
CONTROLLER = {
    "connection_mode": "out-of-band",
    "inactivity_probe": 5000,
    "max_backoff": 1000,
    "controller_rate_limit": 1000,
    "controller_burst_limit": 1000,
}

_TIMEOUT = 15
_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")


_BFD = {
    "enable": "true",
    "min_tx": str(liveness.INTERVAL_MS),
    "min_rx": str(liveness.INTERVAL_MS),
    "mult": str(liveness.MULTIPLIER),
}


@dataclass(frozen=True, slots=True)
class BridgeRow:
    """A bridge as OVSDB has it, with its controllers' rows by target."""

    columns: Mapping[str, Any]
    ports: tuple[str, ...]
    controllers: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class PortRow:
    """A port as OVSDB has it: the bridge it is in, and its first interface's type, options and settings for BFD."""

    bridge: str
    external_ids: Mapping[str, str]
    type: str
    options: Mapping[str, str]
    bfd: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Database:
    """What we read of an Open vSwitch database."""

    bridges: Mapping[str, BridgeRow] = field(default_factory=dict)
    ports: Mapping[str, PortRow] = field(default_factory=dict)
    ssl: Mapping[str, Any] | None = None
    managers: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    host: Host
    bridges: Mapping[str, int]  # bridge -> datapath id
    ports: Mapping[str, PortRow]


def set_up_host(
    topology: Topology,
    host_name: str,
    *,
    controller: str,
    db: str | None = None,
    datapath: str | None = None,
    tls: Files | None = None,
    ovsdb: str | None = None,
    also: Sequence[Command] = (),
) -> tuple[Command, ...]:
    """Give a host the bridges, ports and settings that the topology asks of it; return what had to be changed.

    Args:
        topology: The topology that names the host.
        host_name: The host this Open vSwitch belongs to.
        controller: Where the controller listens, `tcp:ADDRESS:PORT` or `ssl:ADDRESS:PORT`.
        db: The database, as `ovs-vsctl --db` takes it; None for the system's.
        datapath: `system` or `netdev` instead of what the topology says.
        tls: The host's certificate, for Open vSwitch as a whole; None leaves that as it is.
        ovsdb: Where the database shall listen, `pssl:PORT` or `ptcp:PORT:ADDRESS`; None leaves that as it is.
        also: Further `ovs-vsctl` commands for the same transaction.

    Raises:
        HostError: Something that is not ours is in the way, or the database does not answer.
    """
    database = read_database(db)
    commands = host_commands(
        topology, host_name, controller=controller, datapath=datapath, tls=tls, ovsdb=ovsdb, database=database
    )
    commands += tuple(also)
    if commands:
        transact(commands, db)
    return commands


def host_commands(
    topology: Topology,
    host_name: str,
    *,
    controller: str,
    datapath: str | None = None,
    tls: Files | None = None,
    ovsdb: str | None = None,
    database: Database | None = None,
) -> tuple[Command, ...]:
    """Return the `ovs-vsctl` commands that turn `database` (None: one that nothing is known of) into what is wanted."""
    wanted = _wanted(topology, host_name)
    if database is not None:
        require_certificate(database.ssl, tls, (controller, ovsdb))
    database = database or Database()
    _refuse_conflicts(wanted, database)
    datapath = datapath or wanted.host.datapath
    commands = list(_removals(wanted, database))
    commands += ssl_commands(database.ssl, tls, host_name)
    commands += manager_commands(database.managers, ovsdb, host_name)
    for bridge, dpid in wanted.bridges.items():
        row = database.bridges.get(bridge)
        commands += _bridge_commands(bridge, row, dpid, host_name, datapath)
        commands += _controller_commands(bridge, row, controller)
    for name, port in wanted.ports.items():
        commands += _port_commands(name, port, database.ports.get(name))
    return tuple(commands)


def read_database(db: str | None = None) -> Database:
    """Return the bridges, ports and controllers of a running Open vSwitch."""
    wanted = {
        "Bridge": "name,ports,controller,datapath_type,fail_mode,protocols,other_config,external_ids",
        "Port": "_uuid,name,interfaces,external_ids",
        "Interface": "_uuid,type,options,bfd",
        "Controller": f"_uuid,target,{','.join(CONTROLLER)}",
        "SSL": "private_key,certificate,ca_cert,external_ids",
        "Manager": "_uuid,target,external_ids",
    }
    words: list[str] = ["--format=json"]
    for table, columns in wanted.items():
        words += ["--", f"--columns={columns}", "list", table]
    texts = _vsctl(words, db).splitlines()
    tables = {table: _rows(text) for table, text in zip(wanted, texts, strict=True)}
    ports = {row["_uuid"]: row for row in tables["Port"]}
    interfaces = {row["_uuid"]: row for row in tables["Interface"]}
    controllers = {row["_uuid"]: row for row in tables["Controller"]}
    bridges: dict[str, BridgeRow] = {}
    found: dict[str, PortRow] = {}
    for row in tables["Bridge"]:
        mine = [ports[uuid] for uuid in _many(row["ports"])]
        targets = {controllers[uuid]["target"]: controllers[uuid] for uuid in _many(row["controller"])}
        bridges[row["name"]] = BridgeRow(row, tuple(port["name"] for port in mine), targets)
        for port in mine:
            interface = interfaces[_many(port["interfaces"])[0]]
            settings = (interface[column] for column in ("type", "options", "bfd"))
            found[port["name"]] = PortRow(row["name"], port["external_ids"], *settings)
    return Database(bridges, found, next(iter(tables["SSL"]), None), tables["Manager"])


def transact(commands: Iterable[Command], db: str | None = None) -> None:
    """Run `ovs-vsctl` commands in one transaction and wait until the switch has taken them."""
    _vsctl([word for command in commands for word in ("--", *command)], db)


def command_line(commands: Iterable[Command], db: str | None = None) -> list[str]:
    """Return the one `ovs-vsctl` command line that `transact` runs."""
    words = [word for command in commands for word in ("--", *command)]
    return ["ovs-vsctl", *([f"--db={db}"] if db else []), f"--timeout={_TIMEOUT}", *words]


def _wanted(topology: Topology, host_name: str) -> _Wanted:
    host = topology.hosts.get(host_name)
    if host is None:
        raise HostError(f'no host "{host_name}" in {topology.name}; there are {", ".join(topology.hosts)}')
    if host.kind is not HostKind.OVS:
        raise HostError(f'"{host_name}" is a foreign VTEP ({host.place}); Weft sets up its own hosts only')
    inner, outer = host.integration_bridge, host.tunnel_bridge
    bridges = {inner: ids.integration_dpid(host.id), outer: ids.tunnel_dpid(host.id)}
    mark = {MARK: host_name}
    ports = dict(_patch(inner, names.PATCH_TO_TUNNEL, outer, names.PATCH_TO_INTEGRATION, mark))
    for network in topology.physical_networks.values():
        if host_name in network.hosts:
            bridge = names.physical_bridge(network.name)
            if len(bridge) > names.INTERFACE_LENGTH:
                raise HostError(f"{network.place}: the bridge {bridge} is longer than an interface's name may be (15)")
            bridges[bridge] = ids.physical_dpid(host.id, network.name)
            ends = names.patch_to_physical(network.name), names.patch_from_physical(network.name)
            ports |= _patch(inner, ends[0], bridge, ends[1], mark)
    tunnel = {"remote_ip": "flow", "key": "flow", "local_ip": str(host.tunnel_ip)}
    for kind in tunnel_types(topology):
        ports[names.tunnel_port(kind)] = PortRow(outer, mark, kind.value, tunnel)
    for other in liveness.watched_by(topology, host_name):
        kind, there = liveness.tunnel_type(topology), topology.hosts[other]
        way = {"remote_ip": str(there.tunnel_ip), "local_ip": str(host.tunnel_ip), "dst_port": str(liveness.UDP_PORT)}
        ports[names.liveness_port(other)] = PortRow(inner, mark, kind.value, way, _BFD)
    return _Wanted(host, bridges, ports)


def tunnel_types(topology: Topology) -> tuple[NetworkType, ...]:
    """Return the types of tunnel the fabric uses: those of its networks, and the one that a new network would get."""
    used = {topology.overlay, *(network.type for network in topology.networks.values())}
    return tuple(kind for kind in TUNNEL_TYPES if kind in used)


def _patch(one: str, name: str, other: str, peer: str, mark: Mapping[str, str]) -> Iterator[tuple[str, PortRow]]:
    yield name, PortRow(one, mark, "patch", {"peer": peer})
    yield peer, PortRow(other, mark, "patch", {"peer": name})


def _refuse_conflicts(wanted: _Wanted, database: Database) -> None:
    for name in wanted.ports:
        there = database.ports.get(name)
        if there and MARK not in there.external_ids:
            raise HostError(f"port {name} on {there.bridge} is not Weft's; remove or rename it")
    for name in wanted.bridges:
        port = database.ports.get(name)
        if port and port.bridge != name:
            raise HostError(f"{name} is a port of {port.bridge}; Weft wants a bridge of that name")


def _removals(wanted: _Wanted, database: Database) -> Iterator[Command]:
    """Yield what takes away that which was ours and is wanted no more."""
    gone = set()
    for name, row in database.bridges.items():
        ours = row.columns["external_ids"]
        if MARK not in ours or name in wanted.bridges:
            continue
        foreign = [port for port in row.ports if port != name and MARK not in database.ports[port].external_ids]
        if ADOPTED not in ours and not foreign:
            gone.add(name)
            yield "del-br", name
        else:
            # Somebody else's ports are in it. It stays closed (`secure`) with its last flows until its owner decides.
            yield "del-controller", name
            yield "remove", "bridge", name, "external_ids", MARK, ADOPTED
    for name, port in database.ports.items():
        kept = name in wanted.ports and wanted.ports[name].bridge == port.bridge
        if MARK in port.external_ids and not kept and port.bridge not in gone:
            yield "del-port", port.bridge, name


def _bridge_commands(name: str, row: BridgeRow | None, dpid: int, host: str, datapath: str) -> Iterator[Command]:
    settings = {
        "fail_mode": "secure",
        "protocols": OPENFLOW,
        "other_config:datapath-id": f"{dpid:016x}",
        "other_config:disable-in-band": "true",
        f"external_ids:{MARK}": host,
    }
    there: Mapping[str, Any] = row.columns if row else {}
    if row is None:
        yield "add-br", name
        settings["datapath_type"] = datapath
    elif (there["datapath_type"] or "system") != datapath:
        if MARK not in there["external_ids"] or ADOPTED in there["external_ids"]:
            found = there["datapath_type"] or "system"
            raise HostError(
                f"bridge {name} has the datapath {found}, the host {datapath}; patch ports cannot join them"
            )
        settings["datapath_type"] = datapath
    elif MARK not in there["external_ids"]:
        settings[f"external_ids:{ADOPTED}"] = host
    if row and OPENFLOW in _many(there["protocols"]):
        # The owner of an adopted bridge may speak further versions with it.
        del settings["protocols"]
    changes = [f"{key}={_quoted(value)}" for key, value in settings.items() if not _has(there, key, value)]
    if changes:
        yield "set", "bridge", name, *changes


def _controller_commands(bridge: str, row: BridgeRow | None, target: str) -> Iterator[Command]:
    there: Mapping[str, Any] = {}
    if row and list(row.controllers) == [target]:
        there = row.controllers[target]
    else:
        yield "set-controller", bridge, target
    changes = [f"{key}={value}" for key, value in CONTROLLER.items() if there.get(key) != value]
    if changes:
        yield "set", "controller", bridge, *changes


def _port_commands(name: str, wanted: PortRow, there: PortRow | None) -> Iterator[Command]:
    if there and there.bridge != wanted.bridge:
        there = None  # `_removals` has taken it away.
    if there is None:
        mark = [f"external_ids:{key}={_quoted(value)}" for key, value in wanted.external_ids.items()]
        yield "add-port", wanted.bridge, name, *mark
    elif any(there.external_ids.get(key) != value for key, value in wanted.external_ids.items()):
        yield (
            "set",
            "port",
            name,
            *(f"external_ids:{key}={_quoted(value)}" for key, value in wanted.external_ids.items()),
        )
    if there is None or (there.type, there.options) != (wanted.type, wanted.options):
        if there and there.options:
            yield "clear", "interface", name, "options"
        options = (f"options:{key}={_quoted(value)}" for key, value in wanted.options.items())
        yield "set", "interface", name, f"type={wanted.type}", *options
    if wanted.bfd != (there.bfd if there is not None else {}):
        yield "set", "interface", name, *(f"bfd:{key}={value}" for key, value in wanted.bfd.items())


def _has(columns: Mapping[str, Any], key: str, value: str) -> bool:
    column, _, inner = key.partition(":")
    there = columns.get(column)
    return bool(there.get(inner) == value if inner and isinstance(there, dict) else there == value)


def _quoted(value: str) -> str:
    """Return a value as `ovs-vsctl` reads it: a colon or a slash must stand in quotes."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value)


def _rows(text: str) -> list[dict[str, Any]]:
    table = json.loads(text)
    headings = table["headings"]
    return [dict(zip(headings, map(_value, row), strict=True)) for row in table["data"]]


def _value(cell: Any) -> Any:
    """Return an OVSDB value (RFC 7047, section 5.1) as Python has it: sets are tuples, maps dictionaries."""
    match cell:
        case ["uuid", str(uuid)]:
            return uuid
        case ["set", list(items)]:
            return tuple(map(_value, items))
        case ["map", list(pairs)]:
            return {_value(key): _value(value) for key, value in pairs}
    return cell


def _many(value: Any) -> tuple[Any, ...]:
    """Return a column as a tuple: OVSDB writes a set of one as the one."""
    return value if isinstance(value, tuple) else (value,)


def _vsctl(words: Sequence[str], db: str | None) -> str:
    command = ["ovs-vsctl", *([f"--db={db}"] if db else []), f"--timeout={_TIMEOUT}", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise HostError("ovs-vsctl is not installed (Debian: apt install openvswitch-switch)") from None
    if done.returncode:
        said = done.stderr.strip() or f"ovs-vsctl gave up after {_TIMEOUT} s; is ovs-vswitchd running?"
        raise HostError(said.splitlines()[-1])
    return done.stdout
