"""How often queries are computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

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
