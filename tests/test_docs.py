"""The pages: what they tell a reader to type works, what is generated is up to date, and links lead somewhere.

Every `sh` block of a page is either in `RUN_BY`, which names the test that does the same, or is typed for real, page by page
from top to bottom, in a shell on a copy of the topologies. A block that shows what to expect is no `sh` block.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from controller import config
from controller.proof.policy import run_tests

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```console\n\$ (weft flows [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

# Blocks that are not typed here, and where the same is done for real.
RUN_BY = {
    "make demo\n": "tests/cli/test_demo.py::test_the_demo_is_as_expected_and_leaves_nothing",
    "make test\n": ".ci/run",  # It is what runs this test.
}

COMMAND = re.compile(r"^(?:[$#]|mininet>) (\S.*?)(?: +# .*)?$", re.MULTILINE)

# What the front page shows for machines and files that are not here, by how the command begins, and the test that runs it.
SHOWN_BY = {
    "weft flows": "tests/test_docs.py::test_flows_are_what_the_page_shows",
    "weft validate": "tests/config/test_validate.py::test_a_refused_topology",
    "weft host init": "tests/lab/test_verbs.py::test_host_init_prints_what_it_would_run_then_runs_it_then_has_nothing_to_do",
    "osken-manager controller.app": "tests/switch/test_manager.py::test_it_leaves_within_two_seconds_with_the_flows_in_place",
    "weft run": "tests/cli/test_run.py::test_a_controller_answers_status_and_leaves_when_told",
    "weft status": "tests/cli/test_run.py::test_a_controller_answers_status_and_leaves_when_told",
    "ovs-vsctl add-port br-int": "tests/scenarios/test_layer2_reload.py::test_hosts_and_ports_that_join_late_work",
    "mn --custom controller/lab/mininet.py --topo weft": "tests/lab/test_mininet.py::test_pingall_shows_what_the_files_allow",
    "pingall": "tests/lab/test_mininet.py::test_pingall_shows_what_the_files_allow",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def typed(page: Path) -> list[str]:
    """Return the blocks of a page that are typed here."""
    return [block for block in BLOCK.findall(page.read_text(encoding="utf-8")) if block not in RUN_BY]


# A reader's machine has no other labs; a tester's may. So /run/weft is the reader's own here, and is left empty.
SCRIPT = """\
set -euxo pipefail
mount -t tmpfs weft /run/weft
trap 'weft lab down --all' EXIT
{}"""


@pytest.mark.lab
@pytest.mark.parametrize("page", [page for page in PAGES if typed(page)], ids=name)
def test_what_a_page_says_works(page: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "topologies", tmp_path / "topologies")
    Path("/run/weft").mkdir(exist_ok=True)
    script = tmp_path / "typed.sh"
    script.write_text(SCRIPT.format("\n".join(typed(page))), encoding="utf-8")
    bin_directory = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin_directory}:{os.environ['PATH']}:/usr/sbin:/sbin", "NO_COLOR": "1"}
    command = ["unshare", "--mount", "bash", str(script)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=170
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_every_command_that_the_front_page_shows_is_run_by_a_test() -> None:
    blocks = re.findall(
        r"^```console\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    commands = [command for block in blocks for command in COMMAND.findall(block)]
    assert [command for command in commands if not command.startswith(tuple(SHOWN_BY))] == []
    assert [start for start in SHOWN_BY if not any(command.startswith(start) for command in commands)] == []


@pytest.mark.parametrize("node", sorted({*RUN_BY.values(), *SHOWN_BY.values()}))
def test_what_is_run_elsewhere_is_a_test(node: str) -> None:
    file, _, function = node.partition("::")
    wanted = f"def {function}(" if function else "make test"
    assert wanted in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize(("command", "shown"), SHOWN.findall((ROOT / "README.md").read_text(encoding="utf-8")))
def test_flows_are_what_the_page_shows(command: str, shown: str) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == shown


def test_the_topology_of_the_front_page_is_whole(tmp_path: Path) -> None:
    (tmp_path / "tenants").mkdir()
    for file, text in YAML.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        (tmp_path / file).write_text(text)
    loaded = config.load(tmp_path)
    assert loaded.topology is not None, [config.render(problem) for problem in loaded.problems]
    assert not loaded.problems
    results = run_tests(loaded.topology)
    assert len(results) == 2
    assert all(result.passed for result in results)


def anchors(page: Path) -> set[str]:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name(page)}: {target}"
        assert found.is_relative_to(ROOT), f"{name(page)}: {target} leads out of the repository"
        assert not anchor or anchor in anchors(found), f"{name(page)}: {target}"


def test_every_page_can_be_found_from_the_front_page() -> None:
    found, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in found or page.suffix != ".md":
            continue
        found.add(page)
        links = LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
        ahead += [(page.parent / link.partition("#")[0]).resolve() for link in links if "://" not in link]
    assert set(PAGES) <= found


def test_generated_pages_are_up_to_date() -> None:
    command = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_dependency_has_its_reason() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = settings["options"]["install_requires"] + settings["options.extras_require"]["dev"]
    packages = {re.split(r"[<>=!~;\[ ]", line)[0].lower() for line in wanted.split("\n") if line}
    page = (ROOT / "docs/decisions/dependencies.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([\w.-]+)` \|", page, re.MULTILINE)) == packages
