"""Limits of tracked connections: the switch is told how many a tenant's zones may hold, in the notes by which it remembers them."""

from __future__ import annotations

from dataclasses import replace

from controller.model.entities import Topology
from controller.pipeline.flow import Delta, Flow, Note
from controller.pipeline.numbers import ZoneNote, note, read_notes, read_zones
from controller.pipeline.programs import Programs
from tests.builders import fabric, host, network, port

HOSTS = ("hv1", "hv2", "hv3")


def town(**limits: int) -> Topology:
    """Red is on two hosts and blue on all, with one network each; `limits` are of their connections."""
    red, blue = network("red/n"), network("blue/n")
    ports = [port(f"red/{name}", "red/n", host=name) for name in HOSTS[:2]]
    ports += [port(f"blue/{name}", "blue/n", host=name) for name in HOSTS]
    plain = fabric(*map(host, HOSTS), red, blue, *ports)
    tenants = {name: replace(each, connections=limits.get(name)) for name, each in plain.tenants.items()}
    return replace(plain, tenants=tenants)


def programmed(topology: Topology) -> Programs:
    programs = Programs()
    programs.enter(topology)
    programs.ask_for(HOSTS)
    programs.settle()
    programs.take()
    return programs


def change(programs: Programs, topology: Topology) -> dict[str, Delta]:
    """Return what a topology changes, by host."""
    programs.enter(topology)
    programs.settle()
    return {programs.programs[dpid].host: delta for dpid, delta in programs.take().items()}


def notes_of(flows: list[Flow]) -> list[str]:
    return [action.data.decode() for flow in flows for action in flow.actions if isinstance(action, Note)]


def told(programs: Programs, on: str) -> dict[str, int | None]:
    """Return address space -> limit as the notes of a host's switch have it."""
    notes = [text for program in programs.of_host(on) for text in notes_of(list(program.flows.values()))]
    return {each.space: each.limit for each in read_zones(notes).values()}


def test_a_switch_is_told_the_limit_of_each_address_space_that_it_has() -> None:
    programs = programmed(town(red=5000))
    assert told(programs, "hv1") == told(programs, "hv2") == {"red/n": 5000, "blue/n": None}
    assert told(programs, "hv3") == {"blue/n": None}


def test_a_changed_limit_is_one_flow_on_each_host_that_has_the_space() -> None:
    programs = programmed(town(red=5000, blue=70))
    changed = change(programs, town(red=6000, blue=70))
    assert {name: len(delta) for name, delta in changed.items()} == {"hv1": 1, "hv2": 1}
    assert {flow.feature for delta in changed.values() for flow in delta.puts.values()} == {"ledger"}
    assert told(programs, "hv2") == {"red/n": 6000, "blue/n": 70}


def test_a_limit_that_comes_or_goes_is_a_few_flows_of_its_tenant_and_no_others() -> None:
    programs = programmed(town(blue=70))
    came = change(programs, town(red=5000, blue=70))
    gone = change(programs, town(blue=70))
    for changed in (came, gone):
        assert changed.keys() == {"hv1", "hv2"}
        flows = [flow for delta in changed.values() for flow in (*delta.puts.values(), *delta.deletes.values())]
        assert {flow.feature for flow in flows} == {"ledger", "limits"}
        assert {flow.origin.what for flow in flows} == {"network red/n"}
    assert told(programs, "hv1") == {"red/n": None, "blue/n": 70}


def test_what_says_the_same_limits_again_changes_nothing() -> None:
    assert change(programmed(town(red=5000)), town(red=5000)) == {}


def test_a_note_with_a_limit_tells_the_same_numbers_as_one_without() -> None:
    plain, limited = note(17, 4, "red/web", "red/app"), note(17, 4, "red/web", "red/app", 5000)
    assert plain == "tag 17 zone 4 red/web red/app"
    assert read_notes([plain]) == read_notes([limited])
    assert read_zones([plain]) == {4: ZoneNote(4, "red/app", None)}
    assert read_zones([limited]) == {4: ZoneNote(4, "red/app", 5000)}


def test_of_notes_that_differ_the_least_limit_counts() -> None:
    notes = [note(None, 4, f"red/{name}", "red/a", limit) for name, limit in (("a", None), ("b", 9), ("c", 7))]
    assert read_zones(notes) == read_zones(reversed(notes)) == {4: ZoneNote(4, "red/a", 7)}
