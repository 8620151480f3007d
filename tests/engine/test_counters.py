"""What the control socket tells of counters: by rule and line of the files, by port and reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.engine import Engine
from controller.engine.answers import answer
from controller.pipeline.flow import Flow
from controller.pipeline.reasons import (
    EGRESS_REFUSED,
    FORGED_ADDRESS,
    FORGED_MAC,
    INGRESS_REFUSED,
    INGRESS_WOULD_BE_REFUSED,
    is_rule,
)
from controller.switch.status import Count, Growth, Reading
from tests.engine.test_engine import FABRIC, HV1, HV2, INT1, INT2, Recorder, running
from tests.switch.harness import wait_for

RED = """\
networks:
  web: {cidr: 10.0.1.0/24, segment: 1001}
security_groups:
  web:
    ingress:
      - {protocol: tcp, ports: [80, 443]}
      - {protocol: icmp}
      - {protocol: tcp, ports: [80, 443]}
      - {protocol: tcp, ports: 22, from: {group: ops}}
    egress:
      - {protocol: udp, ports: 53, ethertype: ipv4}
  ops: {}
ports:
  web1: {network: web, ip: 10.0.1.11, host: hv1, security_groups: [web]}
  web2: {network: web, ip: 10.0.1.12, host: hv2, security_groups: [web]}
  bare: {network: web, ip: 10.0.1.13, security_groups: []}
"""


class Counting(Recorder):
    """Switches whose flows have counted what the story says."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[tuple[Callable[[Flow], bool], int]] = []
        self.older: list[Callable[[Flow], bool]] = []  # What has not grown for as long again.
        self.meters: dict[int, Count] = {}
        self.asked_for: list[Flow] = []
        self.error: str | None = None

    def count(
        self, dpids: Collection[int], wanted: Callable[[Flow], bool], deadline_s: float, *, meters: bool = False
    ) -> Mapping[int, Reading]:
        del deadline_s
        return {dpid: self._reading(dpid, wanted, meters=meters) for dpid in dpids}

    def _reading(self, dpid: int, wanted: Callable[[Flow], bool], *, meters: bool) -> Reading:
        if dpid not in self.programs or self.error:
            return Reading(error=self.error or "it is not connected")
        chosen = [flow for flow in self.programs[dpid].snapshot()[0] if wanted(flow)]
        self.asked_for = chosen
        return Reading(tuple((flow, self._count(flow)) for flow in chosen), self.meters if meters else {})

    def _count(self, flow: Flow) -> Count:
        packets = sum(number for is_meant, number in self.counted if is_meant(flow))
        now = time.monotonic() - 60 * any(is_meant(flow) for is_meant in self.older)
        return Count(packets, 60 * packets, Growth(now - 30, now - 10) if packets else None)


@pytest.fixture
def switches() -> Counting:
    return Counting()


@pytest.fixture
def engine(tmp_path: Path, switches: Counting) -> Iterator[Engine]:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "tenants" / "red.yaml").write_text(RED)
    with running(tmp_path, switches) as engine:
        engine.connected(HV1, INT1)
        engine.connected(HV2, INT2)
        wait_for(lambda: {HV1, HV2} <= switches.programs.keys())
        yield engine


def explain(engine: Engine, port: str = "red/web1") -> dict[str, Any]:
    return answer(engine, {"do": "explain", "port": port})


def hits(told: Mapping[str, Any], direction: str = "ingress") -> list[tuple[str, int | None]]:
    return [(rule["rule"], rule["packets"]) for rule in told["directions"][direction]["rules"]]


def of_rule(words: str) -> Callable[[Flow], bool]:
    """The flows of a rule with this protocol, of the group red/web."""
    return lambda flow: flow.kind == "rule" and words in repr(flow.origin.rule)


def of_port(name: str, kind: str) -> Callable[[Flow], bool]:
    """The flow that counts a port's drops of a kind."""
    return lambda flow: (flow.origin.what, flow.kind) == (f"port {name}", kind)


def test_a_port_s_rules_stand_in_the_order_of_the_files_with_their_hits(engine: Engine, switches: Counting) -> None:
    switches.counted = [(of_rule("protocol=1,"), 4), (of_rule("protocol=17"), 9)]
    told = explain(engine)
    assert hits(told)[:2] == [("ingress tcp 80,443", 0), ("ingress icmp", 4)]
    assert hits(told, "egress") == [("egress udp 53", 9)]
    assert [rule["place"].rpartition("/")[2] for rule in told["directions"]["ingress"]["rules"]] == [
        f"red.yaml:{line}:9" for line in (6, 7, 8, 9)
    ]


def test_a_rule_that_counts_nothing_of_its_own_says_why(engine: Engine) -> None:
    again, of_nobody = explain(engine)["directions"]["ingress"]["rules"][2:]
    assert again["packets"] is None
    assert again["note"].endswith("red.yaml:6:9 says, which counts")
    assert (of_nobody["packets"], of_nobody["note"]) == (None, "nobody is its far side at present")


def test_a_rule_counts_with_the_flows_of_all_its_port_masks_and_versions(engine: Engine, switches: Counting) -> None:
    switches.counted = [(of_rule("first=80"), 1)]
    flows = sum(of_rule("first=80")(flow) for flow in switches.programs[HV1].flows.values())
    assert flows > 1
    assert hits(explain(engine))[0] == ("ingress tcp 80,443", flows)


def test_only_flows_that_concern_the_port_are_read(engine: Engine, switches: Counting) -> None:
    explain(engine)
    assert {flow.origin.what for flow in switches.asked_for if flow.origin.what.startswith("port ")} == {
        "port red/web1"
    }
    assert {flow.kind for flow in switches.asked_for if flow.origin.what == "port red/web1"} == {
        *(FORGED_MAC, FORGED_ADDRESS, EGRESS_REFUSED, INGRESS_REFUSED)
    }
    assert len(switches.asked_for) < len(switches.programs[HV1].flows) / 3


def test_drops_are_told_by_reason_with_when_the_last_one_was(engine: Engine, switches: Counting) -> None:
    switches.counted = [(of_port("red/web1", INGRESS_REFUSED), 3), (of_port("red/web2", INGRESS_REFUSED), 5)]
    told = explain(engine)
    (dropped,) = told["drops"]
    assert (dropped["reason"], dropped["packets"], dropped["dropped"]) == (INGRESS_REFUSED, 3, True)
    assert 30 <= dropped["last"]["at_most_s"] < 32
    assert 10 <= dropped["last"]["at_least_s"] < 12
    assert told["directions"]["ingress"]["else"] == {"refused": 3, "would_be_refused": 0}


def test_the_reason_of_the_last_drop_comes_first(engine: Engine, switches: Counting) -> None:
    switches.counted = [(of_port("red/web1", EGRESS_REFUSED), 9), (of_port("red/web1", FORGED_MAC), 1)]
    switches.older = [of_port("red/web1", EGRESS_REFUSED)]
    assert [drop["reason"] for drop in explain(engine)["drops"]] == [FORGED_MAC, EGRESS_REFUSED]
    switches.older = [of_port("red/web1", FORGED_MAC)]
    assert [drop["reason"] for drop in explain(engine)["drops"]] == [EGRESS_REFUSED, FORGED_MAC]


DRY = RED.replace("{protocol: icmp}", "{protocol: icmp, enforce: false}").replace(
    "  ops: {}", "  ops: {enforce: false}"
)
DRY += "  ops1: {network: web, ip: 10.0.1.14, host: hv2, security_groups: [ops]}\n"


@pytest.fixture
def dry(engine: Engine, switches: Counting) -> Engine:
    """The engine with a rule and a group that are not enforced."""
    (engine.folder / "tenants" / "red.yaml").write_text(DRY)
    assert engine.reload().report.accepted
    engine.connected(HV2, INT2 | {"red.ops1": 8})
    wait_for(lambda: "port red/ops1" in switches.outputs(HV2))
    return engine


def test_what_a_rule_that_is_not_enforced_alone_lets_in_passes_and_is_told(dry: Engine, switches: Counting) -> None:
    switches.counted = [
        (lambda flow: flow.kind == "dry rule", 2),
        (of_port("red/web1", INGRESS_WOULD_BE_REFUSED), 2),
    ]
    told = explain(dry)
    (icmp,) = (rule for rule in told["directions"]["ingress"]["rules"] if rule["rule"] == "ingress icmp")
    assert (icmp["packets"], icmp["would_drop"]) == (2, True)
    assert [(drop["reason"], drop["dropped"]) for drop in told["drops"]] == [(INGRESS_WOULD_BE_REFUSED, False)]
    assert told["directions"]["ingress"]["else"] == {"refused": 0, "would_be_refused": 0}


def test_what_only_passes_because_no_group_of_a_port_is_enforced_is_told(dry: Engine, switches: Counting) -> None:
    switches.counted = [(lambda flow: flow.origin.what == "ports of red/ops" and is_rule(flow), 6)]
    told = explain(dry, "red/ops1")
    assert told["is_dry"]
    assert told["directions"]["ingress"]["else"] == {"refused": 0, "would_be_refused": 6}


def test_stateless_groups_count_by_rule_and_direction_like_others(dry: Engine, switches: Counting) -> None:
    stateless = DRY.replace("ops: {enforce", "ops: {stateless: true, ingress: [{protocol: udp, ports: 53}], enforce")
    (dry.folder / "tenants" / "red.yaml").write_text(stateless)
    assert dry.reload().report.accepted
    wait_for(lambda: any(flow.feature == "stateless" for flow in switches.programs[HV2].flows.values()))
    switches.counted = [(of_rule("53"), 3), (lambda flow: flow.kind == "not enforced", 2)]
    told = explain(dry, "red/ops1")
    assert told["is_stateless"]  # A flow for each version, and as many for later fragments.
    assert [(rule["packets"], rule["note"]) for rule in told["directions"]["ingress"]["rules"]] == [(12, None)]
    assert told["directions"]["ingress"]["else"] == {"refused": 0, "would_be_refused": 2}
    assert [rule["packets"] for rule in told["directions"]["egress"]["rules"]] == [0]


def test_status_tells_what_enforcement_would_have_dropped_by_rule_and_group(dry: Engine, switches: Counting) -> None:
    switches.counted = [
        (lambda flow: flow.kind == "dry rule", 2),
        (lambda flow: flow.origin.what == "ports of red/ops" and is_rule(flow), 6),
        (of_port("red/web1", INGRESS_WOULD_BE_REFUSED), 2),
    ]
    told = answer(dry, {"do": "status", "counters": True})["counters"]
    assert (told["dropped"], told["is_dry"]) == (0, True)
    assert {(each["group"], each["rule"], each["packets"]) for each in told["would_drop"]} == {
        ("red/web", "ingress icmp", 4),
        ("red/ops", "ingress default deny", 6),
    }


def test_a_port_says_where_it_is(engine: Engine) -> None:
    told = explain(engine)
    where = {name: told[name] for name in ("host", "interface", "number", "network", "segment", "groups")}
    assert where == {
        "host": "hv1",
        "interface": "red.web1",
        "number": 5,
        "network": "red/web",
        "segment": 1001,
        "groups": ["red/web"],
    }


def test_a_port_that_is_nowhere_says_so(engine: Engine) -> None:
    told = explain(engine, "red/bare")
    assert (told["host"], told["number"], told["directions"]) == (None, None, {})
    assert told["unbound"] == "no interface red.bare and no iface-id red/bare has been seen on any host"


def test_a_port_whose_switch_has_not_told_its_interfaces_is_unread(engine: Engine) -> None:
    engine.connected(HV2, {"patch-tun": 1})
    wait_for(lambda: explain(engine, "red/web2")["number"] is None)
    told = explain(engine, "red/web2")
    assert (told["unbound"], told["unread"]) == ("the switch of hv2 is not connected",) * 2


def test_an_unknown_port_is_answered_with_the_nearest(engine: Engine) -> None:
    assert explain(engine, "red/wbe1") == {
        "unknown": "port",
        "word": "red/wbe1",
        "hint": 'did you mean "red/web1"?',
    }


def test_a_switch_that_does_not_answer_is_told(engine: Engine, switches: Counting) -> None:
    switches.error = "no answer within 5 s"
    told = explain(engine)
    assert told["unread"] == "no answer within 5 s"
    assert hits(told)[:2] == [("ingress tcp 80,443", None), ("ingress icmp", None)]


def counters(engine: Engine, **chosen: str) -> dict[str, Any]:
    return answer(engine, {"do": "counters", **chosen})


def test_a_rule_is_summed_over_hosts(engine: Engine, switches: Counting) -> None:
    switches.counted = [(of_rule("protocol=1,"), 4)]
    rules = {(rule["group"], rule["rule"]): rule for rule in counters(engine)["rules"]}
    icmp = rules["red/web", "ingress icmp"]
    assert (icmp["packets"], icmp["hosts"], icmp["place"].rpartition("/")[2]) == (8, 2, "red.yaml:7:9")
    (of_one,) = [rule for rule in counters(engine, host="hv2")["rules"] if rule["rule"] == "ingress icmp"]
    assert (of_one["packets"], of_one["hosts"]) == (4, 1)


def test_drops_of_nobody_are_the_operator_s_alone(engine: Engine, switches: Counting) -> None:
    switches.counted = [(lambda flow: flow.kind in {INGRESS_REFUSED, "invalid"}, 1)]
    assert {drop["port"] for drop in counters(engine)["drops"]} == {None, "red/web1", "red/web2"}
    assert {drop["port"] for drop in counters(engine, tenant="red")["drops"]} == {"red/web1", "red/web2"}


def test_what_a_limit_of_connections_dropped_is_read_from_the_port_s_meter(engine: Engine, switches: Counting) -> None:
    switches.meters = {5: Count(7, 420, None), 99: Count(1, 60, None)}
    assert counters(engine)["drops"] == [], "no port has a limit, so these are not ours"
    tenant = engine.folder / "tenants" / "red.yaml"
    tenant.write_text(RED.replace("host: hv1,", "host: hv1, new_connections: 100,"))
    assert engine.reload().report.accepted
    (dropped,) = counters(engine)["drops"]
    assert (dropped["port"], dropped["reason"], dropped["packets"]) == ("red/web1", "rate", 7)


@pytest.mark.parametrize(("what", "word"), [("host", "hv7"), ("tenant", "rde")])
def test_an_unknown_host_or_tenant_is_said(engine: Engine, what: str, word: str) -> None:
    told = counters(engine, **{what: word})
    assert (told["unknown"], told["word"]) == (what, word)


def test_status_tells_drops_in_total_only_where_it_is_asked(engine: Engine, switches: Counting) -> None:
    switches.counted = [(of_port("red/web1", INGRESS_REFUSED), 3), (of_port("red/web2", EGRESS_REFUSED), 4)]
    assert "counters" not in answer(engine, {"do": "status"})
    told = answer(engine, {"do": "status", "counters": True})["counters"]
    assert (told["dropped"], told["ports"], told["is_dry"], told["would_drop"]) == (7, 2, False, [])
    assert told["unread"] == ["br-tun@hv1", "br-tun@hv2"], "they have not connected"
