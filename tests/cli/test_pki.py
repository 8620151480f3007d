"""`weft pki`, and what `weft run` and `weft host init` say to certificates that are not what they should be."""

from __future__ import annotations

import functools
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from controller.switch.tls import BadCredentials, Files, names_in
from tests.switch.certificates import make

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = "topologies/quickstart"


def weft(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "controller.cli", *map(str, arguments)]
    environment = os.environ | {"NO_COLOR": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def files(place: Path) -> Files:
    return Files(place / "key.pem", place / "cert.pem", place / "ca.pem")


def test_every_host_and_the_controller_get_a_certificate_with_their_name(tmp_path: Path) -> None:
    shown = weft("pki", QUICKSTART, "--into", tmp_path / "pki").stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["NAME", "controller", "hv1", "hv2", "hv3"]
    assert shown.count(" made ") == 4
    for host in ("hv1", "hv2", "hv3"):
        assert names_in(files(tmp_path / "pki/hosts" / host)) == {host}


def test_what_it_writes_is_for_its_owner_alone(tmp_path: Path) -> None:
    made = make(tmp_path / "pki", "hv1")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in contents(made)}
    assert modes == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.rglob("*") if path.is_dir()} == {0o700}


def test_a_second_run_keeps_everything_and_force_keeps_the_authorities(tmp_path: Path) -> None:
    made = tmp_path / "pki"
    weft("pki", QUICKSTART, "--into", made)
    first = contents(made)
    (told,) = json.loads(weft("pki", QUICKSTART, "--into", made, "--only", "hv2", "-o", "json").stdout)
    assert told | {"until": ""} == {"name": "hv2", "files": f"{made}/hosts/hv2", "until": "", "made": False}
    assert contents(made) == first
    assert "made" in weft("pki", QUICKSTART, "--into", made, "--only", "hv2", "--force").stdout
    changed = {path.relative_to(made) for path, text in contents(made).items() if first[path] != text}
    assert changed == {Path("hosts/hv2/key.pem"), Path("hosts/hv2/cert.pem")}


def test_serial_numbers_are_random_and_validity_is_as_asked(tmp_path: Path) -> None:
    until = set()
    for days in ("10", "20"):
        place = tmp_path / days
        (told,) = json.loads(
            weft("pki", QUICKSTART, "--into", place, "--only", "hv1", "--days", days, "-o", "json").stdout
        )
        until.add(told["until"][:10])
    assert len(until) == 2
    assert len({serial(tmp_path / days / "hosts/hv1/cert.pem") for days in ("10", "20")}) == 2


def serial(certificate: Path) -> str:
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-serial"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_unknown_host_is_bad_input(tmp_path: Path) -> None:
    done = weft("pki", QUICKSTART, "--into", tmp_path / "pki", "--only", "hv9")
    assert (done.returncode, 'no host "hv9" in quickstart' in done.stderr) == (2, True)
    assert not (tmp_path / "pki").exists()


def test_a_folder_that_cannot_be_written_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    done = weft("pki", QUICKSTART, "--into", tmp_path / "file/pki")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_an_expired_certificate_and_a_foreign_key_are_named(tmp_path: Path) -> None:
    expired = files(make(tmp_path / "old", "hv1", days=-1) / "hosts/hv1")
    with pytest.raises(BadCredentials, match=r"cert\.pem: its certificate is refused: certificate has expired"):
        names_in(expired)
    other = files(make(tmp_path / "new", "hv1") / "hosts/hv1")
    with pytest.raises(BadCredentials, match="the key does not belong to the certificate"):
        names_in(Files(expired.key, other.certificate, other.ca))


def test_ovs_pki_s_certificates_are_as_good(tmp_path: Path) -> None:
    """It writes `hv1 id:UUID` where a name should be."""
    pki = ["ovs-pki", "-d", str(tmp_path / "pki"), "-l", str(tmp_path / "log")]
    subprocess.run([*pki, "init"], check=True, capture_output=True, cwd=tmp_path)
    subprocess.run([*pki, "req+sign", "hv1", "switch"], check=True, capture_output=True, cwd=tmp_path)
    made = Files(tmp_path / "hv1-privkey.pem", tmp_path / "hv1-cert.pem", tmp_path / "pki/controllerca/cacert.pem")
    assert names_in(made) == {"hv1"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", QUICKSTART, "--tls-key", "KEY"], "there is no --tls-cert and no --tls-ca"),
        (["run", QUICKSTART, "--pki", "PKI/hosts/hv9"], "PKI/hosts/hv9/key.pem: no such file"),
        (["run", QUICKSTART, "--pki", "PKI/controller", "--tls-ca", "KEY"], "--pki names all files"),
        (
            ["run", QUICKSTART, "--tls-key", "KEY", "--tls-cert", "PKI/controller/cert.pem", "--tls-ca", "KEY"],
            "the key does not belong to the certificate",
        ),
        (
            ["host", "init", "hv1", "--topology", QUICKSTART, "--pki", "PKI/hosts/hv2", "--db", "unix:/nowhere"],
            "PKI/hosts/hv2/cert.pem is the certificate of hv2, not of hv1",
        ),
        (
            ["host", "init", "hv1", "--topology", QUICKSTART, "--ovsdb", "ptcp:6640", "--db", "unix:/nowhere"],
            "neither pssl:PORT nor ptcp:PORT:ADDRESS",
        ),
    ],
)
def test_certificates_by_half_or_of_somebody_else_are_bad_input(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    made = make(tmp_path / "pki", "hv1", "hv2")
    places = {"PKI": str(made), "KEY": str(made / "hosts/hv1/key.pem")}
    done = weft(
        *(functools.reduce(lambda word, name: word.replace(name, places[name]), places, word) for word in arguments)
    )
    assert done.returncode == 2
    assert complaint.replace("PKI", str(made)) in done.stderr
    assert "Traceback" not in done.stderr
