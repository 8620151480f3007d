"""A simulated switch keeps what it is given, and the controller cannot tell it from another."""

from __future__ import annotations

from pathlib import Path

from benchmarks.simulated import SimulatedSwitch
from benchmarks.simulation import Simulation
from controller.pipeline.flow import Group, Output, match
from controller.wire.pack import bucket_bytes
from tests.benchmarks.telling import add, add_group, commit, delete, dumped, dumped_groups, stage, told
from tests.switch.harness import WEB1, Control, flow, program, some_flows, wait_for

FLOOD = Group(7, ((Output(1),), (Output(2),)), WEB1, "deliver")


def test_what_is_committed_is_dumped_in_as_many_parts_as_it_takes() -> None:
    switch, flows = SimulatedSwitch(1, {}), some_flows(3000)
    commit(switch, add_group(FLOOD), *map(add, flows))
    assert dumped(switch) == told(*flows)
    assert dumped_groups(switch) == {7: bucket_bytes(FLOOD)}


def test_a_later_bundle_replaces_and_deletes() -> None:
    switch, (kept, gone) = SimulatedSwitch(1, {}), some_flows(2)
    commit(switch, add(kept), add(gone))
    changed = flow(kept.table, kept.priority, kept.match, Output(99))
    commit(switch, delete(gone), add(changed))
    assert dumped(switch) == told(changed)


def test_a_bundle_that_is_not_committed_counts_for_nothing() -> None:
    switch = SimulatedSwitch(1, {})
    stage(switch, map(add, some_flows(5)))
    switch.disconnected()
    assert dumped(switch) == set()


def test_memory_does_not_grow_with_what_is_written_again_and_again() -> None:
    switch, flows = SimulatedSwitch(1, {}), some_flows(100)
    for _ in range(200):
        commit(switch, *map(add, flows))
    assert switch.size < 20 * sum(len(body) for _, body in map(add, flows))
    assert dumped(switch) == told(*flows)


def test_the_controller_brings_simulated_switches_in_sync(tmp_path: Path) -> None:
    described = [{"dpid": dpid, "ports": {"p1": 5}} for dpid in (1, 2)]
    with Control(tmp_path, 1, 2) as control, Simulation("{}:{}".format(*control.address), described) as crowd:
        for dpid, count in ((1, 300), (2, 4000)):
            control.bring(program(dpid, FLOOD, *some_flows(count)))
        assert crowd.flows() == {1: 300, 2: 4000}
        assert control.recorder.ports == {1: {"p1": 5}, 2: {"p1": 5}}


def test_a_simulated_switch_that_was_cut_off_comes_back_with_all_it_had(tmp_path: Path) -> None:
    with (
        Control(tmp_path, 1) as control,
        Simulation("{}:{}".format(*control.address), [{"dpid": 1, "ports": {}}]) as crowd,
    ):
        control.bring(program(1, *some_flows(1000), flow(3, 5, match(in_port=1))))
        commits = crowd.commits()
        crowd.cut()
        wait_for(lambda: control.recorder.gone == [1])
        crowd.wait_connected()
        control.bring(program(1, *some_flows(1000), flow(3, 5, match(in_port=1))))
        assert (crowd.flows(), crowd.commits()) == ({1: 1001}, commits)
