"""Whose sender is told what, and by which way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

import pytest
from os_ken.lib.packet import icmp, ipv4, udp
from os_ken.lib.packet.ethernet import ethernet

from controller.answers.asked import Asked, PacketOut
from controller.answers.datagram import checksum
from controller.answers.undeliverable import answer, nobody_there
from controller.answers.ways import next_hops
from controller.model.address import format_mac, outer_mac, router_mac
from controller.model.entities import Port
from controller.model.ids import key
from controller.pipeline.fields import BY_NAME, VLAN_PRESENT
from controller.pipeline.flow import Output, PushVlan, Resubmit, set_field
from controller.pipeline.plan import pipeline
from controller.pipeline.questions import Question
from controller.pipeline.registers import FROM, FROM_PHYSICAL, FROM_TUNNEL, NETWORK, SPACE, ZONE, Register
from tests import builders
from tests.answers.packets import ip, read

TOPOLOGY = builders.fabric(
    builders.host("hv1", gateway=True),
    builders.physical_network("physnet1", "hv1"),
    builders.external_network("public", "203.0.113.0/24", physical="physnet1", vlan=100, mtu=1500),
    builders.network("red/web", "10.0.1.0/24"),
    builders.network("red/db", "10.0.2.0/24"),
    builders.network("red/lone", "10.0.9.0/24"),
    builders.port("red/a", "red/web", "10.0.1.11", host="hv1"),
    builders.port("red/vpn", "red/db", "10.0.2.99", host="hv1"),
    builders.router(
        *("red/main", "red/web", "red/db"),
        external="public",
        address="203.0.113.10",
        routes=[("192.0.2.0/24", "10.0.2.99"), ("198.51.0.0/16", "203.0.113.77")],
    ),
    builders.floating_ip("203.0.113.20", "red/a", "10.0.1.11", router="red/main", external="public"),
)
A = TOPOLOGY.ports["red/a"]
MAIN = TOPOLOGY.routers["red/main"]
WEB, DB = router_mac("red/web"), router_mac("red/db")
THERE = "02:00:00:00:00:99"


def registers(values: Mapping[Register, int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for register, value in values.items():
        index = BY_NAME[register.field].index
        found[index] = found.get(index, 0) | value << register.offset
    return found


def asked(
    question: Question,
    frame: bytes,
    values: Mapping[Register, int] | None = None,
    *,
    by: Port | None = A,
    network: str | None = "red/web",
) -> Asked:
    found = TOPOLOGY.networks.get(network or "")
    router = MAIN if found is not None and found.name in MAIN.networks else None
    fields = registers(values or {})
    return Asked(question, TOPOLOGY, TOPOLOGY.hosts["hv1"], 7, by, found, router, fields, frame)


def packet(
    to: int, *, source: str = "10.0.1.11", target: str = "8.8.8.8", size: int = 20, by: str | None = None
) -> bytes:
    frame = ip(udp.udp(1, 2), bytes(size), source=source, target=target, protocol=17, to=format_mac(to))
    return frame if by is None else frame[:6] + bytes.fromhex(by.replace(":", "")) + frame[12:]


def only(question: Asked) -> PacketOut:
    (out,) = answer(question)
    return out


def test_a_port_of_the_host_is_told_at_its_own_interface() -> None:
    out = only(asked(Question.EXPIRED, packet(WEB)))
    said = read(out.frame)
    assert out.actions == (Output(7),)
    assert (said.get_protocol(ethernet).src, said.get_protocol(ipv4.ipv4).src) == (format_mac(WEB), "10.0.1.1")


@pytest.mark.parametrize("place", ["red/db", "red/web"])
def test_a_packet_that_is_on_its_way_already_is_told_of_as_it_was_sent(place: str) -> None:
    frame = packet(WEB, by=format_mac(router_mac(place)), target="10.0.2.50")
    out = only(asked(Question.NO_HOST, frame, {NETWORK: key("network", place)}))
    said = read(out.frame)
    assert (said.get_protocol(ethernet).src, said.get_protocol(ethernet).dst) == (format_mac(WEB), format_mac(A.mac))
    assert said.get_protocol(ipv4.ipv4).src == "10.0.1.1"


def test_a_sender_on_another_host_is_told_through_the_tunnels() -> None:
    values = {FROM: FROM_TUNNEL, NETWORK: key("network", "red/web"), SPACE: 5, ZONE: 6}
    out = only(asked(Question.EXPIRED, packet(WEB, source="10.0.1.99", by=THERE), values, by=None))
    assert read(out.frame).get_protocol(ethernet).dst == THERE
    forward = Resubmit(pipeline().tables["forward"].number)
    assert out.actions == (NETWORK.load(key("network", "red/web")), SPACE.load(5), ZONE.load(6), forward)


@pytest.mark.parametrize("question", [Question.EXPIRED, Question.NO_HOST, Question.TOO_BIG])
@pytest.mark.parametrize("by", [TOPOLOGY.ports["red/vpn"], None])
def test_whose_packet_a_port_has_passed_on_is_told_in_its_own_network(by: Port | None, question: Question) -> None:
    """Who has passed it on may not speak by the router's address, so by way of it nobody would hear."""
    values = {FROM: FROM_TUNNEL, NETWORK: key("network", "red/db"), SPACE: 5, ZONE: 6}
    frame = packet(DB, target="192.0.2.8", by=format_mac(TOPOLOGY.ports["red/vpn"].mac), size=1473)
    out = only(asked(question, frame, values, by=by, network="red/db"))
    said = read(out.frame)
    assert (said.get_protocol(ethernet).src, said.get_protocol(ethernet).dst) == (format_mac(WEB), format_mac(A.mac))
    assert (said.get_protocol(ipv4.ipv4).src, said.get_protocol(ipv4.ipv4).dst) == ("10.0.1.1", "10.0.1.11")
    forward = Resubmit(pipeline().tables["forward"].number)
    assert out.actions == (NETWORK.load(key("network", "red/web")), SPACE.load(5), ZONE.load(6), forward)


@pytest.mark.parametrize("name", ["red/main", "red/203.0.113.20"])
def test_a_sender_outside_is_told_by_the_router_on_the_external_network(name: str) -> None:
    values = {FROM: FROM_PHYSICAL, NETWORK: key("external", "public")}
    frame = packet(outer_mac(name), source="8.8.8.8", target="203.0.113.10", by=THERE)
    out = only(asked(Question.EXPIRED, frame, values, by=None, network=None))
    said = read(out.frame)
    assert (said.get_protocol(ethernet).src, said.get_protocol(ipv4.ipv4).src) == (
        format_mac(outer_mac(name)),
        "203.0.113.10",
    )
    assert out.actions == (PushVlan(), set_field("vlan_tci", VLAN_PRESENT | 100), Output(7))


def test_the_outside_is_not_told_what_a_floating_ip_stands_for() -> None:
    """The packet has been translated when its time to live ends; what its sender is told quotes it as it was."""
    values = {FROM: FROM_PHYSICAL, NETWORK: key("external", "public")}
    frame = packet(outer_mac("red/203.0.113.20"), source="8.8.8.8", target="10.0.1.11", by=THERE)
    told = only(asked(Question.EXPIRED, frame, values, by=None, network=None)).frame
    quoted = told[14 + 20 + 8 :]
    assert quoted[16:20] == ip_address("203.0.113.20").packed
    assert checksum(quoted[:20]) == 0
    assert ip_address("10.0.1.11").packed not in told


def test_the_outside_is_not_told_whom_a_router_masks() -> None:
    values = {FROM: FROM_PHYSICAL, NETWORK: key("external", "public")}
    frame = packet(outer_mac("red/main"), source="8.8.8.8", target="10.0.1.11", by=THERE)
    assert not list(answer(asked(Question.EXPIRED, frame, values, by=None, network=None)))


def test_a_frame_that_no_router_got_is_not_answered() -> None:
    values = {FROM: FROM_PHYSICAL, NETWORK: key("external", "public")}
    stray = packet(outer_mac("blue/other"), source="8.8.8.8", target="203.0.113.10", by=THERE)
    assert not list(answer(asked(Question.EXPIRED, stray, values, by=None, network=None)))
    assert not list(answer(asked(Question.EXPIRED, packet(WEB), by=None, network=None)))


def test_what_is_too_big_for_a_tunnel_is_told_its_mtu() -> None:
    out = only(asked(Question.TOO_BIG, packet(WEB, target="10.0.2.50", size=1473)))
    assert int.from_bytes(out.frame[40:42], "big") == 1450
    assert read(out.frame).get_protocol(icmp.icmp).code == 4


def test_what_is_too_big_is_told_what_fits_the_network_that_it_is_routed_into() -> None:
    """The sender's own may have no tunnel at all."""
    wide = replace(TOPOLOGY.networks["red/web"], mtu=1500)
    asks = asked(Question.TOO_BIG, packet(0, target="10.0.2.50", size=1450), {NETWORK: key("network", "red/db")})
    wider = replace(TOPOLOGY, networks={**TOPOLOGY.networks, wide.name: wide})
    out = only(replace(asks, topology=wider, network=wide))
    assert int.from_bytes(out.frame[40:42], "big") == 1450


@pytest.mark.parametrize(("owner", "address"), [("red/main", "203.0.113.10"), ("red/203.0.113.20", "203.0.113.20")])
def test_the_outside_is_told_what_fits_the_tunnels_and_of_the_packet_as_it_was(owner: str, address: str) -> None:
    values = {FROM: FROM_PHYSICAL, NETWORK: key("external", "public")}
    frame = packet(outer_mac(owner), source="8.8.8.8", target=address, size=1473)
    for large, is_told in ((frame, True), (packet(outer_mac(owner), source="8.8.8.8", target="203.0.113.10"), False)):
        asks = asked(Question.TOO_BIG, large, values, by=None, network=None)
        told = [out.frame for out in answer(asks)]
        assert bool(told) is is_told
        if told:
            assert (told[0][34:36], int.from_bytes(told[0][40:42], "big")) == (b"\x03\x04", 1450)
            assert told[0][42:62] == frame[14:34]


def at(place: str, target: str, frame_source: str = "10.0.1.11", by: Port | None = A) -> Asked:
    kind = "external" if place == "public" else "network"
    values = {NETWORK: key(kind, place), SPACE: key("space", "red/@main")}
    return asked(
        Question.NEIGHBOUR,
        packet(0, source=frame_source, target=target),
        values,
        by=by,
        network=A.network if by else None,
    )


@pytest.mark.parametrize(
    ("place", "target", "hop"),
    [
        ("red/db", "10.0.2.50", "10.0.2.50"),
        ("red/db", "192.0.2.8", "10.0.2.99"),
        ("public", "203.0.113.50", "203.0.113.50"),
        ("public", "198.51.7.7", "203.0.113.77"),
        ("public", "8.8.8.8", "203.0.113.1"),
    ],
)
def test_the_next_hop_follows_from_the_files(place: str, target: str, hop: str) -> None:
    assert next_hops(at(place, target)) == (place, (ip_address(hop),))
    assert next_hops(at("public", "8.8.8.8", by=None)) == ("public", (ip_address("203.0.113.1"),))


def test_where_the_files_have_no_way_there_is_no_next_hop() -> None:
    assert next_hops(at("red/db", "8.8.8.8")) is None
    assert next_hops(at("public", "2001:db8::1", "2001:db8::2")) is None
    assert next_hops(at("red/lone", "10.0.9.9")) is None


def test_a_port_is_told_that_nobody_has_answered() -> None:
    (out,) = nobody_there(at("red/db", "10.0.2.50"))
    said = read(out.frame)
    assert (said.get_protocol(icmp.icmp).type, said.get_protocol(icmp.icmp).code) == (3, 1)
    assert said.get_protocol(ethernet).dst == format_mac(A.mac)


def test_nobody_is_told_of_what_it_did_not_send_so() -> None:
    assert not list(nobody_there(at("public", "203.0.113.50", "203.0.113.10")))
    assert not list(nobody_there(at("red/db", "10.0.2.50", by=None)))


@pytest.mark.parametrize(("owner", "name"), [("red/main", "203.0.113.10"), ("red/203.0.113.20", "203.0.113.20")])
def test_who_bears_another_name_already_is_told_as_if_from_the_wire(owner: str, name: str) -> None:
    """The tracker knows whom the error is for; the sender may be on whatever host."""
    frame = packet(0, source=name, target="203.0.113.50", by=format_mac(outer_mac(owner)))
    values = {NETWORK: key("external", "public"), SPACE: key("space", "red/@main")}
    for by in (A, None):
        asks = asked(Question.NEIGHBOUR, frame, values, by=by, network=A.network if by else None)
        (out,) = nobody_there(asks)
        said = read(out.frame)
        assert (said.get_protocol(icmp.icmp).type, said.get_protocol(icmp.icmp).code) == (3, 1)
        assert (said.get_protocol(ipv4.ipv4).src, said.get_protocol(ipv4.ipv4).dst) == ("203.0.113.10", name)
        assert said.get_protocol(ethernet).dst == format_mac(outer_mac(owner))
        arriving = Resubmit(pipeline().tables["arriving"].number)
        assert out.actions == (NETWORK.load(key("external", "public")), FROM.load(FROM_PHYSICAL), arriving)


def test_one_of_our_addresses_that_speaks_to_another_is_told_on_this_host_as_well() -> None:
    values = {FROM: FROM_PHYSICAL, NETWORK: key("external", "public")}
    by = format_mac(outer_mac("red/203.0.113.20"))
    frame = packet(outer_mac("red/main"), source="203.0.113.20", target="203.0.113.10", by=by, size=1473)
    to_wire, to_host = answer(asked(Question.TOO_BIG, frame, values, by=None, network=None))
    assert to_wire.frame == to_host.frame
    assert to_wire.actions[-1] == Output(7)
    assert to_host.actions[-1] == Resubmit(pipeline().tables["arriving"].number)


@pytest.mark.parametrize(("question", "size"), [(Question.EXPIRED, 20), (Question.TOO_BIG, 1473)])
def test_who_bears_the_routers_address_is_told_by_the_floating_ip_that_it_speaks_to(
    question: Question, size: int
) -> None:
    """Nothing that comes from the router's address to the router's address would be taken for an error about the connection."""
    values = {FROM: FROM_PHYSICAL, NETWORK: key("external", "public")}
    by, to = format_mac(outer_mac("red/main")), outer_mac("red/203.0.113.20")
    frame = packet(to, source="203.0.113.10", target="203.0.113.20", by=by, size=size)
    to_wire, to_host = answer(asked(question, frame, values, by=None, network=None))
    said = read(to_host.frame)
    assert (said.get_protocol(ipv4.ipv4).src, said.get_protocol(ipv4.ipv4).dst) == ("203.0.113.20", "203.0.113.10")
    assert said.get_protocol(ethernet).dst == by
    assert to_wire.frame == to_host.frame


def test_a_frame_that_is_the_routers_own_already_has_no_sender_to_tell() -> None:
    values = {FROM: FROM_TUNNEL, NETWORK: key("network", "red/web")}
    assert not list(answer(asked(Question.NO_HOST, packet(0, by=format_mac(WEB)), values, by=None)))
