"""What a tenant's file declares after an edit, from what it declared before: entries whose lines are the same are taken over.

A file whose parts stand by themselves may be parsed part by part. That they do is known, not believed:

* Of the file before the edit the parser said where each section and entry begins, and the outline must say the same, of all of them.
* Lines that are new are parsed alone, and must be exactly one entry, or one section, to their end.

So wherever an entry begins, nothing is open that began before it, and the parser reads the same whatever stands there. Whatever is unusual,
and whatever is wrong, is left to a parse of the whole file: here nothing is ever reported.
"""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from pydantic import ValidationError

from controller.config.declared import DEEP, Declared, Path, fill_empty, places_in
from controller.config.outline import Outline, Piece, Section, outline
from controller.config.problem import Problems
from controller.config.schema import TenantFile
from controller.config.source import FIRST_LINE, Source, with_section
from controller.config.terms import Strict
from controller.config.tree import EMPTY, MAX_NODES, Data, Mapping, Node, parse, plain
from controller.model.entities import Place

# Where more lines than this are new, reading the whole file is as quick.
_MAX_FRESH = 100


def amend(before: Declared[TenantFile], name: str, text: str) -> Declared[TenantFile] | None:
    """Return what a file of this text declares, which declared `before`; None where that must be found by reading it whole."""
    known = _outline_of(before)
    now = outline(text) if known is not None and before.source.name == name else None
    if known is None or now is None:
        return None
    edit = _Edit(name)
    if known.preamble != now.preamble:
        edit.take_blank(now.preamble)
    for section in known.sections | now.sections:
        edit.compare(section, known.sections.get(section), now.sections.get(section))
    content = edit.content(before.content, now)
    nodes = before.nodes + edit.nodes
    if content is None or nodes > MAX_NODES:
        return None
    source, tests = Source(name, text, now), tuple(range(len(content.tests)))
    return Declared(source, content, frozenset(), edit.moved(before.places, now), tests, Problems(), True, nodes)


def _outline_of(declared: Declared[TenantFile]) -> Outline | None:
    """Return the outline of a file, None if it has none that agrees with what the parser said."""
    source = declared.source
    if source.outline is None and declared.is_clean:
        found = outline(source.text)
        if found is not None and _is_right(found, declared.places):
            source.outline = found
    return source.outline


def _is_right(found: Outline, places: AnyMapping[Path, Place]) -> bool:
    """Whether sections, and the entries of those that are cut, are exactly those that the parser found, and where it found them."""
    begun: dict[Path, tuple[int, int]] = {}
    for name, section in found.sections.items():
        begun[name,] = section.head.line, section.head.column
        begun.update({(name, entry): (piece.line, piece.column) for entry, piece in section.entries.items()})
    cut = {name for name, section in found.sections.items() if section.entries}
    wanted = {
        path: (place.line, place.column)
        for path, place in places.items()
        if len(path) == 1 or (len(path) == 2 and path[0] in cut)
    }
    return begun == wanted


def _entries(old: dict[str, Strict], new: dict[str, Strict], section: Section) -> dict[str, Strict]:
    """Return the entries of a section. What says the same, with a comment more, is the same object, and so is a section of such entries."""
    found = {name: new[name] if name in new else old[name] for name in section.entries}
    for name, each in new.items():
        known = old.get(name)
        if known is not None and known == each and known.model_fields_set == each.model_fields_set:
            found[name] = known
    is_same = list(found) == list(old) and all(found[name] is old[name] for name in new)
    return old if is_same else found


@dataclass(slots=True)
class _Edit:
    """What is new in a file, as far as it can be read by itself: once something cannot, the rest is not looked at.

    `fresh` is the data of what is new, and `places` where it stands. `lines` tells by how many lines known sections that are not cut,
    and entries, have moved, None of those that are gone. `same` are the sections that hold what they held, in the same order.
    """

    file: str
    is_plain: bool = True
    nodes: int = 0
    fresh: dict[str, Data] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    lines: dict[Path, int | None] = field(default_factory=dict)
    same: set[str] = field(default_factory=set)
    _count: int = 0

    def take_blank(self, text: str) -> None:
        """Take lines that hold nothing."""
        root = self._parse(text)
        self.is_plain = self.is_plain and (root is None or plain(root) is EMPTY)

    def compare(self, name: str, before: Section | None, now: Section | None) -> None:
        """Take what is new in a section, and note what is gone."""
        if before is None:
            before = Section(Piece("", 0, 0))
        elif now is None or bool(before.entries) != bool(now.entries):
            self.lines[name,] = None
            before = Section(Piece("", 0, 0))
        if now is None:
            return
        is_same = before.head.text == now.head.text
        if now.entries:
            if not is_same:
                self._take_head(name, now.head)
            is_same = self._compare_entries(name, before.entries, now.entries)
        elif not is_same:
            self.lines[name,] = None
            self._take_section(name, now.head)
        elif before.head.line != now.head.line:
            self.lines[name,] = now.head.line - before.head.line
        if is_same:
            self.same.add(name)

    def content(self, before: TenantFile, now: Outline) -> TenantFile | None:
        """Return what the file says, None if that cannot be told."""
        if not self.is_plain:
            return None
        try:
            fresh = TenantFile.model_validate(self.fresh)
        except ValidationError:
            return None
        values: dict[str, Any] = {}
        for name, section in now.sections.items():
            if name in self.same or not section.entries:
                source = before if name in self.same else fresh
                if name in source.model_fields_set:
                    values[name] = getattr(source, name)
            else:
                values[name] = _entries(getattr(before, name), getattr(fresh, name), section)
        return TenantFile.model_construct(set(values), **values)

    def moved(self, before: AnyMapping[Path, Place], now: Outline) -> dict[Path, Place]:
        """Return where everything stands."""
        lines, found = self.lines, {}
        if any(by is not None or len(path) == 1 or path[0] in DEEP for path, by in lines.items()):
            for path, place in before.items():
                by = lines[path[:2]] if path[:2] in lines else lines.get(path[:1], 0)
                if by is not None:
                    found[path] = Place(place.file, place.line + by, place.column) if by else place
        else:
            # Nothing moved, and of what is gone nothing had places but the entries themselves.
            found.update(before)
            for path in lines:
                found.pop(path, None)
        found.update(self.places)
        for name, section in now.sections.items():
            found[name,] = Place(self.file, section.head.line, section.head.column)
        return found

    def _compare_entries(self, section: str, before: dict[str, Piece], now: dict[str, Piece]) -> bool:
        """Take what is new among the entries of a section; return whether they say what they said, in the same order."""
        is_same = list(before) == list(now)
        if not is_same:
            self.lines.update(((section, name), None) for name in before.keys() - now.keys())
        for name, piece in now.items():
            known = before.get(name)
            if known is None or known.text != piece.text:
                is_same = False
                if known is not None:
                    self.lines[section, name] = None
                self._take_entry(section, name, piece)
            elif known.line != piece.line:
                self.lines[section, name] = piece.line - known.line
        return is_same

    def _take_section(self, name: str, head: Piece) -> None:
        """Take a section that is not cut."""
        root = self._parse(head.text)
        if self._holds(root, name, 1, head.column):
            self.fresh |= fill_empty(TenantFile, root)
            self._note_places(root, head.line - 1)

    def _take_head(self, name: str, head: Piece) -> None:
        """Take the lines in front of a section's first entry."""
        root = self._parse(head.text)
        if self._holds(root, name, 1, head.column):
            self.is_plain = plain(root.values[name]) is EMPTY

    def _take_entry(self, section: str, name: str, piece: Piece) -> None:
        root = self._parse(with_section(section, piece))
        inner = root.values.get(section) if isinstance(root, Mapping) else None
        if self._holds(root, section, 1, 1) and self._holds(inner, name, FIRST_LINE, piece.column):
            known, new = self.fresh.setdefault(section, {}), fill_empty(TenantFile, root)[section]
            if isinstance(known, dict) and isinstance(new, dict):
                known |= new
            self._note_places(root, piece.line - FIRST_LINE)

    def _parse(self, text: str) -> Node | None:
        """Return the tree of lines that must stand by themselves."""
        self._count += 1
        if not self.is_plain or self._count > _MAX_FRESH:
            self.is_plain = False
            return None
        parsed = parse(text)
        self.nodes += parsed.nodes
        self.is_plain = parsed.is_sound and not parsed.faults
        return parsed.root

    def _holds(self, node: Node | None, key: str, line: int, column: int) -> TypeGuard[Mapping]:
        """Whether a node is a mapping of exactly this key in its place; without that nothing here is plain."""
        is_so = self.is_plain and isinstance(node, Mapping) and list(node.values) == [key]
        if is_so and isinstance(node, Mapping):
            is_so = (node.keys[key].line, node.keys[key].column) == (line, column)
        self.is_plain = is_so
        return is_so

    def _note_places(self, root: Mapping, lines: int) -> None:
        for path, place in places_in(self.file, root):
            self.places[path] = Place(self.file, place.line + lines, place.column)
