"""When switches are told what: connections of addresses that ports give up end a moment later, and before an heir comes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from controller.engine.delivery import RESTING_S
from controller.model.ids import key
from controller.pipeline.flow import Delta
from controller.pipeline.released import told_owner
from tests.engine.test_engine import FABRIC, HV1, HV2, INT1, INT2, RED, Recorder, running, wait_for

OLD, HEIR = key("port", "red/web2"), key("port", "red/heir")
# Both hosts keep the network when the old owner has gone.
FILE = f"{RED}  web3: {{network: web, ip: 10.0.1.13, host: hv2}}\n"
WEB2 = "  web2: {network: web, ip: 10.0.1.12, host: hv2}\n"
NAMES_HEIR = WEB2.replace("web2", "heir").replace("hv2", "hv1")


class Clock(Recorder):
    """Switches that also remember when they were asked for what."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def change(self, dpid: int, delta: Delta) -> int:
        self.times.append(time.monotonic())
        return super().change(dpid, delta)

    def ends(self) -> list[float]:
        """When answers for the old owner's address went, or named the heir instead."""
        told = zip(self.times, [delta for _, delta in list(self.deltas)], strict=False)
        return [when for when, delta in told if _named(delta, OLD, was=True)]

    def comes(self) -> list[float]:
        """When answers named the heir."""
        told = zip(self.times, [delta for _, delta in list(self.deltas)], strict=False)
        return [when for when, delta in told if _named(delta, HEIR, was=False)]


def _named(delta: Delta, owner: int, *, was: bool) -> bool:
    flows = (*delta.deletes.values(), *delta.replaced.values()) if was else delta.puts.values()
    return any(told_owner(flow.actions) == owner for flow in flows)


@pytest.mark.parametrize("back", [False, True], ids=["nobody", "itself"])
def test_what_a_port_gives_up_ends_when_datapaths_have_followed_unless_it_is_back(town: Path, back: bool) -> None:
    switches = Clock()
    with running(town, switches) as engine:
        engine.connected(HV1, INT1)
        engine.connected(HV2, {**INT2, "red.web3": 8})
        wait_for(lambda: {HV1, HV2} <= switches.programs.keys())
        began = time.monotonic()
        save(town, FILE.replace(WEB2, ""))
        assert engine.reload().report.accepted
        assert switches.ends() == []
        if back:
            save(town, FILE)
            assert engine.reload().report.accepted
            assert engine.delivery is not None
            assert not engine.delivery.resting()
        else:
            wait_for(lambda: len(switches.ends()) == 2)
            assert min(switches.ends()) - began >= RESTING_S


@pytest.mark.parametrize("between", [False, True], ids=["at-once", "soon-after"])
def test_nobody_is_given_an_address_before_datapaths_have_followed_the_end_of_its_owner(
    town: Path, between: bool
) -> None:
    switches = Clock()
    with running(town, switches) as engine:
        engine.connected(HV1, {**INT1, "red.heir": 9})
        engine.connected(HV2, {**INT2, "red.web3": 8})
        wait_for(lambda: {HV1, HV2} <= switches.programs.keys())
        began = time.monotonic()
        if between:
            save(town, FILE.replace(WEB2, ""))
            assert engine.reload().report.accepted
        save(town, FILE.replace(WEB2, NAMES_HEIR))
        assert engine.reload().report.accepted
        assert min(switches.comes()) - began >= RESTING_S
        assert max(switches.ends()) <= min(switches.comes()) or not between


def test_a_class_keeps_its_rules_for_a_while_and_its_ports_come_back_to_them_at_once(town: Path) -> None:
    """Nobody has the class meanwhile, and the switch counts as in sync."""
    switches = Clock()
    groups = "security_groups:\n  a: {ingress: [{protocol: tcp}]}\n  b: {ingress: [{protocol: udp}]}\n"
    grouped = groups + FILE.replace("host: hv1", "host: hv1, security_groups: [a]")
    save(town, grouped)
    with running(town, switches) as engine:
        engine.connected(HV1, INT1)
        engine.connected(HV2, {**INT2, "red.web3": 8})
        wait_for(lambda: {HV1, HV2} <= switches.programs.keys())
        assert engine.delivery is not None
        save(town, grouped.replace("[a]", "[b]"))
        assert engine.reload().report.accepted
        assert not engine.delivery.resting()
        assert set(engine.delivery.ending()) == {HV1}
        told = len(switches.deltas)
        save(town, grouped)
        assert engine.reload().report.accepted
        back = [delta for _, delta in switches.deltas[told:]]
        rules = {flow.key for delta in back for flow in delta.puts.values() if flow.origin.what == "red/a ingress rule"}
        assert rules
        assert rules <= {key for delta in back for key in delta.replaced}
        assert set(engine.delivery.ending()) == {HV1}, "now it is the other's rules that are left"


@pytest.fixture
def town(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    save(tmp_path, FILE)
    return tmp_path


def save(folder: Path, red: str) -> None:
    (folder / "tenants" / "red.yaml").write_text(red)
