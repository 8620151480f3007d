"""`weft explain`, `weft top` and `weft status` as a user types them, with real switches and packets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.net import Net
from tests.scenarios.labs import running
from tests.switch.harness import wait_for

pytestmark = pytest.mark.lab

FILES = {
    "fabric.yaml": """\
fabric: shop
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
tenants:
  red: {segments: 1000-1099}
""",
    "tenants/red.yaml": """\
networks:
  web: {cidr: 10.0.1.0/24}
security_groups:
  web:
    ingress:
      - {protocol: icmp}
      - {protocol: tcp, ports: 80}
  quiet:
    egress:
      - {protocol: icmp}
  trial:
    enforce: false
    egress:
      - {protocol: icmp, enforce: false}
ports:
  web1: {network: web, ip: 10.0.1.11, host: hv1, security_groups: [web]}
  web2: {network: web, ip: 10.0.1.12, host: hv2, security_groups: [web]}
  quiet1: {network: web, ip: 10.0.1.13, host: hv2, security_groups: [quiet]}
  trial1: {network: web, ip: 10.0.1.15, host: hv1, security_groups: [trial]}
  later: {network: web, ip: 10.0.1.14, security_groups: [web]}
""",
}
ICMP, TCP = "tenants/red.yaml:6:9", "tenants/red.yaml:7:9"


@dataclass(frozen=True)
class Shop:
    """The lab, and the command that asks its controller."""

    net: Net

    def weft(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "controller.cli", *arguments, "--control", str(self.net.lab.control)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def told(self, *arguments: str) -> Any:
        done = self.weft(*arguments, "-o", "json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def rule(self, port: str, direction: str, place: str) -> int:
        """Return the hits of the rule at a place in the files."""
        rules = self.told("explain", port)["directions"][direction]["rules"]
        (hits,) = (rule["packets"] for rule in rules if str(rule["place"]).endswith(place))
        return int(hits)

    def drops(self, port: str) -> dict[str, int]:
        """Return what was dropped of a port, by reason."""
        return {drop["reason"]: drop["packets"] for drop in self.told("explain", port)["drops"]}

    def grows(self, of: Callable[[], int], do: Callable[[], object]) -> int:
        """Do something and wait until a counter has grown; return by how much."""
        before = of()
        do()
        wait_for(lambda: of() > before, "the counter did not grow")
        return of() - before


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with running(tmp_path_factory.mktemp("shop"), FILES, without=("red/later",)) as net:
        net.lab.wait_in_sync()
        yield Shop(net)


def test_a_packet_that_a_rule_lets_in_counts_at_its_line(shop: Shop) -> None:
    tcp = shop.rule("red/web2", "ingress", TCP)
    grown = shop.grows(lambda: shop.rule("red/web2", "ingress", ICMP), lambda: shop.net.ping("red/web1", "red/web2"))
    assert grown >= 1
    assert shop.rule("red/web2", "ingress", TCP) == tcp


def test_a_connection_counts_once_however_much_it_carries(shop: Shop) -> None:
    grown = shop.grows(lambda: shop.rule("red/web2", "ingress", TCP), lambda: shop.net.tcp("red/web1", "red/web2", 80))
    assert 1 <= grown <= 2, "of a dozen packets only those that opened it were judged"


def refused(shop: Shop, port: str, reason: str) -> Callable[[], int]:
    return lambda: shop.drops(port).get(reason, 0)


def test_what_no_rule_of_the_receiver_allows_is_its_drop(shop: Shop) -> None:
    shop.grows(refused(shop, "red/web2", "ingress refused"), lambda: shop.net.udp("red/web1", "red/web2", 53))
    told = shop.told("explain", "red/web2")
    (dropped,) = [drop for drop in told["drops"] if drop["reason"] == "ingress refused"]
    assert dropped["last"]["at_least_s"] <= dropped["last"]["at_most_s"] < 60
    assert told["directions"]["ingress"]["else"]["refused"] == dropped["packets"]
    assert "ingress refused" not in shop.drops("red/web1")


def test_what_no_rule_of_the_sender_allows_is_its_drop(shop: Shop) -> None:
    before = shop.drops("red/web2")
    shop.grows(refused(shop, "red/quiet1", "egress refused"), lambda: shop.net.udp("red/quiet1", "red/web2", 53))
    assert shop.drops("red/web2") == before


def test_a_forged_address_and_a_forged_mac_are_told_apart(shop: Shop) -> None:
    mac = bytes.fromhex(shop.told("explain", "red/web1")["mac"].replace(":", ""))
    payload = bytes.fromhex("4500001c00000000401100000a0001630a00010c0001000200080000") + bytes(18)
    to_all = b"\xff" * 6
    shop.grows(
        refused(shop, "red/web1", "forged address"),
        lambda: shop.net.send("red/web1", to_all + mac + b"\x08\x00" + payload),
    )
    shop.grows(
        refused(shop, "red/web1", "forged MAC"),
        lambda: shop.net.send("red/web1", to_all + b"\x02\x00\x00\x00\x0b\xad" + b"\x08\x00" + payload),
    )


def test_what_is_not_enforced_passes_and_is_counted_by_rule_and_group(shop: Shop) -> None:
    would = refused(shop, "red/trial1", "egress would be refused")
    shop.grows(would, lambda: shop.net.ping("red/trial1", "red/web2"))
    told = shop.told("explain", "red/trial1")
    (rule,) = told["directions"]["egress"]["rules"]
    assert (rule["packets"] > 0, rule["would_drop"], told["directions"]["egress"]["else"]["would_be_refused"]) == (
        True,
        True,
        0,
    )
    shop.grows(
        lambda: shop.told("explain", "red/trial1")["directions"]["egress"]["else"]["would_be_refused"],
        lambda: shop.net.tcp("red/trial1", "red/web2", 80),
    )
    told_by_status = {(each["group"], each["rule"]) for each in shop.told("status")["counters"]["would_drop"]}
    assert {("red/trial", "egress icmp"), ("red/trial", "egress default deny")} <= told_by_status
    assert "would have dropped: " in shop.weft("status").stdout


def test_the_text_has_the_rule_s_line_and_the_port_s_place(shop: Shop) -> None:
    shop.net.ping("red/web1", "red/web2")
    done = shop.weft("explain", "red/web2")
    assert done.returncode == 0, done.stderr
    assert "red.web2 on br-int of hv2, OpenFlow port" in done.stdout
    assert f"{ICMP}\n" in done.stdout
    assert "everything else is refused (default deny)" in done.stdout
    assert "Hits are packets on hv2" in done.stdout


def test_top_once_has_rules_over_hosts_and_drops_by_port(shop: Shop) -> None:
    shop.grows(refused(shop, "red/web2", "ingress refused"), lambda: shop.net.udp("red/web1", "red/web2", 53))
    told = shop.told("top", "--once", "--by", "drops")
    assert {switch["error"] for switch in told["switches"]} == {None}
    (icmp,) = [rule for rule in told["rules"] if rule["rule"] == "ingress icmp"]
    assert (icmp["group"], icmp["direction"], icmp["hosts"], icmp["rate"]) == ("red/web", "ingress", 2, None)
    assert ("red/web2", "ingress refused") in {(drop["port"], drop["reason"]) for drop in told["drops"]}
    text = shop.weft("top", "--once").stdout
    assert "PACKETS/S" in text
    assert ICMP in text


def test_top_of_a_host_or_a_tenant_is_of_it_alone(shop: Shop) -> None:
    assert {drop["host"] for drop in shop.told("top", "--once", "--host", "hv2")["drops"]} <= {"hv2"}
    assert None not in {drop["port"] for drop in shop.told("top", "--once", "--tenant", "red")["drops"]}
    wrong = shop.weft("top", "--once", "--host", "hv7")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert 'no host "hv7"' in wrong.stderr


def test_status_says_how_much_was_dropped(shop: Shop) -> None:
    done = shop.weft("status")
    assert done.returncode == 0, done.stderr
    assert "dropped: " in done.stdout


def test_an_unknown_port_is_bad_input_and_one_that_is_nowhere_is_not(shop: Shop) -> None:
    wrong = shop.weft("explain", "red/wbe1")
    assert (wrong.returncode, wrong.stderr) == (2, 'weft explain: no port "red/wbe1"; did you mean "red/web1"?\n')
    nowhere = shop.weft("explain", "red/later")
    assert nowhere.returncode == 0, nowhere.stderr
    assert "no interface red.later and no iface-id red/later has been seen on any host" in nowhere.stdout


def test_top_goes_on_until_it_is_interrupted(shop: Shop) -> None:
    command = [sys.executable, "-m", "controller.cli", "top", "-o", "json", "--control", str(shop.net.lab.control)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running_top:
        assert running_top.stdout is not None
        readings = 0
        while readings < 2:  # A reading ends with a brace at the beginning of a line.
            line = running_top.stdout.readline()
            assert line, "it ended by itself"
            readings += line == "}\n"
        running_top.send_signal(signal.SIGINT)
        assert running_top.wait(10) == 0


@pytest.mark.parametrize("verb", [("explain", "red/web1"), ("top", "--once")])
def test_without_a_controller_there_is_trouble(tmp_path: Path, verb: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "controller.cli", *verb, "--control", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "")
