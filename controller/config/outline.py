"""A file cut into its sections and their entries by the look of its lines, without parsing it.

That is possible where a section's entries stand below each other, one key to a line and all indented alike, as people write them:

    ports:                                      a section, whose head this line is
      web1: {network: web}                      an entry, and all lines up to the next one are its piece
      web2:
        network: web

All else that a file may hold, a list or a mapping in braces, stays whole with the key of its section. Where it is not plain what belongs to
what there is no outline. An outline is a guess: `controller.config.amended` holds it to what the parser said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

_SECTION = re.compile(r"([a-z][a-z_]*):(?= |$)")
_ENTRY = re.compile(r"([a-z][a-z0-9-]*):(?= |$)")
# A file that is mostly empty lines is parsed quicker than it is looked at.
_MAX_LINES = 200_000

_DOCUMENT = re.compile(r"--- *(?: #.*)?$")

# Line breaks of YAML that would make its lines others than ours.
_OTHER_BREAK = re.compile("[\r\x85\u2028\u2029]")


class Piece(NamedTuple):
    """Some whole lines of a file, and the number of the first, which stands at `column`."""

    text: str
    line: int
    column: int


@dataclass(slots=True)
class Section:
    """The lines of a section up to its first entry, and its entries by name; one that is not cut has its head alone."""

    head: Piece
    entries: dict[str, Piece] = field(default_factory=dict)


@dataclass(slots=True)
class Outline:
    """What stands before the first section, and the sections by name."""

    preamble: str
    sections: dict[str, Section]

    def piece(self, *path: str | int) -> Piece | None:
        """Return the entry that the path leads into, None where it leads into none."""
        section = self.sections.get(str(path[0])) if len(path) > 1 else None
        return None if section is None else section.entries.get(str(path[1]))


def outline(text: str) -> Outline | None:
    """Return the outline of a file, None where its lines do not tell."""
    if text.count("\n") > _MAX_LINES or "\r" in text or (not text.isascii() and _OTHER_BREAK.search(text)):
        return None
    starts = _starts(text)
    if starts is None:
        return None
    result = Outline(text[: starts[0][3]] if starts else text, {})
    section: Section | None = None
    ends = [offset for _, _, _, offset in starts[1:]]
    for (name, line, column, offset), end in zip(starts, [*ends, len(text)], strict=False):
        piece = Piece(text[offset:end], line, column)
        known = result.sections if section is None or column == 1 else section.entries
        if name in known:
            return None  # It is given twice, which the parser reports.
        if column == 1:
            section = result.sections[name] = Section(piece)
        elif section is not None:
            section.entries[name] = piece
    return result


_Start = tuple[str, int, int, int]  # A name, and the line, the column and the offset of what it begins.


def _starts(text: str) -> list[_Start] | None:
    """Return where sections and entries begin, None if some line fits in nowhere."""
    starts: list[_Start] = []
    # How far the entries of the present section are indented: 0 until the first one comes, None where there are none.
    indent: int | None = None
    offset = 0
    for number, line in enumerate(text.split("\n"), 1):
        here, offset = offset, offset + len(line) + 1
        body = line.lstrip(" ")
        if not body or body[0] == "#":
            continue
        column = len(line) - len(body)
        if column == 0:
            found = _SECTION.match(line)
            if found is not None:
                rest = line[found.end() :].lstrip(" ")
                indent = 0 if not rest or rest[0] == "#" else None
                starts.append((found[1], number, 1, here))
                continue
            if not starts and _DOCUMENT.match(line):
                continue
            if indent or not starts or not _goes_on(body):
                return None
            indent = None  # A list may stand as far to the left as its key.
        elif not starts:
            return None
        elif indent is not None and (indent == 0 or column <= indent):
            found = _ENTRY.match(body)
            if found is not None and indent in (0, column):
                indent = column
                starts.append((found[1], number, column + 1, here))
            elif indent:
                return None
            else:
                indent = None
    return starts


def _goes_on(line: str) -> bool:
    """Whether a line that is not indented continues the section above it: an item of a list, or the end of what is in brackets."""
    return line[0] in "]}" or line == "-" or line.startswith("- ")
