"""What the files mean: defaults, allocation and what stays, sharing, names that clash."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

from controller.config import load
from controller.model.address import derived_mac
from controller.model.entities import Direction, NetworkType, PolicyTest, Range, Topology, Verdict
from controller.model.ids import host_id
from tests.config.folders import codes, loaded, write


def topology(folder: Path, previous: Topology | None = None, **files: str) -> Topology:
    write(folder, **files)
    result = load(folder, previous)
    assert result.topology is not None, result.problems
    return result.topology


def test_a_host_has_defaults_that_follow_from_its_name(tmp_path: Path) -> None:
    host = topology(tmp_path).hosts["hv1"]
    assert host.id == host_id("hv1")
    assert (host.datapath, host.integration_bridge, host.tunnel_bridge) == ("system", "br-int", "br-tun")
    assert host.local_vlans == Range(1, 4094)
    assert str(host.place) == f"{tmp_path}/fabric.yaml:3:3"


def test_a_tenant_without_a_file_has_its_default_group(tmp_path: Path) -> None:
    made = topology(tmp_path)
    group = made.groups["red/default"]
    assert [rule.groups for rule in group.ingress] == [("red/default",)]
    assert [rule.is_from_anyone for rule in group.egress] == [True]
    assert group.place == made.tenants["red"].place


def test_a_default_group_of_its_own_replaces_it(tmp_path: Path) -> None:
    group = topology(tmp_path, red="security_groups:\n  default: {egress: []}\n").groups["red/default"]
    assert (group.ingress, group.egress) == ((), ())


def test_a_group_lets_nothing_in_and_everything_out_by_default(tmp_path: Path) -> None:
    made = topology(tmp_path, red="security_groups: {ops: , all: {ingress: any}}\n")
    assert made.groups["red/ops"].ingress == ()
    for direction, rules in (
        (Direction.EGRESS, made.groups["red/ops"].egress),
        (Direction.INGRESS, made.groups["red/all"].ingress),
    ):
        (rule,) = rules
        assert (rule.direction, rule.protocol, rule.ethertype, rule.is_from_anyone) == (direction, None, None, True)


def test_rules_have_numbers_for_words(tmp_path: Path) -> None:
    made = topology(
        tmp_path,
        red="""
        security_groups:
          web:
            ingress:
              - {protocol: tcp, ports: [80, 8000-8999, 022], from: [{cidr: 10.0.0.0/8}, {cidr: 'fd00::1'}, {group: web}]}
              - {protocol: icmp, type: 8, code: 0}
              - {protocol: icmpv6}
              - {protocol: 47, from: {cidr: 'fd00::/8'}}
              - {ethertype: ipv6}
        """,
    )
    tcp, icmp, icmpv6, gre, ipv6 = made.groups["red/web"].ingress
    assert tcp.ports == (Range(80, 80), Range(8000, 8999), Range(22, 22))
    assert (tcp.protocol, tcp.ethertype) == (6, None)
    assert tcp.cidrs == (ip_network("10.0.0.0/8"), ip_network("fd00::1/128"))
    assert tcp.groups == ("red/web",)
    assert (icmp.protocol, icmp.ethertype, icmp.icmp_type, icmp.icmp_code) == (1, 4, 8, 0)
    assert (icmpv6.protocol, icmpv6.ethertype) == (58, 6)
    assert (gre.protocol, gre.ethertype) == (47, 6)
    assert (ipv6.protocol, ipv6.ethertype) == (None, 6)
    assert icmp.place.line == 5


def test_words_mean_what_they_look_like(tmp_path: Path) -> None:
    made = topology(
        tmp_path, red="networks: {no: {}}\nports: {on: {network: no, mac: 10:20:30:40:50:10}}\nsecurity_groups: {}\n"
    )
    assert made.ports["red/on"].mac == 0x102030405010


def test_the_mtu_follows_from_the_type(tmp_path: Path) -> None:
    made = topology(
        tmp_path,
        red="""
        networks:
          a: {}
          b: {type: gre}
          c: {type: geneve}
          d: {type: flat, physical_network: physnet1}
          e: {type: local}
        """,
    )
    assert [network.mtu for network in made.networks.values()] == [1450, 1458, 1450, 1500, 1500]


def test_an_ipv6_underlay_costs_twenty_bytes_more(tmp_path: Path) -> None:
    fabric = "fabric: six\nhosts: {hv1: {tunnel_ip: 'fd00::1'}}\ntenants: {red: {segments: 5}}\n"
    assert topology(tmp_path, fabric=fabric, red="networks: {net: {}}\n").networks["red/net"].mtu == 1430


def test_the_overlay_is_the_type_of_networks_that_name_none(tmp_path: Path) -> None:
    fabric = (
        "fabric: vlans\noverlay: vlan\nhosts: {hv1: {tunnel_ip: 10.0.0.1}}\n"
        "physical_networks: {p: {hosts: hv1, vlans: 1-9}}\ntenants: {red: {vlans: {p: 7}}}\n"
    )
    network = topology(tmp_path, fabric=fabric, red="networks: {net: {physical_network: p}}\n").networks["red/net"]
    assert (network.type, network.segment) == (NetworkType.VLAN, 7)


def test_gateways_are_the_first_addresses_unless_given(tmp_path: Path) -> None:
    made = topology(
        tmp_path, red="networks: {net: {cidr: ['10.0.1.0/24', 'fd00::/64', 10.0.2.0/31], gateway: 'fd00::fe'}}\n"
    )
    assert made.networks["red/net"].gateways == tuple(map(ip_address, ("10.0.1.1", "fd00::fe", "10.0.2.0")))


def test_segments_come_from_the_grant_and_stay(tmp_path: Path) -> None:
    fabric = "fabric: f\nhosts: {hv1: {tunnel_ip: 10.0.0.1}}\ntenants: {red: {segments: [7, 20-21]}}\n"
    first = topology(tmp_path, fabric=fabric, red="networks: {b: {}, c: {}}\n")
    kept = {name: network.segment for name, network in first.networks.items()}
    assert len(set(kept.values()) & {7, 20, 21}) == 2
    second = topology(tmp_path, first, fabric=fabric, red="networks: {a: {}, b: {}, c: {}}\n")
    assert {name: second.networks[name].segment for name in kept} == kept
    assert {network.segment for network in second.networks.values()} == {7, 20, 21}


def test_a_given_segment_moves_who_had_it_by_allocation(tmp_path: Path) -> None:
    fabric = "fabric: f\nhosts: {hv1: {tunnel_ip: 10.0.0.1}}\ntenants: {red: {segments: 7-8}}\n"
    first = topology(tmp_path, fabric=fabric, red="networks: {a: {}}\n")
    had = first.networks["red/a"].segment
    second = topology(tmp_path, first, fabric=fabric, red=f"networks: {{a: {{}}, b: {{segment: {had}}}}}\n")
    assert {second.networks["red/a"].segment, had} == {7, 8}


def test_addresses_are_allocated_within_the_prefix_and_stay(tmp_path: Path) -> None:
    network = "networks: {net: {cidr: [10.0.0.0/29, 'fd00::/64']}}\n"
    first = topology(tmp_path, red=f"{network}ports: {{b: {{network: net}}, c: {{network: net}}}}\n")
    kept = {name: port.ips for name, port in first.ports.items()}
    ports = ", ".join(f"{name}: {{network: net}}" for name in "abcde")
    second = topology(tmp_path, first, red=f"{network}ports: {{{ports}}}\n")
    assert {name: second.ports[name].ips for name in kept} == kept
    # The first address is the gateway's, the last the broadcast address.
    assert {port.ips[0] for port in second.ports.values()} == {ip_address(f"10.0.0.{host}") for host in range(2, 7)}
    assert all(port.ips[1] in ip_network("fd00::/64") for port in second.ports.values())


def test_an_allocated_address_makes_way_for_a_given_one(tmp_path: Path) -> None:
    network = "networks: {net: {cidr: 10.0.0.0/29}}\n"
    first = topology(tmp_path, red=f"{network}ports: {{a: {{network: net}}}}\n")
    had = first.ports["red/a"].ips[0]
    second = topology(tmp_path, first, red=f"{network}ports: {{a: {{network: net}}, b: {{network: net, ip: {had}}}}}\n")
    assert second.ports["red/b"].ips == (had,)
    assert second.ports["red/a"].ips[0] not in (had, ip_address("10.0.0.1"))


def test_an_allowed_address_is_not_given_to_another_port(tmp_path: Path) -> None:
    allowed = "{network: net, ip: 10.0.0.2, allowed_addresses: {ip: 10.0.0.3}}"
    made = topology(
        tmp_path,
        red=f"networks: {{net: {{cidr: 10.0.0.0/29}}}}\nports: {{a: {allowed}, b: {{network: net}}, c: {{network: net}}}}\n",
    )
    assert {made.ports[name].ips[0] for name in ("red/b", "red/c")} <= {
        ip_address(f"10.0.0.{host}") for host in (4, 5, 6)
    }
    assert made.ports["red/a"].allowed[0].ip == ip_network("10.0.0.3/32")


def test_a_huge_prefix_costs_nothing(tmp_path: Path) -> None:
    made = topology(tmp_path, red="networks: {net: {cidr: [11.0.0.0/8, 'fd00::/8']}}\nports: {a: {network: net}}\n")
    assert [str(address.version) for address in made.ports["red/a"].ips] == ["4", "6"]


def test_a_pure_layer_2_network_gives_no_addresses(tmp_path: Path) -> None:
    made = topology(tmp_path, red="networks: {net: {}}\nports: {a: {network: net}}\n")
    assert made.ports["red/a"].ips == ()
    assert made.ports["red/a"].mac == derived_mac("red/a")


def test_tenants_may_use_the_same_addresses_and_macs(tmp_path: Path) -> None:
    same = "networks: {net: {cidr: 10.0.0.0/24}}\nports: {a: {network: net, ip: 10.0.0.5, mac: '02:00:00:00:00:01'}}\n"
    made = topology(tmp_path, red=same, blue=same)
    assert made.ports["red/a"].ips == made.ports["blue/a"].ips
    assert made.ports["red/a"].mac == made.ports["blue/a"].mac


def test_a_port_group_gives_what_the_port_does_not_say(tmp_path: Path) -> None:
    made = topology(
        tmp_path,
        red="""
        networks: {net: {}, two: {}}
        security_groups: {web: {}}
        port_groups: {web: {network: net, host: hv1, security_groups: [web], port_security: false}}
        ports:
          a: {port_group: web}
          b: {port_group: web, network: two, host: hv2, security_groups: [], port_security: true}
        """,
    )
    a, b = made.ports["red/a"], made.ports["red/b"]
    assert (a.network, a.host, a.groups, a.port_security) == ("red/net", "hv1", ("red/web",), False)
    assert (b.network, b.host, b.groups, b.port_security) == ("red/two", "hv2", (), True)


def test_a_port_is_in_the_default_group_unless_it_is_not_filtered(tmp_path: Path) -> None:
    made = topology(
        tmp_path, red="networks: {net: {}}\nports: {a: {network: net}, b: {network: net, port_security: false}}\n"
    )
    assert (made.ports["red/a"].groups, made.ports["red/b"].groups) == (("red/default",), ())


def test_a_shared_network_takes_ports_of_the_tenants_it_names(tmp_path: Path) -> None:
    made = topology(
        tmp_path,
        red="networks: {net: {cidr: 10.0.0.0/29, share: [blue]}}\nports: {a: {network: net}}\n",
        blue="ports: {a: {network: red/net}, b: {network: red/net}}\n",
    )
    assert made.ports["blue/a"].network == "red/net"
    assert made.ports["blue/a"].groups == ("blue/default",)
    assert len({port.ips for port in made.ports.values()}) == 3


def test_an_address_is_unique_in_a_shared_network(tmp_path: Path) -> None:
    result = loaded(
        tmp_path,
        red="networks: {net: {cidr: 10.0.0.0/29, share: blue}}\nports: {a: {network: net, ip: 10.0.0.3}}\n",
        blue="ports: {a: {network: red/net, ip: 10.0.0.3}}\n",
    )
    assert [(problem.code, Path(problem.place.file).name) for problem in result.problems] == [("N030", "blue.yaml")]


def test_a_vtep_carries_ports_of_vxlan_networks(tmp_path: Path) -> None:
    made = topology(tmp_path, red="networks: {net: {}}\nports: {a: {network: net, host: rack9}}\n")
    assert made.ports["red/a"].host == "rack9"


def test_tests_name_ports_of_any_tenant_and_addresses(tmp_path: Path) -> None:
    made = topology(
        tmp_path,
        red="""
        networks: {net: {}}
        ports: {a: {network: net}}
        tests:
          - {from: a, to: blue/b, expect: deny, reply: false}
          - {from: a, to: 'FD00:0::5', protocol: tcp, port: 22, expect: allow}
        """,
        blue="networks: {net: {}}\nports: {b: {network: net}}\n",
    )
    place = made.tests[0].place
    assert made.tests[0] == PolicyTest("red", "red/a", "blue/b", None, None, Verdict.DENY, False, place)
    assert (made.tests[1].target, made.tests[1].protocol, made.tests[1].port) == ("fd00::5", 6, 22)
    assert place.line == 4


def test_names_whose_ids_meet_are_refused(tmp_path: Path) -> None:
    # Found by search: these names have the same 32-bit hash for their kind.
    networks = "networks: {n7146: {}, n158234: {}}\n"
    assert codes(loaded(tmp_path, red=networks)) == ["N033"]
    groups = "security_groups: {n1405: {ingress: [{from: {group: n178178}}, {from: {group: n1405}}]}, n178178: {}}\n"
    assert codes(loaded(tmp_path, red=groups)) == ["N033"]
    ports = "networks: {net: {}}\nports: {n24814: {network: net}, n106479: {network: net}}\n"
    assert codes(loaded(tmp_path, red=ports)) == ["N033"]


def test_ports_whose_interfaces_would_have_one_name_are_refused(tmp_path: Path) -> None:
    fabric = "fabric: f\nhosts: {hv1: {tunnel_ip: 10.0.0.1}}\ntenants: {engineering: {segments: 5}}\n"
    ports = "networks: {net: {}}\nports: {backend-170: {network: net}, backend-4436: {network: net}}\n"
    result = loaded(tmp_path, fabric=fabric, engineering=ports)
    assert codes(result) == ["N033"]
    assert "backend-4436 and engineering/backend-170" in result.problems[0].message


def test_physical_networks_whose_bridges_would_have_one_datapath_id_are_refused(tmp_path: Path) -> None:
    fabric = (
        "fabric: f\nhosts: {hv1: {tunnel_ip: 10.0.0.1}}\nphysical_networks: {p2: {hosts: hv1}, p68: {hosts: hv1}}\n"
    )
    assert codes(loaded(tmp_path, fabric=fabric)) == ["N033"]
