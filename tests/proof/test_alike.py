"""Which lies cannot be noticed: said of small tables, where anybody can see it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from controller.pipeline.fields import ETH_IPV4, ETH_IPV6
from controller.pipeline.flow import Action, Flow, Origin, Output, Program, Resubmit, Wanted, match, move, set_field
from tests.proof.alike import Alike
from tests.proof.lookup import Lookup
from tests.proof.mutants import all_mutants
from tests.proof.reach import Reach

HERE = Origin("here", None)
PORT, MAC, OTHER_MAC = 1, 0x020000000001, 0x020000000002


def flow(table: int, priority: int, *actions: Action, goto: int | None = None, **where: Wanted) -> Flow:
    return Flow(table, priority, match(**where), actions, goto, HERE, "classify")


def reasons(*flows: Flow) -> dict[tuple[str, int, int], str | None]:
    """Return why each lie cannot be noticed, by what it is, table and priority; packets come in by one port, and may be anything."""
    program = Program("hv1", "br-int", 1, {each.key: each for each in flows})
    reach = Reach([program], {})
    reach.start("br-int", PORT)
    alike = Alike(reach)
    return {
        (lie.lie, lie.original.table, lie.original.priority): alike.reason(
            lie, [each for each in flows if each.table == lie.original.table]
        )
        for lie in all_mutants([program])
    }


def test_a_flow_that_a_lower_one_repeats_is_not_missed() -> None:
    found = reasons(flow(0, 10, goto=1, in_port=PORT), flow(0, 5, goto=1), flow(1, 1, Output(2)))
    assert found["missing", 0, 10]
    assert found["missing", 0, 5]
    assert found["drops", 0, 10] is None, "the lower one is never asked then"
    assert found["missing", 1, 1] is None


def test_what_a_later_table_drops_as_well_is_not_let_by() -> None:
    found = reasons(flow(0, 10, goto=1, eth_src=MAC), flow(0, 1), flow(1, 10, Output(2), eth_src=MAC), flow(1, 0))
    assert found["without eth_src", 0, 10]
    assert found["without eth_src", 1, 10]
    assert found["missing", 0, 1], "what meets no flow is dropped"
    assert found["another eth_src", 0, 10] is None
    assert found["missing", 0, 10] is None


def test_of_two_guards_each_is_looked_at_with_the_other_in_place() -> None:
    first, second = flow(0, 10, goto=1, eth_src=MAC), flow(1, 10, Output(2), eth_src=OTHER_MAC)
    assert reasons(first, second)["without eth_src", 0, 10] is None, "the second lets others by"


def test_a_condition_that_holds_for_all_that_comes_may_be_missing() -> None:
    found = reasons(flow(0, 10, set_field("reg0", 6), goto=1), flow(1, 10, Output(2), reg0=6))
    assert found["without reg0", 1, 10]
    assert found["looser reg0", 1, 10]
    assert found["another reg0", 1, 10] is None


def test_what_nobody_reads_may_be_anything() -> None:
    unread, copied = move("reg1", "reg2"), move("reg0", "eth_src")
    found = reasons(flow(0, 10, set_field("reg0", 6), set_field("reg1", 1), unread, copied, Output(2)))
    assert found["does not move to reg2", 0, 10]
    assert found["sets another reg1", 0, 10]
    assert found["sets another reg0", 0, 10] is None
    assert found["does not move to eth_src", 0, 10] is None


def test_what_is_looked_at_next_tells_whether_an_answer_was_read() -> None:
    asking = flow(0, 10, Resubmit(1), Resubmit(2), goto=3)
    answer = flow(1, 1, set_field("reg7", 5))
    others = flow(2, 1, set_field("reg1", 1)), flow(3, 1)
    unread, read = (flow(3, 10, Output(2), reg7=value) for value in (9, 4))
    assert reasons(asking, answer, *others, unread)["sets another reg7", 1, 1]
    assert reasons(asking, answer, *others, read)["sets another reg7", 1, 1] is None
    assert reasons(asking, answer, *others, unread, replace(read, table=2))["sets another reg7", 1, 1] is None


def test_nothing_goes_back_by_a_patch_that_it_came_by() -> None:
    there, back, on = 7, Output(7), Output(PORT)
    program = Program("hv1", "br-int", 1, {})
    for action, is_same in ((back, True), (on, False)):
        sent = flow(0, 10, Resubmit(1), action, in_port=there)
        flows = sent, flow(1, 10, set_field("reg0", 1), eth_src=MAC)
        program = replace(program, flows={each.key: each for each in flows})
        reach = Reach([program], {("br-int", there): ("br-tun", 1)})
        reach.start("br-int", there)
        [missing, *_] = all_mutants([program])
        assert bool(Alike(reach).reason(missing, [sent])) is is_same


def test_of_two_halves_nothing_is_left_for_the_whole() -> None:
    halves = (flow(0, 20, Output(2), ipv6_src=half, eth_type=ETH_IPV6) for half in (4, 5))
    whole = flow(0, 10, Output(3), ipv6_src=ip_network("::4/127"), eth_type=ETH_IPV6)
    assert reasons(*halves, whole)["no output", 0, 10]


def test_what_is_asked_again_from_the_beginning_is_followed_alone() -> None:
    known = [flow(0, 20, Output(2), eth_dst=mac) for mac in (MAC, OTHER_MAC)]
    rest, beyond = flow(0, 10, goto=1), flow(1, 10, Output(3), eth_dst=MAC ^ 1 << 8)
    assert missed(*known, rest, beyond) == {"looser eth_dst": False, "another eth_dst": False}
    there = flow(1, 10, Output(3), eth_dst=MAC ^ 1)
    assert missed(*known, rest, there) == {"looser eth_dst": True, "another eth_dst": False}
    written = flow(0, 15, set_field("eth_dst", MAC), goto=1, eth_src=MAC)
    assert not missed(*known, written, rest, there)["looser eth_dst"], "a flow writes it"


def test_what_is_written_on_the_way_is_followed_from_there() -> None:
    written, others = flow(0, 15, set_field("eth_dst", OTHER_MAC), goto=1, eth_src=MAC), flow(0, 1, goto=1)
    known = [flow(1, 20, Output(2), eth_dst=mac) for mac in (MAC, OTHER_MAC)]
    rest, there = flow(1, 10, goto=2), flow(2, 10, Output(3), eth_dst=MAC ^ 1)
    assert missed(written, others, *known, rest, there)["looser eth_dst"]
    late = replace(rest, actions=(set_field("eth_dst", MAC),), match=match(eth_src=OTHER_MAC), priority=11)
    assert not missed(written, others, *known, late, rest, there)["looser eth_dst"], "a flow writes it later"


def test_what_a_table_has_found_out_is_known_behind_it() -> None:
    """Everybody who is said to be 5 has an address that another flow lets by as well; unless somebody else is said to be it."""
    start = flow(0, 10, Resubmit(1), goto=2)
    said = [
        flow(1, 10, set_field("reg7", number), ip_src=ip_network(f"10.0.0.{number}"), eth_type=ETH_IPV4)
        for number in (5, 6)
    ]
    by_address = flow(2, 5, Output(2), ip_src=ip_network("10.0.0.5"), eth_type=ETH_IPV4)
    by_number = flow(2, 10, Output(2), reg7=5, eth_type=ETH_IPV4)
    assert is_not_missed(start, *said, by_address, by_number)
    assert not is_not_missed(start, *said, replace(by_address, match=said[1].match), by_number)
    assert not is_not_missed(start, said[0], replace(said[1], actions=said[0].actions), by_address, by_number)


def is_not_missed(*flows: Flow) -> bool:
    """Return whether nothing that can come is told apart when the last flow is missing."""
    program = Program("hv1", "br-int", 1, {each.key: each for each in flows})
    reach = Reach([program], {})
    reach.start("br-int", PORT)
    [lie] = [lie for lie in all_mutants([program]) if lie.original is flows[-1] and lie.lie == "missing"]
    table = [each for each in flows if each.table == flows[-1].table]
    alike = Alike(reach)
    assert alike.reason(lie, table) is None, "at first sight somebody may miss it"
    return alike.cannot_come(lie, table)


def missed(*flows: Flow) -> dict[str, bool]:
    """Return for lies about the MAC that the last flow asks for whether what they tell apart cannot come."""
    program = Program("hv1", "br-int", 1, {each.key: each for each in flows})
    reach = Reach([program], {})
    reach.start("br-int", PORT)
    alike, table = Alike(reach), flows[-1:]
    lies = [lie for lie in all_mutants([program]) if lie.original is flows[-1]]
    return {lie.lie: alike.cannot_come(lie, table) for lie in lies if lie.lie in ("looser eth_dst", "another eth_dst")}


@pytest.mark.parametrize(("value", "found"), [(6, 10), (7, 5), (8, None)])
def test_a_packet_meets_the_highest_of_the_flows_that_match(value: int, found: int | None) -> None:
    table = Lookup([flow(0, 5, reg0=(6, 0xE)), flow(0, 10, reg0=6), flow(0, 10, reg1=1, eth_type=ETH_IPV4)])
    register = match(reg0=0)[0][0]
    met = table.find({register: value})
    assert (met and met.priority) == found
