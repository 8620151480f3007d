"""Reading a topology's files, within bounds and without trust.

What a tenant hands in may be huge, binary, a pipe, a directory or a link to somewhere else: each is refused with
its reason before it can hang or fill the controller.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
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
class Shelf:
    """What was read of a folder, so that only what changed is read again.

    `names` holds what stands in the folder and in its `tenants`, where these could be listed; `texts` and `sizes` (in bytes) the files
    that could be read. What could not be had is never kept, so it is tried every time. `stale` are the tenants whose files may have
    changed since somebody last took note of that by emptying it, None for all.
    """

    names: dict[Path, set[str]] = field(default_factory=dict)
    tenants: tuple[dict[str, Path], list[Path]] | None = None  # Tenants' files, and others beside them.
    texts: dict[str, Text] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    former: dict[str, Text] = field(default_factory=dict)  # What files said that have not been read again since.
    cut: set[str] = field(default_factory=set)  # Files that were saved when there was no space, and not again since.
    total: int = 0
    stale: set[str] | None = None

    def forget(self, changed: Collection[Path] | None) -> None:
        """Drop what is known of these paths, or everything for None and where it cannot be told what a path changes."""
        if changed is None or any(path.parent not in self.names or path in self.names for path in changed):
            self.former |= self.texts
            self.names, self.tenants, self.texts, self.sizes = {}, None, {}, {}
            self.cut, self.total, self.stale = set(), 0, None
            return
        for path in changed:
            self.cut.discard(str(path))
            text = self.texts.pop(str(path), None)
            if text is not None:
                self.former[text.name] = text
                self.total -= self.sizes.pop(text.name)
            if self.stale is not None and path.parent.name == TENANTS:
                self.stale.add(path.name.removesuffix(".yaml"))
            names = self.names[path.parent]
            is_there = os.path.lexists(path)
            if is_there != (path.name in names):
                self.tenants = None
                (names.add if is_there else names.discard)(path.name)

    def keep(self, text: Text, size: int) -> None:
        """Keep a file that was read and has so many bytes."""
        self.texts[text.name], self.sizes[text.name] = text, size
        self.former.pop(text.name, None)
        self.total += size

    def is_cut_off(self, text: Text, path: Path) -> bool:
        """Whether a file that was just read was saved when there was no space for it, and not again since."""
        if text.name not in self.cut and text == self.former.get(text.name):
            return False
        if _is_full(path):
            self.cut.add(text.name)
        return text.name in self.cut

    def has_room_for(self, files: int) -> bool:
        """Whether so many further files are never too much, whatever their sizes."""
        return self.total + files * MAX_FILE_BYTES <= MAX_TOTAL_BYTES

    def listing(self, folder: Path) -> set[str]:
        """Return the names in a folder, or raise OSError."""
        if folder not in self.names:
            self.names[folder] = {entry.name for entry in folder.iterdir()}
        return self.names[folder]


@dataclass(slots=True)
class Reader:
    """Reads the files of one folder, as far as they are not on the shelf, and counts their bytes.

    `is_wary` says that good files are known already: what was saved to a full file system is then refused, for it may end anywhere.
    """

    folder: Path
    problems: Problems
    shelf: Shelf = field(default_factory=Shelf)
    is_wary: bool = False
    total: int = 0

    def fabric(self) -> Text | None:
        """Return fabric.yaml, or report why not."""
        try:
            if self.folder not in self.shelf.names and not stat.S_ISDIR(self.folder.stat().st_mode):
                self._refuse("N001", self.folder, "a topology is a folder, and this is not one")
                return None
            entries = self.shelf.listing(self.folder)
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
            found, others = self.shelf.tenants or self._tenants(folder)
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._refuse("N001", folder, f"cannot read the folder: {_reason(error)}")
            return {}
        for path in others:
            if path.suffix == ".yml":
                self._refuse("N006", path, f"a tenant's file is called {path.stem}.yaml")
            else:
                self._warn(path, "not read: a tenant's file is called TENANT.yaml")
        return found

    def _tenants(self, folder: Path) -> tuple[dict[str, Path], list[Path]]:
        found: dict[str, Path] = {}
        others: list[Path] = []
        for name in sorted(self.shelf.listing(folder)):
            if name.startswith("."):
                continue  # Hidden files are editors' and Kubernetes' own.
            if name.endswith(".yaml"):
                found[name.removesuffix(".yaml")] = folder / name
            else:
                others.append(folder / name)
        self.shelf.tenants = found, others
        return self.shelf.tenants

    def refuse_stranger(self, path: Path, tenant: str, tenants: list[str]) -> None:
        """Report the file of a tenant that fabric.yaml does not name."""
        near = nearest(tenant, tenants)
        hint = f'did you mean "{near}"?' if near else f"add it to the tenants of {self.folder / FABRIC}"
        self._refuse("N006", path, f"{FABRIC} names no tenant {quote(tenant)}", hint)

    def read(self, path: Path) -> Text | None:
        """Return the file's text, or report why it cannot be had."""
        known = self.shelf.texts.get(str(path))
        if known is not None:
            size = self.shelf.sizes[known.name]
            if not self._fits(path, size):
                return None
            self.total += size
            return known
        try:
            if not self._is_inside(path):
                self._refuse("N003", path, "the link leads out of the topology's folder")
                return None
            data = self._bytes(path)
        except (OSError, ValueError, RuntimeError) as error:
            self._refuse("N001", path, f"cannot read the file: {_reason(error)}")
            return None
        text = None if data is None else self._decode(path, data)
        if data is None or text is None:
            return None
        if self.is_wary and self.shelf.is_cut_off(text, path):
            message = "the file was saved when its file system was full, so it may be cut off"
            self._refuse("N007", path, message, "make room and save it again")
            return None
        self.shelf.keep(text, len(data))
        return text

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


def _is_full(path: Path) -> bool:
    """Whether users can write nothing more where a file is. What is read-only is always full, and is never cut off."""
    try:
        status = os.statvfs(path)
    except OSError:
        return False  # It is gone again, which will be told.
    return status.f_blocks > 0 and status.f_bavail == 0 and not status.f_flag & os.ST_RDONLY


def _place(path: Path, before: bytes) -> Place:
    """Return the place that follows these bytes."""
    text = before.decode("utf-8", "replace")
    lines = text.split("\n")
    return Place(str(path), len(lines), len(lines[-1]) + 1)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
