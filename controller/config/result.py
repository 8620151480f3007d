"""What a load gives, and what it may leave for the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from controller.config.files import Shelf
from controller.config.problem import Problem, Problems
from controller.model.entities import Topology

if TYPE_CHECKING:
    from controller.config.between import Claims
    from controller.config.declared import Declared
    from controller.config.expectations import Expectations
    from controller.config.fabric import Fabric
    from controller.config.outside import Outside
    from controller.config.schema import TenantFile
    from controller.config.tenant import Part


@dataclass(frozen=True, slots=True)
class Loaded:
    """The topology, None if there is any error, and what is wrong; `left_out` more problems were only counted.

    `tenants` are those whose entities or tests may differ from the previous topology's; None means that anything may. What others have
    is equal to what they had, places included.
    """

    topology: Topology | None
    problems: tuple[Problem, ...]
    files: tuple[str, ...]
    left_out: int = 0
    tenants: frozenset[str] | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that are no warnings."""
        return tuple(problem for problem in self.problems if not problem.is_warning)


@dataclass(slots=True)
class Cache:
    """What one load leaves for the next: texts, what they declare, and what was made of it.

    Its owner hands the same object to every load of a folder; its content is nobody else's business. Nothing in it is trusted by age:
    each piece carries what it was made from, and is used again only where that is the same.
    """

    shelf: Shelf = field(default_factory=Shelf)
    fabric: tuple[Fabric, Problems] | None = None
    files: tuple[Fabric, Mapping[str, Path], tuple[str, ...]] | None = (
        None  # What was read for which tenants and paths.
    )
    tenants: dict[str, Declared[TenantFile]] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    bases: dict[str, Part] = field(default_factory=dict)  # The parts in force of tenants whose own are others by now.
    around: tuple[Fabric, Topology | None, Topology | None] | None = (
        None  # What the parts were made of, after, and into.
    )
    noisy: set[str] = field(default_factory=set)  # Tenants of whose files and parts there is something to report.
    tests: dict[str, Expectations] = field(default_factory=dict)
    claims: Claims | None = None
    outside: tuple[Fabric, Topology, Outside] | None = None  # Who has which address outside in a topology.
    topology: Topology | None = None  # The last that was made, and the tests in it.
    tests_in_force: dict[str, Expectations] = field(default_factory=dict)
