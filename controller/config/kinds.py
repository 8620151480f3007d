"""How pydantic reads the words of the format: each kind of value is a parser and the JSON Schema of the same thing.

An editor's YAML parser has already typed what it shows to the JSON Schema, and ours has not: the schemas here accept both forms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from controller.config import scalars
from controller.config.tree import EMPTY

Json = dict[str, Any]


class Kind(ABC):
    """A kind of scalar: `parse` is what the loader does, `schema` what an editor is told."""

    @abstractmethod
    def parse(self, value: object) -> object:
        """Return the typed value, or raise `Refused`."""

    @abstractmethod
    def schema(self) -> Json:
        """Return the JSON Schema."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        return self.schema()


@dataclass(frozen=True)
class Word(Kind):
    """Text that a function reads; `title` says in the reference what it is."""

    reader: Callable[[object], object]
    title: str
    pattern: str | None = None

    def parse(self, value: object) -> object:
        """Return what the function makes of it."""
        return self.reader(value)

    def schema(self) -> Json:
        """Return a string's schema."""
        return {"type": "string", "title": self.title} | ({"pattern": self.pattern} if self.pattern else {})


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number within bounds."""

    title: str
    low: int
    high: int

    def parse(self, value: object) -> object:
        """Return the number."""
        return scalars.whole_number(value, self.title, self.low, self.high)

    def schema(self) -> Json:
        """Return the schema of a number, quoted or not."""
        return {
            "type": ["integer", "string"],
            "title": f"{self.title}, {self.low}-{self.high}",
            "minimum": self.low,
            "maximum": self.high,
            "pattern": "^[0-9]+$",
        }


@dataclass(frozen=True)
class Numbers(Kind):
    """A number or a range of numbers, `a-b`."""

    title: str
    low: int
    high: int

    def parse(self, value: object) -> object:
        """Return the range."""
        return scalars.number_range(value, self.title, self.low, self.high)

    def schema(self) -> Json:
        """Return the schema of a number or a text `a-b`."""
        return {
            "type": ["integer", "string"],
            "title": f"{self.title} or a range `a-b`, {self.low}-{self.high}",
            "minimum": self.low,
            "maximum": self.high,
            "pattern": "^[0-9]+(-[0-9]+)?$",
        }


@dataclass(frozen=True)
class Choice(Kind):
    """One word of a few."""

    words: tuple[StrEnum, ...]

    def parse(self, value: object) -> object:
        """Return the word's member."""
        return scalars.choice(self.words, value)

    def schema(self) -> Json:
        """Return the list of words."""
        return {"enum": [str(word) for word in self.words]}


class Switch(Kind):
    """`true` or `false`."""

    def parse(self, value: object) -> object:
        """Return the truth value."""
        return scalars.switch(value)

    def schema(self) -> Json:
        """Return a boolean's schema."""
        return {"type": "boolean"}


class Protocol(Kind):
    """An IP protocol, by name or number."""

    def parse(self, value: object) -> object:
        """Return the number, None for any."""
        return scalars.protocol(value)

    def schema(self) -> Json:
        """Return the names, or a number."""
        names = [*sorted(scalars.PROTOCOLS, key=lambda name: scalars.PROTOCOLS[name]), "any"]
        return {"anyOf": [{"enum": names}, Whole("a number", 0, 255).schema()]}


@dataclass(frozen=True)
class Rate(Kind):
    """How often something may happen in a second: `1000/s`, or the number alone."""

    title: str
    low: int
    high: int

    def parse(self, value: object) -> object:
        """Return the number per second."""
        return scalars.rate(value, self.title, self.low, self.high)

    def schema(self) -> Json:
        """Return the schema of a number, with or without its unit."""
        return {
            "type": ["integer", "string"],
            "title": f"{self.title} `N/s`, {self.low}-{self.high}",
            "minimum": self.low,
            "maximum": self.high,
            "pattern": "^[0-9]+(/s)?$",
        }


@dataclass(frozen=True)
class Duration(Kind):
    """A time: `90s`, `30m`, `12h`, `1d`, or seconds alone."""

    title: str
    low: int
    high: int

    def parse(self, value: object) -> object:
        """Return the number of seconds."""
        return scalars.duration(value, self.title, self.low, self.high)

    def schema(self) -> Json:
        """Return the schema of a number, with or without its unit."""
        return {
            "type": ["integer", "string"],
            "title": f"{self.title} `Ns`, `Nm`, `Nh` or `Nd`, {self.low}-{self.high} seconds",
            "minimum": self.low,
            "maximum": self.high,
            "pattern": "^[0-9]+[smhd]?$",
        }


class EtherType(Kind):
    """An ethertype, by name or number."""

    def parse(self, value: object) -> object:
        """Return the number."""
        return scalars.ethertype(value)

    def schema(self) -> Json:
        """Return the names, or a number."""
        low, high = scalars.ETHERTYPE_BOUNDS
        number = {
            "type": ["integer", "string"],
            "title": f"a number, {low:#06x}-{high:#06x}",
            "minimum": low,
            "maximum": high,
            "pattern": "^(0x[0-9a-fA-F]+|[0-9]+)$",
        }
        return {"anyOf": [{"enum": list(scalars.ETHERTYPES)}, number]}


class OneOrMany:
    """A list that may be written as its only item."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_list, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        listed = handler(core)
        return {"anyOf": [listed["items"], listed]}


class ListOrAny:
    """A list of rules, or the word `any` for one rule without limits."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_rules, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        return {"anyOf": [{"const": "any"}, handler(core)]}


@dataclass(frozen=True)
class ListOrMapping:
    """A mapping of which one key is a list, or that list (or its only item) alone."""

    key: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._as_mapping, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        mapping = handler(core)
        return {"anyOf": [mapping, *handler.resolve_ref_schema(mapping)["properties"][self.key]["anyOf"]]}

    def _as_mapping(self, value: object) -> object:
        return {self.key: value} if isinstance(value, str | list) else value


@dataclass(frozen=True)
class WordOrMapping:
    """A mapping of which one key is needed, or that key's value alone."""

    key: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._as_mapping, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        mapping = handler(core)
        return {"anyOf": [handler.resolve_ref_schema(mapping)["properties"][self.key], mapping]}

    def _as_mapping(self, value: object) -> object:
        return {self.key: value} if isinstance(value, str) else value


def _as_list(value: object) -> object:
    if value is EMPTY:
        raise scalars.Refused("N018", "a value or a list is expected, and nothing is given")
    return value if isinstance(value, list) else [value]


def _rules(value: object) -> object:
    if isinstance(value, list):
        return value
    if value == "any":
        return [{}]
    scalars.text(value, "a list of rules or the word any")
    raise scalars.Refused("N018", "a list of rules or the word any is expected", "write each rule as `- {…}`")


def words(*kinds: StrEnum) -> Choice:
    """Return the choice among some members of an enumeration."""
    return Choice(kinds)


def members(kinds: Iterable[StrEnum]) -> Choice:
    """Return the choice among all members of an enumeration."""
    return Choice(tuple(kinds))
