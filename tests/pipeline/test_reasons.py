"""The kinds that counters are told by are those of the features' flows, and none is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Conjunction, Flow
from controller.pipeline.plan import pipeline
from controller.pipeline.reasons import REASONS, SCTP, SIGN_OF_LIFE, TOO_MANY, is_drop, is_dry, is_rule, miss_text
from tests.builders import allow, external_network, fabric, group, host, network, physical_network, port


def town() -> Topology:
    """Ports of an enforced group, of one with a rule that is not, and of one that is not."""
    dry_rule = replace(allow("tcp", 22), enforce=False)
    return fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        group(
            "red/g",
            ingress=[allow("tcp", 80, far="red/h"), allow("udp", (1, 6), far=["red/g", "red/h", "10.9.0.0/16"])],
        ),
        group("red/h", ingress=[dry_rule], egress=[allow("icmp")]),
        replace(group("red/dry", egress=[allow("icmp")]), enforce=False),
        port("red/a", "red/n", "10.0.0.1", host="hv1", groups=["red/g"]),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/h"]),
        port("red/c", "red/n", "10.0.0.3", host="hv1", groups=["red/dry"]),
    )


@pytest.fixture(scope="module")
def flows() -> list[Flow]:
    (program, *_) = [each for each in compile_fabric(town()) if each.bridge == "br-int"]
    return list(program.flows.values())


def test_every_reason_is_a_kind_of_a_feature() -> None:
    kinds = {(feature.name, kind) for feature in pipeline().features for kind in feature.kinds}
    assert {(reason.feature, reason.kind) for reason in REASONS} - {(TOO_MANY.feature, TOO_MANY.kind)} <= kinds


@pytest.mark.parametrize(
    ("name", "would_be"), [("red/a", set()), ("red/b", {"ingress"}), ("red/c", {"egress", "ingress"})]
)
def test_every_port_has_a_counter_for_each_reason(flows: list[Flow], name: str, would_be: set[str]) -> None:
    found = {flow.kind for flow in flows if flow.origin.what == f"port {name}" and is_drop(flow)}
    dry = {f"{direction} would be refused" for direction in would_be}
    assert found == {"forged MAC", "forged address", "egress refused", "ingress refused"} | dry


def test_every_flow_that_a_rule_lets_packets_in_by_counts_for_it(flows: list[Flow]) -> None:
    of_rules = [flow for flow in flows if flow.origin.rule is not None and flow.kind != "known"]
    parts = [flow for flow in of_rules if any(isinstance(action, Conjunction) for action in flow.actions)]
    assert parts, "the town has a conjunction"
    assert [flow for flow in of_rules if not is_rule(flow)] == parts


def test_dry_rules_and_groups_are_told_from_enforced_ones(flows: list[Flow]) -> None:
    dry = {(flow.origin.what, flow.feature) for flow in flows if is_rule(flow) and is_dry(flow)}
    both = {("ports of red/dry", "egress_policy"), ("ports of red/dry", "ingress_policy")}
    assert dry == {("red/h ingress rule", "ingress_policy")} | both


def test_a_last_flow_is_a_drop_only_where_it_drops_the_packet(flows: list[Flow]) -> None:
    misses = {flow.kind: is_drop(flow) for flow in flows if flow.feature == "miss"}
    assert misses["classify"]
    assert not misses["ingress_judge"]
    texts = [miss_text(flow) for flow in flows if flow.feature == "miss" and is_drop(flow)]
    assert texts
    assert not [text for text in texts if text.startswith(("Weft", "dropped", "nothing", "cannot"))]


def test_signs_of_life_are_no_drops() -> None:
    """Their port has a flow that drops, as the switch has heard them already when it counts them."""
    topology = fabric(
        host("hv1"),
        host("hv2", gateway=True),
        physical_network("physnet1", "hv1", "hv2"),
        external_network("public", "203.0.113.0/24", physical="physnet1", vlan=100),
    )
    flows = [flow for each in compile_fabric(topology) for flow in each.flows.values() if flow.kind == SIGN_OF_LIFE]
    assert len(flows) == 2
    assert not any(map(is_drop, flows))


def test_what_ends_a_look_up_is_no_drop(flows: list[Flow]) -> None:
    """Where a table's last flow lets the packet go on, each of its flows does, also one that does nothing."""
    ending = {flow.table for flow in flows if flow.feature == "miss" and flow.origin.what.startswith("Weft: nothing")}
    idle = [flow for flow in flows if flow.table in ending and not flow.actions and flow.goto is None]
    assert SCTP in {flow.kind for flow in idle}
    assert not [flow.kind for flow in idle if is_drop(flow)]


def test_nothing_that_goes_on_is_a_drop_but_what_would_be_refused(flows: list[Flow]) -> None:
    passing = {flow.kind for flow in flows if is_drop(flow) and (flow.actions or flow.goto is not None)}
    assert passing == {"egress would be refused", "ingress would be refused"}
