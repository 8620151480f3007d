"""Connections between switches and the controller are cut, flap and are claimed by two; no packet of a port is lost to it."""

from __future__ import annotations

import pytest

from tests.faults.channels import Flapping, Means, cut, impostor, mend
from tests.faults.site import SwitchLog, crash_controller, log_of, pushed, ruled, save, status_of
from tests.faults.traffic import Traffic
from tests.lab.net import Net
from tests.scenarios.labs import differences, installed, states, touched, wait_until

pytestmark = pytest.mark.lab

FLAPS, WARM_UP = 200, 40
LEAK_KIB = 10 * FLAPS  # What is kept of a connection is more than 10 KiB.
NOTICED_S = 40.0  # The controller gives a silent switch up after 20 s.


def test_a_half_open_channel_is_noticed_by_both_ends_and_mended(net: Net) -> None:
    """Two hosts are cut off without a reset and files change: one is back when it has noticed, one when the controller has."""
    log = SwitchLog(net, "hv3")
    with Traffic(net) as traffic:
        cut(net, "hv2")
        cut(net, "hv3")
        save(net, ruled(4))
        log.wait_for("br-int<->" + f"tcp:{net.lab.listen}: no response to inactivity probe")
        mend(net, "hv3")
        wait_until(lambda: not differences(net, {"hv1", "hv3"}), "hv3 is back, and has the change")
        wait_until(lambda: status_of(net, "hv2")["state"] == "down", "the controller gives hv2 up", NOTICED_S)
        mend(net, "hv2")
        wait_until(lambda: not differences(net), "hv2 is back, and has the change")
    assert traffic.lost == []


def test_a_controller_that_starts_while_a_host_is_cut_off_touches_nothing(net: Net) -> None:
    """A host is out of the controller's reach and the controller is another one: nobody's flows change, and the host is back unchanged."""
    before = installed(net)
    with Traffic(net) as traffic:
        cut(net, "hv2")
        crash_controller(net)
        net.lab.start_controller()
        wait_until(lambda: states(net, "hv1", "hv3") == {"in sync"}, "the others are in sync")
        mend(net, "hv2")
        net.lab.wait_in_sync()
    assert touched(before, installed(net)) == []
    assert traffic.lost == []


def test_a_flapping_channel_costs_nothing(net: Net) -> None:
    """One switch reconnects 200 times, often before it is in sync: no flow is touched, and the controller grows by nothing."""
    before = installed(net)
    with Traffic(net) as traffic, Flapping(net, "hv2", "br-int") as flapping:
        for _ in range(WARM_UP):
            flapping.once()
        net.lab.wait_in_sync()
        first = Means.of_controller(net)
        for _ in range(FLAPS):
            flapping.once()
        net.lab.wait_in_sync()
        wait_until(lambda: Means.of_controller(net).threads <= first.threads, "threads go")
        wait_until(lambda: Means.of_controller(net).descriptors <= first.descriptors, "descriptors are closed")
        assert Means.of_controller(net).memory - first.memory < LEAK_KIB
    assert touched(before, installed(net)) == []
    assert traffic.lost == []


def test_of_two_switches_with_one_datapath_id_the_living_one_keeps_working(net: Net) -> None:
    """A bridge elsewhere claims a host's datapath id: that is told, it gets nothing, and the host works and takes changes."""
    was = status_of(net, "hv1")
    with Traffic(net) as traffic, impostor(net, "hv3", was["dpid"]) as name:
        wait_until(lambda: "two switches claim" in (status_of(net, "hv1")["last_error"] or ""), "the clash is told")
        assert f"refused {was['dpid']}" in log_of(net)
        assert pushed(net, ruled(6))["state"] == "done"
        assert status_of(net, "hv1")["peer"] == was["peer"]
        assert "actions" not in net.lab.exec_host("hv3", ["ovs-ofctl", "dump-flows", name], check=True).stdout
    assert traffic.lost == []
