"""Whatever deltas a real Open vSwitch is sent, it holds the program in the end: `ovs-ofctl` says the same of both."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.pipeline.flow import Delta, Flow, Group, Output, Program, ToGroup, match
from tests.ovs.twin import Twin
from tests.switch.edits import drop, put
from tests.switch.harness import PATIENCE_S, WEB1, Control, flow, program

pytestmark = pytest.mark.ovs

DPID = 0x0001_0000_0000_00AB

Pair = tuple[Control, Twin]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Control(tmp_path_factory.mktemp("control"), DPID) as control, Twin(tmp_path_factory.mktemp("ovs")) as twin:
        twin.add_bridge("br-int", {"p1": 1, "p2": 2})
        twin.add_bridge("br-ref", {"r1": 1, "r2": 2})
        twin.configure(["set", "bridge", "br-int", f"other_config:datapath-id={DPID:016x}"])
        twin.configure(["set-controller", "br-int", control.target])
        control.bring(program(DPID))
        yield control, twin


def plain(place: int, port: int) -> Flow:
    return flow(0, 10, match(in_port=place), Output(port))


def hub(number: int, ports: int) -> Group:
    return Group(number, tuple((Output(port),) for port in range(1, ports + 1)), WEB1, "deliver")


def choice(number: int, first: int) -> Group:
    """Another kind of group under the same number: the first of two ports that is alive."""
    ways = [((Output(first),), first), ((Output(9),), 9)]
    buckets, watch = zip(*(ways if first % 2 else ways[::-1]), strict=True)
    return Group(number, buckets, WEB1, "deliver", watch)


def to_hub(number: int) -> Flow:
    return flow(1, 10, match(reg5=number), ToGroup(number))


places = st.integers(1, 5)
edits = st.one_of(
    st.tuples(st.just("put"), places, places),
    st.tuples(st.just("drop"), places, st.just(0)),
    st.tuples(st.just("hub"), places, places),
    st.tuples(st.just("choice"), places, places),
    st.tuples(st.just("no hub"), places, st.just(0)),
)


def edit(wanted: Program, what: str, place: int, port: int) -> Delta:
    match what:
        case "put":
            return put(wanted, plain(place, port))
        case "hub":
            return put(wanted, hub(place, port), to_hub(place))
        case "choice":
            return put(wanted, choice(place, port), to_hub(place))
        case "drop" if plain(place, 1).key in wanted.flows:
            return drop(wanted, plain(place, 1))
        case "no hub" if place in wanted.groups:
            return drop(wanted, to_hub(place), hub(place, 1))
    return Delta()


def held(twin: Twin, bridge: str) -> tuple[list[str], list[str]]:
    groups = twin.ofctl("dump-groups", bridge).splitlines()[1:]
    return sorted(re.sub("cookie=0x[0-9a-f]+, ", "", line) for line in twin.flows(bridge)), sorted(groups)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(edits, st.booleans()), max_size=15))
def test_a_switch_that_is_sent_deltas_holds_the_program(
    pair: Pair, changes: list[tuple[tuple[str, int, int], bool]]
) -> None:
    control, twin = pair
    wanted = program(DPID, plain(1, 1), hub(1, 2), to_hub(1))
    control.bring(wanted)
    for number, (change, is_awaited) in enumerate([*changes, (("put", 5, 5), True)]):
        version = control.switches.change(DPID, edit(wanted, *change))
        if is_awaited:
            assert control.switches.wait({DPID: version}, PATIENCE_S) == set(), (number, control.status(DPID))
    twin.ofctl("del-groups", "br-ref")
    twin.install("br-ref", ["flow delete"])
    twin.install("br-ref", wanted)
    assert held(twin, "br-int") == held(twin, "br-ref")
    (report,) = control.switches.audit([DPID], PATIENCE_S)
    assert report.is_clean
