"""Which flows send the controller samples, where the meter of samples is, and what is left alone by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest

from controller.model.entities import SecurityGroup, Topology
from controller.pipeline.compile import compile_fabric
from controller.pipeline.flow import Flow, Program, ToController
from controller.pipeline.registers import JUDGED
from controller.pipeline.samples import METER
from controller.pipeline.view import class_key
from tests.builders import allow, fabric, group, host, network, port
from tests.pipeline.test_cost import Change, cost, fabric_of

WEB = group("red/web", ingress=[allow("tcp", 80, log=True), allow("tcp", 81)], egress=[allow("udp", 53)])
DB = group("red/db", ingress=[allow("tcp", 3306), allow("udp")], egress=[allow("udp", 53)])


def town(*groups: SecurityGroup) -> Topology:
    """A port of the first group on one host, one of the second on another."""
    return fabric(
        host("hv1"),
        host("hv2"),
        network("red/n", "10.0.0.0/24"),
        *groups,
        port("red/web1", "red/n", "10.0.0.11", host="hv1", groups=["red/web"]),
        port("red/db1", "red/n", "10.0.0.12", host="hv2", groups=["red/db"]),
    )


def programs(*groups: SecurityGroup) -> dict[str, Program]:
    return {each.host: each for each in compile_fabric(town(*groups)) if each.bridge == "br-int"}


def flows(made: Iterable[Program]) -> Iterable[Flow]:
    return (flow for program in made for flow in program.flows.values())


def sampled(*groups: SecurityGroup) -> list[tuple[str, str]]:
    """What samples: the feature's kind of the flow, and what it is for."""
    found = (flow for flow in flows(programs(*groups).values()) if samples(flow))
    return sorted({(f"{flow.feature} {flow.kind}", flow.origin.what) for flow in found})


def samples(flow: Flow) -> bool:
    return any(isinstance(action, ToController) and action.meter == METER for action in flow.actions)


def test_a_logged_rule_samples_and_no_other() -> None:
    assert sampled(WEB, DB) == [("ingress_policy rule", "red/web ingress rule")]


def test_a_logged_group_samples_all_its_rules_and_the_drops_of_its_ports() -> None:
    silent = replace(WEB, ingress=(replace(WEB.ingress[0], log=False),), log=True)
    assert sampled(silent, DB) == [
        ("egress_policy egress refused", "port red/web1"),
        ("egress_policy rule", "red/web egress rule"),
        ("ingress_policy ingress refused", "port red/web1"),
        ("ingress_policy rule", "red/web ingress rule"),
    ]


def test_what_is_not_enforced_samples_once_by_the_rule_or_by_the_default() -> None:
    dry = replace(WEB, ingress=(replace(WEB.ingress[1], enforce=False),), egress=(), enforce=False, log=True)
    assert [kind for kind, _ in sampled(dry, DB) if "refused" not in kind] == [
        "egress_policy not enforced",
        "ingress_policy dry rule",
        "ingress_policy not enforced",
    ]


@pytest.mark.parametrize("logged", [True, False])
def test_a_host_has_the_meter_if_a_port_of_its_own_logs(logged: bool) -> None:
    silent = replace(WEB, ingress=WEB.ingress[1:])
    made = programs(WEB if logged else silent, DB)
    assert {name: METER in program.meters for name, program in made.items()} == {"hv1": logged, "hv2": False}
    assert any(map(samples, flows(made.values()))) is logged


def test_what_is_not_logged_is_as_it_is_beside_what_is() -> None:
    silent = replace(WEB, ingress=WEB.ingress[1:])

    def of_others(*groups: SecurityGroup) -> set[tuple[object, ...]]:
        mine = JUDGED.is_(class_key(["red/web"]))[0]
        every = flows(programs(*groups).values())
        return {(each.key, each.effect) for each in every if all(value != mine for _, value, _ in each.match)}

    assert of_others(WEB, DB) == of_others(silent, DB)


def test_one_logged_rule_more_leaves_what_a_host_has_always_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one brings the meter; of the second only its class hears."""

    def computed(number: int) -> Counter[str]:
        """What is computed when there is one logged rule more than this number."""
        return cost(monkeypatch, fabric_of(2, 4), with_logged(number), with_logged(number + 1))[0]

    parts = "controller.pipeline.parts."
    first, second = computed(0), computed(1)
    assert (first[f"{parts}host_part"], second[f"{parts}host_part"]) == (4, 0)
    assert second[f"{parts}class_part"] == 4


def with_logged(count: int) -> Change:
    """The fabric with so many logged rules more of the first tenant."""

    def change(topology: Topology) -> Topology:
        web = topology.groups["t0/web"]
        rules = (*web.ingress, *(allow("udp", number, log=True) for number in range(count)))
        return replace(topology, groups={**topology.groups, web.name: replace(web, ingress=rules)})

    return change
