"""Oracle against Open vSwitch where much is logged: what is told of packets changes nothing for any of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from controller.model.entities import Rule, SecurityGroup, Topology
from controller.pipeline.flow import Program, ToController
from tests.ovs.tracing import Exit, read
from tests.proof import fabrics
from tests.proof.soak import judge_fabric

PACKETS = 500


@pytest.mark.ovs
@pytest.mark.parametrize("fabric_number", [3, 8])
def test_samples_change_no_verdict(fabric_number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write = fabrics.write
    monkeypatch.setattr(fabrics, "write", lambda folder, random: logged(write, folder, random))
    sampling: list[object] = []
    result = judge_fabric(fabric_number, PACKETS, lambda programs: sampling.extend(sampled(programs)))
    assert result.report is None, result.report
    assert result.packets >= PACKETS
    assert sampling


def test_a_port_that_is_written_back_is_no_change_and_another_is() -> None:
    """An answer's ports change places while it is judged, and a sample meanwhile makes the datapath write them."""
    sample = "sample(sample=100.0%,actions(meter(0),userspace(pid=0,controller(reason=1,max_len=160))))"
    for actions, changes in ((f"{sample},set(tcp(dst=80)),3", ()), (f"{sample},3", (("tcp.dst", "9"),))):
        text = f"Flow: tcp,in_port=1,tp_src=9,tp_dst=80,tcp_flags=0\nDatapath actions: set(tcp(dst=9)),{actions}"
        assert read(text, {3: "red.a"}).exits == [Exit("red.a", None, None, changes)]


def sampled(programs: list[Program]) -> list[ToController]:
    flows = (flow for program in programs for flow in program.flows.values())
    return [action for flow in flows for action in flow.actions if isinstance(action, ToController)]


def logged(write: object, folder: Path, random: Random) -> Topology:
    """The fabric with `log` on a third of its rules and groups."""
    assert callable(write)
    topology: Topology = write(folder, random)
    chance = Random(1)  # noqa: S311 - Which rules are logged is no secret.

    def some(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return tuple(replace(rule, log=chance.random() < 0.3) for rule in rules)

    def of(group: SecurityGroup) -> SecurityGroup:
        return replace(group, log=chance.random() < 0.3, ingress=some(group.ingress), egress=some(group.egress))

    return replace(topology, groups={name: of(group) for name, group in topology.groups.items()})
