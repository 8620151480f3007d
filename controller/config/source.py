"""A file's text, from which any node can be found again to point at it.

Trees are dropped once a file is read: they are many times larger than the text, and needed again only to say where a
problem is. A `Spot` names a value by its path, and costs nothing until somebody asks for its place. Where the file's outline is known,
the entry that the value stands in is parsed alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.config.outline import Outline, Piece
from controller.config.problem import Problem, Problems, quote
from controller.config.suggest import listed, nearest, strange_character
from controller.config.tree import LINE_BREAK, Mapping, Node, Parsed, find, parse
from controller.model.entities import Place

_MAX_LISTED_NAMES = 8
_MAX_ALONE = 20  # So many looks at entries cost no more than one at a file.


FIRST_LINE = 2  # What an entry begins at that is parsed alone, below the key of its section.


def with_section(section: str, piece: Piece) -> str:
    """Return the lines of an entry as a file that holds nothing else."""
    return f"{section}:\n{piece.text}"


class Source:
    """One file: its name, its text, and its tree when it is asked for; its outline where that has been found to be right."""

    __slots__ = ("_alone", "_lines", "_parsed", "name", "outline", "text")

    def __init__(self, name: str, text: str, outline: Outline | None = None) -> None:
        self.name = name
        self.text = text
        self.outline = outline
        self._alone = 0
        self._parsed: Parsed | None = None
        self._lines: list[str] | None = None

    def parsed(self) -> Parsed:
        """Return the tree and the faults of the YAML."""
        if self._parsed is None:
            self._parsed = parse(self.text)
        return self._parsed

    def forget(self) -> None:
        """Drop what can be computed again."""
        self._parsed = None
        self._lines = None

    def line(self, number: int) -> str:
        """Return a line's text, "" behind the end."""
        if self._lines is None:
            self._lines = LINE_BREAK.split(self.text)
        return self._lines[number - 1] if number <= len(self._lines) else ""

    def node(self, path: Iterable[str | int], *, on_key: bool = False) -> Node:
        """Return the node at the path, or the nearest on the way to it."""
        path = tuple(path)
        piece = self.outline.piece(*path) if self.outline is not None and self._parsed is None else None
        if piece is not None and self._alone < _MAX_ALONE:
            self._alone += 1
            alone = parse(with_section(str(path[0]), piece)).root
            if alone is not None:
                found = find(alone, path, on_key=on_key)
                return found._replace(line=found.line + piece.line - FIRST_LINE)
        root = self.parsed().root or Mapping({}, {}, 1, 1, 0)
        return find(root, path, on_key=on_key)

    def problem(
        self, code: str, message: str, line: int, column: int, length: int = 1, hint: str | None = None
    ) -> Problem:
        """Return a problem of this file."""
        place = Place(self.name, line, column)
        return Problem(code, message, place, max(1, length), self.line(line), hint, code.startswith("W"))


@dataclass(frozen=True, slots=True)
class Spot:
    """A value in a file, by its path: `Spot(source, ("ports", "web1")) / "host"`."""

    source: Source
    path: tuple[str | int, ...]
    is_key: bool = False

    def __truediv__(self, step: str | int) -> Spot:
        return Spot(self.source, (*self.path, step), self.is_key)

    @property
    def key(self) -> Spot:
        """The key in front of the value."""
        return Spot(self.source, self.path, True)

    @property
    def place(self) -> Place:
        """Where it stands."""
        node = self.source.node(self.path, on_key=self.is_key)
        return Place(self.source.name, node.line, node.column)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Turns what the checks find into problems with places; the words that many checks share stand here."""

    problems: Problems

    def report(self, code: str, spot: Spot, message: str, hint: str | None = None) -> None:
        """Report a problem with the value, or the key, at the spot."""
        if self.problems.is_full and not code.startswith("W"):
            self.problems.errors_left_out += 1
            return
        node = spot.source.node(spot.path, on_key=spot.is_key)
        self.problems.add(spot.source.problem(code, message, node.line, node.column, node.length, hint))

    def clash(self, code: str, spot: Spot, message: str, other: Spot | Place) -> None:
        """Report a value that clashes with another one, and where the other one is."""
        if self.problems.is_full:
            self.problems.errors_left_out += 1
            return
        place = other.place if isinstance(other, Spot) else other
        self.report(code, spot, message, f"the other is at {place}")

    def unknown(self, kind: str, spot: Spot, name: str, known: Iterable[str], home: Spot | None = None) -> None:
        """Report a name that nothing carries, with the nearest right one and, below `home`, where that is defined."""
        if self.problems.is_full:
            self.problems.errors_left_out += 1
            return
        names = list(known)
        near = nearest(name, names)
        hint: str | None
        if near is not None:
            defined = f" ({(home / near).key.place})" if home is not None else ""
            hint = f'did you mean "{near}"?{defined}'
        elif strange := strange_character(name):
            hint = f"it holds {strange}"
        else:
            hint = f"there is {listed(names) or 'none'}" if len(names) <= _MAX_LISTED_NAMES else None
        self.report("N014", spot, f"unknown {kind} {quote(name)}", hint)
