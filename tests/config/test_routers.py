"""What the files say of ways between networks and out of the fabric: defaults, who gets which address, and what stays."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from controller.config import Cache, load, outside
from controller.model.address import derived_mac, router_mac
from controller.model.entities import Ipv6Mode, Topology
from tests.config.folders import FABRIC, codes, loaded, write
from tests.config.test_incremental import check
from tests.config.test_topology import topology

WEB = "networks: {web: {cidr: [10.0.1.0/24, 'fd00:1::/64']}, db: {cidr: 10.0.2.0/24}}\nports: {a: {network: web}, b: {network: db}}\n"
MAIN = "routers: {main: {networks: [web, db], external: public}}\n"


def fabric(external: str) -> str:
    """Return a fabric whose external network `out` has these keys."""
    return f"""
fabric: f
hosts: {{hv1: {{tunnel_ip: 172.31.0.1, gateway: true}}}}
physical_networks: {{p: {{hosts: [hv1], vlans: 1-99}}}}
external_networks: {{out: {{physical_network: p, {external}}}}}
tenants: {{red: {{segments: 1-9}}, blue: {{segments: 10-19}}}}
"""


def pool(folder: Path, external: str) -> list[str]:
    network = topology(folder, fabric=fabric(external)).external_networks["out"]
    return [f"{first}-{last}" for first, last in network.pool]


def addresses(made: Topology) -> dict[str, list[str]]:
    """Return the routers' addresses outside."""
    return {name: list(map(str, router.addresses)) for name, router in made.routers.items()}


def test_a_pool_is_all_but_the_gateway(tmp_path: Path) -> None:
    assert pool(tmp_path, "cidr: 192.0.2.0/29, gateway: 192.0.2.1") == ["192.0.2.2-192.0.2.6"]
    assert pool(tmp_path, "cidr: 192.0.2.0/29, gateway: 192.0.2.4") == ["192.0.2.1-192.0.2.3", "192.0.2.5-192.0.2.6"]
    assert pool(tmp_path, "cidr: 192.0.2.0/29, gateway: 192.0.2.6") == ["192.0.2.1-192.0.2.5"]
    assert pool(tmp_path, "cidr: 192.0.2.8/30") == ["192.0.2.9-192.0.2.10"]
    assert pool(tmp_path, "cidr: [192.0.2.8/31, 'fd00::/126']") == ["192.0.2.8-192.0.2.9", "fd00::1-fd00::3"]


def test_a_prefix_without_a_range_of_its_own_is_used_whole(tmp_path: Path) -> None:
    keys = "cidr: [192.0.2.0/24, 'fd00::/126'], pool: [192.0.2.7, 192.0.2.20-192.0.2.29]"
    assert pool(tmp_path, keys) == ["192.0.2.7-192.0.2.7", "192.0.2.20-192.0.2.29", "fd00::1-fd00::3"]


def test_an_external_network_has_the_mtu_of_the_fabric_unless_it_says_so(tmp_path: Path) -> None:
    for more, mtu in (("", 1500), (", mtu: 9000", 9000)):
        made = topology(tmp_path, fabric=fabric(f"vlan: 100, cidr: 192.0.2.0/24{more}"))
        assert (made.external_networks["out"].mtu, made.external_networks["out"].vlan) == (mtu, 100)


def test_a_tenant_cannot_have_the_untagged_frames_of_an_external_network(tmp_path: Path) -> None:
    text = fabric("cidr: 192.0.2.0/24").replace("segments: 1-9", "vlans: {p: 1-9}")
    result = loaded(tmp_path, fabric=text, red="networks: {lan: {type: flat, physical_network: p}}\n")
    assert codes(result) == ["N034"]
    assert result.problems[0].hint == f"the other is at {tmp_path}/fabric.yaml:4:21"


def test_a_router_masks_what_leaves_where_it_leads_out(tmp_path: Path) -> None:
    red = (
        WEB
        + "routers: {main: {networks: [web], external: public}, inner: {networks: db}, open: {external: public, snat: false}}\n"
    )
    routers = topology(tmp_path, red=red).routers
    assert {name: router.snat for name, router in routers.items()} == {
        "red/main": True,
        "red/inner": False,
        "red/open": False,
    }
    assert (routers["red/main"].networks, routers["red/inner"].addresses) == (("red/web",), ())


@pytest.mark.parametrize(("count", "found"), [(200, []), (2_049, ["N013"])])
def test_a_router_joins_hundreds_of_networks(tmp_path: Path, count: int, found: list[str]) -> None:
    names = [f"n{number}" for number in range(count)]
    networks = ", ".join(
        f"{name}: {{cidr: 10.{number // 256}.{number % 256}.0/24, type: local}}" for number, name in enumerate(names)
    )
    red = f"networks: {{{networks}}}\nrouters: {{main: {{networks: [{', '.join(names)}]}}}}\n"
    assert codes(loaded(tmp_path, red=red)) == found


def test_routes_stand_in_the_files_order_with_their_places(tmp_path: Path) -> None:
    routes = "\n    - {to: 10.9.0.0/16, via: 10.0.1.9}\n    - {to: 0.0.0.0/0, via: 203.0.113.7}\n    - {to: 198.51.100.9, via: 10.0.2.9}\n"
    red = WEB + f"routers:\n  main:\n    networks: [web, db]\n    external: public\n    routes:{routes}"
    router = topology(tmp_path, red=red).routers["red/main"]
    assert [(str(each.to), str(each.via), each.place.line) for each in router.routes] == [
        ("10.9.0.0/16", "10.0.1.9", 8),
        ("0.0.0.0/0", "203.0.113.7", 9),
        ("198.51.100.9/32", "10.0.2.9", 10),
    ]


def test_a_router_gets_an_address_of_each_prefix_and_keeps_it(tmp_path: Path) -> None:
    before = topology(tmp_path, red=WEB + MAIN)
    (four, six) = before.routers["red/main"].addresses
    assert (four.version, six.version) == (4, 6)
    others = "".join(f"  r{number}: {{external: public}}\n" for number in range(9))
    after = topology(tmp_path, before, red=WEB + MAIN, blue=f"routers:\n{others}")
    assert after.routers["red/main"].addresses == (four, six)
    every = [address for router in after.routers.values() for address in router.addresses]
    assert len(set(every)) == len(every) == 20


def test_an_address_in_a_file_is_the_routers(tmp_path: Path) -> None:
    made = topology(tmp_path, red=WEB + MAIN.replace("external: public", "external: public, address: '2001:db8::1f'"))
    (four, six) = made.routers["red/main"].addresses
    assert six == ip_address("2001:db8::1f")
    assert four in ip_network("203.0.113.0/24")


def test_a_floating_ip_takes_an_address_that_was_given_out(tmp_path: Path) -> None:
    before = topology(tmp_path, red=WEB + MAIN)
    (four, six) = before.routers["red/main"].addresses
    blue = WEB + f"routers: {{main: {{networks: web, external: public}}}}\nfloating_ips: {{{four}: a}}\n"
    after = topology(tmp_path, before, red=WEB + MAIN, blue=blue)
    assert after.floating_ips[f"blue/{four}"].address == four
    assert after.routers["red/main"].addresses[0] != four
    assert after.routers["red/main"].addresses[1] == six


@pytest.mark.parametrize(
    ("red", "blue"),
    [
        ("floating_ips: {203.0.113.12: a}", "floating_ips: {203.0.113.12: a}"),
        ("floating_ips: {203.0.113.12: a}", "routers: {more: {external: public, address: 203.0.113.12}}"),
        ("routers: {more: {external: public, address: 203.0.113.12}}", "floating_ips: {203.0.113.12: a}"),
    ],
)
def test_two_tenants_cannot_have_one_address(tmp_path: Path, red: str, blue: str) -> None:
    def file(text: str) -> str:
        main = "main: {networks: web, external: public}"
        return WEB + (text.replace("more: ", f"{main}, more: ") if "more" in text else f"routers: {{{main}}}\n{text}\n")

    result = loaded(tmp_path, red=file(red), blue=file(blue))
    assert codes(result) == ["N030"]
    (problem,) = result.problems
    assert problem.message == "203.0.113.12 of public is given already"
    assert problem.place.file.endswith("blue.yaml")
    assert problem.hint is not None
    assert "red.yaml" in problem.hint


def test_one_address_on_two_external_networks_is_two(tmp_path: Path) -> None:
    text = fabric("vlan: 5, cidr: 192.0.2.0/30").replace(
        "}}\ntenants", "}, up: {physical_network: p, vlan: 6, cidr: 192.0.2.0/30}}\ntenants"
    )
    red = "routers: {a: {external: out, address: 192.0.2.1}, b: {external: up, address: 192.0.2.1}}\n"
    assert len(topology(tmp_path, fabric=text, red=red).routers) == 2


def test_a_pool_that_is_used_up(tmp_path: Path) -> None:
    text = fabric("cidr: 192.0.2.0/30")
    red = "routers: {a: {external: out}, b: {external: out}}\n"
    before = topology(tmp_path, fabric=text, red=red)
    assert sorted(each for one in addresses(before).values() for each in one) == ["192.0.2.1", "192.0.2.2"]
    write(tmp_path, fabric=text, red=red, blue="routers:\n  c:\n    external: out\n")
    result = load(tmp_path, before)
    assert [(each.code, each.place.line) for each in result.errors] == [("N043", 3)]
    assert result.problems[0].message == "the pool of out has no free address of 192.0.2.0/30 for all of the 3 routers"


def test_a_floating_ip_stands_for_the_address_of_its_version(tmp_path: Path) -> None:
    red = WEB + MAIN + "floating_ips: {203.0.113.12: a, '2001:DB8::012': {port: a}}\n"
    made = topology(tmp_path, red=red)
    four, six = made.ports["red/a"].ips
    assert {name: (each.router, each.fixed) for name, each in made.floating_ips.items()} == {
        "red/203.0.113.12": ("red/main", four),
        "red/2001:db8::12": ("red/main", six),
    }


def test_a_floating_ip_of_a_subport(tmp_path: Path) -> None:
    red = (
        WEB.replace("a: {network: web}", "a: {network: web, trunk: {5: db}}")
        + MAIN
        + "floating_ips: {203.0.113.12: 'a:5'}\n"
    )
    made = topology(tmp_path, red=red)
    assert made.floating_ips["red/203.0.113.12"].fixed == made.ports["red/a:5"].ips[0]


def test_a_port_in_a_shared_network_has_the_router_of_that_network(tmp_path: Path) -> None:
    red = "networks: {web: {cidr: 10.0.1.0/24, share: blue}}\nrouters: {main: {networks: web, external: public}}\n"
    blue = "ports: {a: {network: red/web}}\nfloating_ips: {203.0.113.12: a}\n"
    floating = topology(tmp_path, red=red, blue=blue).floating_ips["blue/203.0.113.12"]
    assert (floating.tenant, floating.router, floating.port) == ("blue", "red/main", "blue/a")


def test_what_refers_to_something_refused_is_not_blamed(tmp_path: Path) -> None:
    red = """
    networks: {web: {cidr: 10.0.1.0/24}, db: {cidr: x}}
    ports: {a: {network: web}, b: {network: db}, c: {network: web, mac: x}}
    routers: {main: {networks: [web, db], externl: public}, up: {networks: db, routes: {to: 10.9.0.0/16, via: 10.0.7.7}}}
    floating_ips: {203.0.113.12: a, 203.0.113.13: b}
    """
    assert codes(loaded(tmp_path, red=red)) == ["N023", "N025", "N015"]
    assert codes(loaded(tmp_path, fabric=FABRIC.replace("vlan: 190", "vlan: x"), red=WEB + MAIN)) == ["N022"]


def test_networks_tell_by_default_where_there_are_addresses(tmp_path: Path) -> None:
    networks = topology(
        tmp_path, red="networks: {a: {cidr: 10.0.1.0/24}, b: {}, c: {cidr: 10.0.1.0/24, dhcp: false}}\n"
    ).networks
    assert {name: network.dhcp for name, network in networks.items()} == {
        "red/a": True,
        "red/b": False,
        "red/c": False,
    }
    told = networks["red/a"]
    assert (told.dns, told.domain, told.lease, told.ipv6) == ((), None, 86400, Ipv6Mode.DHCP)


def test_what_networks_tell(tmp_path: Path) -> None:
    keys = "cidr: ['fd00::/64'], dns: [10.0.0.53, 'fd00::53'], domain: Lab.Example.ORG, lease: 12h, ipv6: stateless"
    told = topology(tmp_path, red=f"networks: {{a: {{{keys}}}}}\n").networks["red/a"]
    assert told.dns == (ip_address("10.0.0.53"), ip_address("fd00::53"))
    assert (told.domain, told.lease, told.ipv6) == ("lab.example.org", 43200, Ipv6Mode.STATELESS)


def test_a_port_makes_its_address_of_its_mac_where_the_network_says_so(tmp_path: Path) -> None:
    red = """
    networks: {net: {cidr: [10.0.1.0/24, 'fd00::/64'], ipv6: slaac}}
    ports: {a: {network: net, mac: '02:00:00:00:00:01'}, b: {network: net, ip: 'fd00::b'}, c: {network: net}}
    """
    ports = topology(tmp_path, red=red).ports
    assert ports["red/a"].ips[1] == ip_address("fd00::ff:fe00:1")
    assert ports["red/b"].ips == (ip_address("fd00::b"),)
    assert int(ports["red/c"].ips[1]) & 0xFFFFFF == derived_mac("red/c") & 0xFFFFFF


def test_no_port_has_the_mac_of_its_gateway(tmp_path: Path) -> None:
    mac = ":".join(f"{router_mac('red/net'):012x}"[at : at + 2] for at in range(0, 12, 2))
    result = loaded(
        tmp_path, red=f"networks: {{net: {{cidr: 10.0.1.0/24}}}}\nports: {{a: {{network: net, mac: '{mac}'}}}}\n"
    )
    assert codes(result) == ["N031"]


def test_an_edit_of_one_tenant_looks_at_nobody_elses_routers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, red=WEB + MAIN, blue=WEB + MAIN)
    cache = Cache()
    first = load(tmp_path, None, cache).topology
    assert first is not None
    looked: list[str] = []

    monkeypatch.setattr(outside.Outside, "start", lambda *_: looked.append("all"))
    write(tmp_path, red=WEB + MAIN, blue=WEB + MAIN.replace("main: ", "more: {external: public}, main: "))
    now = load(tmp_path, first, cache, {tmp_path / "tenants" / "blue.yaml"})
    assert now.topology is not None
    assert not looked
    monkeypatch.undo()
    check(now, load(tmp_path, first), first)
    assert now.topology.routers["red/main"] is first.routers["red/main"]
    assert now.tenants == frozenset({"blue"})


def test_who_loses_an_address_is_touched(tmp_path: Path) -> None:
    write(tmp_path, red=WEB + MAIN, blue=WEB + MAIN)
    cache = Cache()
    first = load(tmp_path, None, cache).topology
    assert first is not None
    (four, _) = first.routers["red/main"].addresses
    write(tmp_path, red=WEB + MAIN, blue=WEB + MAIN + f"floating_ips: {{{four}: a}}\n")
    now = load(tmp_path, first, cache, {tmp_path / "tenants" / "blue.yaml"})
    check(now, load(tmp_path, first), first)
    assert now.tenants == frozenset({"red", "blue"})
