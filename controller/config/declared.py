"""From a file's tree to what it declares, checked against the schema key by key.

Entries that the schema refuses are reported and left out, and their names kept: what refers to them is not blamed for it, and the rest
of the file is checked to the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, get_args, get_origin

from pydantic import ValidationError

from controller.config.problem import Problems, quote
from controller.config.scalars import Refused
from controller.config.schema import Port, PortGroup, TenantFile
from controller.config.source import Reporter, Source, Spot
from controller.config.suggest import listed, nearest, strange_character
from controller.config.terms import Strict
from controller.config.tree import EMPTY, Data, Fault, Mapping, Node, Sequence, plain
from controller.model.entities import Place

File = TypeVar("File", bound=Strict)
Path = tuple[str | int, ...]

_WHOLE = ""  # Stands for all entries of a section that was refused as a whole.

_LONE_OF_PROFILES = ("allowed_addresses", "port_security", "new_connections", "ethertypes")

# Sections whose entries hold more that has a place of its own.
DEEP = frozenset(("security_groups", "routers"))

# Keys that change nothing for the keys beside them: when such a key is refused, the rest of its entry is checked without it.
_LONE: dict[str, frozenset[str]] = {
    "networks": frozenset(("dhcp", "dns", "domain", "lease")),
    "security_groups": frozenset(("enforce", "log", "share")),
    "address_groups": frozenset(("share",)),
    "port_groups": frozenset((*PortGroup.not_yet, *_LONE_OF_PROFILES)),
    "ports": frozenset((*Port.not_yet, *_LONE_OF_PROFILES, "mac", "ip", "trunk")),
}
_LONE_IN_RULES = frozenset(("ports", "code", "enforce", "log"))

_OF_KEYS = frozenset(("model_type", "model_attributes_type"))
_EXPECTED = {
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "too_short": "at least one value",
    "string_type": "a name",
}


@dataclass(frozen=True, slots=True)
class Declared(Generic[File]):
    """What a file says: `content` without the entries named in `broken`, which are (section, name), or (section, "") for all.

    `places` holds where every section, entry, rule and test stands; `tests` the numbers, in the file, of the tests in `content`.
    `is_whole` is False when the file could not be read as YAML, so that nothing is known of what it wanted to say. `nodes` is how many
    values the file holds, or more.
    """

    source: Source
    content: File
    broken: frozenset[tuple[str, str]]
    places: dict[Path, Place]
    tests: tuple[int, ...]
    problems: Problems
    is_whole: bool
    nodes: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether there was nothing to report, so that the content is all that the file says."""
        return self.is_whole and self.problems.is_empty

    def spot(self, *path: str | int) -> Spot:
        """Return the spot at this path."""
        return Spot(self.source, path)

    def place(self, *path: str | int) -> Place:
        """Return where an entry stands: at its key, or at the item of a list."""
        known = self.places.get(path)
        return known if known is not None else self.spot(*path).key.place

    def hides(self, section: str, name: str) -> bool:
        """Whether nothing can be said of a name that is missing: its entry, or the whole file, was refused."""
        return not self.is_whole or not self.broken.isdisjoint(((section, name), (section, _WHOLE)))


def declare(kind: type[File], source: Source, stand_in: dict[str, Data]) -> Declared[File]:
    """Return what the file declares. `stand_in` is what takes the place of a content that cannot be had."""
    problems = Problems()
    parsed = source.parsed()
    for fault in parsed.faults:
        _report_fault(problems, source, fault)
    problems.errors_left_out += parsed.left_out
    root = parsed.root
    if not parsed.is_sound:
        root = None
    elif root is not None and not isinstance(root, Mapping):
        if plain(root) is not EMPTY:
            Reporter(problems).report("N018", Spot(source, ()), "a file is a mapping of keys to values")
            return Declared(source, kind.model_validate(stand_in), frozenset(), {}, (), problems, is_whole=False)
        root = None
    data = fill_empty(kind, root) if root is not None else {}
    listed_tests = data.get("tests")
    numbers = tuple(range(len(listed_tests))) if isinstance(listed_tests, list) else ()
    try:
        content, refused = kind.model_validate(data), _Refused()
    except ValidationError as error:
        faults: list[Any] = error.errors(include_url=False, include_input=False)
        for fault in faults if parsed.is_sound else ():
            if not _follows(fault, faults):
                _report_schema(problems, kind, source, fault)
        refused = _prune(data, [fault["loc"] for fault in faults])
        content = _second_try(kind, data, stand_in)
    places = dict(places_in(source.name, root)) if isinstance(root, Mapping) else {}
    source.forget()
    tests = tuple(number for number in numbers if number not in refused.tests)
    return Declared(source, content, frozenset(refused.names), places, tests, problems, parsed.is_sound, parsed.nodes)


def fill_empty(kind: type[Strict], root: Mapping) -> dict[str, Data]:
    """Return the data of a file, with sections and entries that are left empty as what they are meant to be."""
    data: dict[str, Data] = {}
    for key, node in root.values.items():
        value = plain(node)
        if value is EMPTY and key in kind.model_fields and not kind.model_fields[key].is_required():
            default = kind.model_fields[key].default
            if default in ({}, ()):
                continue
        if isinstance(value, dict):
            value = {name: {} if entry is EMPTY else entry for name, entry in value.items()}
        data[key] = value
    return data


def _second_try(kind: type[File], data: dict[str, Data], stand_in: dict[str, Data]) -> File:
    """Validate what is left of a file without the refused entries."""
    try:
        return kind.model_validate(stand_in | data)
    except ValidationError:
        return kind.model_validate(stand_in)


@dataclass(slots=True)
class _Refused:
    """Which entries the schema refused: (section, name), and numbers of tests."""

    names: set[tuple[str, str]] = field(default_factory=set)
    tests: set[int] = field(default_factory=set)


def _prune(data: dict[str, Data], paths: Iterable[Path]) -> _Refused:
    """Take the refused entries out of the data."""
    refused = _Refused()
    for path in paths:
        section = str(path[0]) if path else ""
        entries = data.get(section)
        step = path[1] if len(path) > 1 else None
        lone = _lone_key(path) if path else None
        if lone is not None:
            _drop(data, lone)
            refused.names.add((section, str(step)))
        elif isinstance(entries, dict) and step is not None:
            entries.pop(str(step), None)
            refused.names.add((section, str(step)))
        elif isinstance(entries, list) and isinstance(step, int):
            refused.tests.add(step)
        else:
            data.pop(section, None)
            refused.names.add((section, _WHOLE))
    tests = data.get("tests")
    if isinstance(tests, list):
        data["tests"] = [test for number, test in enumerate(tests) if number not in refused.tests]
    return refused


def _lone_key(path: Path) -> Path | None:
    """Return the path of the key that the fault is in, if that key can go alone."""
    if path[0] == "security_groups" and len(path) > 4 and path[4] in _LONE_IN_RULES:
        return path[:5]
    return path[:3] if len(path) > 2 and path[2] in _LONE.get(str(path[0]), ()) else None


def _drop(data: Any, path: Path) -> None:
    """Take a key out of the data."""
    for step in path[:-1]:
        present = step in data if isinstance(data, dict) else isinstance(data, list)
        if not present:
            return  # An earlier fault took the whole entry out.
        data = data[step]
    if isinstance(data, dict):
        data.pop(path[-1], None)


def places_in(file: str, root: Mapping) -> Iterator[tuple[Path, Place]]:
    """Yield where sections, entries, rules and tests stand: what the model's entities carry."""
    for section, node in root.values.items():
        yield (section,), Place(file, root.keys[section].line, root.keys[section].column)
        if isinstance(node, Mapping):
            for name, key in node.keys.items():
                yield (section, name), Place(file, key.line, key.column)
            if section == "security_groups":
                yield from _rule_places(file, node)
            elif section == "routers":
                yield from _route_places(file, node)
        elif isinstance(node, Sequence):
            for number, item in enumerate(node.items):
                yield (section, number), Place(file, item.line, item.column)


def _rule_places(file: str, groups: Mapping) -> Iterator[tuple[Path, Place]]:
    for name, group in groups.values.items():
        directions: dict[str, Node] = group.values if isinstance(group, Mapping) else {}
        for direction, rules in directions.items():
            for number, rule in enumerate(rules.items if isinstance(rules, Sequence) else (rules,)):
                yield ("security_groups", name, direction, number), Place(file, rule.line, rule.column)


def _route_places(file: str, routers: Mapping) -> Iterator[tuple[Path, Place]]:
    for name, router in routers.values.items():
        routes = router.values.get("routes") if isinstance(router, Mapping) else None
        if routes is not None:
            for number, route in enumerate(routes.items if isinstance(routes, Sequence) else (routes,)):
                yield ("routers", name, "routes", number), Place(file, route.line, route.column)


def _report_fault(problems: Problems, source: Source, fault: Fault) -> None:
    hint = fault.hint
    if fault.other is not None:
        hint = f"the first is at {Place(source.name, *fault.other)}"
    problems.add(source.problem(fault.code, fault.message, fault.line, fault.column, fault.length, hint))


def _follows(fault: Any, faults: Iterable[Any]) -> bool:
    """Whether a list is too short for no other reason than that its values were refused."""
    path = fault["loc"]
    return fault["type"] == "too_short" and any(
        len(each["loc"]) > len(path) and each["loc"][: len(path)] == path for each in faults
    )


def _report_schema(problems: Problems, kind: type[Strict], source: Source, fault: Any) -> None:
    """Report what pydantic found, in our words."""
    if problems.is_full:
        problems.errors_left_out += 1
        return
    reporter = Reporter(problems)
    is_key = fault["loc"][-1:] == ("[key]",)
    path = tuple(fault["loc"][:-1] if is_key else fault["loc"])
    spot = Spot(source, path, is_key)
    refused = fault.get("ctx", {}).get("error")
    if isinstance(refused, Refused):
        reporter.report(refused.code, spot, refused.message, refused.hint)
    elif fault["type"] == "extra_forbidden":
        _report_key(reporter, _model_at(kind, path[:-1]), spot.key)
    elif fault["type"] == "missing":
        owner = Spot(source, path[:-1]).key
        reporter.report("N017", owner, f"{quote(str(path[-1]))} is missing")
    elif fault["type"] == "string_pattern_mismatch":
        node = source.node(path, on_key=is_key)
        given = str(path[-1]) if is_key else str(plain(node))
        _report_name(reporter, spot, given, str(fault["ctx"]["pattern"]), is_tenants=kind is TenantFile)
    elif fault["type"] == "too_long":
        reporter.report("N013", spot, f"at most {fault['ctx']['max_length']} are allowed here")
    else:
        expected = _EXPECTED.get(fault["type"])
        hint = f"keys here: {listed(_keys(_model_at(kind, path)))}" if fault["type"] in _OF_KEYS else None
        reporter.report("N018", spot, f"{expected} is expected" if expected else str(fault["msg"]), hint)


def _report_key(reporter: Reporter, model: type[Strict], spot: Spot) -> None:
    key = str(spot.path[-1])
    if key in model.not_yet:
        reporter.report("N016", spot, f"{quote(key)} is not supported yet")
        return
    keys = _keys(model)
    near = nearest(key, keys)
    if near:
        hint = f'did you mean "{near}"?'
    elif strange := strange_character(key):
        hint = f"it holds {strange}"
    else:
        hint = f"keys here: {listed(keys)}"
    reporter.report("N015", spot, f"unknown key {quote(key)}", hint)


def _keys(model: type[Strict]) -> list[str]:
    return [each.alias or name for name, each in model.model_fields.items()]


def _report_name(reporter: Reporter, spot: Spot, given: str, pattern: str, *, is_tenants: bool) -> None:
    strange = strange_character(given)
    tenant, slash, name = given.rpartition("/")
    if strange:
        hint = f"it holds {strange}"
    elif slash and is_tenants and all(re.match(pattern, each) for each in (tenant, name)):
        hint = f"it is always the tenant's own here: write {name}"
    else:
        hint = f"a name matches {pattern}"
    reporter.report("N019", spot, f"{quote(given)} is not a name", hint)


def _model_at(kind: type[Strict], path: Path) -> type[Strict]:
    """Return the class that describes the mapping at the path."""
    steps = iter(path)
    for step in steps:
        for name, key in kind.model_fields.items():
            if step == (key.alias or name):
                kind = next(_models(key.annotation), kind)
                if get_origin(key.annotation) is dict:
                    next(steps, None)  # An entry's name says nothing of its kind, whatever it is called.
                break
    return kind


def _models(annotation: Any) -> Iterator[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
