"""The whole way: files, controller, Open vSwitch, packets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller import config
from controller.lab.namespaces import inside, ip
from controller.lab.reach import observe, questions
from tests.lab.conftest import Bring

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("name", ["quickstart", "campus-vlan", "mixed-overlays"])
def test_every_pair_of_ports_reaches_what_the_files_allow_and_nothing_else(lab: Bring, name: str) -> None:
    net = lab(ROOT / "topologies" / name).lab
    topology = config.load(net.folder).topology
    assert topology is not None
    location = {port: net.plan.ports[port].host for port in net.plugged}
    findings = observe(questions(topology, location), {port: net.port_namespace(port) for port in net.plugged})
    assert sum(finding.observed for finding in findings) > 0
    assert [finding for finding in findings if not finding.is_right] == []


def test_tunnels_run_over_an_ipv6_underlay(lab: Bring) -> None:
    quickstart = ROOT / "topologies" / "quickstart"
    files = {str(path.relative_to(quickstart)): path.read_text(encoding="utf-8") for path in quickstart.rglob("*.yaml")}
    files["fabric.yaml"] = re.sub(r"172\.31\.0\.(\d)", r"'fd31::\1'", files["fabric.yaml"])
    net = lab(files)
    assert net.lab.plan.hosts["hv1"].tunnel_address == "fd31::1/64"
    assert net.tcp("red/web1", "red/web2", 80)
    assert not net.ping("red/web1", "blue/web2")


def test_a_host_that_joins_late_takes_part(lab: Bring) -> None:
    net = lab(ROOT / "topologies" / "quickstart", without=("hv2",))
    assert not net.ping("red/web1", "10.0.1.12")
    net.lab.start_host("hv2")
    net.plug("red/web2")
    assert net.ping("red/web1", "red/web2")
    assert net.ping("red/web1", "red/web2", version=6)
    assert net.tcp("red/web1", "red/web2", 80)
    assert not net.tcp("red/web1", "red/web2", 81)


def test_an_interface_that_no_file_names_is_heard_by_nobody(lab: Bring) -> None:
    net = lab(ROOT / "topologies" / "quickstart")
    net.lab.switch("hv1").configure(
        [("add-port", "br-int", "stranger", "--", "set", "interface", "stranger", "type=internal")]
    )
    with net.listen("red/web1") as heard, inside(net.lab.host_namespace("hv1")):
        ip(
            [
                "addr add 10.0.1.77/24 dev stranger",
                "link set stranger up",
                "neigh add 10.0.1.11 lladdr 02:00:00:00:00:11 dev stranger",
            ]
        )
        net.lab.exec_host("hv1", ["ping", "-c2", "-i0.2", "-W1", "10.0.1.11"])
        assert heard.find(lambda frame: bytes([10, 0, 1, 77]) in frame, 0.3) is None


def test_a_neighbour_is_answered_without_asking_it(lab: Bring) -> None:
    net = lab(ROOT / "topologies" / "quickstart")
    sender = bytes.fromhex(net.lab.plan.ports["red/web1"].mac.replace(":", ""))
    request = bytes.fromhex("0806 0001 0800 06 04 0001".replace(" ", "")) + sender + bytes([10, 0, 1, 11])
    request += bytes(6) + bytes([10, 0, 1, 12])
    with net.listen("red/web1") as heard, net.listen("red/web2") as owner:
        net.send("red/web1", b"\xff" * 6 + sender + request)
        reply = heard.wait_for(lambda frame: frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\x02")
        assert reply[22:28].hex(":") == net.lab.plan.ports["red/web2"].mac
        assert owner.find(lambda frame: frame[12:14] == b"\x08\x06", 0.2) is None
