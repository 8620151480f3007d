"""Rules and groups that are not enforced: what they would have dropped passes, and the oracle says so."""

from __future__ import annotations

import pytest

from controller.model.entities import Port, SecurityGroup, Topology
from controller.proof.oracle import Decision, Oracle
from tests.builders import allow, fabric, group, host, network, port

TCP, UDP = 6, 17
WEB, DRY_WEB = allow("tcp", 80), allow("tcp", 80, enforce=False)


def behind(*groups: SecurityGroup, sender: SecurityGroup | None = None) -> Topology:
    """Port red/b with these groups, and red/a that sends to it under its own group, or under none."""
    own = () if sender is None else (sender,)

    def member(name: str, address: str, of: tuple[SecurityGroup, ...]) -> Port:
        return port(name, "red/n", address, host="hv1", groups=[each.name for each in of])

    return fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        *groups,
        *own,
        member("red/a", "10.0.0.1", own),
        member("red/b", "10.0.0.2", groups),
    )


def asked(topology: Topology, number: int) -> Decision:
    return Oracle(topology).allows("red/a", "red/b", protocol=TCP, port=number)


def fate(topology: Topology, number: int) -> str:
    decision = asked(topology, number)
    assert decision.allowed or not decision.would_drop
    return "would drop" if decision.would_drop else "passes" if decision.allowed else "dropped"


@pytest.mark.parametrize(
    ("groups", "at_80", "at_22"),
    [
        # What of tcp 80, which a rule covers, and of tcp 22, which none does.
        ([group("red/g", ingress=[WEB])], "passes", "dropped"),
        ([group("red/g", ingress=[DRY_WEB])], "would drop", "dropped"),
        ([group("red/g", ingress=[DRY_WEB, WEB])], "passes", "dropped"),
        ([group("red/g", ingress=[WEB], enforce=False)], "passes", "would drop"),
        ([group("red/g", ingress=[DRY_WEB], enforce=False)], "would drop", "would drop"),
        ([group("red/g", enforce=False)], "would drop", "would drop"),
        # Two groups: one that is enforced is enough for the default deny.
        ([group("red/g", ingress=[WEB], enforce=False), group("red/h", enforce=False)], "passes", "would drop"),
        ([group("red/g", ingress=[WEB], enforce=False), group("red/h")], "passes", "dropped"),
        ([group("red/g", ingress=[DRY_WEB], enforce=False), group("red/h")], "would drop", "dropped"),
        ([group("red/g", enforce=False), group("red/h", ingress=[WEB])], "passes", "dropped"),
        # No group at all is not a group that is not enforced.
        ([], "dropped", "dropped"),
    ],
)
def test_what_becomes_of_a_packet(groups: list[SecurityGroup], at_80: str, at_22: str) -> None:
    topology = behind(*groups)
    assert (fate(topology, 80), fate(topology, 22)) == (at_80, at_22)


SIDES = {"passes": [WEB], "would drop": [DRY_WEB], "dropped": []}


@pytest.mark.parametrize("receiver", SIDES)
@pytest.mark.parametrize("sender", SIDES)
def test_both_ends_have_a_say(sender: str, receiver: str) -> None:
    topology = behind(group("red/in", ingress=SIDES[receiver]), sender=group("red/out", egress=SIDES[sender]))
    worst = max((sender, receiver), key=list(SIDES).index)
    assert fate(topology, 80) == worst


def test_the_reason_names_what_is_not_enforced() -> None:
    rule = allow("tcp", 80, line=7, enforce=False)
    assert asked(behind(group("red/g", ingress=[rule])), 80).reason == (
        "would drop, but ingress of red/b: group red/g ingress tcp 80 is not enforced (tenants/red.yaml:7:1)"
    )
    assert asked(behind(group("red/g", enforce=False)), 80).reason == (
        "would drop, but red/g is not enforced: ingress default deny of red/b: "
        "no rule of red/g allows tcp 80 from 10.0.0.1 (tenants/red.yaml:1:1)"
    )


def test_a_way_that_enforcement_would_not_change_is_told_first() -> None:
    topology = fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24", "fd00::/64"),
        group("red/g", ingress=[allow("tcp", 80, ethertype=4, enforce=False), allow("tcp", 80, ethertype=6)]),
        port("red/a", "red/n", "10.0.0.1", "fd00::1", host="hv1"),
        port("red/b", "red/n", "10.0.0.2", "fd00::2", host="hv1", groups=["red/g"]),
    )
    assert fate(topology, 80) == "passes"
    assert Oracle(topology).allows("red/a", "red/b", protocol=TCP, port=80, version=4).would_drop


def test_a_dry_group_has_members_all_the_same() -> None:
    topology = fabric(
        host("hv1"),
        network("red/n", "10.0.0.0/24"),
        group("red/dry", enforce=False),
        group("red/g", ingress=[allow("tcp", far="red/dry")]),
        port("red/a", "red/n", "10.0.0.1", host="hv1", groups=["red/dry"]),
        port("red/b", "red/n", "10.0.0.2", host="hv1", groups=["red/g"]),
    )
    assert fate(topology, 9) == "passes"
    assert Oracle(topology).allows("red/a", "red/b", protocol=UDP, port=9).reason.startswith("ingress default deny")
