"""The tests that tenants write, and how they are read when they leave something open."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from controller.model.entities import PolicyTest, Rule, Topology, Verdict
from controller.proof.policy import Result, run_tests
from tests.builders import Entity, allow, expect, fabric, group, host, network, physical_network, port

OPENINGS = {
    "web": [allow("tcp", 80, line=7)],
    "ping": [allow("icmp", icmp_type=8, line=8)],
    "all-tcp": [allow("tcp", (1, 30000)), allow("tcp", (30001, 65535))],
    "most-tcp": [allow("tcp", (1, 30000)), allow("tcp", (30002, 65535))],
    "any": [allow()],
    "none": [],
}


def judged(opening: str, *tests: PolicyTest) -> list[Result]:
    entities: list[Entity] = [
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        group("red/g", ingress=OPENINGS[opening]),
        port("red/a", "red/n", "10.0.0.1", host="hv1"),
        port("red/b", "red/n", "10.0.0.2", groups=["red/g"]),
    ]
    return run_tests(fabric(*entities, *tests))


@pytest.mark.parametrize(
    ("opening", "protocol", "number", "allow_holds", "deny_holds"),
    [
        ("web", "tcp", 80, True, False),
        ("web", "tcp", 81, False, True),
        ("web", "tcp", None, False, False),
        ("web", "udp", None, False, True),
        ("web", "any", None, False, False),
        ("ping", "icmp", None, True, False),
        ("ping", "any", None, True, False),
        ("ping", "icmpv6", None, False, True),
        ("all-tcp", "tcp", None, True, False),
        ("most-tcp", "tcp", None, False, False),
        ("any", "any", None, True, False),
        ("any", "sctp", None, True, False),
        ("none", "any", None, False, True),
        ("none", "icmp", None, False, True),
    ],
)
def test_a_test_that_leaves_something_open_is_read_strictly(
    opening: str, protocol: str, number: int | None, allow_holds: bool, deny_holds: bool
) -> None:
    allowed, denied = judged(
        opening,
        expect("allow", "red/a", "red/b", protocol, number),
        expect("deny", "red/a", "red/b", protocol, number, reply=False),
    )
    assert (allowed.passed, denied.passed) == (allow_holds, deny_holds)


def test_the_explanation_names_what_passes_and_the_line() -> None:
    [result] = judged("web", expect("deny", "red/a", "red/b"))
    assert result.explanation == ("tcp 80 passes: ingress of red/b: group red/g ingress tcp 80 (tenants/red.yaml:7:1)")


def test_the_explanation_names_the_first_port_that_is_closed() -> None:
    [result] = judged("most-tcp", expect("allow", "red/a", "red/b", "tcp"))
    assert "no rule of red/g allows tcp 30001 from 10.0.0.1" in result.explanation


def test_an_address_may_be_the_target() -> None:
    known, unknown = judged(
        "web", expect("allow", "red/a", "10.0.0.2", "tcp", 80), expect("deny", "red/a", "10.0.0.3", "tcp", 80)
    )
    assert known.passed
    assert unknown.passed
    assert "no port of red/n has 10.0.0.3" in unknown.explanation


def test_ten_thousand_ports_are_judged_in_seconds() -> None:
    started = time.process_time()
    results = run_tests(large(ports=10_000, tests=100_000))
    elapsed = time.process_time() - started
    assert all(result.passed for result in results)
    assert elapsed < 15, f"{elapsed:.1f} s for 100,000 tests"


def large(ports: int, tests: int) -> Topology:
    """One hundred networks of one hundred ports, and groups that name each other."""
    entities: list[Entity] = [host("hv1")]
    names = []
    for n in range(ports // 100):
        entities.append(network(f"t{n}/n", f"10.{n}.0.0/24"))
        rules = [allow("tcp", 1000 + i, far=f"t{n}/g{i % 4}") for i in range(20)]
        entities += [group(f"t{n}/g{i}", ingress=rules) for i in range(4)]
        for i in range(100):
            names.append(f"t{n}/p{i}")
            entities.append(port(names[-1], f"t{n}/n", f"10.{n}.0.{i + 1}", host="hv1", groups=[f"t{n}/g{i % 4}"]))
    pairs = ((names[i % ports], names[(i + 4 * (i % 10)) // 100 % (ports // 100) * 100 + i % 4]) for i in range(tests))
    for source, target in pairs:
        same = source.partition("/")[0] == target.partition("/")[0]
        number = 1000 + int(source.rpartition("p")[2]) % 4
        entities.append(expect("allow" if same else "deny", source, target, "tcp", number))
    return fabric(*entities)


def outside(source: str, *, provider: bool) -> bool:
    """Return whether HTTP from an address to port red/b, whose group allows two prefixes in, is allowed."""
    entities: list[Entity] = [
        host("hv1"),
        physical_network("physnet1", "hv1"),
        network("red/n", "10.0.0.0/24", kind="flat", physical="physnet1")
        if provider
        else network("red/n", "10.0.0.0/24"),
        group("red/g", ingress=[allow("tcp", 80, far=["192.0.2.0/24", "10.0.0.0/24"])]),
        group("red/mute", egress=[]),
        port("red/a", "red/n", "10.0.0.1", host="hv1", groups=["red/mute"]),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/g"]),
    ]
    return run_tests(fabric(*entities, expect("allow", source, "red/b", "tcp", 80)))[0].passed


def test_what_comes_from_the_wire_meets_the_receivers_rules_alone() -> None:
    assert outside("192.0.2.7", provider=True)
    assert not outside("198.51.100.7", provider=True)


def test_no_stranger_sends_into_a_tunnel_network() -> None:
    assert not outside("192.0.2.7", provider=False)


def test_a_ports_own_address_stands_for_the_port() -> None:
    assert not outside("10.0.0.1", provider=True)
    assert outside("10.0.0.9", provider=True)


def stateless(expected: PolicyTest, *answers: Rule) -> Result:
    """Return how a test fares of red/a, and of red/b which is stateless, lets in HTTP and echo and lets out these answers."""
    entities: list[Entity] = [
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        group("red/g", ingress=[allow("tcp", 80), allow("icmp", icmp_type=8)], egress=answers, stateless=True),
        port("red/a", "red/n", "10.0.0.1", host="hv1"),
        port("red/b", "red/n", "10.0.0.2", groups=["red/g"]),
    ]
    return run_tests(fabric(*entities, expected))[0]


CLIENTS = (32768, 60999)


@pytest.mark.parametrize(
    ("protocol", "number", "answers", "is_answered"),
    [
        ("tcp", 80, [allow("tcp", CLIENTS)], True),
        ("tcp", 80, [allow("tcp", (32768, 40000), (40001, 60999))], True),
        ("tcp", 80, [allow("tcp", (32769, 60999))], False),
        ("tcp", 80, [], False),
        ("any", None, [allow("icmp", icmp_type=0)], True),
        ("any", None, [allow("tcp")], False),
    ],
)
def test_answers_of_stateless_ports_must_be_allowed(
    protocol: str, number: int | None, answers: list[Rule], is_answered: bool
) -> None:
    with_reply = expect("allow", "red/a", "red/b", protocol, number)
    assert stateless(with_reply, *answers).passed is is_answered
    assert stateless(replace(with_reply, reply=False), *answers).passed, "the first packet alone"
    assert not stateless(replace(with_reply, expect=Verdict.DENY), *answers).passed, "the first packet passes"


def test_the_explanation_names_the_port_that_the_answer_cannot_go_to() -> None:
    result = stateless(expect("allow", "red/a", "red/b", "tcp", 80), allow("tcp", (32768, 50000)))
    assert result.explanation.startswith(
        "no answer: egress default deny of red/b: no rule of red/g allows tcp 50001 to 10.0.0.1"
    )


def test_what_is_not_enforced_passes_and_the_explanation_says_so() -> None:
    entities: list[Entity] = [
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        group("red/g", ingress=[allow("tcp", 80)], enforce=False),
        port("red/a", "red/n", "10.0.0.1", host="hv1"),
        port("red/b", "red/n", "10.0.0.2", groups=["red/g"]),
    ]
    kinds = [("tcp", 80), ("tcp", 22), ("udp", None), ("any", None)]
    results = run_tests(fabric(*entities, *(expect("allow", "red/a", "red/b", *kind) for kind in kinds)))
    assert all(result.passed for result in results)
    assert ["would drop" in result.explanation for result in results] == [False, True, True, True]
    denied = run_tests(fabric(*entities, *(expect("deny", "red/a", "red/b", *kind) for kind in kinds)))
    assert not any(result.passed for result in denied)
