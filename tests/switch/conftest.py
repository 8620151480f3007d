"""What the stories on fake switches share; those on others have a controller of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.switch.fake import FakeSwitch
from tests.switch.harness import Control

ONE, TWO = 0x0001_0000_0000_0001, 0x0001_0000_0000_0002


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with Control(tmp_path, ONE, TWO) as running:
        yield running


@pytest.fixture
def switch(control: Control) -> Iterator[FakeSwitch]:
    with FakeSwitch(control.address, ONE, {"p1": 1}) as fake:
        yield fake
