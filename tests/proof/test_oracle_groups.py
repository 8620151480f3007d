"""Security groups as the oracle reads them, told as small stories."""

from __future__ import annotations

import pytest

from controller.model.entities import Topology
from controller.proof.oracle import Oracle
from tests.builders import allow, fabric, group, host, network, physical_network, port

TCP, UDP, ICMP, ICMPV6, SCTP, GRE = 6, 17, 1, 58, 132, 47


def shop() -> Topology:
    """Web servers in front of databases on one network, and a lonely port without groups."""
    return fabric(
        host("hv1"),
        host("hv2"),
        network("red/shop", "10.0.0.0/24", "fd00::/64"),
        network("red/other", "10.0.0.0/24"),
        group(
            "red/web",
            ingress=[allow("tcp", 80, 443, line=3), allow("tcp", 22, far="red/ops", line=4), allow("icmp", line=5)],
        ),
        group(
            "red/db",
            ingress=[
                allow("tcp", 3306, far="red/web", line=9),
                allow("udp", (5000, 5999), far="10.0.0.64/26", line=10),
            ],
            egress=[allow("udp", 53, far="10.0.0.0/8", ethertype=4, line=12)],
        ),
        group("red/ops"),
        port("red/web1", "red/shop", "10.0.0.11", "fd00::11", host="hv1", groups=["red/web"]),
        port("red/web2", "red/shop", "10.0.0.12", host="hv2", groups=["red/web", "red/ops"]),
        port("red/db1", "red/shop", "10.0.0.65", "fd00::65", host="hv2", groups=["red/db"]),
        port("red/lonely", "red/shop", "10.0.0.66", host="hv1"),
        port("red/stray", "red/other", "10.0.0.12", host="hv1", groups=["red/ops"]),
    )


@pytest.mark.parametrize(
    ("source", "target", "protocol", "number", "passes"),
    [
        ("red/lonely", "red/web1", TCP, 80, True),
        ("red/lonely", "red/web1", TCP, 443, True),
        ("red/lonely", "red/web1", TCP, 81, False),
        ("red/lonely", "red/web1", UDP, 80, False),
        ("red/web2", "red/web1", TCP, 22, True),  # web2 is in ops.
        ("red/web1", "red/web2", TCP, 22, False),
        ("red/web1", "red/db1", TCP, 3306, True),
        ("red/lonely", "red/db1", TCP, 3306, False),
        ("red/lonely", "red/db1", UDP, 5000, True),  # 10.0.0.66 is in 10.0.0.64/26.
        ("red/lonely", "red/db1", UDP, 5999, True),
        ("red/lonely", "red/db1", UDP, 4999, False),
        ("red/lonely", "red/db1", UDP, 6000, False),
        ("red/web1", "red/db1", UDP, 5000, False),
        ("red/db1", "red/web1", TCP, 80, False),  # db may send nothing but DNS.
        ("red/web1", "red/lonely", TCP, 80, False),  # No groups: nothing in ...
        ("red/lonely", "red/web1", ICMP, None, True),  # ... everything out.
        ("red/lonely", "red/web1", GRE, None, False),
    ],
)
def test_rules_of_the_shop(source: str, target: str, protocol: int, number: int | None, passes: bool) -> None:
    assert Oracle(shop()).allows(source, target, protocol=protocol, port=number).allowed is passes


def test_the_reason_names_the_rule_and_its_line() -> None:
    decision = Oracle(shop()).allows("red/web1", "red/db1", protocol=TCP, port=3306)
    assert decision.reason == (
        "ingress of red/db1: group red/db ingress tcp 3306 from group red/web (tenants/red.yaml:9:1)"
    )
    assert decision.rule is not None
    assert decision.place == decision.rule.place


def test_a_refusal_names_the_side_that_refuses() -> None:
    oracle = Oracle(shop())
    outward = oracle.allows("red/db1", "red/web1", protocol=TCP, port=80)
    assert outward.reason.startswith("egress default deny of red/db1: no rule of red/db allows tcp 80 to 10.0.0.11")
    inward = oracle.allows("red/web1", "red/lonely", protocol=TCP, port=80)
    assert inward.reason.startswith("ingress default deny of red/lonely: no group, so nothing allows tcp 80")


def test_the_same_address_in_another_network_is_no_member() -> None:
    topology = fabric(
        host("hv1"),
        network("red/a", "10.0.0.0/24"),
        network("red/b", "10.0.0.0/24"),
        group("red/ops"),
        group("red/web", ingress=[allow("tcp", 22, far="red/ops")]),
        port("red/target", "red/a", "10.0.0.1", host="hv1", groups=["red/web"]),
        port("red/plain", "red/a", "10.0.0.2", host="hv1"),
        port("red/member", "red/b", "10.0.0.2", host="hv1", groups=["red/ops"]),
    )
    assert not Oracle(topology).allows("red/plain", "red/target", protocol=TCP, port=22).allowed


def test_another_network_is_out_of_reach() -> None:
    decision = Oracle(shop()).allows("red/web1", "red/stray", protocol=TCP, port=80)
    assert not decision.allowed
    assert decision.reason.startswith("no path: red/web1 is in network red/shop, red/stray in red/other")


def test_an_ipv4_rule_says_nothing_of_ipv6() -> None:
    topology = fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24", "fd00::/64"),
        group("red/g", ingress=[allow("tcp", 80, ethertype=4), allow("udp", 53, far="fd00::/64")]),
        port("red/a", "red/n", "10.0.0.1", "fd00::1", host="hv1"),
        port("red/b", "red/n", "10.0.0.2", "fd00::2", host="hv1", groups=["red/g"]),
    )
    oracle = Oracle(topology)
    seen = {
        (protocol, number, version): oracle.allows(
            "red/a", "red/b", protocol=protocol, port=number, version=version
        ).allowed
        for protocol, number in ((TCP, 80), (UDP, 53))
        for version in (4, 6)
    }
    assert seen == {(TCP, 80, 4): True, (TCP, 80, 6): False, (UDP, 53, 4): False, (UDP, 53, 6): True}


def test_icmp_types_and_codes() -> None:
    topology = fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        group("red/g", ingress=[allow("icmp", icmp_type=8), allow("icmp", icmp_type=3, icmp_code=4)]),
        port("red/a", "red/n", "10.0.0.1", host="hv1"),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/g"]),
    )
    oracle = Oracle(topology)

    def passes(kind: int, code: int) -> bool:
        return oracle.allows("red/a", "red/b", protocol=ICMP, icmp_type=kind, icmp_code=code).allowed

    assert passes(8, 0)
    assert passes(8, 9)
    assert passes(3, 4)
    assert not passes(3, 1)
    assert not passes(0, 0)


def test_an_allowed_address_counts_as_a_members() -> None:
    topology = fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        group("red/routers"),
        group("red/g", ingress=[allow("tcp", 80, far="red/routers")], egress=[allow("tcp", far="red/routers")]),
        port("red/r", "red/n", "10.0.0.1", host="hv1", groups=["red/routers"], allowed=[("10.0.0.128/25", None)]),
        port("red/x", "red/n", "10.0.0.130", host="hv1"),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/g"]),
    )
    oracle = Oracle(topology)
    assert oracle.allows("red/x", "red/b", protocol=TCP, port=80).allowed, "an address, not an identity"
    assert oracle.allows("red/b", "10.0.0.200", protocol=TCP, port=9).reason.startswith("ingress default deny of red/r")
    assert oracle.allows("red/b", "red/x", protocol=TCP, port=9).reason.startswith("ingress default deny of red/x")
    assert not oracle.allows("red/b", "10.0.0.3", protocol=TCP, port=9).allowed


def test_without_port_security_both_sides_of_the_port_are_open_but_it_stays_a_member() -> None:
    topology = fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        group("red/closed", egress=[]),
        group("red/g", ingress=[allow("tcp", 80, far="red/closed")]),
        port("red/open", "red/n", "10.0.0.1", host="hv1", groups=["red/closed"], secure=False),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/g"]),
    )
    oracle = Oracle(topology)
    assert oracle.allows("red/open", "red/b", protocol=TCP, port=80).allowed
    assert not oracle.allows("red/open", "red/b", protocol=TCP, port=81).allowed
    assert oracle.allows("red/b", "red/open", protocol=UDP, port=9).allowed


def test_nothing_is_enforced_on_a_foreign_vtep() -> None:
    topology = fabric(
        host("hv1"),
        host("rack9", vtep=True),
        network("red/n", "10.0.0.0/24"),
        group("red/closed", egress=[]),
        group("red/g", ingress=[allow("tcp", 80, far="red/closed")]),
        port("red/bare", "red/n", "10.0.0.1", host="rack9", groups=["red/closed"]),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/g"]),
    )
    oracle = Oracle(topology)
    assert oracle.allows("red/bare", "red/b", protocol=TCP, port=80).allowed
    assert not oracle.allows("red/bare", "red/b", protocol=UDP, port=80).allowed
    assert oracle.allows("red/b", "red/bare", protocol=UDP, port=9).allowed


def test_a_local_network_ends_at_its_host() -> None:
    topology = fabric(
        host("hv1"),
        host("hv2"),
        network("red/n", "10.0.0.0/24", kind="local"),
        group("red/g", ingress=[allow()]),
        port("red/a", "red/n", "10.0.0.1", host="hv1", groups=["red/g"]),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/g"]),
        port("red/c", "red/n", "10.0.0.3", host="hv2", groups=["red/g"]),
        port("red/d", "red/n", "10.0.0.4", groups=["red/g"]),
    )
    assert Oracle(topology).allows("red/a", "red/b").allowed
    assert "local to a host" in Oracle(topology).allows("red/a", "red/c").reason
    assert not Oracle(topology).allows("red/a", "red/d").allowed
    assert Oracle(topology, {"red/d": "hv1"}).allows("red/a", "red/d").allowed


def test_a_vlan_network_reaches_the_hosts_that_are_wired_and_the_world_beyond() -> None:
    topology = fabric(
        host("hv1"),
        host("hv2"),
        host("hv3"),
        physical_network("physnet1", "hv1", "hv2"),
        network("red/n", "10.0.0.0/24", kind="vlan", physical="physnet1"),
        group("red/g", ingress=[allow()], egress=[allow("tcp", 443)]),
        port("red/a", "red/n", "10.0.0.1", host="hv1", groups=["red/g"]),
        port("red/b", "red/n", "10.0.0.2", host="hv2", groups=["red/g"]),
        port("red/c", "red/n", "10.0.0.3", groups=["red/g"]),
    )
    oracle = Oracle(topology, {"red/c": "hv3"})
    assert oracle.allows("red/a", "red/b", protocol=TCP, port=443).allowed
    assert "not wired to physnet1" in oracle.allows("red/a", "red/c", protocol=TCP, port=443).reason
    assert oracle.allows("red/a", "10.0.0.77", protocol=TCP, port=443).allowed, "a machine that no file names"
    assert not oracle.allows("red/a", "10.0.0.77", protocol=TCP, port=80).allowed
    assert not oracle.allows("red/a", "192.0.2.1", protocol=TCP, port=443).allowed, "there is no router"


def test_an_address_that_nobody_has_is_not_reached() -> None:
    decision = Oracle(shop()).allows("red/web1", "10.0.0.99", protocol=TCP, port=80)
    assert decision.reason == "no path: no port of red/shop has 10.0.0.99, and no router leads elsewhere"


def test_a_pure_layer_2_network_is_judged_without_addresses() -> None:
    topology = fabric(
        host("hv1"),
        network("red/n"),
        group("red/g", ingress=[allow("tcp", 80), allow("udp", far="10.0.0.0/8")]),
        port("red/a", "red/n", host="hv1"),
        port("red/b", "red/n", host="hv1", groups=["red/g"]),
    )
    oracle = Oracle(topology)
    assert oracle.allows("red/a", "red/b", protocol=TCP, port=80).allowed
    assert not oracle.allows("red/a", "red/b", protocol=UDP, port=80).allowed
