"""What router advertisements say in each way that a network may tell its addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from os_ken.lib.packet import ipv6

from controller.answers.advertisement import LIFETIME_S, frame, is_due
from controller.model.address import format_mac, link_local, router_mac
from controller.model.entities import Ipv6Mode, Topology
from tests.answers.clients import Client
from tests.answers.packets import read, tcpdump
from tests.builders import fabric, host, network, port, router

OWN = router_mac("red/web")
EVERYBODY = "33:33:00:00:00:01"


def town(
    mode: Ipv6Mode = Ipv6Mode.DHCP, *, dhcp: bool = True, routed: bool = True, cidrs: Sequence[str] = ("fd00::/64",)
) -> Topology:
    telling = replace(
        network("red/web", *cidrs), dhcp=dhcp, ipv6=mode, dns=(ip_address("fd00::53"),), domain="example.org"
    )
    main = router("red/main", "red/web")
    topology = fabric(host("hv1"), telling, port("red/web1", "red/web", "fd00::11", host="hv1"))
    return replace(topology, routers={main.name: main} if routed else {})


@pytest.mark.parametrize(
    ("mode", "dhcp", "flags", "prefix_flags"),
    [
        (Ipv6Mode.DHCP, True, "managed, other stateful", "onlink"),
        (Ipv6Mode.STATELESS, True, "other stateful", "onlink, auto"),
        (Ipv6Mode.SLAAC, True, "none", "onlink, auto"),
        (Ipv6Mode.SLAAC, False, "none", "onlink"),
    ],
)
def test_it_says_how_addresses_are_come_by(
    mode: Ipv6Mode, dhcp: bool, flags: str, prefix_flags: str, tmp_path: Path
) -> None:
    web1 = Client("red/web1", town(mode, dhcp=dhcp))
    assert web1.solicits()
    (line,) = tcpdump(web1.frames, tmp_path)
    assert f"Flags [{flags}], pref medium, router lifetime" in line
    assert f"fd00::/64, Flags [{prefix_flags}], valid time 2592000s, pref. time 604800s" in line


def test_it_tells_the_router_the_mtu_name_servers_and_domain(tmp_path: Path) -> None:
    web1 = Client("red/web1", town())
    assert web1.solicits()
    (line,) = tcpdump(web1.frames, tmp_path)
    for words in (
        *("hlim 255", "icmp6 sum ok", "hop limit 64, Flags [managed, other stateful]"),
        *(f"router lifetime {LIFETIME_S}s", f"source link-address option (1), length 8 (1): {format_mac(OWN)}"),
        *("mtu option (5), length 8 (1):  1450", "rdnss option (25), length 24 (3):  lifetime 65535s, addr: fd00::53"),
        *("dnssl option (31), length 24 (3):  lifetime 65535s, domain(s): example.org.",),
    ):
        assert words in line


def test_without_a_router_it_leads_nowhere(tmp_path: Path) -> None:
    web1 = Client("red/web1", town(routed=False))
    assert web1.solicits()
    assert "router lifetime 0s" in tcpdump(web1.frames, tmp_path)[0]


def test_it_goes_to_who_asks_or_to_all_if_it_has_no_address_yet() -> None:
    web1 = Client("red/web1", town())
    for source, mac, target in (
        (None, EVERYBODY, "ff02::1"),
        (link_local(web1.mac), format_mac(web1.mac), str(link_local(web1.mac))),
    ):
        told = web1.solicits(source)
        assert told is not None
        packet = read(told)
        assert (packet.protocols[0].dst, packet.get_protocol(ipv6.ipv6).dst) == (mac, target)
        assert (packet.protocols[0].src, packet.get_protocol(ipv6.ipv6).src) == (format_mac(OWN), str(link_local(OWN)))


def test_what_it_tells_no_more_is_taken_back(tmp_path: Path) -> None:
    """Hosts would keep name servers for 18 hours and addresses for a month."""
    was = town(Ipv6Mode.SLAAC, cidrs=("fd00::/64", "fd01::/64")).networks["red/web"]
    server = ip_address("fd00::54")
    now = replace(
        was, cidrs=(ip_network("fd01::/64"), ip_network("fd02::/64")), dns=(server,), domain="", ipv6=Ipv6Mode.DHCP
    )
    (line,) = tcpdump([frame(now, router("red/main", "red/web"), former=[was])], tmp_path)
    for words in (
        "fd01::/64, Flags [onlink], valid time 2592000s",
        "fd02::/64, Flags [onlink], valid time 2592000s",
        "fd00::/64, Flags [onlink, auto], valid time 0s, pref. time 0s",
        "fd01::/64, Flags [auto], valid time 0s, pref. time 0s",
        "lifetime 65535s, addr: fd00::54",
        "lifetime 0s, addr: fd00::53",
        "lifetime 0s, domain(s): example.org.",
    ):
        assert words in line
    assert frame(was, None, former=[was]) == frame(was, None)


def test_who_is_not_on_the_link_is_not_answered() -> None:
    assert Client("red/web1", town()).solicits(hops=64) is None


@pytest.mark.parametrize(
    ("dhcp", "routed", "cidrs", "due"),
    [
        (True, False, ("fd00::/64",), True),
        (False, True, ("10.0.0.0/24", "fd00::/64"), True),
        (False, False, ("fd00::/64",), False),
        (True, True, ("10.0.0.0/24",), False),
    ],
)
def test_networks_with_ipv6_and_a_router_or_dhcp_are_advertised(
    dhcp: bool, routed: bool, cidrs: Sequence[str], due: bool
) -> None:
    topology = town(dhcp=dhcp, routed=routed, cidrs=cidrs)
    main = next(iter(topology.routers.values()), None)
    assert is_due(topology.networks["red/web"], main) is due
    assert bool(Client("red/web1", topology).solicits()) is due
