"""One lab for the stories of a module; after each, every switch must hold what the files compile to from nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller import control
from tests.faults.site import BLUE, FILES, RED, is_controlled, read
from tests.lab.net import Net
from tests.scenarios.labs import differences, running, write


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with running(tmp_path_factory.mktemp("faults"), FILES) as net:
        net.lab.wait_in_sync()
        for host in net.lab.plan.hosts:
            # Open vSwitch 3.1 takes the longest pause between attempts to connect, 1 s, from a change during a connection.
            net.lab.exec_host(
                host,
                [
                    "ovs-vsctl",
                    *(
                        word
                        for bridge in net.lab.plan.hosts[host].bridges
                        for word in ("--", "set", "bridge", bridge, "external_ids:touched=yes")
                    ),
                ],
                check=True,
            )
        yield net


@pytest.fixture
def net(lab: Net) -> Iterator[Net]:
    """The lab with the files of the module `site`, in sync; a story may leave the controller as it likes."""
    yield lab
    if not is_controlled(lab):
        lab.lab.stop_controller()
        lab.lab.start_controller()
    write(lab.lab.folder / "tenants/blue.yaml", BLUE)
    lab.lab.wait_in_sync()
    read(lab, RED)
    assert differences(lab) == []
    audited = control.request(lab.lab.control, {"do": "audit"})
    assert audited["clean"], audited
