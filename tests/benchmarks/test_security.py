"""The benchmarks of security groups: who may talk, what a scan looks like, and what the datapath says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.datapath import Passes, mask, read_megaflows, read_passes
from benchmarks.figure import Figure, Unit, by_key, said
from benchmarks.forwarding import CONNECTIONS, SAME_HOST, SECURITY, passes_name, stream_name
from benchmarks.goals import GOALS, Outcome
from benchmarks.guarded import Pipeline, Pipelines, cast, guarded, turns
from benchmarks.history import Run
from benchmarks.members import JOINED, joined, measure_members
from benchmarks.offline import load
from benchmarks.packets import NotEnforced, check_policy
from benchmarks.scan import probes
from benchmarks.security import measure_packets
from benchmarks.site import open_site
from benchmarks.topology import write_topology
from benchmarks.traffic import TCP, UDP, Header, frame
from benchmarks.workload import Size, generate
from controller import config
from controller.lab.prober import checksum
from tests.benchmarks.test_report import MACHINE

FEW = Size(hosts=2, tenants=1, networks_per_tenant=1, ports_per_network=8, rules_per_group=6)

STATISTICS = """main thread:
  packets received: 100
  packet recirculations: 120
  avg. datapath passes per packet: 2.20
  megaflow hits: 215
  miss with success upcall: 4
  miss with failed upcall: 1
pmd thread numa_id 0 core_id 1:
  packets received: 100
  packet recirculations: 80
  miss with success upcall: 2
"""
MEGAFLOWS = """flow-dump from the main thread:
recirc_id(0),in_port(9),eth_type(0x0800),ipv4(src=10.0.0.1,frag=no),tcp(dst=80), packets:1, bytes:2, used:never, actions:4
recirc_id(0),in_port(8),eth_type(0x0800),ipv4(src=10.0.0.2,frag=no),udp(dst=443), packets:1, bytes:2, used:0.1s, actions:drop
recirc_id(0),in_port(9),eth_type(0x0800),ipv4(src=10.0.0.1,frag=no),tcp(dst=64/0xffc0), packets:0, bytes:0, used:never, actions:4
"""


# The fabric.


def test_every_group_has_twenty_rules_and_one_is_for_what_goes_out(tmp_path: Path) -> None:
    write_topology(guarded(), tmp_path)
    topology = config.load(tmp_path).topology
    assert topology is not None
    rules = {name.partition("/")[2]: group for name, group in topology.groups.items()}
    assert [len(rules[name].ingress) for name in ("web", "app", "bound")] == [20, 20, 0]
    assert len(rules["bound"].egress or ()) == 20


def test_all_that_is_compared_on_a_host_is_on_one() -> None:
    players = cast(guarded())
    near = (players.server, players.client, players.innocent_server, players.innocent_client, players.victim)
    scanners = (players.open_scanner, players.bound_scanner)
    assert {port["host"] for port in (*near, *scanners)} == {"host1"}
    assert players.far["host"] == "host2"
    groups = [
        players.server["groups"],
        players.client["groups"],
        players.far["groups"],
        players.bound_scanner["groups"],
    ]
    assert groups == [["t0000-web"], ["t0000-app"], ["t0000-app"], ["t0000-bound"]]


def test_what_drifts_steadily_favours_neither_pipeline() -> None:
    order = list(turns(4))
    places = {pipeline: [place for place, taken in enumerate(order) if taken is pipeline] for pipeline in Pipeline}
    assert sum(places[Pipeline.WEFT]) == sum(places[Pipeline.BARE])


def test_without_time_each_pipeline_has_one_turn() -> None:
    assert list(turns(4, seconds=0)) == [Pipeline.WEFT, Pipeline.BARE]


def test_one_port_of_web_becomes_a_member_of_the_other_group(tmp_path: Path) -> None:
    document = generate(FEW)
    write_topology(document, tmp_path)
    before = config.load(tmp_path).topology
    (tmp_path / "tenants" / "t0000.yaml").write_text(joined(document, 1), encoding="utf-8")
    after = config.load(tmp_path).topology
    assert before is not None
    assert after is not None
    changed = {name: port.groups for name, port in after.ports.items() if port.groups != before.ports[name].groups}
    assert changed == {"t0000/p000002": ("t0000/web", "t0000/app")}


# The packets.


def test_a_scan_is_bounded_and_the_same_every_time() -> None:
    rules = generate(FEW)["groups"][0]["rules"]
    found = probes(rules, "10.0.0.0/16", 500)
    assert found == probes(rules, "10.0.0.0/16", 500)
    assert {header.protocol for header in found} == {TCP, UDP}
    assert len(found) == 500
    assert len({header.destination_port for header in found[::2]}) > 200


def test_every_second_packet_of_a_scan_is_one_bit_beside_a_rule() -> None:
    rule = {"port_min": 4096, "port_max": 4096, "remote_cidr": "192.0.2.0/24"}
    for header in probes([rule], "10.0.0.0/16", 100)[1::2]:
        assert (header.destination_port ^ 4096).bit_count() == 1


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_frame_is_one_that_a_kernel_takes(protocol: int) -> None:
    source, target = generate(FEW)["ports"][:2]
    made = frame(source, target, Header(protocol, "10.0.0.11", 1234, 80))
    assert made[:6].hex(":") == target["mac"]
    assert made[6:12].hex(":") == source["mac"]
    assert checksum(made[14:34]) == 0
    if protocol == TCP:
        assert checksum(made[26:34] + bytes([0, TCP, 0, 20]) + made[34:]) == 0


# What the datapath says.


def test_passes_are_packets_and_recirculations_of_all_threads() -> None:
    assert read_passes(STATISTICS) == Passes(200, 200, 7)
    assert read_passes(STATISTICS).each == 2.0


def test_megaflows_that_look_at_the_same_bits_have_one_mask() -> None:
    first, second, third = map(mask, read_megaflows(MEGAFLOWS))
    assert first == second != third


def test_flags_that_are_looked_at_are_part_of_a_mask_and_their_values_are_not() -> None:
    assert mask("ct_state(+new-est),recirc_id(0x1)") == mask("ct_state(-new+est),recirc_id(0x2)")
    assert mask("ct_state(+new-est)") != mask("ct_state(+new)")


# What becomes of it.


def test_a_stream_is_judged_by_the_bare_pipeline_and_the_page_shows_both() -> None:
    slow = Figure(SECURITY, stream_name(SAME_HOST), 850, Unit.MEGABITS, 1000)
    (goal,) = (goal for goal in GOALS if (goal.workload, goal.name) == slow.key)
    assert goal.judge(by_key([slow])) is Outcome.MISSED
    assert goal.text() == "≥ 0.9 of the bare pipeline"
    run = Run("2026-11-21", "abc1234", "python -m benchmarks", MACHINE, by_key([slow]))
    text = page.page("<!-- security -->\n<!-- end -->\n<!-- large -->\n<!-- end -->\n", [run])
    assert "| `security` | one TCP stream, same host | 850 Mbit/s | 1,000 Mbit/s | 0.85 |" in text
    assert "The last run has not measured it." in text


def test_passes_are_told_to_the_hundredth() -> None:
    assert (said(2.0, Unit.PASSES), said(2.19, Unit.PASSES)) == ("2 passes", "2.19 passes")


@pytest.mark.lab
def test_real_packets_are_measured_with_both_pipelines(tmp_path: Path) -> None:
    figures = by_key(measure_packets(tmp_path, streams=1, connections=1, scans=1))
    same = figures[SECURITY, passes_name(SAME_HOST)]
    assert same.limit == pytest.approx(2, abs=0.05)
    assert same.value > 1.95
    assert min(figures[SECURITY, name].value for name in (stream_name(SAME_HOST), CONNECTIONS)) > 0
    scanned = figures[SECURITY, "scan of egress rules: masks after"]
    assert scanned.limit is not None
    assert scanned.value > scanned.limit
    assert not list((tmp_path / "lab").glob("*"))


@pytest.mark.lab
def test_the_bare_pipeline_enforces_nothing_and_that_is_noticed(tmp_path: Path) -> None:
    document, folder = guarded(), tmp_path / "topology"
    write_topology(document, folder)
    with open_site(load(folder), folder, tmp_path / "lab", 2, ()) as site:
        site.controller.start()
        site.controller.wait_in_sync()
        site.controller.stop()
        pipelines = Pipelines(site, document, tmp_path)
        pipelines.use(Pipeline.BARE)
        with pytest.raises(NotEnforced, match="which nothing allows"):
            check_policy(site.lab, document)
        pipelines.restore()
        check_policy(site.lab, document)


@pytest.mark.lab
def test_a_member_joins_and_every_switch_confirms(tmp_path: Path) -> None:
    figures = by_key(measure_members("few", generate(FEW), tmp_path, edits=1))
    assert figures["few", JOINED].value > 0
    assert len(figures["few", "rule changed"].runs) == 2
