"""A folder of YAML becomes a topology, or the list of everything that is wrong with it.

    files ─► source ─► tree ─► declared (schema) ─► fabric, tenant parts ─► checks between tenants ─► Topology

What did not change since the last load is taken from the cache, from the file's declarations up to the tenant's whole part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

from controller.config.amended import amend
from controller.config.amended_part import amend_part
from controller.config.between import check_between
from controller.config.declared import Declared, declare
from controller.config.expectations import ExpectationContext, Expectations, build_tests, named_tenants
from controller.config.fabric import Fabric, build_fabric
from controller.config.files import TENANTS, Reader, Text
from controller.config.outside import Outside, settle
from controller.config.problem import Problems
from controller.config.result import Cache, Loaded
from controller.config.schema import Port, TenantFile
from controller.config.schema_fabric import FabricFile
from controller.config.shared import Others
from controller.config.source import Reporter, Source
from controller.config.tenant import Part, build_parts, entities_of, with_borrowers, with_sharers
from controller.model.entities import Topology
from controller.model.mapping import ByTenant


def load_folder(
    folder: Path, previous: Topology | None, cache: Cache, changed: Collection[Path] | None = None
) -> Loaded:
    """Return what the folder's files say; see `controller.config.load`."""
    problems = Problems()
    cache.shelf.forget(changed)
    reader = Reader(folder, problems, cache.shelf, is_wary=cache.topology is not None)
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
    # Until this load is done nothing is known of how the pieces in the cache belong together.
    around, cache.around = cache.around, None
    tenants, differing = _declare_tenants(fabric, reader, paths, cache, files)
    if around is None or around[0] is not fabric:
        around, differing = None, set(tenants)
    for name in sorted(paths.keys() - tenants.keys()):
        if fabric.knows("tenants", name):
            problems.include(_own_problems(reader, paths[name], files))
        else:
            reader.refuse_stranger(paths[name], name, list(fabric.tenants))
    # The parts follow from what was in force when they were made, and are what a topology made of them would keep.
    is_known = around is not None and (previous is around[1] or (previous is not None and previous is around[2]))
    parts = _parts(fabric, tenants, differing if is_known else None, previous, cache)
    for name in filter(cache.noisy.__contains__, tenants):
        problems.include(tenants[name].problems)
        problems.include(parts[name].problems)
    cache.claims = check_between(parts, cache.claims, problems)
    tests = _tests(fabric, tenants, differing, cache)
    for each in tests.values():
        problems.include(each.problems)
    outside = _outside(fabric, parts, previous, cache, problems)
    shown = problems.shown(files)
    if problems.has_errors:
        cache.around = fabric, previous, None
        return Loaded(None, shown, tuple(files), problems.left_out())
    topology = _assemble(fabric, parts, outside, tests)
    cache.outside = fabric, topology, outside
    touched = _touched(previous, topology, tests, cache)
    cache.topology, cache.tests_in_force, cache.around = topology, tests, (fabric, previous, topology)
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
) -> tuple[dict[str, Declared[TenantFile]], set[str]]:
    """Return what each tenant's file says, and the tenants of which it says something else than at the last time."""
    shelf, before = reader.shelf, cache.tenants
    stale, shelf.stale = shelf.stale, set()
    known = cache.files
    is_same = known is not None and known[0] is fabric and known[1] is paths
    if known is not None and is_same and stale is not None and shelf.has_room_for(len(stale)):
        # All others were read for the same tenants at the last time, and nobody said that they changed.
        tenants = dict(before)
        names = known[2]
    else:
        tenants, stale = {}, set(fabric.tenants)
        names = tuple(str(paths[tenant]) for tenant in fabric.tenants if tenant in paths)
    unread: list[str] = []
    for tenant in fabric.tenants if len(stale) > 1 else stale & fabric.tenants.keys():
        if tenant in stale:
            base = cache.bases.get(tenant)
            told = [each for each in (before.get(tenant), base.declared if base else None) if each is not None]
            tenants[tenant], is_read = _declare_tenant(tenant, reader, paths.get(tenant), told)
            if not is_read:
                unread.append(str(paths[tenant]))
    # What could not be read is tried again with the rest.
    cache.files = None if unread else (fabric, paths, names)
    cache.tenants = tenants
    files.extend(names if not unread else (name for name in names if name not in unread))
    return tenants, {tenant for tenant in stale if tenants.get(tenant) is not before.get(tenant)}


def _declare_tenant(
    tenant: str, reader: Reader, path: Path | None, known: Iterable[Declared[TenantFile]]
) -> tuple[Declared[TenantFile], bool]:
    """Return what a tenant's file says, and whether it could be read; a tenant without a file says nothing.

    `known` is what it said before, the latest first: where that was good, what has not been edited since is taken from there.
    """
    text = reader.read(path) if path else Text(str(reader.folder / TENANTS / f"{tenant}.yaml"), "")
    if text is None:
        nothing = Source(str(path), "")
        return Declared(nothing, TenantFile(), frozenset(), {}, (), Problems(), is_whole=False), False
    for each in known:
        if each.is_whole and _is_of(each.source, text):
            return each, True
    amended = (amend(each, text.name, text.text) for each in known if each.is_clean)
    return next(amended, None) or declare(TenantFile, Source(text.name, text.text), {}), True


def _own_problems(reader: Reader, path: Path, files: list[str]) -> Problems:
    """Return what is wrong with a tenant's file by itself, where the fabric's part cannot be had."""
    text = reader.read(path)
    if text is None:
        return Problems()
    files.append(text.name)
    return declare(TenantFile, Source(text.name, text.text), {}).problems


def _parts(
    fabric: Fabric,
    tenants: Mapping[str, Declared[TenantFile]],
    differing: set[str] | None,
    previous: Topology | None,
    cache: Cache,
) -> dict[str, Part]:
    """Return every tenant's part, from the last load where nothing that it depends on changed.

    `differing` are the tenants whose files say something else than at the last load, None if more than that may differ.
    """
    known = cache.parts
    stale = differing
    if stale is None:
        stale = {
            name
            for name, declared in tenants.items()
            if name not in known or not known[name].is_from(fabric.declared, declared, previous)
        }
    others = Others(fabric, tenants)
    stale = with_sharers(with_borrowers(stale, others, known) & tenants.keys(), tenants, known)
    amended = _amended(fabric, {name: tenants[name] for name in stale}, previous, others, cache)
    wanted = {name: tenants[name] for name in tenants if name in stale and name not in amended}
    built = amended | build_parts(fabric, wanted, previous, others)
    parts = known | built if differing is not None else {name: built.get(name) or known[name] for name in tenants}
    for name in stale if differing is not None else tenants:
        is_quiet = tenants[name].problems.is_empty and parts[name].problems.is_empty
        (cache.noisy.discard if is_quiet else cache.noisy.add)(name)
    cache.parts = parts
    return parts


def _amended(
    fabric: Fabric,
    tenants: Mapping[str, Declared[TenantFile]],
    previous: Topology | None,
    others: Others,
    cache: Cache,
) -> dict[str, Part]:
    """Return the parts of those of these tenants of whom the part in force tells nearly everything."""
    in_force = {name: _base(name, previous, cache) for name in {*cache.bases, *tenants}}
    # Once this load is done the parts in force of these tenants are known from here alone.
    cache.bases = {
        name: base for name, base in in_force.items() if base and (name in tenants or base is not cache.parts.get(name))
    }
    found = {}
    for name, declared in tenants.items():
        base = in_force[name]
        part = amend_part(base, fabric, declared, previous, others) if base else None
        if part is not None:
            found[name] = part
    return found


def _base(tenant: str, previous: Topology | None, cache: Cache) -> Part | None:
    """Return the part of a tenant that a topology holds, if it is known."""
    networks, ports = entities_of(previous, tenant)
    for part in (cache.parts.get(tenant), cache.bases.get(tenant)):
        if part is not None and part.networks is networks and part.ports is ports:
            return part
    return None


def _outside(
    fabric: Fabric, parts: Mapping[str, Part], previous: Topology | None, cache: Cache, problems: Problems
) -> Outside:
    """Return the routers with their addresses on external networks, from those of the topology before if they are known."""
    externals = fabric.external_networks
    known = cache.outside
    usable = known[2] if known is not None and known[0] is fabric and known[1] is previous else None
    if problems.has_errors:
        # There will be no topology, so what is known stays so for the one in force.
        return settle(externals, parts, previous, usable.copy() if usable else None, problems)
    cache.outside = None
    return settle(externals, parts, previous, usable, problems)


def _tests(
    fabric: Fabric, tenants: Mapping[str, Declared[TenantFile]], differing: set[str], cache: Cache
) -> dict[str, Expectations]:
    """Return the tests of every tenant that has some. They may name other tenants' ports."""
    hides = partial(Others(fabric, tenants).hides, "ports")

    def ports(tenant: str) -> Mapping[str, Port]:
        # What is declared is known, even if it could not be built.
        return tenants[tenant].content.ports if tenant in tenants else {}

    found: dict[str, Expectations] = {}
    for name in tenants:
        known = cache.tests.get(name)
        if known is None and name not in differing:
            continue
        declared = tenants[name]
        if not declared.content.tests:
            continue
        if known is None or not known.is_from(fabric, declared, tenants):
            problems = Problems()
            tests = build_tests(ExpectationContext(fabric, name, declared, ports, hides, Reporter(problems)))
            named = {other: tenants.get(other) for other in named_tenants(declared)}
            known = Expectations(fabric.declared, declared, named, tuple(tests), problems)
        found[name] = known
    cache.tests = found
    return found


def _assemble(
    fabric: Fabric, parts: Mapping[str, Part], outside: Outside, tests: Mapping[str, Expectations]
) -> Topology:
    return Topology(
        name=fabric.name,
        overlay=fabric.overlay,
        mtu=fabric.mtu,
        hosts=fabric.hosts,
        physical_networks=fabric.physical_networks,
        tenants=fabric.tenants,
        networks=ByTenant({name: part.networks for name, part in parts.items()}),
        groups=ByTenant({name: part.filters.groups for name, part in parts.items()}),
        ports=ByTenant({name: part.ports for name, part in parts.items()}),
        tests=tuple(test for each in tests.values() for test in each.tests),
        address_groups=ByTenant({name: part.filters.address_groups for name, part in parts.items()}),
        external_networks=fabric.external_networks,
        routers=ByTenant({name: outside.routers[name] for name in parts}),
        floating_ips=ByTenant({name: part.ways.floating_ips for name, part in parts.items()}),
        masks=fabric.masks,
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
        (previous.address_groups, topology.address_groups),
        (previous.ports, topology.ports),
        (previous.routers, topology.routers),
        (previous.floating_ips, topology.floating_ips),
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
