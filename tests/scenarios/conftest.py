"""A town of four ports that talk, for the stories of one module: on dummy switches, or with real packets while its rules change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.site import is_controlled
from tests.lab.net import Net
from tests.ovs.fabric import FabricTwin
from tests.scenarios.live import Live, lab
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


@pytest.fixture(scope="module")
def live_net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with lab(tmp_path_factory.mktemp("live")) as net:
        yield net


@pytest.fixture
def live(live_net: Net) -> Iterator[Live]:
    """The town with real packets; a story may have left it without a controller."""
    if not is_controlled(live_net):
        live_net.lab.stop_controller()
        live_net.lab.start_controller()
        live_net.lab.wait_in_sync()
    with Live(live_net) as live:
        yield live
