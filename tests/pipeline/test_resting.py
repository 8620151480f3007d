"""Addresses of ports that go: their connections end when datapaths have followed, and nobody else has them before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from controller.pipeline.flow import Delta, Flow, Note, Output, Program, match
from controller.pipeline.left import come_back
from controller.pipeline.plan import pipeline
from controller.pipeline.registers import NETWORK, OWNER, SOURCE
from controller.pipeline.resting import Sender, gives_away, hands_over, rest, silenced
from controller.pipeline.rollout import phases
from tests.pipeline.changes import amounts, changed, content, difference, differences, flow, program, role

RESPOND, LEDGER, GUARD = (pipeline().tables[name].number for name in ("respond", "ledger", "source_guard"))
OLD, HEIR, ANOTHER = 1, 2, 3
WEB, DB = 5, 6


def answer(owner: int, network: int = WEB) -> Flow:
    """What answers for an address of a port."""
    where = match(**{NETWORK.field: network}, eth_type=0x0806, arp_op=1, arp_tpa=0x0A000001)
    return flow("send", where, [OWNER.load(owner), Output(1)], table=RESPOND)


def guard(key: int, address: int = 0x0A000001) -> Flow:
    """What lets a port send as an address of its own."""
    return flow("receive", match(**{SOURCE.field: key}, eth_type=0x0800, ip_src=address), goto=RESPOND, table=GUARD)


def port(key: int) -> Flow:
    """What takes in the packets of a port."""
    return flow("receive", match(in_port=key), [SOURCE.load(key)], goto=1)


def note(network: int = WEB, zone: int = 4) -> Flow:
    """What remembers a network's zone."""
    where = match(**{NETWORK.field: network, SOURCE.field: zone})
    return flow("receive", where, [Note(f"tag 17 zone {zone} red/web red/app".encode())], table=LEDGER)


def parts(before: Iterable[Program], after: Iterable[Program]) -> tuple[list[dict[int, Delta]], dict[int, Delta]]:
    """What is done of a change at once, and what later."""
    deltas = differences(before, after)
    return rest(phases(deltas, role), silenced(deltas.values()))


def test_who_goes_is_answered_for_until_datapaths_have_followed() -> None:
    before = [program(1, port(OLD), port(ANOTHER), answer(OLD), note()), program(2, answer(OLD), note())]
    now, later = parts(before, [program(1, port(ANOTHER), note()), program(2, note())])
    assert amounts(now) == [{1: (0, 1)}]
    assert amounts([later]) == [{1: (0, 1), 2: (0, 1)}]


def test_whose_port_only_moves_is_answered_for_no_longer_than_before() -> None:
    before = [program(1, port(OLD), answer(OLD), note()), program(2, note())]
    _, later = parts(before, [program(1, note()), program(2, port(OLD), note())])
    assert later == {}


def test_where_a_network_ends_its_zone_is_emptied_at_once() -> None:
    before = [program(1, port(OLD), answer(OLD), note(), note(DB)), program(2, answer(OLD), note())]
    _, later = parts(before, [program(1, note(DB)), program(2, note())])
    assert amounts([later]) == [{2: (0, 1)}]


def test_the_zone_that_a_network_had_before_another_one_ends_when_datapaths_have_followed() -> None:
    before = [program(1, port(OLD), answer(OLD), note(), note(DB)), program(2, answer(OLD), note())]
    joined = [program(1, port(OLD), answer(OLD), note(zone=5), note(DB)), program(2, answer(OLD), note(zone=5))]
    now, later = parts(before, joined)
    assert amounts(now) == [{1: (1, 0), 2: (1, 0)}]
    assert amounts([later]) == [{1: (0, 1), 2: (0, 1)}]


def test_an_address_that_changes_hands_at_once_does_so_in_a_phase_that_waits() -> None:
    before = [program(1, port(OLD), answer(OLD)), program(2, answer(OLD))]
    after = [program(1, answer(HEIR)), program(2, port(HEIR), answer(HEIR))]
    deltas = differences(before, after)
    silent = silenced(deltas.values())
    now, later = rest(phases(deltas, role), silent)
    assert (silent, later) == ({Sender(OLD)}, {})
    assert [hands_over(step, silent) for step in now] == [False] * (len(now) - 1) + [True]
    assert not any(hands_over(step, {Sender(ANOTHER)}) for step in now)


def test_an_address_that_a_port_exchanges_for_another_is_given_away_like_that_of_one_that_goes() -> None:
    other = 0x0A000002
    before = [program(1, port(OLD), guard(OLD), answer(OLD)), program(2, answer(OLD))]
    after = [program(1, port(OLD), guard(OLD, other), answer(HEIR)), program(2, port(HEIR), guard(HEIR), answer(HEIR))]
    deltas = differences(before, after)
    silent = silenced(deltas.values())
    now, _ = rest(phases(deltas, role), silent)
    assert silent == {Sender(OLD, IPv4Address(0x0A000001))}
    assert [hands_over(step, silent) for step in now] == [False] * (len(now) - 1) + [True]


def test_an_address_that_nobody_gets_from_a_port_that_stays_is_answered_for_until_datapaths_have_followed() -> None:
    before = [program(1, port(OLD), guard(OLD), answer(OLD), note()), program(2, answer(OLD), note())]
    _, later = parts(before, [program(1, port(OLD), note()), program(2, note())])
    assert amounts([later]) == [{1: (0, 1), 2: (0, 1)}]


def test_an_interface_that_another_port_takes_over_silences_the_first() -> None:
    other = flow("receive", match(in_port=OLD), [SOURCE.load(HEIR)], goto=1)
    assert silenced([difference(program(1, port(OLD)), program(1, other))]) == {Sender(OLD)}


def test_an_heir_waits_for_the_end_of_the_connections_and_who_comes_back_does_not() -> None:
    later = Delta(deletes={answer(OLD).key: answer(OLD)})
    heir, back, else_ = (difference(program(1), program(1, each)) for each in (answer(HEIR), answer(OLD), port(HEIR)))
    assert [gives_away(later, change) for change in (heir, back, else_)] == [True, False, False]
    rest_, whole = come_back(later, back)
    assert not rest_
    assert whole.replaced == later.deletes


FLOWS = st.sampled_from(
    [port(OLD), port(HEIR), guard(OLD), guard(HEIR), answer(OLD), answer(HEIR), answer(OLD, DB), note(), note(DB)]
)


@st.composite
def fabrics(draw: st.DrawFn) -> list[Program]:
    return [program(dpid, *draw(st.lists(FLOWS, max_size=6, unique_by=lambda each: each.key))) for dpid in (1, 2)]


@given(fabrics(), fabrics())
def test_whatever_rests_all_of_it_together_is_the_change(before: list[Program], after: list[Program]) -> None:
    now, later = parts(before, after)
    done: list[Mapping[int, Delta]] = [*now, later]
    for old, new in zip(before, after, strict=True):
        held = old
        for step in done:
            held = changed(held, step.get(old.dpid, Delta()))
        assert content(held) == content(new)
