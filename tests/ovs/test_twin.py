"""The twin does what a switch does, and a test can see it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.ovs.frames import frame
from tests.ovs.twin import Twin, patch_commands

pytestmark = pytest.mark.ovs

FRAME = bytes.fromhex("020000000002 020000000001 88b5") + bytes(46)


def test_a_frame_takes_the_way_of_the_flows(twin: Twin) -> None:
    twin.add_bridge("br-int", {"p1": 1, "p2": 2, "p3": 3})
    twin.install("br-int", ["flow add in_port=1,actions=output:3"])
    twin.inject("p1", FRAME)
    twin.settle()
    assert twin.sent("p3") == [FRAME]
    assert twin.sent("p2") == []
    assert twin.sent("p3") == [], "frames are handed out once"


def test_a_bridge_without_flows_forwards_nothing(twin: Twin) -> None:
    twin.add_bridge("br-int", {"p1": 1, "p2": 2})
    twin.inject("p1", FRAME)
    twin.settle()
    assert twin.sent("p2") == []


def test_a_bundle_with_a_bad_flow_changes_nothing(twin: Twin) -> None:
    twin.add_bridge("br-int", {"p1": 1, "p2": 2})
    with pytest.raises(AssertionError, match="bundle"):
        twin.install("br-int", ["flow add in_port=1,actions=output:2", "flow add in_port=2,actions=group:77"])
    assert twin.flows("br-int") == []


def test_frames_cross_a_patch_port_and_connections_are_tracked(twin: Twin) -> None:
    twin.add_bridge("br-int", {"p1": 1})
    twin.add_bridge("br-out", {"p2": 1})
    twin.configure(*patch_commands(("br-int", "to-out", 9), ("br-out", "to-int", 9)))
    twin.install("br-out", ["flow add in_port=9,actions=output:1", "flow add in_port=1,actions=output:9"])
    twin.install(
        "br-int",
        [
            "flow add table=0,udp,in_port=1,actions=ct(commit,zone=7),output:9",
            "flow add table=0,udp,in_port=9,actions=ct(table=1,zone=7)",
            "flow add table=1,udp,ct_state=+trk+est+rpl,actions=output:1",
        ],
    )
    request, reply = udp(1, 2), udp(2, 1)
    twin.inject("p2", reply)
    twin.settle()
    assert twin.sent("p1") == [], "a reply to nothing does not pass"
    twin.flush_conntrack()
    twin.inject("p1", request)
    twin.inject("p2", reply)
    twin.settle()
    assert twin.sent("p2") == [request]
    assert twin.sent("p1") == [reply]


def test_trace_names_the_datapath_actions(twin: Twin) -> None:
    twin.add_bridge("br-int", {"p1": 1, "p2": 2})
    twin.install("br-int", ["flow add in_port=1,ip,actions=output:2"])
    assert "output:2" in twin.trace("br-int", "in_port=1,ip,nw_src=10.0.0.1")
    assert "Datapath actions: drop" in twin.trace("br-int", "in_port=1,arp")


def udp(source: int, target: int) -> bytes:
    """A UDP datagram without checksum from 10.0.0.`source` to 10.0.0.`target`, ports likewise."""
    ethernet = bytes([2, 0, 0, 0, 0, target, 2, 0, 0, 0, 0, source, 8, 0])
    head = bytes.fromhex("4500001c00000000401166cf") + bytes([10, 0, 0, source, 10, 0, 0, target])
    return ethernet + head + bytes([0, source, 0, target, 0, 8, 0, 0]) + bytes(18)


@pytest.mark.parametrize("protocol", [wire.UDP, wire.ICMP, 47])
def test_what_is_not_answered_is_new_and_bears_what_was_kept(twin: Twin, protocol: int) -> None:
    """So rules that ask for new connections see those that policy has let through before, and proofs must reckon with it."""
    ends = ip_address("10.0.0.1"), ip_address("10.0.0.2")
    sent = frame(Packet("p1", 1 << 25, 2 << 25, wire.IPV4, *ends, protocol=protocol, sport=4000, dport=53, icmp_type=8))
    twin.add_bridge("br-int", {"p1": 1, "once": 2, "again": 3})
    twin.install(
        "br-int",
        [
            "flow add table=0,ip,actions=ct(table=1,zone=7)",
            "flow add table=1,ip,ct_state=+trk+new,ct_mark=0,actions=ct(commit,zone=7,exec(set_field:5->ct_mark)),output:2",
            "flow add table=1,ip,ct_state=+trk+new,ct_mark=5,actions=output:3",
        ],
    )
    twin.inject("p1", sent, sent)
    twin.settle()
    assert (twin.sent("once"), twin.sent("again")) == ([sent], [sent])
