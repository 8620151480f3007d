"""The frame: help, wrong words, completion, and what `weft status` says and returns."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from controller.cli import VERBS, weft
from controller.control import ControlServer


def run(*arguments: str) -> Result:
    return CliRunner().invoke(weft, arguments, prog_name="weft")


def test_help_names_every_verb() -> None:
    text = run("--help").output
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_line_in_help_is_the_verbs_own(verb: str) -> None:
    module, line = VERBS[verb]
    command = importlib.import_module(module).command
    assert isinstance(command, click.Command)
    assert command.get_short_help_str(200).rstrip(".") == line.rstrip(".")


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for verb, (module, _) in VERBS.items():
        command = importlib.import_module(module).command
        found += [(verb,), *((verb, name) for name in getattr(command, "commands", {}))]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_verb_explains_itself(words: tuple[str, ...]) -> None:
    done = run(*words, "--help")
    assert done.exit_code == 0
    assert f"Usage: weft {' '.join(words)} " in done.output
    assert "\\" not in done.output


def test_a_mistyped_verb_names_the_right_one() -> None:
    done = run("vlidate")
    assert done.exit_code == 2
    assert 'did you mean "validate"?' in done.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert f"_WEFT_COMPLETE={shell}_complete" in done.output


SWITCH = {
    "host": "hv1",
    "bridge": "br-int",
    "dpid": "0001000000000001",
    "state": "in sync",
    "peer": "172.31.0.1:40000",
    "flows_desired": 120,
    "flows_installed": 120,
    "added": 3,
    "modified": 0,
    "deleted": 1,
    "last_error": None,
    "sync_seconds": 0.012,
}
STATUS: dict[str, Any] = {
    "topology": "quickstart",
    "folder": "topologies/quickstart",
    "in_sync": True,
    "refused": [],
    "accepted": True,
    "switches": [SWITCH],
    "ports": {"bound": 8, "unbound": [], "refused": []},
    "changes": {"last": 0, "recent": []},
}
CHANGE = {
    "number": 7,
    "cause": "files",
    "state": "done",
    "switches": 3,
    "flows": 21,
    "phases": 2,
    "phase": 2,
    "seconds": 0.012,
    "troubles": [],
}
APPLIED = {"accepted": True, "problems": [], "change": CHANGE, "troubles": [], "rolled_back": False}
NOTHING: dict[str, Any] = {"missing": [], "altered": [], "foreign": [], "count": 0}
AUDIT = {"host": "hv1", "bridge": "br-int", "flows": NOTHING, "groups": NOTHING, "meters": NOTHING} | {
    "repaired": False,
    "error": None,
}


class Controller:
    """Answers at a socket what the test wants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer = STATUS
        self.asked_for: list[dict[str, Any]] = []
        self.others: dict[str, dict[str, Any]] = {"apply": APPLIED, "audit": {"clean": True, "audits": [AUDIT]}}
        self.server = ControlServer(path, self._answer)

    def _answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        self.asked_for.append(dict(question))
        return self.others.get(question["do"], self.answer)

    def asked(self, *arguments: str, verb: str = "status") -> Result:
        return run(verb, "--control", str(self.path), *arguments)


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    made = Controller(tmp_path / "control.sock")
    made.server.start()
    yield made
    made.server.close()


def test_status_is_fine_when_every_switch_is_in_sync(controller: Controller) -> None:
    done = controller.asked()
    assert done.exit_code == 0
    assert "quickstart (topologies/quickstart): in sync, 8 ports bound" in done.output
    assert done.output.splitlines()[-1].split()[:5] == ["hv1", "br-int", "0001000000000001", "in", "sync"]


def test_status_in_json_is_what_the_controller_said(controller: Controller) -> None:
    assert json.loads(controller.asked("-o", "json").output) == STATUS


def test_status_tells_the_error_of_a_switch_that_is_not_in_sync(controller: Controller) -> None:
    broken = {**SWITCH, "state": "degraded", "last_error": "OFPFMFC_TABLE_FULL for tenants/red.yaml:4:3"}
    controller.answer = {**STATUS, "in_sync": False, "switches": [broken]}
    done = controller.asked()
    assert done.exit_code == 3
    assert "NOT in sync" in done.output
    assert "br-int@hv1: OFPFMFC_TABLE_FULL for tenants/red.yaml:4:3" in done.output


def test_status_says_that_a_refused_file_changes_nothing(controller: Controller) -> None:
    controller.answer = {
        **STATUS,
        "accepted": False,
        "in_sync": False,
        "refused": ["tenants/red.yaml:4:3: error: unknown key"],
    }
    done = controller.asked()
    assert done.exit_code == 2
    assert "the last good topology stays in force" in done.output
    assert "tenants/red.yaml:4:3: error: unknown key" in done.output


def test_status_names_ports_without_an_interface_and_counts_many(controller: Controller) -> None:
    controller.answer = {**STATUS, "ports": {"bound": 0, "unbound": [f"red/vm{n}" for n in range(20)], "refused": []}}
    assert "unbound ports: red/vm0, red/vm1," in controller.asked().output
    assert "red/vm7 and 12 more" in controller.asked().output


def test_status_tells_of_questions_that_were_lost(controller: Controller) -> None:
    assert "questions" not in controller.asked().output
    controller.answer = {**STATUS, "questions": {"asked": {"dhcp": 900}, "answers": 801, "unanswered": 0, "lost": 99}}
    assert "because too many came at once: 99" in controller.asked().output


def test_status_without_a_controller_is_trouble(tmp_path: Path) -> None:
    done = run("status", "--control", str(tmp_path / "nobody.sock"))
    assert done.exit_code == 3
    assert "no controller answers" in done.output


@pytest.fixture
def two_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the records of two labs, one of which has a controller that answers."""
    for name in ("blue", "green"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("{}")
    monkeypatch.setattr("controller.lab.state.LABS", tmp_path)
    monkeypatch.setattr("controller.lab.state.labs", lambda: ["blue", "green"])
    monkeypatch.setattr("controller.control.default_path", lambda: tmp_path / "nobody.sock")
    made = Controller(tmp_path / "green" / "control.sock")
    made.server.start()
    yield tmp_path
    made.server.close()


@pytest.mark.parametrize("verb", ["status", "apply", "audit"])
@pytest.mark.usefixtures("two_labs")
def test_of_two_labs_one_must_be_named(verb: str) -> None:
    done = run(verb)
    assert done.exit_code == 2
    assert "there are the labs blue, green; say which with --name" in done.output
    assert run(verb, "--name", "green").exit_code == 0


@pytest.mark.usefixtures("two_labs")
def test_a_lab_that_is_not_there_is_bad_input() -> None:
    done = run("status", "--name", "gren")
    assert done.exit_code == 2
    assert 'no lab "gren"; did you mean "green"?' in done.output


@pytest.mark.usefixtures("two_labs")
def test_the_names_of_labs_are_completed() -> None:
    words = {"COMP_WORDS": "weft lab down --name g", "COMP_CWORD": "4", "_WEFT_COMPLETE": "bash_complete"}
    done = CliRunner(env=words).invoke(weft, [], prog_name="weft")
    assert done.output.split() == ["plain,green"]


def test_status_tells_the_last_changes_and_who_is_behind(controller: Controller) -> None:
    late = {**CHANGE, "number": 8, "state": "late", "troubles": ["br-tun@hv2: it has not answered yet"]}
    under_way = {**CHANGE, "number": 9, "state": "under way", "phase": 1}
    controller.answer = {**STATUS, "changes": {"last": 9, "recent": [CHANGE, late, under_way]}}
    lines = controller.asked().output.splitlines()
    assert "  9 (files): 21 flows and groups on 3 bridges, under way, phase 1 of 2, 12 ms" in lines
    assert lines.index("      br-tun@hv2: it has not answered yet") == 1 + lines.index(
        "  8 (files): 21 flows and groups on 3 bridges, late, 12 ms"
    )


def test_apply_says_what_changed(controller: Controller) -> None:
    done = controller.asked("--wait", verb="apply")
    assert done.exit_code == 0
    assert "in force, and confirmed after" in done.output
    assert "21 flows and groups on 3 bridges" in done.output
    assert controller.asked_for == [{"do": "apply", "wait": True, "rollback": False, "deadline": 30}]


def test_apply_of_refused_files_says_so_and_why(controller: Controller) -> None:
    problems = ["tenants/red.yaml:4:3: error: unknown key"]
    controller.others["apply"] = {**APPLIED, "accepted": False, "problems": problems, "change": None}
    done = controller.asked(verb="apply")
    assert done.exit_code == 2
    assert "tenants/red.yaml:4:3: error: unknown key" in done.output
    assert "the last good topology stays in force" in done.output


def test_apply_names_the_switches_that_are_behind(controller: Controller) -> None:
    controller.others["apply"] = {**APPLIED, "troubles": ["br-int@hv1: it has not answered yet"]}
    done = controller.asked("--wait", verb="apply")
    assert done.exit_code == 3
    assert "in force, but\n    br-int@hv1: it has not answered yet" in done.output


def test_apply_says_that_it_went_back(controller: Controller) -> None:
    controller.others["apply"] = {**APPLIED, "troubles": ["br-int@hv1: table full"], "rolled_back": True}
    done = controller.asked("--rollback-on-failure", verb="apply")
    assert done.exit_code == 3
    assert "rolled back, the former topology is in force again\n    br-int@hv1: table full" in done.output
    assert controller.asked_for[0]["wait"]


def test_audit_is_fine_when_nothing_was_changed(controller: Controller) -> None:
    done = controller.asked(verb="audit")
    assert (done.exit_code, done.output) == (0, "br-int@hv1: as it should be\n")


def test_audit_names_what_a_third_hand_changed(controller: Controller) -> None:
    found = {"missing": ["flow a"], "altered": [], "foreign": ["flow b"], "count": 3}
    controller.others["audit"] = {"clean": False, "audits": [{**AUDIT, "flows": found, "repaired": True}]}
    done = controller.asked(verb="audit")
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "br-int@hv1: 3 differences, repaired",
        "    missing: flow a",
        "    foreign: flow b",
        "    and 1 more",
    ]


def test_audit_of_a_host_that_is_not_there_is_bad_input(controller: Controller) -> None:
    done = controller.asked("--host", "hv9", verb="audit")
    assert done.exit_code == 2
    assert "no bridge of hv9 is known" in done.output


def test_status_can_be_watched_until_ctrl_c(controller: Controller) -> None:
    weft_program = Path(sys.executable).with_name("weft")
    command = [str(weft_program), "status", "--watch", "--control", str(controller.path), "-o", "json"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    seen = [watching.stdout.readline().strip() for _ in range(2 * len(json.dumps(STATUS, indent=2).splitlines()))]
    watching.send_signal(signal.SIGINT)
    _, complaints = watching.communicate(timeout=10)
    assert seen.count('"topology": "quickstart",') == 2
    assert (watching.returncode, complaints) == (0, "")
