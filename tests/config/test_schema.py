"""One declaration, two readers: what the loader takes, an editor's JSON Schema takes; and the pages made from it are current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from controller.config import load
from controller.config.editors import json_schema
from controller.config.reference import format_reference
from tests.config.folders import FABRIC

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(folder for folder in (ROOT / "topologies").iterdir() if folder.is_dir())
KINDS = {"fabric.yaml": "FabricFile"}


def as_editors_see(text: str, kind: str) -> list[str]:
    """Return what a JSON Schema validator says of a file that an ordinary YAML parser has typed."""
    validator = jsonschema.Draft202012Validator(json_schema(kind))
    return [error.message for error in validator.iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_examples_are_fine_for_the_loader_and_for_editors(folder: Path) -> None:
    loaded = load(folder)
    assert loaded.problems == ()
    for name in loaded.files:
        kind = KINDS.get(Path(name).name, "TenantFile")
        assert as_editors_see(Path(name).read_text(encoding="utf-8"), kind) == []


def test_the_schema_is_a_schema() -> None:
    for root in (None, "FabricFile", "TenantFile"):
        jsonschema.Draft202012Validator.check_schema(json_schema(root))


@pytest.mark.parametrize(
    "text",
    [
        "networks:\nports:\ntests:\n",
        "security_groups: {ops: , web: {ingress: any, egress: []}}",
        "security_groups: {web: {ingress: [{protocol: 47}, {protocol: tcp, ports: '22', from: {group: web}}]}}",
        "networks: {a: {cidr: 10.0.0.0/8, segment: '5'}}",
        "address_groups: {a: , b: 10.0.0.1, c: [10.0.0.0/8, 'fd00::1'], d: {cidrs: 10.0.0.1, share: any}, e: {cidrs: []}}",
        "ports: {a: {network: n, new_connections: 1000/s, ethertypes: lldp}, b: {new_connections: 5, ethertypes: [0x88cc, '0x88f7']}}",
        "ports: {a: {network: n, trunk: {'5': m, '4094': {network: ops/m, ip: 10.0.0.1, security_groups: []}}}}",
        "security_groups: {web: {stateless: true, share: [blue], ingress: [{enforce: false, from: {address_group: ops/corp}}]}}",
        "networks: {a: {dhcp: false}, b: {dns: 10.0.0.1, domain: example.org, lease: 1h, ipv6: slaac}, c: {dns: [], lease: 3600}}",
        "routers:\nfloating_ips:\n",
        "routers: {main: , up: {networks: [a, b], external: public, snat: false, routes: {to: 0.0.0.0/0, via: 10.0.0.9}}}",
        "routers: {main: {address: 203.0.113.9}, up: {address: [203.0.113.9, '2001:db8::9'], routes: []}}",
        "floating_ips: {203.0.113.9: web1, '2001:db8::9': {port: vm:5}, 203.0.113.8: {port: web1, ip: 10.0.1.5}}",
    ],
)
def test_editors_take_what_the_loader_takes(text: str) -> None:
    assert as_editors_see(text, "TenantFile") == []


@pytest.mark.parametrize(
    "text",
    [
        "mirrors: {}",
        "routers: {main: {external: [public]}}",
        "routers: {main: {routes: [{to: 10.0.0.0/8}]}}",
        "networks: {a: {ipv6: auto}}",
        "networks: {a: {lease: 1w}}",
        "floating_ips: {web1: a}",
        "floating_ips: {203.0.113.9: {ip: 10.0.1.5}}",
        "networks: {a: {type: vlxan}}",
        "networks: {A: {}}",
        "networks: {a: {cidr: }}",
        "networks: {a: {segment: 16777216}}",
        "ports: {a: {mac: nonsense}}",
        "security_groups: {web: {ingress: all}}",
        "security_groups: {web: {enforce: dry}}",
        "address_groups: [10.0.0.0/8]",
        "address_groups: {a: {cidr: 10.0.0.0/8}}",
        "ports: {a: {ethertypes: [no-such-word]}}",
        "ports: {a: {new_connections: 1000/min}}",
        "ports: {a: {network: n, trunk: {'05': m}}}",
        "ports: {a: {network: n, trunk: {'5': }}}",
        "ports: {a: {network: n, trunk: {'5': {ip: 10.0.0.1}}}}",
        "tests: [{from: a, to: b}]",
    ],
)
def test_editors_complain_where_the_loader_does(text: str) -> None:
    assert as_editors_see(text, "TenantFile") != []


def test_editors_take_the_fabric_of_these_tests() -> None:
    assert as_editors_see(FABRIC, "FabricFile") == []
    nowhere = "fabric: f\nexternal_networks: {out: {physical_network: p, cidr: []}}\n"
    assert as_editors_see(nowhere, "FabricFile") != []


def test_every_key_is_described() -> None:
    definitions: dict[str, Any] = json_schema()["$defs"]
    bare = [
        f"{kind}.{key}"
        for kind, definition in definitions.items()
        for key, each in definition["properties"].items()
        if not each.get("description")
    ]
    assert bare == []


def test_the_reference_page_is_current() -> None:
    assert (ROOT / "docs/format.md").read_text(encoding="utf-8") == format_reference(), "run make docs"


def test_the_published_schema_is_current() -> None:
    published = json.loads((ROOT / "docs/topology.schema.json").read_text(encoding="utf-8"))
    assert published == json.loads(json.dumps(json_schema())), "run weft schema > docs/topology.schema.json"
