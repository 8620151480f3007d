"""Notices that a topology's files have changed.

It compares what `stat` says of every file, a few times a second: that sees editors that write in place, files
replaced by rename and folders swapped by symbolic link alike, on every file system, for a millisecond per thousand files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

_PERIOD_S = 0.2

Signature = frozenset[tuple[str, int, int, int]]


def signature(folder: Path) -> Signature:
    """Return what identifies the present contents of a topology folder: name, inode, size and time of each file."""
    found = []
    for path in (folder / "fabric.yaml", *sorted((folder / "tenants").glob("*"))):
        try:
            state = path.stat()
        except OSError:
            continue
        found.append((path.name, state.st_ino, state.st_size, state.st_mtime_ns))
    return frozenset(found)


class Watcher:
    """Calls back, from a thread of its own, when files have changed and then been quiet for one period."""

    def __init__(self, folder: Path, changed: Callable[[], None], period_s: float = _PERIOD_S) -> None:
        self._folder = folder
        self._changed = changed
        self._period_s = period_s
        self._stopped = threading.Event()
        self._seen = signature(folder)

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def _run(self) -> None:
        pending = False
        while not self._stopped.wait(self._period_s):
            now = signature(self._folder)
            if now != self._seen:
                self._seen, pending = now, True
            elif pending:
                pending = False
                self._changed()
