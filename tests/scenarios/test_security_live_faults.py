"""Rules change while the controller dies and switches restart: no connection stays open that may not, none is lost that may."""

from __future__ import annotations

import pytest

from tests.faults.site import crash_controller, daemon_of, frozen, restart_switch
from tests.scenarios.labs import differences, wait_until
from tests.scenarios.live import BOTH, FAR, MATE, NEAR, SERVER, Live, rules

pytestmark = pytest.mark.lab

GROUPS = "g: {{ingress: [{}], egress: []}}"
WITH, WITHOUT = GROUPS.format(f"{rules(5001)}, {rules(5002)}"), GROUPS.format(rules(5002))
SERVERS = {"server": ["g"], "mate": ["g"]}


def start(live: Live) -> None:
    """Start the controller; what is in the files is in force when this returns."""
    live.net.lab.start_controller()
    live.net.lab.wait_in_sync()
    live.since_now()


def test_a_controller_killed_between_two_hosts_leaves_no_connection_open(live: Live) -> None:
    """One host has taken the change, the other hangs, the controller dies: its successor brings the other there, too."""
    live.edit(WITH, SERVERS)
    kept = live.talk([NEAR], SERVER, 5002)
    cut, elsewhere = live.talk([NEAR], SERVER, 5001), live.talk([FAR], MATE, 5001)
    there = live.talk([FAR], MATE, 5002)
    with live.unharmed(kept):
        with frozen(daemon_of(live.net, "hv2", "ovs-vswitchd")):
            live.save(WITHOUT, SERVERS)
            wait_until(lambda: not differences(live.net, {"hv1"}), "hv1 has taken the change")
            live.since_now()
            live.silent(cut, beside=kept)
            crash_controller(live.net)
        start(live)
        live.silent([*cut, *elsewhere], beside=[*kept, *there])


@pytest.mark.parametrize("side", ["in", "out"])
@pytest.mark.parametrize("host", ["hv1", "hv2"], ids=["the-servers-switch", "a-clients-switch"])
def test_a_restarted_switch_lets_go_on_what_may_and_nothing_else(live: Live, host: str, side: str) -> None:
    """A switch forgets its connections in the middle: those that the rules allow go on, those that they do not stay silent."""

    def edit(allowed: str) -> None:
        if side == "in":
            live.edit(GROUPS.format(allowed), SERVERS)
        else:
            groups = f"g: {{ingress: [{{}}], egress: []}}\nc: {{egress: [{allowed}]}}"
            live.edit(groups, {**SERVERS, "near": ["c"], "far": ["c"]})

    edit(f"{rules(5001)}, {rules(5002)}")
    bystanders = live.talk([NEAR], SERVER, 5002) if host == "hv2" else live.talk([FAR], MATE, 5002)
    cut, kept = live.talk(BOTH, SERVER, 5001), live.talk(BOTH, SERVER, 5002)
    edit(rules(5002))
    live.silent(cut, beside=kept)
    heard = {str(way): way.arrived for stream in cut for way in stream.ways}
    with live.unharmed(bystanders):
        restart_switch(live.net, host)
        live.net.lab.wait_in_sync()
        live.goes_on(kept)
        live.since_now()
        live.silent(cut, beside=kept)
    assert {str(way): way.arrived for stream in cut for way in stream.ways} == heard, "while the switch came up"
