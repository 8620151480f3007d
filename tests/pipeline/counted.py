"""How often queries are computed, and read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from controller.memo import Cell, Memo


@contextmanager
def computations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count what is computed in the block, by query."""
    counted: Counter[str] = Counter()
    compute = Memo._compute

    def counting(memo: Memo, cell: Cell) -> None:
        counted[cell.query.name] += 1
        compute(memo, cell)

    with monkeypatch.context() as patch:
        patch.setattr(Memo, "_compute", counting)
        yield counted


@contextmanager
def readings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count what is read in the block, by query: it tells the work within computations as well."""
    counted: Counter[str] = Counter()
    read = Memo.read

    def counting(memo: Memo, wanted: Any, key: tuple[Any, ...]) -> Any:
        counted[wanted.name] += 1
        return read(memo, wanted, key)

    with monkeypatch.context() as patch:
        patch.setattr(Memo, "read", counting)
        yield counted
