"""What DHCP tells a port: its own address and nobody else's, as the files have them now."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.answers import datagram, dhcp4
from controller.model.address import BROADCAST_MAC, router_mac
from controller.model.entities import Network, Topology
from controller.pipeline.questions import Question
from tests.answers.clients import Client
from tests.answers.packets import tcpdump
from tests.builders import fabric, host, network, port, router

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
GATEWAY = "10.0.1.1"
NOWHERE = "0.0.0.0"  # noqa: S104 - an address in a packet, nobody listens.


def told(*cidrs: str) -> Network:
    """A network that tells all there is."""
    return replace(
        network("red/web", *(cidrs or ("10.0.1.0/24",))),
        dhcp=True,
        dns=tuple(map(ip_address, ("10.0.9.53", "fd00::53", "10.0.8.53"))),
        domain="red.example.org",
        lease=1000,
    )


def town(*cidrs: str, routed: bool = True, routes: tuple[tuple[str, str], ...] = (), ip: str = "10.0.1.11") -> Topology:
    main = router("red/main", "red/web", routes=routes)
    topology = fabric(host("hv1"), told(*cidrs), port("red/web1", "red/web", ip, "10.0.1.77", host="hv1"))
    return replace(topology, routers={main.name: main} if routed else {})


def test_a_client_is_offered_the_address_that_the_files_give_it_and_gets_it() -> None:
    web1 = Client("red/web1", town())
    offer = web1.asks(DISCOVER)
    assert offer is not None
    assert (offer.kind, offer.yours, offer.source) == (OFFER, "10.0.1.11", GATEWAY)
    ack = web1.asks(REQUEST, wanted=offer.yours, server=offer.addresses(54)[0])
    assert ack is not None
    assert (ack.kind, ack.yours, ack.options) == (ACK, "10.0.1.11", {**offer.options, 53: bytes([ACK])})


def test_an_offer_tells_all_that_the_network_says() -> None:
    offer = Client("red/web1", town(routes=(("10.9.0.0/16", "10.0.1.7"),))).asks(DISCOVER)
    assert offer is not None
    assert (offer.addresses(1), offer.addresses(3), offer.addresses(28)) == (
        ["255.255.255.0"],
        [GATEWAY],
        ["10.0.1.255"],
    )
    assert (offer.addresses(6), offer.options[12], offer.options[15]) == (
        ["10.0.9.53", "10.0.8.53"],
        b"web1",
        b"red.example.org",
    )
    assert (offer.number(26), offer.number(51), offer.number(58), offer.number(59)) == (1450, 1000, 500, 875)
    assert offer.routes == [("10.9.0.0/16", "10.0.1.7"), ("0.0.0.0/0", GATEWAY)]


def test_without_a_router_there_is_no_default_route() -> None:
    offer = Client("red/web1", town(routed=False)).asks(DISCOVER)
    assert offer is not None
    assert (offer.addresses(3), offer.routes) == ([], [])


def test_a_second_subnet_of_the_network_is_on_the_link() -> None:
    offer = Client("red/web1", town("10.0.1.0/24", "10.0.2.0/24")).asks(DISCOVER)
    assert offer is not None
    assert offer.routes == [("10.0.2.0/24", NOWHERE), ("0.0.0.0/0", GATEWAY)]


def test_routes_that_only_the_router_can_choose_between_are_left_to_it() -> None:
    """Two that share a prefix, one whose next hop is elsewhere, one by the port itself, and a default route."""
    routes = (("10.8.0.0/16", "10.0.1.7"), ("10.8.0.0/16", "10.0.1.8"), ("10.7.0.0/16", "10.0.5.1"))
    own = (("10.6.0.0/16", "10.0.1.11"), ("0.0.0.0/0", "10.0.1.9"), ("fd00:9::/64", "fd00::1"))
    offer = Client("red/web1", town(routes=(*routes, *own))).asks(DISCOVER)
    assert offer is not None
    assert offer.routes == [("0.0.0.0/0", GATEWAY)]


@pytest.mark.parametrize(
    ("current", "wanted"),
    [(NOWHERE, "10.0.1.12"), ("10.0.1.12", None), (NOWHERE, "192.168.0.4"), (NOWHERE, "10.0.1.77")],
)
def test_a_client_that_thinks_it_has_another_address_is_told_no_at_once(current: str, wanted: str | None) -> None:
    """Whether it comes from another network or was renumbered; its further addresses are not what DHCP is for."""
    nak = Client("red/web1", town()).asks(REQUEST, current=current, wanted=wanted)
    assert nak is not None
    assert (nak.kind, nak.yours, nak.target, nak.mac) == (NAK, NOWHERE, "255.255.255.255", BROADCAST_MAC)
    assert set(nak.options) == {53, 54}


def test_a_client_that_comes_back_and_one_that_renews_keep_their_address() -> None:
    web1 = Client("red/web1", town())
    back, renewed = web1.asks(REQUEST, wanted="10.0.1.11"), web1.asks(REQUEST, current="10.0.1.11")
    assert back is not None
    assert renewed is not None
    assert (back.kind, renewed.kind) == (ACK, ACK)
    assert (renewed.target, renewed.mac) == ("10.0.1.11", web1.mac)


def test_who_took_another_servers_offer_is_not_answered() -> None:
    assert Client("red/web1", town()).asks(REQUEST, wanted="10.0.1.11", server="10.0.1.99") is None


def test_answers_are_broadcast_for_those_that_ask_for_it() -> None:
    """A client without an address may be unable to take a datagram for the address that it does not have yet."""
    web1 = Client("red/web1", town())
    plain, loud = web1.asks(DISCOVER), web1.asks(DISCOVER, broadcast=True)
    assert plain is not None
    assert loud is not None
    assert (plain.target, plain.mac) == ("10.0.1.11", web1.mac)
    assert (loud.target, loud.mac) == ("255.255.255.255", BROADCAST_MAC)


def test_who_only_wants_to_know_gets_no_lease() -> None:
    ack = Client("red/web1", town()).asks(INFORM, current="10.0.1.11")
    assert ack is not None
    assert (ack.kind, ack.yours, ack.target) == (ACK, NOWHERE, "10.0.1.11")
    assert ack.addresses(3) == [GATEWAY]
    assert not {51, 58, 59} & set(ack.options)


@pytest.mark.parametrize("kind", [RELEASE, DECLINE, OFFER, ACK])
def test_what_asks_nothing_is_not_answered(kind: int) -> None:
    assert Client("red/web1", town()).asks(kind, current="10.0.1.11") is None


def test_somebody_behind_a_port_is_not_given_its_address() -> None:
    assert Client("red/web1", town()).asks(DISCOVER, mac=0x020000000099) is None


def test_a_network_without_dhcp_is_silent() -> None:
    topology = town()
    silent = replace(topology, networks={"red/web": replace(told(), dhcp=False)})
    assert Client("red/web1", silent).asks(DISCOVER) is None


def test_a_port_that_is_the_gateway_itself_has_a_server_on_the_link() -> None:
    offer = Client("red/web1", town(routed=False, ip=GATEWAY)).asks(DISCOVER)
    again = Client("red/web1", town(routed=False, ip=GATEWAY)).asks(DISCOVER)
    assert offer is not None
    assert again is not None
    assert offer.yours == GATEWAY
    assert ip_address(offer.addresses(54)[0]).is_link_local
    assert offer.addresses(54) == again.addresses(54)


def test_a_client_with_little_room_hears_what_matters_most() -> None:
    """576 bytes are what every client takes; who takes more says so."""
    routes = tuple((f"10.{number}.0.0/16", "10.0.1.7") for number in range(100, 160))
    web1 = Client("red/web1", town(routes=routes))
    small, large = web1.asks(DISCOVER), web1.asks(DISCOVER, more={57: (1500).to_bytes(2, "big")})
    assert small is not None
    assert large is not None
    assert small.length <= 576 - 28
    assert {1, 3, 6, 26, 51, 54} <= set(small.options)
    assert 121 not in small.options
    assert len(large.routes) == 61


def test_tcpdump_reads_the_answer_and_finds_its_checksums_right(tmp_path: Path) -> None:
    web1 = Client("red/web1", town())
    assert web1.asks(DISCOVER)
    (line,) = tcpdump(web1.frames, tmp_path)
    assert "DHCP-Message (53), length 1: Offer" in line
    assert "udp sum ok" in line
    assert f"{router_mac('red/web'):012x}" in line.partition(" > ")[0].replace(":", "")


@given(st.binary(max_size=400), st.integers(0, 300))
def test_no_bytes_make_it_fail(noise: bytes, at: int) -> None:
    """Of a message that is right up to some byte, too."""
    assert dhcp4.read(noise) is None
    web1 = Client("red/web1", town())
    web1.asks(DISCOVER, more={200: noise[:255]})
    web1.ask(Question.DHCP, noise)
    web1.ask(Question.DHCP, datagram.ethernet(BROADCAST_MAC, web1.mac, 0x0800, noise)[: 14 + at])
