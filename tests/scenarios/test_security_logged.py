"""What `log: true` of rules and groups tells of connections, in the names of the files, and that it costs the traffic nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from controller.pipeline.samples import BURST, RATE
from tests.scenarios.logged import Line, Logged
from tests.scenarios.town import FAR, NEAR, OTHER, SERVER
from tests.switch.harness import wait_for

pytestmark = pytest.mark.ovs

FLOOD = 1000
RULE = "web:\n  ingress: [{protocol: tcp, ports: 80, log: true}, {protocol: tcp, ports: 81}]"
GROUP = "web:\n  log: true\n  ingress: [{protocol: tcp, ports: 80}, {protocol: icmp}]\n  egress: [{protocol: udp, ports: 53}]"
SERVERS = {"server": ["web"]}


def what(line: Line) -> tuple[object, ...]:
    """What a line tells in short: who, how, and the port that was asked for."""
    return line["port"], line["direction"], line["verdict"], line.get("peer"), line["protocol"], line.get("dport")


@pytest.mark.parametrize("client", [NEAR, FAR])
@pytest.mark.parametrize("version", [4, 6])
def test_s47_each_hit_is_one_line_with_names(tmp_path: Path, client: str, version: int) -> None:
    """S47: what a rule lets in and what default deny drops, out of and into a port, is a line each with rule or reason."""
    with Logged(tmp_path, GROUP, SERVERS) as town:
        assert town.send(client, SERVER, "tcp 80", "tcp 22", version=version) == [SERVER, ""]
        assert town.send(SERVER, client, "udp 53", "udp 54", version=version) == ["", ""]
        lines = town.lines(4)
        host, near, far = ("10.0.0.1", 2, 3) if version == 4 else ("fd00::1", 2, 3)
        peer = host[:-1] + str(near if client == NEAR else far)
        ports = [line.pop("sport") for line in lines]
        assert all(20000 <= port < 65536 for port in ports)
        known = {"host": "hv1", "port": SERVER, "peer": client}
        came, went = {"src": peer, "dst": host}, {"src": host, "dst": peer}
        place = "tenants/red.yaml:{}"
        rules = [
            {"group": "red/web", "text": "ingress tcp 80", "place": place.format("6:15")},
            {"group": "red/web", "text": "egress udp 53", "place": place.format("7:14")},
        ]
        said = {"direction": "ingress", "protocol": "tcp"}, {"direction": "egress", "protocol": "udp"}
        refused = ("no ingress rule allows it", "no egress rule allows it")
        assert lines == [
            known | said[0] | came | {"verdict": "allowed", "rule": rules[0], "dport": 80},
            known | said[0] | came | {"verdict": "dropped", "reason": refused[0], "dport": 22},
            known | said[1] | went | {"verdict": "allowed", "rule": rules[1], "dport": 53},
            known | said[1] | went | {"verdict": "dropped", "reason": refused[1], "dport": 54},
        ]


def test_s47_a_rule_alone_is_logged_and_no_other_nor_drops(tmp_path: Path) -> None:
    with Logged(tmp_path, RULE, SERVERS) as town:
        assert town.send(NEAR, SERVER, "tcp 81", "tcp 22", "tcp 80") == [SERVER, "", SERVER]
        assert [line["dport"] for line in town.lines(1)] == [80]
        assert len(town.packets) == 1


def test_s47_samples_of_a_flood_are_metered_and_its_packets_are_not(tmp_path: Path) -> None:
    """S47: of a thousand refused and a thousand allowed packets each has its verdict, and the log what the meter lets through."""
    with Logged(tmp_path, GROUP, SERVERS) as town:
        for number, arriving in (("tcp 22", 0), ("tcp 80", FLOOD)):
            since, before = time.monotonic(), len(town.packets)
            assert town.flood(NEAR, SERVER, number, FLOOD) == arriving
            most = BURST + RATE * (time.monotonic() - since)
            found = town.lines(len(town.packets) - before)
            assert {line["dport"] for line in found} == {int(number[4:])}
            assert 0 < len(found) <= min(most, FLOOD - 1), (len(found), most)


def test_h9_a_ping_is_one_line_and_a_refused_ssh_another(tmp_path: Path) -> None:
    """H9: an allowed ping is told once for its connection, refused SSH with its port; each with what decided."""
    with Logged(tmp_path, GROUP, SERVERS) as town:
        assert town.converse(NEAR, SERVER, "icmp", times=5)
        assert town.send(NEAR, SERVER, "tcp 22") == [""]
        ping, ssh = town.lines(2)
        assert what(ping) == (SERVER, "ingress", "allowed", NEAR, "icmp", None)
        assert (ping["type"], ping["code"], ping["rule"]["text"]) == (8, 0, "ingress icmp")
        assert what(ssh) == (SERVER, "ingress", "dropped", NEAR, "tcp", 22)
        assert len(town.packets) == 2


@pytest.mark.parametrize("client", [NEAR, FAR])
def test_an_association_is_told_once_and_arrives_as_it_was_sent(tmp_path: Path, client: str) -> None:
    """Rules look at every packet of it, the other way round in an answer; the one that begins it is a line."""
    groups = "web:\n  log: true\n  ingress: [{protocol: sctp, ports: 80}]\n  egress: []"
    with Logged(tmp_path, groups, SERVERS) as town:
        assert town.converse(client, SERVER, "sctp 80", times=3)
        assert town.send(client, SERVER, "sctp 81") == [""]
        assert [what(line)[2:] for line in town.lines(2)] == [
            ("allowed", client, "sctp", 80),
            ("dropped", client, "sctp", 81),
        ]


def test_what_a_stateless_group_lets_pass_is_told_packet_by_packet(tmp_path: Path) -> None:
    """Nobody knows which of its packets begin something."""
    groups = "web:\n  stateless: true\n  log: true\n  ingress: [{protocol: icmp}]\n  egress: [{protocol: icmp}]"
    with Logged(tmp_path, groups, SERVERS) as town:
        assert town.converse(FAR, SERVER, "icmp", times=1)
        assert town.send(FAR, SERVER, "tcp 22") == [""]
        assert [what(line) for line in town.lines(3)] == [
            (SERVER, "ingress", "allowed", FAR, "icmp", None),
            (SERVER, "egress", "allowed", FAR, "icmp", None),
            (SERVER, "ingress", "dropped", FAR, "tcp", 22),
        ]


def test_what_everything_allows_is_logged_rule_by_rule(tmp_path: Path) -> None:
    """The rule that opens all is not logged, one inside it is; then the former is, too."""
    narrow = "web:\n  ingress: [{}, {protocol: tcp, ports: 80, log: true}]"
    with Logged(tmp_path, narrow, SERVERS) as town:
        assert town.send(NEAR, SERVER, "tcp 22", "tcp 80") == [SERVER, SERVER]
        assert [line["rule"]["text"] for line in town.lines(1)] == ["ingress tcp 80"]
        town.edit("web:\n  ingress: [{log: true}, {protocol: tcp, ports: 80}]", SERVERS)
        assert town.send(NEAR, SERVER, "tcp 22", "tcp 80") == [SERVER, SERVER]
        assert [(line["rule"]["text"], line["dport"]) for line in town.lines(2)] == [
            ("ingress any", 22),
            ("ingress any", 80),
        ]


def test_a_product_of_ports_and_addresses_is_logged_as_one_rule(tmp_path: Path) -> None:
    """The rule is a conjunction, and a wider one without log allows the same."""
    far = "from: [{cidr: 10.0.0.2/32}, {cidr: 10.0.0.3/32}]"
    groups = f"web:\n  ingress: [{{protocol: tcp}}, {{protocol: tcp, ports: [80, 443, 8080], {far}, log: true}}]"
    with Logged(tmp_path, groups, SERVERS) as town:
        assert town.send(OTHER, SERVER, "tcp 80") == [SERVER]
        assert town.send(FAR, SERVER, "tcp 81", "tcp 443") == [SERVER, SERVER]
        assert [what(line) for line in town.lines(1)] == [(SERVER, "ingress", "allowed", FAR, "tcp", 443)]
        assert len(town.packets) == 1


def test_what_is_not_enforced_is_told_as_would_drop(tmp_path: Path) -> None:
    """A dry rule is named; what no rule allows of a group that is not enforced has a reason."""
    groups = "web:\n  log: true\n  enforce: false\n  ingress: [{protocol: tcp, ports: 80}]"
    with Logged(tmp_path, groups, SERVERS) as town:
        assert town.send(FAR, SERVER, "tcp 80", "tcp 22") == [SERVER, SERVER]
        first, second = town.lines(2)
        assert what(second) == (SERVER, "ingress", "would drop", FAR, "tcp", 22)
        assert second["reason"] == "no ingress rule allows it, and its groups are not enforced"
        assert (first["dport"], first["rule"]["text"]) == (80, "ingress tcp 80")
        assert len(town.packets) == 2


def test_where_nothing_is_logged_there_is_no_meter_and_no_sample(tmp_path: Path) -> None:
    """A host has the meter as long as a port of its own has something to log."""
    silent = RULE.replace(", log: true", "")
    with Logged(tmp_path, silent, SERVERS) as town:
        assert town.meters() == []
        assert town.send(NEAR, SERVER, "tcp 80", "tcp 22") == [SERVER, ""]
        town.edit(RULE, SERVERS)
        assert town.meters() == ["hv1"]
        assert town.send(NEAR, SERVER, "tcp 80") == [SERVER]
        assert len(town.lines(1)) == len(town.packets) == 1
        town.edit(silent, SERVERS)
        assert town.meters() == []


def test_a_rule_that_is_logged_from_now_on_disturbs_no_connection(tmp_path: Path) -> None:
    """A ping goes on while its rule gets `log` and loses it; that is no new connection, and no line."""
    silent = GROUP.replace("  log: true\n", "")
    with Logged(tmp_path, silent, SERVERS) as town:
        for groups in (silent, GROUP, silent, GROUP):
            town.edit(groups, SERVERS)
            assert town.converse(FAR, SERVER, "icmp", times=2)
            town.send(FAR, SERVER, "tcp 80")
        assert {what(line) for line in town.lines(2)} >= {(SERVER, "ingress", "allowed", FAR, "tcp", 80)}


def test_without_a_controller_traffic_goes_on(tmp_path: Path) -> None:
    with Logged(tmp_path, GROUP, SERVERS) as town:
        town.lead("tcp:127.0.0.1:1")
        wait_for(lambda: not town.is_led(), "no switch is connected")
        assert town.send(FAR, SERVER, *["tcp 80", "tcp 22"] * 200) == [SERVER, ""] * 200
        assert town.packets == []


def test_a_line_tells_where_its_rule_stands_by_now(tmp_path: Path) -> None:
    with Logged(tmp_path, RULE, SERVERS) as town:
        town.edit(f"other: {{}}\n{RULE}", SERVERS)
        town.send(NEAR, SERVER, "tcp 80")
        assert [line["rule"]["place"] for line in town.lines(1)] == ["tenants/red.yaml:6:15"]


def test_a_log_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    """As logrotate does it, without a signal."""
    with Logged(tmp_path, RULE, SERVERS) as town:
        town.send(NEAR, SERVER, "tcp 80")
        town.lines(1)
        town.log.rename(f"{town.log}.1")
        town.send(NEAR, SERVER, "tcp 80")
        wait_for(town.log.exists, "a new file")
        wait_for(lambda: len(town.log.read_text().splitlines()) == 1, "its first line")
