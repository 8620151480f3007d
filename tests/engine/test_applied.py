"""What is told of files that are read while switches are away: nothing is in force where nobody has confirmed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controller.engine import Engine
from controller.engine.answers import answer
from tests.engine.test_engine import FABRIC, HV1, HV2, INT1, INT2, RED, TUN, TUN1, TUN2, Recorder, running, wait_for


def applied(engine: Engine) -> dict[str, Any]:
    return answer(engine, {"do": "apply", "wait": True, "deadline": 5})


def behind(told: dict[str, Any]) -> list[str]:
    assert told["accepted"]
    return [trouble.partition(":")[0] for trouble in told["troubles"]]


def test_who_has_not_connected_since_the_start_has_confirmed_nothing(tmp_path: Path) -> None:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "tenants" / "red.yaml").write_text(RED)
    switches = Recorder()
    with running(tmp_path, switches) as engine:
        assert behind(applied(engine)) == ["br-int@hv1", "br-int@hv2", "br-tun@hv1", "br-tun@hv2"]
        for dpid, ports in ((HV1, INT1), (TUN1, TUN)):
            engine.connected(dpid, ports)
        wait_for(lambda: {HV1, TUN1} <= switches.programs.keys())
        assert behind(applied(engine)) == ["br-int@hv2", "br-tun@hv2"]
        for dpid, ports in ((HV2, INT2), (TUN2, TUN)):
            engine.connected(dpid, ports)
        wait_for(lambda: {HV2, TUN2} <= switches.programs.keys())
        assert behind(applied(engine)) == []
