"""Reading a topology's files, within bounds and without trust.

What a tenant hands in may be huge, binary, a pipe, a directory or a link to somewhere else: each is refused with
its reason before it can hang or fill the controller.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from controller.config.problem import Problem, Problems, quote
from controller.config.suggest import nearest
from controller.model.entities import Place

MAX_FILE_BYTES = 8 << 20
MAX_TOTAL_BYTES = 64 << 20
_MEBIBYTE = 1 << 20

FABRIC = "fabric.yaml"
TENANTS = "tenants"


@dataclass(frozen=True, slots=True)
class Text:
    """A file's name as the user knows it, and what it holds."""

    name: str
    text: str


@dataclass(slots=True)
class Reader:
    """Reads the files of one folder and counts their bytes."""

    folder: Path
    problems: Problems
    total: int = 0

    def fabric(self) -> Text | None:
        """Return fabric.yaml, or report why not."""
        try:
            if not stat.S_ISDIR(self.folder.stat().st_mode):
                self._refuse("N001", self.folder, "a topology is a folder, and this is not one")
                return None
            entries = {entry.name for entry in self.folder.iterdir()}
        except (OSError, ValueError) as error:
            self._refuse("N001", self.folder, f"cannot read the folder: {_reason(error)}")
            return None
        if FABRIC not in entries:
            wrong = nearest(FABRIC, sorted(entries))
            hint = f"is {quote(wrong)} meant? It must be called {FABRIC}" if wrong else "see docs/format.md"
            self._refuse("N002", self.folder, f"the folder has no {FABRIC}", hint)
            return None
        for name in sorted(entries - {FABRIC}):
            if name.endswith((".yaml", ".yml")) and not name.startswith("."):
                self._warn(self.folder / name, f"not read: a topology is {FABRIC} and {TENANTS}/TENANT.yaml")
        return self.read(self.folder / FABRIC)

    def tenant_files(self) -> dict[str, Path]:
        """Return tenant -> path for every file of the folder `tenants`, whether the tenant exists or not."""
        folder = self.folder / TENANTS
        try:
            names = sorted(entry.name for entry in folder.iterdir())
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._refuse("N001", folder, f"cannot read the folder: {_reason(error)}")
            return {}
        found: dict[str, Path] = {}
        for name in names:
            if name.startswith("."):
                continue  # Hidden files are editors' and Kubernetes' own.
            if name.endswith(".yaml"):
                found[name.removesuffix(".yaml")] = folder / name
            elif name.endswith(".yml"):
                self._refuse("N006", folder / name, f"a tenant's file is called {name.removesuffix('.yml')}.yaml")
            else:
                self._warn(folder / name, "not read: a tenant's file is called TENANT.yaml")
        return found

    def refuse_stranger(self, path: Path, tenant: str, tenants: list[str]) -> None:
        """Report the file of a tenant that fabric.yaml does not name."""
        near = nearest(tenant, tenants)
        hint = f'did you mean "{near}"?' if near else f"add it to the tenants of {self.folder / FABRIC}"
        self._refuse("N006", path, f"{FABRIC} names no tenant {quote(tenant)}", hint)

    def read(self, path: Path) -> Text | None:
        """Return the file's text, or report why it cannot be had."""
        try:
            if not self._is_inside(path):
                self._refuse("N003", path, "the link leads out of the topology's folder")
                return None
            data = self._bytes(path)
        except (OSError, ValueError, RuntimeError) as error:
            self._refuse("N001", path, f"cannot read the file: {_reason(error)}")
            return None
        return None if data is None else self._decode(path, data)

    def _is_inside(self, path: Path) -> bool:
        """Whether the file really lies in the folder: messages quote files, and must not quote others'."""
        return not path.is_symlink() or path.resolve(strict=True).is_relative_to(self.folder.resolve(strict=True))

    def _bytes(self, path: Path) -> bytes | None:
        # Looking before opening keeps devices untouched; opening without blocking keeps a pipe from hanging us
        # should it be swapped in between.
        if not self._is_regular(path, path.stat()):
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not self._is_regular(path, status) or not self._fits(path, status.st_size):
                return None
            data = file.read(MAX_FILE_BYTES + 1)
        if not self._fits(path, len(data)):
            return None
        self.total += len(data)
        return data

    def _is_regular(self, path: Path, status: os.stat_result) -> bool:
        if stat.S_ISREG(status.st_mode):
            return True
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        self._refuse("N003", path, f"this is {kind}, not a file")
        return False

    def _fits(self, path: Path, size: int) -> bool:
        if size > MAX_FILE_BYTES:
            megabytes = -(-size // _MEBIBYTE)
            self._refuse("N004", path, f"the file has {megabytes} MiB; at most {MAX_FILE_BYTES // _MEBIBYTE} are read")
            return False
        if self.total + size > MAX_TOTAL_BYTES:
            self._refuse("N004", path, f"all files together have more than {MAX_TOTAL_BYTES // _MEBIBYTE} MiB")
            return False
        return True

    def _decode(self, path: Path, data: bytes) -> Text | None:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            self._refuse("N005", path, "the file is UTF-16; save it as UTF-8")
            return None
        body = data.removeprefix(b"\xef\xbb\xbf")
        if 0 in body:
            place = _place(path, body[: body.index(0)])
            self._refuse("N005", path, "the file holds a NUL byte: it is not text", place=place)
            return None
        try:
            return Text(str(path), body.decode("utf-8"))
        except UnicodeDecodeError as error:
            place = _place(path, body[: error.start])
            self._refuse("N005", path, f"byte {body[error.start]:#04x} is not UTF-8", "save it as UTF-8", place)
            return None

    def _refuse(self, code: str, path: Path, message: str, hint: str | None = None, place: Place | None = None) -> None:
        self.problems.add(Problem(code, message, place or Place(str(path), 1, 1), 1, "", hint))

    def _warn(self, path: Path, message: str) -> None:
        self.problems.add(Problem("W003", message, Place(str(path), 1, 1), 1, "", None, is_warning=True))


def _place(path: Path, before: bytes) -> Place:
    """Return the place that follows these bytes."""
    text = before.decode("utf-8", "replace")
    lines = text.split("\n")
    return Place(str(path), len(lines), len(lines[-1]) + 1)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
