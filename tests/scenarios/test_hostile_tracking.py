"""Hostile: what a port's tracked connections must not open, at whomever it aims their packets."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from controller.model.address import BROADCAST_MAC
from controller.pipeline.compile import compile_fabric
from controller.proof.packet import Packet
from tests.builders import allow, fabric, group, host, network, port
from tests.ovs.fabric import FabricTwin
from tests.ovs.frames import Step, frame, unreachable
from tests.ovs.vtep import Tunnelled
from tests.scenarios.talk import Talk, answer_to, request
from tests.scenarios.town import FAR, NEAR, OTHER, SERVER, town

pytestmark = pytest.mark.ovs

NOBODY = 0x0200000000FF
HV1, HV2 = IPv4Address("172.31.0.1"), IPv4Address("172.31.0.2")
SHUT = town(group("red/shut"), members={SERVER: ["red/shut"], OTHER: ["red/shut"]})


@pytest.mark.parametrize("what", ["udp 9", "tcp 9", "icmp", "112"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_connection_that_only_left_is_not_one_that_was_let_in(talk: Talk, what: str, version: int) -> None:
    talk.enforce(SHUT)
    knock = request(talk.topology, NEAR, SERVER, what, version=version)
    for _ in range(4):
        assert talk.send(replace(knock, eth_dst=NOBODY)) == {}
    for _ in range(4):
        assert talk.send(knock) == {}


@pytest.mark.parametrize("what", ["udp 9", "112"])
def test_a_broadcast_that_is_repeated_does_not_become_a_connection(talk: Talk, what: str) -> None:
    talk.enforce(SHUT)
    shout = replace(request(talk.topology, NEAR, SERVER, what), eth_dst=BROADCAST_MAC)
    for _ in range(4):
        assert talk.send(shout).keys() <= {FAR} - {SERVER, OTHER}


def test_a_broadcast_that_one_class_accepts_is_not_let_in_to_another(talk: Talk) -> None:
    talk.enforce(
        town(
            group("red/shut"),
            group("red/open", ingress=[allow("udp", 9)]),
            members={SERVER: ["red/shut"], OTHER: ["red/shut"], FAR: ["red/open"]},
        )
    )
    shout = replace(request(talk.topology, NEAR, SERVER, "udp 9"), eth_dst=BROADCAST_MAC)
    for _ in range(4):
        assert talk.send(shout).keys() == {FAR}


def test_an_icmp_error_about_what_was_never_let_in_is_not_let_in(talk: Talk) -> None:
    talk.enforce(SHUT)
    knock = request(talk.topology, NEAR, SERVER, "udp 9")
    for _ in range(4):
        talk.send(replace(knock, eth_dst=NOBODY))
    reply = answer_to(knock, SERVER)
    assert talk.net.send(NEAR, unreachable(reply, frame(reply))) == {}


def test_an_answer_to_what_was_never_let_in_is_no_answer(talk: Talk) -> None:
    talk.enforce(town(group("red/mute", egress=[]), members={SERVER: ["red/mute"]}))
    knock = request(talk.topology, NEAR, SERVER, "udp 9")
    for _ in range(4):
        talk.send(replace(knock, eth_dst=NOBODY))
    assert talk.send(answer_to(knock, SERVER)) == {}


@pytest.mark.parametrize("what", ["udp 9", "tcp 9"])
def test_a_connection_goes_to_nobody_else(talk: Talk, what: str) -> None:
    """The packets of a connection that one port has let in do not reach others by another MAC."""
    talk.enforce(
        town(
            group("red/shut"),
            group("red/open", ingress=[allow("udp", 9), allow("tcp", 9)]),
            members={SERVER: ["red/shut"], OTHER: ["red/shut"], FAR: ["red/open"]},
        )
    )
    asked = request(talk.topology, NEAR, FAR, what)
    assert talk.carries(asked, FAR)
    for victim in (SERVER, OTHER):
        aside = replace(asked, eth_dst=talk.topology.ports[victim].mac)
        assert talk.net.send(NEAR, frame(aside, Step.GO_ON)) == {}
    shout = replace(asked, eth_dst=BROADCAST_MAC)
    assert talk.net.send(NEAR, frame(shout, Step.GO_ON)).keys() == {FAR}


def answered_from_afar(talk: Talk, knock: Packet) -> None:
    """Let a request leave for another host, and let the server's answer come back from there."""
    for _ in range(2):
        assert talk.send(replace(knock, eth_dst=NOBODY)) == {}
    back = frame(answer_to(knock, SERVER), Step.ACCEPT)
    network = talk.topology.networks["red/n"]
    assert network.segment is not None
    tunnelled = Tunnelled(network.type, network.segment, HV2, HV1, back)
    assert talk.net.receive_tunnelled(tunnelled) == {NEAR: [back]}


@pytest.mark.parametrize("what", ["udp 9", "tcp 9", "icmp"])
def test_a_connection_to_elsewhere_is_not_let_in_here(talk: Talk, what: str) -> None:
    """That somebody afar answered in the server's name does not open the server."""
    talk.enforce(SHUT)
    knock = request(talk.topology, NEAR, SERVER, what)
    answered_from_afar(talk, knock)
    for step in (Step.OPEN, Step.GO_ON):
        assert talk.net.send(NEAR, frame(knock, step)) == {}


def test_a_connection_goes_on_when_its_server_comes_to_the_clients_host(talk: Talk) -> None:
    """The server's rules let the connection in, so that its answers are answers there at once, though it may open nothing."""
    talk.enforce(town(group("red/g", ingress=[allow("udp", 9)], egress=[]), members={SERVER: ["red/g"]}))
    knock = request(talk.topology, NEAR, SERVER, "udp 9")
    answered_from_afar(talk, knock)
    assert talk.send(answer_to(knock, SERVER)).keys() == {NEAR}
    assert talk.carries(knock, SERVER)


@pytest.mark.parametrize("what", ["tcp 9", "sctp 9"])
def test_who_gets_an_address_does_not_inherit_its_connections(tmp_path: Path, what: str) -> None:
    """Nothing has been flushed yet: an answer to the former owner is not for the new one, whatever the protocol."""
    heirs = [port(f"red/{name}", "red/n", "10.0.0.1", host="hv1", groups=["red/open"]) for name in ("former", "heir")]
    server = port("red/server", "red/n", "10.0.0.2", host="hv1", groups=["red/open"])
    everyone = fabric(
        host("hv1"), network("red/n", "10.0.0.0/24"), group("red/open", ingress=[allow()]), server, *heirs
    )
    before, after = (
        replace(everyone, ports={name: each for name, each in everyone.ports.items() if name != gone})
        for gone in ("red/heir", "red/former")
    )
    with FabricTwin(tmp_path, everyone) as net:
        net.load(compile_fabric(before, bindings=net.bindings))
        asked = request(before, "red/former", "red/server", what)
        assert list(net.send("red/former", frame(asked))) == ["red/server"]
        answer = replace(answer_to(asked, "red/server"), eth_dst=heirs[1].mac)
        net.load(compile_fabric(after, bindings=net.bindings))
        assert net.send("red/server", frame(answer, Step.ACCEPT)) == {}
