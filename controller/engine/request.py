"""What somebody asks of the engine."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from controller.engine.delivery import ChangeSet
from controller.engine.intent import Report


@dataclass(slots=True)
class Request:
    """Somebody's wish, and what became of it once `done` is set: to have files read, or to go back to the last topology that held.

    `paths` are the files that may have changed, None for all.
    """

    paths: Collection[Path] | None = None
    done: threading.Event = field(default_factory=threading.Event)
    report: Report = field(default_factory=lambda: Report(False, ()))
    change: ChangeSet | None = None


@dataclass(slots=True)
class Drain(Request):
    """The wish that a host leads out only if nobody else can, or no longer so."""

    host: str = ""
    is_drained: bool = True


def together(wishes: Iterable[Request]) -> set[Path] | None:
    """Return all paths that wishes name, None if one of them means everything."""
    paths: set[Path] = set()
    for wish in wishes:
        if wish.paths is None:
            return None
        paths.update(wish.paths)
    return paths
