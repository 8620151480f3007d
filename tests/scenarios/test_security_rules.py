"""Security groups: which new connections the rules let in and out, after Neutron's tests and the format's promises.

Every story asks on one host and across a tunnel, over IPv4 and IPv6. `passes` also wants the answer back, which
no rule names, so that each of them is a test of stateful rules as well.
"""

from __future__ import annotations

import pytest

from controller.model.entities import Rule
from tests.builders import allow, group
from tests.scenarios.talk import Talk
from tests.scenarios.town import CLIENTS, FAR, NEAR, OTHER, SERVER, town

pytestmark = pytest.mark.ovs

VERSIONS = (4, 6)
ASKED = ("tcp 80", "udp 80", "sctp 80", "icmp", "47", "112")
PING = (allow("icmp", ethertype=4), allow("icmpv6", ethertype=6))


def guard_server(talk: Talk, *ingress: Rule) -> None:
    """Put a group with these rules on the server; clients are in no group."""
    talk.enforce(town(group("red/g", ingress=ingress), members={SERVER: ["red/g"]}))


def reaches_server(talk: Talk, what: str) -> set[tuple[str, int]]:
    """Return (client, IP version) of everyone who may talk to the server in this way."""
    return {
        (name, version) for name in CLIENTS for version in VERSIONS if talk.passes(name, SERVER, what, version=version)
    }


EVERYONE = {(name, version) for name in CLIENTS for version in VERSIONS}


def test_a1_ping_needs_a_rule_and_stops_with_it(talk: Talk) -> None:
    """No ingress rule: no ping. With one: ping. Without it again: no new one."""
    for rules, expected in (((), set()), (PING, EVERYONE), ((), set())):
        guard_server(talk, *rules)
        assert reaches_server(talk, "icmp") == expected
        talk.net.forget()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a3_egress_rules_let_out_what_they_name(talk: Talk, protocol: str) -> None:
    """The group's only egress rule is one port: that one connects, the next one does not, nor another protocol."""
    caged = group("red/caged", egress=[allow(protocol, 7000)])
    talk.enforce(
        town(
            caged,
            group("red/open", ingress=[allow()]),
            members={SERVER: ["red/open"], FAR: ["red/open"], NEAR: ["red/caged"]},
        )
    )
    other = {"tcp": "udp", "udp": "tcp"}[protocol]
    for target in (SERVER, FAR):
        for version in VERSIONS:
            seen = [
                talk.passes(NEAR, target, what, version=version)
                for what in (f"{protocol} 7001", f"{protocol} 6999", f"{other} 7000", "icmp", f"{protocol} 7000")
            ]
            assert seen == [False, False, False, False, True], (target, version)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_a5_a_range_of_ports_is_open_to_its_ends_and_no_further(talk: Talk, protocol: str) -> None:
    guard_server(talk, allow(protocol, (12345, 12346)))
    for number, expected in ((12344, set()), (12345, EVERYONE), (12346, EVERYONE), (12347, set())):
        assert reaches_server(talk, f"{protocol} {number}") == expected, number


def test_a_list_of_ports_and_ranges_is_their_union(talk: Talk) -> None:
    """`ports: [22, 80-83, 443]`, and a range that no single mask covers."""
    guard_server(talk, allow("tcp", 22, (80, 83), 443), allow("udp", (5001, 5010)))
    wanted = {22, 80, 81, 82, 83, 443}
    asked = {21, 22, 23, 79, 80, 81, 82, 83, 84, 442, 443, 444}
    assert {number for number in asked if talk.passes(FAR, SERVER, f"tcp {number}")} == wanted
    assert {number for number in range(4999, 5013) if talk.passes(FAR, SERVER, f"udp {number}")} == set(
        range(5001, 5011)
    )


def test_a7_all_ports_open_and_close_with_one_rule(talk: Talk) -> None:
    """1-65535 over TCP: any two numbers are open; the rule goes: both closed to new connections."""
    guard_server(talk, allow("tcp", (1, 65535)))
    for number in (1, 4711, 65535):
        assert reaches_server(talk, f"tcp {number}") == EVERYONE
    assert reaches_server(talk, "udp 4711") == set()
    guard_server(talk)
    for number in (1, 4711, 65535):
        assert reaches_server(talk, f"tcp {number}") == set()


def test_a9_sctp_passes_by_number_and_port_and_opens_no_other_port(talk: Talk) -> None:
    """Protocol 132, port 3366: closed without the rule, open with it; the open association is no door to port 3367."""
    guard_server(talk, *PING)
    assert reaches_server(talk, "sctp 3366") == set()
    guard_server(talk, allow(132, 3366))
    assert reaches_server(talk, "sctp 3366") == EVERYONE
    assert reaches_server(talk, "sctp 3367") == set()
    assert reaches_server(talk, "sctp 3366") == EVERYONE


def test_a9_sctp_is_free_where_everything_is_allowed(talk: Talk) -> None:
    """Members of an open group keep talking on any port, however many associations there are."""
    talk.enforce(
        town(group("red/open", ingress=[allow()]), members={name: ["red/open"] for name in (SERVER, *CLIENTS)})
    )
    for number in (3366, 3367, 3366):
        assert reaches_server(talk, f"sctp {number}") == EVERYONE
        assert talk.passes(SERVER, FAR, f"sctp {number}")


def test_a11_a_prefix_that_does_not_hold_the_peer_keeps_it_out(talk: Talk) -> None:
    """Ping is for the far clients' prefix, SSH for all: the near one has SSH only."""
    far = [allow("icmp", far="10.0.0.0/29", ethertype=4), allow("icmp", far="10.0.0.4/30", ethertype=4)]
    guard_server(talk, far[1], allow("tcp", 22))
    assert reaches_server(talk, "icmp") == {(OTHER, 4)}
    assert reaches_server(talk, "tcp 22") == EVERYONE
    guard_server(talk, far[0], allow("tcp", 22))
    assert reaches_server(talk, "icmp") == {(name, 4) for name in CLIENTS}


@pytest.mark.parametrize(
    ("rule", "over4", "over6"),
    [
        (allow("tcp"), {"tcp 80"}, {"tcp 80"}),
        (allow("udp"), {"udp 80"}, {"udp 80"}),
        (allow("sctp"), {"sctp 80"}, {"sctp 80"}),
        (allow("icmp", ethertype=4), {"icmp"}, set()),
        (allow("icmpv6", ethertype=6), set(), {"icmp"}),
        (allow(47), {"47"}, {"47"}),
        (allow(112, ethertype=4), {"112"}, set()),
        (allow("tcp", 80, ethertype=6), set(), {"tcp 80"}),
        (allow("any"), set(ASKED), set(ASKED)),
        (allow("any", ethertype=4), set(ASKED), set()),
        (allow("any", far="fd00::/64"), set(), set(ASKED)),
        (allow("any", far="10.0.0.128/25"), set(), set()),
    ],
    ids=lambda value: "" if isinstance(value, set) else f"{value.protocol} {value.ethertype} {value.cidrs}",
)
def test_each_protocol_is_let_in_by_its_own_rule_only(talk: Talk, rule: Rule, over4: set[str], over6: set[str]) -> None:
    guard_server(talk, rule)
    for client in (NEAR, FAR):
        assert {what for what in ASKED if talk.passes(client, SERVER, what)} == over4
        assert {what for what in ASKED if talk.passes(client, SERVER, what, version=6)} == over6


def test_icmp_types_and_codes_are_looked_at(talk: Talk) -> None:
    """A rule for echo requests lets no timestamp request in; one for a code that pings do not have no ping."""
    guard_server(talk, allow("icmp", icmp_type=8, ethertype=4), allow("icmpv6", icmp_type=128, ethertype=6))
    assert reaches_server(talk, "icmp 13") == set()
    assert reaches_server(talk, "icmp") == EVERYONE
    guard_server(talk, allow("icmp", icmp_type=8, icmp_code=0, ethertype=4))
    assert reaches_server(talk, "icmp") == {(name, 4) for name in CLIENTS}
    guard_server(talk, allow("icmp", icmp_type=8, icmp_code=1, ethertype=4), allow("icmp", icmp_type=13, ethertype=4))
    assert reaches_server(talk, "icmp") == set()
    assert talk.passes(FAR, SERVER, "icmp 13")


def test_far_sides_may_be_prefixes_and_groups_in_one_list(talk: Talk) -> None:
    """`from: [{cidr: ...}, {group: ...}]` lets in who is in either; `to` likewise lets out."""
    staff = group("red/staff")
    either = [allow("tcp", 22, far=["10.0.0.4/32", "red/staff"])]
    talk.enforce(town(staff, group("red/g", ingress=either), members={SERVER: ["red/g"], FAR: ["red/staff"]}))
    assert reaches_server(talk, "tcp 22") == {(FAR, 4), (FAR, 6), (OTHER, 4)}
    caged = group("red/g", egress=[allow("tcp", 22, far=["10.0.0.4/32", "red/staff"])])
    heard = group("red/heard", ingress=[allow()])
    members = {SERVER: ["red/g"], NEAR: ["red/heard"], FAR: ["red/heard", "red/staff"], OTHER: ["red/heard"]}
    talk.enforce(town(staff, heard, caged, members=members))
    out = {
        (name, version)
        for name in CLIENTS
        for version in VERSIONS
        if talk.passes(SERVER, name, "tcp 22", version=version)
    }
    assert out == {(FAR, 4), (FAR, 6), (OTHER, 4)}


def test_no_groups_is_nothing_in_and_everything_out(talk: Talk) -> None:
    """Ports without groups: whatever they open to one that listens passes, and nobody opens anything to them."""
    talk.enforce(town(group("red/open", ingress=[allow()]), members={SERVER: ["red/open"]}))
    for what in ASKED:
        assert reaches_server(talk, what) == EVERYONE, what
        for source, target in ((NEAR, FAR), (FAR, NEAR), (SERVER, FAR), (SERVER, NEAR), (OTHER, FAR)):
            talk.net.forget()  # Without ports to tell them apart, the other way round would be an answer.
            assert not [version for version in VERSIONS if talk.passes(source, target, what, version=version)]


@pytest.mark.parametrize("asker", [NEAR, FAR], ids=["same-host", "two-hosts"])
def test_b1_a_group_may_be_reached_from_another_by_what_the_rule_names(talk: Talk, asker: str) -> None:
    """A's member may be pinged from B and by no other way; it may itself open nothing; a stranger may not ping it."""
    a = group(
        "red/a", ingress=[allow("icmp", far="red/b", ethertype=4), allow("icmpv6", far="red/b", ethertype=6)], egress=[]
    )
    b = group("red/b", ingress=[allow()])
    talk.enforce(town(a, b, members={SERVER: ["red/a"], asker: ["red/b"]}))
    for version in VERSIONS:
        assert not talk.passes(SERVER, asker, "icmp", version=version)
        assert not talk.passes(asker, SERVER, "tcp 80", version=version)
        assert not talk.passes(OTHER, SERVER, "icmp", version=version)
        assert talk.passes(asker, SERVER, "icmp", version=version)


def test_b5_rules_that_overlap_add_up(talk: Talk) -> None:
    """3000 from g0, 3000-3002 from g1: each client has what its group has, twice over."""
    rules = [allow("tcp", 3000, far="red/g0"), allow("tcp", (3000, 3002), far="red/g1")]
    members = {SERVER: ["red/g0", "red/g1"], NEAR: ["red/g0"], FAR: ["red/g1"]}
    talk.enforce(town(group("red/g0", ingress=rules), group("red/g1"), members=members))
    numbers = range(2999, 3004)
    for _ in range(2):
        for version in VERSIONS:
            seen = {
                name: {number for number in numbers if talk.passes(name, SERVER, f"tcp {number}", version=version)}
                for name in CLIENTS
            }
            assert seen == {NEAR: {3000}, FAR: {3000, 3001, 3002}, OTHER: set()}


def test_b7_a_group_and_a_prefix_that_hold_the_same_address(talk: Talk) -> None:
    """Ping is allowed by both (a prefix stands for an address group): either one suffices, without both it stops."""
    by_group = allow("icmp", far="red/friends", ethertype=4)
    by_prefix = allow("icmp", far=["10.0.0.3/32", "10.0.0.99/32"], ethertype=4)
    for rules, expected in (((by_group, by_prefix), {(FAR, 4)}), ((by_prefix,), {(FAR, 4)}), ((), set())):
        members = {SERVER: ["red/g"], FAR: ["red/friends"]}
        talk.enforce(town(group("red/g", ingress=rules), group("red/friends"), members=members))
        assert reaches_server(talk, "icmp") == expected
        talk.net.forget()


def test_b9_groups_of_a_port_add_up_and_go_one_by_one(talk: Talk) -> None:
    """With two groups what either allows passes; without the first its part has gone, the second's works on."""
    g0 = group("red/g0", ingress=[allow("tcp", 22, far="red/g0")])
    g1 = group("red/g1", ingress=[allow("tcp", 80)])
    for groups, ssh in ((["red/g0", "red/g1"], {(NEAR, 4), (NEAR, 6)}), (["red/g1"], set())):
        talk.enforce(town(g0, g1, members={SERVER: groups, NEAR: ["red/g0"]}))
        assert reaches_server(talk, "tcp 22") == ssh
        assert reaches_server(talk, "tcp 80") == EVERYONE
