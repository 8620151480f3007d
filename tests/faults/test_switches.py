"""Switches and their databases die, hang and refuse; whoever has no part in it loses nothing, and all end with what the files say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.site import (
    RED,
    daemon_of,
    frozen,
    pushed,
    read,
    restart_database,
    restart_switch,
    ruled,
    status_of,
)
from tests.faults.traffic import Traffic
from tests.lab.net import Net
from tests.scenarios.labs import differences, installed, touched, wait_until

pytestmark = pytest.mark.lab

RULES = 40
SLOW = 50  # Packets a second.


def test_a_restarted_switch_is_given_everything_again(net: Net) -> None:
    """A host's ovs-vswitchd dies with its flows: they come again, connections go on, and other hosts notice nothing."""
    with Traffic(net) as through_it, Traffic(net, "red/w1", "red/w3") as elsewhere:
        restart_switch(net, "hv2")
        wait_until(lambda: not differences(net), "hv2 holds its program again")
    assert through_it.has_survived, through_it.lost
    assert through_it.lost, "what a dead switch does not forward is counted"
    assert elsewhere.lost == []


def test_a_restarted_database_touches_no_flow(net: Net) -> None:
    """A host's ovsdb-server dies and comes back: its switch keeps the connection and every flow, and nobody loses a packet."""
    before, peer = installed(net), status_of(net, "hv2")["peer"]
    # Without its database, ovs-vswitchd reads no packets in userspace; 255 wait at an interface while it looks for it again, each second.
    with Traffic(net, rate=SLOW) as traffic:
        restart_database(net, "hv2")
    assert touched(before, installed(net)) == []
    assert status_of(net, "hv2")["peer"] == peer
    assert traffic.lost == []


def test_a_switch_that_hangs_delays_nobody_else_and_catches_up(net: Net) -> None:
    """One switch is frozen while files are saved: the others confirm each change, and it gets all of them when it wakes."""
    with Traffic(net) as traffic:
        with frozen(daemon_of(net, "hv3", "ovs-vswitchd")):
            for number in range(1, 6):
                change = pushed(net, ruled(number))
                assert change["state"] == "late"
                assert {trouble.split("@")[1][:3] for trouble in change["troubles"]} == {"hv3"}
                assert differences(net, {"hv1", "hv2"}) == []
        wait_until(lambda: not differences(net), "the one that hung holds what was saved last")
    assert traffic.lost == []


def test_a_full_table_refuses_a_change_whole_and_heals_by_itself(net: Net) -> None:
    """A table of one switch takes no more: of the change it takes nothing and says why, the others take it; with room it is mended."""
    place = table_of_rules(net)
    with Traffic(net) as traffic:
        with limited(net, "hv2", place):
            before = {where for where in installed(net) if where[0] == "hv2"}
            change = pushed(net, ruled(RULES))
            assert change["state"] == "refused"
            assert {where for where in installed(net) if where[0] == "hv2"} == before
            told = status_of(net, "hv2")
            assert told["state"] == "degraded"
            assert "br-int@hv2" in told["last_error"]
            assert "tenants/red.yaml:" in told["last_error"]
            assert differences(net, {"hv1", "hv3"}) == []
        wait_until(lambda: not differences(net), "hv2 took the change when it had room")
        wait_until(lambda: status_of(net, "hv2")["state"] == "in sync", "hv2 says so")
    assert traffic.lost == []


def table_of_rules(net: Net) -> int:
    """The number of the table of br-int in which red's rules are."""
    before = installed(net)
    read(net, ruled(RULES))
    came = [re.search(r"table=(\d+)", place[2]) for place in installed(net).keys() - before.keys()]
    found = [int(match[1]) for match in came if match]
    read(net, RED)
    return max(found, key=found.count)


@contextmanager
def limited(net: Net, host: str, table: int) -> Iterator[None]:
    """Let a table of a host's br-int refuse what goes beyond the flows that it holds."""
    held = sum(place[0] == host and f"table={table}," in place[2] for place in installed(net))
    limit = ("--", "--id=@full", "create", "flow_table", f"flow_limit={held}", "overflow_policy=refuse")
    net.lab.exec_host(
        host, ["ovs-vsctl", *limit, "--", "set", "bridge", "br-int", f"flow_tables:{table}=@full"], check=True
    )
    try:
        yield
    finally:
        net.lab.exec_host(host, ["ovs-vsctl", "remove", "bridge", "br-int", "flow_tables", str(table)], check=True)
