"""What DHCPv6 tells a port: all of its addresses, for as long as the network says, and what else there is to know."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.answers import dhcp6
from controller.model.address import link_local, router_mac
from controller.model.entities import Topology
from tests.answers.clients import ID, Client, Heard6, addresses, join
from tests.answers.packets import tcpdump
from tests.builders import fabric, host, network, port

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE, _, INFORMATION = range(1, 12)
ME = (1, ID)
SERVER = (2, b"\0\x03\0\x01" + router_mac("red/web").to_bytes(6, "big"))
MINE = {"fd00::11": 1000, "fd00::12": 1000}
SUCCESS, NO_ADDRESS, NOT_ON_LINK, NO_PREFIX = 0, 2, 4, 6


def town(*ips: str) -> Topology:
    telling = replace(
        network("red/web", "10.0.1.0/24", "fd00::/64"),
        dhcp=True,
        dns=(ip_address("10.0.9.53"), ip_address("fd00::53")),
        domain="red.example.org",
        lease=1000,
    )
    return fabric(host("hv1"), telling, port("red/web1", "red/web", *(ips or ("10.0.1.11", *MINE)), host="hv1"))


@pytest.fixture
def web1() -> Client:
    return Client("red/web1", town())


def heard(answer: Heard6 | None) -> Heard6:
    assert answer is not None
    return answer


def test_a_client_is_advertised_the_ports_addresses_and_gets_them(web1: Client) -> None:
    offer = heard(web1.asks_6(SOLICIT, ME, addresses(9)))
    assert (offer.kind, offer.given(), offer.first(7), offer.first(1)) == (ADVERTISE, MINE, b"\xff", ID)
    assert (offer.target, offer.mac) == (str(link_local(web1.mac)), web1.mac)
    reply = heard(web1.asks_6(REQUEST, ME, (2, offer.first(2)), addresses(9, *MINE)))
    assert (reply.kind, reply.given(), reply.first(3)[:12]) == (REPLY, MINE, struct.pack(">III", 9, 500, 800))


def test_a_reply_tells_name_servers_domain_and_the_ports_name(web1: Client) -> None:
    reply = heard(web1.asks_6(REQUEST, ME, SERVER, addresses(9), (39, b"\x01\x04vmxy")))
    assert reply.first(23) == ip_address("fd00::53").packed
    assert reply.first(24) == b"\x03red\x07example\x03org\0"
    assert reply.first(39) == b"\x06\x04web1\x03red\x07example\x03org\0"


def test_a_client_in_a_hurry_is_given_them_at_once(web1: Client) -> None:
    reply = heard(web1.asks_6(SOLICIT, ME, addresses(9), (14, b"")))
    assert (reply.kind, reply.given(), reply.has(14)) == (REPLY, MINE, True)


@pytest.mark.parametrize("kind", [RENEW, REBIND])
def test_an_address_that_the_port_has_no_more_ends(web1: Client, kind: int) -> None:
    server = [SERVER] if kind == RENEW else []
    reply = heard(web1.asks_6(kind, ME, *server, addresses(9, "fd00::11", "fd00::99")))
    assert (reply.kind, reply.given()) == (REPLY, {**MINE, "fd00::99": 0})


def test_who_was_away_is_told_whether_its_addresses_are_good_still(web1: Client) -> None:
    assert heard(web1.asks_6(CONFIRM, ME, addresses(9, "fd00::11"))).statuses() == [SUCCESS]
    assert heard(web1.asks_6(CONFIRM, ME, addresses(9, "fd00::99"))).statuses() == [NOT_ON_LINK]
    assert web1.asks_6(CONFIRM, ME, addresses(9)) is None


@pytest.mark.parametrize("kind", [RELEASE, DECLINE])
def test_who_gives_an_address_back_is_thanked_and_gets_it_again(web1: Client, kind: int) -> None:
    assert heard(web1.asks_6(kind, ME, SERVER, addresses(9, *MINE))).statuses() == [SUCCESS]
    assert heard(web1.asks_6(SOLICIT, ME, addresses(9))).given() == MINE


def test_who_has_an_address_is_told_the_rest(web1: Client) -> None:
    reply = heard(web1.asks_6(INFORMATION, (6, b"\0\x17\0\x18")))
    assert (reply.kind, reply.first(23), reply.first(32)) == (REPLY, ip_address("fd00::53").packed, (1000).to_bytes(4))
    assert not reply.has(3)


def test_all_addresses_are_in_the_first_association_and_prefixes_are_nobodys(web1: Client) -> None:
    more = (addresses(9), addresses(10), (4, bytes(4)), (25, bytes(12)))
    reply = heard(web1.asks_6(SOLICIT, ME, *more))
    assert (reply.given(), reply.statuses()) == (MINE, [NO_ADDRESS, NO_PREFIX, NO_ADDRESS])


def test_a_port_without_an_ipv6_address_is_told_so() -> None:
    reply = heard(Client("red/web1", town("10.0.1.11")).asks_6(SOLICIT, ME, addresses(9)))
    assert (reply.kind, reply.given(), reply.statuses()) == (ADVERTISE, {}, [NO_ADDRESS])


def test_messages_for_another_server_or_without_a_client_are_left_alone(web1: Client) -> None:
    other = (2, b"another")
    for kind in (REQUEST, RENEW, RELEASE, DECLINE):
        assert web1.asks_6(kind, ME, other, addresses(9)) is None
        assert web1.asks_6(kind, ME, addresses(9)) is None
    assert web1.asks_6(SOLICIT, addresses(9)) is None
    assert web1.asks_6(SOLICIT, ME, SERVER, addresses(9)) is None
    assert web1.asks_6(REPLY, ME, SERVER) is None
    assert web1.asks_6(INFORMATION, other) is None


def test_a_server_is_known_by_the_same_name_for_ever(web1: Client) -> None:
    assert (2, heard(web1.asks_6(SOLICIT, ME)).first(2)) == SERVER


def test_tcpdump_reads_the_answer_and_finds_its_checksums_right(web1: Client, tmp_path: Path) -> None:
    assert web1.asks_6(SOLICIT, ME, addresses(9))
    (line,) = tcpdump(web1.frames, tmp_path)
    assert "udp sum ok" in line
    assert "dhcp6 advertise" in line
    assert "fd00::12 pltime:1000 vltime:1000" in line


@given(st.binary(max_size=200), st.sampled_from(range(14)))
def test_no_bytes_make_it_fail(noise: bytes, kind: int) -> None:
    dhcp6.read(noise)
    web1 = Client("red/web1", town())
    web1.asks_6(kind, ME, (3, noise))
    web1.asks_6(kind, ME, SERVER, (3, noise[:12] + join((5, noise))), (39, noise))
