"""A folder of YAML becomes a topology, or the list of everything that is wrong with it.

    files ─► source ─► tree ─► declared (schema) ─► fabric, tenant parts ─► checks between tenants ─► Topology

What did not change since the last load is taken from the cache, from the file's declarations up to the tenant's whole part.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from controller.config.declared import Declared, declare
from controller.config.expectations import ExpectationContext, build_tests
from controller.config.fabric import Fabric, build_fabric
from controller.config.files import Reader, Text
from controller.config.problem import Problems
from controller.config.result import Cache, Loaded
from controller.config.schema import FabricFile, TenantFile
from controller.config.source import Reporter, Source
from controller.config.tenant import Part, build_parts, check_between, hider, is_alone
from controller.model.entities import PolicyTest, Topology


def load_folder(folder: Path, previous: Topology | None, cache: Cache) -> Loaded:
    """Return what the folder's files say; see `controller.config.load`."""
    problems = Problems()
    reader = Reader(folder, problems)
    files: list[str] = []
    text = reader.fabric()
    if text is None:
        return Loaded(None, problems.shown(files), (), problems.left_out())
    files.append(text.name)
    declared = _declare_fabric(text, cache)
    problems.include(declared.problems)
    if not declared.is_whole:
        # Nothing is known of the tenants. Their files' own problems are worth reporting all the same.
        for path in reader.tenant_files().values():
            problems.include(_own_problems(reader, path, files))
        return Loaded(None, problems.shown(files), tuple(files), problems.left_out())
    fabric = build_fabric(declared, Reporter(problems))
    paths = reader.tenant_files()
    tenants = _declare_tenants(fabric, reader, paths, cache, files)
    for name in sorted(paths.keys() - tenants.keys()):
        if fabric.knows("tenants", name):
            problems.include(_own_problems(reader, paths[name], files))
        else:
            reader.refuse_stranger(paths[name], name, list(fabric.tenants))
    parts = _parts(fabric, tenants, previous, cache)
    for name, tenant in tenants.items():
        problems.include(tenant.problems)
        problems.include(parts[name].problems)
    check_between(parts.values(), problems)
    tests = _tests(fabric, tenants, problems)
    shown = problems.shown(files)
    if problems.has_errors:
        return Loaded(None, shown, tuple(files), problems.left_out())
    topology = _assemble(fabric, parts, tests)
    cache.topology, cache.parts = topology, parts
    return Loaded(topology, shown, tuple(files), problems.left_out())


def _digest(text: Text) -> str:
    return blake2b(f"{text.name}\0{text.text}".encode(), digest_size=16).hexdigest()


def _declare_fabric(text: Text, cache: Cache) -> Declared[FabricFile]:
    digest = _digest(text)
    if cache.fabric is not None and cache.fabric[0] == digest:
        return cache.fabric[1]
    declared = declare(FabricFile, Source(text.name, text.text), {"fabric": "unnamed"})
    cache.fabric = digest, declared
    return declared


def _declare_tenants(
    fabric: Fabric, reader: Reader, paths: Mapping[str, Path], cache: Cache, files: list[str]
) -> dict[str, Declared[TenantFile]]:
    """Return what each tenant's file says; a tenant without a file says nothing."""
    tenants: dict[str, Declared[TenantFile]] = {}
    found: dict[str, tuple[str, Declared[TenantFile]]] = {}
    for tenant in fabric.tenants:
        has_file = tenant in paths
        text = reader.read(paths[tenant]) if has_file else Text(str(reader.folder / "tenants" / f"{tenant}.yaml"), "")
        if text is None:
            nothing = Source(str(paths[tenant]), "")
            tenants[tenant] = Declared(nothing, TenantFile(), frozenset(), {}, (), Problems(), is_whole=False)
            continue
        if has_file:
            files.append(text.name)
        digest = _digest(text)
        known = cache.tenants.get(tenant)
        if known is None or known[0] != digest:
            known = digest, declare(TenantFile, Source(text.name, text.text), {})
        found[tenant] = known
        tenants[tenant] = known[1]
    cache.tenants = found
    return tenants


def _own_problems(reader: Reader, path: Path, files: list[str]) -> Problems:
    """Return what is wrong with a tenant's file by itself, where the fabric's part cannot be had."""
    text = reader.read(path)
    if text is None:
        return Problems()
    files.append(text.name)
    return declare(TenantFile, Source(text.name, text.text), {}).problems


def _parts(
    fabric: Fabric, tenants: Mapping[str, Declared[TenantFile]], previous: Topology | None, cache: Cache
) -> dict[str, Part]:
    """Return every tenant's part, from the last load where nothing that it depends on changed."""
    # The parts hold what was allocated for the last topology: they are good only if that is the one in force.
    reusable = cache.parts if previous is not None and previous is cache.topology else {}
    kept: dict[str, Part] = {}
    changed: dict[str, Declared[TenantFile]] = {}
    for name, declared in tenants.items():
        part = reusable.get(name)
        if part is not None and part.is_from(fabric.declared, declared) and is_alone(declared):
            kept[name] = part
        else:
            changed[name] = declared
    built = build_parts(fabric, changed, previous, hider(fabric, tenants, "networks"))
    return {name: kept.get(name) or built[name] for name in tenants}


def _tests(fabric: Fabric, tenants: Mapping[str, Declared[TenantFile]], problems: Problems) -> list[PolicyTest]:
    """Return all tests. They may name any tenant's port, so they are read anew every time."""
    asking = {name: declared for name, declared in tenants.items() if declared.content.tests}
    if not asking:
        return []
    # What is declared is known, even if it could not be built.
    ports = {f"{name}/{port}" for name, declared in tenants.items() for port in declared.content.ports}
    hides = hider(fabric, tenants, "ports")
    reporter = Reporter(problems)
    return [
        test
        for name, declared in asking.items()
        for test in build_tests(ExpectationContext(fabric, name, declared, ports, hides, reporter))
    ]


def _assemble(fabric: Fabric, parts: Mapping[str, Part], tests: list[PolicyTest]) -> Topology:
    return Topology(
        name=fabric.name,
        overlay=fabric.overlay,
        mtu=fabric.mtu,
        hosts=fabric.hosts,
        physical_networks=fabric.physical_networks,
        tenants=fabric.tenants,
        networks={name: each for part in parts.values() for name, each in part.networks.items()},
        groups={name: each for part in parts.values() for name, each in part.groups.items()},
        ports={name: each for part in parts.values() for name, each in part.ports.items()},
        tests=tuple(tests),
    )
