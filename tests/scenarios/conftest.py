"""A town of four ports that talk, for the stories of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ovs.fabric import FabricTwin
from tests.scenarios.talk import Talk
from tests.scenarios.town import town


@pytest.fixture(scope="module")
def town_twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricTwin]:
    with FabricTwin(tmp_path_factory.mktemp("town"), town()) as twin:
        yield twin


@pytest.fixture
def talk(town_twin: FabricTwin) -> Talk:
    """The town without rules and without connections of earlier stories."""
    town_twin.forget()
    return Talk(town_twin)
