"""Rules change while connections live by them: those they allow lose nothing, those they do not are silent at once."""

from __future__ import annotations

import pytest

from tests.scenarios.live import BOTH, FAR, MATE, NEAR, SERVER, Live, rules

pytestmark = pytest.mark.lab

# A rule may stand where connections come in, or where they go out.
SIDES = pytest.mark.parametrize("side", ["in", "out"])


def ruled(live: Live, side: str, allowed: str) -> None:
    """Let the clients say this to the server, which only answers, by its rules for what comes in or by theirs for what goes out."""
    if side == "in":
        live.edit(f"g: {{ingress: [{allowed}], egress: []}}", {"server": ["g"]})
    else:
        groups = f"g: {{ingress: [{{}}], egress: []}}\nc: {{egress: [{allowed}]}}"
        live.edit(groups, {"server": ["g"], "near": ["c"], "far": ["c"]})


@SIDES
@pytest.mark.parametrize("version", [4, 6])
def test_c1_a_rule_goes_and_with_it_its_connections_alone(live: Live, side: str, version: int) -> None:
    """C1: what the rule let in is silent at once, both ways; what another rule of the same ports let in loses nothing."""
    ruled(live, side, f"{rules(5001)}, {rules(5002)}")
    cut, kept = (live.talk(BOTH, SERVER, number, version=version) for number in (5001, 5002))
    with live.unharmed(kept):
        ruled(live, side, rules(5002))
        live.silent(cut, beside=kept)
    live.refuses(FAR, SERVER, 5001)
    live.refuses(NEAR, SERVER, 5001)


@SIDES
def test_a_rule_gives_way_to_others_that_cover_its_connections(live: Live, side: str) -> None:
    """Wider, all there is, by prefix, in pieces, narrower again: what every one of them allows loses nothing."""
    word = "from" if side == "in" else "to"
    ruled(live, side, rules(5001))
    kept = live.talk(BOTH, SERVER, 5001)
    with live.unharmed(kept):
        for allowed in (
            rules("5000-5999"),
            "{}",
            f"{{{word}: {{cidr: 10.8.0.0/24}}}}",
            rules("1-65535", f"{word}: {{cidr: 10.8.0.0/29}}"),
            rules("[4000-5000, 5001, 5002-6000]"),
            rules("5001-5003"),
            rules(5001, f"{word}: {{cidr: 10.8.0.0/29}}"),
            rules(5001),
        ):
            ruled(live, side, allowed)


@SIDES
def test_a_narrower_rule_cuts_what_it_leaves_out(live: Live, side: str) -> None:
    """A range loses its ends, then it is for some addresses only: what it still covers loses nothing."""
    ruled(live, side, f"{rules('5000-5004')}, {rules(5009)}")
    low, kept, high, other = (live.talk(BOTH, SERVER, number) for number in (5000, 5002, 5004, 5009))
    with live.unharmed([*kept, *other]):
        ruled(live, side, f"{rules('5001-5003')}, {rules(5009)}")
        live.silent([*low, *high], beside=kept)
    whom, cut = ("from: {cidr: 10.8.0.3/32}", [FAR]) if side == "in" else ("to: {cidr: 10.8.0.3/32}", [NEAR, FAR])
    left_out = [stream for stream in kept if stream.client in cut]
    with live.unharmed([*other, *(stream for stream in kept if stream not in left_out)]):
        ruled(live, side, f"{rules('5001-5003', whom)}, {rules(5009)}")
        live.silent(left_out, beside=other)


def test_b7_either_of_a_group_and_a_prefix_keeps_connections(live: Live) -> None:
    """B7: either rule keeps the connections and the ping; they are silent when both are gone. The outside is never let in."""
    by_group, by_prefix = (
        f"{rules(5001, whom)}, {{protocol: icmp, {whom}}}"
        for whom in ("from: {group: friends}", "from: {cidr: 10.8.0.4/32}")
    )
    members = {"server": ["g"], "far": ["friends"]}
    groups = "g: {{ingress: [{}], egress: []}}\nfriends: {{}}"
    other = rules(5002)
    live.edit(groups.format(f"{by_group}, {by_prefix}, {other}"), members)
    talk, beside = live.talk([FAR], SERVER, 5001), live.talk([FAR, NEAR], SERVER, 5002)
    talk += live.talk([FAR], SERVER, 0, kinds=["icmp"])
    outside = live.begin(NEAR, SERVER, 5001)
    with live.unharmed(beside):
        with live.unharmed(talk):
            live.edit(groups.format(f"{by_prefix}, {other}"), members)
            live.edit(groups.format(f"{by_group}, {other}"), members)
        live.edit(groups.format(other), members)
        live.silent(talk, beside=beside)
    assert outside.there.arrived == 0


def test_s39_conjunctions_change_under_their_connections(live: Live) -> None:
    """S39: far sides come and go, a rule above all comes and goes: what is allowed all the while loses nothing."""
    near, far, group = "{cidr: 10.8.0.3/32}", "{cidr: 10.8.0.4/32}", "{group: friends}"
    members = {"server": ["g"], "mate": ["friends"]}

    def edit(*far_sides: str, more: str = "") -> None:
        product = rules("[5001, 5003, 5005]", f"from: [{', '.join(far_sides)}]")
        live.edit(f"g: {{ingress: [{product}, {rules(5002)}{more}], egress: []}}\nfriends: {{}}", members)

    edit(near)
    kept, other = live.talk([NEAR], SERVER, 5001), live.talk([FAR], SERVER, 5002)
    with live.unharmed([*kept, *other]):
        edit(near, far)
        cut = live.talk([FAR], SERVER, 5001)
        with live.unharmed(cut):
            for more in (", {}", "", ", {protocol: tcp}", f", {rules('5000-5003')}", ""):
                edit(near, far, more=more)
            edit(near, far, group)
        edit(near, group)
        live.silent(cut, beside=[*kept, *other])
        edit(near)


def test_c5_no_packet_slips_through_while_rules_come_and_go(live: Live) -> None:
    """C5: a hundred a second, by UDP and ping, that may never get in, while a port's groups come, change and go."""
    groups = f"g: {{ingress: [{rules(5002)}]}}\nh: {{ingress: [{rules(5002)}, {rules('5003-5008')}]}}"
    live.edit(groups, {"server": ["g"]})
    kept = live.talk(BOTH, SERVER, 5002)
    strangers = [live.begin(client, SERVER, 5001, kind=kind) for client in BOTH for kind in ("udp", "icmp")]
    for mine in ([], ["g"], ["h"], [], ["g", "h"], ["g"]):
        live.edit(groups, {"server": mine})
        if mine:
            live.goes_on(kept)
    assert all(stream.there.sent for stream in strangers)
    assert [str(stream) for stream in strangers if stream.there.arrived] == []


@pytest.mark.parametrize(("mover", "stayer"), [(MATE, SERVER), (SERVER, MATE)], ids=["mate", "server"])
def test_who_leaves_a_group_is_spoken_to_no_more(live: Live, mover: str, stayer: str) -> None:
    """A rule lets ports out to a group, from the host of either member: the one that leaves is out of their reach at once."""
    out = f"c: {{egress: [{rules(5001, 'to: {group: friends}')}, {rules(5002)}]}}"
    groups = f"{out}\nopen: {{ingress: [{{}}], egress: []}}\nfriends: {{egress: []}}"

    def edit(*friends: str) -> None:
        members = {name: ["open", "friends"] if f"red/{name}" in friends else ["open"] for name in ("server", "mate")}
        live.edit(groups, {"near": ["c"], "far": ["c"], **members})

    edit(stayer, mover)
    cut = live.talk(BOTH, mover, 5001)
    kept = [*live.talk(BOTH, stayer, 5001), *live.talk(BOTH, mover, 5002)]
    with live.unharmed(kept):
        edit(stayer)
        live.silent(cut, beside=kept)
        edit(stayer, mover)
        live.goes_on(cut)
