"""What the end of a rule silences goes on when it is back, wherever the ends are; groups change and nothing else is lost."""

from __future__ import annotations

import random
import re
import time

import pytest

from controller.pipeline.plan import pipeline
from tests.faults.site import crash_controller
from tests.scenarios.labs import differences, write
from tests.scenarios.live import BOTH, FAR, MATE, NEAR, SERVER, TENANT, Live, red, rules
from tests.scenarios.test_security_live_faults import SERVERS, WITH, WITHOUT, start
from tests.scenarios.test_security_live_heirs import (
    HEIR,
    HEIRS,
    PLACED,
    lives_its_own_life,
    name_heir,
    old_owner,
    plug,
    strays,
)
from tests.scenarios.test_security_live_rules import SIDES, ruled

pytestmark = pytest.mark.lab

LEDGER = pipeline().tables["ledger"].number
EDITS, ROUNDS, SEED, TRADES = 20, 4, 20260101, 3


def test_c1_a_server_that_may_speak_to_anybody_keeps_nothing_open(live: Live) -> None:
    """C1 with everything allowed out, as by default, and both sides talking: TCP and UDP are silent, both ways."""
    groups = "g: {{ingress: [{}]}}"
    live.edit(groups.format(f"{rules(5001)}, {rules(5002)}"), {"server": ["g"]})
    cut, kept = live.talk(BOTH, SERVER, 5001), live.talk(BOTH, SERVER, 5002)
    with live.unharmed(kept):
        live.edit(groups.format(rules(5002)), {"server": ["g"]})
        live.silent(cut, beside=kept)


@SIDES
def test_s41_a_rule_comes_back_and_its_connections_go_on(live: Live, side: str) -> None:
    """S41: the very connections and the ping that the rule's end had silenced go on when it is there again."""
    both = f"{rules(5001)}, {{protocol: icmp}}, {rules(5002)}"
    ruled(live, side, both)
    cut, kept = live.talk(BOTH, SERVER, 5001), live.talk(BOTH, SERVER, 5002)
    cut += live.talk(BOTH, SERVER, 0, kinds=["icmp"])
    with live.unharmed(kept):
        ruled(live, side, rules(5002))
        live.silent(cut, beside=kept)
        ruled(live, side, both)
        live.goes_on(cut)
        new = live.talk(BOTH, SERVER, 5001)
    with live.unharmed([*cut, *new, *kept]):
        ruled(live, side, f"{both}, {rules(5003)}")


def test_a_network_that_joins_a_router_or_leaves_it_takes_its_connections_along(live: Live) -> None:
    """A router comes to it and goes: they lose nothing. They are in the zone that it has, and none stays in one that it had."""
    plain = red(f"g: {{ingress: [{rules(5001)}], egress: []}}", {"server": ["g"]})
    live.edit(f"g: {{ingress: [{rules(5001)}], egress: []}}", {"server": ["g"]})
    talk = live.talk(BOTH, SERVER, 5001)
    for router in ("routers:\n  r: {networks: [n]}\n", ""):
        with live.unharmed(talk):
            write(live.net.lab.folder / TENANT, plain + router)
            live.apply()
        for host in live.net.lab.plan.hosts:
            said = live.net.lab.exec_host(host, ["ovs-appctl", "dpctl/dump-conntrack"], check=True).stdout
            notes = live.net.lab.exec_host(host, ["ovs-ofctl", "dump-flows", "br-int", f"table={LEDGER}"], check=True)
            noted = {int(zone, 16) for zone in re.findall(r"reg1=(0x[0-9a-f]+)", notes.stdout)}
            assert {int(zone) for zone in re.findall(r"zone=(\d+)", said)} <= noted


@pytest.mark.parametrize(("mover", "stayer"), [(NEAR, FAR), (FAR, NEAR)], ids=["same-host", "two-hosts"])
def test_who_joins_a_group_is_let_in_and_who_leaves_it_is_silent(live: Live, mover: str, stayer: str) -> None:
    """A rule lets a group in. What lives by another rule, or between others, loses nothing when members come and go."""
    groups = f"g: {{ingress: [{rules(5001, 'from: {group: friends}')}, {rules(5002)}], egress: []}}\nfriends: {{}}"

    def edit(*friends: str) -> None:
        live.edit(groups, {"server": ["g"], **{name.removeprefix("red/"): ["friends"] for name in friends}})

    edit(stayer)
    kept = [*live.talk([stayer], SERVER, 5001), *live.talk(BOTH, SERVER, 5002)]
    live.refuses(mover, SERVER, 5001)
    with live.unharmed(kept):
        edit(stayer, mover)
        cut = live.talk([mover], SERVER, 5001)
        with live.unharmed(cut):
            edit(stayer, mover, MATE)
            edit(stayer, mover)
        edit(stayer)
        live.silent(cut, beside=kept)
        live.refuses(mover, SERVER, 5001)
        edit(stayer, mover)
        live.goes_on(cut)


@SIDES
def test_b9_a_port_changes_its_groups_under_its_connections(live: Live, side: str) -> None:
    """B9: what both groups allow loses nothing, what the old one alone allowed is silent, and goes on when it is back."""
    word = "ingress" if side == "in" else "egress"
    others = "egress: []" if side == "in" else "ingress: []"
    groups = (
        f"a: {{{word}: [{rules('5001-5002')}], {others}}}\nb: {{{word}: [{rules('[5001, 5003]')}], {others}}}\n"
        "open: {ingress: [{}], egress: []}"
    )

    def edit(*mine: str) -> None:
        members = {"server": ["open"], "near": mine, "far": mine}
        live.edit(groups, {"server": mine} if side == "in" else members)

    edit("a")
    kept, of_a = live.talk(BOTH, SERVER, 5001), live.talk(BOTH, SERVER, 5002)
    with live.unharmed(kept):
        with live.unharmed(of_a):
            edit("a", "b")
            of_b = live.talk(BOTH, SERVER, 5003)
        with live.unharmed(of_b):
            edit("b")
            live.silent(of_a, beside=kept)
        edit("a")
        live.silent(of_b, beside=kept)
        live.goes_on(of_a)


def test_a_port_trades_its_groups_while_its_host_has_many_flows_to_look_through(live: Live) -> None:
    """Groups come, go and come back; a class that is left, or back, has its rules as long as any cached flow leads to it."""
    groups = (
        f"a: {{egress: [{rules('5001-5002')}]}}\nb: {{egress: [{rules('[5001, 5003]')}]}}\nopen: {{ingress: [{{}}]}}"
    )

    def edit(*mine: str) -> None:
        live.edit(groups, {"server": ["open"], "near": mine, "far": mine})

    edit("a")
    kept = live.talk(BOTH, SERVER, 5001)
    for _ in range(TRADES):
        live.crowd(NEAR)
        live.goes_on(kept)
        with live.unharmed(kept):
            for mine in (("a", "b"), ("b",), ("a",)):
                edit(*mine)
    live.disperse(NEAR)


@SIDES
def test_whatever_is_edited_what_all_allow_loses_nothing(live: Live, side: str) -> None:
    """Twenty random ways, after one another, to write one side's rules so that they allow port 5001 among others."""
    chance = random.Random(SEED)  # noqa: S311 - Rules, not secrets.
    word, group = ("from", "clients") if side == "ingress" else ("to", "servers")

    def edit() -> None:
        written = f"{side}: [{some_rules(chance, word, group)}]"
        groups = f"servers: {{{written if side == 'ingress' else 'ingress: any'}}}\n"
        groups += f"clients: {{{written if side == 'egress' else ''}}}"
        live.edit(groups, {"server": ["servers"], "near": ["clients"], "far": ["clients"]})

    edit()
    talk = live.talk(BOTH, SERVER, 5001)
    with live.unharmed(talk):
        for _ in range(EDITS):
            edit()


def some_rules(chance: random.Random, word: str, group: str) -> str:
    """Rules that allow port 5001 of TCP and UDP between the clients and the server, written in one of many ways."""
    sides = (
        "",
        f"{word}: {{cidr: 10.8.0.0/24}}",
        f"{word}: {{cidr: 10.8.0.0/29}}",
        f"{word}: [{{cidr: 10.8.0.2/31}}, {{cidr: 10.8.0.4/32}}]",
        f"{word}: {{group: {group}}}",
        f"{word}: [{{group: {group}}}, {{cidr: 192.0.2.0/24}}]",
    )
    ports = ("", "5001", "5000-5999", "[5001, 7000]", "4000-5001", "[4999-5000, 5001-5002]", "1-65535", "5001-5001")
    written = []
    for protocol in ("tcp", "udp"):
        parts = (f"ports: {numbers}" if (numbers := chance.choice(ports)) else "", chance.choice(sides))
        written.append(", ".join([f"{{protocol: {protocol}", *filter(None, parts)]) + "}")
    if chance.random() < 0.2:
        written = [f"{{{chance.choice(sides)}}}"]
    written.append(rules(chance.randrange(6000, 7000)))
    chance.shuffle(written)
    return ", ".join(written)


def test_a_controller_killed_in_the_middle_leaves_no_connection_open(live: Live) -> None:
    """A rule goes and comes back, and each time the controller is killed on the way: the next one makes it true."""
    chance = random.Random(SEED)  # noqa: S311 - Moments, not secrets.
    live.edit(WITH, SERVERS)
    cut, kept = (live.talk(BOTH, SERVER, number) for number in (5001, 5002))
    began = time.monotonic()
    live.edit(f"{WITH}\nmore: {{}}", SERVERS)
    to_push = time.monotonic() - began
    with live.unharmed(kept):
        for number in range(ROUNDS):
            live.save(WITH if number % 2 else WITHOUT, SERVERS)
            time.sleep(chance.uniform(0, to_push))
            crash_controller(live.net)
            start(live)
            assert differences(live.net) == [], number
            if number % 2:
                live.goes_on(cut)
            else:
                live.silent(cut, beside=kept)


def test_what_is_saved_without_a_controller_cuts_when_there_is_one(live: Live) -> None:
    """The controller is away while a rule goes, and again while it comes back."""
    live.edit(WITH, SERVERS)
    cut, kept = live.talk(BOTH, SERVER, 5001), live.talk(BOTH, SERVER, 5002)
    with live.unharmed(kept):
        with live.unharmed(cut):
            live.net.lab.stop_controller()
            live.save(WITHOUT, SERVERS)
            live.goes_on(cut)
        start(live)
        live.silent(cut, beside=kept)
        crash_controller(live.net)
        live.save(WITH, SERVERS)
        start(live)
        live.goes_on(cut)


@HEIRS
@PLACED
def test_an_address_brings_no_connections_along(live: Live, place: str, group: str) -> None:
    """A port goes, and another is given its address and MAC: nobody's answers and questions to the old one reach the new one.

    It has the old one's groups or others; its own connections work.
    """
    with old_owner(live, group) as talk:
        name_heir(live, group, place)
        live.apply()
        plug(live)
        lives_its_own_life(live, group, talk)
        assert strays(live, HEIR) == {"datagrams": 0, "segments": 0}
