"""A switch of a real Open vSwitch says when it hears nothing more of another host: by the liveness of the port to it (BFD)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ovs.twin import Twin
from tests.switch.harness import Control, program, wait_for

pytestmark = pytest.mark.ovs

DPID = 0x0001_0000_0000_00AC
PORTS = {"live-hv2": 5, "live-hv3": 6}


def test_a_session_of_bfd_that_ends_and_begins_again_is_told(tmp_path: Path) -> None:
    with Control(tmp_path, DPID) as control, Twin(tmp_path) as twin:
        twin.add_bridge("br-int", PORTS)
        twin.configure(["set", "bridge", "br-int", f"other_config:datapath-id={DPID:016x}"])
        twin.configure(["set-controller", "br-int", control.target])
        control.bring(program(DPID))
        heard = control.recorder
        wait_for(lambda: heard.deaf.get(DPID) == frozenset(), "all ports are alive")
        # A session to which nobody answers.
        twin.configure(["set", "interface", "live-hv2", "bfd:enable=true"])
        wait_for(lambda: heard.deaf[DPID] == {"live-hv2"}, "one is not")
        assert heard.ports[DPID] == PORTS, "the port itself is there as before"
        twin.configure(["set", "interface", "live-hv2", "bfd:enable=false"])
        wait_for(lambda: heard.deaf[DPID] == frozenset(), "it is alive again")


def test_a_controller_that_comes_later_is_told_at_once(tmp_path: Path) -> None:
    with Control(tmp_path, DPID) as control, Twin(tmp_path) as twin:
        twin.add_bridge("br-int", PORTS)
        twin.configure(["set", "bridge", "br-int", f"other_config:datapath-id={DPID:016x}"])
        twin.configure(["set", "interface", "live-hv3", "bfd:enable=true"])
        twin.configure(["set-controller", "br-int", control.target])
        control.bring(program(DPID))
        wait_for(lambda: control.recorder.deaf.get(DPID) == frozenset({"live-hv3"}), "what is dead already")
