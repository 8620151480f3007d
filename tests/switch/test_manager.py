"""The `osken-manager` command as operators run it: a process, its options, its signals, its exit codes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller import control
from controller.model.ids import host_id, integration_dpid
from controller.switch.fake import FakeSwitch
from tests.switch.certificates import TlsFakeSwitch, dial, make
from tests.switch.harness import listening, wait_for

COMMAND = str(Path(sys.executable).with_name("osken-manager"))
HV1 = integration_dpid(host_id("hv1"))


class Process:
    """One osken-manager, its output, and where it listens."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        command = [COMMAND, "--ofp-listen-host", "127.0.0.1", *arguments]
        self.popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | (env or {})
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        self.lines.extend(iter(self.popen.stderr.readline, ""))

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def address(self) -> tuple[str, int]:
        """Wait until it listens; it chose the port."""
        wait_for(lambda: "listening for switches on" in self.output or self.popen.poll() is not None)
        line = next(line for line in self.lines if "listening for switches on" in line)
        host, _, port = line.split()[-1].rpartition(":")
        return host, int(port)

    def leave(self, number: signal.Signals) -> tuple[int, float]:
        """Send a signal; return the exit code and how long it took."""
        started = time.monotonic()
        self.popen.send_signal(number)
        code = self.popen.wait(20)
        return code, time.monotonic() - started

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self._reader.join()
        assert self.popen.stderr is not None
        self.popen.stderr.close()


@pytest.fixture
def started() -> Iterator[list[Process]]:
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "topology"
    (root / "tenants").mkdir(parents=True)
    (root / "fabric.yaml").write_text(
        "fabric: small\nhosts:\n  hv1: {tunnel_ip: 192.0.2.1}\ntenants:\n  red: {segments: 1000-1099}\n", "utf-8"
    )
    (root / "tenants/red.yaml").write_text(
        "networks:\n  web: {cidr: 10.0.1.0/24}\nports:\n  web1: {network: web, host: hv1}\n", "utf-8"
    )
    return root


def weft(started: list[Process], folder: Path, *more: str, env: dict[str, str] | None = None) -> Process:
    socket_path = str(folder.parent / "control.sock")
    options = ["--ofp-tcp-listen-port", "0", "--topology", str(folder), "--control", socket_path]
    started.append(Process(*options, *more, "controller.app", env=env))
    return started[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_within_two_seconds_with_the_flows_in_place(
    started: list[Process], folder: Path, number: signal.Signals
) -> None:
    process = weft(started, folder)
    with FakeSwitch(process.address(), HV1, {"red.web1": 1}) as switch:
        wait_for(lambda: switch.flows)
        held = dict(switch.flows)
        code, seconds = process.leave(number)
        assert code == 0, process.output
        assert seconds < 2.0, f"{seconds:.1f} s: {process.output}"
        wait_for(switch.gone.is_set)
        assert switch.flows == held
    assert "Traceback" not in process.output
    assert not (folder.parent / "control.sock").exists()


def test_a_hangup_or_a_saved_file_reloads(started: list[Process], folder: Path) -> None:
    process = weft(started, folder)
    with FakeSwitch(process.address(), HV1, {"red.web1": 1}) as switch:
        wait_for(lambda: switch.flows)
        before = len(switch.flows)
        process.popen.send_signal(signal.SIGHUP)
        wait_for(lambda: "SIGHUP: reloading" in process.output)
        tenant = folder / "tenants/red.yaml"
        tenant.write_text(tenant.read_text("utf-8") + "  web2: {network: web, host: hv1}\n", "utf-8")
        wait_for(lambda: process.output.count("is in force") >= 2)
        switch.plug("red.web2", 2)
        wait_for(lambda: len(switch.flows) > before)


def test_the_control_socket_answers(started: list[Process], folder: Path) -> None:
    process = weft(started, folder)
    process.address()
    path = folder.parent / "control.sock"
    assert control.request(path, {"do": "status"})["topology"] == "small"
    (folder / "fabric.yaml").write_text("fabric: [", "utf-8")
    answer = control.request(path, {"do": "apply"})
    assert not answer["accepted"]
    assert "fabric.yaml:2:1: error" in answer["problems"][0]
    assert control.request(path, {"do": "dance"}) == {"error": "unknown request 'dance'"}


def test_bad_files_are_told_by_place_before_any_port_is_opened(started: list[Process], folder: Path) -> None:
    (folder / "tenants/red.yaml").write_text("networks:\n  web: {cidr: 10.0.1.0/240}\n", "utf-8")
    process = weft(started, folder)
    assert process.popen.wait(20) == 2
    wait_for(lambda: "tenants/red.yaml:2:" in process.output)
    assert "listening" not in process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["controller.app"], "needs --topology DIR"),
        (["no.such.module"], "No module named 'no'"),
        (["--config-file", "/nonexistent.conf", "controller.app"], "/nonexistent.conf"),
        (["--ctl-cert", "cert.pem", "controller.app"], "there is no --ctl-privkey and no --ca-certs"),
        (["--ofp-ssl-listen-port", "6653", "controller.app"], "TLS needs --ctl-privkey, --ctl-cert and --ca-certs"),
        (["--ofp-tcp-listen-port", "99999", "controller.app"], "99999 is not between 0 and 65535"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_two(
    started: list[Process], arguments: list[str], complaint: str
) -> None:
    process = Process(*arguments)
    started.append(process)
    assert process.popen.wait(20) == 2
    wait_for(lambda: complaint in process.output)
    assert "Traceback" not in process.output


def test_a_hangup_looks_at_the_certificates(started: list[Process], folder: Path, tmp_path: Path) -> None:
    """A switch of the old authority stays; the next one needs a certificate of the new."""
    old, new = make(tmp_path / "old", "hv1"), make(tmp_path / "new", "hv1")
    own = Path(shutil.copytree(old / "controller", tmp_path / "own"))
    options = ["--topology", str(folder), "--control", str(tmp_path / "control.sock"), *listening(own)]
    started.append(Process(*options, "controller.app"))
    (process,) = started
    with TlsFakeSwitch(process.address(), HV1, old / "hosts/hv1") as switch:
        wait_for(lambda: switch.flows)
        shutil.copytree(new / "controller", own, dirs_exist_ok=True)
        process.popen.send_signal(signal.SIGHUP)
        wait_for(lambda: f"TLS: new connections use the new {own}/cert.pem" in process.output)
        with pytest.raises((ssl.SSLError, ConnectionError)), dial(process.address(), old / "hosts/hv1") as refused:
            refused.recv(100)
        assert not switch.gone.is_set()
    with TlsFakeSwitch(process.address(), HV1, new / "hosts/hv1") as switch:
        wait_for(lambda: switch.flows)


def test_with_tls_there_is_no_port_without(started: list[Process], folder: Path, tmp_path: Path) -> None:
    own = make(tmp_path / "pki", "hv1") / "controller"
    process = weft(started, folder, *listening(own))
    assert process.popen.wait(20) == 2
    wait_for(lambda: "with TLS no port without is opened: say --ofp-ssl-listen-port" in process.output)


def test_a_busy_port_is_network_trouble(started: list[Process], folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = weft(started, folder, "--ofp-tcp-listen-port", str(taken.getsockname()[1]))
        assert process.popen.wait(20) == 3
    wait_for(lambda: "cannot listen at 127.0.0.1:" in process.output)
    assert process.output.endswith(": Address already in use\n")
    assert not (folder.parent / "control.sock").exists()


def test_one_controller_answers_at_a_socket(started: list[Process], folder: Path) -> None:
    weft(started, folder).address()
    second = weft(started, folder)
    assert second.popen.wait(20) == 3
    wait_for(lambda: f"osken-manager: another controller answers at {folder.parent}/control.sock" in second.output)


@pytest.mark.parametrize("option", ["--log-file", "--pid-file"])
def test_a_file_that_cannot_be_written_is_trouble_in_one_line(
    started: list[Process], folder: Path, option: str
) -> None:
    process = weft(started, folder, option, "/nonexistent/file")
    assert process.popen.wait(20) == 3
    wait_for(lambda: process.output == "osken-manager: /nonexistent/file: No such file or directory\n")


def test_links_need_not_be_observed(started: list[Process], folder: Path) -> None:
    process = weft(started, folder, "--observe-links")
    process.address()
    assert "--observe-links is not needed: links come from the topology's files" in process.output


def test_the_pid_file_lasts_as_long_as_the_process_and_systemd_is_told(
    started: list[Process], folder: Path, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        pid_file = tmp_path / "pid"
        process = weft(started, folder, "--pid-file", str(pid_file), env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert systemd.recv(100) == b"READY=1"
        assert int(pid_file.read_text("ascii")) == process.popen.pid
        assert process.leave(signal.SIGTERM)[0] == 0
        assert systemd.recv(100) == b"STOPPING=1"
        assert not pid_file.exists()


FOREIGN_APP = """
from os_ken import cfg
from os_ken.base.app_manager import OSKenApp
from os_ken.controller import ofp_event
from os_ken.controller.handler import MAIN_DISPATCHER, set_ev_cls
from os_ken.ofproto import ofproto_v1_4

class Hub(OSKenApp):
    OFP_VERSIONS = [ofproto_v1_4.OFP_VERSION]

    @set_ev_cls(ofp_event.EventOFPStateChange, MAIN_DISPATCHER)
    def arrived(self, event):
        datapath = event.datapath
        self.logger.info("%s %x", cfg.CONF.greeting, datapath.id)
        datapath.send_msg(datapath.ofproto_parser.OFPBarrierRequest(datapath))

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def answered(self, event):
        self.logger.info("barrier of %x", event.msg.datapath.id)
"""


def test_any_other_app_of_os_ken_runs_by_its_module_s_name(started: list[Process], tmp_path: Path) -> None:
    """With options of its own from --user-flags, and settings from --config-file, as with os-ken 3.1."""
    (tmp_path / "hub_app.py").write_text(FOREIGN_APP, "utf-8")
    (tmp_path / "flags.py").write_text(
        "from os_ken import cfg\ncfg.CONF.register_cli_opts([cfg.StrOpt('greeting', default='hello')])\n", "utf-8"
    )
    (tmp_path / "os_ken.conf").write_text("[DEFAULT]\nofp_tcp_listen_port = 0\n", "utf-8")
    options = ["--config-file", str(tmp_path / "os_ken.conf"), "--user-flags", str(tmp_path / "flags.py")]
    process = Process(*options, "--greeting", "welcome", "hub_app", env={"PYTHONPATH": str(tmp_path)})
    started.append(process)
    with FakeSwitch(process.address(), 0xBEE):
        wait_for(lambda: "welcome bee" in process.output)
        wait_for(lambda: "barrier of bee" in process.output)
        assert process.leave(signal.SIGTERM)[0] == 0
