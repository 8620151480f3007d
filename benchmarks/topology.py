"""A workload as a topology folder: `fabric.yaml` and a file per tenant, written as a tenant would write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.workload import Document

FABRIC = "bench"


def write_topology(document: Document, folder: Path) -> None:
    """Write the files of a workload into a folder, which may exist."""
    tenants = folder / "tenants"
    tenants.mkdir(parents=True, exist_ok=True)
    (folder / "fabric.yaml").write_text(fabric_file(document), encoding="utf-8")
    for tenant, text in tenant_files(document).items():
        (tenants / f"{tenant}.yaml").write_text(text, encoding="utf-8")


def fabric_file(document: Document) -> str:
    """Return fabric.yaml: the hosts, the ways out if there are any, and for each tenant a grant of exactly the segments that it uses."""
    lines = [f"fabric: {FABRIC}", "hosts:", *(f"  {host['name']}: {{{_host(host)}}}" for host in document["hosts"])]
    for kind in ("physical_networks", "external_networks"):
        found = document.get(kind, [])
        lines += [f"{kind}:"] if found else []
        for each in found:
            facts = ", ".join(f"{name}: {value}" for name, value in each.items() if name != "name")
            lines.append(f"  {each['name']}: {{{facts}}}")
    lines.append("tenants:")
    for tenant, networks in _by_tenant(document["networks"]).items():
        segments = [network["vni"] for network in networks]
        lines.append(f"  {tenant}: {{segments: {min(segments)}-{max(segments)}}}")
    return "\n".join(lines) + "\n"


def tenant_files(document: Document) -> dict[str, str]:
    """Return the text of each tenant's file."""
    networks, groups, ports = (_by_tenant(document[kind]) for kind in ("networks", "groups", "ports"))
    routers = _by_tenant(document.get("routers", []))
    return {
        tenant: "\n".join(
            [*_tenant_lines(networks[tenant], groups[tenant], ports[tenant]), *_router_lines(routers.get(tenant, []))]
        )
        + "\n"
        for tenant in networks
    }


def tenant_file(document: Document, tenant: str) -> str:
    """Return the text of one tenant's file."""
    return tenant_files({kind: [each for each in document[kind] if each.get("tenant") == tenant] for kind in document})[
        tenant
    ]


def _tenant_lines(
    networks: Iterable[Mapping[str, Any]], groups: Iterable[Mapping[str, Any]], ports: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    yield "networks:"
    for network in networks:
        # The workload has no DHCP, and neither had the systems that were measured with it.
        dhcp = "true" if network.get("dhcp") else "false"
        facts = f"type: {network['type']}, segment: {network['vni']}, cidr: {network['cidr']}, dhcp: {dhcp}"
        yield f"  {_own(network['name'])}: {{{facts}}}"
    yield "security_groups:"
    for group in groups:
        yield f"  {_own(group['name'])}:"
        for direction in ("ingress", "egress"):
            rules = [rule for rule in group["rules"] if rule["direction"] == direction]
            yield from [f"    {direction}:"] if rules else []
            for rule in rules:
                yield f"      - {{{_rule(rule)}}}"
    yield "ports:"
    for port in ports:
        yield f"  {port['name']}: {{{_port(port)}}}"


def _router_lines(routers: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for number, router in enumerate(routers):
        if number == 0:
            yield "routers:"
        networks = ", ".join(map(_own, router["networks"]))
        external = f", external: {router['external']}" if router.get("external") else ""
        routes = ", ".join(f"{{to: {to}, via: {via}}}" for to, via in router.get("routes", ()))
        yield f"  {_own(router['name'])}: {{networks: [{networks}]{external}{f', routes: [{routes}]' if routes else ''}}}"


def _host(host: Mapping[str, Any]) -> str:
    return f"tunnel_ip: {host['tunnel_ip']}{', gateway: true' if host.get('gateway') else ''}"


def _rule(rule: Mapping[str, Any]) -> str:
    words = [f"protocol: {rule['protocol'] or 'any'}"]
    if "port_min" in rule:
        low, high = rule["port_min"], rule["port_max"]
        words.append(f"ports: {low}" if low == high else f"ports: {low}-{high}")
    side = "from" if rule["direction"] == "ingress" else "to"
    if "remote_group" in rule:
        words.append(f"{side}: {{group: {_own(rule['remote_group'])}}}")
    else:
        words.append(f"{side}: {{cidr: {rule['remote_cidr']}}}")
    return ", ".join(words)


def _port(port: Mapping[str, Any]) -> str:
    groups = ", ".join(map(_own, port["groups"]))
    # A port without a host is where its interface is.
    host = f", host: {port['host']}" if port["host"] else ""
    place = f"network: {_own(port['network'])}{host}"
    return f"{place}, mac: {port['mac']}, ip: {port['ip']}, security_groups: [{groups}]"


def _own(name: str) -> str:
    """Return a name of the workload, `TENANT-NAME`, as the tenant's own file says it."""
    return name.partition("-")[2]


def _by_tenant(entries: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        found.setdefault(entry["tenant"], []).append(entry)
    return found
