"""The page of faults names every test of them, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "faults.md"


def test_the_page_names_exactly_the_tests_of_faults() -> None:
    stories = [path for path in HERE.glob("test_*.py") if path != Path(__file__)]
    defined = {name for path in stories for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    assert set(re.findall(r"`(test_[a-z]\w+)`", PAGE.read_text())) == defined
