"""A folder of YAML becomes a topology, or the list of everything that is wrong with it.

    files ─► source ─► tree ─► declared (schema) ─► fabric, tenant parts ─► checks between tenants ─► Topology

What did not change since the last load is taken from the cache, from the file's declarations up to the tenant's whole part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from controller.config.between import check_between
from controller.config.declared import Declared, declare
from controller.config.expectations import ExpectationContext, Expectations, build_tests, named_tenants
from controller.config.fabric import Fabric, build_fabric
from controller.config.files import TENANTS, Reader, Text
from controller.config.problem import Problems
from controller.config.result import Cache, Loaded
from controller.config.schema import FabricFile, TenantFile
from controller.config.source import Reporter, Source
from controller.config.tenant import Part, build_parts, hider, with_sharers
from controller.model.entities import Topology
from controller.model.mapping import ByTenant


def load_folder(
    folder: Path, previous: Topology | None, cache: Cache, changed: Collection[Path] | None = None
) -> Loaded:
    """Return what the folder's files say; see `controller.config.load`."""
    problems = Problems()
    cache.shelf.forget(changed)
    reader = Reader(folder, problems, cache.shelf)
    files: list[str] = []
    text = reader.fabric()
    if text is None:
        return Loaded(None, problems.shown(files), (), problems.left_out())
    files.append(text.name)
    fabric, own_problems = _fabric(text, cache)
    problems.include(own_problems)
    if not fabric.declared.is_whole:
        # Nothing is known of the tenants. Their files' own problems are worth reporting all the same.
        for path in reader.tenant_files().values():
            problems.include(_own_problems(reader, path, files))
        return Loaded(None, problems.shown(files), tuple(files), problems.left_out())
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
    cache.claims = check_between(parts, cache.claims, problems)
    tests = _tests(fabric, tenants, cache)
    for each in tests.values():
        problems.include(each.problems)
    shown = problems.shown(files)
    if problems.has_errors:
        return Loaded(None, shown, tuple(files), problems.left_out())
    topology = _assemble(fabric, parts, tests)
    touched = _touched(previous, topology, tests, cache)
    cache.topology, cache.tests_in_force = topology, tests
    return Loaded(topology, shown, tuple(files), problems.left_out(), touched)


def _fabric(text: Text, cache: Cache) -> tuple[Fabric, Problems]:
    """Return the operator's part with its problems; one that could not be read as YAML is an empty one."""
    known = cache.fabric
    if known is None or not _is_of(known[0].declared.source, text):
        declared = declare(FabricFile, Source(text.name, text.text), {"fabric": "unnamed"})
        problems = Problems()
        problems.include(declared.problems)
        known = cache.fabric = build_fabric(declared, Reporter(problems)), problems
    return known


def _is_of(source: Source, text: Text) -> bool:
    return source.text == text.text and source.name == text.name


def _declare_tenants(
    fabric: Fabric, reader: Reader, paths: Mapping[str, Path], cache: Cache, files: list[str]
) -> dict[str, Declared[TenantFile]]:
    """Return what each tenant's file says; a tenant without a file says nothing."""
    tenants: dict[str, Declared[TenantFile]] = {}
    found: dict[str, Declared[TenantFile]] = {}
    for tenant in fabric.tenants:
        path = paths.get(tenant)
        text = reader.read(path) if path else Text(str(reader.folder / TENANTS / f"{tenant}.yaml"), "")
        if text is None:
            nothing = Source(str(path), "")
            tenants[tenant] = Declared(nothing, TenantFile(), frozenset(), {}, (), Problems(), is_whole=False)
            continue
        if path:
            files.append(text.name)
        known = cache.tenants.get(tenant)
        if known is None or not _is_of(known.source, text):
            known = declare(TenantFile, Source(text.name, text.text), {})
        tenants[tenant] = found[tenant] = known
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
    known = cache.parts
    stale = {
        name
        for name, declared in tenants.items()
        if name not in known or not known[name].is_from(fabric.declared, declared, previous)
    }
    stale = with_sharers(stale, tenants, known)
    changed = {name: declared for name, declared in tenants.items() if name in stale}
    built = build_parts(fabric, changed, previous, hider(fabric, tenants, "networks"))
    cache.parts = {name: built[name] if name in built else known[name] for name in tenants}
    return cache.parts


def _tests(fabric: Fabric, tenants: Mapping[str, Declared[TenantFile]], cache: Cache) -> dict[str, Expectations]:
    """Return the tests of every tenant that has some. They may name other tenants' ports."""
    hides = hider(fabric, tenants, "ports")

    def ports(tenant: str) -> Collection[str]:
        # What is declared is known, even if it could not be built.
        return tenants[tenant].content.ports if tenant in tenants else ()

    found: dict[str, Expectations] = {}
    for name, declared in tenants.items():
        if not declared.content.tests:
            continue
        known = cache.tests.get(name)
        if known is None or not known.is_from(fabric, declared, tenants):
            problems = Problems()
            tests = build_tests(ExpectationContext(fabric, name, declared, ports, hides, Reporter(problems)))
            named = {other: tenants.get(other) for other in named_tenants(declared)}
            known = Expectations(fabric.declared, declared, named, tuple(tests), problems)
        found[name] = known
    cache.tests = found
    return found


def _assemble(fabric: Fabric, parts: Mapping[str, Part], tests: Mapping[str, Expectations]) -> Topology:
    return Topology(
        name=fabric.name,
        overlay=fabric.overlay,
        mtu=fabric.mtu,
        hosts=fabric.hosts,
        physical_networks=fabric.physical_networks,
        tenants=fabric.tenants,
        networks=ByTenant({name: part.networks for name, part in parts.items()}),
        groups=ByTenant({name: part.groups for name, part in parts.items()}),
        ports=ByTenant({name: part.ports for name, part in parts.items()}),
        tests=tuple(test for each in tests.values() for test in each.tests),
    )


def _touched(
    previous: Topology | None, topology: Topology, tests: Mapping[str, Expectations], cache: Cache
) -> frozenset[str] | None:
    """Return the tenants of which something may differ between two topologies, None where more than tenants' parts may."""
    # The mapping of tenants is made with the rest of the operator's part, and stands for it.
    if previous is None or previous.tenants is not topology.tenants:
        return None
    touched: set[str] = set()
    for old, new in (
        (previous.networks, topology.networks),
        (previous.groups, topology.groups),
        (previous.ports, topology.ports),
    ):
        if not isinstance(old, ByTenant) or not isinstance(new, ByTenant):
            return None
        touched |= new.differing(old)
    if previous is cache.topology:
        before = cache.tests_in_force
        touched.update(name for name in before.keys() | tests.keys() if before.get(name) is not tests.get(name))
    else:
        touched.update(test.tenant for test in (*previous.tests, *topology.tests))
    return frozenset(touched)
