"""A lab comes up as the topology says, carries packets, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.lab import build
from controller.lab.lab import Lab
from controller.lab.namespaces import NAMESPACES, Process, end, exists, inside
from controller.lab.plan import LabError, PortPlan
from controller.lab.prober import ICMP, TCP, UDP, Probe
from controller.lab.reach import Question, observe
from controller.lab.state import State, read_state
from controller.model.entities import NetworkType
from tests.lab.byhand import wire
from tests.lab.small import network, port, small

pytestmark = pytest.mark.lab

_numbers = itertools.count()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[type[Lab]]:
    """`Lab`, whose labs of this test are down after it."""
    made: list[Lab] = []

    class Ours(Lab):
        def __init__(self, state: State) -> None:
            super().__init__(state)
            made.append(self)

    yield Ours
    for lab in made:
        lab.down()
    assert not list(tmp_path.glob("*/state.json"))


def bring_up(up: type[Lab], tmp_path: Path, **options: object) -> Lab:
    name = f"t{os.getpid()}-{next(_numbers)}"
    without = options.get("without", ())
    assert isinstance(without, tuple)
    return up.up(small(), tmp_path, name, directory=tmp_path / name, controller=False, without=without)


def test_a_port_has_the_address_mac_and_mtu_of_the_files(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    said = lab.exec_port("red/web1", ["ip", "addr", "show", "eth0"]).stdout
    assert lab.plan.ports["red/web1"].mac in said
    assert "inet 10.0.1.11/24" in said
    assert "mtu 1450" in said
    assert "mtu 1500" in lab.exec_port("red/lan1", ["ip", "link", "show", "eth0"]).stdout


def test_open_vswitch_tools_find_their_host_without_options(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    assert (
        lab.exec_host("hv1", ["ovs-vsctl", "get", "interface", "red.web1", "external_ids:iface-id"]).stdout.strip()
        == '"red/web1"'
    )
    assert "red.web1" in lab.exec_host("hv1", ["ovs-ofctl", "show", "br-int"]).stdout
    assert "red.web1" in lab.exec_host("hv1", ["ovs-appctl", "dpif/show"]).stdout
    assert "red.web2" in lab.exec_host("hv2", ["ovs-appctl", "dpif/show"]).stdout


def test_nothing_is_forwarded_before_a_controller_says_so(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    assert not reached(lab, ("red/web1", "red/web2"), expected=False)


def test_packets_cross_the_tunnel_the_foreign_vtep_and_the_physical_network(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    wire(lab)
    for pair in (
        ("red/web1", "red/web2"),
        ("red/web2", "red/metal"),
        ("red/metal", "red/web1"),
        ("red/lan1", "red/lan2"),
    ):
        assert reached(lab, pair, expected=True) == {ICMP, TCP, UDP}, pair


def test_full_frames_fit_through_the_tunnel(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    wire(lab)
    for target in ("10.0.1.12", "10.0.1.19"):
        done = lab.exec_port("red/web1", ["ping", "-c1", "-W2", "-Mdo", f"-s{1450 - 28}", target])
        assert done.returncode == 0, done.stdout


def test_red_does_not_count_as_blue_with_the_same_address(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    wire(lab)
    findings = observe(
        [ask(lab, "red/web1", "red/web2", ICMP), ask(lab, "red/web1", "blue/web2", ICMP)], namespaces(lab)
    )
    assert [finding.observed for finding in findings] == [True, False]


def test_down_leaves_nothing_behind(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    state = read_state(lab.directory)
    left_running = subprocess.Popen(lab.port_command("red/web1", ["sleep", "60"]))
    lab.down()
    assert left_running.wait(5) == -signal.SIGTERM
    assert not [name for name in state.namespaces if exists(name)]
    assert state.link not in interfaces()
    assert not [process for process in state.processes if process.is_alive]
    assert not lab.directory.exists()


def test_outside_its_namespaces_a_lab_has_one_interface(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    assert read_state(lab.directory).link in interfaces()
    assert not interfaces() & {"br-int", "br-tun", "underlay", "mgmt", "red.web1"}


def test_two_labs_at_once_do_not_meet(up: type[Lab], tmp_path: Path) -> None:
    one, other = bring_up(up, tmp_path), bring_up(up, tmp_path)
    assert one.listen != other.listen
    wire(other)
    one.down()
    assert reached(other, ("red/web1", "red/web2"), expected=True) == {ICMP, TCP, UDP}


def test_the_same_lab_does_not_come_up_twice(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    with pytest.raises(LabError, match="weft lab down"):
        up.up(small(), tmp_path, lab.name, directory=lab.directory, controller=False)
    assert lab.exec_port("red/web1", ["true"]).returncode == 0


def test_what_fails_half_way_is_taken_down(up: type[Lab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[State] = []

    def fail(state: State, port: PortPlan) -> list[Process]:
        seen.append(state)
        raise LabError(f"no room for {port.name}")

    monkeypatch.setattr(build, "_configure_port", fail)
    with pytest.raises(LabError, match="no room for"):
        bring_up(up, tmp_path)
    assert seen
    assert not [name for name in seen[0].namespaces if exists(name)]
    assert not any(tmp_path.iterdir())


def test_a_lab_whose_maker_was_killed_can_be_taken_down(tmp_path: Path) -> None:
    directory = tmp_path / "killed"
    script = (
        "import os, signal; from pathlib import Path; from controller.lab.lab import Lab; from controller.lab import build\n"
        "from tests.lab.small import small\n"
        "build._plug_in = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Lab.up(small(), Path({str(tmp_path)!r}), 'killed', directory=Path({str(directory)!r}), controller=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    state = read_state(directory)
    assert any(exists(name) for name in state.namespaces)
    Lab.open("killed", directory).down()
    assert not [name for name in state.namespaces if exists(name)]
    assert not directory.exists()


def test_down_twice_is_down(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    lab.down()
    lab.down()
    with pytest.raises(LabError, match="no lab in"):
        Lab.open(lab.name, lab.directory)


def test_a_host_and_its_ports_join_late(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path, without=("hv2", "red/lan1"))
    assert "red/web2" not in lab.plugged
    with pytest.raises(LabError, match='no host "hv2"'):
        lab.plug("red/web2")
    lab.start_host("hv2")
    for name in ("red/web2", "red/lan2", "red/lan1"):
        lab.plug(name)
    wire(lab)
    assert reached(lab, ("red/web1", "red/web2"), expected=True) == {ICMP, TCP, UDP}


def test_an_unplugged_port_is_gone_from_its_switch_and_comes_back(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    namespace = lab.port_namespace("red/web1")
    lab.unplug("red/web1")
    assert "red.web1" not in lab.exec_host("hv1", ["ovs-vsctl", "list-ports", "br-int"]).stdout
    assert not exists(namespace)
    lab.plug("red/web1")
    assert "red.web1" in lab.exec_host("hv1", ["ovs-vsctl", "list-ports", "br-int"]).stdout


def test_a_lab_follows_its_files(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    ports = {name: each for name, each in small().ports.items() if name != "red/lan1"}
    ports["red/web3"] = port("red/web3", "red/web", "10.0.1.13", "hv1")
    lab.follow(dataclasses.replace(small(), ports=ports))
    assert "red/lan1" not in lab.plugged
    assert "inet 10.0.1.13/24" in lab.exec_port("red/web3", ["ip", "addr"]).stdout
    assert Lab.open(lab.name, lab.directory).plugged == lab.plugged


def test_a_lab_does_not_follow_where_wires_would_change(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    with pytest.raises(LabError, match="bring it up again"):
        lab.follow(dataclasses.replace(small(), mtu=9000))
    elsewhere = dataclasses.replace(small().physical_networks["physnet1"], hosts=("hv2",))
    with pytest.raises(LabError, match="wires of hv1"):
        lab.follow(dataclasses.replace(small(), physical_networks={"physnet1": elsewhere}))


def test_a_type_of_tunnel_that_the_files_now_use_gets_its_port(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    more = {**small().networks, "red/far": network("red/far", NetworkType.GENEVE, 1001, "10.0.5.0/24")}
    lab.follow(dataclasses.replace(small(), networks=more))
    assert "geneve" in lab.exec_host("hv1", ["ovs-vsctl", "list-ports", "br-tun"]).stdout.split()


def test_hosts_reach_the_controllers_address(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    address, number = lab.listen.split(":")
    with socket.create_server((address, int(number))) as server:
        for host in lab.plan.hosts:
            with inside(lab.host_namespace(host)):
                client = socket.create_connection((address, int(number)), 5)
            client.close()
            server.accept()[0].close()


def test_status_names_what_is_dead(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    assert all(host["alive"] for host in lab.status()["hosts"])
    end([each for each in read_state(lab.directory).processes if "ovs-vswitchd" in each.what and "hv2" in each.what])
    assert {host["name"]: host["alive"] for host in lab.status()["hosts"]} == {"hv1": True, "hv2": False, "rack9": True}


def test_a_process_that_took_over_a_number_is_left_alone() -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = Process.of(child.pid, "sleep")
    end([dataclasses.replace(process, start=process.start - 1)])
    assert child.poll() is None
    end([process])
    assert child.wait(5) == -signal.SIGTERM


def test_a_thread_comes_home_from_a_namespace(up: type[Lab], tmp_path: Path) -> None:
    lab = bring_up(up, tmp_path)
    home = Path("/proc/thread-self/ns/net").readlink()
    with inside(lab.port_namespace("red/web1")):
        inode = Path("/proc/thread-self/ns/net").stat().st_ino
        assert inode == (NAMESPACES / lab.port_namespace("red/web1")).stat().st_ino
    assert Path("/proc/thread-self/ns/net").readlink() == home


def interfaces() -> set[str]:
    return {entry.name for entry in Path("/sys/class/net").iterdir()}


def ask(lab: Lab, source: str, target: str, kind: str, *, expected: bool = True) -> Question:
    address = lab.plan.ports[target].addresses[0].partition("/")[0]
    return Question(source, target, Probe(source, address, kind, 0 if kind == ICMP else 80), expected, "")


def namespaces(lab: Lab) -> dict[str, str]:
    return {name: lab.port_namespace(name) for name in lab.plugged}


def reached(lab: Lab, pair: tuple[str, str], *, expected: bool) -> set[str]:
    asked = [ask(lab, *pair, kind, expected=expected) for kind in (ICMP, TCP, UDP)]
    return {finding.question.probe.kind for finding in observe(asked, namespaces(lab)) if finding.observed}
