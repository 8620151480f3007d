"""What the engine asks of the switches when files, interfaces and connections change."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.engine import Engine
from controller.model.ids import host_id, integration_dpid, tunnel_dpid
from controller.pipeline.flow import Delta, Flow, Program
from controller.switch.status import AuditReport, Reading, State, SwitchStatus

FABRIC = """\
fabric: small
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
tenants:
  red: {segments: 1000-1099}
"""
RED = """\
networks:
  web: {cidr: 10.0.1.0/24, segment: 1001}
ports:
  web1: {network: web, ip: 10.0.1.11, host: hv1}
  web2: {network: web, ip: 10.0.1.12, host: hv2}
"""
HV1, HV2 = integration_dpid(host_id("hv1")), integration_dpid(host_id("hv2"))
TUN1, TUN2 = tunnel_dpid(host_id("hv1")), tunnel_dpid(host_id("hv2"))
INT1 = {"patch-tun": 1, "red.web1": 5}
INT2 = {"patch-tun": 1, "red.web2": 7}
TUN = {"patch-int": 1, "vxlan": 2}


class Recorder:
    """Switches that remember what they are asked to hold, and confirm it at once."""

    def __init__(self) -> None:
        self.programs: dict[int, Program] = {}
        self.asked = 0
        self.deltas: list[tuple[int, Delta]] = []

    def target(self, dpid: int, program: Program) -> None:
        self.programs[dpid] = program
        self.asked += 1

    def change(self, dpid: int, delta: Delta) -> int:
        self.deltas.append((dpid, delta))
        self.asked += 1
        return len(self.deltas)

    def wait(self, _versions: Mapping[int, int], _deadline_s: float) -> set[int]:
        return set()

    def is_in_sync(self, dpid: int) -> bool:
        return dpid in self.programs

    def send(self, _dpid: int, _message: bytes) -> bool:
        return True

    def audit(self, _dpids: object, _deadline_s: float) -> list[AuditReport]:
        return []

    def count(
        self, dpids: Collection[int], wanted: Callable[[Flow], bool], deadline_s: float, *, meters: bool = False
    ) -> Mapping[int, Reading]:
        del wanted, deadline_s, meters
        return dict.fromkeys(dpids, Reading())

    def statuses(self) -> Mapping[int, SwitchStatus]:
        return {}

    def outputs(self, dpid: int) -> set[str]:
        flows, _, _ = self.programs[dpid].snapshot()
        return {flow.origin.what for flow in flows if (flow.feature, flow.kind) == ("forward", "local port")}

    def puts(self) -> set[str]:
        """Return what the flows that were added or changed since the start are for."""
        return {flow.origin.what for _, delta in list(self.deltas) for flow in delta.puts.values()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "tenants" / "red.yaml").write_text(RED)
    return tmp_path


@pytest.fixture
def switches() -> Recorder:
    return Recorder()


@contextmanager
def running(folder: Path, switches: Recorder) -> Iterator[Engine]:
    engine = Engine(folder)
    engine.attach(switches)
    assert engine.load().accepted
    engine.start()
    try:
        yield engine
    finally:
        engine.close(5)


@pytest.fixture
def engine(folder: Path, switches: Recorder) -> Iterator[Engine]:
    with running(folder, switches) as engine:
        yield engine


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the engine did not get there"
        time.sleep(0.005)


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "tenants" / "red.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_switch_that_connects_gets_its_program(engine: Engine, switches: Recorder) -> None:
    engine.connected(HV1, INT1)
    wait_for(lambda: HV1 in switches.programs)
    assert switches.outputs(HV1) == {"port red/web1"}


def test_a_port_without_its_interface_gets_no_flows_until_it_is_plugged_in(engine: Engine, switches: Recorder) -> None:
    engine.connected(HV1, {"patch-tun": 1})
    wait_for(lambda: HV1 in switches.programs)
    assert switches.outputs(HV1) == set()
    engine.connected(HV1, INT1)
    wait_for(lambda: switches.outputs(HV1) == {"port red/web1"})


def test_switches_that_nobody_has_seen_are_not_programmed(engine: Engine, switches: Recorder) -> None:
    engine.connected(HV1, INT1)
    wait_for(lambda: HV1 in switches.programs)
    assert HV2 not in switches.programs


def test_a_bridge_at_work_is_not_told_to_forget_its_ports_because_its_neighbour_connects_first(
    engine: Engine, switches: Recorder
) -> None:
    engine.connected(TUN1, TUN)
    wait_for(lambda: TUN1 in switches.programs)
    assert HV1 not in switches.programs
    engine.connected(HV1, INT1)
    wait_for(lambda: HV1 in switches.programs)
    assert switches.outputs(HV1) == {"port red/web1"}


def test_only_datapaths_that_the_files_name_are_known(engine: Engine) -> None:
    assert engine.host_of(HV1) == "hv1"
    assert engine.host_of(TUN1) == "hv1"
    assert engine.host_of(0xBAD) is None
    assert engine.table_name(HV1, 0) == "classify"
    assert engine.table_name(TUN1, 0) == "sort"


def test_a_refused_file_changes_nothing_and_is_told(engine: Engine, switches: Recorder, folder: Path) -> None:
    engine.connected(HV1, INT1)
    wait_for(lambda: HV1 in switches.programs)
    before, asked = switches.programs[HV1], switches.asked
    edit(folder, "10.0.1.12", "10.0.9.12")
    report = engine.reload().report
    assert not report.accepted
    assert "red.yaml:5:" in report.problems[0]
    assert (switches.programs[HV1], switches.asked) == (before, asked)
    assert engine.status()["refused"] == list(report.problems)


def test_a_file_that_is_mended_is_in_force_again(engine: Engine, folder: Path) -> None:
    edit(folder, "10.0.1.12", "10.0.9.12")
    assert not engine.reload().report.accepted
    edit(folder, "10.0.9.12", "10.0.1.12")
    assert engine.reload().report.accepted
    assert engine.status()["refused"] == []


def test_a_file_saved_as_it_was_asks_nothing_of_the_switches(engine: Engine, switches: Recorder, folder: Path) -> None:
    engine.connected(HV1, INT1)
    wait_for(lambda: HV1 in switches.programs)
    before, asked = switches.programs[HV1], switches.asked
    edit(folder, "web1", "web1")
    assert engine.reload().report.accepted
    assert (switches.programs[HV1], switches.asked) == (before, asked)


def test_a_failing_policy_test_gates_the_push(engine: Engine, folder: Path) -> None:
    path = folder / "tenants" / "red.yaml"
    path.write_text(RED + "tests:\n  - {from: web1, to: web2, expect: deny}\n")
    report = engine.reload().report
    assert not report.accepted
    line = RED.count("\n") + 2
    assert f"{path}:{line}:5: test failed: red/web1 -> red/web2 any, expected deny\n    " in report.problems[0]


def test_one_more_port_touches_that_ports_flows_only(engine: Engine, switches: Recorder, folder: Path) -> None:
    for dpid, ports in ((HV1, INT1), (HV2, INT2), (TUN1, TUN), (TUN2, TUN)):
        engine.connected(dpid, ports)
    wait_for(lambda: len(switches.programs) == 4)
    edit(folder, "ports:\n", "ports:\n  web3: {network: web, ip: 10.0.1.13, host: hv2}\n")
    assert engine.reload().report.accepted
    assert {dpid for dpid, _ in switches.deltas} == {HV1, HV2, TUN1}
    assert not any(delta.deletes for _, delta in switches.deltas)
    assert switches.puts() == {"port red/web3", "members of red/default"}


def test_a_host_that_no_file_names_any_more_is_emptied(engine: Engine, switches: Recorder, folder: Path) -> None:
    engine.connected(HV2, INT2)
    wait_for(lambda: HV2 in switches.programs)
    edit(folder, "  web2: {network: web, ip: 10.0.1.12, host: hv2}\n", "")
    (folder / "fabric.yaml").write_text(FABRIC.replace("  hv2: {tunnel_ip: 172.31.0.2}\n", ""))
    assert engine.reload().report.accepted
    wait_for(lambda: not switches.programs[HV2].flows)
    assert engine.host_of(HV2) is None


def test_a_refused_file_that_leaves_a_host_out_does_not_empty_it(
    engine: Engine, switches: Recorder, folder: Path
) -> None:
    engine.connected(HV2, INT2)
    wait_for(lambda: HV2 in switches.programs)
    before, asked = switches.programs[HV2], switches.asked
    one_tag = FABRIC.replace("172.31.0.1", "172.31.0.1, local_vlans: 1-1")
    (folder / "fabric.yaml").write_text(one_tag.replace("  hv2: {tunnel_ip: 172.31.0.2}\n", ""))
    edit(folder, "networks:\n", "networks:\n  db: {}\n")
    edit(folder, "web, ip: 10.0.1.12, host: hv2", "db, host: hv1")
    assert "no free tag number" in engine.reload().report.problems[0]
    assert (switches.programs[HV2], switches.asked) == (before, asked)
    assert switches.outputs(HV2) == {"port red/web2"}


def test_a_host_that_comes_back_into_the_files_has_no_interfaces_until_it_tells(
    engine: Engine, switches: Recorder, folder: Path
) -> None:
    engine.connected(HV2, INT2)
    wait_for(lambda: HV2 in switches.programs)
    (folder / "fabric.yaml").write_text(FABRIC.replace("  hv2: {tunnel_ip: 172.31.0.2}\n", ""))
    edit(folder, "host: hv2", "host: hv1")
    assert engine.reload().report.accepted
    (folder / "fabric.yaml").write_text(FABRIC)
    edit(folder, "10.0.1.12, host: hv1", "10.0.1.12, host: hv2")
    assert engine.reload().report.accepted
    engine.connected(HV2, {"patch-tun": 1, "red.other": 7})
    wait_for(lambda: bool(switches.programs[HV2].flows))
    assert switches.outputs(HV2) == set()


def test_a_port_without_a_host_follows_its_interface(engine: Engine, switches: Recorder, folder: Path) -> None:
    edit(folder, ", host: hv2", "")
    assert engine.reload().report.accepted
    engine.connected(HV1, INT1)
    engine.connected(HV2, INT2)
    wait_for(lambda: HV2 in switches.programs and switches.outputs(HV2) == {"port red/web2"})
    engine.connected(HV1, {**INT1, "red.web2": 9})
    wait_for(lambda: switches.outputs(HV1) == {"port red/web1", "port red/web2"} and not switches.outputs(HV2))
    assert engine.status()["ports"]["refused"] == ["port red/web2 is on hv1 now, hv2 still has its interface"]


def test_a_pinned_port_that_shows_up_elsewhere_is_refused_there(engine: Engine, switches: Recorder) -> None:
    engine.connected(HV1, {**INT1, "red.web2": 9})
    wait_for(lambda: HV1 in switches.programs)
    assert switches.outputs(HV1) == {"port red/web1"}
    assert "showed up on hv1" in engine.status()["ports"]["refused"][0]


@pytest.mark.parametrize("notes", [[], ["port red/web2"]], ids=["forgotten", "half-moved"])
@pytest.mark.parametrize("late", [HV1, HV2], ids=["hv1-late", "hv2-late"])
def test_after_a_restart_a_port_is_where_it_was_whoever_connects_first(
    folder: Path, switches: Recorder, late: int, notes: list[str]
) -> None:
    """Both hosts have its interface; hv2 had the port, and hv1 either knows nothing of it or has not been told to forget it."""
    edit(folder, ", host: hv2", "")
    told = {HV1: (notes, {**INT1, "red.web2": 9}), HV2: (["port red/web2 1"], INT2)}
    with running(folder, switches) as engine:
        for dpid in sorted(told, key=late.__eq__):
            engine.held(dpid, told[dpid][0])
            engine.connected(dpid, told[dpid][1])
            engine.reload()  # Answered by the same thread, after the connection has been handled.
        wait_for(lambda: {HV1, HV2} <= switches.programs.keys())
        assert switches.outputs(HV2) == {"port red/web2"}
        assert switches.outputs(HV1) == {"port red/web1"}
        assert notes or not switches.deltas, "it has been at the other host in between"


def test_a_start_waits_for_the_hosts_to_tell_where_ports_are(folder: Path, switches: Recorder) -> None:
    edit(folder, ", host: hv2", "")
    with running(folder, switches) as engine:
        engine.connected(HV1, INT1)
        engine.reload()  # Answered by the same thread, after the connection has been handled.
        assert switches.programs == {}
        engine.connected(HV2, INT2)
        wait_for(lambda: {HV1, HV2} <= switches.programs.keys())
        assert any("red/web2" in flow.origin.what for flow in switches.programs[HV1].flows.values())


def test_a_start_does_not_wait_for_ever_for_a_host_that_is_down(
    folder: Path, switches: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.engine.gathering.GATHER_S", 0.05)
    edit(folder, ", host: hv2", "")
    with running(folder, switches) as engine:
        engine.connected(HV1, INT1)
        wait_for(lambda: HV1 in switches.programs)


def test_numbers_stay_with_their_owners_through_reloads(engine: Engine, switches: Recorder, folder: Path) -> None:
    engine.connected(HV1, INT1)
    wait_for(lambda: HV1 in switches.programs)
    before = dict(switches.programs[HV1].flows)
    networks = "".join(f"  extra{n}: {{cidr: 10.{n}.0.0/24}}\n" for n in range(2, 60))
    ports = "".join(f"  extra{n}: {{network: extra{n}, host: hv1}}\n" for n in range(2, 60))
    edit(folder, "networks:\n", f"networks:\n{networks}")
    edit(folder, "ports:\n", f"ports:\n{ports}")
    assert engine.reload().report.accepted
    now = switches.programs[HV1].flows
    assert len(now) > len(before)
    assert all(now[key].effect == flow.effect for key, flow in before.items())


def test_a_defect_in_handling_does_not_end_the_engine(
    engine: Engine, switches: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_dpid: int, _program: Program) -> None:
        raise RuntimeError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(switches, "target", broken)
        engine.connected(HV1, INT1)
        wait_for(lambda: "injected" in caplog.text)
    engine.connected(HV1, INT1)
    wait_for(lambda: HV1 in switches.programs)


def test_a_folder_that_vanishes_leaves_the_last_good_topology_in_force(engine: Engine, folder: Path) -> None:
    shutil.rmtree(folder / "tenants")
    (folder / "fabric.yaml").unlink()
    assert not engine.reload().report.accepted
    assert engine.host_of(HV1) == "hv1"


def test_states_are_logged_by_name(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    status = SwitchStatus(
        dpid=HV1,
        state=State.DEGRADED,
        peer="127.0.0.1:1",
        flows_desired=1,
        flows_installed=0,
        added=0,
        modified=0,
        deleted=0,
        groups=0,
        last_error="table full",
        since=0.0,
        sync_seconds=None,
    )
    engine.changed(status)
    assert "br-int@hv1 is degraded: table full" in caplog.text


def test_ports_that_did_not_change_are_not_looked_for_again(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(engine.moves, "note", lambda port, _topology: looked.append(port.name))
    edit(folder, "ip: 10.0.1.12, host: hv2", "ip: 10.0.1.12, host: hv1")
    engine.reload(5)
    assert looked == ["red/web2"]
    edit(folder, "networks:", "# A line that moves all others.\nnetworks:")
    engine.reload(5)
    assert looked == ["red/web2"]
