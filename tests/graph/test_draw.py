"""Drawings: whole, deterministic, without overlaps, and unbreakable by what the files say."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from xml.etree import ElementTree as ET

import pytest

from controller.graph.draw import draw
from controller.graph.fabric import Fabric
from controller.graph.layout import PORTS_SHOWN, Box, lay_out
from controller.model.entities import Topology
from tests.builders import (
    external_network,
    fabric,
    floating_ip,
    group,
    host,
    network,
    physical_network,
    port,
    router,
)

HOSTILE = """x"]; end\\" }-->%%<script>alert('&')</script>\n`#quot;\x00\x1b[2J"""
DOT_TOKEN = re.compile(r'\s+|"(?:[^"\\\n]|\\.)*"|--|[\w.]+|[{}\[\]=;,]')


def campus() -> Topology:
    """Two tenants, three hosts and a foreign VTEP, every way of travelling, one port that is nowhere yet."""
    return fabric(
        *(host(name) for name in ("hv1", "hv2", "hv3")),
        host("rack9", vtep=True),
        physical_network("physnet1", "hv2", "hv3"),
        network("red/web", "10.0.1.0/24", segment=1007),
        network("red/db", "10.0.2.0/24", kind="geneve", segment=1019),
        network("red/dmz", "10.0.3.0/24", kind="vlan", segment=110, physical="physnet1"),
        network("red/scratch", "10.0.9.0/24", kind="local"),
        network("blue/lan", "192.0.2.0/24", kind="flat", physical="physnet1"),
        network("blue/web", "10.0.1.0/24", kind="gre", segment=1103),
        *(group(name) for name in ("red/web", "red/ops", "blue/default")),
        port("red/web1", "red/web", "10.0.1.11", host="hv1", groups=["red/web"]),
        port("red/web2", "red/web", "10.0.1.12", host="hv2", groups=["red/web"]),
        port("red/web3", "red/web", "10.0.1.13", host="hv1", groups=["red/web", "red/ops"]),
        port("red/db1", "red/db", "10.0.2.11", host="hv3", secure=False),
        port("red/edge1", "red/dmz", "10.0.3.11", host="hv2"),
        port("red/tmp1", "red/scratch", "10.0.9.11", host="hv2"),
        port("blue/printer", "blue/lan", "192.0.2.20", host="hv3", groups=["blue/default"]),
        port("blue/web1", "blue/web", "10.0.1.11", host="hv1", groups=["blue/default"]),
        port("blue/switch", "blue/web", "10.0.1.99", host="rack9", groups=["blue/default"]),
        port("blue/laptop-of-the-new-colleague", "blue/web", "10.0.1.40", groups=["blue/default"]),
    )


def texts(svg: str) -> list[str]:
    tree = ET.fromstring(svg)  # noqa: S314 - it is our own output, and must be XML.
    return ["".join(each.itertext()) for each in tree.iter("{http://www.w3.org/2000/svg}text")]


def dot_tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        found = DOT_TOKEN.match(text, at)
        assert found, f"not DOT: {text[at : at + 40]!r}"
        tokens.append(found.group())
        at = found.end()
    return [token for token in tokens if token.strip()]


@pytest.mark.parametrize("wanted", ["mermaid", "dot", "svg", "json"])
def test_the_same_fabric_gives_the_same_drawing(wanted: str) -> None:
    assert draw(Fabric(campus()), wanted) == draw(Fabric(campus()), wanted)


@pytest.mark.parametrize("wanted", ["mermaid", "dot", "json"])
def test_a_drawing_holds_everything(wanted: str) -> None:
    topology = campus()
    drawing = draw(Fabric(topology), wanted)
    for name in (*topology.hosts, *topology.networks, *topology.ports, *topology.physical_networks):
        assert name in drawing


def test_the_picture_names_hosts_networks_and_ports() -> None:
    said = texts(draw(Fabric(campus()), "svg"))
    for text in (
        "hv1",
        "rack9",
        "VTEP",
        "red/web",
        "vxlan 1007",
        "vlan 110 on physnet1",
        "web1",
        "10.0.1.11",
        "physnet1",
    ):
        assert text in said
    assert "on no host yet" in said


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="png"):
        draw(Fabric(campus()), "png")


def hostile() -> Topology:
    return dataclasses.replace(campus(), name=HOSTILE)


def test_no_text_breaks_the_svg() -> None:
    svg = draw(Fabric(hostile()), "svg")
    assert "".join(c if c.isprintable() else " " for c in HOSTILE) in texts(svg)
    assert "<script" not in svg


def test_no_text_breaks_dot() -> None:
    tokens = dot_tokens(draw(Fabric(hostile()), "dot"))
    assert tokens[0] == "graph"
    assert tokens[-1] == "}"
    assert tokens.count("{") == tokens.count("}") == 1 + len(campus().hosts)


def test_no_text_breaks_mermaid() -> None:
    topology = hostile()
    physical = dataclasses.replace(topology.physical_networks["physnet1"], name="physnet1")
    topology = dataclasses.replace(topology, physical_networks={HOSTILE: physical}, networks={}, ports={})
    node = next(line for line in draw(Fabric(topology), "mermaid").splitlines() if "[/" in line)
    label = node.removeprefix("  w4[/").removesuffix("/]")
    assert re.fullmatch(r'"[^"<>]*"', label)


def test_json_is_the_graph() -> None:
    data = json.loads(draw(Fabric(campus()), "json"))
    assert data["fabric"] == "test"
    web1 = next(node for node in data["nodes"] if node["name"] == "red/web1")
    assert (web1["kind"], web1["host"], web1["ips"]) == ("port", "hv1", ["10.0.1.11"])
    placed = {(edge["from"]["name"], edge["to"]["name"]) for edge in data["edges"] if edge["relation"] == "placed"}
    assert ("red/web1", "hv1") in placed
    assert not any(name == "blue/laptop-of-the-new-colleague" for name, _ in placed)


def apart(first: Box, second: Box) -> bool:
    return first.right <= second.x or second.right <= first.x or first.bottom <= second.y or second.bottom <= first.y


def test_nothing_overlaps_and_ports_are_inside_their_hosts() -> None:
    layout = lay_out(Fabric(campus()))
    marks = [mark.box for lane in layout.lanes for cell in lane.cells for mark in cell.ports]
    assert all(apart(*pair) for pair in itertools.combinations(marks, 2))
    assert all(apart(*pair) for pair in itertools.combinations([lane.box for lane in layout.lanes], 2))
    for lane in layout.lanes:
        for cell in lane.cells:
            card = layout.columns[cell.column].box
            assert all(card.x < mark.box.x and mark.box.right < card.right for mark in cell.ports)
            assert all(mark.box.bottom < card.bottom for mark in cell.ports)


def test_a_crowded_host_counts_the_ports_that_do_not_fit() -> None:
    crowd = [port(f"red/vm{n}", "red/web", f"10.0.1.{n}", host="hv1") for n in range(20, 60)]
    topology = dataclasses.replace(campus(), ports={each.name: each for each in crowd})
    (cell,) = (cell for lane in lay_out(Fabric(topology)).lanes for cell in lane.cells)
    assert (len(cell.ports), cell.hidden) == (PORTS_SHOWN, 40 - PORTS_SHOWN)
    assert f"and {40 - PORTS_SHOWN} more" in texts(draw(Fabric(topology), "svg"))


def test_a_fabric_without_tenants_can_be_drawn() -> None:
    bare = dataclasses.replace(campus(), tenants={}, networks={}, ports={})
    assert "hv1" in texts(draw(Fabric(bare), "svg"))


def routed() -> Topology:
    """Two networks on a router that leads out, and a floating IP."""
    return fabric(
        host("hv1"),
        physical_network("physnet1", "hv1"),
        external_network("public", "203.0.113.0/24", physical="physnet1", vlan=100),
        network("red/web", "10.0.1.0/24"),
        network("red/db", "10.0.2.0/24"),
        router("red/main", "red/web", "red/db", external="public", address="203.0.113.10"),
        port("red/web1", "red/web", "10.0.1.11", host="hv1"),
        floating_ip("203.0.113.20", "red/web1", "10.0.1.11", router="red/main", external="public"),
    )


def test_ways_between_networks_and_out_are_in_the_graph() -> None:
    drawn = json.loads(draw(Fabric(routed()), "json"))
    ways = {(e["from"]["name"], e["relation"], e["to"]["name"]) for e in drawn["edges"]}
    assert {
        ("red/main", "routed", "red/web"),
        ("red/main", "routed", "red/db"),
        ("red/main", "leads out", "public"),
        ("public", "carried", "physnet1"),
        ("red/203.0.113.20", "stands for", "red/web1"),
        ("red/203.0.113.20", "translated", "red/main"),
    } <= ways
    [found] = [node for node in drawn["nodes"] if node["kind"] == "router"]
    assert (found["addresses"], found["snat"]) == (["203.0.113.10"], True)


@pytest.mark.parametrize("kind", ["mermaid", "dot"])
def test_routers_and_floating_ips_are_drawn(kind: str) -> None:
    text = draw(Fabric(routed()), kind)
    assert text.count("router red/main") == text.count("203.0.113.20") == 1
