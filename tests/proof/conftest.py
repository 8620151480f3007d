"""Seeds for the random fabrics."""

from __future__ import annotations

import pytest

from tests.proof.test_differential import PER_FABRIC


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        packets = metafunc.config.getoption("--packets")
        metafunc.parametrize("seed", range(-(-packets // PER_FABRIC)))
