"""Labs for network stories: a folder, or files written in the test, up with the controller and in sync."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import pytest

from controller import config
from controller.lab.lab import Lab
from tests.lab.net import Net

Bring = Callable[..., Net]

_numbers = itertools.count()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Bring]:
    """Return what brings a lab up: `lab("topologies/quickstart")`, `lab({"fabric.yaml": ..., "tenants/red.yaml": ...})`.

    The files are copied, so that a story may edit them (`net.lab.folder`); LABDIR in them stands for the lab's directory.
    `controller=False` leaves the controller to the story, `without=("hv3",)` hosts and ports, `outside=False` who is outside; `asking`
    ports get no addresses. All labs are down after the test.
    """
    made: list[Lab] = []

    def bring(
        files: str | Path | Mapping[str, str],
        *,
        controller: bool = True,
        without: Collection[str] = (),
        asking: Collection[str] = (),
        outside: bool = True,
    ) -> Net:
        name = f"t{os.getpid()}-{next(_numbers)}"
        folder = tmp_path / f"{name}.files"
        if isinstance(files, Mapping):
            for path, text in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text.replace("LABDIR", str(tmp_path / name)), encoding="utf-8")
        else:
            shutil.copytree(files, folder)
        loaded = config.load(folder)
        assert loaded.topology is not None, "\n".join(map(config.render, loaded.problems))
        running = Lab.up(
            *(loaded.topology, folder, name),
            directory=tmp_path / name,
            controller=controller,
            without=without,
            asking=asking,
            outside=outside,
        )
        made.append(running)
        if controller:
            running.wait_in_sync()
        return Net(running)

    yield bring
    for running in made:
        running.down()
