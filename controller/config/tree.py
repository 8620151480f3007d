"""YAML text as a tree in which every node knows its place, and every scalar is text.

The tree is built from the parser's event stream, without recursion and with limits: libyaml's own composer crashes the process on
deep nesting. Anchors, aliases, merge keys, tags and further documents are refused; duplicate keys are reported with both places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import yaml

from controller.config.problem import quote

MAX_DEPTH = 32
MAX_NODES = 500_000
_MAX_FAULTS = 200

# What ends a line for YAML 1.1, and what may not stand in a file at all.
LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Scalar(NamedTuple):
    """A word, number or text, exactly as it stands in the file; `is_quoted` where quotes or a block say it is text."""

    text: str
    is_quoted: bool
    line: int
    column: int
    length: int


class Sequence(NamedTuple):
    """A list."""

    items: tuple[Node, ...]
    line: int
    column: int
    length: int


class Mapping(NamedTuple):
    """Keys and values, by the key's text and in the file's order."""

    keys: dict[str, Scalar]
    values: dict[str, Node]
    line: int
    column: int
    length: int


Node = Scalar | Sequence | Mapping


class Empty:
    """Stands for a value that is left empty: `ports:` with nothing behind it. Quoted emptiness is text."""

    __slots__ = ()


EMPTY = Empty()
Data = str | list["Data"] | dict[str, "Data"] | Empty


class Fault(NamedTuple):
    """Something wrong with the YAML itself. `other` is the line and column of what it clashes with."""

    code: str
    message: str
    line: int
    column: int
    length: int
    hint: str | None = None
    other: tuple[int, int] | None = None


class Parsed(NamedTuple):
    """The tree, None for an empty document, and what is wrong; `left_out` more faults were only counted.

    Not `is_sound`: the tree is not what the writer meant. `nodes` are those that were counted for the limit.
    """

    root: Node | None
    faults: list[Fault]
    left_out: int
    is_sound: bool
    nodes: int


def parse(text: str) -> Parsed:
    """Return the tree of one YAML document."""
    builder = _Builder()
    try:
        builder.read(_PARSER(text))
    except yaml.reader.ReaderError as error:
        builder.refuse_character(text, error)
    except yaml.MarkedYAMLError as error:
        builder.refuse_syntax(text, error)
    except _Stop:
        pass
    return Parsed(builder.root, builder.faults, builder.left_out, builder.is_sound, builder.nodes)


def plain(node: Node) -> Data:
    """Return the node as dictionaries, lists and text."""
    if isinstance(node, Scalar):
        return node.text if node.text or node.is_quoted else EMPTY
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.values.items()}
    return [plain(item) for item in node.items]


def find(root: Node, path: Iterable[str | int], *, on_key: bool = False) -> Node:
    """Return the node at the path, or the last one on the way to it; `on_key` asks for the key in front of the value."""
    node = root
    marked = root
    for step in path:
        if isinstance(node, Mapping) and step in node.values:
            marked = node.keys[str(step)]
            node = node.values[str(step)]
        elif isinstance(step, int) or not isinstance(node, Mapping):
            # Where there is no list, the only item stands for it; where there is no mapping, the value of its only key does.
            if isinstance(step, int) and isinstance(node, Sequence) and step < len(node.items):
                node = marked = node.items[step]
        else:
            # The key that is not there stands nowhere: its owner's name does.
            on_key = True
            break
    # An empty value has no text to point at: its key does.
    is_empty = isinstance(node, Scalar) and not node.length
    return marked if on_key or is_empty else node


# PyYAML's stubs call the marks of an event optional; its parsers always set them.
Event = Any


class _Stop(Exception):
    """The document is refused from here on."""


class _Frame:
    """A list or mapping that is still open. `keys` is None for a list; `key` is the key that waits for its value."""

    __slots__ = ("column", "items", "key", "keys", "length", "line", "values")

    def __init__(self, is_mapping: bool, line: int, column: int, length: int) -> None:
        self.keys: dict[str, Scalar] | None = {} if is_mapping else None
        self.values: dict[str, Node] = {}
        self.items: list[Node] = []
        self.key: Scalar | None = None
        self.line = line
        self.column = column
        self.length = length


class _Builder:
    """Turns events into a tree."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.faults: list[Fault] = []
        self.left_out = 0
        self.is_sound = True
        self.nodes = 0
        self._documents = 0
        self._open: list[_Frame] = []

    def read(self, parser: Any) -> None:
        """Consume the parser's events."""
        next_event = parser.get_event
        while True:
            event: Event = next_event()
            kind = event.__class__
            if kind is yaml.ScalarEvent:
                self._check(event)
                mark, until = event.start_mark, event.end_mark
                length = until.column - mark.column if until.line == mark.line else 1
                self._place(Scalar(event.value, bool(event.style), mark.line + 1, mark.column + 1, length))
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._check(event)
                self._enter(event, is_mapping=kind is yaml.MappingStartEvent)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._leave()
            elif kind is yaml.AliasEvent:
                self._refuse("N012", event, "aliases are not part of the format: write the value out")
                self._place(Scalar("", True, event.start_mark.line + 1, event.start_mark.column + 1, 1))
            elif kind is yaml.DocumentStartEvent:
                self._begin_document(event)
            elif kind is yaml.StreamEndEvent:
                return

    def refuse_character(self, text: str, error: yaml.reader.ReaderError) -> None:
        """Report a character that YAML does not allow in a file."""
        found = _FORBIDDEN.search(text)
        at = found.start() if found else 0
        lines = LINE_BREAK.split(text[:at])
        shown = f"U+{ord(text[at]):04X}" if found else "this"
        self._fault("N010", f"{shown}: {error.reason}", len(lines), len(lines[-1]) + 1, 1)

    def refuse_syntax(self, text: str, error: yaml.MarkedYAMLError) -> None:
        """Report what the parser could not read."""
        mark = error.problem_mark or error.context_mark
        line, column, index = (mark.line, mark.column, mark.index) if mark else (0, 0, 0)
        where = error.context_mark
        context = f" {error.context}" if error.context else ""
        if where is not None and where.line != line:
            context += f" that begins at line {where.line + 1}"
        hint = None
        if text[index : index + 1] == "\t":
            hint = "indent with spaces: YAML does not allow tabs there"
        elif text[index : index + 1] in ("@", "`", "%"):
            hint = "put the text in quotes"
        self._fault("N010", f"{error.problem or 'cannot be read'}{context}", line + 1, column + 1, 1, hint)

    def _begin_document(self, event: Event) -> None:
        self._documents += 1
        if self._documents > 1:
            self._refuse("N012", event, "a file holds one YAML document; a second one begins here")
            raise _Stop
        if event.tags:
            self._refuse("N012", event, "tags are not part of the format")

    def _check(self, event: Event) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._refuse("N013", event, f"the file holds more than {MAX_NODES:,} values")
            raise _Stop
        if event.anchor is not None:
            self._refuse("N012", event, "anchors are not part of the format: write the value out")
        if event.tag is not None:
            self._refuse("N012", event, "tags are not part of the format: every value is typed by its key")

    def _enter(self, event: Event, *, is_mapping: bool) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._refuse("N013", event, f"nesting is deeper than {MAX_DEPTH} levels")
            raise _Stop
        mark = event.start_mark
        length = 1 if event.flow_style else 0
        self._open.append(_Frame(is_mapping, mark.line + 1, mark.column + 1, length))

    def _leave(self) -> None:
        frame = self._open.pop()
        if frame.keys is None:
            self._place(Sequence(tuple(frame.items), frame.line, frame.column, frame.length))
        else:
            self._place(Mapping(frame.keys, frame.values, frame.line, frame.column, frame.length))

    def _place(self, node: Node) -> None:
        """Put a finished node where it belongs."""
        if not self._open:
            self.root = node
            return
        frame = self._open[-1]
        keys = frame.keys
        if keys is None:
            frame.items.append(node)
        elif frame.key is None:
            frame.key = self._key(node)
        else:
            key, frame.key = frame.key, None
            first = keys.get(key.text)
            if first is None:
                keys[key.text] = key
                frame.values[key.text] = node
            else:
                message = f"{quote(key.text)} is given twice"
                other = (first.line, first.column)
                self._fault("N011", message, key.line, key.column, key.length, "the first is here:", other)

    def _key(self, node: Node) -> Scalar:
        if not isinstance(node, Scalar):
            self._fault("N018", "a key is a word, not a list or mapping", node.line, node.column, 1)
            return Scalar("", True, node.line, node.column, 1)
        if node.text == "<<" and not node.is_quoted:
            message = "merge keys are not part of the format: write the values out"
            self._fault("N012", message, node.line, node.column, node.length)
        return node

    def _refuse(self, code: str, event: Event, message: str) -> None:
        mark = event.start_mark
        self._fault(code, message, mark.line + 1, mark.column + 1, 1)

    def _fault(
        self,
        code: str,
        message: str,
        line: int,
        column: int,
        length: int,
        hint: str | None = None,
        other: tuple[int, int] | None = None,
    ) -> None:
        # The tree is usable after a duplicate key, where the first stays; after anything else it is not.
        self.is_sound = self.is_sound and code == "N011"
        if len(self.faults) < _MAX_FAULTS:
            self.faults.append(Fault(code, message, line, column, length, hint, other))
        else:
            self.left_out += 1
