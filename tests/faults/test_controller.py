"""The controller dies, sleeps and comes back; traffic does not notice, and every switch ends with what the files say."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.site import (
    TENANT,
    SwitchLog,
    controller_of,
    crash_controller,
    frozen,
    log_of,
    read,
    ruled,
    save,
)
from tests.faults.traffic import Traffic
from tests.lab.net import Net
from tests.scenarios.labs import ask, differences, installed, touched, wait_until

pytestmark = pytest.mark.lab

ROUNDS, SEED, RULES = 5, 20260101, 2000
A_DAY_S = 86_400

# Python reads this file of a folder on its path at its start: the wall clock of the process then goes by the file `offset` beside it.
FALSE_CLOCK = """\
import pathlib, time
true, offset = time.time, pathlib.Path(__file__).with_name("offset")
time.time = lambda: true() + float(offset.read_text())
time.time_ns = lambda: int(time.time() * 1e9)
"""


def test_a_killed_controller_that_comes_back_touches_nothing(net: Net) -> None:
    """The controller is killed and started again: no datagram is lost, nothing is sent, and no flow is younger than before."""
    before = installed(net)
    with Traffic(net) as traffic:
        restart(net)
        switches = ask(net, "status")["switches"]
        assert {(each["added"], each["modified"], each["deleted"]) for each in switches} == {(0, 0, 0)}
    assert touched(before, installed(net)) == []
    assert traffic.lost == []


def test_a_controller_killed_in_the_middle_of_a_push_is_finished_by_the_next(net: Net) -> None:
    """Thousands of flows come and go; wherever a controller dies on the way, or its successor, a later one makes all whole."""
    chance = random.Random(SEED)  # noqa: S311 - Moments, not secrets.
    with Traffic(net) as traffic:
        to_push, to_start = timed(lambda: read(net, ruled(RULES))), timed(lambda: restart(net))
        for number in range(ROUNDS):
            save(net, ruled(RULES if number % 2 else 0))
            time.sleep(chance.uniform(0, to_push))
            if number % 2:
                crash_controller(net)
                net.lab.start_controller()
                time.sleep(chance.uniform(0, to_start))
            restart(net)
            assert differences(net) == [], number
    assert traffic.lost == []


def restart(net: Net) -> None:
    """Kill the controller and start it again; return when all is in sync."""
    crash_controller(net)
    net.lab.start_controller()
    net.lab.wait_in_sync()


def timed(work: Callable[[], None]) -> float:
    """Do something; return how many seconds it took."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_what_is_saved_while_no_controller_runs_is_in_force_when_one_does(net: Net) -> None:
    """The controller is away, all switches look for it in vain, a file is saved: it is in force when the next one comes."""
    logs = {host: SwitchLog(net, host) for host in net.lab.plan.hosts}
    with Traffic(net) as traffic:
        net.lab.stop_controller()
        save(net, ruled(5))
        for log in logs.values():
            log.wait_for("connection failed")
        net.lab.start_controller()
        net.lab.wait_in_sync()
        assert differences(net) == []
    assert traffic.lost == []


def test_a_controller_that_sleeps_until_all_switches_have_given_it_up_catches_up(net: Net) -> None:
    """The controller hangs, every bridge's probe goes unanswered, a file is saved meanwhile: it wakes and all is in sync."""
    logs = {host: SwitchLog(net, host) for host in net.lab.plan.hosts}
    with Traffic(net) as traffic:
        with frozen(controller_of(net)):
            save(net, ruled(7))
            for host, log in logs.items():
                for bridge in net.lab.plan.hosts[host].bridges:
                    log.wait_for(f"{bridge}<->tcp:{net.lab.listen}: no response to inactivity probe")
            save(net, ruled(9))
        wait_until(lambda: not differences(net), "all switches hold what was saved last")
        net.lab.wait_in_sync()
    assert traffic.lost == []


def test_a_clock_that_is_set_back_a_day_changes_nothing(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wall clock jumps back under a running controller: it stays in sync, and the next saved file is in force."""
    (tmp_path / "sitecustomize.py").write_text(FALSE_CLOCK)
    (tmp_path / "offset").write_text("0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    net.lab.stop_controller()
    net.lab.start_controller()
    net.lab.wait_in_sync()
    with Traffic(net) as traffic:
        before, length = installed(net), len(log_of(net))
        (tmp_path / "offset").write_text(f"-{A_DAY_S}")
        save(net, ruled(3))
        past = time.time() - A_DAY_S
        os.utime(net.lab.folder / TENANT, (past, past))
        wait_until(lambda: touched(before, installed(net)), "the file is taken")
        assert ask(net, "audit")["clean"]
        assert time.strftime("%Y-%m-%d", time.localtime(past)) in log_of(net)[length:], "its clock has jumped"
    assert traffic.lost == []
    net.lab.stop_controller()
