"""Options that all tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("weft", deadline=None)
settings.load_profile("weft")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write the golden flow tables instead of comparing")
    parser.addoption("--packets", type=int, default=3000, help="how many random packets oracle and switches judge")
    parser.addoption("--traced", type=int, default=20000, help="how many random packets oracle and traces judge")
    parser.addoption("--mutants", type=int, default=45, help="for how many seconds lies in compiled flows are told")
    parser.addoption(
        "--edits", type=int, default=4000, help="how many random edits the incremental computation goes through"
    )
