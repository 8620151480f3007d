"""What rules may cost in masks, and the fabric's budget of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from controller.model.entities import Direction, SecurityGroup, Topology
from controller.pipeline.costs import MOST_OF_A_PORT, Shape, bound, bounds, shapes
from controller.pipeline.masks import TooManyMasks
from controller.pipeline.programs import Programs
from tests.builders import Entity, allow, fabric, group, host, network, port

ORDINARY = [allow("tcp", 80, 443, line=7), allow("tcp", 22, far="192.0.2.0/24", line=8), allow("icmp", ethertype=4)]


def town(red: int, blue: int = 0) -> Topology:
    """Two tenants; each has so many rules, of prefixes of another length each."""
    entities: list[Entity] = [host("hv1")]
    for tenant, count in (("red", red), ("blue", blue)):
        rules = [allow(60 + length % 8, far=f"0.0.0.0/{length}", tenant=tenant) for length in range(1, count + 1)]
        entities += [
            network(f"{tenant}/n", "10.0.0.0/24"),
            group(f"{tenant}/g", ingress=rules),
            port(f"{tenant}/a", f"{tenant}/n", "10.0.0.1", host="hv1", groups=[f"{tenant}/g"]),
        ]
    return fabric(*entities)


def settled(topology: Topology) -> Programs:
    programs = Programs()
    programs.enter(topology)
    programs.settle()
    return programs


def test_ordinary_rules_cost_little() -> None:
    [found] = bounds(
        fabric(
            host("hv1"), network("red/n"), group("red/g", ingress=ORDINARY), port("red/a", "red/n", groups=["red/g"])
        )
    ).values()
    assert 0 < found < MOST_OF_A_PORT


def test_no_rules_cost_nothing() -> None:
    assert bound([group("red/g", egress=[])], Direction.INGRESS) == 0


def test_rules_that_say_the_same_cost_once() -> None:
    once = bound([group("red/g", ingress=ORDINARY)], Direction.INGRESS)
    twice = bound([group("red/g", ingress=ORDINARY), group("red/h", ingress=ORDINARY)], Direction.INGRESS)
    assert once == twice


def test_a_fabric_beyond_its_budget_is_refused_with_the_group_that_exceeds_it() -> None:
    with pytest.raises(TooManyMasks, match=r"group blue/g \(tenants/blue.yaml:1.*rules of blue add .* masks"):
        settled(replace(town(1, 8), masks=18))


def test_masks_that_tenants_share_count_once() -> None:
    settled(replace(town(8, 8), masks=90))
    with pytest.raises(TooManyMasks, match="group red/g"):
        settled(replace(town(8, 8), masks=10))


def test_a_refused_budget_leaves_what_was_before_in_force() -> None:
    good = town(2)
    programs = settled(good)
    held = {dpid: set(program.flows) for dpid, program in programs.programs.items()}
    programs.enter(replace(town(8), masks=10))
    with pytest.raises(TooManyMasks):
        programs.settle()
    programs.enter(good)
    programs.settle()
    assert {dpid: set(program.flows) for dpid, program in programs.programs.items()} == held


def test_a_tenants_change_looks_at_that_tenants_rules_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = settled(town(4, 4))
    seen: list[str] = []

    def noted(groups: Iterable[SecurityGroup], direction: Direction) -> frozenset[Shape]:
        members = list(groups)
        seen.extend(each.tenant for each in members)
        return shapes(members, direction)

    monkeypatch.setattr("controller.pipeline.masks.shapes", noted)
    programs.enter(town(4, 5), {"blue"})
    programs.settle()
    assert set(seen) == {"blue"}
