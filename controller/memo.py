"""Values that remember what they were computed from, so that a change costs what depends on it.

    port = Input("port")                            what is set from outside

    @query
    def members(memo, network): ...                 what follows; it may read inputs and queries declared before it

    memo.set(port, ("red/web1",), entity)
    memo.settle()                                   computes anew what read something that changed, and nothing else

A query is called like a function, `members(memo, "red/web")`. Its value is kept in a cell together with the cells that were read while
it was computed: nobody declares what depends on what. `settle` goes through the stale cells in the order in which their queries were
declared; a cell whose new value equals the old one makes no reader stale. So a query may read earlier queries only, and every
value it reads is fresh. (The scheme is that of build systems "à la carte" with early cut-off and of Salsa; Mokhov et al., 2018.)

A query can also `require` others without reading them: that keeps them alive, does not make it depend on their values, and leaves their
computation to their own turn, so that they may be declared later. What nobody reads, requires or keeps is dropped, before its
turn if it has one. Cells of a query that emits are told by `emissions` when they come, change or go.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

Given = ParamSpec("Given")
Value = TypeVar("Value")
Key = tuple[Hashable, ...]

_declared = 0


def _next_rank() -> int:
    global _declared  # noqa: PLW0603 - the order of declarations is the order of computation.
    _declared += 1
    return _declared


class OutOfOrder(RuntimeError):
    """A query read one that was declared after it: a defect of the code."""


class Cell:
    """A value, what it was computed from and who uses it. Of a user, True says that the value matters to it."""

    __slots__ = ("is_kept", "is_stale", "key", "query", "reads", "users", "value")

    def __init__(self, query: Any, key: Key) -> None:
        self.query = query
        self.key = key
        self.value: Any = None
        self.reads: tuple[Cell, ...] = ()
        self.users: dict[Cell, bool] | None = None
        self.is_stale = False
        self.is_kept = False


class Memo:
    """All cells of one computation. Not for several threads at once."""

    def __init__(self) -> None:
        self._tables: dict[int, dict[Key, Cell]] = {}
        self._stale: dict[int, list[Cell]] = {}  # By the rank of their query.
        self._idle: list[Cell] = []  # Cells that may have no user.
        self._emitted: dict[Cell, Any] = {}  # Cell -> its value when emissions were last taken.
        self._reads: dict[Cell, bool] | None = None  # What the query under computation has used so far.
        self._computing: Cell | None = None

    def set(self, kind: Input[Any], key: Key, value: object) -> None:
        """Set an input; None is the value of inputs that were never set."""
        cell = self._cell(kind, key)
        # What is equal need not be the same: a place in the files is no part of an entity's value.
        before, cell.value = cell.value, value
        if before != value:
            self._spread(cell)
        if value is None:
            self._idle.append(cell)

    def keep(self, wanted: Query[..., Any], *key: Hashable) -> None:
        """Have a query computed by `settle`, and keep its cell until it is released."""
        self._wait(wanted, key).is_kept = True

    def release(self, wanted: Query[..., Any], *key: Hashable) -> None:
        """Undo `keep`."""
        cell = self._tables.get(wanted.rank, {}).get(key)
        if cell is not None:
            cell.is_kept = False
            self._idle.append(cell)

    def require(self, wanted: Query[..., Any], *key: Hashable) -> None:
        """Keep another query's cell alive for as long as the query under computation asks for it."""
        cell = self._wait(wanted, key)
        if self._reads is not None:
            self._reads.setdefault(cell, False)

    def read(self, wanted: Any, key: Key) -> Any:
        """Return a query's value, and note that the query under computation depends on it."""
        table = self._tables.get(wanted.rank)
        cell = table.get(key) if table is not None else None
        if cell is None:
            cell = self._cell(wanted, key)
        if self._reads is not None:
            self._reads[cell] = True
        return cell.value

    def peek(self, wanted: Query[..., Value], *key: Hashable) -> Value | None:
        """Return the value that a query had when it was last computed, None if it never was or has been dropped."""
        cell = self._tables.get(wanted.rank, {}).get(key)
        return None if cell is None else cell.value

    def previous(self) -> Any:
        """Return the value that the cell under computation had before, None the first time."""
        return None if self._computing is None else self._computing.value

    def settle(self) -> None:
        """Compute what is stale, and drop what nobody uses.

        What a query raises is passed on at the end, the first if there are several. Its cell keeps its value and stays stale; everything
        that does not depend on it is fresh. What a query raises about something that has gone is no matter: its cell is dropped
        once those that used it have had their turn.
        """
        failed: list[tuple[Cell, Exception]] = []
        self._sweep()
        while self._stale:
            for cell in self._stale.pop(min(self._stale)):
                if cell.is_stale:
                    try:
                        self._refresh(cell)
                    except Exception as reason:  # noqa: BLE001 - whatever it is, the others are not to blame.
                        failed.append((cell, reason))
            self._sweep()
        alive = [(cell, reason) for cell, reason in failed if cell.is_stale]
        for cell, _ in alive:
            self._stale.setdefault(cell.query.rank, []).append(cell)
        if alive:
            raise alive[0][1]

    def emissions(self) -> Iterator[tuple[Key, Any, Any]]:
        """Yield (key, before, now) of every emitting cell that came, went or changed since the last call; None is absent."""
        emitted, self._emitted = self._emitted, {}
        for cell, before in emitted.items():
            now = cell.value if self._tables[cell.query.rank].get(cell.key) is cell else None
            if now is not before:
                yield cell.key, before, now

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def _cell(self, wanted: Any, key: Key) -> Cell:
        """Return a cell, computed now if it is new."""
        table = self._tables.setdefault(wanted.rank, {})
        cell = table.get(key)
        if cell is None:
            cell = Cell(wanted, key)
            if wanted.function is not None:
                self._compute(cell)
            self._enter(table, cell)
        return cell

    def _wait(self, wanted: Any, key: Key) -> Cell:
        """Return a cell, computed when its turn comes if it is new."""
        table = self._tables.setdefault(wanted.rank, {})
        cell = table.get(key)
        if cell is None:
            cell = Cell(wanted, key)
            cell.is_stale = True
            self._stale.setdefault(wanted.rank, []).append(cell)
            self._enter(table, cell)
        return cell

    def _enter(self, table: dict[Key, Cell], cell: Cell) -> None:
        table[cell.key] = cell
        self._idle.append(cell)
        if cell.query.emits:
            self._emitted.setdefault(cell, None)

    def _refresh(self, cell: Cell) -> None:
        before = cell.value
        self._compute(cell)
        cell.is_stale = False
        if cell.query.emits:
            self._emitted.setdefault(cell, before)
        if cell.users and cell.value != before:
            self._spread(cell)

    def _compute(self, cell: Cell) -> None:
        outside = self._reads, self._computing
        reads: dict[Cell, bool] = {}
        self._reads, self._computing = reads, cell
        try:
            value = cell.query.function(self, *cell.key)
        except BaseException:
            self._idle.extend(reads)
            raise
        finally:
            self._reads, self._computing = outside
        self._link(cell, reads)
        cell.value = value

    def _link(self, cell: Cell, reads: dict[Cell, bool]) -> None:
        rank = cell.query.rank
        for other, matters in reads.items():
            if matters and other.query.rank >= rank:
                raise OutOfOrder(f"{cell.query.name} reads {other.query.name}, which is declared after it")
            if other.users is None:
                other.users = {cell: matters}
            else:
                other.users[cell] = matters
        self._unlink(cell, [other for other in cell.reads if other not in reads])
        cell.reads = tuple(reads)

    def _unlink(self, cell: Cell, others: Iterable[Cell]) -> None:
        for other in others:
            if other.users is not None:
                other.users.pop(cell, None)
                if not other.users:
                    self._idle.append(other)

    def _spread(self, cell: Cell) -> None:
        for user, matters in (cell.users or {}).items():
            if matters and not user.is_stale:
                user.is_stale = True
                self._stale.setdefault(user.query.rank, []).append(user)

    def _sweep(self) -> None:
        """Drop cells without users, and then those that only they had used."""
        while self._idle:
            cell = self._idle.pop()
            table = self._tables[cell.query.rank]
            is_set = cell.query.function is None and cell.value is not None
            if cell.users or cell.is_kept or is_set or table.get(cell.key) is not cell:
                continue
            del table[cell.key]
            cell.is_stale = False
            if cell.query.emits:
                self._emitted.setdefault(cell, cell.value)
            self._unlink(cell, cell.reads)
            cell.reads = ()


class Query(Generic[Given, Value]):
    """A function whose values are kept; made by the decorators `query` and `emitting`."""

    def __init__(self, function: Callable[..., Value], *, emits: bool) -> None:
        self.function = function
        self.emits = emits
        self.rank = _next_rank()
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.__doc__ = function.__doc__

    def __call__(self, memo: Memo, *key: Given.args, **_: Given.kwargs) -> Value:
        """Return the value for this key, which whoever is computed now depends on from here on."""
        value: Value = memo.read(self, key)
        return value


class Input(Generic[Value]):
    """A value that is set from outside, by key."""

    function = None
    emits = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.rank = _next_rank()

    def __call__(self, memo: Memo, *key: Hashable) -> Value:
        """Return the value for this key, which whoever is computed now depends on from here on."""
        value: Value = memo.read(self, key)
        return value


def query(function: Callable[[Memo], Value] | Callable[..., Value]) -> Query[..., Value]:
    """Make a function of (memo, key...) a query."""
    return Query(function, emits=False)


def emitting(function: Callable[..., Value]) -> Query[..., Value]:
    """Make a function a query whose cells `Memo.emissions` tells of."""
    return Query(function, emits=True)
