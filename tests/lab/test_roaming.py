"""Ports that follow their VM: they move, are claimed twice, show up where they may not be, and outlive their host."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import ip_address

import pytest

from controller.lab.plan import LabError, NotAllowed
from controller.model.address import parse_mac
from controller.wire.announce import announcements
from tests.lab.conftest import Bring
from tests.lab.net import Net
from tests.lab.roaming import (
    FILES,
    NAMED,
    WIRED,
    Conversation,
    RoamingStream,
    Stranger,
    keepers,
    ports,
    rename,
    wait_refused,
)
from tests.scenarios.labs import Wire, wait_until

pytestmark = pytest.mark.lab

VLAN_101 = bytes.fromhex("81000065")


@pytest.fixture
def net(lab: Bring) -> Net:
    return lab(FILES)


def home(net: Net) -> str:
    """Return where red/vm is."""
    return net.lab.plan.ports["red/vm"].host


def elsewhere(net: Net) -> str:
    """Return where red/vm could go, neither to its peer's host nor to where it is."""
    return "hv2" if home(net) == "hv1" else "hv1"


@pytest.mark.parametrize(("source", "target"), [("red/peer", "red/vm"), ("red/vm", "red/peer"), ("red/near", "red/vm")])
def test_a_move_costs_a_stream_one_gap_which_is_over_when_the_move_is(net: Net, source: str, target: str) -> None:
    """How long the gap is, the benchmarks say (`python -m benchmarks roaming`)."""
    for _ in range(2):
        there = elsewhere(net)
        with RoamingStream(net, source, target) as stream:
            began = stream.sent
            net.lab.migrate("red/vm", there)
            wait_until(lambda: keepers(net, "red/vm") == {there}, "the switches know where it is")  # noqa: B023
            wait_until(lambda: net.ping(source, target), "both ends know each other again")
            over = stream.sent + 1  # One may be on its way to the wire at this very moment.
            wait_until(lambda: stream.sent > over + stream.RATE // 2, "the stream goes on")  # noqa: B023
        assert stream.lost <= set(range(began, over)), "what was sent before the move or after it arrives"
        assert not stream.lost or stream.lost == set(range(min(stream.lost), max(stream.lost) + 1)), "one gap"


def test_a_move_is_announced_to_neighbours_near_and_far(net: Net) -> None:
    with net.listen("red/peer") as far, net.listen("red/near") as near:
        net.lab.migrate("red/vm", elsewhere(net))
        for heard in (far, near):
            for announcement in told(net, "red/vm"):
                heard.wait_for(announcement.__eq__)


def test_a_move_is_announced_on_a_wire_that_others_use(lab: Bring) -> None:
    net = lab(WIRED)
    with Wire(net, "hv3", "eth1") as wire:
        net.lab.migrate("red/vm", elsewhere(net))
        for announcement in told(net, "red/vm"):
            wire.wait_for((announcement[:12] + VLAN_101 + announcement[12:]).__eq__)


def test_nothing_is_announced_that_has_not_moved(net: Net) -> None:
    with net.listen("red/peer") as heard:
        net.lab.unplug("red/vm")
        net.plug("red/vm")
        net.lab.stop_controller()
        net.lab.start_controller()
        net.lab.wait_in_sync()
        assert heard.find(lambda frame: frame in told(net, "red/vm"), 0.5) is None


def told(net: Net, port: str) -> list[bytes]:
    """Return the frames that announce a port."""
    planned = net.lab.plan.ports[port]
    return list(announcements(parse_mac(planned.mac), [ip_address(net.address(port, version)) for version in (4, 6)]))


def test_connections_and_refusals_go_with_the_port(net: Net) -> None:
    with Conversation(net, "red/peer", "red/vm", 80) as talk:
        for _ in range(2):
            talk.exchange()
            net.lab.migrate("red/vm", elsewhere(net))
        talk.exchange()
    net.lab.wait_in_sync()
    assert net.tcp("red/peer", "red/vm", 80)
    assert not net.tcp("red/peer", "red/vm", 81)
    assert not net.tcp("red/near", "red/vm", 80)
    assert net.ping("red/vm", "red/near", version=6)


def test_nothing_is_left_of_the_port_where_it_was(net: Net) -> None:
    old = home(net)
    net.lab.migrate("red/vm", elsewhere(net))
    net.lab.wait_in_sync()
    assert "red.vm" not in net.lab.exec_host(old, ["ovs-vsctl", "list-ports", "br-int"]).stdout.split()
    assert ports(net)["refused"] == []
    links = net.lab.exec_port("red/vm", ["ip", "-br", "link"]).stdout
    assert [line.split("@")[0] for line in links.splitlines() if "@" in line] == ["eth0"]


def test_the_newer_of_two_claims_has_the_port_until_it_goes(net: Net) -> None:
    old, new = home(net), elsewhere(net)
    assert net.ping("red/peer", "red/vm")
    with Stranger(net, new, "red.vm", "red/vm"):
        wait_refused(net, f"port red/vm is on {new} now, {old} still has its interface")
        wait_until(lambda: not net.ping("red/peer", "red/vm"), "the older no longer hears its peer")
    wait_refused(net)
    wait_until(lambda: net.ping("red/peer", "red/vm"), "the older has its port back")


def test_a_pinned_port_that_shows_up_elsewhere_neither_speaks_nor_hears_there(net: Net) -> None:
    pin = f"{net.lab.folder}/tenants/red.yaml:13:3"
    with net.listen("red/near") as near, Stranger(net, "hv1", "red.peer", "red/peer") as stranger:
        wait_refused(net, f"port red/peer showed up on hv1, but {pin} pins it to hv3")
        stranger.shout()
        assert near.find(stranger.is_mine, 0.5) is None
        assert net.ping("red/near", "red/peer")
        assert not stranger.heard()


def test_a_failed_hosts_port_comes_up_on_another_and_stays_there(net: Net) -> None:
    old, new = home(net), elsewhere(net)
    net.lab.fail_host(old)
    net.lab.migrate("red/vm", new)
    wait_until(lambda: net.ping("red/peer", "red/vm"), "the port is back")
    net.lab.recover_host(old)
    net.lab.wait_in_sync()
    assert net.ping("red/peer", "red/vm")
    assert net.ping("red/vm", "red/near", version=6)


def test_a_host_that_comes_back_with_its_claim_does_not_win(net: Net) -> None:
    old, new = home(net), elsewhere(net)
    with Stranger(net, old, "tap7", "red/vm"):
        net.lab.fail_host(old)
        net.lab.migrate("red/vm", new)
        wait_until(lambda: net.ping("red/peer", "red/vm"), "the port is back")
        net.lab.recover_host(old)
        net.lab.wait_in_sync()
        assert net.ping("red/peer", "red/vm")


def test_an_interface_of_any_name_is_the_port_that_its_iface_id_says(lab: Bring) -> None:
    net = lab(NAMED)
    rename(net, "red/vm", "tap7")
    wait_until(lambda: net.ping("red/peer", "red/vm"), "the port has come by its new name")
    net.lab.wait_in_sync()
    with RoamingStream(net, "red/peer", "red/vm") as stream:
        net.lab.stop_controller()
        net.lab.start_controller()
        net.lab.wait_in_sync()
    assert stream.lost == set()


def test_an_interface_that_waits_for_its_vm_claims_nothing_until_the_vm_runs(lab: Bring) -> None:
    net = lab(NAMED)
    old, new = home(net), elsewhere(net)
    with Stranger(net, new, "red.vm", "red/vm", "inactive") as stranger:
        assert net.ping("red/peer", "red/vm")
        assert ports(net)["refused"] == []
        stranger.become("active")
        wait_refused(net, f"port red/vm is on {new} now, {old} still has its interface")


def test_after_a_restart_the_port_is_where_it_was(net: Net) -> None:
    old, new = home(net), elsewhere(net)
    with Stranger(net, new, "red.vm", "red/vm"):
        for _ in range(3):
            wait_refused(net, f"port red/vm is on {new} now, {old} still has its interface")
            # The controller knows of a move before the switches have all been told of it.
            wait_until(lambda: keepers(net, "red/vm") == {new}, "the switches know where it is")
            net.lab.stop_controller()
            net.lab.start_controller()
            net.lab.wait_in_sync()


def test_a_port_that_cannot_move_says_why(net: Net) -> None:
    with pytest.raises(NotAllowed, match=r"red/peer is pinned to hv3 \(.*/tenants/red.yaml:13:3\)"):
        net.lab.migrate("red/peer", "hv2")
    with pytest.raises(NotAllowed, match="is on hv"):
        net.lab.migrate("red/vm", home(net))
    with pytest.raises(LabError, match='no host "hv7"'):
        net.lab.migrate("red/vm", "hv7")
    net.lab.fail_host(elsewhere(net))
    with pytest.raises(LabError, match="has failed; `weft lab recover"):
        net.lab.migrate("red/vm", elsewhere(net))


def test_the_verbs_say_what_happened(net: Net) -> None:
    def weft(*arguments: str) -> str:
        command = [sys.executable, "-m", "controller.cli", "lab", *arguments, "--dir", str(net.lab.directory)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout or f"{done.returncode}: {done.stderr}"

    old, new = home(net), elsewhere(net)
    assert weft("migrate", "red/vm", new).startswith(
        f"red/vm has moved from {old} to {new}; its interface was away for "
    )
    assert json.loads(weft("migrate", "red/vm", old, "-o", "json"))["from"] == new
    assert weft("migrate", "red/peer", "hv1").startswith("2: weft lab migrate: red/peer is pinned to hv3")
    assert weft("unplug", "red/vm") == "red/vm is unplugged\n"
    assert weft("plug", "red/vm") == f"red/vm is plugged in on {old}\n"
    assert weft("fail", "hv2") == "hv2 has failed\n"
    assert weft("recover", "hv2") == "hv2 is back\n"
