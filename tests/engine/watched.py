"""A topology's folder under watch, and what its watcher tells."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.engine import Engine
from controller.watch import Signature, Watcher, signature

DEADLINE_S = 10.0


class Told:
    """What a watcher told, in order: paths below the folder as text, None for everything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._news: queue.SimpleQueue[frozenset[Path] | None] = queue.SimpleQueue()

    def take(self, paths: frozenset[Path] | None) -> None:
        """Be told."""
        self._news.put(paths)

    def next(self) -> set[str] | None:
        """Return what is told next; fail after a deadline."""
        paths = self._news.get(timeout=DEADLINE_S)
        return None if paths is None else {str(path.relative_to(self._folder)) for path in paths}

    def until(self, *names: str) -> list[set[str] | None]:
        """Return all that is told until these paths, or everything, have been."""
        heard: list[set[str] | None] = []
        waiting, deadline = set(names), time.monotonic() + DEADLINE_S
        while waiting:
            assert time.monotonic() < deadline, f"{waiting} not told, but {heard}"
            heard.append(self.next())
            last = heard[-1]
            waiting = set() if last is None else waiting - last
        return heard

    def everything(self) -> None:
        """Wait until everything is told."""
        while self.next() is not None:
            pass


def make(folder: Path, *tenants: str) -> Path:
    """Make a topology's folder with these tenants' files."""
    (folder / "tenants").mkdir(parents=True)
    (folder / "fabric.yaml").write_text("fabric: a\n")
    for tenant in tenants:
        red(folder, tenant).write_text("ports: {}\n")
    return folder


def red(folder: Path, tenant: str = "red") -> Path:
    """Return the path of a tenant's file."""
    return folder / "tenants" / f"{tenant}.yaml"


@contextmanager
def watching(folder: Path, since: Signature | None = None) -> Iterator[Told]:
    """Watch a folder. It is watched once a first change has been told."""
    told = Told(folder)
    watcher = Watcher(folder, told.take, since)
    watcher.start()
    try:
        yield told
    finally:
        watcher.close()


@contextmanager
def served(folder: Path, meanwhile: Callable[[], object] = lambda: None) -> Iterator[Engine]:
    """Run an engine that a watcher tells of the folder's files, as the controller does; `meanwhile` happens before it watches."""
    engine = Engine(folder)
    seen = signature(folder)
    assert engine.load().accepted
    meanwhile()
    engine.start()
    watcher = Watcher(folder, engine.reload_soon, seen)
    watcher.start()
    try:
        yield engine
    finally:
        watcher.close()
        engine.close(DEADLINE_S)


def state_of(engine: Engine) -> str:
    """Return what became of the last load: accepted, or why not."""
    report = engine.intent.report
    return "accepted" if report.accepted else "\n".join(report.problems)


def ports_of(engine: Engine) -> set[str]:
    """Return the ports in force."""
    topology = engine.intent.topology
    return set(topology.ports) if topology is not None else set()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for something to become true, at most until a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)
