"""Change sets: they are confirmed, told, taken back on request; a restart finds its numbers in the switches; a third hand is found out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller import control
from controller.pipeline.plan import pipeline
from tests.lab.net import Net
from tests.scenarios.labs import Stream, ask, differences, installed, running, states, touched, wait_until, write

pytestmark = pytest.mark.lab

FABRIC = """\
fabric: changes
hosts:
  hv1: {tunnel_ip: 172.31.0.1, local_vlans: 2-4}
  hv2: {tunnel_ip: 172.31.0.2, local_vlans: 2-4}
tenants:
  red: {segments: 5000-5099}
"""
RED = """\
networks:
  web: {segment: 5001, cidr: 10.0.1.0/24}
  db: {segment: 5002, cidr: 10.0.2.0/24}
security_groups:
  web:
    ingress:
      - {protocol: icmp}
      - {protocol: udp}
ports:
  w1: {network: web, host: hv1, ip: 10.0.1.11, security_groups: [web]}
  w2: {network: web, host: hv2, ip: 10.0.1.12, security_groups: [web]}
  d1: {network: db, host: hv1, ip: 10.0.2.11}
"""
ONE_MORE_RULE = RED.replace(
    "      - {protocol: udp}\n", "      - {protocol: udp}\n      - {protocol: tcp, ports: 80}\n"
)
TENANT = "tenants/red.yaml"
OUTPUT, INGRESS_RULES = (pipeline().tables[name].number for name in ("output", "ingress_rules"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with running(tmp_path_factory.mktemp("changes"), {"fabric.yaml": FABRIC, TENANT: RED}) as up:
        up.lab.wait_in_sync()
        yield up


@pytest.fixture
def net(lab: Net) -> Iterator[Net]:
    """The lab as its files were at first, before and after the story."""
    yield lab
    write(lab.lab.folder / TENANT, RED)
    ask(lab, "apply")
    wait_until(lambda: states(lab, "hv1", "hv2") == {"in sync"}, "every switch in sync again")
    assert differences(lab) == []


def weft(net: Net, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb that asks the lab's controller."""
    program = Path(sys.executable).with_name("weft")
    return subprocess.run(
        [program, words[0], "--control", net.lab.control, *words[1:]], capture_output=True, text=True, check=False
    )


@contextmanager
def full(net: Net, host: str, table: int) -> Iterator[None]:
    """A table of br-int that takes no more flows than it holds, while the block lasts."""
    flows = net.lab.exec_host(host, ["ovs-ofctl", "dump-flows", "br-int", f"table={table}"], check=True).stdout
    limit = flows.count("actions=")
    row = ["--", "--id=@t", "create", "Flow_Table", f"flow_limit={limit}", "overflow_policy=refuse"]
    bridge = ["--", "set", "bridge", "br-int", f"flow_tables:{table}=@t"]
    net.lab.exec_host(host, ["ovs-vsctl", *row, *bridge], check=True)
    try:
        yield
    finally:
        net.lab.exec_host(host, ["ovs-vsctl", "clear", "bridge", "br-int", "flow_tables"], check=True)


def test_apply_returns_when_the_switches_have_confirmed(net: Net) -> None:
    write(net.lab.folder / TENANT, ONE_MORE_RULE)
    done = weft(net, "apply", "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert differences(net) == []


def test_a_save_becomes_a_change_set_with_a_number(net: Net) -> None:
    last = ask(net, "status")["changes"]["last"]
    write(net.lab.folder / TENANT, ONE_MORE_RULE)
    change = control.request(net.lab.control, {"do": "wait", "after": last, "deadline": 20})
    assert (change["number"], change["cause"], change["state"]) == (last + 1, "files", "done")
    # The rule for IPv4 and IPv6 and, for the old stamp, the new one, on both hosts.
    assert (change["flows"], change["switches"]) == (10, 2)


def test_what_one_switch_refuses_is_taken_back_everywhere(net: Net) -> None:
    """A host's table of rules is full: with the rollback no host keeps the new rule, and nobody loses a packet."""
    before = installed(net)
    with full(net, "hv2", INGRESS_RULES), Stream(net, "red/w1", "red/w2") as stream:
        write(net.lab.folder / TENANT, ONE_MORE_RULE)
        done = weft(net, "apply", "--rollback-on-failure")
        assert done.returncode == 3
        for part in (
            "rolled back",
            "br-int@hv2: ",
            "TABLE_FULL",
            "ingress_rules",
            "red/web ingress rule",
            "red.yaml:9:",
        ):
            assert part in done.stderr
        wait_until(lambda: states(net, "hv1", "hv2") == {"in sync"}, "the former program everywhere")
        assert "rolled back" in "\n".join(ask(net, "status")["refused"])
    # The host that took it gets its former stamp back; no rule is touched.
    assert [each for each in touched(before, installed(net)) if "reg11" not in each] == []
    assert stream.lost == set()


def test_a_full_table_heals_by_itself_when_there_is_room_again(net: Net) -> None:
    with full(net, "hv2", INGRESS_RULES):
        write(net.lab.folder / TENANT, ONE_MORE_RULE)
        done = weft(net, "apply", "--wait")
        assert done.returncode == 3
        assert states(net, "hv1") == {"in sync"}
    wait_until(lambda: states(net, "hv2") == {"in sync"}, "the refused switch in sync")
    assert differences(net) == []


def test_numbers_are_found_again_in_the_switches(net: Net) -> None:
    """Networks come and go until tags are not where their names would put them; then another controller takes over."""
    for number in range(3):
        extra = f"  x{number}: {{segment: {5010 + number}, cidr: 10.{number}.0.0/24}}\n"
        port = f"  p{number}: {{network: x{number}, host: hv1}}\n"
        text = RED.replace("networks:\n", f"networks:\n{extra}").replace("ports:\n", f"ports:\n{port}")
        write(net.lab.folder / TENANT, text)
        assert ask(net, "apply")["accepted"]
    before = installed(net)
    net.lab.stop_controller()
    net.lab.start_controller()
    wait_until(lambda: states(net, "hv1", "hv2") == {"in sync"}, "the new controller has all in sync")
    assert touched(before, installed(net)) == []


def test_a_third_hand_is_named_and_undone(net: Net) -> None:
    """Somebody takes a flow, alters one and keeps its cookie, and adds one: the audit names all three, and packets never see it again."""
    net.lab.exec_host("hv1", ["ovs-ofctl", "--strict", "del-flows", "br-int", f"table={OUTPUT},priority=0"], check=True)
    net.lab.exec_host("hv1", ["ovs-ofctl", "mod-flows", "br-int", "table=24,ip actions=drop"], check=True)
    foreign = f"table={OUTPUT},priority=7,tcp actions=drop"
    net.lab.exec_host("hv1", ["ovs-ofctl", "add-flow", "br-int", foreign], check=True)
    done = weft(net, "audit", "--host", "hv1")
    assert done.returncode == 1
    assert "br-int@hv1: 3 differences, repaired" in done.stdout
    for part in (
        "missing: flow table=output, priority=0",
        "altered: flow table=track",
        "foreign: flow table=output, priority=7",
    ):
        assert part in done.stdout
    assert differences(net) == []
    assert weft(net, "audit").returncode == 0
