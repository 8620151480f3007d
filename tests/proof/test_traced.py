"""Oracle against Open vSwitch at volume: what the files allow, and where traces let packets come out.

`--traced N` judges about N packets (20,000 unless given) from consecutive seeds; `make soak` is the same for as long as one likes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.model.entities import Direction, NetworkType
from controller.pipeline.fields import FIELDS
from controller.pipeline.flow import Conjunction, Flow, Program
from tests.ovs.tracing import Commit, Encapsulation, Exit, UnknownAction, ports, read
from tests.proof.soak import PER_FABRIC, Result, judge_fabric, main

_OF_PORTS = ("reg5", "reg8")  # The class of the ports that a rule is about.
NAMES = {1: "uplink", 3: "red.a", 4: "red.b"}


@pytest.mark.ovs
def test_traces_end_where_the_oracle_says(traced_seed: int) -> None:
    result = judge_fabric(traced_seed)
    assert result.report is None, result.report
    assert result.packets >= PER_FABRIC


@pytest.mark.ovs
def test_a_lie_is_told_with_both_answers_the_lines_and_the_seed() -> None:
    result = next(filter(_is_wrong, (judge_fabric(seed, 500, _let_everything_in) for seed in range(20))))
    assert result.report is not None
    assert result.report.startswith(f"seed {result.seed}, packet ")
    assert "the oracle says nobody" in result.report
    assert "refused, ingress default deny of " in result.report
    assert ": lie, " in result.report
    assert '"security_groups": [' in result.report


@pytest.mark.ovs
def test_what_is_judged_once_is_judged_the_same_again() -> None:
    assert judge_fabric(1, 300) == judge_fabric(1, 300)


@pytest.mark.ovs
def test_a_soak_ends_when_it_has_enough_packets_or_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--packets", "600", "--per-fabric", "300", "--processes", "2", "--seed", "7"]) == 0
    assert "2 fabrics (seeds 7 to 8)" in capsys.readouterr().out
    assert main(["--minutes", "0"]) == 3


def _is_wrong(result: Result) -> bool:
    return result.report is not None


def _let_everything_in(programs: list[Program]) -> None:
    """Have every ingress rule let in whatever comes to the same ports."""
    for program in programs:
        for flow in list(program.flows.values()):
            if _direction(flow) is Direction.INGRESS and not any(
                isinstance(each, Conjunction) for each in flow.actions
            ):
                registers = tuple(each for each in flow.match if FIELDS[each[0]].name in _OF_PORTS)
                lie = replace(flow, match=registers, priority=flow.priority + 1000, kind="lie")
                program.flows.setdefault(lie.key, lie)


def _direction(flow: Flow) -> Direction | None:
    return flow.origin.rule.direction if flow.origin.rule else None


# How traces are read.


def test_every_copy_is_as_the_packet_was_then() -> None:
    text = "Datapath actions: 3,push_vlan(vid=110,pcp=0),4,pop_vlan,set(eth(src=02:00:00:00:00:01)),4"
    assert read(text, NAMES).exits == [
        Exit("red.a", None, None, ()),
        Exit("red.b", 110, None, ()),
        Exit("red.b", None, None, (("eth.src", "02:00:00:00:00:01"),)),
    ]


def test_a_packet_that_recirculates_goes_on_as_what_it_was() -> None:
    lines = (
        "Datapath actions: pop_vlan,ct(zone=7),recirc(0x1)",
        "recirc(0x1) - resume conntrack with default ct_state=trk|new (use --ct-next to customize)",
        "Datapath actions: ct(commit,zone=7,mark=0x5/0xff,label=0x9),3",
    )
    outcome = read("\n".join(lines), NAMES, 12)
    assert outcome.exits == [Exit("red.a", None, None, ())]
    assert outcome.commits == [Commit(7, (5, 0xFF), (9, (1 << 128) - 1), turns=False)]
    assert outcome.zones == {7}


def test_a_tunnel_is_read_with_its_key_and_both_ends() -> None:
    text = (
        "Datapath actions: clone(tnl_push(tnl_port(4789),header(size=50,type=4,eth(dst=02:ff:00:1f:00:01),"
        "ipv4(src=172.31.0.3,dst=172.31.0.1,proto=17),udp(src=0,dst=4789,csum=0x0),"
        "vxlan(flags=0x8000000,vni=0xffbd22)),out_port(2)),1),3"
    )
    first, second = read(text, NAMES).exits
    assert first.interface == "uplink"
    assert isinstance(first.tunnel, Encapsulation)
    assert (first.tunnel.kind, first.tunnel.key) == (NetworkType.VXLAN, 0xFFBD22)
    assert (str(first.tunnel.src), str(first.tunnel.dst)) == ("172.31.0.3", "172.31.0.1")
    assert second == Exit("red.a", None, None, ())


def test_what_is_not_known_is_an_error() -> None:
    with pytest.raises(UnknownAction):
        read("Datapath actions: sample(sample=1.0%,actions(3))", NAMES)


def test_ports_have_the_datapaths_numbers() -> None:
    shown = (
        "dummy@ovs-dummy: hit:0 missed:0\n  br-int:\n    red.a 100/3: (dummy)\n    patch-tun 1/none: (patch: peer=x)\n"
    )
    assert ports(shown) == {3: "red.a"}
