"""`weft host init` on a real Open vSwitch: what it makes, what it leaves alone, and that a second run does nothing."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.model import ids
from controller.model.entities import NetworkType, Topology
from controller.switch.access import Command, HostError, NoCertificates
from controller.switch.ovsdb import read_database, set_up_host
from controller.switch.tls import Files
from tests.lab.small import network, small
from tests.ovs.twin import Twin
from tests.switch.certificates import make

pytestmark = pytest.mark.ovs

CONTROLLER = "tcp:127.0.0.1:16653"


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[Twin]:
    with Twin(tmp_path) as running:
        yield running


def init(
    twin: Twin, topology: Topology | None = None, host: str = "hv1", target: str = CONTROLLER
) -> tuple[Command, ...]:
    return set_up_host(topology or small(), host, controller=target, db=db(twin), datapath="dummy")


def db(twin: Twin) -> str:
    return f"unix:{twin.directory}/db.sock"


def get(twin: Twin, table: str, record: str, column: str) -> str:
    command = ["ovs-vsctl", f"--db={db(twin)}", "get", table, record, column]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().replace('"', "")


def everything(twin: Twin) -> str:
    """Everything the database holds but statistics that the switch writes by itself."""
    tables = "Bridge", "Port", "Interface", "Controller"
    columns = "--columns=name,ports,external_ids,other_config", "--columns=name,tag", "--columns=name,ofport,options"
    words = [
        word
        for table, column in zip(tables, (*columns, "--columns=target"), strict=True)
        for word in ("--", column, "list", table)
    ]
    return subprocess.run(["ovs-vsctl", f"--db={db(twin)}", *words], capture_output=True, text=True, check=True).stdout


def test_a_host_gets_its_bridges_patches_and_tunnels(twin: Twin) -> None:
    init(twin)
    database = read_database(db(twin))
    assert set(database.bridges) == {"br-int", "br-tun", "br-physnet1"}
    assert set(database.bridges["br-int"].ports) == {"br-int", "patch-tun", "pp-physnet1"}
    assert set(database.bridges["br-tun"].ports) == {"br-tun", "patch-int", "vxlan"}
    assert set(database.bridges["br-physnet1"].ports) == {"br-physnet1", "pi-physnet1"}
    assert database.ports["vxlan"].options == {"remote_ip": "flow", "key": "flow", "local_ip": "172.31.0.1"}
    assert database.ports["patch-tun"].options == {"peer": "patch-int"}


@pytest.mark.parametrize("bridge", ["br-int", "br-tun", "br-physnet1"])
def test_a_bridge_is_closed_and_waits_for_our_controller_alone(twin: Twin, bridge: str) -> None:
    init(twin)
    assert get(twin, "bridge", bridge, "fail_mode") == "secure"
    assert get(twin, "bridge", bridge, "protocols") == "[OpenFlow14]"
    assert get(twin, "bridge", bridge, "other_config:disable-in-band") == "true"
    assert get(twin, "controller", bridge, "target") == CONTROLLER
    assert get(twin, "controller", bridge, "connection_mode") == "out-of-band"
    assert get(twin, "controller", bridge, "inactivity_probe") == "5000"


def test_datapath_ids_follow_from_the_host(twin: Twin) -> None:
    init(twin)
    host = small().hosts["hv1"].id
    assert get(twin, "bridge", "br-int", "datapath_id") == f"{ids.integration_dpid(host):016x}"
    assert get(twin, "bridge", "br-tun", "datapath_id") == f"{ids.tunnel_dpid(host):016x}"
    assert get(twin, "bridge", "br-physnet1", "datapath_id") == f"{ids.physical_dpid(host, 'physnet1'):016x}"


def test_a_second_run_changes_nothing(twin: Twin) -> None:
    init(twin)
    twin.ofctl("add-flow", "br-int", "priority=7,actions=drop")
    before = everything(twin), get(twin, "open_vswitch", ".", "next_cfg")
    assert init(twin) == ()
    assert (everything(twin), get(twin, "open_vswitch", ".", "next_cfg")) == before
    assert len(twin.flows("br-int")) == 1


def test_another_controller_is_one_change_and_costs_no_flow(twin: Twin) -> None:
    init(twin)
    twin.ofctl("add-flow", "br-int", "priority=7,actions=drop")
    commands = init(twin, target="tcp:127.0.0.1:26653")
    assert {words[0] for words in commands} == {"set-controller", "set"}
    assert len(twin.flows("br-int")) == 1
    assert init(twin, target="tcp:127.0.0.1:26653") == ()


def test_a_setting_that_someone_changed_is_put_right(twin: Twin) -> None:
    init(twin)
    twin.configure(
        ["set", "bridge", "br-tun", "fail_mode=standalone"], ["set", "interface", "vxlan", "options:local_ip=9.9.9.9"]
    )
    init(twin)
    assert get(twin, "bridge", "br-tun", "fail_mode") == "secure"
    assert get(twin, "interface", "vxlan", "options:local_ip") == "172.31.0.1"


def test_foreign_bridges_and_ports_survive(twin: Twin) -> None:
    init(twin)
    twin.configure(["add-br", "br-else", "--", "set", "bridge", "br-else", "datapath_type=dummy"])
    twin.configure(["add-port", "br-int", "vm7", "--", "set", "interface", "vm7", "type=dummy"])
    init(twin)
    database = read_database(db(twin))
    assert "br-else" in database.bridges
    assert "vm7" in database.bridges["br-int"].ports


def test_an_operators_bridge_keeps_its_uplink_and_is_never_deleted(twin: Twin) -> None:
    twin.configure(
        ["add-br", "br-physnet1", "--", "set", "bridge", "br-physnet1", "datapath_type=dummy"],
        ["add-port", "br-physnet1", "uplink", "--", "set", "interface", "uplink", "type=dummy"],
    )
    number = get(twin, "interface", "uplink", "ofport")
    init(twin)
    assert get(twin, "bridge", "br-physnet1", "fail_mode") == "secure"
    assert set(read_database(db(twin)).bridges["br-physnet1"].ports) == {"br-physnet1", "uplink", "pi-physnet1"}
    init(twin, dataclasses.replace(small(), physical_networks={}))
    row = read_database(db(twin)).bridges["br-physnet1"]
    assert set(row.ports) == {"br-physnet1", "uplink"}
    assert not row.controllers
    assert get(twin, "interface", "uplink", "ofport") == number


def test_what_is_wanted_no_more_goes(twin: Twin) -> None:
    fabric = small()
    more = {**fabric.networks, "red/far": network("red/far", NetworkType.GENEVE, 1001, "10.0.5.0/24")}
    init(twin, dataclasses.replace(fabric, networks=more))
    assert "geneve" in read_database(db(twin)).ports
    init(twin, dataclasses.replace(fabric, physical_networks={}))
    database = read_database(db(twin))
    assert set(database.bridges) == {"br-int", "br-tun"}
    assert set(database.ports) == {"br-int", "br-tun", "patch-tun", "patch-int", "vxlan"}


def test_a_bridge_of_ours_with_somebody_elses_port_is_left_to_them(twin: Twin) -> None:
    init(twin)
    twin.configure(["add-port", "br-physnet1", "uplink", "--", "set", "interface", "uplink", "type=dummy"])
    init(twin, dataclasses.replace(small(), physical_networks={}))
    assert set(read_database(db(twin)).bridges["br-physnet1"].ports) == {"br-physnet1", "uplink"}


def test_a_foreign_port_in_the_way_is_named_and_nothing_happens(twin: Twin) -> None:
    twin.configure(["add-br", "br-else", "--", "set", "bridge", "br-else", "datapath_type=dummy"])
    twin.configure(["add-port", "br-else", "vxlan", "--", "set", "interface", "vxlan", "type=dummy"])
    with pytest.raises(HostError, match="port vxlan on br-else is not Weft's"):
        init(twin)
    assert set(read_database(db(twin)).bridges) == {"br-else"}


def test_a_foreign_vtep_and_an_unknown_host_are_refused(twin: Twin) -> None:
    with pytest.raises(HostError, match="foreign VTEP"):
        init(twin, host="rack9")
    with pytest.raises(HostError, match='no host "hv7"'):
        init(twin, host="hv7")


def test_no_database_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no-such"):
        set_up_host(small(), "hv1", controller=CONTROLLER, db=f"unix:{tmp_path}/no-such")


SSL_CONTROLLER = "ssl:127.0.0.1:16653"


def certificate(directory: Path, host: str = "hv1") -> Files:
    place = make(directory, host) / "hosts" / host
    return Files(place / "key.pem", place / "cert.pem", place / "ca.pem")


def init_tls(twin: Twin, tls: Files | None, ovsdb: str | None = None) -> tuple[Command, ...]:
    return set_up_host(small(), "hv1", controller=SSL_CONTROLLER, db=db(twin), datapath="dummy", tls=tls, ovsdb=ovsdb)


def test_a_certificate_comes_with_its_controller_in_one_transaction(twin: Twin, tmp_path: Path) -> None:
    init(twin)
    tls = certificate(tmp_path / "pki")
    assert [words[0] for words in init_tls(twin, tls)][:2] == ["set-ssl", "set"]
    assert get(twin, "ssl", ".", "certificate") == str(tls.certificate)
    assert get(twin, "controller", "br-int", "target") == SSL_CONTROLLER
    assert init_tls(twin, tls) == init_tls(twin, None) == ()


def test_tls_without_a_certificate_is_refused_before_anything_changes(twin: Twin) -> None:
    init(twin)
    with pytest.raises(NoCertificates, match=r"ssl:127\.0\.0\.1:16653 needs a certificate: say --pki DIR"):
        init_tls(twin, None)
    assert get(twin, "controller", "br-int", "target") == CONTROLLER


def test_a_certificate_of_somebody_else_is_not_replaced_but_may_be_used(twin: Twin, tmp_path: Path) -> None:
    twin.configure(["set-ssl", "/etc/theirs/key.pem", "/etc/theirs/cert.pem", "/etc/theirs/ca.pem"])
    with pytest.raises(HostError, match=r"has the certificate /etc/theirs/cert\.pem, which is not Weft's"):
        init_tls(twin, certificate(tmp_path / "pki"))
    init_tls(twin, None)
    assert get(twin, "ssl", ".", "certificate") == "/etc/theirs/cert.pem"


def test_the_database_listens_where_it_is_told_besides_where_others_want_it(twin: Twin, tmp_path: Path) -> None:
    twin.configure(["set-manager", "ptcp:16640:127.0.0.9"])
    tls = certificate(tmp_path / "pki")
    init_tls(twin, tls, "ptcp:16641:127.0.0.1")
    init_tls(twin, tls, "pssl:16642")
    assert init_tls(twin, tls, "pssl:16642") == init_tls(twin, tls) == ()
    assert set(managers(twin)) == {"ptcp:16640:127.0.0.9", "pssl:16642"}


def managers(twin: Twin) -> list[str]:
    command = ["ovs-vsctl", f"--db={db(twin)}", "get-manager"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
