"""Whatever happens, the programs are those that the files, the interfaces and the switches' notes make from nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.pipeline import limits, numbers
from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Flow
from controller.pipeline.places import locate
from controller.pipeline.programs import Programs
from tests.builders import allow, fabric, group, host, network, port
from tests.pipeline.world import Step, run

LENGTH = 25
STEPS = st.lists(st.tuples(*[st.integers(0, 1023)] * 4), max_size=LENGTH)


def test_any_history_ends_where_a_start_from_nothing_does(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two far hosts, or one class of ports on a host: more is refused.
    monkeypatch.setattr(limits, "_LONGEST", limits._HEADS + 190)
    # Zones are so few that names meet.
    monkeypatch.setattr(numbers, "_ZONES", 9)

    @settings(
        max_examples=request.config.getoption("--edits") // LENGTH,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(STEPS)
    def history(steps: list[Step]) -> None:
        with TemporaryDirectory() as name:
            run(Path(name), steps)

    history()


def is_for_port(flow: Flow, number: int) -> bool:
    return any(field == BY_NAME["tcp_dst"].index and value == number for field, value, _ in flow.match)


def test_rules_that_change_places_take_their_lines_with_them() -> None:
    wide, narrow = allow("tcp", 80, 443, ethertype=4, line=5), allow("tcp", 443, ethertype=4, line=6)
    programs = Programs()
    for one, other in ((wide, narrow), (replace(narrow, place=wide.place), replace(wide, place=narrow.place))):
        topology = fabric(
            host("hv1"),
            network("red/net", "10.0.1.0/24"),
            group("red/web", ingress=[one, other]),
            port("red/vm", "red/net", "10.0.1.5", host="hv1", groups=["red/web"]),
        )
        programs.enter(topology)
        programs.bind("hv1", "br-int", "red.vm", 7)
        programs.ask_for(["hv1"])
        programs.settle()
        flows = programs.of_host("hv1")[0].flows.values()
        (both,) = [flow for flow in flows if flow.kind == "rule" and is_for_port(flow, 443)]
        assert locate(topology, both.origin).place == wide.place
