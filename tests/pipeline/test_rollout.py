"""The order of a change across hosts, on flows of a few words; on compiled fabrics and switches: tests/ovs/test_rollout.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.pipeline.compile import pipeline
from controller.pipeline.flow import Delta, Flow, Group, Meter, Metered, Output, Program, SetField, ToGroup, match
from controller.pipeline.registers import OWNER, SOURCE
from controller.pipeline.rollout import Role, phases, roles
from controller.pipeline.tables import ContractError, Feature, Pipeline
from tests.pipeline.changes import NOBODY, amounts, changed, content, dangling, differences, flow, program, role
from tests.pipeline.policies import block, direct, joint, passing, policy

REG4 = match(reg4=0)[0][0]
RECEIVER = flow("receive", match(in_port=9))


def states(before: list[Program], shares: Iterable[Mapping[int, Delta]]) -> Iterator[list[Program]]:
    """Every state that a fabric of a few bridges can be in, whoever is first in each phase."""
    now = {each.dpid: each for each in before}
    yield list(now.values())
    for share in shares:
        after = {dpid: changed(now[dpid], delta) for dpid, delta in share.items()}
        for sequence in permutations(after):
            mixed = dict(now)
            for dpid in sequence:
                mixed[dpid] = after[dpid]
                yield list(mixed.values())
        now |= after


def rollout(before: list[Program], after: list[Program]) -> list[dict[int, Delta]]:
    return phases(differences(before, after), role)


# What comes and what goes.


def test_a_port_that_comes_is_ready_before_anybody_sends_to_it() -> None:
    before = [program(1), program(2)]
    after = [program(1, flow("receive", match(in_port=1))), program(2, flow("send", match(in_port=2), [Output(9)]))]
    assert amounts(rollout(before, after)) == [{1: (1, 0)}, {2: (1, 0)}]


def test_a_port_that_goes_is_no_longer_sent_to_before_it_ends() -> None:
    before = [program(1, flow("receive", match(in_port=1))), program(2, flow("send", match(in_port=2), [Output(9)]))]
    assert amounts(rollout(before, [program(1), program(2)])) == [{2: (0, 1)}, {1: (0, 1)}]


def test_a_port_that_moves_is_made_before_it_is_broken() -> None:
    here, there = flow("receive", match(in_port=1), goto=1), flow("receive", match(in_port=1), goto=1)
    before = [program(1, here), program(2), program(3, flow("send", actions=[Output(1)]))]
    after = [program(1), program(2, there), program(3, flow("send", actions=[Output(2)]))]
    assert amounts(rollout(before, after)) == [{2: (1, 0)}, {3: (1, 0)}, {1: (0, 1)}]


def test_one_switch_needs_no_order() -> None:
    before = [program(1, flow("allow", match(in_port=1), goto=1), flow("receive", match(in_port=4))), program(2)]
    after = [program(1, flow("send", match(in_port=2)), flow("receive", match(in_port=3))), program(2)]
    assert amounts(rollout(before, after)) == [{1: (2, 2)}]


def test_nothing_to_do_is_no_phase() -> None:
    assert rollout([program(1), program(2)], [program(1), program(2)]) == []


def test_what_leaves_a_host_finds_its_way_prepared_and_kept() -> None:
    inner, outer = flow("leave", match(in_port=1)), flow("send", match(in_port=2))
    without, with_it = (
        [program(1), program(2), program(3)],
        [program(1, inner), program(2, outer), program(3, RECEIVER)],
    )
    assert amounts(rollout(without, with_it)) == [{3: (1, 0)}, {2: (1, 0)}, {1: (1, 0)}]
    assert amounts(rollout(with_it, without)) == [{1: (0, 1)}, {2: (0, 1)}, {3: (0, 1)}]


def test_who_takes_a_place_over_waits_for_the_way_out() -> None:
    before = [program(1, flow("receive", actions=[Output(1)])), program(2)]
    after = [program(1, flow("send", goto=3)), program(2, flow("send", actions=[Output(7)]))]
    assert amounts(rollout(before, after)) == [{2: (1, 0)}, {1: (1, 0)}]


def test_copies_that_are_added_come_first_and_copies_that_end_go_last() -> None:
    one, both = [(Output(1),)], [(Output(1),), (Output(2),)]
    before = [program(1, groups=[group(7, one)]), program(2, groups=[group(7, both)])]
    after = [program(1, groups=[group(7, both)]), program(2, groups=[group(7, one)])]
    assert [list(phase) for phase in rollout(before, after)] == [[1], [2]]
    before = [program(1, flow("receive", actions=[Output(1)])), program(2, flow("receive", actions=two()))]
    after = [program(1, flow("receive", actions=two())), program(2, flow("receive", actions=[Output(2)]))]
    assert [list(phase) for phase in rollout(before, after)] == [[1], [2]]


def two() -> list[Output]:
    return [Output(1), Output(2)]


def group(number: int, buckets: Iterable[tuple[Output, ...]]) -> Group:
    return Group(number, tuple(buckets), NOBODY, "test")


# Policy.


def test_what_is_no_longer_allowed_ends_before_anything_new_is_allowed() -> None:
    before = [policy(1, [direct(block(3, 0))]), policy(2, [])]
    after = [policy(1, []), policy(2, [direct(block(3, 0))])]
    assert amounts(rollout(before, after)) == [{1: (0, 1)}, {2: (1, 0)}]


def test_a_rule_that_takes_connections_away_waits_for_nobody_if_nobody_is_opened() -> None:
    before = [policy(1, [direct(block(3, 0))]), policy(2, [direct(block(3, 0))])]
    assert amounts(rollout(before, [policy(1, []), policy(2, [])])) == [{1: (0, 1), 2: (0, 1)}]


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ([direct(block(0, 1))], [direct(block(0, 3))]),
        ([direct(block(0, 1), 2)], [direct(block(0, 1))]),
        ([direct(block(0, 1), 2)], joint(5, [block(0, 1)], [1, 2])),
        (joint(5, [block(0, 0), block(2, 0)], [1, 2]), joint(6, [block(0, 2)], [1, 2, 3])),
        (joint(5, [block(0, 0), block(2, 0)], [1, 2]), [direct(block(0, 2))]),
        (joint(5, [block(0, 0)], [1]), joint(5, [block(0, 0)], [1, 2])),
        (joint(5, [block(0, 0)], [1]), joint(5, [block(0, 0), block(4, 0)], [1])),
        ([direct(port, peer) for port in (block(0, 0), block(2, 0)) for peer in (0, 1)], joint(5, [block(0, 2)], [0, 1])),
    ],
)  # fmt: skip
def test_rules_that_give_way_to_wider_or_narrower_ones_interrupt_nobody(narrow: list[Flow], wide: list[Flow]) -> None:
    for first, then, last in ((narrow, wide, 1), (wide, narrow, 0)):
        before = [policy(1, first), policy(2, [direct(block(0, 4))])]
        after = [policy(1, then), policy(2, [direct(block(0, 4)), direct(block(0, 0), 3)])]
        found = rollout(before, after)
        assert 1 in found[last if len(found) > 1 else 0]
        assert sum(1 in phase for phase in found) == 1, "a rule and its successor change at once"


BLOCKS = st.builds(block, st.integers(0, 15), st.integers(0, 4))
PEERS = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)
LINES = st.lists(BLOCKS, max_size=5).map(lambda blocks: [direct(each) for each in blocks])
PLANES = st.lists(st.builds(direct, BLOCKS, st.integers(0, 3) | st.none()), max_size=5)
# A conjunction's number stands for its ports and its groups; which peers there are in its groups changes.
MEANINGS = st.lists(st.tuples(st.lists(BLOCKS, min_size=1, max_size=3), PEERS), min_size=1, max_size=4)


def pairs(
    rules: st.SearchStrategy[list[Flow]],
) -> st.SearchStrategy[tuple[list[Program], list[Program]]]:
    both = st.tuples(rules, rules)
    side = both.map(lambda found: [policy(dpid, flows) for dpid, flows in enumerate(found, 1)])
    return st.tuples(side, side)


@given(pairs(LINES))
def test_blocks_of_ports_change_without_a_gap_and_without_a_hole(change: tuple[list[Program], list[Program]]) -> None:
    before, after = change
    old, new = passing(before), passing(after)
    for state in states(before, rollout(before, after)):
        assert old & new <= passing(state) <= old | new


@given(pairs(PLANES))
def test_rules_of_two_fields_never_let_pass_what_neither_side_allows(
    change: tuple[list[Program], list[Program]],
) -> None:
    before, after = change
    allowed = passing(before) | passing(after)
    assert all(passing(state) <= allowed for state in states(before, rollout(before, after)))


@st.composite
def conjunctions(draw: st.DrawFn) -> tuple[list[Program], list[Program]]:
    """Two bridges before and after, with some of the same conjunctions and peers each."""
    meanings = list(enumerate(draw(MEANINGS), 1))
    side = []
    for dpid in (1, 2, 1, 2):
        there = set(draw(PEERS))
        chosen = draw(st.lists(st.sampled_from(meanings), unique_by=lambda meaning: meaning[0]))
        flows = [joint(number, blocks, there.intersection(peers)) for number, (blocks, peers) in chosen]
        side.append(policy(dpid, [each for rule in flows for each in rule]))
    return side[:2], side[2:]


@given(conjunctions())
def test_conjunctions_never_let_pass_what_neither_side_allows(change: tuple[list[Program], list[Program]]) -> None:
    before, after = change
    allowed = passing(before) | passing(after)
    assert all(passing(state) <= allowed for state in states(before, rollout(before, after)))


def test_beyond_the_bound_of_the_search_the_order_is_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.pipeline.rollout.SEARCHES", 0)
    before, after = [policy(1, [direct(block(0, 1))]), policy(2, [])], [policy(1, [direct(block(0, 2))]), policy(2, [])]
    after[1] = policy(2, [direct(block(0, 0))])
    assert amounts(rollout(before, after)) == [{1: (0, 1)}, {1: (1, 0), 2: (1, 0)}]


def test_a_flow_that_drops_refuses() -> None:
    before = [program(1), program(2, flow("allow", match(in_port=2)))]
    after = [program(1, flow("allow", match(in_port=1))), program(2)]
    assert amounts(rollout(before, after)) == [{1: (1, 0)}, {2: (0, 1)}]


def test_the_rules_of_a_class_that_its_ports_left_or_took_along_go_last() -> None:
    old, new = SetField(REG4, 11), SetField(REG4, 12)
    rule, other = flow("allow", match(reg4=11), goto=1, table=3), flow("allow", match(reg4=12), goto=1, table=3)
    before = [program(1, flow("receive", actions=[old]), rule), program(2)]
    left = [program(1, flow("receive", actions=[new]), other), program(2, flow("send"))]
    assert amounts(rollout(before, left)) == [{1: (2, 0)}, {2: (1, 0)}, {1: (0, 1)}]
    moved = [program(1), program(2, flow("receive", actions=[old]), rule)]
    assert amounts(rollout(before, moved)) == [{2: (2, 0)}, {1: (0, 2)}]
    gone = [program(1), program(2, flow("receive", actions=[new]), other)]
    assert amounts(rollout(before, gone)) == [{1: (0, 1)}, {2: (2, 0)}, {1: (0, 1)}]


# Any change at all.

MATCHES = st.sampled_from([match(), match(in_port=1), match(reg4=1), match(reg4=2), match(tcp_dst=(0, 0xFFF0))])
ACTIONS = st.lists(
    st.sampled_from([Output(1), Output(2), ToGroup(1), ToGroup(2), Metered(1), SetField(REG4, 1), SetField(REG4, 2)]),
    max_size=2,
    unique=True,
)
FLOWS = st.builds(
    flow, st.sampled_from(["receive", "send", "leave", "allow"]), MATCHES, ACTIONS, st.none() | st.just(3)
)
GROUPS = st.fixed_dictionaries(
    {}, optional={number: st.lists(st.sampled_from([(Output(1),), (Output(2),)]), unique=True) for number in (1, 2)}
)
NUMBERS = st.integers(1, 2)
METERS = st.lists(st.builds(lambda number, rate: Meter(number, rate, 1, NOBODY, "test"), NUMBERS, NUMBERS), max_size=2)


@st.composite
def programs(draw: st.DrawFn) -> list[Program]:
    """Three bridges whose flows use groups and meters that are there."""
    found = []
    for dpid in (1, 2, 3):
        made = program(dpid, groups=[group(number, buckets) for number, buckets in draw(GROUPS).items()])
        made.meters |= {meter.id: meter for meter in draw(METERS)}
        for each in draw(st.lists(FLOWS | LINES.map(lambda flows: flows[0] if flows else flow("send")), max_size=5)):
            made.flows[each.key] = each
        for each in dangling(made):
            del made.flows[each.key]
        found.append(made)
    return found


@given(programs(), programs())
@settings(max_examples=300)
def test_all_phases_together_are_the_change(before: list[Program], after: list[Program]) -> None:
    seen = list(states(before, rollout(before, after)))
    assert [content(each) for each in seen[-1]] == [content(each) for each in after]
    assert not [each for state in seen for holds in state for each in dangling(holds)]


@given(programs(), programs())
def test_nothing_is_said_twice(before: list[Program], after: list[Program]) -> None:
    deltas = differences(before, after)
    said = [delta for phase in phases(deltas, role) for delta in phase.values()]
    assert sum(map(len, said)) == sum(map(len, deltas.values()))
    assert sum(len(delta.replaced) for delta in said) == sum(len(delta.replaced) for delta in deltas.values())


def test_a_meter_comes_before_who_passes_it_and_goes_after() -> None:
    meter, user = Meter(5, 1, 1, NOBODY, "test"), flow("send", actions=[Metered(5), Output(1)])
    without, with_it = [program(1), program(2)], [program(1, user, meters=[meter]), program(2, RECEIVER)]
    comes, goes = rollout(without, with_it), rollout(with_it, without)
    assert amounts(comes) == [{2: (1, 0)}, {1: (1, 0)}]
    assert [[*delta.meter_puts] for phase in comes for delta in phase.values()] == [[], [5]]
    assert [[*delta.meter_deletes] for phase in goes for delta in phase.values()] == [[5], []]


def test_an_address_changes_hands_when_nobody_is_left_who_had_it() -> None:
    answer = [flow("send", match(in_port=9), [OWNER.load(key), Output(1)], table=7) for key in (1, 2)]
    old, new = (flow("receive", match(in_port=key), [SOURCE.load(key)], goto=1) for key in (1, 2))
    before, after = (
        [program(1, answer[0], old), program(2, answer[0])],
        [program(1, answer[1], new), program(2, answer[1])],
    )
    assert amounts(rollout(before, after)) == [{1: (1, 1)}, {1: (1, 0), 2: (1, 0)}]
    assert amounts(rollout(before, [program(1), program(2)])) == [{1: (0, 1)}, {1: (0, 1), 2: (0, 1)}]


def test_an_address_is_released_with_the_end_of_a_port_that_sends_no_more() -> None:
    answer = flow("send", match(in_port=9), [OWNER.load(1), Output(1)], table=7)
    sends = flow("receive", match(in_port=1), [SOURCE.load(1)], goto=1)
    gets, towards = flow("receive", match(in_port=2), goto=1), flow("send", match(in_port=3), [Output(3)])
    before = [program(1, sends, gets, answer), program(2, towards, answer)]
    assert amounts(rollout(before, [program(1), program(2)])) == [{1: (0, 1), 2: (0, 1)}, {1: (0, 2), 2: (0, 1)}]


def test_an_address_is_kept_until_a_port_that_moved_has_ended_where_it_was() -> None:
    answer = flow("send", match(in_port=9), [OWNER.load(1), Output(1)], table=7)
    guard = flow("allow", match(**{SOURCE.field: SOURCE.is_(1)}, in_port=5), goto=2)
    here, there = (flow("receive", match(in_port=port), [SOURCE.load(1)], goto=1) for port in (1, 2))
    before, after = [program(1, here, guard, answer), program(2, answer)], [program(1), program(2, there)]
    assert amounts(rollout(before, after)) == [{2: (1, 0)}, {1: (0, 2)}, {1: (0, 1), 2: (0, 1)}]


def test_an_address_is_kept_until_all_else_is_done_if_its_port_stays() -> None:
    answer = flow("send", match(in_port=9), [OWNER.load(1), Output(1)], table=7)
    guard = flow("allow", match(**{SOURCE.field: SOURCE.is_(1)}, in_port=5), goto=2)
    here, towards = (
        flow("receive", match(in_port=1), [SOURCE.load(1)], goto=1),
        flow("send", match(in_port=3), [Output(3)]),
    )
    before = [program(1, here, guard, answer, RECEIVER), program(2, towards, answer)]
    after = [program(1, here), program(2)]
    assert amounts(rollout(before, after)) == [{1: (0, 1), 2: (0, 1)}, {1: (0, 1)}, {1: (0, 1), 2: (0, 1)}]


def test_who_an_address_is_becomes_known_with_the_way_there_and_at_home_with_the_port() -> None:
    who, way = flow("tell", match(in_port=5)), flow("send", match(in_port=2), [Output(9)])
    before, after = [program(1), program(2)], [program(1, RECEIVER, who), program(2, who, way)]
    assert amounts(rollout(before, after)) == [{1: (2, 0)}, {2: (2, 0)}]
    assert amounts(rollout(before, [program(1, who), program(2, who)])) == [{1: (1, 0), 2: (1, 0)}]


def test_who_an_address_is_stays_known_as_long_as_it_is_answered_for() -> None:
    who, answer = flow("tell", match(in_port=5)), flow("send", match(in_port=9), [OWNER.load(1), Output(1)], table=7)
    before = [program(1, RECEIVER, who, answer), program(2, who, answer)]
    assert amounts(rollout(before, [program(1), program(2)])) == [{1: (0, 1)}, {1: (0, 2), 2: (0, 2)}]
    before, after = [program(1, flow("send"), who), program(2, who)], [program(1), program(2)]
    assert amounts(rollout(before, after)) == [{1: (0, 1)}, {1: (0, 1), 2: (0, 1)}]


def test_a_port_of_another_class_never_gets_two_copies() -> None:
    elsewhere = flow("receive", match(in_port=8))
    many, few, one = (
        flow("copy", match(in_port=number), outputs)
        for number, outputs in ((1, two()), (1, [Output(1)]), (2, [Output(2)]))
    )
    assert amounts(rollout([program(1, many), program(2)], [program(1, few, one), program(2, elsewhere)])) == [
        {1: (2, 0), 2: (1, 0)}
    ]
    assert amounts(rollout([program(1, few, one), program(2)], [program(1, many), program(2, elsewhere)])) == [
        {1: (1, 1), 2: (1, 0)}
    ]
    assert amounts(rollout([program(1, many), program(2)], [program(1, few), program(2, elsewhere)])) == [
        {2: (1, 0)},
        {1: (1, 0)},
    ]


def test_meters_alone_are_one_phase() -> None:
    slow, fast = Meter(5, 1, 1, NOBODY, "test"), Meter(5, 2, 1, NOBODY, "test")
    before = [program(1, meters=[slow]), program(2, meters=[slow])]
    assert [list(phase) for phase in rollout(before, [program(1, meters=[fast]), program(2)])] == [[1, 2]]


def test_a_line_that_moved_in_a_file_makes_no_phase_of_its_own() -> None:
    deltas = differences(
        [program(1, flow("send", match(in_port=1))), program(2)],
        [program(1, flow("send", match(in_port=1)), flow("receive")), program(2, flow("receive"))],
    )
    idle = flow("send", match(in_port=1))
    deltas[1].puts[idle.key] = deltas[1].replaced[idle.key] = idle
    assert amounts(phases(deltas, role)) == [{1: (2, 0), 2: (1, 0)}]


# What features declare.


def test_a_kind_is_declared_once_and_exists() -> None:
    assert roles(pipeline())(flow("nobody declares this")) is Role.RECEIVE
    for sends, allows in (({"strange"}, set()), ({"one"}, {"one"})):
        with pytest.raises(ContractError):
            roles(Pipeline((feature(sends, allows),)))


def feature(sends: Iterable[str], allows: Iterable[str]) -> Feature:
    return Feature("test", "", (), {"one": ""}, {}, frozenset(sends), frozenset(allows))
