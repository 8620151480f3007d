"""The page of scenarios names tests that exist, and leaves none of them out."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "scenarios.md"


def test_every_test_that_the_page_names_exists() -> None:
    defined = {
        name
        for path in (
            *HERE.glob("test_*.py"),
            *(HERE.parent / "lab" / f"test_{name}.py" for name in ("dhcp", "roaming", "routers_tell", "trunk")),
            HERE.parent / "engine" / "test_neighbours.py",
        )
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    assert named - defined == set()


def test_every_numbered_security_story_stands_on_the_page() -> None:
    """Stories with a number are told under it, S39's as a whole file."""
    told = PAGE.read_text()
    numbered = {
        name
        for path in HERE.glob("test_security_*.py")
        for name in re.findall(r"^def (test_[a-d]\d\w+|test_s37\w+)", path.read_text(), re.MULTILINE)
    }
    assert {name for name in numbered if f"`{name}`" not in told} == set()


def test_every_layer_2_story_stands_on_the_page() -> None:
    told = PAGE.read_text()
    stories = {
        name
        for path in HERE.glob("test_layer2_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert {name for name in stories if f"`{name}`" not in told} == set()
