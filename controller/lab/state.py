"""What a lab has made so far, written down before it is made, so that `down` takes away exactly that."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from controller.lab.beyond import NOTHING, OutsidePlan
from controller.lab.namespaces import Process
from controller.lab.plan import LabPlan, UnknownName

LABS = Path("/run/weft/labs")

_FILE = "state.json"


@dataclass(slots=True)
class State:
    """The record of one lab. `number` names its namespaces (`weft7`) and its management network (169.254.7.0/24)."""

    directory: Path
    name: str
    folder: Path
    plan: LabPlan
    number: int = 0
    hosts: dict[str, int] = field(default_factory=dict)  # Started hosts -> number within the lab.
    ports: list[str] = field(default_factory=list)  # Plugged ports.
    namespaces: list[str] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    controller: Process | None = None
    outside: OutsidePlan = NOTHING  # As it is built.
    alone: bool = False  # Nothing is to be built there.

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Everything that runs commands and is no host: the plugged ports, and who is outside."""
        return (*self.ports, *self.outside.names)

    @property
    def link(self) -> str:
        """The lab's one interface outside its namespaces."""
        return f"weft{self.number}"

    def namespace(self, *parts: str) -> str:
        """Return the namespace of the lab itself, of a host (`HOST`) or of a port (`TENANT`, `PORT`)."""
        return ".".join((f"weft{self.number}", *parts))

    def address(self, number: int) -> str:
        """Return an address of the management network; 1 is where the controller listens."""
        return f"169.254.{self.number}.{number}"

    def save(self) -> None:
        """Write the record; a reader never meets half of it."""
        record: dict[str, Any] = {
            "name": self.name,
            "folder": str(self.folder),
            "number": self.number,
            "hosts": self.hosts,
            "ports": self.ports,
            "namespaces": self.namespaces,
            "processes": [asdict(process) for process in self.processes],
            "controller": asdict(self.controller) if self.controller else None,
            "plan": self.plan.to_json(),
            "outside": asdict(self.outside),
            "alone": self.alone,
        }
        draft = self.directory / f"{_FILE}.new"
        draft.write_text(json.dumps(record), encoding="utf-8")
        draft.replace(self.directory / _FILE)

    def forget(self) -> None:
        """Remove the record, and the lab's directory if nothing of anybody else's is in it."""
        (self.directory / _FILE).unlink(missing_ok=True)
        if self.directory.exists() and not any(self.directory.iterdir()):
            self.directory.rmdir()


def is_recorded(directory: Path) -> bool:
    """Return whether a lab is, or was left, in this directory."""
    return (directory / _FILE).exists()


def read_state(directory: Path) -> State:
    """Return the record of the lab in a directory."""
    try:
        record = json.loads((directory / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnknownName(f"no lab in {directory}") from None
    controller = record["controller"]
    return State(
        directory=directory,
        name=record["name"],
        folder=Path(record["folder"]),
        plan=LabPlan.from_json(record["plan"]),
        number=record["number"],
        hosts=record["hosts"],
        ports=record["ports"],
        namespaces=record["namespaces"],
        processes=[Process(**process) for process in record["processes"]],
        controller=Process(**controller) if controller else None,
        outside=OutsidePlan.from_json(record.get("outside")),
        alone=record.get("alone", False),
    )


def labs(base: Path = LABS) -> list[str]:
    """Return the names of the labs on this machine."""
    return sorted(entry.name for entry in base.iterdir() if is_recorded(entry)) if base.is_dir() else []
