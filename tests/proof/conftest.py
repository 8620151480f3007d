"""Seeds for the random fabrics."""

from __future__ import annotations

import pytest

from tests.proof import soak
from tests.proof.test_differential import PER_FABRIC


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, option, each in (
        ("seed", "--packets", PER_FABRIC),
        ("traced_seed", "--traced", soak.PER_FABRIC),
        ("outer_seed", "--packets", PER_FABRIC),
        ("beyond_seed", "--packets", 3 * PER_FABRIC),
    ):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, range(-(-metafunc.config.getoption(option) // each)))
