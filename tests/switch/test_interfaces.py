"""What real database servers say of interfaces, told as it changes, through restarts, silence and TLS."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from controller.model.names import NOBODY
from controller.switch.interfaces import Interfaces
from controller.switch.tls import Files
from tests.switch import certificates
from tests.switch.database import DatabaseServer
from tests.switch.harness import wait_for

pytestmark = pytest.mark.ovs

Watching = Callable[..., Interfaces]


class Told:
    """What the watcher told, host by host."""

    def __init__(self) -> None:
        self.names: dict[str, dict[str, str | None]] = {}
        self.calls = 0

    def named(self, host: str, names: Mapping[str, str | None]) -> None:
        """Keep what is told, but for the bridge's own interface."""
        self.names[host] = {name: port for name, port in names.items() if name != "br-int"}
        self.calls += 1

    def wait_for(self, host: str, names: Mapping[str, str | None]) -> None:
        wait_for(lambda: self.names.get(host) == names, f"{host} says {names}, and not {self.names.get(host)}")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DatabaseServer]:
    with DatabaseServer(tmp_path) as server:
        yield server


@pytest.fixture
def watching(told: Told) -> Iterator[Watching]:
    """Return what starts to watch: `watching({"hv1": "unix:/…"})`. All threads have ended after the test."""
    before = set(threading.enumerate())
    made: list[Interfaces] = []

    def watch(databases: Mapping[str, str], files: Files | None = None) -> Interfaces:
        made.append(Interfaces(told.named, files))
        made[-1].watch(databases)
        return made[-1]

    yield watch
    for interfaces in made:
        interfaces.close(5)
    wait_for(lambda: not any(thread.name.startswith("ovsdb ") for thread in set(threading.enumerate()) - before))


@pytest.mark.parametrize("way", ["unix", "tcp"])
def test_interfaces_are_told_as_they_come_change_and_go(
    server: DatabaseServer, told: Told, watching: Watching, way: str
) -> None:
    server.plug("tap1", "red/web1")
    watching({"hv1": getattr(server, way)})
    told.wait_for("hv1", {"tap1": "red/web1"})
    server.plug("tap2", "red/web2")
    told.wait_for("hv1", {"tap1": "red/web1", "tap2": "red/web2"})
    server.plug("tap2", "red/web3")
    told.wait_for("hv1", {"tap1": "red/web1", "tap2": "red/web3"})
    server.vsctl("del-port", "tap1")
    told.wait_for("hv1", {"tap2": "red/web3"})
    server.vsctl("remove", "interface", "tap2", "external_ids", "iface-id")
    told.wait_for("hv1", {"tap2": None})


def test_an_interface_that_is_marked_inactive_is_nobodys_until_it_is_not(
    server: DatabaseServer, told: Told, watching: Watching
) -> None:
    server.plug("tap1", "red/web1", "inactive")
    watching({"hv1": server.unix})
    told.wait_for("hv1", {"tap1": NOBODY})
    server.plug("tap1", "red/web1", "active")
    told.wait_for("hv1", {"tap1": "red/web1"})


def test_what_is_of_no_interest_is_not_told(server: DatabaseServer, told: Told, watching: Watching) -> None:
    watching({"hv1": server.unix})
    told.wait_for("hv1", {})
    server.vsctl("set", "interface", "br-int", "external_ids:colour=blue")
    server.plug("tap1", "red/web1")
    told.wait_for("hv1", {"tap1": "red/web1"})
    assert told.calls == 2


def test_a_name_is_told_as_openflow_shortens_it(server: DatabaseServer, told: Told, watching: Watching) -> None:
    server.plug("vhost-user-of-a-vm", "red/web1")
    watching({"hv1": server.unix})
    told.wait_for("hv1", {"vhost-user-of-a": "red/web1"})


def test_a_server_that_restarts_is_read_again_and_meanwhile_its_word_holds(
    server: DatabaseServer, told: Told, watching: Watching
) -> None:
    server.plug("tap1", "red/web1")
    server.plug("tap2", "red/web2")
    interfaces = watching({"hv1": server.unix})
    told.wait_for("hv1", {"tap1": "red/web1", "tap2": "red/web2"})
    server.stop()
    wait_for(lambda: "No such file or directory" in interfaces.problems().get("hv1", ""))
    assert told.calls == 1
    server.start()
    server.vsctl("del-port", "tap1")
    told.wait_for("hv1", {"tap2": "red/web2"})
    assert interfaces.problems() == {}


def test_a_server_that_is_not_there_yet_is_waited_for_and_holds_up_nobody(
    server: DatabaseServer, told: Told, watching: Watching
) -> None:
    server.plug("tap1", "red/web1")
    nowhere = f"unix:{server.directory}/none.sock"
    interfaces = watching({"hv1": server.unix, "hv2": nowhere})
    told.wait_for("hv1", {"tap1": "red/web1"})
    wait_for(lambda: interfaces.problems() == {"hv2": f"{nowhere}: No such file or directory"})
    Path(server.directory, "none.sock").symlink_to("db.sock")
    told.wait_for("hv2", {"tap1": "red/web1"})


def test_a_server_that_hangs_holds_up_nobody(server: DatabaseServer, told: Told, watching: Watching) -> None:
    server.pause()
    interfaces = watching({"hv1": server.tcp, "hv2": server.unix})
    interfaces.watch({})
    assert (interfaces.problems(), told.names) == ({}, {})


def test_other_files_name_other_databases(server: DatabaseServer, told: Told, watching: Watching) -> None:
    server.plug("tap1", "red/web1")
    interfaces = watching({"hv1": server.unix, "hv2": server.unix})
    told.wait_for("hv1", {"tap1": "red/web1"})
    told.wait_for("hv2", {"tap1": "red/web1"})
    interfaces.watch({"hv1": server.unix, "hv3": server.tcp})
    told.wait_for("hv3", {"tap1": "red/web1"})
    assert told.calls == 3
    server.plug("tap1", "red/web2")
    told.wait_for("hv1", {"tap1": "red/web2"})
    assert told.names["hv2"] == {"tap1": "red/web1"}


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    return certificates.make(tmp_path / "pki", "hv1", "hv2")


def own(pki: Path) -> Files:
    folder = pki / "controller"
    return Files(folder / "key.pem", folder / "cert.pem", folder / "ca.pem")


def test_over_tls_the_server_has_to_be_the_host(tmp_path: Path, pki: Path, told: Told, watching: Watching) -> None:
    with DatabaseServer(tmp_path, pki / "hosts" / "hv1") as server:
        server.plug("tap1", "red/web1")
        interfaces = watching({"hv1": server.ssl, "hv2": server.ssl}, own(pki))
        told.wait_for("hv1", {"tap1": "red/web1"})
        wait_for(lambda: "the certificate names hv1, not hv2" in interfaces.problems().get("hv2", ""))
        assert "hv2" not in told.names


def test_a_server_with_a_certificate_of_another_authority_is_not_read(
    tmp_path: Path, pki: Path, told: Told, watching: Watching
) -> None:
    with DatabaseServer(tmp_path, certificates.make(tmp_path / "other", "hv1") / "hosts" / "hv1") as server:
        server.plug("tap1", "red/web1")
        interfaces = watching({"hv1": server.ssl, "hv2": server.unix}, own(pki))
        told.wait_for("hv2", {"tap1": "red/web1"})
        wait_for(lambda: "the TLS handshake failed" in interfaces.problems()["hv1"])
        assert "hv1" not in told.names
