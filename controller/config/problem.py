"""What is wrong with the files, as values: a code, a message, a place and a hint.

`CODES` is the one list of the kinds of problem; a code keeps its meaning for ever. `Problems` collects them within bounds,
`render` shows one the way a compiler would:

    tenants/red.yaml:31:12: error[N021]: the range ends (330) before it begins (3306)
     31 |       - {protocol: tcp, ports: 3306-330}
        |                                ^^^^^^^^ did you mean 330-3306?
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.model.entities import Place

MAX_SHOWN = 100
_WINDOW = 110  # Characters of a source line that are shown; longer lines are cut around the place.
_QUOTED = 60  # Characters of the user's text that a message repeats.

CODES: Mapping[str, str] = {
    "N001": "a folder or a file cannot be read",
    "N002": "the folder has no fabric.yaml",
    "N003": "a file is not a regular file, or a link leads out of the topology's folder",
    "N004": "a file, or all files together, are too large",
    "N005": "a file is not UTF-8 text",
    "N006": "a tenant's file whose tenant fabric.yaml does not name",
    "N007": "a file that was saved to a full file system",
    "N010": "the YAML cannot be parsed",
    "N011": "a key is given twice",
    "N012": "an anchor, alias, merge key, tag or second document",
    "N013": "nesting is too deep, or there are too many values",
    "N014": "a name that nothing carries",
    "N015": "a key that the format does not have",
    "N016": "a key that is not supported yet",
    "N017": "a key is missing",
    "N018": "a value of the wrong kind: a mapping, a list or a word where another is expected",
    "N019": "a name with characters that names do not have",
    "N020": "a word that is not one of the choices",
    "N021": "a range that ends before it begins",
    "N022": "not a whole number, or one out of bounds",
    "N023": "not an address or prefix",
    "N024": "a prefix with bits set behind its length",
    "N025": "not a unicast MAC address",
    "N026": "a key that does not go with the others beside it",
    "N027": "IPv4 and IPv6 are mixed where they exclude each other",
    "N028": "an ethertype of which other keys decide",
    "N029": "stateless and stateful groups at one port",
    "N030": "the same address twice",
    "N031": "the same MAC address twice in a network",
    "N032": "the same segment or VLAN twice",
    "N033": "two names lead to the same id, datapath id, bridge or interface name",
    "N034": "two networks without a VLAN on one physical network",
    "N035": "a network twice on one interface: of a port and a subport, or of two subports",
    "N036": "a network on two routers, or twice on one",
    "N037": "a route to what the router reaches by itself",
    "N038": "a floating IP for a port that no router leads out by that external network",
    "N039": "a floating IP for an address that the port does not have",
    "N040": "a segment, VLAN or physical network that the tenant is not granted",
    "N041": "a segment or VLAN that is granted twice",
    "N042": "a network, group or address group of another tenant that is not shared",
    "N043": "nothing is left to allocate",
    "N044": "a quota is exceeded",
    "N045": "a host that does not carry the physical network",
    "N046": "a network that a VTEP of this kind cannot join",
    "N047": "an address outside the pool of its external network",
    "N050": "an address outside its network",
    "N051": "an address that belongs to the router or to the network itself",
    "N052": "an address that no interface may have (multicast, loopback, unspecified, link-local)",
    "N053": "prefixes that overlap",
    "N054": "an MTU too small for IPv6",
    "N055": "addresses made from the MAC on a prefix that is not 64 bits long",
    "N056": "a router on a network without a cidr",
    "N057": "not a domain name",
    "W001": "a security group or address group that nothing uses",
    "W002": "a rule that an earlier one covers",
    "W003": "a file that is not read",
    "W004": "an address that is listed twice",
    "W005": "a key that changes nothing where it stands",
    "W006": "a security group whose rules may cost a port many masks of the datapath",
    "W007": "a router that no gateway host leads out",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `length` is that of the offending text, `source` the line it stands on ("" if none)."""

    code: str
    message: str
    place: Place
    length: int
    source: str
    hint: str | None
    is_warning: bool = False


@dataclass(slots=True)
class Problems:
    """Problems within bounds: the first hundred errors and warnings are kept, the rest is counted."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    errors_left_out: int = 0
    warnings_left_out: int = 0

    @property
    def is_full(self) -> bool:
        """Whether a further error would only be counted: nobody needs a hint for it."""
        return len(self.errors) >= MAX_SHOWN

    @property
    def is_empty(self) -> bool:
        """Whether nothing is wrong."""
        return not self.errors and not self.warnings

    @property
    def has_errors(self) -> bool:
        """Whether the files must be refused."""
        return bool(self.errors)

    def add(self, problem: Problem) -> None:
        """Keep the problem, or count it."""
        if problem.is_warning:
            if len(self.warnings) < MAX_SHOWN:
                self.warnings.append(problem)
            else:
                self.warnings_left_out += 1
        elif self.is_full:
            self.errors_left_out += 1
        else:
            self.errors.append(problem)

    def include(self, other: Problems) -> None:
        """Add what another collection holds."""
        for problem in (*other.errors, *other.warnings):
            self.add(problem)
        self.errors_left_out += other.errors_left_out
        self.warnings_left_out += other.warnings_left_out

    def shown(self, files: Iterable[str]) -> tuple[Problem, ...]:
        """Return at most `MAX_SHOWN` problems, errors before warnings when there are too many, in the order of the files."""
        rank = {name: number for number, name in enumerate(files)}
        kept = (self.errors + self.warnings)[:MAX_SHOWN]
        kept.sort(key=lambda each: (rank.get(each.place.file, len(rank)), each.place.line, each.place.column))
        return tuple(kept)

    def left_out(self) -> int:
        """Return how many problems `shown` leaves out."""
        kept = len(self.errors) + len(self.warnings)
        return self.errors_left_out + self.warnings_left_out + max(0, kept - MAX_SHOWN)


def quote(text: str) -> str:
    """Return the user's text in quotes, fit for a terminal: short, on one line, without control characters.

    >>> quote("web")
    '"web"'
    """
    shown = text if len(text) <= _QUOTED else text[: _QUOTED - 1] + "…"
    return '"' + "".join(map(_visible, shown)) + '"'


def render(problem: Problem) -> str:
    """Return the problem as text: place, code and message, then the source line with a caret and the hint."""
    kind = "warning" if problem.is_warning else "error"
    head = f"{_escaped(str(problem.place))}: {kind}[{problem.code}]: {problem.message}"
    hint = problem.hint or ""
    if not problem.source:
        return f"{head}; {hint}" if hint else head
    before, marked, after = _window(problem.source, problem.place.column - 1, problem.length)
    number = f" {problem.place.line} "
    caret = " " * _width(before) + "^" * max(1, _width(marked))
    return (
        f"{head}\n{number}| {before}{marked}{after}".rstrip()
        + f"\n{' ' * len(number)}| {caret}{' ' if hint else ''}{hint}"
    )


def _window(line: str, start: int, length: int) -> tuple[str, str, str]:
    """Return what stands before, at and after the place, escaped, and cut where the line is long."""
    start = min(start, len(line))
    length = min(length, len(line) - start, _WINDOW // 2)
    left = max(0, start + length - _WINDOW + 10) if len(line) > _WINDOW else 0
    right = min(len(line), left + _WINDOW)
    before = ("…" if left else "") + _escaped(line[left:start])
    after = _escaped(line[start + length : right]) + ("…" if right < len(line) else "")
    return before, _escaped(line[start : start + length]), after


def _escaped(text: str) -> str:
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    if character == "\t":
        return " "
    return character.encode("unicode_escape").decode("ascii")


def _width(text: str) -> int:
    """Return how many columns a terminal gives the text."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)
