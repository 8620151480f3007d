"""Rules that name many ports and many far sides: they cost the sum and not the product, and mean the same however they are written.

After OVN's tests of port groups and conjunctions. Weft's rules only allow, so where OVN lays drops over allows, these
stories lay narrow rules over wide ones and take them away again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest

from controller.model.entities import Rule, Topology
from controller.pipeline.compile import compile_fabric
from controller.pipeline.text import raw_text
from tests.builders import allow, fabric, group, host, network, port
from tests.ovs.fabric import FabricTwin
from tests.scenarios.talk import Talk
from tests.scenarios.town import CLIENTS, SERVER, town

pytestmark = pytest.mark.ovs

NUMBERS = (8001, 8003, 8005)
FAR_SIDES = ("10.0.0.2/32", "10.0.0.3/32", "10.0.0.128/25")
ASKED = (8000, *NUMBERS, 8002, 8006)


def served(*rules: Rule) -> Topology:
    return town(group("red/g", ingress=rules), members={SERVER: ["red/g"]})


def rule_lines(topology: Topology) -> list[str]:
    """Return the flows of the ingress rules on the server's host."""
    program = next(each for each in compile_fabric(topology) if (each.host, each.bridge) == ("hv1", "br-int"))
    kinds = ("rule", "part of a rule")
    return sorted(
        raw_text(flow) for flow in program.flows.values() if flow.feature == "ingress_policy" and flow.kind in kinds
    )


def conjunction_ids(lines: Sequence[str]) -> set[str]:
    return {found for line in lines for found in re.findall(r"conj_id=(\w+)", line)}


def verdicts(talk: Talk, topology: Topology) -> set[tuple[str, int]]:
    """Return (client, port) of what reaches the server, asked without connections of before."""
    talk.enforce(topology)
    talk.net.forget()
    return {(name, number) for name in CLIENTS for number in ASKED if talk.passes(name, SERVER, f"tcp {number}")}


THREE_BY_THREE = allow("tcp", *NUMBERS, far=FAR_SIDES)
PRODUCT = {(name, number) for name in ("red/near", "red/far") for number in NUMBERS}


def test_s39_a_rule_of_three_by_three_costs_the_sum(talk: Talk) -> None:
    """Three ports and three far sides: 3 + 3 flows and one that allows, not 9; every pair of both passes, no other."""
    lines = rule_lines(served(THREE_BY_THREE))
    assert len(lines) == 3 + 3 + 1
    assert len(conjunction_ids(lines)) == 1
    assert verdicts(talk, served(THREE_BY_THREE)) == PRODUCT


@pytest.mark.parametrize("many", [10, 50])
def test_s39_flows_grow_with_the_sum(many: int) -> None:
    odd = range(1001, 1001 + 2 * many, 2)
    rule = allow("tcp", *odd, far=[f"10.1.{number}.0/24" for number in range(many)])
    assert len(rule_lines(served(rule))) == 2 * many + 1


def test_s39_rules_that_overlap_add_up_and_each_goes_alone(talk: Talk) -> None:
    """Two conjunctions that share ports and far sides, and a wide rule over both: what passes is always the union."""
    other = allow("tcp", 8005, 8006, 8000, far=["10.0.0.3/32", "10.0.0.4/32", "10.0.0.200/32"])
    wide = allow("tcp", far="10.0.0.4/32")
    second = {(name, number) for name in ("red/far", "red/other") for number in (8005, 8006, 8000)}
    over_all = {("red/other", number) for number in ASKED}
    for rules, expected in (
        ((THREE_BY_THREE, other), PRODUCT | second),
        ((THREE_BY_THREE, other, wide), PRODUCT | second | over_all),
        ((other, wide), second | over_all),
        ((THREE_BY_THREE, wide), PRODUCT | over_all),
        ((THREE_BY_THREE,), PRODUCT),
    ):
        assert verdicts(talk, served(*rules)) == expected


def test_s39_a_far_side_that_grows_becomes_a_conjunction_and_back(talk: Talk) -> None:
    """One far side is written out, three are a conjunction, one again is exactly what it was."""
    for far in (FAR_SIDES[:1], FAR_SIDES, FAR_SIDES[:1]):
        topology = served(allow("tcp", *NUMBERS, far=far))
        lines = rule_lines(topology)
        assert bool(conjunction_ids(lines)) is (len(far) == 3)
        assert len(lines) == (7 if len(far) == 3 else 3)
        expected = {(name, number) for name, number in PRODUCT if name == "red/near" or len(far) == 3}
        assert verdicts(talk, topology) == expected


def test_s39_ids_are_never_shared_and_stay_the_same(talk: Talk) -> None:
    """Three rules have three ids; they are the same when the files are read again, in another order, and as more rules come."""
    second = allow("tcp", *NUMBERS, far=["10.0.0.4/32", "10.0.0.5/32", "10.0.0.6/32"])
    third = allow("udp", *NUMBERS, far=FAR_SIDES)
    one_by_one = [conjunction_ids(rule_lines(served(rule))) for rule in (THREE_BY_THREE, second, third)]
    together = conjunction_ids(rule_lines(served(THREE_BY_THREE, second, third)))
    assert len(together) == 3
    assert together == set().union(*one_by_one)
    assert rule_lines(served(THREE_BY_THREE, second, third)) == rule_lines(served(third, THREE_BY_THREE, second))
    assert verdicts(talk, served(THREE_BY_THREE, second, third)) == PRODUCT | {("red/other", n) for n in NUMBERS}


def test_s39_a_group_with_more_members_costs_one_address_and_no_rule() -> None:
    """A rule for a group: the thousandth member changes no rule flow, so the conjunction stays as it is."""
    rules = {}
    for members in (3, 300):
        topology = fabric(
            host("hv1"),
            network("red/n", "10.0.0.0/16"),
            group("red/g", ingress=[allow("tcp", *NUMBERS, far="red/staff")]),
            group("red/staff"),
            port("red/s", "red/n", "10.0.255.1", host="hv1", groups=["red/g"]),
            *(
                port(f"red/m{n}", "red/n", f"10.0.{n // 250}.{n % 250 + 1}", host="hv1", groups=["red/staff"])
                for n in range(members)
            ),
        )
        rules[members] = rule_lines(topology)
    assert rules[3] == rules[300]
    assert len(rules[3]) == 2 * len(NUMBERS), "for each port once over IPv4, once over IPv6"


def spread() -> Topology:
    """Three hosts, two networks, groups g1 and g2 in both; g1 lets in anyone but g2: g1 itself and who is in neither."""
    keep_out = [allow("tcp", 80, far=["red/g1", "red/rest"])]
    ping = allow("icmp", far="red/g1", ethertype=4)
    everyone = [allow()]
    groups = ("red/g1", "red/g2", "red/rest")
    ports = [
        port(
            f"red/{net}{at}{which}",
            f"red/{net}",
            f"10.0.0.{at}{which}",
            host=f"hv{at}",
            groups=[groups[which]],
        )
        for net in ("n", "m")
        for at in (1, 2, 3)
        for which in (0, 1, 2)
        if (net, at, which) not in {("n", 3, 2), ("m", 1, 2), ("m", 2, 0)}  # Not every group is everywhere.
    ]
    return fabric(
        *(host(f"hv{number}") for number in (1, 2, 3)),
        network("red/n", "10.0.0.0/24", segment=5001),
        network("red/m", "10.0.0.0/24", segment=5002),
        group("red/g1", ingress=[*keep_out, ping]),
        group("red/g2", ingress=everyone),
        group("red/rest", ingress=everyone),
        *ports,
    )


def test_s37_groups_span_networks_and_hosts(tmp_path: Path) -> None:
    """All pairs of 15 ports: only g2 -> g1 is closed, in either network; the same addresses in the other do not count.

    What g1 opens to g2 is answered, though no rule of g1 names g2.
    """
    topology = spread()
    of = {name: each.groups[0] for name, each in topology.ports.items()}
    with FabricTwin(tmp_path, topology) as net:
        talk = Talk(net)
        talk.enforce(topology)
        for source, target in permutations(topology.ports, 2):
            same = topology.ports[source].network == topology.ports[target].network
            closed = (of[source], of[target]) == ("red/g2", "red/g1")
            assert talk.passes(source, target, "tcp 80") is (same and not closed), (source, target)
            pings = of[target] != "red/g1" or of[source] == "red/g1"
            assert talk.passes(source, target, "icmp") is (same and pings), (source, target)
