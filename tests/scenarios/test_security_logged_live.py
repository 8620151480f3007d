"""Real connections while they are logged: they are told with names, and the log, coming or going, costs them nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.scenarios.live import BOTH, FAR, SERVER, Live, rules
from tests.switch.harness import wait_for

pytestmark = pytest.mark.lab

SERVERS = {"server": ["g"]}


def told(live: Live, since: int) -> list[dict[str, Any]]:
    """What the controller's log has of connections after so many characters."""
    text = live.net.lab.log.read_text()[since:]
    found = (line.partition(" weft.connections: ") for line in text.splitlines())
    return [json.loads(line) for _, _, line in found if line]


@pytest.mark.parametrize("client", BOTH)
@pytest.mark.parametrize("version", [4, 6])
def test_h9_real_connections_are_told_with_names(live: Live, client: str, version: int) -> None:
    """H9: SSH is let in and HTTP is not, near and across a tunnel; each line says who and by whose host."""
    live.edit("g:\n    log: true\n    ingress: [{protocol: tcp, ports: 22}]", SERVERS)
    since = len(live.net.lab.log.read_text())
    assert live.net.tcp(client, SERVER, 22, version=version)
    assert not live.net.tcp(client, SERVER, 80, version=version)
    wait_for(lambda: {line.get("dport") for line in told(live, since)} >= {22, 80}, "both are told")
    assert {(line["verdict"], line["dport"]) for line in told(live, since)} == {("allowed", 22), ("dropped", 80)}
    assert {(line["host"], line["port"], line["peer"]) for line in told(live, since)} == {("hv1", SERVER, client)}


def test_streams_lose_nothing_while_their_log_comes_and_goes(live: Live) -> None:
    """The rules that let them in are logged, are not, and are again; what opens meanwhile is told once it is logged."""
    silent, logged = f"g: {{ingress: [{rules(5001)}]}}", f"g: {{ingress: [{rules(5001, 'log: true')}]}}"
    live.edit(silent, SERVERS)
    talk = live.talk(BOTH, SERVER, 5001)
    since = len(live.net.lab.log.read_text())
    with live.unharmed(talk):
        for groups in (logged, silent, logged):
            live.edit(groups, SERVERS)
        assert told(live, since) == []
        new = live.talk([FAR], SERVER, 5001)
    with live.unharmed([*talk, *new]):
        wait_for(lambda: {line["protocol"] for line in told(live, since)} == {"tcp", "udp"}, "both are told")
    assert {(line["verdict"], line["peer"], line["dport"]) for line in told(live, since)} == {("allowed", FAR, 5001)}
