"""The files: read, tested, and either in force or refused; the last good topology outlives what is refused."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from controller import config
from controller.config.expectations import tell_failure
from controller.model.entities import Topology
from controller.proof.policy import Judged, run_again

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a load: whether it is in force, and every problem as text for people."""

    accepted: bool
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """A topology that the files describe and whose tests pass; `tenants` as `controller.config.Loaded` has it."""

    topology: Topology
    tenants: frozenset[str] | None
    warnings: tuple[str, ...]
    judged: Judged


class Intent:
    """What the files ask for. One thread reads; any thread may look at `topology` and `report`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.topology: Topology | None = None
        self.report = Report(False, ())
        self._cache = config.Cache()
        self._judged: Judged | None = None  # The results of the tests of the topology in force.

    def read(self, changed: Collection[Path] | None) -> Read | None:
        """Return what the files say now, None if it is refused or in force already; `changed` as `controller.config.load` has it."""
        loaded = config.load(self.folder, self.topology, self._cache, changed)
        problems = tuple(config.render(problem) for problem in loaded.problems)
        if loaded.topology is None:
            self.refuse(problems)
            return None
        judged = run_again(loaded.topology, self._judged, loaded.tenants)
        failed = [each for each in judged.results if not each.passed]
        if failed:
            self.refuse(problems + tuple(tell_failure(each.test, each.explanation) for each in failed))
            return None
        read = Read(loaded.topology, loaded.tenants, problems, judged)
        if loaded.topology == self.topology:
            # Nothing was meant by it: a file saved as it was, or the watch noticing what a request has loaded. Lines may have moved.
            self.topology, self.report, self._judged = loaded.topology, Report(True, problems), judged
            LOG.info("the files of %s say what is in force already", loaded.topology.name)
            return None
        return read

    def accept(self, read: Read) -> None:
        """Take a topology as the one in force."""
        self.topology, self.report, self._judged = read.topology, Report(True, read.warnings), read.judged
        LOG.info("topology %s is in force: %d ports", read.topology.name, len(read.topology.ports))

    def refuse(self, problems: tuple[str, ...]) -> None:
        """Note that the files as they are now are not in force, and why."""
        self.report = Report(False, problems)
        if self.topology is not None:  # At the start the caller tells them, and leaves.
            LOG.error("refused, the last good topology stays in force:\n%s", "\n".join(problems))

    def return_to(self, former: Topology, problems: tuple[str, ...]) -> None:
        """Put a former topology in force again, although the files say otherwise."""
        self.topology, self._judged = former, None
        self.refuse(problems)
