"""Tags and zones: who has one keeps it, through refused files and restarts, whatever a switch claims to remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model.entities import Range, Topology
from controller.pipeline import limits
from controller.pipeline.numbers import Numbers, note, read_notes
from controller.pipeline.programs import Programs
from controller.pipeline.released import notes_of
from tests.builders import fabric, host, network, port, router

NAMES = tuple(f"red/net{number}" for number in range(6))


def networks(*names: str, vlans: int = 3) -> Topology:
    """A host with so many local VLANs, and a port of each network on it."""
    owner = replace(host("hv1"), local_vlans=Range(1, vlans))
    ports = [port(f"{name}-vm", name, host="hv1") for name in names]
    return fabric(owner, *map(network, names), *ports)


def programmed(topology: Topology, told: Numbers | None = None) -> Programs:
    programs = Programs()
    programs.enter(topology)
    if told is not None:
        programs.remember("hv1", told)
    programs.ask_for(["hv1"])
    programs.settle()
    return programs


def crowded_out() -> tuple[str, str]:
    """Return two networks that want the same of three tags: the one that gets it, and the one that comes too late."""
    alone = {name: programmed(networks(name)).numbers("hv1").tags[name] for name in NAMES}
    return next((one, other) for one in NAMES for other in NAMES if one < other and alone[one] == alone[other])


def test_a_network_keeps_its_tag_when_the_one_that_had_its_own_choice_goes() -> None:
    first, second = crowded_out()
    programs = programmed(networks(first, second))
    before = programs.numbers("hv1").tags[second]
    programs.enter(networks(second))
    programs.settle()
    assert programs.numbers("hv1").tags == {second: before}


def test_a_number_that_is_given_up_is_not_handed_on_in_the_same_change() -> None:
    first, second = crowded_out()
    programs = programmed(networks(first))
    given_up = programs.numbers("hv1").tags[first]
    programs.enter(networks(second))
    programs.settle()
    assert programs.numbers("hv1").tags[second] != given_up


def test_a_number_that_was_given_up_while_no_controller_ran_is_not_handed_on_either() -> None:
    first, second = crowded_out()
    told = programmed(networks(first)).numbers("hv1")
    assert programmed(networks(second), told).numbers("hv1").tags[second] != told.tags[first]


def test_a_refused_file_that_leaves_a_network_out_does_not_cost_it_its_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = crowded_out()
    good = networks(second)
    programs = programmed(networks(first, second))
    programs.enter(good)
    programs.settle()
    before = programs.numbers("hv1")
    programs.enter(networks(first))
    with monkeypatch.context() as patch:
        patch.setattr(limits, "_LONGEST", 0)
        with pytest.raises(limits.TooLong):
            programs.settle()
    programs.enter(good)
    programs.settle()
    assert programs.numbers("hv1") == before


def test_numbers_of_strangers_are_free_for_others() -> None:
    strangers = read_notes([note(1, 7, "red/gone", "red/gone"), note(1, 7, NAMES[0], NAMES[0])])
    assert programmed(networks(NAMES[0]), strangers).numbers("hv1") == Numbers({NAMES[0]: 1}, {NAMES[0]: 7})


def test_two_names_that_claim_one_number_do_not_both_get_it() -> None:
    told = read_notes([note(2, 5, name, name) for name in NAMES[:3]])
    numbers = programmed(networks(*NAMES[:3]), told).numbers("hv1")
    assert len({*numbers.tags.values()}) == len({*numbers.zones.values()}) == 3
    assert (numbers.tags[NAMES[0]], numbers.zones[NAMES[0]]) == (2, 5)


A, B, C = NAMES[:3]
ROUTER = "red/@r"


@pytest.mark.parametrize("is_new", [False, True], ids=["change", "next controller"])
@pytest.mark.parametrize(
    ("before", "after", "heirs"),
    [
        ((), (A,), {ROUTER: A}),
        ((A,), (), {A: ROUTER}),
        ((), (A, B), {ROUTER: A}),
        ((A, B), (), {A: ROUTER}),
        ((B,), (A, B), {ROUTER: ROUTER}),
        ((A, B), (B,), {ROUTER: ROUTER}),
    ],
    ids=["a router comes", "it goes", "it comes to two", "it goes from two", "a network joins it", "one leaves it"],
)
def test_who_has_the_zone_of_which_address_space(
    before: tuple[str, ...], after: tuple[str, ...], heirs: Mapping[str, str], is_new: bool
) -> None:
    """An address space that is new has that of a network of its, unless others still have it; every one has one of its own."""
    old, new = (routed(names) for names in (before, after))
    programs = programmed(old)
    was = programs.numbers("hv1")
    if is_new:
        notes = [
            text for program in programs.of_host("hv1") for flow in program.flows.values() for text in notes_of(flow)
        ]
        programs = programmed(new, read_notes(notes))
    else:
        programs.enter(new)
        programs.settle()
    found = programs.numbers("hv1").zones
    assert {heir: found[heir] for heir in heirs} == {heir: was.zones[former] for heir, former in heirs.items()}
    assert found[C] == was.zones[C]
    assert len({*found.values()}) == len(found)


def routed(names: tuple[str, ...]) -> Topology:
    """Three networks of which a router joins these."""
    plain = networks(A, B, C)
    return replace(plain, routers={"red/r": router("red/r", *names)} if names else {})


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.text()
        | st.sampled_from(
            ["tag 1 zone 3 red/n", "zone 0 a b", "tag 4095 zone 99999 a b", "tag \u0661 zone \u0663 a b", "port red/a"]
        )
        | st.builds(note, st.integers(0, 5), st.integers(0, 70000), st.sampled_from(NAMES), st.sampled_from(NAMES))
    )
)
def test_whatever_a_switch_tells_every_network_gets_a_number_of_its_own(notes: list[str]) -> None:
    topology = networks(*NAMES, vlans=6)
    numbers = programmed(topology, read_notes(notes)).numbers("hv1")
    assert sorted(numbers.tags.values()) == [1, 2, 3, 4, 5, 6]
    assert len({*numbers.zones.values()}) == len(NAMES)
    assert all(0 < zone < 65536 for zone in numbers.zones.values())
