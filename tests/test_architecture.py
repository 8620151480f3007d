"""The house, as data: who may import whom, how long files and functions may be, what must be documented."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 60

CORE = {"config", "model", "graph", "pipeline", "proof"}

# Room -> the other rooms and the third parties that it may import. A room is a package or a module of `controller`.
ALLOWED: dict[str, set[str]] = {
    "app": {"engine", "switch", "control", "model", "watch", "os_ken"},
    "manager": {"app", "control", "config", "engine", "switch", "os_ken"},
    "memo": set(),
    "engine": {*CORE, "answers", "observed", "switch", "wire"},
    "observed": {"model", "pipeline"},
    "control": set(),
    "watch": {"inotify_simple"},
    "pki": {"cryptography"},
    "config": {"model", "yaml", "pydantic", "pydantic_core", "annotated_types"},
    "model": set(),
    "graph": {"memo", "model", "networkx"},
    "pipeline": {"memo", "model", "graph"},
    "proof": {"model", "graph", "pipeline"},
    "wire": {"pipeline", "model"},
    "answers": {"pipeline", "graph", "model"},
    "switch": {"wire", "pipeline", "model", "os_ken", "ovs", "eventlet"},
    "cli": {*CORE, "control", "engine", "lab", "manager", "pki", "switch", "wire", "click", "rich"},
    "lab": {"model", "config", "control", "graph", "proof", "switch", "mininet"},
}

# Modules that are held to less than their room.
TIGHTER: dict[str, set[str]] = {
    "controller/engine": {*CORE, "observed", "answers", "switch.status"}
    | {"wire.announce", "wire.packet_out", "wire.sample"},
    "controller/proof/oracle.py": {"model", "graph"},
    "controller/wire": {"pipeline.flow", "pipeline.fields", "pipeline.nat", "model"},
}

PURE = CORE | {"answers", "memo", "wire"}
IMPURE = {
    "asyncio",
    "multiprocessing",
    "os_ken",
    "random",
    "secrets",
    "select",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}

# One place may use each of these; everything else asks that place.
ONLY_IN = {
    "cryptography": {"pki"},
    "inotify_simple": {"watch"},
    "os_ken": {"app", "manager", "switch"},
    "pydantic": {"config"},
    "click": {"cli"},
    "rich": {"cli"},
}

SOURCES = sorted((ROOT / "controller").rglob("*.py"))
EVERYTHING = [
    *SOURCES,
    *(path for top in ("tests", "benchmarks", "docs") for path in sorted((ROOT / top).rglob("*.py"))),
]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(path: Path) -> str:
    return path.relative_to(ROOT / "controller").parts[0].removesuffix(".py")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import, wherever in the file it stands, that happens at run time."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree(path)):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def judged(dotted: str, own: str) -> str | None:
    """Return the room or third party that an import reaches, None for the standard library and for the own room."""
    first, _, rest = dotted.partition(".")
    if first == "controller":
        target = rest.partition(".")[0]
        return None if target in ("", own) else target
    return None if first in sys.stdlib_module_names else first


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    if path == ROOT / "controller" / "__init__.py":
        assert not list(imports(path))
        return
    own = room(path)
    assert own in ALLOWED, f"controller/{own} is not in the table of rooms"
    found = ((line, dotted, judged(dotted, own)) for line, dotted in imports(path))
    wrong = [f"{name(path)}:{line}: {dotted}" for line, dotted, what in found if what and what not in ALLOWED[own]]
    assert not wrong, f"{own} may import {sorted(ALLOWED[own])}"


@pytest.mark.parametrize("rule", TIGHTER)
def test_some_modules_are_held_to_less(rule: str) -> None:
    place = ROOT / rule
    for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
        for line, dotted in imports(path):
            rest = dotted.removeprefix("controller.")
            if rest != dotted and not rest.startswith(room(path)):
                assert any(f"{rest}.".startswith(f"{allowed}.") for allowed in TIGHTER[rule]), (
                    f"{name(path)}:{line}: {dotted}"
                )


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parent.name and room(path) in PURE], ids=name)
def test_the_core_has_no_sockets_clock_or_chance(path: Path) -> None:
    wrong = [f"{name(path)}:{line}: {dotted}" for line, dotted in imports(path) if dotted.partition(".")[0] in IMPURE]
    assert not wrong


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_has_its_rooms(package: str) -> None:
    users = {room(path) for path in SOURCES for _, dotted in imports(path) if dotted.partition(".")[0] == package}
    assert users <= ONLY_IN[package]


@pytest.mark.parametrize("path", EVERYTHING, ids=name)
def test_files_and_functions_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_OF_A_FILE, f"{name(path)} has {lines} lines"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LINES_OF_A_FUNCTION, f"{name(path)}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path)), f"{name(path)} has no docstring"


def public(body: list[ast.stmt], owner: str) -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{owner}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{owner}{node.name}.")


def overrides(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(decorator) in ("override", "typing.override", "overload") for decorator in decorators)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_what_is_public_is_documented(path: Path) -> None:
    silent = [
        what
        for what, node in public(tree(path).body, "")
        if not overrides(node)
        and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not ast.get_docstring(node)
    ]
    assert not silent, f"{name(path)}: no docstring: {', '.join(silent)}"


HEAVY_ALWAYS = ("os_ken", "eventlet", "ovs")
START = """
import sys
from controller.cli import weft
try:
    weft(sys.argv[2:], prog_name="weft")
except SystemExit as left:
    assert left.code in (0, None), left.code
loaded = [name for name in sys.argv[1].split(",") if name in sys.modules]
assert not loaded, f"weft {sys.argv[2:]} imported {loaded}"
"""


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (
            ["--help"],
            (*HEAVY_ALWAYS, "rich", "networkx", "pydantic", "yaml", "controller.config", "controller.pipeline"),
        ),
        (["completion", "bash"], (*HEAVY_ALWAYS, "rich", "networkx", "pydantic", "yaml")),
        (["validate", "topologies/quickstart"], (*HEAVY_ALWAYS, "networkx")),
        (["flows", "topologies/quickstart"], (*HEAVY_ALWAYS, "rich")),
        (["graph", "topologies/quickstart"], (*HEAVY_ALWAYS, "rich")),
        (["schema"], (*HEAVY_ALWAYS, "networkx")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_verb_without_switches_does_not_pay_for_them(arguments: list[str], unwanted: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", START, ",".join(unwanted), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
