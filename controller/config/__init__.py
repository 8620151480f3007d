"""The config room: text -> located tree -> schema -> model, and every problem at once, with its place.

    loaded = load(Path("topologies/quickstart"))
    for problem in loaded.problems:
        print(render(problem))

Importing this package is cheap; the parser and the schema are imported by the first load.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from controller.config.problem import CODES, Problem, render
from controller.config.result import Cache, Loaded
from controller.model.entities import Topology

__all__ = ["CODES", "Cache", "Loaded", "Problem", "load", "render"]


def load(
    folder: Path,
    previous: Topology | None = None,
    cache: Cache | None = None,
    changed: Collection[Path] | None = None,
) -> Loaded:
    """Return the topology that the folder's files describe, or all that is wrong with them.

    What `previous`, the last good topology, allocated stays with its owners. A `cache` that is kept from load to load
    spares what did not change. `changed` names the files, below `folder` as it is given, that may have changed since the last load with
    this cache: written, new, or gone. Only they are looked at; None means that any may have. The result is that of a load without
    a cache. Nothing in the folder raises: whatever it holds is answered with problems.
    """
    from controller.config.loader import load_folder

    return load_folder(folder, previous, cache if cache is not None else Cache(), changed)
