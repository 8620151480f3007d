"""TLS between switches and the controller: who comes in, who does not, and what it costs to knock."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from os_ken.base.app_manager import lookup_service_brick

from controller.pipeline.flow import Output, match
from controller.switch import admission, runtime, session
from controller.switch.status import State
from controller.wire import dump, message
from controller.wire.message import MessageType, frame
from tests.ovs.twin import Twin
from tests.switch.certificates import TlsFakeSwitch, client_context, dial, make, ssl_command
from tests.switch.harness import Control, flow, program, some_flows, threads_named, wait_for

HV1, HV2 = 0x0001_0000_0000_0001, 0x0001_0000_0000_0002


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("pki"), "hv1", "hv2")


@pytest.fixture
def files(pki: Path, tmp_path: Path) -> Path:
    """The controller's own files, which a test may replace."""
    return Path(shutil.copytree(pki / "controller", tmp_path / "files"))


@pytest.fixture
def control(files: Path, tmp_path: Path) -> Iterator[Control]:
    with Control(tmp_path, HV1, HV2, pki=files) as running:
        running.recorder.owners.update({HV1: "hv1", HV2: "hv2"})
        yield running


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[Twin]:
    directory = tmp_path / "ovs"
    directory.mkdir()
    with Twin(directory) as running:
        running.add_bridge("br-int", {"p1": 1})
        yield running


def connect(twin: Twin, target: str, folder: Path, dpid: int = HV1) -> None:
    twin.configure(
        ssl_command(folder),
        ["set", "bridge", "br-int", f"other_config:datapath-id={dpid:016x}"],
        ["set-controller", "br-int", target],
        ["set", "controller", "br-int", "max_backoff=1000"],
    )


@pytest.mark.ovs
def test_a_switch_with_its_host_s_certificate_is_kept_in_sync(twin: Twin, control: Control, pki: Path) -> None:
    connect(twin, control.target, pki / "hosts/hv1")
    assert control.bring(program(HV1, *some_flows(3000))).flows_installed == 3000
    assert len(twin.flows("br-int")) == 3000
    assert control.bring(program(HV1, *some_flows(2999))).deleted == 1


@pytest.mark.ovs
def test_what_both_sides_send_at_once_arrives(twin: Twin, control: Control, pki: Path) -> None:
    """100,000 flows are pushed while the switch is asked again and again for those that it holds."""
    connect(twin, control.target, pki / "hosts/hv1")
    control.bring(program(HV1, *some_flows(20_000)))
    (channel,) = control.switches._sessions
    answered: list[int] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            with channel.claim(1) as claim:
                channel.write(message.dump_flows(claim.first))
                while dump.has_more(claim.next(30)):
                    answered.append(len(answered))

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(lambda: answered)
    control.bring(program(HV1, *some_flows(120_000)))
    is_over.set()
    asking.join()
    assert len(twin.flows("br-int")) == 120_000


@pytest.mark.ovs
@pytest.mark.parametrize(
    ("days", "reason"),
    [
        (30, "its certificate is refused: unable to get local issuer certificate"),
        (-1, "its certificate is refused: certificate has expired"),
    ],
    ids=["another CA", "expired"],
)
def test_a_certificate_that_is_not_valid_is_refused_in_words(
    twin: Twin, control: Control, pki: Path, tmp_path: Path, days: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = shutil.copytree(pki, tmp_path / "other") if days < 0 else tmp_path / "other"
    make(other, "hv1", force=True, days=days)
    shutil.copy(pki / "hosts/hv1/ca.pem", other / "hosts/hv1/ca.pem")
    connect(twin, control.target, other / "hosts/hv1")
    wait_for(lambda: reason in caplog.text)
    assert control.switches.statuses() == {}


@pytest.mark.ovs
def test_a_host_cannot_claim_another_s_datapath(
    twin: Twin, control: Control, pki: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connect(twin, control.target, pki / "hosts/hv1", dpid=HV2)
    wait_for(lambda: f"refused {HV2:016x} at 127.0.0.1:" in caplog.text)
    assert "this datapath id belongs to hv2, but its certificate names hv1" in caplog.text
    assert control.switches.statuses() == {}
    connect(twin, control.target, pki / "hosts/hv2", dpid=HV2)
    control.reach(HV2, State.CONNECTED)


def test_a_host_cannot_throw_out_another(control: Control, pki: Path) -> None:
    with TlsFakeSwitch(control.address, HV1, pki / "hosts/hv1") as rightful:
        control.reach(HV1, State.CONNECTED)
        with TlsFakeSwitch(control.address, HV1, pki / "hosts/hv2") as thief:
            wait_for(thief.gone.is_set)
        assert not rightful.gone.is_set()
        assert control.bring(program(HV1, *some_flows(3))).flows_installed == 3


def test_a_datapath_that_the_files_give_to_another_host_needs_that_host_s_certificate(
    control: Control, pki: Path
) -> None:
    with TlsFakeSwitch(control.address, HV1, pki / "hosts/hv1") as switch:
        control.bring(program(HV1, *some_flows(3)))
        control.recorder.owners[HV1] = "hv2"
        control.give(program(HV1, *some_flows(4)))
        wait_for(switch.gone.is_set)
    with TlsFakeSwitch(control.address, HV1, pki / "hosts/hv2"):
        assert control.reach(HV1, State.IN_SYNC).flows_installed == 4


@pytest.mark.parametrize(
    ("has_one", "reason"),
    [
        (False, "it shows no certificate"),
        (True, "its certificate is refused: self-signed certificate in certificate chain"),
    ],
    ids=["none", "the controller's"],
)
def test_who_is_no_host_is_refused(
    control: Control, pki: Path, tmp_path: Path, has_one: bool, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Hosts and controller have authorities of their own, so that the controller's certificate is nobody's here."""
    own = Path(shutil.copytree(pki / "controller", tmp_path / "own"))
    shutil.copy(pki / "hosts/hv1/ca.pem", own / "ca.pem")
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        dial(control.address, own if has_one else None) as channel,
    ):
        channel.recv(100)
    wait_for(lambda: reason in caplog.text)
    assert control.switches.statuses() == {}


@pytest.mark.ovs
def test_a_switch_without_tls_is_told_what_to_set(
    twin: Twin, control: Control, pki: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connect(twin, control.target.replace("ssl:", "tcp:"), pki / "hosts/hv1")
    wait_for(
        lambda: "what it sends is not TLS; `ovs-vsctl get-controller br-int` on its host must say ssl:" in caplog.text
    )
    assert control.switches.statuses() == {}


@pytest.mark.ovs
def test_a_controller_without_tls_says_so_to_one_who_speaks_it(
    twin: Twin, tmp_path: Path, pki: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Control(tmp_path, HV1) as control:
        connect(twin, control.target.replace("tcp:", "ssl:"), pki / "hosts/hv1")
        wait_for(lambda: "it speaks TLS, and the controller was started without certificates" in caplog.text)


def test_silence_at_any_step_is_over_at_the_deadline(
    control: Control, pki: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No byte, a byte now and then, TLS without OpenFlow, and a hello without more."""
    monkeypatch.setattr(session, "HANDSHAKE_S", 0.5)
    with (
        socket.create_connection(control.address) as silent,
        socket.create_connection(control.address) as slow,
        dial(control.address, pki / "hosts/hv1") as mute,
        dial(control.address, pki / "hosts/hv1") as polite,
    ):
        polite.sendall(frame(MessageType.HELLO, 1))
        trickle(slow, b"\x16\x03\x01\x02\x00" + bytes(512))
        wait_for(lambda: "no TLS handshake in time" in caplog.text)
        wait_for_end(mute)
        wait_for_end(polite)
        wait_for_end(silent)
    wait_for(lambda: len(waiting()) == 0)


def wait_for_end(channel: socket.socket) -> None:
    channel.settimeout(20)
    wait_for(lambda: channel.recv(1000) == b"")


def trickle(channel: socket.socket, data: bytes) -> None:
    """Send a byte now and then until the other end has gone."""
    channel.settimeout(0.02)
    for byte in data:
        try:
            channel.sendall(bytes([byte]))
            if channel.recv(100) == b"":
                return
        except TimeoutError:
            continue
        except ConnectionError:
            return
    pytest.fail("it was listened to for ever")


def waiting() -> admission.Admission:
    found = lookup_service_brick("ofp_event").controller.waiting
    assert isinstance(found, admission.Admission)
    return found


@pytest.mark.ovs
def test_a_flood_of_silent_connections_keeps_no_switch_out(
    twin: Twin, control: Control, pki: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All from one source, the switch's own; the oldest go, and a thread each is all they cost."""
    monkeypatch.setattr(waiting(), "per_source", 50)
    before = threading.active_count()
    flood = [socket.create_connection(control.address) for _ in range(200)]
    wait_for(lambda: "too many connections from 127.0.0.1 tell no datapath id" in caplog.text)
    connect(twin, control.target, pki / "hosts/hv1")
    assert control.bring(program(HV1, *some_flows(100))).flows_installed == 100
    assert len(waiting()) <= 50
    wait_for(lambda: threading.active_count() <= before + 60)
    for channel in flood:
        channel.close()
    wait_for(lambda: len(waiting()) == 0)


def test_replaced_files_are_used_for_new_connections(
    control: Control, pki: Path, files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    other = make(tmp_path / "other", "hv2")
    with TlsFakeSwitch(control.address, HV1, pki / "hosts/hv1") as first:
        control.reach(HV1, State.CONNECTED)
        (files / "cert.pem").write_bytes((other / "controller/cert.pem").read_bytes())
        runtime.renew_certificates()
        assert "TLS goes on with the former files" in caplog.text
        assert "the key does not belong to the certificate" in caplog.text
        shutil.copytree(other / "controller", files, dirs_exist_ok=True)
        with TlsFakeSwitch(control.address, HV2, other / "hosts/hv2"):
            control.reach(HV2, State.CONNECTED)
        assert "TLS: new connections use the new" in caplog.text
        assert not first.gone.is_set()


def test_a_revoked_certificate_is_refused(
    control: Control, pki: Path, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (files / "ca.pem").open("ab") as authorities:
        authorities.write(revocation(pki, "hv1"))
    with pytest.raises((ssl.SSLError, ConnectionError)), dial(control.address, pki / "hosts/hv1") as channel:
        channel.recv(100)
    wait_for(lambda: "its certificate is refused: certificate revoked" in caplog.text)
    with TlsFakeSwitch(control.address, HV2, pki / "hosts/hv2"):
        control.reach(HV2, State.CONNECTED)


def revocation(pki: Path, host: str) -> bytes:
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = dt.datetime.now(dt.UTC)
    authority = x509.load_pem_x509_certificate((pki / "ca/hosts.pem").read_bytes())
    key = serialization.load_pem_private_key((pki / "ca/hosts.key").read_bytes(), None)
    lost = x509.load_pem_x509_certificate((pki / f"hosts/{host}/cert.pem").read_bytes())
    entry = x509.RevokedCertificateBuilder().serial_number(lost.serial_number).revocation_date(now).build()
    made = x509.CertificateRevocationListBuilder().issuer_name(authority.subject).add_revoked_certificate(entry)
    made = made.last_update(now - dt.timedelta(hours=1)).next_update(now + dt.timedelta(days=1))
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_flapping_leaves_nothing_behind(control: Control, pki: Path) -> None:
    """A switch that comes and goes 200 times, every third time in the middle of the handshake."""
    switch = TlsFakeSwitch(control.address, HV1, pki / "hosts/hv1")

    def flap(times: int) -> None:
        for number in range(times):
            if number % 3:
                switch.connect()
                control.reach(HV1, State.CONNECTED)
                switch.close()
                control.reach(HV1, State.DOWN)
            else:
                socket.create_connection(control.address).close()
        wait_for(lambda: not threads_named("writer") and not threads_named("sync") and not threads_named("fake"))
        wait_for(lambda: len(waiting()) == 0)

    flap(10)
    threads, descriptors = threading.active_count(), open_files()
    flap(200)
    wait_for(lambda: threading.active_count() <= threads)
    wait_for(lambda: open_files() <= descriptors)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_connection_ends_with_tls_s_notice(control: Control, pki: Path) -> None:
    with dial(control.address, pki / "hosts/hv1") as channel:
        channel.settimeout(20)
        channel.sendall(bytes(64))
        wait_for(lambda: channel.recv(1000) == b"")


def test_noise_within_tls_ends_its_own_session_alone(control: Control, pki: Path) -> None:
    with TlsFakeSwitch(control.address, HV2, pki / "hosts/hv2") as healthy:
        control.reach(HV2, State.CONNECTED)
        with TlsFakeSwitch(control.address, HV1, pki / "hosts/hv1") as noisy:
            control.reach(HV1, State.CONNECTED)
            assert noisy._socket is not None
            os.write(noisy._socket.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
            wait_for(noisy.gone.is_set)
        control.reach(HV1, State.DOWN)
        control.bring(program(HV2, flow(0, 1, match(in_port=1), Output(2))))
        assert len(healthy.flows) == 1


def test_old_versions_of_tls_are_refused(control: Control, pki: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = client_context(pki / "hosts/hv1")
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLS"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), socket.create_connection(control.address) as raw:
        old.wrap_socket(raw)
    wait_for(lambda: "it offers neither TLS 1.2 nor 1.3" in caplog.text)
