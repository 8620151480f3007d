"""`weft flows` and `weft graph`: what is compiled and drawn from files, and how wrong words are met."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from controller.cli import weft
from controller.model.ids import key

FABRIC = """\
fabric: pair
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
  rack9: {tunnel_ip: 172.31.0.9, kind: vtep}
tenants:
  red: {segments: 1000-1099}
"""
RED = """\
networks:
  web: {cidr: 10.0.1.0/24}
ports:
  web1: {network: web, ip: 10.0.1.11, host: hv1}
  web2: {network: web, ip: 10.0.1.12, host: hv2}
"""


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "tenants/red.yaml").write_text(RED)
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(weft, [str(each) for each in arguments], prog_name="weft")


def test_every_bridge_is_listed_with_table_names_and_origins(pair: Path) -> None:
    done = run("flows", pair)
    assert done.exit_code == 0
    titles = [line.split(",")[0] for line in done.output.splitlines() if "datapath id" in line]
    assert titles == ["br-int@hv1", "br-tun@hv1", "br-int@hv2", "br-tun@hv2"]
    web1 = next(line for line in done.output.splitlines() if 'in_port="red.web1"' in line)
    assert web1.startswith("table=classify, priority=")
    assert web1.endswith(f"# port red/web1 ({pair}/tenants/red.yaml:4:3)")


def test_numbers_in_registers_are_explained(pair: Path) -> None:
    output = run("flows", pair, "--host", "hv1", "--bridge", "br-int").output
    meaning = dict(line.split(maxsplit=2)[1:] for line in output.splitlines() if line.startswith("# 0x"))
    assert meaning[f"{key('network', 'red/web'):#x}"] == "network red/web"
    assert {"port red/web1", "class red/default"} <= set(meaning.values())


def test_one_bridge_can_be_chosen(pair: Path) -> None:
    done = run("flows", pair, "--host", "hv2", "--bridge", "br-tun")
    assert [line.split(",")[0] for line in done.output.splitlines() if "datapath id" in line] == ["br-tun@hv2"]


def test_raw_flows_are_for_one_bridge(pair: Path) -> None:
    done = run("flows", pair, "--raw")
    assert done.exit_code == 2
    assert "say --host and --bridge" in done.output


def test_groups_are_asked_for_in_raw_only(pair: Path) -> None:
    done = run("flows", pair, "--groups")
    assert done.exit_code == 2
    assert "--groups goes with --raw" in done.output


def test_raw_flows_say_which_port_numbers_they_assume(pair: Path) -> None:
    done = run("flows", pair, "--host", "hv1", "--bridge", "br-tun", "--raw")
    assert "port numbers are assumed: 1 patch-int, 2 vxlan" in done.output.splitlines()[1]


def test_raw_flows_hold_numbers_only(pair: Path) -> None:
    done = run("flows", pair, "--host", "hv1", "--bridge", "br-int", "--raw")
    flows = [line for line in done.output.splitlines() if not line.startswith("#")]
    assert flows
    assert all(line.startswith("table=") and line[6].isdigit() and '"' not in line for line in flows)


def test_json_has_the_place_of_every_flow(pair: Path) -> None:
    programs = json.loads(run("flows", pair, "-o", "json").output)
    flows = [flow for program in programs for flow in program["flows"]]
    web1 = next(flow for flow in flows if flow["origin"]["what"] == "port red/web1")
    assert (web1["origin"]["file"], web1["origin"]["line"]) == (f"{pair}/tenants/red.yaml", 4)
    assert {"table_name", "priority", "text", "raw", "feature", "kind"} <= web1.keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "hv3"), 'unknown host "hv3"; did you mean "hv'),
        (("--host", "rack9"), 'Weft does not program "rack9"'),
        (("--bridge", "br-tunn"), 'did you mean "br-tun"?'),
    ],
)
def test_a_wrong_name_is_told_the_right_one(pair: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run("flows", pair, *arguments)
    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.parametrize("verb", ["flows", "graph"])
def test_refused_files_are_shown_with_their_places(pair: Path, verb: str) -> None:
    (pair / "tenants/red.yaml").write_text(RED.replace("network: web", "network: wep"))
    done = run(verb, pair)
    assert done.exit_code == 2
    assert "tenants/red.yaml:4:19" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("verb", ["flows", "graph"])
def test_a_folder_that_is_not_there_is_bad_input(tmp_path: Path, verb: str) -> None:
    done = run(verb, tmp_path / "nowhere")
    assert done.exit_code == 2
    assert "nowhere" in done.output


def test_a_graph_can_be_drawn_in_each_format(pair: Path) -> None:
    assert run("graph", pair).output.startswith("flowchart")
    assert run("graph", pair, "-f", "dot").output.startswith("graph")
    assert ET.fromstring(run("graph", pair, "-f", "svg").output).tag.endswith("svg")  # noqa: S314 - our own output.
    assert json.loads(run("graph", pair, "-f", "json").output)["fabric"] == "pair"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("flows {folder} --host h", ["hv1", "hv2"]),
        ("flows {folder} --bridge br-t", ["br-tun"]),
        ("flo", ["flows"]),
    ],
)
def test_completion_knows_the_names_in_the_files(pair: Path, words: str, found: list[str]) -> None:
    line = f"weft {words.format(folder=pair)}"
    typed = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_WEFT_COMPLETE": "bash_complete"}
    done = CliRunner().invoke(weft, [], prog_name="weft", env=typed)
    assert [each.partition(",")[2] for each in done.output.split()] == found


def test_completion_is_silent_about_refused_files(pair: Path) -> None:
    (pair / "fabric.yaml").write_text("fabric: [")
    line = f"weft flows {pair} --host h"
    typed = {"COMP_WORDS": line, "COMP_CWORD": "4", "_WEFT_COMPLETE": "bash_complete"}
    assert CliRunner().invoke(weft, [], prog_name="weft", env=typed).output.strip() == ""


@pytest.mark.ovs
@pytest.mark.parametrize("bridge", ["br-int", "br-tun"])
def test_open_vswitch_reads_raw_flows(pair: Path, tmp_path: Path, bridge: str) -> None:
    file = tmp_path / "flows.txt"
    file.write_text(run("flows", pair, "--host", "hv1", "--bridge", bridge, "--raw").output)
    command = ["ovs-ofctl", "-O", "OpenFlow14", "parse-flows", str(file)]
    read = subprocess.run(command, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    written = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert read.stdout.count("FLOW_MOD") == len(written) > 0


@pytest.mark.parametrize(("environment", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals_that_want_it(pair: Path, environment: dict[str, str], is_coloured: bool) -> None:
    chosen: dict[str, str | None] = {"NO_COLOR": None, **environment}
    done = CliRunner().invoke(weft, ["flows", str(pair)], color=True, env=chosen)
    assert ("\x1b[" in done.output) is is_coloured
