"""What a load gives, and what it may leave for the next one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from controller.config.problem import Problem
from controller.model.entities import Topology

if TYPE_CHECKING:
    from controller.config.declared import Declared
    from controller.config.schema import FabricFile, TenantFile
    from controller.config.tenant import Part


@dataclass(frozen=True, slots=True)
class Loaded:
    """The topology, None if there is any error, and what is wrong; `left_out` more problems were only counted."""

    topology: Topology | None
    problems: tuple[Problem, ...]
    files: tuple[str, ...]
    left_out: int = 0

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that are no warnings."""
        return tuple(problem for problem in self.problems if not problem.is_warning)


@dataclass(slots=True)
class Cache:
    """What one load leaves for the next: files by their content, and the parts of the last good topology.

    Its owner hands the same object to every load of a folder; its content is nobody else's business.
    """

    fabric: tuple[str, Declared[FabricFile]] | None = None
    tenants: dict[str, tuple[str, Declared[TenantFile]]] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    topology: Topology | None = None
