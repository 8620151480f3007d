"""A file that is read by what was edited in it says exactly what it says when it is read whole."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.config import Cache, Loaded, load, loader
from controller.config.declared import declare
from controller.config.outline import outline
from controller.config.tenant import build_parts
from controller.model.address import format_mac
from controller.model.entities import Topology
from tests.config.edits import edits
from tests.config.folders import FABRIC, write
from tests.config.test_incremental import check

RED = """\
# What red has.
networks:
  net: {cidr: 10.0.1.0/28}
  more:
    cidr: [10.0.2.0/24, "fd00::/64"]
    gateway: 10.0.2.9
security_groups:
  web:
    ingress:
      - {protocol: tcp, ports: 80}
      # The second covers the third.
      - {protocol: udp}
      - {protocol: udp, ports: 53}
  db: {ingress: [{protocol: tcp, ports: 3306, from: {group: web}}]}
  idle: {}
address_groups:
  corp: [10.0.0.0/8, 192.0.2.7, 10.0.0.0/8]
port_groups:
  front: {network: net, security_groups: [web]}
ports:
  a: {network: net, security_groups: [web]}
  b:
    network: net
    # Given, not allocated.
    ip: 10.0.1.9

  c: {network: more, mac: "02:00:00:00:00:07", security_groups: db}
  d: {port_group: front}
  e: {port_group: front, allowed_addresses: [{ip: 10.0.1.12}, {ip: 10.0.1.0/29}]}
  f: {network: blue/own, port_security: false, new_connections: 5/s}
  vm: {network: net, trunk: {5: more}}
routers:
  main:
    networks: [net, more]
    external: public
    routes:
      - {to: 0.0.0.0/0, via: 10.0.1.14}
      - {to: 10.9.0.0/16, via: 10.0.2.14}
  spare: {external: public, snat: false}
floating_ips:
  203.0.113.12: b
  203.0.113.13: {port: a}
tests:
- {from: a, to: d, protocol: tcp, port: 80, expect: allow}
- from: c
  to: a
  expect: deny
"""
OWN = RED.replace("  f: {network: blue/own, port_security: false, new_connections: 5/s}\n", "")
PORTS, TESTS = OWN[OWN.index("ports:\n") : OWN.index("tests:")], OWN[OWN.index("tests:") :]
BLUE = "networks: {own: {share: red}}\nports: {z: {network: own, security_groups: [web]}}\nsecurity_groups: {web: {share: red}}\n"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_sequence_of_edits_of_lines(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "tenants" / "red.yaml"
        text = data.draw(st.sampled_from([RED, OWN, OWN, "---\n" + OWN]))
        good = [text]
        write(folder, red=text, blue=BLUE, fabric=FABRIC.replace("110-119}", "110-119}, ports: 9, rules: 8"))
        cache = Cache()
        previous = load(folder, None, cache).topology
        assert previous is not None
        for _ in range(data.draw(st.integers(1, 10))):
            # From what it is now, or from what was good: a breakage and its repair.
            text = data.draw(edits(data.draw(st.sampled_from([text, good[-1], good[0]]))))
            file.write_text(text)
            now = load(folder, previous, cache, {file})
            check(now, load(folder, previous), previous)
            if now.topology is not None:
                good.append(text)
                if data.draw(st.integers(0, 4)):  # A topology whose tests fail is not taken.
                    previous = now.topology


class Folder:
    """A folder with one tenant's file, loaded again after each edit; `whole` counts what was read or built whole."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, red: str = OWN) -> None:
        self.path = path
        self.file = path / "tenants" / "red.yaml"
        self.cache = Cache()
        self.whole: list[str] = []
        write(path, red=red)
        self.text = red
        self.topology: Topology | None = None
        self.load()

        def declared(*given: Any) -> Any:
            self.whole.append("read")
            return declare(*given)

        def built(fabric: Any, tenants: Any, *given: Any) -> Any:
            self.whole += ["built"] * len(tenants)
            return build_parts(fabric, tenants, *given)

        self.watched = {"declare": declared, "build_parts": built}
        self.monkeypatch = monkeypatch

    def load(self) -> Loaded:
        now = load(self.path, self.topology, self.cache, {self.file})
        self.topology = now.topology or self.topology
        return now

    def save(self, text: str) -> Loaded:
        """Save the file, load it, and compare that with a load of everything."""
        self.text, before = text, self.topology
        self.file.write_text(text)
        with self.monkeypatch.context() as patch:
            for name, watched in self.watched.items():
                patch.setattr(loader, name, watched)
            now = self.load()
        check(now, load(self.path, before), before)
        return now

    def replace(self, old: str, new: str) -> Loaded:
        assert old in self.text
        return self.save(self.text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  a: {network: net,", "  a: {network: more,"),
        ("  e: {port_group: front, allowed_addresses: [{ip: 10.0.1.12}, {ip: 10.0.1.0/29}]}\n", ""),
        ("  a: {", "  a0: {network: net}\n  a: {"),
        ("    # Given, not allocated.\n    ip: 10.0.1.9\n", ""),
        ("ip: 10.0.1.9\n", "ip: 10.0.1.10\n    host: hv1\n"),
        ("# What red has.", "# What red has,\n# and what it is for."),
        ("# What red has.\n", "# What red has.\n--- # From here on.\n"),
        ("  e: {port_group: front, ", "\n  e: {port_group: front, network: more, "),
        ("  idle: {}\n", "  idle: {ingress: any}\n  new: {}\n"),
        ("from: {group: web}", "from: {group: idle}"),
        ("192.0.2.7, ", "192.0.2.7, 192.0.2.7, "),
        ("ports: 53}", "ports: 54}"),
        ("ports:\n", "\n# What it is attached to.\nports:\n"),
        ("    # Given,", "    # Given to it,"),
        ("expect: deny", "expect: allow"),
        ("    routes:\n", "    # A comment that moves the routes.\n    routes:\n"),
        ("    ip: 10.0.1.9\n", "    ip: 10.0.1.11\n"),
        ("  vm: {network: net, trunk: {5: more}}\n", ""),
        ("trunk: {5: more}", "trunk: {6: more}"),
        ("trunk: {5: more}", "trunk: {5: {network: more, security_groups: web}}"),
        ("trunk: {5: more}", "host: hv1"),
        ("  d: {port_group: front}", "  d: {port_group: front, trunk: {9: more}}"),
        ("external: public, snat: false", "external: public, address: 203.0.113.14"),
        ("  spare: {external: public, snat: false}\n", ""),
        ("{port: a}", "d"),
        ("      - {to: 0.0.0.0/0, via: 10.0.1.14}\n", "      - {to: 10.8.0.0/16, via: 10.0.1.14}\n"),
        (PORTS + TESTS, TESTS + PORTS),
    ],
)
def test_an_edit_is_read_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    folder = Folder(tmp_path, monkeypatch)
    assert folder.replace(old, new).topology is not None
    assert not folder.whole
    assert folder.save(OWN).topology is not None
    assert not folder.whole


def test_a_port_that_did_not_change_is_the_same_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path, monkeypatch)
    before = folder.topology
    now = folder.replace("  d: {port_group: front}", "  d: {port_group: front, host: hv1}").topology
    assert before is not None
    assert now is not None
    assert [name for name, port in now.ports.items() if port is not before.ports[name]] == ["red/d"]


def test_a_mistake_costs_one_whole_reading_and_its_repair_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path, monkeypatch)
    assert [each.code for each in folder.replace("  d: {port_group", "  d: {portgroup").errors] == ["N015"]
    assert folder.whole == ["read", "built"]
    folder.replace("  d: {portgroup: front}", "  d: {network: net}")
    assert folder.whole == ["read", "built"]


def test_warnings_move_with_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path, monkeypatch)
    before = [each.place.line for each in folder.load().problems]
    after = folder.replace("networks:\n", "\n\nnetworks: # two lines further down\n").problems
    assert [each.code for each in after] == ["W002", "W001", "W001", "W004"]
    assert [each.place.line for each in after] == [line + 2 for line in before]
    assert not folder.whole


def test_a_port_keeps_all_that_it_is_when_it_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = (
        "{network: net, host: hv1, mac: '02:00:00:00:00:01', ip: 10.0.1.2, security_groups: [], port_security: false,"
    )
    port += " allowed_addresses: {ip: 10.0.1.3, mac: '02:00:00:00:00:02'}, new_connections: 7/s, ethertypes: lldp}"
    folder = Folder(tmp_path, monkeypatch, f"networks:\n  net: {{cidr: 10.0.1.0/28}}\nports:\n  a: {port}\n")
    before = folder.topology
    now = folder.replace("ports:\n", "\nports:\n").topology
    assert before is not None
    assert now is not None
    assert now.ports["red/a"] == before.ports["red/a"]
    assert now.ports["red/a"].place.line == before.ports["red/a"].place.line + 1
    assert not folder.whole


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ip: 10.0.1.9", "ip: {address}"),  # Somebody wants the address that was allocated to another.
        ("{port_group: front}", "{port_group: front, allowed_addresses: {ip: {address}}}"),
        ("  c: {network: more", "  c0: {network: net, mac: '{mac}'}\n  c: {network: more"),
        ("ip: 10.0.1.12}", "ip: 10.0.1.9}"),
        ("  d: {port_group: front}", "  d: {network: more}"),
        ("idle: {}", "idle: {stateless: true}"),
        ("    ip: 10.0.1.9", "    ip: 10.0.1.1"),
        ("  front: {network: net", "  front: {network: more"),
        ("  net: {cidr: 10.0.1.0/28}", "  net: {cidr: 10.0.1.0/27}"),
    ],
)
def test_what_concerns_other_ports_is_looked_at_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    folder = Folder(tmp_path, monkeypatch)
    assert folder.topology is not None
    neighbour = folder.topology.ports["red/a"]
    folder.replace(old, new.replace("{address}", str(neighbour.ips[0])).replace("{mac}", format_mac(neighbour.mac)))
    folder.save(OWN)


@pytest.mark.parametrize(
    "text",
    [
        "ports:\n  {a: x,\n  b: y}\n",
        "ports:\n  a: x\n b: y\n",
        "ports:\n  a: x\n  a: y\n",
        "ports:\n  a: x\nports:\n",
        "ports:\r\n  a: x\r\n",
        "ports:\n  a: x\u2028  b: y\n",
        "---\n---\nports:\n  a: x\n---\n",
        "  ports:\n    a: x\n",
        "ports:\n  a: x\n...\n",
        "ports:\n  'a': x\n  b: y\n",
        "ports:\n  a: x\n  - b\n",
    ],
)
def test_what_is_unusual_is_read_whole(text: str) -> None:
    found = outline(text)
    if found is not None:  # Then what is unusual is not cut.
        assert not found.sections["ports"].entries


def test_lines_that_only_look_like_entries_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = OWN.replace("  d: {port_group: front}", "  d: {port_group: front,\n  ip: 10.0.1.5}")
    folder = Folder(tmp_path, monkeypatch, text)
    assert folder.replace("  e: {port_group: front", "  e: {host: hv1, port_group: front").topology is not None
    assert folder.whole == ["read", "built"]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_port_that_comes_with_the_address_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    networks = "networks:\n  here: {cidr: 10.0.1.0/28}\n  there: {cidr: 10.0.1.0/28}\nports:\n"
    folder = Folder(tmp_path, monkeypatch, networks + "  x: {network: here}\n")
    assert folder.topology is not None
    (address,) = folder.topology.ports["red/x"].ips
    comes, stays = f"  y: {{network: there, ip: {address}}}\n", "  x: {network: here}\n"
    assert folder.save(networks + (comes + stays if is_first else stays + comes)).topology is not None
    now = folder.replace(comes, "  y: {network: here}\n").topology
    assert now is not None
    assert now.ports["red/x" if is_first else "red/y"].ips != (address,), "who is first in the file has it"


def test_a_group_of_two_that_becomes_stateless_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path, monkeypatch, OWN.replace("security_groups: db}", "security_groups: [db, idle]}"))
    assert [each.code for each in folder.replace("  idle: {}", "  idle: {stateless: true}").errors] == ["N029"]


def test_what_was_told_of_others_groups_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blue = "security_groups: {web: {share: red}}\n"
    write(tmp_path, blue=blue)
    folder = Folder(tmp_path, monkeypatch, OWN.replace("security_groups: db}", "security_groups: blue/web}"))
    assert folder.replace("  d: {port_group: front}", "  d: {port_group: front, host: hv1}").topology is not None
    assert not folder.whole
    file = tmp_path / "tenants" / "blue.yaml"
    file.write_text(blue.replace("share: red", ""))
    now = load(tmp_path, folder.topology, folder.cache, {file})
    assert [each.code for each in now.errors] == ["N042"]
    check(now, load(tmp_path, folder.topology), folder.topology)
