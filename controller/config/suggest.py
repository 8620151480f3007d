"""The nearest right word for a wrong one, in bounded time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

_MAX_LENGTH = 64
_MAX_CANDIDATES = 500
_MAX_LISTED = 12


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that the writer most likely meant, or None.

    >>> nearest("wbe", ["db", "web"])
    'web'
    """
    if len(word) > _MAX_LENGTH:
        return None
    from difflib import get_close_matches

    # Words whose lengths differ much are never close: leaving them out keeps thousands of names cheap.
    alike = (each for each in candidates if abs(len(each) - len(word)) <= 3)
    found = get_close_matches(word.lower(), islice(alike, _MAX_CANDIDATES), n=1, cutoff=0.55)
    return found[0] if found else None


def listed(words: Iterable[str]) -> str:
    """Return a few words for a message.

    >>> listed(["a", "b"])
    'a, b'
    """
    kept = list(islice(words, _MAX_LISTED + 1))
    return ", ".join(kept[:_MAX_LISTED]) + (", …" if len(kept) > _MAX_LISTED else "")


def instead(word: str, known: Iterable[str]) -> str:
    """Return what could have been meant by a word that is not among those that are known.

    >>> instead("wbe", ["db", "web"])
    'did you mean "web"?'
    >>> instead("proxy", ["db", "web"])
    'there are db, web'
    """
    names = list(dict.fromkeys(known))
    near = nearest(word, names)
    return f'did you mean "{near}"?' if near else f"there are {listed(names)}"


def strange_character(text: str) -> str | None:
    r"""Return a description of the first character outside ASCII: it may look like a letter and be another.

    >>> strange_character("w\u0435b")
    'U+0435 CYRILLIC SMALL LETTER IE'
    """
    if text.isascii():
        return None
    from unicodedata import name

    character = next(each for each in text if ord(each) > 127)
    return f"U+{ord(character):04X} {name(character, '(no name)')}"
