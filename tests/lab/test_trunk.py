"""VLAN-aware VMs with real packets: their subports are containers, each on the device of a VLAN of the VM's interface."""

from __future__ import annotations

import pytest

from controller.config import load
from controller.lab.plan import LabError, NotAllowed
from controller.lab.reach import observe, questions
from tests.lab.conftest import Bring
from tests.lab.net import Net
from tests.scenarios.frames import tagged, udp
from tests.scenarios.labs import ask, differences, write

pytestmark = pytest.mark.lab

FABRIC = """\
fabric: trunks
hosts:
  hv1: {tunnel_ip: 172.31.0.1, ovsdb: "unix:LABDIR/hv1/db.sock"}
  hv2: {tunnel_ip: 172.31.0.2, ovsdb: "unix:LABDIR/hv2/db.sock"}
physical_networks:
  physnet1: {hosts: [hv1, hv2], vlans: 100-199}
tenants:
  red: {segments: 5000-5099, vlans: {physnet1: 110-119}}
"""
RED = """\
networks:
  net: {cidr: 10.0.1.0/24}
  web: {cidr: [10.0.2.0/24, "fd00:2::/64"]}
  lan: {cidr: 10.0.3.0/24, type: vlan, physical_network: physnet1}
routers:
  main: {networks: [net, web]}
security_groups:
  closed: {ingress: [{protocol: tcp, ports: 80}]}
ports:
  vm: {network: net, ip: 10.0.1.11, trunk: {101: {network: web, ip: [10.0.2.11, "fd00:2::11"]}, 102: lan}}
  fixed: {network: net, host: hv2, trunk: {7: {network: web, security_groups: [closed]}, 102: lan}}
  web1: {network: web, host: hv1, ip: [10.0.2.21, "fd00:2::21"]}
  web2: {network: web, host: hv2}
"""
TENANT = "tenants/red.yaml"
FILES = {"fabric.yaml": FABRIC, TENANT: RED}
VM, SUBPORT = "red/vm", "red/vm:101"


@pytest.fixture
def net(lab: Bring) -> Net:
    return lab(FILES)


def test_s63_everybody_reaches_whom_the_files_say(net: Net) -> None:
    topology = load(net.lab.folder).topology
    assert topology is not None
    asked = questions(topology, {name: net.lab.plan.ports[name].host for name in net.lab.plugged})
    pairs = {(each.source, each.target) for each in asked if each.expected and each.probe.kind == "icmp"}
    assert {(VM, SUBPORT), (SUBPORT, VM), (SUBPORT, "red/web2"), ("red/vm:102", "red/fixed:102")} <= pairs
    found = observe(asked, {name: net.lab.port_namespace(name) for name in net.lab.plugged})
    assert [each for each in found if not each.is_right] == []


def test_s63_a_tag_that_is_no_subports_reaches_nobody(net: Net) -> None:
    topology = load(net.lab.folder).topology
    assert topology is not None
    good = udp(topology, SUBPORT, "red/web1")
    with net.listen("red/web1") as heard:
        net.send(VM, tagged(good, 104))
        net.send(VM, good)
        net.send(VM, tagged(good, 101))
        first = heard.wait_for(lambda frame: frame[12:14] == b"\x08\x00" and frame[23] == 17)
        assert first == good
        assert sum(frame[:42] == good[:42] for frame in heard.frames) == 1


def test_s63_subports_follow_their_parent(net: Net) -> None:
    here = net.lab.plan.ports[VM].host
    there = "hv2" if here == "hv1" else "hv1"
    with pytest.raises(NotAllowed, match="is where red/vm is"):
        net.lab.migrate(SUBPORT, there)
    for host in (there, here):
        net.lab.migrate(VM, host)
        net.lab.wait_in_sync()
        assert net.lab.plan.ports[SUBPORT].host == host
        for source, target in (
            ("red/web1", SUBPORT),
            (SUBPORT, "red/web2"),
            (VM, SUBPORT),
            ("red/vm:102", "red/fixed:102"),
        ):
            assert net.ping(source, target), f"{source} does not reach {target} with the VM on {host}"
        assert net.ping("red/web1", SUBPORT, version=6)


def test_a_port_is_plugged_and_unplugged_with_its_subports(net: Net) -> None:
    net.lab.unplug(SUBPORT)
    assert set(net.lab.plugged) >= {VM, "red/vm:102"}
    assert net.ping(VM, "red/web1")
    net.plug(SUBPORT)
    assert net.ping("red/web1", SUBPORT)
    net.lab.unplug(VM)
    assert not [name for name in net.lab.plugged if name.startswith(VM)]
    with pytest.raises(LabError, match="red/vm is not plugged"):
        net.lab.plug(SUBPORT)
    net.plug(VM)
    assert net.ping("red/web1", SUBPORT)
    assert net.ping(VM, "red/fixed")


def test_a_trunk_gets_another_subport_while_the_vm_runs(net: Net) -> None:
    here = f"vm: {{network: net, host: {net.lab.plan.ports[VM].host},"
    for lan in (103, 102):
        edit(net, RED.replace("vm: {network: net,", here).replace("102: lan}}\n  fixed", f"{lan}: lan}}}}\n  fixed"))
        assert sorted(name for name in net.lab.plugged if name.startswith(VM)) == [VM, SUBPORT, f"red/vm:{lan}"]
        assert net.ping(f"red/vm:{lan}", "red/fixed:102")
        assert net.ping("red/web1", SUBPORT)
        assert differences(net) == []


def edit(net: Net, red: str) -> None:
    """Save the tenant's file; return when it is in force, and the lab what it says."""
    write(net.lab.folder / TENANT, red)
    topology = load(net.lab.folder).topology
    assert topology is not None
    net.lab.follow(topology)
    answer = ask(net, "apply")
    assert answer["accepted"], answer["problems"]
    net.lab.wait_in_sync()
